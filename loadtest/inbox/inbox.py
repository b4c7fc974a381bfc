"""Group commit: arrivals gather while a writer thread stores the group before them.

All state belongs to the event loop's thread. The writer thread only runs one storage call at a time and
hands its outcome back through `call_soon_threadsafe`, once per group; so there is nothing to lock.
"""

from __future__ import annotations

import asyncio
import logging
import queue
import sqlite3
import threading
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from loadtest.contract import STANDARD, Envelope
from loadtest.inbox.storage import MAX_GROUP, MAX_SUBMISSION, Row, Storage
from loadtest.inbox.worker import ServiceTimes, Worker
from sim.errors import HookbenchError

log = logging.getLogger("hookbench.inbox")

MARK_INTERVAL_S = 0.05

T = TypeVar("T")


class InboxFull(HookbenchError):
    """Too many events wait for storage or service; the sender should try again later (503)."""


class InboxUnavailable(HookbenchError):
    """Storage failed, so the event must not be acknowledged (503)."""


class Arrival(NamedTuple):
    """An event as it came in.

    Attributes:
        event: its identity.
        payload: its bytes, as verified.
        via: "webhook" or "poll".
        received_us: when it was completely here.
        source: whose ids the event's id is unique among, a name in `loadtest.contract`: one provider's
            delivery id may well equal another's event id. What our provider pushes and what is polled from
            it share `STANDARD`, so that each is a duplicate of the other.
    """

    event: Envelope
    payload: bytes
    via: str
    received_us: int
    source: str = STANDARD


class _Submission(NamedTuple):
    rows: list[Row]
    stored: asyncio.Future[None]


