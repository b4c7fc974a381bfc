"""Protects the brokers' own modules: what their clients are told, what comes again, how they are named."""

from __future__ import annotations

import asyncio
import fcntl
import os
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Coroutine
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import psutil
import pytest

from loadtest.brokers.address import address_of
from loadtest.brokers.ends import Broker, BrokerUnavailable, Intake, Message, MessageRefused
from loadtest.brokers.rabbitmq import RabbitMQ
from loadtest.brokers.settings import PullSettings, PushSettings, Reconnect
from loadtest.brokers.wire import Wire
from loadtest.contract import now_us
from loadtest.runner.arms.brokers import listener
from sim.errors import InputError
from sim.scenario import scenario_from
from tests.loadtest.brokers import fresh, required
from tests.loadtest.inboxes import happens
from tests.loadtest.servers import eventually

ON_LINUX = pytest.mark.skipif(sys.platform != "linux", reason="only Linux counts a connection's bytes")
PULL = PullSettings(fetch_max_wait_s=0.1, commit_interval_s=0.0, rebalance_s=0.2)


def body(index: int) -> bytes:
    return b'{"n":%d}' % index


async def send(broker: Broker, indices: range) -> None:
    outlet = broker.outlet()
    await outlet.connect()
    for index in indices:
        await outlet.send([(f"evt_{index}", body(index))])
    await outlet.close()


async def take(intake: Intake, count: int, *, acknowledge: bool = True) -> list[Message]:
    """Receive until there are so many; one that waits too long fails."""
    taken: list[Message] = []
    async with asyncio.timeout(15):
        while len(taken) < count:
            batch = await intake.receive()
            taken += batch
            if acknowledge and batch:
                await intake.acknowledge(batch, [])
    return taken


def run(story: Coroutine[Any, Any, None]) -> None:
    asyncio.run(story)


@pytest.mark.parametrize(("kind", "settings"), [("rabbitmq", PushSettings()), ("redis", PULL)])
def test_messages_come_in_order_with_their_time_and_are_gone_when_acknowledged(
    kind: str, settings: PushSettings | PullSettings
) -> None:
    async def story(broker: Broker) -> None:
        before_us = now_us()
        await send(broker, range(30))
        intake = broker.intake()
        await intake.connect()
        first = await take(intake, 30)
        assert [message.body for message in first] == [body(index) for index in range(30)]
        assert all(before_us <= message.received_us <= now_us() for message in first)
        assert not any(message.redelivered for message in first)
        await intake.close()
        await send(broker, range(30, 33))
        again = broker.intake()
        await again.connect()
        assert {message.body for message in await take(again, 3)} == {body(30), body(31), body(32)}
        await again.close()

    with fresh(required(kind), settings) as broker:
        run(story(broker))


def test_rabbitmq_sends_no_more_than_the_prefetch_and_what_was_not_acknowledged_again() -> None:
    async def story(broker: Broker) -> None:
        await send(broker, range(10))
        intake = broker.intake()
        await intake.connect()
        held = await take(intake, 3, acknowledge=False)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await intake.receive()
        assert [message.body for message in held] == [body(0), body(1), body(2)]
        await intake.acknowledge(held[:1], [])
        assert [message.body for message in await take(intake, 1, acknowledge=False)] == [body(3)]
        await intake.connect()  # the old connection ends
        back = await take(intake, 9)
        assert sorted(message.body for message in back) == [body(index) for index in range(1, 10)]
        # Those that were out before, and no others but what the broker had sent while we were leaving.
        assert {body(1), body(2), body(3)} <= {message.body for message in back if message.redelivered}
        await intake.close()

    with fresh(required("rabbitmq"), PushSettings(prefetch=3)) as broker:
        run(story(broker))


def test_rabbitmq_gives_up_a_message_after_so_many_deliveries() -> None:
    async def story(broker: Broker) -> None:
        await send(broker, range(1))
        intake = broker.intake()
        for _ in range(2):
            await intake.connect()
            await take(intake, 1, acknowledge=False)
        await intake.connect()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.5):
                await intake.receive()
        await intake.close()
        assert isinstance(broker, RabbitMQ)
        connection, channel = await broker.connect()
        letter = await channel.basic_get(f"{broker.name}.dead", no_ack=True)
        assert letter.body == body(0)
        await connection.close()

    with fresh(required("rabbitmq"), PushSettings(max_deliveries=2)) as broker:
        run(story(broker))


def test_a_queue_that_is_deleted_is_a_broken_connection() -> None:
    async def story(broker: Broker) -> None:
        intake = broker.intake()
        await intake.connect()
        await broker.delete()
        with pytest.raises(BrokerUnavailable, match="RabbitMQ closed the connection"):
            await take(intake, 1)
        await intake.close()

    with fresh(required("rabbitmq")) as broker:
        run(story(broker))


