"""The open loop under Locust: one dispatcher a process, Locust's users as its pool of senders.

This file is what Locust calls, from its command line to the end of a test; the dispatcher walks the
schedule (`loadtest.scenarios.dispatcher`), the senders exchange bytes with the server
(`loadtest.scenarios.sender`) over the connections of their FastHttpUser's own client. Its session is
passed by: it costs more than the whole rest (see `loadtest.scenarios.wire`). Locust is told the latency
from the intended time, request by request; raw µs go to `loadtest.recorder`.

Under `hookbench` the schedule comes from the folder named in HOOKBENCH_PLAN, and the samples go back
there. With plain Locust the command-line options of `loadtest.scenarios.options` draw one from a scenario.
Several processes, started by ``--processes N`` or as ``--master`` and ``--worker`` on any machines, share
one schedule: the master has it, and `loadtest.scenarios.distribution` brings it to the workers and what
they recorded back.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from pathlib import Path

import gevent
from geventhttpclient.client import HTTPClientPool
from locust import FastHttpUser, events, task
from locust.argument_parser import LocustArgumentParser
from locust.contrib.fasthttp import FastHttpSession
from locust.env import Environment
from locust.runners import MasterRunner, Runner, WorkerRunner

from loadtest.contract import now_us
from loadtest.recorder import Samples
from loadtest.scenarios.dispatcher import Dispatcher, ahead
from loadtest.scenarios.distribution import Conductor, Member
from loadtest.scenarios.judgement import Judge
from loadtest.scenarios.listeners import ARRIVAL_GRACE_S, Listeners
from loadtest.scenarios.options import add_options, plan_from, trusting
from loadtest.scenarios.reporting import tell, write_whole
from loadtest.scenarios.sender import Pool, Sender
from loadtest.scenarios.wire import Builder, Wire, client_of
from loadtest.schedule import DEFAULT_POOL_SIZE, PLAN_VARIABLE, Plan
from sim.errors import HookbenchError, InputError

DRAIN_GRACE_S = 5.0

MOST_CONNECTIONS = 1_000_000
"""No limit: a sender has one connection, and would wait for another sender's end at the limit."""

DEFAULT_TIMEOUT_S = 10.0
"""Where there is no plan yet, as in the web page before a test."""

REPORT_S = 3.5
"""Workers report their statistics to the master every 3 s: the last report must not be missed."""


logger = logging.getLogger(__name__)


