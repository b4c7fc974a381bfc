"""One origin for all processes of a test: the latest that any of them needs, as the master tells all."""

from __future__ import annotations

import locust.runners
from gevent.event import AsyncResult
from locust.env import Environment
from locust.rpc import Message
from locust.runners import MasterRunner, Runner, WorkerRunner

from loadtest.contract import now_us

READY, ORIGIN = "hookbench_ready", "hookbench_origin"
"""What workers tell the master when they could begin (µs), and what the master answers all of them."""

ORIGIN_TIMEOUT_S = 60.0
PATIENT_HEARTBEATS = 30
"""How many heartbeats of a worker, one a second, the master waits for before it gives the worker up."""

MESSAGE_US = 100_000
"""Time for the master's answer to reach every worker."""


class Origin:
    """This process's part in agreeing on the origin."""

    def __init__(self, runner: Runner) -> None:
        self._runner = runner
        self._earliest_us: list[int] = []
        self._answer: AsyncResult[int] = AsyncResult()
        if isinstance(runner, MasterRunner):
            # A worker that draws its schedule says nothing meanwhile, on a busy machine for seconds.
            locust.runners.HEARTBEAT_LIVENESS = PATIENT_HEARTBEATS
            runner.register_message(READY, self._worker_ready)
        elif isinstance(runner, WorkerRunner):
            runner.register_message(ORIGIN, self._told)

    def agree_us(self, earliest_us: int) -> int:
        """The origin, given the earliest that this process could begin (µs)."""
        if not isinstance(self._runner, WorkerRunner):
            return earliest_us
        self._answer = AsyncResult()
        self._runner.send_message(READY, {"earliest_us": earliest_us})
        origin_us: int = self._answer.get(timeout=ORIGIN_TIMEOUT_S)
        return origin_us

    def _told(self, environment: Environment, msg: Message, **_: object) -> None:
        self._answer.set(msg.data["origin_us"])

    def _worker_ready(self, environment: Environment, msg: Message, **_: object) -> None:
        """On the master: once every worker has said when it could begin, tell them all one origin."""
        self._earliest_us.append(msg.data["earliest_us"])
        if isinstance(self._runner, MasterRunner) and len(self._earliest_us) == self._runner.worker_count:
            # The clock is the machine's, and --processes keeps to one machine.
            origin_us = max(*self._earliest_us, now_us() + MESSAGE_US)
            self._runner.send_message(ORIGIN, {"origin_us": origin_us})
            self._earliest_us.clear()
