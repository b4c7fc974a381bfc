"""What every arm run needs: a working folder, the processes, the monitor, the secret and the progress."""

from __future__ import annotations

import contextlib
import json
import secrets
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

import numpy as np

from loadtest.contract import STANDARD, now_us, sleep_until
from loadtest.monitor import Monitor
from loadtest.plans import Wishes
from loadtest.runner.faults import Faults
from loadtest.runner.fleet import CpuPlan, Fleet
from loadtest.runner.incarnations import PEAKS
from loadtest.runner.inquiries import get_json
from loadtest.runner.processes import STOP_SIGNALS, Child, Crew, ProcessFailed, ServerSilent
from loadtest.runner.progress import Progress
from loadtest.senders import new_secret, secret_variable

if TYPE_CHECKING:
    from sim.scenario import Scenario

DRAIN_POLL_S = 0.2
IDLE_MARGIN_US = 50_000
LEAST_IDLE_US = 200_000
WINDOW_SLACK_S = 2.0
"""A server that takes longer to answer has gone on counting well past the window's edge."""

_OUTAGES = ".outages are not enacted"
OUTAGES_NOT_ENACTED = f"receiver{_OUTAGES}"

Disturbance = Callable[[Mapping[str, Child], int], None]
"""Called in a thread of its own once the origin is known, with the servers by role and the origin in µs.

`loadtest.runner.faults.Faults` is one, and tests have their own.
"""


RECEIVER = ("loadtest.serve",)
"""The module that serves the receiver of a load, and further flags."""


@dataclass(frozen=True)
class Session:
    """One arm run in progress.

    `afterwards` is unwound once every process of the run has ended.
    """

    folder: Path
    crew: Crew
    monitor: Monitor
    progress: Progress
    run_id: str
    afterwards: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)

    def watch(self, servers: Mapping[str, Child]) -> None:
        """Let the monitor read these from now on."""
        for child in servers.values():
            self.monitor.watch(child.role, child.pid)


@dataclass(frozen=True)
class Settings:
    """How an arm is to be run: the options of `load` and `race` that every arm heeds."""

    seed: int
    pool_size: int
    lag_limit_s: float
    disturbance: Disturbance | None = None
    host: str | None = None
    wishes: Wishes = field(default_factory=Wishes)
    receiver: tuple[str, ...] = RECEIVER

    @property
    def outages_enacted(self) -> bool:
        """Whether the scenario's own outages take place."""
        return isinstance(self.disturbance, Faults) and self.disturbance.outages_enacted

    def as_run(self, unlike: Sequence[str]) -> list[str]:
        """What was unlike the model (`unlike_the_model`), given what was done to the servers."""
        if not self.outages_enacted:
            return list(unlike)
        return [
            "receiver.outages are enacted: refuse as a restart, black_hole as SIGSTOP, slow as its duty cycle"
            if note == OUTAGES_NOT_ENACTED
            else note
            for note in unlike
        ]


@contextlib.contextmanager
def session(
    progress: Progress, environment: Mapping[str, str] | None = None, fleet: Fleet | None = None
) -> Iterator[Session]:
    """A fresh folder, crew and monitor; leaving the block stops every process and removes the folder."""
    fleet = fleet or Fleet()
    with (
        tempfile.TemporaryDirectory(prefix="hookbench-") as name,
        contextlib.ExitStack() as afterwards,
        Crew(Path(name), environment or {}, CpuPlan.for_this_machine(fleet.processes), fleet) as crew,
        Monitor() as monitor,
    ):
        crew.monitor = monitor
        yield Session(Path(name), crew, monitor, progress, secrets.token_hex(4), afterwards)


def own_secret(source: str = STANDARD) -> dict[str, str]:
    """A new secret for servers we start ourselves, as their environment."""
    return {secret_variable(source): new_secret()}