def test_redis_gives_a_consumer_its_own_first_and_takes_over_from_the_dead() -> None:
    async def story(broker: Broker) -> None:
        await send(broker, range(4))
        dead, alive = broker.intake(), broker.intake()
        await dead.connect()
        await take(dead, 4, acknowledge=False)
        await dead.connect()  # the same consumer comes back
        own = await take(dead, 4, acknowledge=False)
        assert [message.body for message in own] == [body(index) for index in range(4)]
        assert all(message.redelivered for message in own)
        await alive.connect()
        claimed = await take(alive, 4)
        assert [message.body for message in claimed] == [body(index) for index in range(4)]
        assert alive.counts["claimed"] == 4
        await alive.close()
        await dead.connect()
        assert await dead.receive() == []  # nothing is its own any more
        await dead.close()

    with fresh(required("redis"), PULL) as broker:
        run(story(broker))


def test_redis_commits_now_and_then_and_at_the_end() -> None:
    async def story(broker: Broker) -> None:
        await send(broker, range(5))
        intake = broker.intake()
        await intake.connect()
        await take(intake, 5)
        assert intake.counts["commits"] == 0
        await intake.close()
        assert intake.counts["commits"] == 1
        again = broker.intake()
        await again.connect()
        assert [await again.receive() for _ in range(2)] == [[], []]
        assert again.counts["empty_responses"] >= 1
        await again.close()

    with fresh(required("redis"), replace(PULL, commit_interval_s=600.0)) as broker:
        run(story(broker))


def test_kafka_keeps_the_order_within_a_partition_and_shares_partitions_out(kafka_url: str) -> None:
    async def story(broker: Broker) -> None:
        outlet, intake = broker.outlet(), broker.intake()
        await intake.connect()
        await outlet.connect()
        await asyncio.gather(*(outlet.send([(f"evt_{index}", body(index))]) for index in range(60)))
        with pytest.raises(MessageRefused):
            await outlet.send([("evt_large", b"." * (65 * 2**20))])
        taken = await take(intake, 60)
        by_partition: dict[int, list[tuple[int, int]]] = {}
        members = set()
        for message in taken:
            member, partition, offset = message.place
            members.add(id(member))
            number = int(re.findall(rb"\d+", message.body)[0])
            by_partition.setdefault(partition.partition, []).append((offset, number))
        assert len(members) == 2
        assert len(by_partition) == 4
        for records in by_partition.values():
            assert records == sorted(records)
            assert [number for _, number in records] == sorted(number for _, number in records)
        # Requests are counted by wrapping the library's client: a new version might go another way.
        assert 0 < outlet.counts["requests"] <= 60
        await happens(lambda: intake.counts["commits"] > 0 and intake.counts["empty_responses"] > 0)
        assert intake.counts["requests"] > intake.counts["commits"]
        await outlet.close()
        await intake.close()

    with fresh(kafka_url, replace(PULL, consumers=2)) as broker:
        run(story(broker))


@pytest.mark.parametrize(
    ("url", "kind", "shown", "hosts"),
    [
        ("amqp://u:p%40ss@h.me/v?heartbeat=3", "rabbitmq", "amqp://h.me:5672/v", [("h.me", 5672)]),
        ("amqps://h:5671", "rabbitmq", "amqps://h:5671", [("h", 5671)]),
        ("rediss://:p@[::1]:7000/2", "redis", "rediss://[::1]:7000/2", [("::1", 7000)]),
        ("kafka://u:p@a:1,b", "kafka", "kafka://a:1,b:9092", [("a", 1), ("b", 9092)]),
    ],
)  # fmt: skip
def test_an_address_says_where_without_the_password(
    url: str, kind: str, shown: str, hosts: list[tuple[str, int]]
) -> None:
    address = address_of(url)
    assert (address.kind, address.shown, list(address.hosts)) == (kind, shown, hosts)
    assert "p@" not in repr(address)
    assert "p%40ss" not in repr(address)
    assert address.is_secure == (url.partition("://")[0] in ("amqps", "rediss"))


def test_a_word_means_what_the_environment_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HOOKBENCH_REDIS", raising=False)
    assert address_of("redis").shown == "redis://127.0.0.1:6379/0"
    monkeypatch.setenv("HOOKBENCH_REDIS", "redis://:hush@elsewhere/1")
    assert address_of("redis").shown == "redis://elsewhere:6379/1"
    monkeypatch.setenv("HOOKBENCH_REDIS", "amqp://:hush@elsewhere/1")
    with pytest.raises(InputError, match=r"^HOOKBENCH_REDIS: the URL of a Redis begins with redis:// or"):
        address_of("redis")


