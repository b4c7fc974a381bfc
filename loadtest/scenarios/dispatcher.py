"""The dispatcher: each request of a schedule leaves at its intended time, before anything else is seen to.

Requests are built and signed ahead: before the first one leaves, as many as fit in `AHEAD_BYTES`, later
ones in the gaps between sends. Whoever has read an answer looks for what is due before it does anything with
it, so a request waits for one answer to be read at most, and not for all that came together. One that finds
every sender busy waits in line, which shows as lag and in `Samples.queued`, and is never dropped.
"""

from __future__ import annotations

import gc
import time

import gevent
from gevent.event import Event

from loadtest.contract import now_us
from loadtest.recorder import Samples
from loadtest.scenarios.alarm import Alarm
from loadtest.scenarios.connection import Answer
from loadtest.scenarios.judgement import Judge
from loadtest.scenarios.retries import Retries
from loadtest.scenarios.sender import Pool
from loadtest.scenarios.wire import Builder, Outgoing, Wire
from loadtest.schedule import Plan

AHEAD_BYTES = 64_000_000
BUILD_GAP_US = 400
"""Build in a gap only when it is several times longer than building takes (about 50 µs)."""

_NEVER_US = 2**63 - 1


def ahead(plan: Plan) -> int:
    """How many requests of a plan are held ready."""
    return max(256, AHEAD_BYTES // max(plan.payload_bytes, 500))


class Dispatcher:
    """One process's share of a schedule.

    Args:
        plan: the schedule, on the run's clock.
        samples: of the requests of this share, where all that happens is recorded.
        build: makes the request of an index.
        wire: makes it bytes.
        pool: the senders.
        judge: tells Locust.

    Attributes:
        finished: set when every request has come to its end.
        cpu_before_s: the process's CPU-seconds when it had built all it could.
    """

    def __init__(
        self, plan: Plan, samples: Samples, build: Builder, wire: Wire, pool: Pool, judge: Judge
    ) -> None:
        self.samples = samples
        self.finished = Event()
        self.cpu_before_s = time.process_time()
        self._build_one, self._wire, self._pool, self._judge = build, wire, pool, judge
        self._retries = Retries(plan.retries_us, samples, self._submit)
        self._ahead = ahead(plan)
        self._indices: list[int] = samples.index.tolist()
        self._intended: list[int] = samples.intended_us.tolist()
        self._count = len(self._intended)
        self._stock: dict[int, Outgoing] = {}
        self._built = self._next = self._done = 0
        self._due_us = self._intended[0] if self._count else _NEVER_US

    @property
    def complete(self) -> bool:
        """Whether every request has come to its end."""
        return self._done == self._count

    def run(self) -> None:
        """Walk the schedule to its last request; blocks the greenlet."""
        alarm = Alarm()
        settled = False
        try:
            while (due_us := self._due_us) < _NEVER_US:
                wait_us = due_us - now_us()
                if wait_us <= 0:
                    self._send_due()
                elif wait_us > BUILD_GAP_US and self._built < min(self._count, self._next + self._ahead):
                    self._stock[self._built] = self._build(self._built, self._intended[self._built])
                    self._built += 1
                    gevent.sleep(0)
                elif not settled:
                    # A collection over thousands of bodies would hold up the sends it falls among.
                    gc.collect()
                    gc.freeze()
                    settled = True
                    self.cpu_before_s = time.process_time()
                else:
                    alarm.sleep_until(due_us)
        finally:
            alarm.close()

    def _send_due(self) -> None:
        """Send what is due; never blocks, and may be called by any greenlet."""
        samples, submit = self.samples, self._pool.submit
        while self._due_us <= (instant_us := now_us()):
            position = self._next
            self._next = following = position + 1
            self._due_us = self._intended[following] if following < self._count else _NEVER_US
            self._built = max(self._built, following)
            samples.dispatched_us[position] = instant_us
            if not submit(position):
                samples.queued[position] = 1

    def _submit(self, position: int) -> None:
        self._pool.submit(position)

    def _build(self, position: int, send_us: int) -> Outgoing:
        return self._wire.outgoing(self._build_one(self._indices[position], send_us))

    # -- what senders call ---------------------------------------------------------------------

    def launch(self, position: int) -> Outgoing:
        """The request at a position, which is sent now; on its further attempts it is built anew."""
        samples = self.samples
        request = self._stock.pop(position, None)
        if samples.attempts[position]:
            request = self._build(position, now_us())
        else:
            request = request or self._build(position, self._intended[position])
            samples.sent_us[position] = now_us()
        samples.attempts[position] += 1
        return request

    def settle(self, position: int, request: Outgoing, outcome: Answer | Exception) -> None:
        """Record what became of a request, and see to its next attempt if it is to have one."""
        samples = self.samples
        samples.done_us[position] = done_us = now_us()
        if self._due_us <= done_us:
            self._send_due()
        status, size, retry_after = self._judge(
            request, outcome, done_us - self._intended[position], samples.kind[position]
        )
        samples.status[position] = status
        samples.response_bytes[position] = size
        if self._retries.try_again(position, retry_after):
            return
        self._done += 1
        if self._done == self._count:
            self.finished.set()
