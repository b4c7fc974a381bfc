"""Protects the inbox: durable before done, each event once, bounded, served in order, recovered."""

from __future__ import annotations

import array
import asyncio
import sqlite3
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from loadtest.contract import GITHUB, Envelope, now_us
from loadtest.inbox import (
    Arrival,
    Inbox,
    InboxFull,
    InboxUnavailable,
    LedgerRow,
    ServiceTimes,
    Worker,
    inbox_path,
    read_ledger,
)
from loadtest.inbox.storage import MAX_SUBMISSION, Storage
from sim.errors import InputError


def arrival(index: int, name: str = "evt") -> Arrival:
    return Arrival(Envelope(f"{name}_{index}", "new_order", index, 1000 + index), b"{}", "webhook", now_us())


def seconds(*values: float) -> ServiceTimes:
    return ServiceTimes(array.array("q", (round(value * 1e6) for value in values)))


def with_inbox(
    path: Path, use: Callable[[Inbox], Awaitable[None]], drain_s: float = 5.0, **options: Any
) -> int:
    """Run `use` on an open inbox; returns how many events were left after the drain."""

    async def run() -> int:
        inbox = Inbox(path, **options)
        await inbox.start()
        try:
            await use(inbox)
        finally:
            left = await inbox.drain(drain_s)
        return left

    return asyncio.run(run())


def test_what_is_acknowledged_is_already_in_the_file(tmp_path: Path) -> None:
    path = tmp_path / "inbox.db"

    async def use(inbox: Inbox) -> None:
        for index in range(20):
            await inbox.submit([arrival(index)])
            assert read_ledger(path)[-1].event_id == f"evt_{index}"

    assert with_inbox(path, use) == 0
    rows = read_ledger(path)
    assert [row.event_index for row in rows] == list(range(20))
    assert all(row.visible_us is not None and row.visible_us >= row.received_us for row in rows)
    assert rows[3]._replace(received_us=0, visible_us=None) == LedgerRow(
        4, "evt_3", 3, "new_order", "webhook", 1003, 0, None, 1
    )


def test_arrivals_of_one_turn_share_a_commit(tmp_path: Path) -> None:
    async def use(inbox: Inbox) -> None:
        await asyncio.gather(*(inbox.submit([arrival(index)]) for index in range(200)))
        assert inbox.groups == 1
        assert inbox.accepted == 200

    with_inbox(tmp_path / "inbox.db", use)


def test_duplicates_are_acknowledged_counted_and_visible_once(tmp_path: Path) -> None:
    async def use(inbox: Inbox) -> None:
        # In one group, in a later one, and beside new events.
        await asyncio.gather(*(inbox.submit([arrival(index % 5)]) for index in range(15)))
        await inbox.submit([arrival(0)])
        await asyncio.gather(inbox.submit([arrival(1)]), inbox.submit([arrival(5)]))
        await inbox.submit([arrival(6), arrival(6), arrival(2)])
        assert (inbox.accepted, inbox.duplicates, inbox.worker.visible) == (7, 14, 7)

    with_inbox(tmp_path / "inbox.db", use)
    rows = read_ledger(tmp_path / "inbox.db")
    assert {row.event_index: row.copies for row in rows} == {0: 4, 1: 4, 2: 4, 3: 3, 4: 3, 5: 1, 6: 2}


def test_an_id_is_unique_within_its_source(tmp_path: Path) -> None:
    """Another provider's delivery may carry the same id; a poll of the same event is a duplicate."""

    async def use(inbox: Inbox) -> None:
        await inbox.submit([arrival(1), arrival(1)._replace(source=GITHUB)])
        await inbox.submit([arrival(1)._replace(via="poll")], bounded=False)
        assert (inbox.accepted, inbox.duplicates) == (2, 1)

    with_inbox(tmp_path / "inbox.db", use)
    rows = read_ledger(tmp_path / "inbox.db")
    assert [(row.source, row.via, row.copies) for row in rows] == [
        ("standard", "webhook", 2),
        ("github", "webhook", 1),
    ]


def test_a_whole_page_is_stored_at_once(tmp_path: Path) -> None:
    async def use(inbox: Inbox) -> None:
        await inbox.submit([arrival(index) for index in range(MAX_SUBMISSION)], bounded=False)
        assert inbox.groups == 1

    with_inbox(tmp_path / "inbox.db", use, queue_limit=0)
    assert len(read_ledger(tmp_path / "inbox.db")) == MAX_SUBMISSION


