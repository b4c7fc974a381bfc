"""`race`: which way is better? The same events through each arm, end to end, created -> visible.

Locust publishes the scenario's events to a real provider at their intended times. How they reach the
subscriber is the arm's: a row of `loadtest.runner.arms`. All end in the same kind of inbox with the same
service times, event by event, as the model draws them, so arms and simulation are paired by event index.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loadtest.contract import now_us, sleep_until
from loadtest.inbox import read_ledger
from loadtest.runner.arms import DEFAULT_ARMS, RACE_ARMS, Arm, Course
from loadtest.runner.arms.arm import MARGIN_S
from loadtest.runner.check import check
from loadtest.runner.comparison import (
    differences,
    judged_by_arm,
    paired,
    race_records,
    read_provider_ledger,
)
from loadtest.runner.figures_of_merit import generator_metrics, judged_record_metrics
from loadtest.runner.folder import save
from loadtest.runner.generation import Generation
from loadtest.runner.outcome import Measured, count_race, finish, last_visible_us
from loadtest.runner.processes import Child, ServerSilent
from loadtest.runner.progress import Progress
from loadtest.runner.results import ArmRun, LoadResult
from loadtest.runner.session import (
    Disturbance,
    Session,
    Settings,
    WindowCounts,
    api_flags,
    disturb,
    drain,
    drain_limit_s,
    own_secret,
    session,
    terminable,
    write_service_times,
)
from loadtest.schedule import DEFAULT_POOL_SIZE, Plan, event_schedule, scheduled_scenario
from loadtest.verdict import LAG_P99_LIMIT_S, judge
from sim.errors import InputError
from sim.metrics import summarise
from sim.records import Counters
from sim.results import RunFolder

if TYPE_CHECKING:
    from sim.scenario import Scenario

LEAD_IN_S = 1.5
"""Quiet seconds before the first event, in which the servers' idle cost is read."""

PUBLISH_TIMEOUT_S = 10.0
"""For one publication; the scenario's own timeouts are those of its senders and pollers."""


def race(
    scenario: Scenario,
    arms: Sequence[str] = DEFAULT_ARMS,
    *,
    runs: int = 1,
    rate_per_s: float | None = None,
    duration_s: float | None = None,
    thresholds: Sequence[str] = (),
    seed: int = 1,
    pool_size: int = DEFAULT_POOL_SIZE,
    out: str | Path | None = None,
    command: str | Sequence[str] = "hookbench race",
    figures: bool = True,
    lag_limit_s: float = LAG_P99_LIMIT_S,
    disturbance: Disturbance | None = None,
    progress: Progress | None = None,
) -> LoadResult:
    """Send the same events through each arm on fresh servers, one arm after another.

    Run r uses `replication_seed(seed, r)`, as replication r of `sim.simulate` does: the same events,
    service times and poll phase, so measured and simulated deliveries pair up by event. Every other
    run takes the arms in reverse order, so that a drift of the machine falls on both.

    Args:
        scenario: whose events are raced; one subscriber takes part.
        arms: of `RACE_ARMS`.
        runs: repetitions, each with its own seed; two or more give intervals.
        rate_per_s: instead of the workload, a Poisson process at this rate.
        duration_s: seconds in which events happen; at most 30 of the scenario's by default.
        thresholds: such as ``latency_p99_s<0.25``; `latency_*` is created to visible here.
        seed: the experiment's seed.
        pool_size: publications in flight at most.
        out: parent of the run folder (default ./results).
        command: what was asked, for run.json.
        figures: draw them into the run folder.
        lag_limit_s: p99 of the generator's own lag above which a run is void.
        disturbance: called during each arm run, as the self-tests do.
        progress: where to show it.

    Returns:
        the result; its `scenario` is the one that was run (overrides applied), for `sim.simulate`.

    Raises:
        InputError: an unknown arm or metric, no event to send, a number out of range.
        ProcessFailed: a process of the run died or kept silent.
        KeyboardInterrupt: interrupted; every process is gone and the run folder is marked incomplete.
    """
    limits = check(arms, tuple(RACE_ARMS), thresholds, seed, pool_size)
    if runs < 1:
        raise InputError(f"--runs must be at least 1, got {runs}")
    for arm in arms:
        if reason := RACE_ARMS[arm].refusal(scenario):
            raise InputError(f"arm {arm}: {reason}")
    effective = _as_raced(scheduled_scenario(scenario, rate_per_s, duration_s), arms)
    progress = progress or Progress()
    from sim.randomness import replication_seed  # noqa: PLC0415 - compiled code

    with (
        terminable(),
        RunFolder.create(f"race-{scenario.name}", command, out, scenario=effective, seeds=(seed,)) as folder,
    ):
        finished: list[ArmRun] = []
        for number in range(runs):
            settings = Settings(int(replication_seed(seed, number)), pool_size, lag_limit_s, disturbance)
            for arm in arms if number % 2 == 0 else tuple(reversed(arms)):
                label = f"{arm}, run {number + 1} of {runs}" if runs > 1 else arm
                with session(progress, own_secret()) as context:
                    finished.append(_race_arm(context, RACE_ARMS[arm], effective, settings, number, label))
        finished.sort(key=lambda run: (run.run, arms.index(run.arm)))
        judged = judge(limits, judged_by_arm(finished))
        result = LoadResult(
            "race", effective, seed, tuple(finished), tuple(judged), folder.path,
            paired=tuple(paired(finished, arms)),
            differences=differences(finished, arms),
        )  # fmt: skip
        save(folder, result, figures=figures)
    return result


def _as_raced(scenario: Scenario, arms: Sequence[str]) -> Scenario:
    """One subscriber, and a drain long enough for what follows the last event, in the model too."""
    drain_s = max(scenario.run.drain_s, *(RACE_ARMS[arm].drain_s(scenario) for arm in arms))
    return scenario.with_values(**{"subscribers.count": 1, "run.drain_s": drain_s})


