"""Protects the inbox: durable before done, each event once, bounded, served in order, recovered."""

from __future__ import annotations

import array
import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from loadtest.contract import GITHUB
from loadtest.inbox import (
    MAX_SUBMISSION,
    Inbox,
    InboxFull,
    InboxUnavailable,
    LedgerRow,
    Retention,
    ServiceTimes,
    open_storage,
    read_ledger,
)
from loadtest.inbox import inbox as inbox_module
from loadtest.inbox.settling import INTERVAL_S
from loadtest.inbox.sqlite import SqliteStorage
from tests.loadtest.inboxes import Faulty, arrival, happens, query


def seconds(*values: float) -> ServiceTimes:
    return ServiceTimes(array.array("q", (round(value * 1e6) for value in values)))


def with_inbox(
    storage: Any,
    use: Callable[[Inbox], Awaitable[None]],
    drain_s: float = 5.0,
    **options: Any,
) -> int:
    """Run `use` on the inbox of a URL or a storage; returns how many events were left after the drain."""

    async def run() -> int:
        inbox = Inbox(open_storage(storage) if isinstance(storage, str) else storage, **options)
        await inbox.start()
        try:
            await use(inbox)
        finally:
            left = await inbox.drain(drain_s)
        return left

    return asyncio.run(run())


def test_what_is_acknowledged_is_already_in_the_file(inbox_url: str) -> None:
    async def use(inbox: Inbox) -> None:
        for index in range(20):
            await inbox.submit([arrival(index)])
            assert read_ledger(inbox_url)[-1].event_id == f"evt_{index}"

    assert with_inbox(inbox_url, use) == 0
    rows = read_ledger(inbox_url)
    assert [row.event_index for row in rows] == list(range(20))
    assert all(row.visible_us is not None and row.visible_us >= row.received_us for row in rows)
    assert rows[3]._replace(received_us=0, visible_us=None) == LedgerRow(
        4, "evt_3", 3, "new_order", "webhook", 1003, 0, None, 1
    )


def test_arrivals_of_one_turn_share_a_commit(inbox_url: str) -> None:
    async def use(inbox: Inbox) -> None:
        await asyncio.gather(*(inbox.submit([arrival(index)]) for index in range(200)))
        assert inbox.groups == 1
        assert inbox.accepted == 200

    with_inbox(inbox_url, use)


def test_outcomes_are_recorded_behind_a_group_that_waits(inbox_url: str) -> None:
    """Its senders wait, and nobody waits for the record of what was served."""
    calls: list[str] = []

    class Slow(Faulty):
        def __getattr__(self, name: str) -> Any:
            call = super().__getattr__(name)
            if name not in ("insert", "settle"):
                return call

            def noted(*arguments: Any) -> Any:
                calls.append(name)
                time.sleep(1.5 * INTERVAL_S)
                return call(*arguments)

            return noted

    async def use(inbox: Inbox) -> None:
        await inbox.submit([arrival(0)])
        second = inbox.submit([arrival(1)])
        await asyncio.sleep(0)  # now the writer has it; while it is stored, the first's outcome is due
        third = inbox.submit([arrival(2)])
        await asyncio.gather(second, third)

    assert with_inbox(Slow(open_storage(inbox_url)), use) == 0
    assert calls[:4] == ["insert", "insert", "insert", "settle"]
    assert all(row.visible_us is not None for row in read_ledger(inbox_url))


def test_duplicates_are_acknowledged_counted_and_visible_once(inbox_url: str) -> None:
    async def use(inbox: Inbox) -> None:
        # In one group, in a later one, and beside new events.
        await asyncio.gather(*(inbox.submit([arrival(index % 5)]) for index in range(15)))
        await inbox.submit([arrival(0)])
        await asyncio.gather(inbox.submit([arrival(1)]), inbox.submit([arrival(5)]))
        await inbox.submit([arrival(6), arrival(6), arrival(2)])
        assert (inbox.accepted, inbox.duplicates, inbox.worker.visible) == (7, 14, 7)

    with_inbox(inbox_url, use)
    rows = read_ledger(inbox_url)
    assert {row.event_index: row.copies for row in rows} == {0: 4, 1: 4, 2: 4, 3: 3, 4: 3, 5: 1, 6: 2}


def test_an_id_is_unique_within_its_source(inbox_url: str) -> None:
    """Another provider's delivery may carry the same id; a poll of the same event is a duplicate."""

    async def use(inbox: Inbox) -> None:
        await inbox.submit([arrival(1), arrival(1)._replace(source=GITHUB)])
        await inbox.submit([arrival(1)._replace(via="poll")], bounded=False)
        assert (inbox.accepted, inbox.duplicates) == (2, 1)

    with_inbox(inbox_url, use)
    rows = read_ledger(inbox_url)
    assert [(row.source, row.via, row.copies) for row in rows] == [
        ("standard", "webhook", 2),
        ("github", "webhook", 1),
    ]


