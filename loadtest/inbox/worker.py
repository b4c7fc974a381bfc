"""The worker behind the inbox: so many slots, first come first served; service makes an event visible."""

from __future__ import annotations

import array
import asyncio
import math
import sys
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Sequence, Set
from pathlib import Path

from loadtest.contract import now_us
from loadtest.inbox.storage import Owned
from sim.errors import InputError


class ServiceTimes:
    """How long each event's service takes, in µs by event index; without a table it takes nothing."""

    def __init__(self, table_us: array.array[int] | None = None) -> None:
        self._table_us = table_us

    @classmethod
    def read(cls, path: Path) -> ServiceTimes:
        """Read little-endian float64 seconds, one per event index.

        Raises:
            InputError: the file cannot be read, is not whole, or holds a negative or infinite time.
        """
        table = array.array("d")
        try:
            table.frombytes(path.read_bytes())
        except OSError as error:
            raise InputError(f"--service-times {path} cannot be read: {error.strerror}") from None
        except ValueError:
            raise InputError(f"--service-times {path} is not a whole number of float64 values") from None
        if sys.byteorder == "big":
            table.byteswap()
        for index, seconds in enumerate(table):
            if not (math.isfinite(seconds) and seconds >= 0):
                raise InputError(f"--service-times {path}: entry {index} is {seconds}, not a time in seconds")
        return cls(array.array("q", (round(seconds * 1e6) for seconds in table)))

    def get(self, index: int) -> int | None:
        """The service of event `index`, or None when there is a table and it is not in it."""
        table = self._table_us
        if table is None:
            return 0
        return table[index] if 0 <= index < len(table) else None


class Worker(ABC):
    """So many slots that serve stored events in order of arrival, and what is to be known of their queue.

    Args:
        workers: the number of slots.
        finished: is told (seq, visible_us) of the events whose service has ended.
        clock: µs.

    Attributes (for /status and the harness):
        visible: events whose service ended. in_service: slots busy. waiting: events without a slot.
        queue_max: the most that waited at once. busy_us: service given so far. queue_integral_us: ∫ waiting
        dt so far. without_service_time, retries, dead: see the workers that count them.
    """

    def __init__(
        self,
        workers: int,
        finished: Callable[[list[tuple[int, int]]], None],
        clock: Callable[[], int] = now_us,
    ) -> None:
        self._workers = workers
        self._finished = finished
        self._clock = clock
        self._queue: deque[tuple[int, int, int]] = deque()  # seq, event_index, offered_us
        self._queue_integral_us = 0
        self._queue_changed_us = clock()
        self._idle = asyncio.Event()
        self._idle.set()
        self._stopped = False
        self.visible = 0
        self.queue_max = 0
        self.without_service_time = 0
        self.retries = 0
        self.dead = 0

    @property
    def waiting(self) -> int:
        """Stored events that no slot has begun to serve."""
        return len(self._queue)

    @property
    @abstractmethod
    def in_service(self) -> int:
        """Slots busy."""

    @property
    @abstractmethod
    def busy_us(self) -> int:
        """Service given until now: of the services begun, what lies ahead does not count yet."""

    @property
    def queue_integral_us(self) -> int:
        """∫ waiting dt until now."""
        self._account(self._clock())
        return self._queue_integral_us

    def offer(self, events: list[tuple[int, int]]) -> None:
        """Queue (seq, event_index) of stored events."""
        now = self._clock()
        self._account(now)
        self._queue += [(seq, index, now) for seq, index in events]
        self._start(now)
        self.queue_max = max(self.queue_max, self.waiting)

    def take_over(self, events: Sequence[Owned]) -> None:
        """Queue events that another process may have begun to serve."""
        self.offer([(seq, index) for seq, index, _ in events])

    def held(self) -> set[int]:
        """The seq of every event that waits or is in service here."""
        return {seq for seq, _, _ in self._queue}

    def drop(self, seqs: Set[int]) -> None:
        """Wait for and serve no longer what belongs to another process now."""
        now = self._clock()
        self._account(now)
        self._queue = deque(event for event in self._queue if event[0] not in seqs)
        self._interrupt(seqs)
        self._start(now)

    async def drain(self) -> None:
        """Return when nothing waits and no slot is busy."""
        await self._idle.wait()

    async def stop(self) -> None:
        """Begin no further service and finish none; what is left stays stored for the next start."""
        self._stopped = True

    @abstractmethod
    def _start(self, start_us: int) -> None:
        """Give free slots something to do, from `start_us` on, and see whether the worker is idle."""

    @abstractmethod
    def _interrupt(self, seqs: Set[int]) -> None:
        """End these services without an outcome."""

    def _finish(self, done: list[tuple[int, int]]) -> None:
        if done:
            self.visible += len(done)
            self._finished(done)

    def _account(self, now: int) -> None:
        self._queue_integral_us += self.waiting * (now - self._queue_changed_us)
        self._queue_changed_us = now