def test_a_full_queue_refuses_at_once_and_recovers(tmp_path: Path) -> None:
    async def use(inbox: Inbox) -> None:
        stored = [inbox.submit([arrival(index)]) for index in range(4)]  # one will find the slot free
        with pytest.raises(InboxFull):
            inbox.submit([arrival(4)])
        await asyncio.gather(*stored)
        assert (inbox.worker.in_service, inbox.waiting) == (1, 3)
        with pytest.raises(InboxFull):
            inbox.submit([arrival(5)])
        await inbox.worker.drain()
        await inbox.submit([arrival(6)])

    assert with_inbox(tmp_path / "inbox.db", use, queue_limit=3, workers=1, service=seconds(*[0.02] * 9)) == 0
    assert [row.event_index for row in read_ledger(tmp_path / "inbox.db")] == [0, 1, 2, 3, 6]


def test_without_a_queue_only_free_slots_take_events(tmp_path: Path) -> None:
    async def use(inbox: Inbox) -> None:
        stored = [inbox.submit([arrival(index)]) for index in range(2)]
        with pytest.raises(InboxFull):  # both slots are spoken for, though nothing is stored yet
            inbox.submit([arrival(2)])
        await asyncio.gather(*stored)
        with pytest.raises(InboxFull):
            inbox.submit([arrival(3)])
        await inbox.worker.drain()
        await inbox.submit([arrival(4)])

    with_inbox(tmp_path / "inbox.db", use, queue_limit=0, workers=2, service=seconds(*[0.02] * 9))
    assert [row.event_index for row in read_ledger(tmp_path / "inbox.db")] == [0, 1, 4]


def test_a_storage_error_reaches_everyone_and_stores_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Storage.insert
    broken = True

    def insert(self: Storage, rows: list[Any]) -> list[tuple[int, int]]:
        if broken:
            raise sqlite3.OperationalError("disk I/O error")
        return real(self, rows)

    monkeypatch.setattr(Storage, "insert", insert)

    async def use(inbox: Inbox) -> None:
        nonlocal broken
        futures = [inbox.submit([arrival(index)]) for index in range(10)]
        answers = await asyncio.gather(*futures, return_exceptions=True)
        assert [type(answer) for answer in answers] == [InboxUnavailable] * 10
        assert (inbox.accepted, inbox.waiting, inbox.worker.visible) == (0, 0, 0)
        broken = False
        await inbox.submit([arrival(3)])

    with_inbox(tmp_path / "inbox.db", use)
    assert [row.event_index for row in read_ledger(tmp_path / "inbox.db")] == [3]


def test_a_full_disk_is_an_error_and_not_an_acknowledgement(tmp_path: Path) -> None:
    async def use(inbox: Inbox) -> None:
        await inbox.submit([arrival(0)])
        inbox._storage._db.execute("PRAGMA max_page_count = 1")  # SQLite's own way to have no room
        big = [arrival(index)._replace(payload=b"x" * 100_000) for index in range(1, 5)]
        with pytest.raises(InboxUnavailable, match="full"):
            await inbox.submit(big)

    with_inbox(tmp_path / "inbox.db", use)
    assert [row.event_index for row in read_ledger(tmp_path / "inbox.db")] == [0]


def test_a_cancelled_request_does_not_disturb_its_group(tmp_path: Path) -> None:
    async def use(inbox: Inbox) -> None:
        first, second = (inbox.submit([arrival(index)]) for index in range(2))
        first.cancel()
        await second
        assert inbox.accepted == 2

    with_inbox(tmp_path / "inbox.db", use)


def test_service_is_first_come_first_served_and_takes_its_time(tmp_path: Path) -> None:
    """Two slots, services of 40, 10, 10, 10 ms at once: they end at 40, 10, 20, 30 ms."""

    async def use(inbox: Inbox) -> None:
        await inbox.submit([arrival(index) for index in range(4)])
        await inbox.worker.drain()
        assert inbox.worker.queue_max == 2
        assert inbox.worker.busy_us == 70_000
        assert inbox.worker.queue_integral_us >= 29_000  # two wait 10 ms, then one does

    with_inbox(tmp_path / "inbox.db", use, workers=2, service=seconds(0.04, 0.01, 0.01, 0.01))
    rows = read_ledger(tmp_path / "inbox.db")
    ended = [row.visible_us or 0 for row in rows]
    assert sorted(range(4), key=lambda index: ended[index])[-1] == 0
    assert ended[1] < ended[2] < ended[3]
    for row, due_s in zip(rows, (0.04, 0.01, 0.02, 0.03), strict=True):
        assert (row.visible_us or 0) - row.received_us >= due_s * 1e6


