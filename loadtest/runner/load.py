"""`load`: how much can one server take? Locust plays the whole world outside it, open loop.

The arms are rows of `loadtest.runner.loads`: senders post signed events at the receiver, crowds of pollers
ask the events API of a provider, held connections wait there for what is published. ``latency_*`` is
intended send to answer, what the world outside sees (of held connections: created to arrived);
``visible_latency_*`` is created to visible, known where the receiver is our own.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from loadtest.plans import SENDERS, Wishes, scenario_for
from loadtest.runner.check import check, require_fleet
from loadtest.runner.comparison import judged_by_arm
from loadtest.runner.faults import faults_of
from loadtest.runner.fleet import Fleet
from loadtest.runner.folder import save
from loadtest.runner.inquiries import require_reachable
from loadtest.runner.loads import LOADS
from loadtest.runner.progress import Progress
from loadtest.runner.results import LoadResult
from loadtest.runner.session import RECEIVER, Disturbance, Settings, own_secret, session, terminable
from loadtest.schedule import DEFAULT_POOL_SIZE
from loadtest.senders import secrets_in_environment, source_of
from loadtest.verdict import LAG_P99_LIMIT_S, judge
from sim.errors import InputError
from sim.results import RunFolder

if TYPE_CHECKING:
    from sim.scenario import Scenario


def load(
    scenario: Scenario,
    arms: Sequence[str] = ("webhook",),
    *,
    rate_per_s: float | None = None,
    shape: str | None = None,
    duration_s: float | None = None,
    storms: Sequence[str] = (),
    source: str | None = None,
    payload_cv: float = 0.0,
    clients: int | None = None,
    public_url: str | None = None,
    faults: Sequence[str] = (),
    thresholds: Sequence[str] = (),
    host: str | None = None,
    path: str | None = None,
    seed: int = 1,
    pool_size: int = DEFAULT_POOL_SIZE,
    out: str | Path | None = None,
    command: str | Sequence[str] = "hookbench load",
    figures: bool = True,
    lag_limit_s: float = LAG_P99_LIMIT_S,
    disturbance: Disturbance | None = None,
    receiver: Sequence[str] = RECEIVER,
    progress: Progress | None = None,
    fleet: Fleet | None = None,
) -> LoadResult:
    """Load one server per arm with the scenario's own event list, and say what it cost and endured.

    Args:
        scenario: whose events are sent; see `loadtest.schedule.scheduled_scenario` for the overrides.
        arms: of `LOADS`, one after another on fresh servers.
        rate_per_s: instead of the workload, a Poisson process at this rate (of polls, for crowds).
        shape: instead of the workload, a load shape such as ``ramp:from=10,to=300`` (of polls, for crowds).
        duration_s: seconds of load; at most 30 of the scenario's by default, or what the shape lasts.
        storms: such as ``duplicates:share=0.3``; see `loadtest.traffic`.
        source: whose webhooks are sent; by default those of the scenario's provider.
        payload_cv: coefficient of variation of the payloads' sizes, lognormal about the scenario's.
        clients: how many pollers or held connections; by default the scenario's subscribers.
        public_url: of a receiver that is not ours, where its providers sign it; by default `host`.
        faults: what is done to the server meanwhile, such as ``pause@5+1.4``; see `loadtest.runner.faults`.
        thresholds: such as ``latency_p99_s<0.25``.
        host: the base URL of a server that runs already, any HTTP server, instead of one of our own; one arm
            only. What cannot be known of it then is named in the run's notes as ``not_measured``.
        path: the request path there, instead of that of the reference servers.
        seed: fixes the event list, the service times, the pollers' phases, storms and sizes.
        pool_size: requests in flight at most; beyond it they wait, and are counted as queued.
        out: parent of the run folder (default ./results).
        command: what was asked, for run.json.
        figures: draw them into the run folder.
        lag_limit_s: p99 of the generator's own lag above which the run is void.
        disturbance: called during the run, instead of faults, as the self-tests do.
        receiver: the module that serves the receiver, and further flags; the self-test has its own.
        progress: where to show it.
        fleet: the Locust processes that make the load; one here by default.

    Raises:
        InputError: an unknown arm or metric, an unreachable host, no event to send, a fleet that cannot be.
        ProcessFailed: a process of the run died or kept silent.
        KeyboardInterrupt: interrupted; every process is gone and the run folder is marked incomplete.
    """
    limits = check(arms, tuple(LOADS), thresholds, seed, pool_size)
    fleet = fleet or Fleet()
    require_fleet(fleet, arms, host, pool_size)
    wishes = Wishes(
        rate_per_s, shape, duration_s, tuple(storms), source, payload_cv, clients, public_url, path
    )
    if path is not None and host is None:
        raise InputError(f"--path {path!r} is the path at the server that --host names")
    effective = {arm: scenario_for(arm, scenario, wishes) for arm in arms}
    signing = source or source_of(scenario)
    if host is not None:
        host = host.rstrip("/")
        if len(arms) > 1:
            raise InputError(f"--host is one server, so give one arm, not {', '.join(arms)}")
        require_reachable(host, fleet.ca)
        if arms[0] in SENDERS and not fleet.elsewhere:
            secrets_in_environment(signing if arms[0] == "webhook" else "standard")
    wanted = {arm: faults_of(faults, effective[arm]) for arm in arms}
    for arm, each in wanted.items():
        if each is not None:
            each.require_servers(() if host else ("receiver",) if arm in SENDERS else ("provider",))
    progress = progress or Progress()
    name = f"load-{scenario.name}"
    with (
        terminable(),
        RunFolder.create(name, command, out, scenario=effective[arms[0]], seeds=(seed,)) as folder,
    ):
        runs = []
        for arm in arms:
            secret = own_secret(signing) | own_secret()
            settings = Settings(
                seed, pool_size, lag_limit_s, wanted[arm] or disturbance, host, wishes, tuple(receiver)
            )
            with session(progress, None if host else secret, fleet) as context:
                runs.append(LOADS[arm](context, arm, effective[arm], settings))
        judged = judge(limits, judged_by_arm(runs))
        result = LoadResult("load", effective[arms[0]], seed, tuple(runs), tuple(judged), folder.path)
        save(folder, result, figures=figures)
    return result
