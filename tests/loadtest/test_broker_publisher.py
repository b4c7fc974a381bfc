"""Protects the provider's way to a broker: order, bounds, at least once, and books that balance."""

from __future__ import annotations

import asyncio
import csv
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from loadtest.brokers.ends import BrokerUnavailable, MessageRefused
from loadtest.brokers.publisher import BrokerPublisher
from loadtest.brokers.settings import Reconnect
from loadtest.contract import now_us, parse_envelope
from loadtest.provider.feed import Published
from loadtest.provider.ledger import Ledger
from sim.errors import InputError
from tests.loadtest.inboxes import happens
from tests.loadtest.servers import event

AT_ONCE = Reconnect(kind="fixed", base_s=0.001, jitter="none")


class Outlet:
    """A broker in memory, which takes what it is told to take."""

    def __init__(self, overlap: int = 4, most_in_batch: int = 1) -> None:
        self.overlap = overlap
        self.most_in_batch = most_in_batch
        self.counts = {"requests": 0}
        self.taken: list[str] = []
        self.batches: list[int] = []
        self.connects = 0
        self.connected = False
        self.gate = asyncio.Event()
        self.gate.set()
        self.refuse: Callable[[str], Exception | None] = lambda name: None
        self.on_connect: Exception | None = None

    async def connect(self) -> None:
        if self.on_connect is not None:
            raise self.on_connect
        self.connects += 1
        self.connected = True

    async def send(self, batch: Sequence[tuple[str, bytes]]) -> None:
        self.batches.append(len(batch))
        await self.gate.wait()
        for name, _ in batch:
            if not self.connected:
                raise BrokerUnavailable("the connection is closed")
            if (error := self.refuse(name)) is not None:
                raise error
            self.taken.append(name)

    def peer_ports(self) -> set[int]:
        return set()

    async def close(self) -> None:
        self.connected = False


def published(index: int) -> Published:
    body = event("p", index)[1]
    return Published(parse_envelope(body), body, now_us())


def names(*indices: int) -> list[str]:
    return [event("p", index)[0] for index in indices]


async def drained(publisher: BrokerPublisher) -> dict[str, int]:
    await happens(lambda: publisher.pending == 0)
    counts = publisher.status()
    assert await publisher.drain(now_us()) == 0
    return counts


