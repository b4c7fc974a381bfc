"""The worker that calls somebody's function for each event, and what becomes of those it fails on.

An attempt is counted durably before the handler is called. So an event whose handler fails, takes too long,
or takes the whole process down with it is tried `attempts` times and then given up: a dead letter, which an
operator may look at and replay. Failures are followed by a pause (0.5 s, 1 s, 2 s, ... at most 60 s).

Handling is at least once: a process that dies between the handler's end and the record of it leaves the
event to be handled again. A handler that must not act twice keys on (source, id).

An event that was begun and not finished elsewhere is suspected of having ended its process. Suspects are
served one at a time, so those that were only served beside the culprit do not spend all their attempts
beside it.
"""

from __future__ import annotations

import asyncio
import importlib
import inspect
import logging
import sys
from collections import deque
from collections.abc import Awaitable, Callable, Sequence, Set
from functools import partial
from pathlib import Path
from typing import NamedTuple

from loadtest.contract import now_us
from loadtest.inbox.storage import Owned, StoredEvent
from loadtest.inbox.worker import Worker
from sim.errors import InputError

log = logging.getLogger("hookbench.inbox")

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 60.0
STORAGE_PAUSE_S = 0.2  # before an attempt that could not be counted is asked for again
MAX_REASON_CHARS = 200

Handler = Callable[[StoredEvent], Awaitable[None]]
Begin = Callable[[list[int], Callable[[list[StoredEvent] | None, Exception | None], None]], None]


class Handling(NamedTuple):
    """What to call for each event, how often at most, and how long a call may take."""

    handler: Handler
    attempts: int = 5
    timeout_s: float = 30.0


def load_handler(name: str) -> Handler:
    """The function that ``MODULE:FUNCTION`` names; modules in the current directory are found too.

    Raises:
        InputError: there is no such module or function, or it is not ``async def``.
    """
    module_name, _, function_name = name.partition(":")
    if not module_name or not function_name:
        raise InputError(f"--handler {name!r} is not MODULE:FUNCTION")
    if str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    try:
        handler: Handler | None = getattr(importlib.import_module(module_name), function_name, None)
    except Exception as error:  # the module is somebody else's, and so may be what goes wrong in it
        raise InputError(
            f"--handler {name}: {module_name} cannot be imported: {type(error).__name__}: {error}"
        ) from None
    if not inspect.iscoroutinefunction(handler):
        raise InputError(f"--handler {name}: {module_name} has no `async def {function_name}(event)`")
    return handler