class Inbox:
    """The durable inbox and its worker, for one event loop.

    Args:
        path: the SQLite file; created when missing, exclusive while open.
        workers: service slots.
        service: service time by event index.
        queue_limit: events that may wait beyond those that find a slot free, before `submit` refuses; with 0
            an event is taken only if a slot is free for it.

    Attributes:
        accepted: events newly stored. duplicates: copies of known ones. groups: commits so far.
        recovered: events found unprocessed at the start. storage_errors: groups that failed.

    Raises:
        InputError: the file cannot be opened, is no inbox, or is in use.
    """

    def __init__(
        self, path: Path, *, workers: int = 1, service: ServiceTimes | None = None, queue_limit: int = 1000
    ) -> None:
        self._storage = Storage(path)
        self._worker_slots = workers
        self._service = service or ServiceTimes()
        self._queue_limit = queue_limit
        self._submissions: deque[_Submission] = deque()
        self._marks: list[tuple[int, int]] = []
        self._marking = False
        self._writing = False
        self._gathering = False
        self._uncommitted = 0
        self._quiet = asyncio.Event()
        self._quiet.set()
        self.accepted = 0
        self.duplicates = 0
        self.groups = 0
        self.recovered = 0
        self.storage_errors = 0

    async def start(self) -> None:
        """Start the writer, and the worker on whatever an earlier process left unprocessed."""
        self._loop = asyncio.get_running_loop()
        self._writer = _Writer(self._loop)
        self.worker = Worker(self._worker_slots, self._service, self._visible)
        left = await self._call(self._storage.unprocessed)
        self.recovered = len(left)
        self.worker.offer(left)

    @property
    def waiting(self) -> int:
        """Events that are not stored yet or wait for a slot."""
        return self._uncommitted + self.worker.waiting

    def submit(self, arrivals: Sequence[Arrival], *, bounded: bool = True) -> asyncio.Future[None]:
        """Store up to `MAX_SUBMISSION` events; the future is done when they are durable, the new ones queued.

        Polled events come `bounded=False`: whoever asked for them has to take them.

        Raises:
            InboxFull: at once, when `queue_limit` events wait and every slot is taken or spoken for.
            InboxUnavailable: by the future, when storage failed.
        """
        room = self._queue_limit + self._worker_slots - self.worker.in_service
        if bounded and self.waiting + len(arrivals) > room:
            raise InboxFull(f"{self.waiting} events wait already; the limit is {self._queue_limit}")
        assert 0 < len(arrivals) <= MAX_SUBMISSION
        rows = [
            (a.source, e.id, e.index, e.type, a.via, a.payload, e.created_us, a.received_us)
            for a in arrivals
            for e in (a.event,)
        ]
        stored: asyncio.Future[None] = self._loop.create_future()
        self._submissions.append(_Submission(rows, stored))
        self._uncommitted += len(rows)
        self._quiet.clear()
        if not self._writing and not self._gathering:
            # Whatever else this turn of the loop brings joins the group.
            self._gathering = True
            self._loop.call_soon(self._write_group)
        return stored

    async def cursor(self, source: str) -> str | None:
        """How far `source` has been polled, or None."""
        return await self._call(lambda: self._storage.cursor(source))

    async def save_cursor(self, source: str, cursor: str) -> None:
        """Remember durably how far `source` has been polled.

        Raises:
            InboxUnavailable: storage failed.
        """
        try:
            await self._call(lambda: self._storage.save_cursor(source, cursor))
        except sqlite3.Error as error:
            self.storage_errors += 1
            raise InboxUnavailable(f"the cursor could not be stored: {error}") from error

    async def drain(self, timeout_s: float) -> int:
        """Wait until all is stored and served, at most `timeout_s`, then close.

        Returns:
            how many stored events are left for the next start.
        """
        await self._quiet.wait()
        try:
            await asyncio.wait_for(self.worker.drain(), timeout_s)
        except TimeoutError:
            self.worker.stop()
        left = self.worker.waiting + self.worker.in_service
        give_up = self._loop.time() + timeout_s
        while self._marking and self._loop.time() < give_up:  # noqa: ASYNC110 - once, at the very end
            await asyncio.sleep(MARK_INTERVAL_S)
        await self._call(self._storage.close)
        self._writer.stop()
        return left + len(self._marks)

    def status(self) -> dict[str, Any]:
        """Counts for /status; times in seconds."""
        worker = self.worker
        return {
            "accepted": self.accepted,
            "duplicates": self.duplicates,
            "recovered": self.recovered,
            "visible": worker.visible,
            "waiting": self.waiting,
            "in_service": worker.in_service,
            "groups": self.groups,
            "storage_errors": self.storage_errors,
            "queue_max": worker.queue_max,
            "queue_integral_s": worker.queue_integral_us / 1e6,
            "busy_s": worker.busy_us / 1e6,
            "without_service_time": worker.without_service_time,
        }

    def _write_group(self) -> None:
        self._gathering = False
        if self._writing or not self._submissions:
            return
        group: list[_Submission] = []
        rows: list[Row] = []
        while self._submissions and (not rows or len(rows) + len(self._submissions[0].rows) <= MAX_GROUP):
            submission = self._submissions.popleft()
            group.append(submission)
            rows += submission.rows
        self._writing = True
        self._writer.call(
            lambda: self._storage.insert(rows), lambda new, error: self._written(group, len(rows), new, error)
        )

    def _written(
        self, group: list[_Submission], size: int, new: list[tuple[int, int]] | None, error: Exception | None
    ) -> None:
        self._writing = False
        self._uncommitted -= size
        if new is None:
            self.storage_errors += 1
            log.error("%d events could not be stored: %s", size, error)
            for submission in group:
                if not submission.stored.done():
                    submission.stored.set_exception(InboxUnavailable(f"storage failed: {error}"))
        else:
            self.groups += 1
            self.accepted += len(new)
            self.duplicates += size - len(new)
            for submission in group:
                if not submission.stored.done():  # its request may have been cancelled meanwhile
                    submission.stored.set_result(None)
            self.worker.offer(new)
        if self._submissions:
            self._write_group()
        else:
            self._quiet.set()

    def _visible(self, done: list[tuple[int, int]]) -> None:
        self._marks += done
        if not self._marking:
            self._marking = True
            self._loop.call_later(MARK_INTERVAL_S, self._write_marks)

    def _write_marks(self) -> None:
        marks, self._marks = self._marks, []
        self._writer.call(
            lambda: self._storage.mark_visible(marks), lambda _, error: self._marked(marks, error)
        )

    def _marked(self, marks: list[tuple[int, int]], error: Exception | None) -> None:
        self._marking = False
        if error is not None:
            self.storage_errors += 1
            log.error("%d events are visible but could not be marked: %s; trying again", len(marks), error)
            self._marks = marks + self._marks
        if self._marks:
            self._marking = True
            self._loop.call_later(MARK_INTERVAL_S, self._write_marks)

    async def _call(self, work: Callable[[], T]) -> T:
        """Run one storage call on the writer thread."""
        outcome: asyncio.Future[T] = self._loop.create_future()

        def settle(result: T, error: Exception | None) -> None:
            if error is not None:
                outcome.set_exception(error)
            else:
                outcome.set_result(result)

        self._writer.call(work, settle)
        return await outcome


class _Writer:
    """One thread that runs calls in order and reports each outcome to the event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._calls: queue.SimpleQueue[
            tuple[Callable[[], Any], Callable[[Any, Exception | None], None]] | None
        ] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="inbox-writer", daemon=True)
        self._thread.start()

    def call(self, work: Callable[[], Any], report: Callable[[Any, Exception | None], None]) -> None:
        self._calls.put((work, report))

    def stop(self) -> None:
        self._calls.put(None)
        self._thread.join()

    def _run(self) -> None:
        while (call := self._calls.get()) is not None:
            work, report = call
            try:
                outcome: tuple[Any, Exception | None] = (work(), None)
            except Exception as error:  # whatever it was, the callers must hear of it
                outcome = (None, error)
            self._loop.call_soon_threadsafe(report, *outcome)