def test_a_whole_page_is_stored_at_once(inbox_url: str) -> None:
    async def use(inbox: Inbox) -> None:
        await inbox.submit([arrival(index) for index in range(MAX_SUBMISSION)], bounded=False)
        assert inbox.groups == 1

    with_inbox(inbox_url, use, queue_limit=0)
    assert len(read_ledger(inbox_url)) == MAX_SUBMISSION


def test_a_full_queue_refuses_at_once_and_recovers(inbox_url: str) -> None:
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

    assert with_inbox(inbox_url, use, queue_limit=3, workers=1, service=seconds(*[0.02] * 9)) == 0
    assert [row.event_index for row in read_ledger(inbox_url)] == [0, 1, 2, 3, 6]


def test_without_a_queue_only_free_slots_take_events(inbox_url: str) -> None:
    async def use(inbox: Inbox) -> None:
        stored = [inbox.submit([arrival(index)]) for index in range(2)]
        with pytest.raises(InboxFull):  # both slots are spoken for, though nothing is stored yet
            inbox.submit([arrival(2)])
        await asyncio.gather(*stored)
        with pytest.raises(InboxFull):
            inbox.submit([arrival(3)])
        await inbox.worker.drain()
        await inbox.submit([arrival(4)])

    with_inbox(inbox_url, use, queue_limit=0, workers=2, service=seconds(*[0.02] * 9))
    assert [row.event_index for row in read_ledger(inbox_url)] == [0, 1, 4]


def test_a_storage_error_reaches_everyone_and_stores_nothing(inbox_url: str) -> None:
    storage = Faulty(open_storage(inbox_url))

    async def use(inbox: Inbox) -> None:
        storage.before = {"insert"}
        futures = [inbox.submit([arrival(index)]) for index in range(10)]
        answers = await asyncio.gather(*futures, return_exceptions=True)
        assert [type(answer) for answer in answers] == [InboxUnavailable] * 10
        assert (inbox.accepted, inbox.waiting, inbox.worker.visible) == (0, 0, 0)
        assert inbox.ready() == (False, "storage failed: insert failed")
        storage.before = set()
        await inbox.submit([arrival(3)])
        assert inbox.ready() == (True, "ready")

    with_inbox(storage, use)
    assert [row.event_index for row in read_ledger(inbox_url)] == [3]


def test_what_was_stored_without_an_answer_is_served_and_its_retry_is_a_duplicate(inbox_url: str) -> None:
    """The connection breaks amid a commit: no acknowledgement, but the event is there and is found."""
    storage = Faulty(open_storage(inbox_url))

    async def use(inbox: Inbox) -> None:
        storage.after = {"insert"}
        with pytest.raises(InboxUnavailable):
            await inbox.submit([arrival(1)])
        storage.after = set()
        await inbox.submit([arrival(1), arrival(2)])
        assert (inbox.accepted, inbox.duplicates) == (1, 1)
        await happens(lambda: inbox.worker.visible == 2)

    assert with_inbox(storage, use) == 0
    rows = read_ledger(inbox_url)
    assert [(row.event_index, row.copies) for row in rows] == [(1, 2), (2, 1)]
    assert all(row.visible_us is not None for row in rows)


def test_whoever_waited_behind_a_failure_is_refused_with_it(inbox_url: str) -> None:
    """A database that takes its time to fail must not be waited for group after group."""
    storage = Faulty(open_storage(inbox_url))

    async def use(inbox: Inbox) -> None:
        storage.before = {"insert"}
        page = [arrival(index) for index in range(MAX_SUBMISSION)]
        answers = [inbox.submit(page, bounded=False) for _ in range(5)]
        for answer in await asyncio.gather(*answers, return_exceptions=True):
            assert isinstance(answer, InboxUnavailable)
        assert (inbox.storage_errors, inbox.waiting) == (1, 0)
        storage.before = set()
        await inbox.submit([arrival(1)])

    assert with_inbox(storage, use) == 0


def test_payloads_are_dropped_and_ids_forgotten_in_time(
    inbox_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inbox_module, "PURGE_INTERVAL_S", 0.05)

    async def use(inbox: Inbox) -> None:
        await inbox.submit([arrival(index) for index in range(3)])
        await happens(lambda: query(inbox_url, "SELECT count(*) FROM inbox WHERE payload IS NULL") == [(3,)])
        await inbox.submit([arrival(1)])
        assert inbox.duplicates == 1
        query(inbox_url, "UPDATE inbox SET finished_s = finished_s - 3600")
        await happens(lambda: query(inbox_url, "SELECT count(*) FROM inbox") == [(0,)])

    with_inbox(inbox_url, use, retention=Retention(0.0, 1800.0))


def test_a_beat_finds_out_by_itself_that_storage_works_again(inbox_url: str) -> None:
    storage = Faulty(open_storage(inbox_url))

    async def use(inbox: Inbox) -> None:
        storage.before = {"insert", "beat"}
        with pytest.raises(InboxUnavailable):
            await inbox.submit([arrival(1)])
        await happens(lambda: inbox.ready() == (False, "storage failed: beat failed"))
        storage.before = set()
        await happens(lambda: inbox.ready() == (True, "ready"))

    with_inbox(storage, use)


