"""Protects the way over a broker: nothing is lost or doubled, whoever dies and whatever breaks in between."""

from __future__ import annotations

import asyncio
import csv
import json
import sqlite3
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from loadtest.brokers.address import address_of
from loadtest.brokers.ends import Broker
from loadtest.inbox import read_ledger
from tests.loadtest.brokers import KINDS, Proxy, fresh, required, tansu, through
from tests.loadtest.servers import ROOT, Server, event, eventually, refused, running

PULL = {"commit_interval_s": 0.2, "rebalance_s": 0.3, "fetch_max_wait_s": 0.1}


def publish(provider: Server, run_id: str, indices: range) -> None:
    events = [json.loads(event(run_id, index)[1]) for index in indices]
    assert provider.request("POST", "/events", json.dumps(events).encode()).status == 202


def send(broker: Broker, *messages: tuple[str, bytes]) -> None:
    """Publish behind the provider's back."""

    async def run() -> None:
        outlet = broker.outlet()
        await outlet.connect()
        for message in messages:
            await outlet.send([message])
        await outlet.close()

    asyncio.run(run())


@contextmanager
def way(broker: Broker, folder: Path, url: str, **settings: object) -> Iterator[tuple[list[str], list[str]]]:
    """The command lines of a provider and a consumer over one broker."""
    table = folder / "broker.json"
    kind = address_of(url).kind
    table.write_text(json.dumps(settings if kind == "rabbitmq" else PULL | settings))
    flags = ["--broker-name", broker.name, "--broker-json", str(table)]
    yield (
        ["provider", "--publish", url, *flags, "--ledger", str(folder / "ledger.csv")],
        ["consumer", "--source", url, *flags, "--inbox", f"sqlite:///{folder / 'inbox.db'}"],
    )


def seen(folder: Path) -> list[int]:
    """Which events are visible, each as often as it is."""
    rows = read_ledger(folder / "inbox.db")
    return sorted(row.event_index for row in rows if row.visible_us is not None)


