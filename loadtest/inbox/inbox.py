"""Group commit: arrivals gather while a writer thread stores the group before them.

All state belongs to the event loop's thread. The writer thread only runs one storage call at a time and
hands its outcome back through `call_soon_threadsafe`, once per group; so there is nothing to lock. Outcomes
come back in the order of the calls, which is what makes the books of `_beaten` balance.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Sequence
from typing import Any, NamedTuple

from loadtest.contract import STANDARD, Envelope
from loadtest.inbox.completing import Completer, CompletingWorker
from loadtest.inbox.handler import HandlerWorker, Handling
from loadtest.inbox.settling import Settler
from loadtest.inbox.storage import MAX_GROUP, MAX_SUBMISSION, Owned, Row, Storage, StorageError
from loadtest.inbox.worker import ServiceTimes, TimedWorker, Worker
from loadtest.inbox.writer import Report, Writer
from sim.errors import HookbenchError

log = logging.getLogger("hookbench.inbox")

LEASE_S = 5.0
SETTLE_S = 0.5  # a drain that is out of time still takes as long to record what was served
SHORTEST_BEAT_S = 0.02
CLAIM_ROOM = 1000  # no abandoned events are taken over while so many wait
BACKLOG_INTERVAL_S = 0.05  # between beats while there are more to take over
RETRY_S = (0.1, 1.0)  # the first and the longest pause after a beat that failed
PURGE_INTERVAL_S, PURGE_LIMIT = 60.0, 500


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


class _Group(NamedTuple):
    """What is stored by one call, and who waits for it."""

    rows: list[Row]
    stored: list[asyncio.Future[None]]


class Retention(NamedTuple):
    """How long after an event was served its payload is kept, and then its id, by which copies are known."""

    payload_s: float
    id_s: float = 30 * 86_400.0


class Inbox:
    """The durable inbox and its worker, for one event loop.

    Args:
        storage: where events are kept; the inbox closes it.
        workers: service slots.
        service: service time by event index, or the handler that serves.
        queue_limit: events that may wait beyond those that find a slot free, before `submit` refuses; with 0
            an event is taken only if a slot is free for it.
        lease_s: how long after its last sign of life a process still owns its events.
        retention: what is dropped of events that are visible; by default nothing.
        completer: gets what events told of that came as notices; by default every event comes whole.

    Attributes:
        accepted: events newly stored. duplicates: copies of known ones. groups: commits so far.
        recovered: unserved events of earlier processes, or of others that stopped, taken over.
        storage_errors: calls that failed.
    """

    def __init__(
        self,
        storage: Storage,
        *,
        workers: int = 1,
        service: ServiceTimes | Handling | None = None,
        queue_limit: int = 1000,
        lease_s: float = LEASE_S,
        retention: Retention | None = None,
        completer: Completer | None = None,
    ) -> None:
        self._storage = storage
        self._worker_slots = workers
        self._service = service or ServiceTimes()
        self._queue_limit = queue_limit
        self._lease_s = lease_s
        self._retention = retention
        self._completer = completer
        self._groups: deque[_Group] = deque()  # not handed to the writer yet
        self._writing = False
        self._gathering = False
        self._uncommitted = 0
        self._quiet = asyncio.Event()
        self._quiet.set()
        self._beat_timer: asyncio.TimerHandle | None = None
        self._purge_timer: asyncio.TimerHandle | None = None
        self._alive_until = 0.0  # on the loop's clock
        self._retry_s = 0.0
        self._failure: str | None = None
        self._closing = False
        self._closed = False
        self.accepted = 0
        self.duplicates = 0
        self.groups = 0
        self.recovered = 0
        self.storage_errors = 0

    async def start(self) -> None:
        """Start the writer, and the worker on what earlier processes left unserved."""
        self._loop = asyncio.get_running_loop()
        self._writer = Writer(self._loop)
        self._settler = Settler(
            self._writer, self._storage, self._failed, lambda: self._writing or self._gathering
        )
        self.worker = self._make_worker()
        if self._completer is not None:
            await self._completer.open()
        first = asyncio.Event()
        self._beat(first)
        await first.wait()
        if self._retention is not None:
            self._purge(self._retention)

    @property
    def waiting(self) -> int:
        """Events that are not stored yet or wait for a slot."""
        return self._uncommitted + self.worker.waiting

    def ready(self) -> tuple[bool, str]:
        """Whether events can be stored and served now, and if not, why not."""
        if self._failure is not None:
            return False, self._failure
        if self._closing:
            return False, "the inbox is being closed"
        if self._loop.time() > self._alive_until:
            return False, "the lease has lapsed"
        if self.waiting >= self._queue_limit + self._worker_slots - self.worker.in_service:
            return False, "as many events wait as may"
        return True, "ready"

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
        groups = self._groups
        if not groups or len(groups[-1].rows) + len(arrivals) > MAX_GROUP:
            groups.append(_Group([], []))
        rows, waiting = groups[-1]
        for event, payload, via, received_us, source in arrivals:
            rows.append(
                (source, event.id, event.index, event.type, via, payload, event.created_us, received_us)
            )
        stored: asyncio.Future[None] = self._loop.create_future()
        waiting.append(stored)
        self._uncommitted += len(arrivals)
        self._quiet.clear()
        if not self._writing and not self._gathering:
            # Whatever else this turn of the loop brings joins the group.
            self._gathering = True
            self._loop.call_soon(self._write_group)
        return stored

    async def cursor(self, source: str) -> str | None:
        """How far `source` has been polled, or None.

        Raises:
            InboxUnavailable: storage failed.
        """
        try:
            return await self._writer.run(lambda: self._storage.cursor(source))
        except StorageError as error:
            self._failed(error)
            raise InboxUnavailable(f"the cursor could not be read: {error}") from error

    async def save_cursor(self, source: str, cursor: str) -> None:
        """Remember durably how far `source` has been polled.

        Raises:
            InboxUnavailable: storage failed.
        """
        try:
            await self._writer.run(lambda: self._storage.save_cursor(source, cursor))
        except StorageError as error:
            self._failed(error)
            raise InboxUnavailable(f"the cursor could not be stored: {error}") from error

    async def known(self, keys: Sequence[tuple[str, str]]) -> set[tuple[str, str]]:
        """Those of some (source, event id) whose event is stored, served or not.

        Raises:
            InboxUnavailable: storage failed.
        """
        try:
            return await self._writer.run(lambda: self._storage.known(keys))
        except StorageError as error:
            self._failed(error)
            raise InboxUnavailable(f"the events could not be looked up: {error}") from error

    async def drain(self, timeout_s: float) -> int:
        """Wait until all is stored and served, at most `timeout_s`, then close.

        Returns:
            how many stored events are left for another process or the next start.
        """
        self._closing = True  # nothing more is taken over; the lease is kept up until all is served
        give_up = self._loop.time() + timeout_s
        await self._quiet.wait()
        try:
            await asyncio.wait_for(self.worker.drain(), timeout_s)
        except TimeoutError:
            await self.worker.stop()
        left = self.worker.waiting + self.worker.in_service
        left += await self._settler.flush(max(give_up - self._loop.time(), SETTLE_S))
        if self._completer is not None:
            await self._completer.close()
        self._closed = True
        for timer in (self._beat_timer, self._purge_timer):
            if timer is not None:
                timer.cancel()
        try:
            await self._writer.run(self._storage.close)
        except StorageError as error:
            log.warning("the inbox was not closed: %s; its lease will lapse", error)
        self._writer.stop()
        return left

    def status(self) -> dict[str, Any]:
        """Counts for /status; times in seconds. `loop_cpu_s` is that of the thread that asks, the loop's."""
        worker = self.worker
        fetched = {}
        if self._completer is not None:
            fetched = {f"fetch_{name}": count for name, count in self._completer.status().items()}
        return {
            **fetched,
            "accepted": self.accepted,
            "duplicates": self.duplicates,
            "recovered": self.recovered,
            "visible": worker.visible - self._settler.superseded,
            "superseded": self._settler.superseded,
            "dead": worker.dead,
            "retries": worker.retries,
            "waiting": self.waiting,
            "in_service": worker.in_service,
            "groups": self.groups,
            "statements": self._writer.calls,
            "statement_s": self._writer.busy_s,
            "statement_cpu_s": self._writer.cpu_s,
            "loop_cpu_s": time.thread_time(),
            "storage_errors": self.storage_errors,
            "queue_max": worker.queue_max,
            "queue_integral_s": worker.queue_integral_us / 1e6,
            "busy_s": worker.busy_us / 1e6,
            "without_service_time": worker.without_service_time,
        }

    def _make_worker(self) -> Worker | CompletingWorker:
        if self._completer is None:
            return self._serving_worker()
        return CompletingWorker(
            self._serving_worker(),
            self._completer,
            lambda seqs, report: self._writer.call(lambda: self._storage.stored(seqs), report),
            lambda payloads, report: self._writer.call(lambda: self._storage.fill(payloads), report),
            self._settler.dead,
        )

    def _serving_worker(self) -> Worker:
        if isinstance(self._service, Handling):
            return HandlerWorker(
                self._worker_slots,
                self._service,
                self._begin,
                self._settler.visible,
                self._settler.dead,
            )
        return TimedWorker(self._worker_slots, self._service, self._settler.visible)

    def _begin(self, seqs: list[int], begun: Report) -> None:
        # What is begun may end the process: what was served before is recorded first.
        self._settler.tell_now()
        self._writer.call(lambda: self._storage.begin(seqs), begun)

    def _write_group(self) -> None:
        self._gathering = False
        if self._writing or not self._groups:
            return
        group = self._groups.popleft()
        self._writing = True
        self._writer.call(
            lambda: self._storage.insert(group.rows), lambda new, error: self._written(group, new, error)
        )

    def _written(self, group: _Group, new: list[tuple[int, int]] | None, error: Exception | None) -> None:
        self._writing = False
        self._uncommitted -= len(group.rows)
        if new is None:
            self._failed(error)
            # Those who came meanwhile have waited long enough: the next try may take as long to fail.
            refused = [group, *self._groups]
            self._groups.clear()
            self._uncommitted = 0
            for stored in (stored for group in refused for stored in group.stored):
                if not stored.done():
                    stored.set_exception(InboxUnavailable("the event could not be stored"))
        else:
            if self._failure is not None:
                self._recovered()
            self.groups += 1
            self.accepted += len(new)
            self.duplicates += len(group.rows) - len(new)
            for stored in group.stored:
                if not stored.done():  # its request may have been cancelled meanwhile
                    stored.set_result(None)
            self.worker.offer(new)
        if self._groups:
            self._write_group()
        else:
            self._quiet.set()
        self._settler.tell_if_due()

    def _beat(self, first: asyncio.Event | None = None) -> None:
        room = 0 if self._closing else max(0, CLAIM_ROOM - self.worker.waiting)
        asked_at = self._loop.time()
        self._beat_timer = None
        self._writer.call(
            lambda: self._storage.beat(self._lease_s, room),
            lambda owned, error: self._beaten(asked_at, room, first, owned, error),
        )

    def _beaten(
        self,
        asked_at: float,
        room: int,
        first: asyncio.Event | None,
        owned: list[Owned] | None,
        error: Exception | None,
    ) -> None:
        if owned is None:
            self._failed(error)
            first_s, longest_s = RETRY_S
            self._retry_s = min(max(self._retry_s * 2, first_s), longest_s)
            again_s = self._retry_s
        else:
            self._retry_s = 0.0
            self._alive_until = asked_at + self._lease_s
            if self._failure is not None:
                self._recovered()
            # All that was stored before the beat has been offered, and nothing that was stored after it.
            held = self.worker.held()
            mine = {event.seq for event in owned}
            if lost := held - mine:
                log.warning("%d events were taken over by another process", len(lost))
                self.worker.drop(lost)
            known = held | self._settler.unsettled()
            new = [event for event in owned if event.seq not in known]
            self.recovered += len(new)
            self.worker.take_over(new)
            again_s = (
                BACKLOG_INTERVAL_S if new and len(new) >= room else max(self._lease_s / 3, SHORTEST_BEAT_S)
            )
        if first is not None:
            first.set()
        if not self._closed:
            self._beat_timer = self._loop.call_later(again_s, self._beat)

    def _failed(self, error: Exception | None) -> None:
        self.storage_errors += 1
        if self._failure is None:
            log.error("storage failed: %s", error)
            if self._beat_timer is not None and not self._closed:
                # A beat tells when storage works again, whether or not events come.
                self._beat_timer.cancel()
                self._beat_timer = self._loop.call_later(RETRY_S[0], self._beat)
        self._failure = f"storage failed: {error}"

    def _recovered(self) -> None:
        self._failure = None
        log.warning("storage works again")

    def _purge(self, retention: Retention) -> None:
        def purged(done: tuple[int, int] | None, error: Exception | None) -> None:
            if done is None:
                self._failed(error)
            more = done is not None and max(done) >= PURGE_LIMIT
            again_s = BACKLOG_INTERVAL_S if more else PURGE_INTERVAL_S
            if not self._closed:
                self._purge_timer = self._loop.call_later(again_s, self._purge, retention)

        self._writer.call(
            lambda: self._storage.purge(retention.payload_s, retention.id_s, dead=False, limit=PURGE_LIMIT),
            purged,
        )