def test_an_inbox_that_cannot_renew_its_lease_says_so(inbox_url: str) -> None:
    storage = Faulty(open_storage(inbox_url))

    async def use(inbox: Inbox) -> None:
        storage.before = {"beat"}
        await happens(lambda: not inbox.ready()[0])
        storage.before = set()
        await happens(lambda: inbox.ready()[0])

    with_inbox(storage, use, lease_s=0.3)


def test_a_full_disk_is_an_error_and_not_an_acknowledgement(tmp_path: Path) -> None:
    storage = SqliteStorage(tmp_path / "inbox.db")

    async def use(inbox: Inbox) -> None:
        await inbox.submit([arrival(0)])
        assert storage._db is not None
        storage._db.execute("PRAGMA max_page_count = 1")  # SQLite's own way to have no room
        big = [arrival(index, payload=b"x" * 100_000) for index in range(1, 5)]
        with pytest.raises(InboxUnavailable):
            await inbox.submit(big)
        assert "full" in inbox.ready()[1]

    with_inbox(storage, use)
    assert [row.event_index for row in read_ledger(tmp_path / "inbox.db")] == [0]


def test_a_cancelled_request_does_not_disturb_its_group(inbox_url: str) -> None:
    async def use(inbox: Inbox) -> None:
        first, second = (inbox.submit([arrival(index)]) for index in range(2))
        first.cancel()
        await second
        assert inbox.accepted == 2

    with_inbox(inbox_url, use)


def test_service_is_first_come_first_served_and_takes_its_time(inbox_url: str) -> None:
    """Two slots, services of 40, 10, 10, 10 ms at once: they end at 40, 10, 20, 30 ms."""

    async def use(inbox: Inbox) -> None:
        await inbox.submit([arrival(index) for index in range(4)])
        await inbox.worker.drain()
        assert inbox.worker.queue_max == 2
        assert inbox.worker.busy_us == 70_000
        assert inbox.worker.queue_integral_us >= 29_000  # two wait 10 ms, then one does

    with_inbox(inbox_url, use, workers=2, service=seconds(0.04, 0.01, 0.01, 0.01))
    rows = read_ledger(inbox_url)
    ended = [row.visible_us or 0 for row in rows]
    assert sorted(range(4), key=lambda index: ended[index])[-1] == 0
    assert ended[1] < ended[2] < ended[3]
    for row, due_s in zip(rows, (0.04, 0.01, 0.02, 0.03), strict=True):
        assert (row.visible_us or 0) - row.received_us >= due_s * 1e6


@pytest.mark.parametrize("lost", ["before", "after"])
def test_marks_survive_a_storage_error(inbox_url: str, lost: str) -> None:
    """Also when it was only the answer that was lost: they count once, and none is superseded."""
    storage = Faulty(open_storage(inbox_url))

    async def use(inbox: Inbox) -> None:
        setattr(storage, lost, {"settle"})
        await inbox.submit([arrival(index) for index in range(5)])
        await happens(lambda: inbox.storage_errors >= 2)
        setattr(storage, lost, set())
        await inbox.submit([arrival(5)])

    async def look(inbox: Inbox) -> None:
        await use(inbox)
        await happens(lambda: inbox.status()["visible"] == 6 and inbox.status()["superseded"] == 0)

    assert with_inbox(storage, look) == 0
    assert [row.visible_us is not None for row in read_ledger(inbox_url)] == [True] * 6


def test_events_without_a_service_time_are_counted(inbox_url: str) -> None:
    async def use(inbox: Inbox) -> None:
        await inbox.submit([arrival(0), arrival(7), arrival(-1)])
        await inbox.worker.drain()
        assert inbox.status()["without_service_time"] == 2

    with_inbox(inbox_url, use, service=seconds(0.001))


def test_what_a_drain_leaves_the_next_start_serves(inbox_url: str) -> None:
    async def fill(inbox: Inbox) -> None:
        await inbox.submit([arrival(index) for index in range(6)])

    left = with_inbox(inbox_url, fill, drain_s=0.3, workers=1, service=seconds(*[0.002, 0.002, 9, 9, 9, 9]))
    assert left == 4
    assert sum(row.visible_us is None for row in read_ledger(inbox_url)) == 4

    async def look(inbox: Inbox) -> None:
        assert inbox.recovered == 4

    before = [row.visible_us for row in read_ledger(inbox_url)[:2]]
    assert with_inbox(inbox_url, look) == 0
    after = read_ledger(inbox_url)
    assert [row.visible_us for row in after[:2]] == before
    assert all(row.visible_us is not None and row.copies == 1 for row in after)


def test_the_cursor_survives(inbox_url: str) -> None:
    async def save(inbox: Inbox) -> None:
        assert await inbox.cursor("http://a") is None
        await inbox.save_cursor("http://a", "5")
        await inbox.save_cursor("http://a", "17")

    async def look(inbox: Inbox) -> None:
        assert await inbox.cursor("http://a") == "17"
        assert await inbox.cursor("http://b") is None

    with_inbox(inbox_url, save)
    with_inbox(inbox_url, look)