class TimedWorker(Worker):
    """Service is a time that passes, as the harness gives it: nothing to fail, nothing to repeat.

    A slot that finds the next event waiting starts it at the instant the last service was due to end (or
    the event came, if that was later), not when the timer woke up, so timer delays (up to about 1 ms on
    uvloop) do not add up to a slower server. `visible_us` is read from the clock after the service, never
    before it was due.

    Attributes:
        without_service_time: events that the table of service times did not know; they took none.
    """

    def __init__(
        self,
        workers: int,
        service: ServiceTimes,
        finished: Callable[[list[tuple[int, int]]], None],
        clock: Callable[[], int] = now_us,
    ) -> None:
        super().__init__(workers, finished, clock)
        self._service = service
        self._due_us: dict[int, int] = {}  # of the events in service, by seq
        self._begun_us = 0

    @property
    def in_service(self) -> int:
        """Slots busy."""
        return len(self._due_us)

    @property
    def busy_us(self) -> int:
        """Service given until now: of the services begun, what lies ahead does not count yet."""
        now = self._clock()
        return self._begun_us - sum(max(0, due_us - now) for due_us in self._due_us.values())

    def held(self) -> set[int]:
        """The seq of every event that waits or is in service here."""
        return super().held() | self._due_us.keys()

    def _interrupt(self, seqs: Set[int]) -> None:
        now = self._clock()
        for seq in self._due_us.keys() & seqs:
            self._begun_us -= max(0, self._due_us.pop(seq) - now)

    def _start(self, start_us: int) -> None:
        done: list[tuple[int, int]] = []
        now = self._clock()
        queue, due, service_of = self._queue, self._due_us, self._service.get
        while queue and len(due) < self._workers and not self._stopped:
            seq, index, offered_us = queue.popleft()
            service_us = service_of(index)
            if service_us is None:
                self.without_service_time += 1
            if not service_us:
                done.append((seq, now))
            else:
                due_us = max(start_us, offered_us) + service_us
                due[seq] = due_us
                self._begun_us += service_us
                self._wake_at(due_us, seq)
        self._finish(done)
        if self._queue or self._due_us:
            self._idle.clear()
        else:
            self._idle.set()

    def _wake_at(self, due_us: int, seq: int) -> None:
        # uvloop rounds to whole milliseconds and 0 means at once: ask for 1 ms rather than spin.
        delay_s = max((due_us - self._clock()) / 1e6, 0.001)
        asyncio.get_running_loop().call_later(delay_s, self._wake, due_us, seq)

    def _wake(self, due_us: int, seq: int) -> None:
        if self._stopped or self._due_us.get(seq) != due_us:
            return  # or it was taken over meanwhile
        now = self._clock()
        if now < due_us:
            self._wake_at(due_us, seq)
            return
        del self._due_us[seq]
        self._finish([(seq, now)])
        self._account(now)
        self._start(due_us)
