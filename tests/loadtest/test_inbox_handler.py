"""Protects handling: bounded retries, dead letters with a reason, poison that kills, lost leases."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from loadtest.inbox import Handling, Inbox, StoredEvent, handler, load_handler, open_storage, read_ledger
from loadtest.inbox.handler import MAX_REASON_CHARS
from sim.errors import InputError
from tests.loadtest.inboxes import Faulty, arrival, happens, lapse, query, row


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handler, "FIRST_PAUSE_S", 0.01)
    monkeypatch.setattr(handler, "STORAGE_PAUSE_S", 0.01)


def handled(
    storage: Any,
    handle: Callable[[StoredEvent], Awaitable[None]],
    use: Callable[[Inbox], Awaitable[None]],
    *,
    attempts: int = 3,
    timeout_s: float = 10.0,
    drain_s: float = 5.0,
    workers: int = 2,
    **options: Any,
) -> int:
    """Run `use` on an inbox that `handle` serves; returns what the drain left."""

    async def run() -> int:
        inbox = Inbox(
            open_storage(storage) if isinstance(storage, str) else storage,
            service=Handling(handle, attempts, timeout_s),
            workers=workers,
            **options,
        )
        await inbox.start()
        try:
            await use(inbox)
        finally:
            left = await inbox.drain(drain_s)
        return left

    return asyncio.run(run())


def dead(url: str) -> dict[str, str]:
    return dict(query(url, "SELECT event_id, dead_reason FROM inbox WHERE dead_reason IS NOT NULL"))


def test_a_handler_gets_each_event_once_with_its_payload(inbox_url: str) -> None:
    got: list[StoredEvent] = []

    async def handle(event: StoredEvent) -> None:
        got.append(event)

    async def use(inbox: Inbox) -> None:
        await inbox.submit([arrival(index, payload=b"%d" % index) for index in range(20)])
        await inbox.submit([arrival(3)])

    assert handled(inbox_url, handle, use) == 0
    assert [(event.id, event.payload, event.attempt) for event in got] == [
        (f"evt_{index}", b"%d" % index, 1) for index in range(20)
    ]
    assert all(row.visible_us is not None for row in read_ledger(inbox_url))


def test_what_fails_is_tried_again_and_what_always_fails_becomes_a_dead_letter(inbox_url: str) -> None:
    attempts: dict[str, int] = {}

    async def handle(event: StoredEvent) -> None:
        attempts[event.id] = event.attempt
        if event.index == 1 or (event.index == 2 and event.attempt < 3):
            raise ValueError(f"cannot take {event.payload!r}")
        if event.index == 3:
            await asyncio.sleep(60)

    async def use(inbox: Inbox) -> None:
        await inbox.submit([arrival(index, payload=b"a secret") for index in range(4)])
        await happens(lambda: inbox.status()["dead"] == 2 and inbox.status()["visible"] == 2)
        assert inbox.status()["retries"] == 6

    assert handled(inbox_url, handle, use, timeout_s=0.05) == 0
    assert attempts == {"evt_0": 1, "evt_1": 3, "evt_2": 3, "evt_3": 3}
    letters = dead(inbox_url)
    assert letters.keys() == {"evt_1", "evt_3"}
    assert letters["evt_1"].startswith("ValueError at test_inbox_handler.py:")
    assert letters["evt_3"].startswith("TimeoutError")
    assert "secret" not in str(letters)
    assert [row.visible_us is not None for row in read_ledger(inbox_url)] == [True, False, True, False]


def test_a_handler_that_cancels_itself_has_failed(inbox_url: str) -> None:
    async def handle(event: StoredEvent) -> None:
        raise asyncio.CancelledError

    async def use(inbox: Inbox) -> None:
        await inbox.submit([arrival(0)])
        await happens(lambda: inbox.status()["dead"] == 1)

    assert handled(inbox_url, handle, use, attempts=2) == 0
    assert dead(inbox_url)["evt_0"].startswith("CancelledError")


def test_an_attempt_is_counted_before_the_handler_is_called(inbox_url: str) -> None:
    counted: list[Any] = []

    async def handle(event: StoredEvent) -> None:
        counted.extend(query(inbox_url, "SELECT attempts FROM inbox"))

    async def use(inbox: Inbox) -> None:
        await inbox.submit([arrival(0)])

    handled(inbox_url, handle, use)
    assert counted == [(1,)]


def test_a_lost_event_is_interrupted_and_does_not_count(inbox_url: str) -> None:
    """A process that was stopped too long: another has the event, so it stops serving what it holds."""
    begun: list[str] = []
    interrupted: list[str] = []

    async def handle(event: StoredEvent) -> None:
        begun.append(event.id)
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            interrupted.append(event.id)
            raise

    async def use(inbox: Inbox) -> None:
        await inbox.submit([arrival(index) for index in range(3)])
        await happens(lambda: len(begun) == 2)
        other = open_storage(inbox_url)
        lapse(inbox_url, inbox._storage.owner)
        assert len(other.beat(60, 10)) == 3
        await happens(lambda: sorted(interrupted) == ["evt_0", "evt_1"])
        other.close()
        await happens(lambda: inbox.worker.in_service == 2)  # and gets them back

    handled(inbox_url, handle, use, lease_s=0.3, drain_s=0.1)


def test_attempts_that_cannot_be_counted_are_not_made(inbox_url: str) -> None:
    storage = Faulty(open_storage(inbox_url))
    got: list[int] = []

    async def handle(event: StoredEvent) -> None:
        got.append(event.attempt)

    async def use(inbox: Inbox) -> None:
        storage.before = {"begin"}
        await inbox.submit([arrival(0)])
        await asyncio.sleep(0.05)
        assert (got, inbox.waiting + inbox.worker.in_service) == ([], 1)
        storage.before = set()
        await happens(lambda: got == [1])

    assert handled(storage, handle, use) == 0


def test_a_drain_interrupts_what_does_not_end_and_leaves_it_to_others(inbox_url: str) -> None:
    async def handle(event: StoredEvent) -> None:
        if event.index == 0:
            raise ValueError
        await asyncio.Event().wait()

    async def use(inbox: Inbox) -> None:
        await inbox.submit([arrival(index) for index in range(4)])
        await happens(lambda: inbox.worker.in_service == 2)

    assert handled(inbox_url, handle, use, drain_s=0.1) == 4
    other = open_storage(inbox_url)
    assert len(other.beat(60, 10)) == 4
    other.close()


def test_a_running_inbox_takes_up_what_is_replayed(inbox_url: str) -> None:
    broken = True

    async def handle(event: StoredEvent) -> None:
        if broken:
            raise ValueError

    async def use(inbox: Inbox) -> None:
        nonlocal broken
        await inbox.submit([arrival(0)])
        await happens(lambda: len(dead(inbox_url)) == 1)
        broken = False
        operator = open_storage(inbox_url, must_exist=True)
        assert operator.replay(["dead"], None) == 1
        operator.close()
        await happens(lambda: inbox.status()["visible"] == 1)

    assert handled(inbox_url, handle, use, attempts=1, lease_s=0.6) == 0
    assert read_ledger(inbox_url)[0].visible_us is not None


def test_suspects_are_served_one_at_a_time(inbox_url: str) -> None:
    """What was begun elsewhere and not finished may have ended its process; it is served alone."""
    first = open_storage(inbox_url)
    first.beat(60, 0)
    seqs = [seq for seq, _ in first.insert([row(index) for index in range(4)])]
    first.begin(seqs[:3])
    lapse(inbox_url)
    at_once: list[int] = []
    serving: set[int] = set()

    async def handle(event: StoredEvent) -> None:
        serving.add(event.index)
        at_once.append(len(serving & {0, 1, 2}))
        await asyncio.sleep(0.01)
        serving.remove(event.index)

    async def use(inbox: Inbox) -> None:
        await happens(lambda: inbox.status()["visible"] == 4)

    assert handled(inbox_url, handle, use, workers=4) == 0
    assert max(at_once) == 1
    first.close()


def test_a_reason_is_bounded_and_never_the_message() -> None:
    class Long(Exception):
        pass

    Long.__name__ = "L" * 1000
    assert len(handler.reason_of(Long("payload"))) == MAX_REASON_CHARS
    assert "payload" not in handler.reason_of(ValueError("payload"))


def test_handlers_are_found_or_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "hb_shop.py").write_text("async def handle(event): ...\ndef plain(event): ...\nvalue = 1\n")
    (tmp_path / "hb_broken.py").write_text("raise RuntimeError('no luck')\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    assert load_handler("hb_shop:handle").__name__ == "handle"
    for name, says in (
        ("hb_shop", "MODULE:FUNCTION"),
        (":handle", "MODULE:FUNCTION"),
        ("hb_shop:", "MODULE:FUNCTION"),
        ("hb_missing:handle", "No module named"),
        ("hb_broken:handle", "no luck"),
        ("hb_shop:missing", "async def missing"),
        ("hb_shop:plain", "async def plain"),
        ("hb_shop:value", "async def value"),
    ):
        with pytest.raises(InputError, match=says):
            load_handler(name)