def _race_arm(
    context: Session, arm: Arm, scenario: Scenario, settings: Settings, number: int, label: str
) -> ArmRun:
    offsets = event_schedule(scenario, settings.seed)
    course = Course(
        context,
        scenario,
        settings.seed,
        offsets.size,
        inbox=context.folder / "inbox.db",
        ledger=context.folder / "ledger.csv",
        drain_s=drain_limit_s(scenario, settings.seed, offsets.size),
        service=write_service_times(scenario, settings.seed, offsets.size, context.folder / "service.f64"),
    )
    with context.progress.stage(f"{label}: starting the servers"):
        servers = arm.open(course)
        provider = context.crew.server(
            "provider",
            *("--ledger", str(course.ledger), *arm.provider_flags(course)),
            *api_flags(scenario, offsets.size, context.folder / "api.json"),
        )
        servers["provider"] = provider
        servers |= arm.approach(course, servers)
        context.watch(servers)
        bystanders = {}
        for name, pid in arm.bystanders(course).items():
            context.monitor.watch(name, pid)
            bystanders[name] = now_us()
    plan = Plan(
        run_id=context.run_id,
        arm="publisher",
        path="/events",
        offsets_us=offsets,
        payload_bytes=scenario.workload.payload_bytes,
        timeout_s=PUBLISH_TIMEOUT_S,
        pool_size=settings.pool_size,
        lead_in_s=LEAD_IN_S,
    )
    with context.progress.stage(f"{label}: starting Locust"):
        generation = Generation(context.crew, context.monitor, plan, provider.url)
        origin_us = generation.origin_us()
        _tell(course.origin_file, origin_us)
        begun = arm.begin(course, servers, origin_us)
        context.watch(begun)
        servers |= begun
    others = [
        f"the {child.role} was ready only {(child.ready_us - origin_us) / 1e3:.0f} ms after the run's origin"
        for child in servers.values()
        if child.ready_us > origin_us
    ]
    disturb(settings.disturbance, servers, origin_us)
    counted = WindowCounts(servers, origin_us, scenario)
    samples = generation.samples(origin_us, context.progress, f"{label}: events happen")
    published = int(samples.acknowledged.sum())
    in_window, late = counted.result()
    others += late
    with context.progress.stage(f"{label}: draining"):
        # To ask would cost the servers CPU, as long as nothing can have come.
        last_us = int(samples.intended_us[-1])
        sleep_until(arm.silent_until_us(course, origin_us, last_us) + 100_000)
        begins_s = max(0.0, last_us / 1e6 + arm.drain_s(scenario) - now_us() / 1e6)
        others += drain(lambda: _drained(arm, servers, published), begins_s + course.drain_s + MARGIN_S)
    context.monitor.read_now()
    statuses: dict[str, Any] = {}
    try:
        for side, child in servers.items():
            statuses[side] = child.status()
    except ServerSilent as error:
        others.append(f"{error} after the drain")
    for side in arm.stops:
        servers[side].stop(course.drain_s + 10.0)
    rows = read_ledger(course.inbox)
    provider_rows = arm.outcomes(read_provider_ledger(course.ledger, provider), rows, statuses)
    end_us = last_visible_us(rows, origin_us + round(scenario.run.duration_s * 1e6))
    tries = arm.tries(offsets.size, rows, provider_rows, statuses)
    records = race_records(samples.intended_us, rows, provider_rows, tries, arm.via, origin_us)
    counters = arm.counters(in_window) if in_window else Counters.unknown()
    metrics = summarise(records, counters, scenario, outages_enacted=settings.outages_enacted)
    warmup_s, warmup_us = scenario.run.warmup_s, round(scenario.run.warmup_s * 1e6)
    windowed = samples.due_from(origin_us + warmup_us)
    published_window = generator_metrics(windowed, origin_us + warmup_us, scenario.run.duration_s - warmup_s)
    metrics |= {name: published_window[name] for name in ("lag_p50_s", "lag_p99_s", "achieved_rate_per_s")}
    outcomes = {int(row["index"]): row["outcome"] for row in provider_rows}
    ledger = count_race(samples, rows, outcomes)
    return finish(
        context,
        Measured(
            arm.name,
            samples,
            metrics,
            judged_record_metrics(records, warmup_s),
            ledger,
            records,
            ledger.visible or 0,
            origin_us,
            end_us,
        ),
        servers={side: (child, child.ready_us) for side, child in servers.items()},
        bystanders=bystanders,
        settings=settings,
        notes={
            "mechanism": arm.mechanism,
            "statuses": statuses,
            "counted_in_window": in_window,
            "run_id": plan.run_id,
            "seed": settings.seed,
            "unlike_the_model": settings.as_run(arm.unlike_the_model(scenario)),
            **arm.facts(course),
        },
        run=number,
        others=others,
    )


def _tell(file: Path, origin_us: int) -> None:
    """Write the origin for those who wait for it, whole at once."""
    part = file.with_name(f"{file.name}.part")
    part.write_text(str(origin_us), encoding="utf-8")
    part.replace(file)


def _drained(arm: Arm, servers: Mapping[str, Child], published: int) -> bool:
    """Whether every published event is visible, or has been given up."""
    statuses = {side: child.status() for side, child in servers.items()}
    at_provider, at_consumer = statuses["provider"], statuses["receiver"]
    if at_consumer["waiting"] or at_consumer["in_service"]:
        return False
    if at_provider["waiting"] or at_provider["in_flight"] or at_provider["backing_off"]:
        return False
    return int(at_consumer["visible"]) + arm.given_up(statuses) >= published
