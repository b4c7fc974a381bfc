"""The reference receiver in SimPy: two cores, a writer thread with a disk behind it, and a pool of workers.

What happens to one webhook, in the order of the methods of `_Machine`:

1. `due`: the sender's core takes up the request, and some time later it is at the receiver's socket.
2. `arrived`: the receiver's core parses and verifies it; it joins those that wait to be stored.
3. `gather`: if no commit is under way one begins, once the core has done what it had been asked before.
4. `write`: the writer thread needs the core for the statement, then waits for the disk. One statement at a
   time; those that record what was visible (`settle`) stand in the same line.
5. `report`: the event loop hears of it. All of the group go to the workers, their answers are written one
   after another, and the next group begins with whatever has come meanwhile.
6. `answered`: the sender reads the answer.
7. `serve`, `shown`: a worker serves the event; it is visible when the loop's timer notices the end.

Simultaneous happenings are in the order of `_Order`, then of the webhooks' numbers.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from sim.distributions import Distribution, compile_distribution, sample
from sim.kernels.reference_receiver import woken_s
from sim.mechanisms.world import Clock
from sim.randomness import Stream
from sim.reference_receiver.stages import Stages

_Floats = NDArray[np.float64]
_Then = Callable[[], None]


class _Order(IntEnum):
    """What comes first at the same time."""

    SERVICE_END = 0
    SHOWN = 1
    SENDER_DONE = 2
    CORE_DONE = 3
    PERSISTED = 4
    SETTLE = 5
    DUE = 6
    ARRIVED = 7
    ANSWERED = 8


class _Core:
    """One job at a time, first come first served; one that finds the core idle leaves it work behind.

    That is done when nothing else is asked for, and dropped when something is.
    """

    def __init__(self, clock: Clock, done: _Order, wake_s: float, stages: Stages) -> None:
        self._clock, self._done, self._wake_s = clock, done, wake_s
        self._cooling_s, self._first = stages.cooling_s, stages.wake_first
        self._idle_since_s = -math.inf
        self._jobs: deque[tuple[float, _Then]] = deque()
        self._running = self._left_over = False
        self._left_s = self._ends_s = 0.0
        self._number = 0
        self.busy_s = 0.0
        self.wakes = 0

    def work(self, work_s: float, then: _Then) -> None:
        """Do so much, when all that was asked before is done; then go on with `then`."""
        if self._left_over:
            self._left_over = False
            self.busy_s -= self._ends_s - self._clock.now
            self._begin(work_s, then)
        elif self._running:
            self._jobs.append((work_s, then))
        else:
            self.wakes += 1
            extra_s = woken_s(self._wake_s, self._cooling_s, self._clock.now - self._idle_since_s)
            self._left_s = (1.0 - self._first) * extra_s
            self._begin(work_s + self._first * extra_s, then)

    def _begin(self, work_s: float, then: _Then) -> None:
        self._running = True
        self.busy_s += work_s
        self._ends_s = self._clock.now + work_s
        self._number += 1
        number = self._number

        def end(_event: object) -> None:
            if number != self._number:
                return
            then()
            if self._jobs:
                self._begin(*self._jobs.popleft())
            elif self._left_s > 0:
                left_s, self._left_s = self._left_s, 0.0
                self._left_over = True
                self._begin(left_s, self._sleep)
            else:
                self._sleep()

        _at(self._clock, self._ends_s, self._done, number, end)

    def _sleep(self) -> None:
        self._running = self._left_over = False
        self._idle_since_s = self._clock.now


def _at(clock: Clock, time_s: float, order: _Order, number: int, then: Callable[[object], None]) -> None:
    callbacks = clock.at(time_s, order, 0, number).callbacks  # type: ignore[arg-type]  # an order of our own
    assert callbacks is not None
    callbacks.append(then)


class _Machine:
    """Everything, for one schedule."""

    def __init__(self, stages: Stages, intended_s: _Floats, seed: int) -> None:
        self.clock = Clock()
        self.stages, self.seed = stages, seed
        self.sender = _Core(self.clock, _Order.SENDER_DONE, stages.sender_wake_s, stages)
        self.core = _Core(self.clock, _Order.CORE_DONE, stages.wake_s, stages)
        self._transit = compile_distribution(stages.request_transit)
        self._return = compile_distribution(stages.response_transit)
        self._persist = compile_distribution(stages.persist)
        self._service = compile_distribution(stages.service)
        self._timer = compile_distribution(stages.timer)
        self._lateness = compile_distribution(stages.lateness)
        self.sent = np.full(intended_s.size, np.nan)
        self.received = np.full(intended_s.size, np.nan)
        self.stored = np.full(intended_s.size, np.nan)
        self.begun = np.full(intended_s.size, np.nan)
        self.acknowledged = np.full(intended_s.size, np.nan)
        self.visible = np.full(intended_s.size, np.nan)
        self.groups = self.settles = 0
        self._pending: deque[int] = deque()
        self._gathering = self._storing = self._writing = self._settling = False
        self._statements: deque[list[int]] = deque()
        self._statement_number = 0
        self._waiting: deque[int] = deque()
        self._free = stages.workers
        for i, due_s in enumerate(intended_s):
            noticed_s = float(due_s) + self._draw(self._lateness, Stream.TIMER, i, 1)
            self._later(noticed_s, _Order.DUE, i, self.due)

    def due(self, i: int) -> None:
        """Webhook i is to be sent."""

        def sent() -> None:
            self.sent[i] = self.clock.now - self.stages.send_work_s
            arrives_s = self.clock.now + self._draw(self._transit, Stream.REQUEST_TRANSIT, i)
            self._later(arrives_s, _Order.ARRIVED, i, self.arrived)

        self.sender.work(self.stages.send_work_s, sent)

    def arrived(self, i: int) -> None:
        """It is at the receiver's socket."""

        def parsed() -> None:
            self.received[i] = self.clock.now
            self._pending.append(i)
            if not self._storing and not self._gathering:
                self._gathering = True
                self.core.work(0.0, self.gather)

        self.core.work(self.stages.request_work_s, parsed)

    def gather(self) -> None:
        """A commit begins with all that has been parsed by now."""
        self._gathering = False
        if not self._storing and self._pending:
            self._store()

    def _store(self) -> None:
        size = min(len(self._pending), self.stages.most_in_group)
        self._storing = True
        self.groups += 1
        self.write([self._pending.popleft() for _ in range(size)])

    def write(self, group: list[int]) -> None:
        """The writer thread is given a statement: it stores a group, or, with nobody in it, settles."""
        self._statements.append(group)
        if not self._writing:
            self._next_statement()

    def _next_statement(self) -> None:
        self._writing = True
        group = self._statements.popleft()

        def executed() -> None:
            number = self._statement_number
            self._statement_number += 1
            ends_s = self.clock.now + self._draw(self._persist, Stream.PERSIST, number)
            self._later(ends_s, _Order.PERSISTED, 0, lambda _: self._persisted(group))

        self.core.work(self.stages.write_work_s + self.stages.row_work_s * len(group), executed)

    def _persisted(self, group: list[int]) -> None:
        self._writing = False
        if self._statements:
            self._next_statement()
        if group:
            self.core.work(self.stages.report_work_s, lambda: self.report(group))

    def report(self, group: list[int]) -> None:
        """The event loop hears that a group is stored."""
        self._storing = False
        for i in group:
            self.stored[i] = self.clock.now
            if self.stages.serves_at_once:
                self.begun[i] = self.clock.now
                self._show(i)
            else:
                self._waiting.append(i)
        self._serve()
        for i in group:
            self.core.work(self.stages.answer_work_s, lambda i=i: self._answer(i))  # type: ignore[misc]
        if self._pending:
            self._store()

    def _answer(self, i: int) -> None:
        arrives_s = self.clock.now + self._draw(self._return, Stream.RESPONSE_TRANSIT, i)
        self._later(arrives_s, _Order.ANSWERED, i, self.answered)

    def answered(self, i: int) -> None:
        """The answer is at the sender's socket."""

        def read() -> None:
            self.acknowledged[i] = self.clock.now

        self.sender.work(self.stages.read_work_s, read)

    def _serve(self) -> None:
        while self._free and self._waiting:
            i = self._waiting.popleft()
            self._free -= 1
            self.begun[i] = self.clock.now
            ends_s = self.clock.now + self._draw(self._service, Stream.SERVICE, i)
            self._later(ends_s, _Order.SERVICE_END, i, self.served)

    def served(self, i: int) -> None:
        """A worker is done with event i, and takes the next."""
        self._free += 1
        self._serve()
        noticed_s = self.clock.now + self._draw(self._timer, Stream.TIMER, i)
        self._later(noticed_s, _Order.SHOWN, i, self._show)

    def _show(self, i: int) -> None:
        self.visible[i] = self.clock.now
        if not self._settling:
            self._settling = True
            self._later(self.clock.now + self.stages.settle_after_s, _Order.SETTLE, 0, self.settle)

    def settle(self, _: int) -> None:
        """Storage is told what is visible."""
        self._settling = False
        self.settles += 1
        self.write([])

    def _draw(self, distribution: Distribution, stream: Stream, entity: int, index: int = 0) -> float:
        return sample(distribution, self.seed, stream, entity, index)

    def _later(self, time_s: float, order: _Order, number: int, then: Callable[[int], None]) -> None:
        _at(self.clock, time_s, order, number, lambda _: then(number))


def run(
    stages: Stages, intended_s: _Floats, seed: int
) -> tuple[_Floats, _Floats, _Floats, _Floats, _Floats, _Floats, int, int, float, float, int, float]:
    """All of a `Passage` but the schedule."""
    machine = _Machine(stages, intended_s, seed)
    machine.clock.run()
    return (
        machine.sent, machine.received, machine.stored, machine.begun, machine.acknowledged, machine.visible,
        machine.groups, machine.settles, machine.core.busy_s, machine.sender.busy_s,
        machine.core.wakes, float(machine.clock.now),
    )  # fmt: skip