@contextlib.contextmanager
def terminable() -> Iterator[None]:
    """Treat SIGTERM and a closed terminal like Ctrl-C, so that neither leaves a process behind.

    A SIGHUP that is ignored, as under nohup, stays so.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = {number: signal.getsignal(number) for number in STOP_SIGNALS if number != signal.SIGINT}
    for number, handler in before.items():
        if handler != signal.SIG_IGN:
            signal.signal(number, interrupt)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def write_service_times(scenario: Scenario, seed: int, count: int, path: Path) -> list[str]:
    """Write the model's own service draws for real workers to obey; returns the server's flags.

    The simulation of the same scenario and seed uses the same times, event by event.
    """
    from sim.distributions import service_times  # noqa: PLC0415 - compiled code

    service_times(scenario, seed, count).astype("<f8").tofile(path)
    return ["--service-times", str(path), "--workers", str(scenario.receiver.workers)]


def drain_limit_s(scenario: Scenario, seed: int, count: int) -> float:
    """How long the worker may take for everything, if it all came at once; and 10 s."""
    from sim.distributions import service_times  # noqa: PLC0415 - compiled code

    work_s = float(np.sum(service_times(scenario, seed, count)))
    return work_s / scenario.receiver.workers + 10.0


def unlike_the_model(scenario: Scenario) -> list[str]:
    """What a scenario says and real servers on one machine do not do, in words; for whoever compares."""
    told = []
    for name, server in (("receiver", scenario.receiver), ("provider_api", scenario.provider_api)):
        soon = any(outage.start_s < scenario.run.duration_s for outage in server.outages)
        if soon or server.random_outages:
            told.append(f"{name}{_OUTAGES}")
    if scenario.receiver.error_probability or scenario.receiver.signature_tolerance_s:
        told.append("the receiver's own errors and clock are not enacted")
    told.append("network.one_way is that of loopback")
    if scenario.network.setup_round_trips or not scenario.network.keep_alive:
        told.append("connections are kept alive, and their set-up is that of loopback")
    if scenario.network.request_loss or scenario.network.response_loss:
        told.append("network losses are not enacted")
    if scenario.provider_api.rate_limit:
        told.append(
            "windows of the rate limit begin with the machine's clock; Retry-After is in whole seconds"
        )
    told.append("provider_api.service is what the real provider takes")
    return told


def api_flags(scenario: Scenario, events: int, path: Path) -> list[str]:
    """The provider's flags that make its events API limit, lag and forget as the scenario's does.

    Its feed has room for all `events` of the run.
    """
    table = scenario.provider_api.model_dump(
        mode="json", include={"rate_limit", "feed_lag_s", "retention"}, exclude_none=True
    )
    if scenario.workload.content == "last_value":
        table["retention"] = {"events": 1}  # as the model has it: of a last value only the newest is shown
    path.write_text(json.dumps(table), encoding="utf-8")
    needed_mb = events * (scenario.workload.payload_bytes + 1000) // 2**20
    room = ("--max-events", str(max(1_000_000, events)), "--max-feed-mb", str(max(1024, needed_mb)))
    return ["--api-json", str(path), *room]


def body_limit(scenario: Scenario, largest: int = 0) -> tuple[str, str]:
    """The receiver's flag that lets the scenario's own events in, however large; or up to `largest` bytes."""
    needed = max(scenario.workload.payload_bytes, largest) + 2000
    return "--max-body-bytes", str(max(1_000_000, needed))


def sole_subscription(scenario: Scenario, events: int) -> list[str]:
    """The provider's flags under which one endpoint meets no limit but those of the scenario."""
    # An endpoint leaves half of the shared slots to others, and needs no more than there are events.
    slots = min(2 * scenario.webhook.max_in_flight, 2 * events, 999_999)
    return [
        *("--max-subscriptions", "1", "--max-in-flight", str(1 + slots)),
        *("--queue-limit", str(max(1, events))),
    ]