@pytest.mark.parametrize("kind", ["rabbitmq", "redis"])
def test_provider_to_consumer_end_to_end(kind: str, tmp_path: Path) -> None:
    """And what comes twice is one event; what is no event does not stop those behind it."""
    broker_url = required(kind)
    with (
        fresh(broker_url) as broker,
        way(broker, tmp_path, broker_url) as (provider_line, consumer_line),
        running(*consumer_line) as consumer,
        running(*provider_line) as provider,
    ):
        assert (consumer.ready["role"], consumer.ready["loop"]) == ("consumer", "uvloop")
        publish(provider, "e2e", range(100))
        eventually(lambda: consumer.status()["visible"] == 100)
        send(broker, event("e2e", 7), ("bad", b"\xffno event"), event("e2e", 100))
        eventually(lambda: consumer.status()["visible"] == 101)
        eventually(lambda: provider.status()["broker_confirmed"] == 100)
        status, sent = consumer.status(), provider.status()
        assert provider.stop() == (0, "", "")
        code, out, err = consumer.stop()
    assert (code, out) == (0, "")
    assert [line.rpartition("hookbench.consumer ")[2] for line in err.splitlines()] == [
        "1 messages are no events and were refused"
    ]
    assert (status["duplicates"], status["malformed"], status["errors"]) == (1, 1, 0)
    assert (sent["broker_failed"], sent["broker_retries"], sent["broker_errors"]) == (0, 0, 0)
    assert 0 < sent["broker_requests"] <= 100
    payloads = sum(len(event("e2e", index)[1]) for index in range(100))
    if sys.platform == "linux":
        for traffic in (sent["broker_request_bytes"], status["response_bytes"]):
            assert payloads < traffic < 3 * payloads
    with (tmp_path / "ledger.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert sorted(int(row["index"]) for row in rows) == list(range(100))
    assert {(row["outcome"], row["attempts"]) for row in rows} == {("acknowledged", "1")}
    assert {row.via for row in read_ledger(tmp_path / "inbox.db")} == {
        "queue" if "amqp" in broker_url else "log"
    }
    assert seen(tmp_path) == list(range(101))


@pytest.mark.parametrize("kind", ["rabbitmq", "redis", pytest.param("kafka", marks=pytest.mark.slow)])
def test_a_consumer_killed_with_messages_in_hand_loses_and_doubles_nothing(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """It is killed when it has received events and cannot have stored them, let alone acknowledged."""
    broker_url = str(request.getfixturevalue("kafka_url")) if kind == "kafka" else required(kind)
    with (
        fresh(broker_url) as broker,
        way(broker, tmp_path, broker_url) as (provider_line, consumer_line),
        running(*provider_line) as provider,
    ):
        with running(*consumer_line, "--lease-s", "1") as consumer:
            publish(provider, "kill", range(10))
            eventually(lambda: consumer.status()["visible"] == 10)
            with closing(sqlite3.connect(tmp_path / "inbox.db", isolation_level=None)) as lock:
                lock.execute("BEGIN IMMEDIATE")
                publish(provider, "kill", range(10, 40))
                eventually(lambda: consumer.status()["events"] > 10)
                assert consumer.status()["accepted"] == 10
                consumer.process.kill()
                consumer.process.wait()
        publish(provider, "kill", range(40, 50))
        with running(*consumer_line, "--lease-s", "1") as consumer:
            eventually(lambda: seen(tmp_path) == list(range(50)), within_s=30)
            if "kafka" not in broker_url:  # whose records do not say that they came before
                assert consumer.status()["redelivered"] > 0
            assert consumer.stop()[0] == 0
    assert seen(tmp_path) == list(range(50))


def test_stored_but_not_acknowledged_is_a_duplicate_and_visible_once(tmp_path: Path) -> None:
    """A consumer that commits late is killed: all that it stored comes again, and changes nothing."""
    url = required("redis")
    with (
        fresh(url) as broker,
        way(broker, tmp_path, url, commit_interval_s=600) as (provider_line, consumer_line),
        running(*provider_line) as provider,
        running(*consumer_line) as consumer,
    ):
        publish(provider, "late", range(25))
        eventually(lambda: seen(tmp_path) == list(range(25)))
        assert consumer.status()["commits"] == 0
        consumer.process.kill()
        with (
            way(broker, tmp_path, url, commit_interval_s=0.1) as (_, heirs_line),
            running(*heirs_line) as heir,
        ):
            eventually(lambda: heir.status()["duplicates"] == 25)
            assert heir.status()["claimed"] == heir.status()["redelivered"] == 25
            eventually(lambda: heir.status()["commits"] > 0)
    assert seen(tmp_path) == list(range(25))


@pytest.mark.parametrize("kind", KINDS)
def test_a_broken_connection_is_made_again(kind: str, tmp_path: Path) -> None:
    """Under load, and with the broker out of reach for a moment, at both ends."""
    with Proxy() as proxy:
        if kind == "kafka":
            with tansu(tmp_path, advertised_port=proxy.port) as port:
                break_and_mend(f"kafka://127.0.0.1:{proxy.port}", port, proxy, tmp_path)
        else:
            url = required(kind)
            break_and_mend(through(url, proxy.port), urlsplit(url).port or 0, proxy, tmp_path)


def break_and_mend(url: str, port: int, proxy: Proxy, folder: Path) -> None:
    proxy.to(port)
    quick = {"reconnect": {"kind": "fixed", "base_s": 0.1, "jitter": "none"}} if "amqp" in url else {}
    with (
        fresh(url) as broker,
        way(broker, folder, url, **quick) as (provider_line, consumer_line),
        running(*consumer_line) as consumer,
        running(*provider_line) as provider,
    ):
        publish(provider, "cut", range(50))
        taken = proxy.taken
        proxy.to(0)
        proxy.drop()
        publish(provider, "cut", range(50, 100))
        proxy.to(port)
        eventually(lambda: proxy.taken > taken)
        publish(provider, "cut", range(100, 120))
        eventually(lambda: seen(folder) == list(range(120)), within_s=30)
        eventually(lambda: provider.status()["broker_confirmed"] == 120)
        if "kafka" not in url:  # whose library connects by itself
            assert provider.status()["broker_connections_opened"] > 1
            assert consumer.status()["connections_opened"] > 1
        send(broker, event("cut", 7), ("bad", b"\xffno event"), event("cut", 120))
        eventually(lambda: consumer.status()["malformed"] == 1 and seen(folder) == list(range(121)))
        assert consumer.request("GET", "/ready").status == 200
        assert provider.stop()[0] == consumer.stop()[0] == 0
    assert seen(folder) == list(range(121))


def lines(role: str, url: str, folder: Path) -> Sequence[str]:
    if role == "provider":
        return (role, "--publish", url)
    return (role, "--source", url, "--inbox", f"sqlite:///{folder / 'i.db'}")


@pytest.mark.parametrize(
    ("role", "url", "hint"),
    [
        ("provider", "amqp://me:hush@127.0.0.1:9/", "docker run -d -p 5672:5672 rabbitmq:4"),
        ("consumer", "redis://:hush@127.0.0.1:9/0", "docker run -d -p 6379:6379 redis:8"),
        ("consumer", "kafka://me:hush@127.0.0.1:9", "docker run -d -p 9092:9092 apache/kafka"),
    ],
)
def test_without_its_broker_it_does_not_begin_and_says_how_to_start_one(
    role: str, url: str, hint: str, tmp_path: Path
) -> None:
    said = refused(*lines(role, url, tmp_path))
    assert hint in said
    assert "127.0.0.1:9" in said
    assert "hush" not in said


@pytest.mark.parametrize(
    ("kind", "library"), [("rabbitmq", "aiormq"), ("redis", "redis"), ("kafka", "aiokafka")]
)
def test_a_library_that_is_missing_is_named(kind: str, library: str, tmp_path: Path) -> None:
    code = (
        f"import sys; sys.modules[{library!r}] = None\n"
        "from loadtest.serve import main; sys.exit(main(sys.argv[1:]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *lines("consumer", kind, tmp_path)],
        capture_output=True, text=True, timeout=20, check=False, cwd=ROOT,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.endswith(
        f"needs the Python package {library}, which is not installed: pip install 'hookbench[brokers]'\n"
    )
    assert len(done.stderr.splitlines()) == 1


def test_bad_input_is_one_line_and_exit_2(tmp_path: Path) -> None:
    assert "--source" in refused("consumer")
    assert "expected amqp://" in refused(*lines("consumer", "http://127.0.0.1", tmp_path))
    table = tmp_path / "table.json"
    table.write_text('{"prefetches": 3}')
    said = refused(*lines("consumer", "rabbitmq", tmp_path), "--broker-json", str(table))
    assert "unknown key 'prefetches' in broker_push" in said