@pytest.mark.parametrize(
    "url", ["", "http://h", "amqp://", "redis://:hush@h:port", "kafka://u:hush@", "amqp://a:hush@b,c"]
)
def test_a_bad_address_is_refused_and_its_password_is_not_repeated(url: str) -> None:
    with pytest.raises(InputError) as caught:
        address_of(url)
    assert "hush" not in str(caught.value)


def test_settings_are_those_of_the_scenario() -> None:
    """The tables' defaults are the same, and each is understood as the scenario writes it."""
    scenario = scenario_from(
        {"name": "defaults", "workload": {"kind": "poisson", "rate_per_s": 1}, "run": {"duration_s": 1}}
    )
    push = scenario.broker_push.model_dump(mode="json")
    names = ("prefetch", "max_deliveries", "heartbeat_timeout_s", "reconnect")
    assert PushSettings.from_table({name: push[name] for name in names}) == PushSettings()
    pull = scenario.broker_pull.model_dump(mode="json")
    shared = {name: pull[name] for name in PullSettings.__slots__ if name in pull}
    assert len(shared) == 7
    assert PullSettings.from_table(shared) == PullSettings()


@pytest.mark.parametrize(
    ("settings", "table", "message"),
    [
        (PushSettings, {"prefetch": 0}, "broker_push.prefetch must be a whole number from 1, got 0"),
        (PushSettings, {"prefetch": 70_000}, "at most 65535"),
        (PushSettings, {"reconnect": {"kind": "never"}}, "retry.kind must be one of"),
        (PullSettings, {"partition": 3}, "unknown key 'partition' in broker_pull"),
        (PullSettings, {"fetch_max_wait_s": 0}, "must not both be 0"),
        (PullSettings, [], "broker_pull must be a table"),
    ],
)
def test_bad_settings_are_named(settings: Any, table: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        settings.from_table(table)


def test_reconnecting_takes_longer_each_time_up_to_a_cap() -> None:
    rule = Reconnect(base_s=1.0, factor=2.0, cap_s=5.0, jitter="none")
    assert [rule.delay_s(failures, 0.5) for failures in (1, 2, 3, 4, 5000)] == [1, 2, 4, 5, 5]
    assert Reconnect(base_s=1.0).delay_s(3, 0.25) == 1.0  # full jitter


@ON_LINUX
def test_the_kernel_counts_the_bytes_of_each_connection() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]

        def answer() -> None:
            for _ in range(2):
                peer, _ = server.accept()
                with peer:
                    while peer.recv(65536):
                        pass

        answering = threading.Thread(target=answer, daemon=True)
        answering.start()
        wire = Wire()
        assert wire.read({port}) == (0, 0)
        with socket.create_connection(("127.0.0.1", port)) as client:
            client.sendall(b"x" * 10_000)
            eventually(lambda: wire.read({port}) == (10_000, 0))
        assert wire.read({port}) == (10_000, 0)  # what has gone stays counted
        with socket.create_connection(("127.0.0.1", port)) as client:
            client.sendall(b"y" * 500)
            eventually(lambda: wire.read({port}) == (10_500, 0))
        answering.join(10)


@ON_LINUX
def test_to_count_opens_and_closes_nothing() -> None:
    """Above all no file: to close a copy of a database's descriptor drops the process's locks on it."""
    with socket.create_server(("127.0.0.1", 0)) as server, TemporaryFile() as file:
        fcntl.lockf(file, fcntl.LOCK_EX)
        client = socket.create_connection(server.getsockname())
        peer, _ = server.accept()
        before = set(Path("/proc/self/fd").iterdir())
        wire = Wire()
        for _ in range(10):
            assert wire.read({server.getsockname()[1]}) == (0, 0)
        assert set(Path("/proc/self/fd").iterdir()) <= before
        other = (
            f"import fcntl; file = open('/proc/{os.getpid()}/fd/{file.fileno()}', 'r+b')\n"
            "fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)"
        )
        refused = subprocess.run([sys.executable, "-c", other], capture_output=True, check=False)
        assert b"BlockingIOError" in refused.stderr
        client.sendall(b"x")
        assert peer.recv(10) == b"x"  # both still work
        for end in (client, peer):
            end.close()


def test_a_listening_process_is_found_by_its_port_and_its_name() -> None:
    me = psutil.Process()
    with socket.create_server(("127.0.0.1", 0)) as server:
        here = (("127.0.0.1", server.getsockname()[1]),)
        assert listener(here, (me.name(),)) == me.pid
        assert listener(here, ("docker-proxy",)) is None
        assert listener((("elsewhere", here[0][1]),), (me.name(),)) is None
    assert listener(here, (me.name(),)) is None