def subscribe(provider: Child, url: str, scenario: Scenario, origin_us: int, **more: object) -> None:
    """Subscribe a receiver under the scenario's policy, whose dead letters are looked at by the run's clock.

    `more` goes into the policy.

    Raises:
        ProcessFailed: the provider does not take it.
    """
    policy = scenario.webhook.model_dump(mode="json") | more
    if policy["redelivery"] is not None:
        policy["redelivery"]["origin_us"] = origin_us
    try:
        get_json(f"{provider.url}/subscriptions", json.dumps({"url": url, "policy": policy}).encode())
    except (OSError, ValueError) as error:
        raise ProcessFailed(f"the provider did not take the subscription: {error}") from None


def drain(done: Callable[[], bool], limit_s: float) -> list[str]:
    """Wait until the servers say that they are done, or the limit has passed.

    Asked now and then only, for asking costs the servers CPU. What is left at the limit shows in the ledger.

    Returns:
        reasons to distrust the run: a server that was too busy to say how it stood.
    """
    deadline = time.monotonic() + limit_s
    try:
        while not done() and time.monotonic() <= deadline:
            time.sleep(DRAIN_POLL_S)
    except ServerSilent as error:
        return [f"{error} in the drain"]
    return []


class WindowCounts:
    """The servers' own counts over exactly [warm-up, duration) of the run, as the model counts.

    A thread reads every /status when the window begins (unless that is the origin) and when it ends.
    """

    def __init__(self, children: Mapping[str, Child], origin_us: int, scenario: Scenario) -> None:
        self._children = dict(children)
        self._start_us = origin_us + round(scenario.run.warmup_s * 1e6)
        self._end_us = origin_us + round(scenario.run.duration_s * 1e6)
        self._before: dict[str, dict[str, Any]] = {}
        self._after: dict[str, dict[str, Any]] = {}
        self._late: list[str] = []
        self._error: ProcessFailed | None = None
        self._from_origin = scenario.run.warmup_s == 0
        self._thread = threading.Thread(target=self._watch, name="window", daemon=True)
        self._thread.start()

    def _watch(self) -> None:
        try:
            if not self._from_origin:
                self._before = self._statuses_at(self._start_us)
            self._after = self._statuses_at(self._end_us)
        except ServerSilent as error:
            self._late.append(f"{error} at the window's edge")
        except ProcessFailed as error:
            self._error = error  # raised in result(), where somebody listens

    def _statuses_at(self, instant_us: int) -> dict[str, dict[str, Any]]:
        sleep_until(instant_us)
        statuses = {}
        for role, child in self._children.items():
            asked_us = now_us()
            statuses[role] = child.status()
            waited_s = (now_us() - asked_us) / 1e6
            if waited_s > WINDOW_SLACK_S:
                self._late.append(f"the {role} took {waited_s:.1f} s to say its counts at the window's edge")
        return statuses

    def result(self) -> tuple[dict[str, dict[str, Any]], list[str]]:
        """The counts by role, once the window has ended, and reasons to distrust them.

        Without an answer from every server there are no counts, and a reason.

        Raises:
            ProcessFailed: a server has ended.
        """
        self._thread.join()
        if self._error is not None:
            raise self._error
        counts = {role: difference(self._before.get(role, {}), after) for role, after in self._after.items()}
        return counts, self._late


def difference(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    """Counts that grew, less what they were before; peaks and words as they are after."""
    return {
        name: value - before.get(name, 0)
        if isinstance(value, int | float) and not isinstance(value, bool) and name not in PEAKS
        else value
        for name, value in after.items()
    }


def idle_span(ready_us: int, origin_us: int) -> tuple[int, int] | None:
    """The quiet time between a server's readiness and the first request, if it is long enough to tell."""
    start, end = ready_us + IDLE_MARGIN_US, origin_us - IDLE_MARGIN_US
    return (start, end) if end - start >= LEAST_IDLE_US else None


def disturb(disturbance: Disturbance | None, children: Mapping[str, Child], origin_us: int) -> None:
    """Let a disturbance loose on the running servers."""
    if disturbance is not None:
        threading.Thread(target=disturbance, args=(dict(children), origin_us), daemon=True).start()