class HandlerWorker(Worker):
    """Calls the handler for each event, `workers` at a time.

    Args:
        workers: the number of slots.
        handling: the handler and its bounds.
        begin: counts attempts durably and reports the events, see `Storage.begin`.
        finished: is told (seq, visible_us) of the events that were handled.
        buried: is told (seq, reason) of the events that are given up.
        clock: µs.

    Attributes:
        retries: attempts that failed and were not the last. dead: events given up.
    """

    def __init__(
        self,
        workers: int,
        handling: Handling,
        begin: Begin,
        finished: Callable[[list[tuple[int, int]]], None],
        buried: Callable[[list[tuple[int, str]]], None],
        clock: Callable[[], int] = now_us,
    ) -> None:
        super().__init__(workers, finished, clock)
        self._handling = handling
        self._begin = begin
        self._buried = buried
        self._suspects: deque[tuple[int, int, int]] = deque()
        self._suspect: int | None = None  # the one in service
        self._slots: dict[int, asyncio.Task[None] | None] = {}  # by seq; None while its attempt is counted
        self._pauses: dict[int, asyncio.TimerHandle] = {}
        self._beginning = False
        self._draining = False
        self._begun_us: dict[int, int] = {}
        self._spent_us = 0

    @property
    def waiting(self) -> int:
        """Stored events without a slot, those that pause after a failure among them."""
        return len(self._queue) + len(self._suspects) + len(self._pauses)

    @property
    def in_service(self) -> int:
        """Slots busy."""
        return len(self._slots)

    @property
    def busy_us(self) -> int:
        """Time spent in handlers until now."""
        now = self._clock()
        return self._spent_us + sum(now - begun_us for begun_us in self._begun_us.values())

    def take_over(self, events: Sequence[Owned]) -> None:
        """Queue events that another process may have begun to serve: those are suspects."""
        now = self._clock()
        self._account(now)
        self._suspects.extend((seq, index, now) for seq, index, attempts in events if attempts)
        self.offer([(seq, index) for seq, index, attempts in events if not attempts])

    def held(self) -> set[int]:
        """The seq of every event that waits or is in service here."""
        return (
            super().held() | {seq for seq, _, _ in self._suspects} | self._slots.keys() | self._pauses.keys()
        )

    async def drain(self) -> None:
        """Return when nothing waits and no slot is busy; what pauses is left for the next start."""
        self._draining = True
        for pause in self._pauses.values():
            pause.cancel()
        self._start(self._clock())
        await super().drain()

    async def stop(self) -> None:
        """Begin no further service and interrupt those in progress."""
        await super().stop()
        running = [task for task in self._slots.values() if task is not None]
        for task in running:
            task.cancel()
        if running:
            await asyncio.wait(running, timeout=1.0)

    def _interrupt(self, seqs: Set[int]) -> None:
        self._suspects = deque(event for event in self._suspects if event[0] not in seqs)
        for seq in self._pauses.keys() & seqs:
            self._pauses.pop(seq).cancel()
        for seq in self._slots.keys() & seqs:
            if (task := self._leave(seq)) is not None:
                task.cancel()

    def _start(self, start_us: int) -> None:
        # While attempts are being counted, others gather: they are counted together.
        if not self._beginning and not self._stopped:
            chosen = []
            while len(self._slots) < self._workers and (seq := self._next()) is not None:
                self._slots[seq] = None
                chosen.append(seq)
            if chosen:
                self._beginning = True
                self._begin(chosen, partial(self._begun, chosen))
        if self._queue or self._suspects or self._slots or (self._pauses and not self._draining):
            self._idle.clear()
        else:
            self._idle.set()

    def _next(self) -> int | None:
        if self._suspects and self._suspect is None:
            self._suspect = self._suspects.popleft()[0]
            return self._suspect
        return self._queue.popleft()[0] if self._queue else None

    def _begun(self, chosen: list[int], events: list[StoredEvent] | None, error: Exception | None) -> None:
        self._beginning = False
        self._account(self._clock())
        if events is None:
            log.warning("%d attempts could not be counted: %s; trying again", len(chosen), error)
            for seq in chosen:
                if seq in self._slots:
                    self._pause(seq, STORAGE_PAUSE_S)
            self._start(self._clock())
            return
        ours = {event.seq: event for event in events}
        for seq in chosen:
            if seq not in self._slots or self._stopped:
                continue
            event = ours.get(seq)
            if event is None:  # it belongs to another process, or the lease lapsed: the next beat tells
                self._leave(seq)
            elif event.attempt > self._handling.attempts:
                self._leave(seq)
                self._bury(event, f"its process ended during each of {self._handling.attempts} attempts")
            else:
                self._begun_us[seq] = self._clock()
                task = asyncio.get_running_loop().create_task(self._handle(event))
                self._slots[seq] = task
                task.add_done_callback(partial(self._handled, event))
        self._start(self._clock())

    async def _handle(self, event: StoredEvent) -> None:
        async with asyncio.timeout(self._handling.timeout_s):
            await self._handling.handler(event)

    def _handled(self, event: StoredEvent, task: asyncio.Task[None]) -> None:
        if self._slots.get(event.seq) is not task or self._stopped:
            if not task.cancelled():
                task.exception()  # nobody asks any more
            return
        now = self._clock()
        self._account(now)
        failure = asyncio.CancelledError() if task.cancelled() else task.exception()
        self._leave(event.seq)
        if failure is None:
            self._finish([(event.seq, now)])
        elif event.attempt >= self._handling.attempts:
            self._bury(event, reason_of(failure))
        else:
            self.retries += 1
            pause_s = min(FIRST_PAUSE_S * 2.0 ** (event.attempt - 1), LONGEST_PAUSE_S)
            log.warning("event %s failed, attempt %d: %s", event.id, event.attempt, reason_of(failure))
            self._pause(event.seq, pause_s)
        self._start(now)

    def _leave(self, seq: int) -> asyncio.Task[None] | None:
        """Free the slot."""
        if self._suspect == seq:
            self._suspect = None
        if (begun_us := self._begun_us.pop(seq, None)) is not None:
            self._spent_us += self._clock() - begun_us
        return self._slots.pop(seq)

    def _bury(self, event: StoredEvent, reason: str) -> None:
        self.dead += 1
        log.error("event %s is a dead letter: %s", event.id, reason)
        self._buried([(event.seq, reason)])

    def _pause(self, seq: int, pause_s: float) -> None:
        suspected = self._suspect == seq
        if seq in self._slots:
            self._leave(seq)
        pause = asyncio.get_running_loop().call_later(pause_s, self._resume, seq, suspected)
        if self._draining:
            pause.cancel()
        self._pauses[seq] = pause
        self.queue_max = max(self.queue_max, self.waiting)

    def _resume(self, seq: int, suspected: bool) -> None:
        now = self._clock()
        self._account(now)
        del self._pauses[seq]
        (self._suspects if suspected else self._queue).append((seq, -1, now))
        self._start(now)


def reason_of(error: BaseException) -> str:
    """What failed and where. Not its message, which may quote the payload."""
    where = ""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is not None:
        where = f" at {Path(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno}"
    return f"{type(error).__name__}{where}"[:MAX_REASON_CHARS]