class Clockwork:
    """A clock that stands where it is put, and timers that are kept until the test lets them ring."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now_us = 0
        self.timers: list[tuple[int, Callable[..., None], tuple[Any, ...]]] = []
        monkeypatch.setattr(asyncio, "get_running_loop", lambda: self)

    def call_later(self, delay_s: float, wake: Callable[..., None], *arguments: Any) -> None:
        self.timers.append((self.now_us + round(delay_s * 1e6), wake, arguments))

    def ring(self, at_us: int) -> None:
        self.now_us = at_us
        _, wake, arguments = self.timers.pop(0)
        wake(*arguments)


def clockwork_worker(
    monkeypatch: pytest.MonkeyPatch, workers: int, *services_s: float
) -> tuple[Clockwork, Worker, list[tuple[int, int]]]:
    clock, done = Clockwork(monkeypatch), []
    worker = Worker(workers, seconds(*services_s), done.extend, clock=lambda: clock.now_us)
    return clock, worker, done


def test_late_timers_do_not_add_up_to_a_slower_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, worker, done = clockwork_worker(monkeypatch, 1, *[0.001] * 200)
    worker.offer([(seq, seq) for seq in range(200)])
    dues = []
    while clock.timers:
        dues.append(clock.timers[0][2][0])
        clock.ring(dues[-1] + 700)
    assert dues == [1000 * k for k in range(1, 201)]
    assert done == [(seq, 1000 * (seq + 1) + 700) for seq in range(200)]
    assert worker.busy_us == 200_000


def test_an_event_does_not_start_before_it_came(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, worker, _ = clockwork_worker(monkeypatch, 1, 0.01, 0.01)
    worker.offer([(1, 0)])
    clock.now_us = 10_600  # the first was due at 10,000, its timer has not rung yet
    worker.offer([(2, 1)])
    clock.ring(10_900)
    ((_, _, (due_us, seq)),) = clock.timers
    assert (seq, due_us) == (2, 20_600)


def test_an_early_timer_finishes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, worker, done = clockwork_worker(monkeypatch, 1, 0.01)
    worker.offer([(1, 0)])
    clock.ring(9_999)
    assert (done, worker.visible, worker.in_service) == ([], 0, 1)
    clock.ring(10_000)
    assert (done, worker.visible, worker.in_service) == ([(1, 10_000)], 1, 0)


def test_the_counts_of_time_reach_up_to_now(monkeypatch: pytest.MonkeyPatch) -> None:
    """One of two events is served for 10 ms, the other waits: after 4 ms both counts say 4 ms."""
    clock, worker, _ = clockwork_worker(monkeypatch, 1, 0.01, 0.01)
    worker.offer([(1, 0), (2, 1)])
    clock.now_us = 4_000
    assert (worker.busy_us, worker.queue_integral_us) == (4_000, 4_000)
    clock.ring(10_000)
    clock.now_us = 13_000
    assert (worker.busy_us, worker.queue_integral_us) == (13_000, 10_000)


def test_marks_survive_a_storage_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, failures = Storage.mark_visible, 2

    def mark(self: Storage, marks: list[tuple[int, int]]) -> None:
        nonlocal failures
        failures -= 1
        if failures >= 0:
            raise sqlite3.OperationalError("disk I/O error")
        real(self, marks)

    monkeypatch.setattr(Storage, "mark_visible", mark)

    async def use(inbox: Inbox) -> None:
        await inbox.submit([arrival(index) for index in range(5)])
        await asyncio.sleep(0.08)
        await inbox.submit([arrival(5)])

    assert with_inbox(tmp_path / "inbox.db", use) == 0
    rows = read_ledger(tmp_path / "inbox.db")
    assert [row.visible_us is not None for row in rows] == [True] * 6


def test_a_commit_is_on_the_disk_when_it_returns(tmp_path: Path) -> None:
    storage = Storage(tmp_path / "inbox.db")
    (level,) = storage._db.execute("PRAGMA synchronous").fetchone()
    (mode,) = storage._db.execute("PRAGMA journal_mode").fetchone()
    storage.close()
    assert (level, mode) == (2, "wal")  # FULL, see SQLite's documentation of "PRAGMA synchronous"


def test_events_without_a_service_time_are_counted(tmp_path: Path) -> None:
    async def use(inbox: Inbox) -> None:
        await inbox.submit([arrival(0), arrival(7), arrival(-1)])
        await inbox.worker.drain()
        assert inbox.status()["without_service_time"] == 2

    with_inbox(tmp_path / "inbox.db", use, service=seconds(0.001))


def test_what_a_drain_leaves_the_next_start_serves(tmp_path: Path) -> None:
    path = tmp_path / "inbox.db"

    async def fill(inbox: Inbox) -> None:
        await inbox.submit([arrival(index) for index in range(6)])

    left = with_inbox(path, fill, drain_s=0.3, workers=1, service=seconds(*[0.002, 0.002, 9, 9, 9, 9]))
    assert left == 4
    assert sum(row.visible_us is None for row in read_ledger(path)) == 4

    async def look(inbox: Inbox) -> None:
        assert inbox.recovered == 4

    before = [row.visible_us for row in read_ledger(path)[:2]]
    assert with_inbox(path, look) == 0
    after = read_ledger(path)
    assert [row.visible_us for row in after[:2]] == before
    assert all(row.visible_us is not None and row.copies == 1 for row in after)


def test_the_cursor_survives(tmp_path: Path) -> None:
    async def save(inbox: Inbox) -> None:
        assert await inbox.cursor("http://a") is None
        await inbox.save_cursor("http://a", "5")
        await inbox.save_cursor("http://a", "17")

    async def look(inbox: Inbox) -> None:
        assert await inbox.cursor("http://a") == "17"
        assert await inbox.cursor("http://b") is None

    with_inbox(tmp_path / "inbox.db", save)
    with_inbox(tmp_path / "inbox.db", look)


def test_an_inbox_has_one_owner(tmp_path: Path) -> None:
    storage = Storage(tmp_path / "inbox.db")
    with pytest.raises(InputError, match="in use"):
        Storage(tmp_path / "inbox.db")
    storage.close()
    Storage(tmp_path / "inbox.db").close()


def test_files_that_are_no_inbox(tmp_path: Path) -> None:
    (tmp_path / "text.db").write_text("not a database, and long enough to be looked at " * 10)
    other = sqlite3.connect(tmp_path / "other.db")
    other.execute("CREATE TABLE t (x)")
    other.close()
    for path in (tmp_path / "text.db", tmp_path / "other.db", tmp_path / "no" / "folder.db", tmp_path):
        with pytest.raises(InputError, match="cannot be opened"):
            Storage(path)
    for path in (tmp_path / "text.db", tmp_path / "other.db", tmp_path / "missing.db"):
        with pytest.raises(InputError):
            read_ledger(path)


@pytest.mark.parametrize("url", ["inbox.db", "sqlite://inbox.db", "postgresql://x/y", "sqlite:///", ""])
def test_other_inbox_urls_are_refused(url: str) -> None:
    with pytest.raises(InputError, match="sqlite:///PATH"):
        inbox_path(url)


def test_inbox_urls() -> None:
    assert inbox_path("sqlite:///a/b.db") == Path("a/b.db")
    assert inbox_path("sqlite:////a/b.db") == Path("/a/b.db")


def test_service_time_files(tmp_path: Path) -> None:
    path = tmp_path / "service.f64"
    path.write_bytes(array.array("d", [0.5, 0.0, 1e-6]).tobytes())
    times = ServiceTimes.read(path)
    assert [times.get(index) for index in (0, 1, 2, 3, -1)] == [500_000, 0, 1, None, None]
    assert ServiceTimes().get(12) == 0
    for content, says in ((b"1234567", "whole number"), (array.array("d", [1.0, -1.0]).tobytes(), "entry 1")):
        path.write_bytes(content)
        with pytest.raises(InputError, match=says):
            ServiceTimes.read(path)
    with pytest.raises(InputError, match="cannot be read"):
        ServiceTimes.read(tmp_path / "missing")