class OpenLoop:
    """An arm's open loop in this process.

    Args:
        arm: its name, also shown in Locust's statistics.
        builder: makes the function that builds one request, given the plan and the origin (µs).
        listeners: what holds connections meanwhile, if the arm has such.
    """

    def __init__(
        self, arm: str, builder: Callable[[Plan, int], Builder], listeners: Listeners | None = None
    ) -> None:
        self.arm = arm
        self._make_builder = builder
        self._listeners = listeners
        self._folder: Path | None = None
        self._plan: Plan | None = None
        self._pool = Pool()
        self._session: FastHttpSession | None = None
        self._conductor: Conductor | None = None
        self._member: Member | None = None
        self._samples: Samples | None = None
        self._dispatcher: Dispatcher | None = None
        self._running: gevent.Greenlet | None = None
        for event, listener in (
            (events.init_command_line_parser, self._add_options),
            (events.init, self._set_up),
            (events.test_start, self._hand_out),
            (events.spawning_complete, self._start),
            (events.test_stop, self._stop),
        ):
            event.add_listener(listener)  # type: ignore[no-untyped-call]

    # -- what Locust calls ---------------------------------------------------------------------

    def _add_options(self, parser: LocustArgumentParser, **_: object) -> None:
        add_options(parser)

    def _set_up(self, environment: Environment, **_: object) -> None:
        assert environment.parsed_options is not None
        assert environment.runner is not None
        self.environment, self.options = environment, environment.parsed_options
        self.runner: Runner = environment.runner
        if isinstance(self.runner, WorkerRunner):
            self._member = Member(self.runner, self._accept)
            return  # the master has the plan
        if isinstance(self.runner, MasterRunner):
            self._conductor = Conductor(self.runner)
        if self.options.headless and not self.options.host:
            raise SystemExit(f"{self.arm}: --host is missing, the URL to load, such as http://127.0.0.1:8080")
        try:
            self._folder = Path(os.environ[PLAN_VARIABLE]) if PLAN_VARIABLE in os.environ else None
            if self._folder:
                self._plan = Plan.read(self._folder)
            elif self.options.headless:
                self._plan = plan_from(self.options, self.arm)
            if self._plan is not None:
                self._require_buildable(self._plan)
        except HookbenchError as error:
            raise SystemExit(f"{self.arm}: {error}") from None
        self._set_users(environment)

    def _set_users(self, environment: Environment) -> None:
        """The users are the pool: one is Locust's default, and too few for anything."""
        clients = 0
        if self._listeners is not None:
            clients = self._plan.clients if self._plan else self.options.clients or 1
            self._listeners.expect(clients, environment)
        if self.options.num_users is None:
            self.options.num_users = DEFAULT_POOL_SIZE + clients
            self.options.spawn_rate = float(DEFAULT_POOL_SIZE + clients)

    def _require_buildable(self, plan: Plan) -> None:
        """A missing secret shows now, not with the first request; of several processes each worker looks."""
        if self._conductor is None:
            self._make_builder(plan, 0)

    def _accept(self, plan: Plan) -> None:
        """On a worker: the plan that the master hands out."""
        if plan.arm != self.arm:
            raise InputError(f"it is for the Locust file {plan.arm}.py, and this is {self.arm}.py")
        self._require_buildable(plan)
        self._plan = plan

    def _hand_out(self, **_: object) -> None:
        """On the master: the workers have the plan before they have users."""
        self._samples = None
        if self._conductor is None:
            return
        try:
            self._plan = self._plan or plan_from(self.options, self.arm)
            self._conductor.hand_out(self._plan)
        except HookbenchError as error:
            self._fail(error)

    def _start(self, **_: object) -> None:
        if self._running is not None or self.environment.process_exit_code:
            return
        try:
            # A worker that came too late for its share has no plan and nothing to do.
            plan = self._plan = self._plan or (None if self._member else plan_from(self.options, self.arm))
            if plan is not None:
                self._require_buildable(plan)
        except HookbenchError as error:
            self._fail(error)
            return
        if plan is not None:
            self._running = gevent.spawn(self._conduct if self._conductor else self._run, plan)
            self._running.link_exception(lambda running: self._fail(running.exception))

    def _fail(self, error: BaseException) -> None:
        words = str(error) if isinstance(error, HookbenchError) else f"the dispatcher died: {error!r}"
        logger.error("%s: %s", self.arm, words)
        self.environment.process_exit_code = 1
        if self._folder is not None:
            self._write(failed=words)
        gevent.spawn(self.runner.quit)

    def _stop(self, **_: object) -> None:
        if self._running is None:
            return
        if self._member is None and self._samples is not None:
            self._report(self._samples, finished=self._dispatcher is None or self._dispatcher.complete)
        if self._running is not gevent.getcurrent():
            self._running.kill(block=False)
        self._running = self._dispatcher = None
        self._pool = Pool()  # what nobody took is not the next test's
        if self._listeners is not None:
            self._listeners.begin_anew()
        if self._folder is None:
            self._plan = None  # the web UI may start another test with other options

    # -- a run ---------------------------------------------------------------------------------

    def _conduct(self, plan: Plan) -> None:
        """On the master: one origin for all workers, and what all of them recorded."""
        conductor = self._conductor
        assert conductor is not None
        self._origin_us = conductor.set_origin()
        self._write_status(plan, finished=False)
        self._samples = conductor.collect(plan, self._origin_us, 2 * (DRAIN_GRACE_S + ARRIVAL_GRACE_S))
        # Under hookbench nobody reads Locust's own statistics.
        gevent.sleep(REPORT_S if self._folder is None else 0)
        self._end()

    def _run(self, plan: Plan) -> None:
        member = self._member
        share = plan.share(member.share, member.shares) if member else plan.share(0, 1)
        if self._listeners is not None:
            self._listeners.await_connected(plan)
        if self._session is None:
            raise InputError("this process has no sender: raise the number of users (-u)")
        wire = Wire(self._session)
        needs_us = self._lead_in_us(plan, wire, share.size)
        origin_us = member.origin_us(needs_us) if member else now_us() + needs_us
        self._origin_us = origin_us
        self._samples = samples = Samples.scheduled(
            share,
            origin_us + plan.offsets_us[share],
            plan.event[share] if plan.event.size else None,
            plan.kind[share] if plan.kind.size else None,
        )
        build, judge = self._make_builder(plan, origin_us), Judge(self.environment, self.arm)
        dispatcher = Dispatcher(plan, samples, build, wire, self._pool, judge)
        self._dispatcher = self._pool.exchange = dispatcher
        self._write_status(plan, finished=False)
        dispatcher.run()
        dispatcher.finished.wait(timeout=plan.patience_s() + DRAIN_GRACE_S)
        if self._listeners is not None:
            self._listeners.finish(plan, samples)
        cpu_s, busy_s = time.process_time() - dispatcher.cpu_before_s, (now_us() - origin_us) / 1e6
        if member is not None:
            arrivals = {} if self._listeners is None else self._listeners.files()
            member.give_back(samples, arrivals, cpu_s, busy_s)
        else:
            self._end()

    def _end(self) -> None:
        if self.options.headless:
            self.runner.quit()
        else:
            self.runner.stop()

    def _lead_in_us(self, plan: Plan, wire: Wire, count: int) -> int:
        """Time to build what is built ahead: measured on a few, doubled because the machine is shared."""
        build = self._make_builder(plan, 0)
        trial = min(count, 64)
        started = now_us()
        for index in range(trial):
            wire.outgoing(build(index, started))
        each_us = (now_us() - started) / max(trial, 1)
        return int(2 * each_us * min(count, ahead(plan)) + plan.lead_in_s * 1e6)

    # -- the senders ---------------------------------------------------------------------------

    def enlist(self, user: OpenLoopUser) -> None:
        """A user was made: one more sender."""
        self._session = user.client

    def serve(self, user: OpenLoopUser) -> None:
        """What each user does for the whole run: send what is due and read the answer."""
        timeout_s = self._plan.timeout_s if self._plan else DEFAULT_TIMEOUT_S
        Sender(self._pool, client_of(user.client), timeout_s).serve()

    # -- afterwards ----------------------------------------------------------------------------

    def _report(self, samples: Samples, *, finished: bool) -> None:
        if self._folder is not None:
            assert self._plan is not None
            samples.save(self._folder / "samples.npz")
            for number, files in enumerate(self._arrivals()):
                for suffix, content in files.items():
                    (self._folder / f"arrivals-{number}{suffix}").write_bytes(content)
            self._write_status(self._plan, finished=finished)
            return
        if self.options.samples:
            samples.save(Path(self.options.samples))
        tell(samples)

    def _arrivals(self) -> list[dict[str, bytes]]:
        """What held connections received, by process."""
        if self._listeners is None:
            return []
        return self._conductor.arrivals if self._conductor else [self._listeners.files()]

    def _write_status(self, plan: Plan, *, finished: bool) -> None:
        if self._folder is not None:
            workers = [peer.describe() for peer in self._conductor.peers.values()] if self._conductor else []
            self._write(
                origin_us=self._origin_us,
                last_us=self._origin_us + int(plan.offsets_us[-1]),
                finished=finished,
                workers=workers,
            )

    def _write(self, **status: object) -> None:
        assert self._folder is not None
        write_whole(self._folder / "generator.json", status)


class OpenLoopUser(FastHttpUser):
    """A sender: one greenlet of the pool, with a kept-alive connection of its own."""

    abstract = True
    open_loop: OpenLoop

    def __init__(self, environment: Environment) -> None:
        plan = type(self).open_loop._plan
        if type(self).client_pool is None:
            timeout_s = plan.timeout_s if plan else DEFAULT_TIMEOUT_S
            type(self).client_pool = HTTPClientPool(
                concurrency=MOST_CONNECTIONS,
                connection_timeout=timeout_s,
                network_timeout=timeout_s,
                ssl_context_factory=trusting(environment),
            )
        super().__init__(environment)
        self.open_loop.enlist(self)

    @task
    def send(self) -> None:
        """Serve the open loop until the test stops."""
        self.open_loop.serve(self)