def test_events_go_out_at_once_in_their_order_and_the_ledger_knows_each(tmp_path: Path) -> None:
    async def run() -> None:
        outlet, ledger = Outlet(), Ledger(tmp_path / "ledger.csv")
        publisher = BrokerPublisher(outlet, "broker", ledger=ledger)
        await publisher.start()
        for index in range(20):
            publisher.publish(published(index))
        counts = await drained(publisher)
        ledger.close()
        assert outlet.taken == names(*range(20))
        assert (counts["broker_published"], counts["broker_confirmed"], counts["broker_failed"]) == (
            20,
            20,
            0,
        )

    asyncio.run(run())
    with (tmp_path / "ledger.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["index"]) for row in rows] == list(range(20))
    for row in rows:
        assert (row["outcome"], row["attempts"], row["endpoint"]) == ("acknowledged", "1", "broker")
        assert int(row["published_us"]) <= int(row["first_attempt_us"]) <= int(row["acknowledged_us"])


def test_no_more_is_on_its_way_than_the_outlet_takes() -> None:
    async def run() -> None:
        outlet = Outlet(overlap=3, most_in_batch=2)
        outlet.gate.clear()
        publisher = BrokerPublisher(outlet, "broker")
        await publisher.start()
        for index in range(20):
            publisher.publish(published(index))
        await happens(lambda: len(outlet.batches) == 3)
        await asyncio.sleep(0.01)
        counts = publisher.status()
        assert sum(outlet.batches) == counts["broker_in_flight"] == 20 - counts["broker_waiting"] <= 6
        outlet.gate.set()
        await drained(publisher)
        assert outlet.taken == names(*range(20))

    asyncio.run(run())


def test_what_was_on_its_way_when_the_connection_broke_is_sent_again_first() -> None:
    async def run() -> None:
        outlet = Outlet(overlap=4)
        publisher = BrokerPublisher(outlet, "broker", reconnect=AT_ONCE)
        await publisher.start()
        outlet.gate.clear()
        for index in range(10):
            publisher.publish(published(index))
        await happens(lambda: len(outlet.batches) == 4)
        outlet.connected = False
        outlet.on_connect = BrokerUnavailable("still away")
        outlet.gate.set()
        await happens(lambda: publisher.status()["broker_errors"] > 5)  # four lost, and tries in vain
        assert (outlet.taken, publisher.status()["broker_connected"]) == ([], 0)
        publisher.publish(published(10))
        outlet.on_connect = None
        counts = await drained(publisher)
        assert outlet.taken == names(*range(11))
        assert (counts["broker_retries"], counts["broker_confirmed"]) == (4, 11)
        assert counts["broker_connections_opened"] == outlet.connects == 2

    asyncio.run(run())


def test_there_is_room_for_so_many_and_the_rest_is_counted(tmp_path: Path) -> None:
    async def run() -> None:
        outlet, ledger = Outlet(overlap=1), Ledger(tmp_path / "ledger.csv")
        outlet.gate.clear()
        publisher = BrokerPublisher(outlet, "broker", queue_limit=5, ledger=ledger)
        await publisher.start()
        for index in range(8):
            publisher.publish(published(index))
        assert publisher.status()["broker_failed"] == 3
        outlet.gate.set()
        counts = await drained(publisher)
        ledger.close()
        assert counts["broker_confirmed"] == 5

    asyncio.run(run())
    with (tmp_path / "ledger.csv").open(newline="") as file:
        outcomes = {int(row["index"]): row["outcome"] for row in csv.DictReader(file)}
    assert outcomes == dict.fromkeys(range(5), "acknowledged") | dict.fromkeys(range(5, 8), "failed")


def test_a_message_the_broker_does_not_take_holds_up_no_other() -> None:
    async def run() -> None:
        outlet = Outlet()
        outlet.refuse = lambda name: MessageRefused("too large") if name == names(3)[0] else None
        publisher = BrokerPublisher(outlet, "broker")
        await publisher.start()
        for index in range(6):
            publisher.publish(published(index))
        counts = await drained(publisher)
        assert outlet.taken == names(0, 1, 2, 4, 5)
        assert (counts["broker_failed"], counts["broker_retries"]) == (1, 0)

    asyncio.run(run())


def test_what_is_left_at_the_end_is_said(tmp_path: Path) -> None:
    async def run() -> None:
        outlet, ledger = Outlet(overlap=2), Ledger(tmp_path / "ledger.csv")
        outlet.gate.clear()
        publisher = BrokerPublisher(outlet, "broker", ledger=ledger)
        await publisher.start()
        for index in range(5):
            publisher.publish(published(index))
        await happens(lambda: len(outlet.batches) == 2)
        assert await publisher.drain(now_us() + 10_000) == 5
        assert not outlet.connected
        ledger.close()

    asyncio.run(run())
    with (tmp_path / "ledger.csv").open(newline="") as file:
        rows = [(row["index"], row["outcome"], row["attempts"]) for row in csv.DictReader(file)]
    assert rows == [(str(index), "pending", "1" if index < 2 else "0") for index in range(5)]


def test_without_a_broker_it_does_not_start() -> None:
    async def run() -> None:
        outlet = Outlet()
        outlet.on_connect = BrokerUnavailable("connecting failed")
        with pytest.raises(InputError, match="connecting failed; start one"):
            await BrokerPublisher(outlet, "broker", advice="start one").start()

    asyncio.run(run())


def test_a_fault_of_its_own_is_not_silent() -> None:
    async def run() -> None:
        outlet = Outlet()
        outlet.refuse = lambda name: ZeroDivisionError("a secret")
        publisher = BrokerPublisher(outlet, "broker")
        reasons: list[str] = []
        publisher.crashed = reasons.append
        await publisher.start()
        publisher.publish(published(0))
        await happens(lambda: bool(reasons))
        assert "ZeroDivisionError" in reasons[0]
        assert "secret" not in reasons[0]
        assert await publisher.drain(now_us()) == 1

    asyncio.run(run())
