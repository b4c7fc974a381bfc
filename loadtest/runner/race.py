"""`race`: which way is better? The same events through each arm, end to end, created -> visible.

Locust publishes the scenario's events to a real provider at their intended times. In arm ``webhook``
the provider dispatches them, signed, to a receiver; in arm ``polling`` a poller fetches them. Both end
in the same kind of inbox with the same service times, event by event, as the model draws them, so
arms and simulation are paired by event index.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loadtest.contract import now_us
from loadtest.inbox import read_ledger
from loadtest.runner.check import check
from loadtest.runner.comparison import (
    differences,
    judged_by_arm,
    paired,
    race_records,
    read_provider_ledger,
    window_counters,
    with_missed,
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
    body_limit,
    disturb,
    drain,
    drain_limit_s,
    own_secret,
    session,
    sole_subscription,
    subscribe,
    terminable,
    unlike_the_model,
    write_service_times,
)
from loadtest.schedule import DEFAULT_POOL_SIZE, Plan, event_schedule, scheduled_scenario
from loadtest.verdict import LAG_P99_LIMIT_S, judge
from sim.errors import InputError
from sim.metrics import summarise
from sim.results import RunFolder

if TYPE_CHECKING:
    from sim.scenario import Scenario

ARMS = ("webhook", "polling")
LEAD_IN_S = 1.5
"""Quiet seconds before the first event: the poller starts within them, and idle cost is read in them."""

PUBLISH_TIMEOUT_S = 10.0
"""For one publication; the scenario's own timeouts are those of its senders and pollers."""

POLLER_MARGIN_S = 5.0


def race(
    scenario: Scenario,
    arms: Sequence[str] = ARMS,
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
        arms: of `ARMS`.
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
    limits = check(arms, ARMS, thresholds, seed, pool_size)
    if runs < 1:
        raise InputError(f"--runs must be at least 1, got {runs}")
    if "polling" in arms and scenario.polling.schedule != "fixed_rate":
        raise InputError(
            f'the real poller asks at a fixed rate only, not polling.schedule = "{scenario.polling.schedule}"'
        )
    effective = _as_raced(scheduled_scenario(scenario, rate_per_s, duration_s))
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
                    finished.append(_race_arm(context, arm, effective, settings, number, label))
        finished.sort(key=lambda run: (run.run, arms.index(run.arm)))
        judged = judge(limits, judged_by_arm(finished))
        result = LoadResult(
            "race", effective, seed, tuple(finished), tuple(judged), folder.path,
            paired=tuple(paired(finished, arms)),
            differences=differences(finished, arms),
        )  # fmt: skip
        save(folder, result, figures=figures)
    return result


def _as_raced(scenario: Scenario) -> Scenario:
    """One subscriber, and a drain long enough for the poll after the last event, in the model too."""
    drain_s = max(scenario.run.drain_s, scenario.polling.interval_s + POLLER_MARGIN_S)
    return scenario.with_values(**{"subscribers.count": 1, "run.drain_s": drain_s})


def _race_arm(
    context: Session, arm: str, scenario: Scenario, settings: Settings, number: int, label: str
) -> ArmRun:
    offsets = event_schedule(scenario, settings.seed)
    limit_s = drain_limit_s(scenario, settings.seed, offsets.size)
    service = write_service_times(scenario, settings.seed, offsets.size, context.folder / "service.f64")
    inbox, ledger_path = context.folder / "inbox.db", context.folder / "ledger.csv"
    provider_flags = ["--ledger", str(ledger_path)]
    provider_flags += api_flags(scenario, offsets.size, context.folder / "api.json")
    servers: dict[str, tuple[Child, int]] = {}
    with context.progress.stage(f"{label}: starting the servers"):
        if arm == "webhook":
            receiver = context.crew.server(
                "receiver",
                *("--inbox", f"sqlite:///{inbox}", "--drain-s", f"{limit_s:.3f}"),
                *("--queue-limit", str(scenario.receiver.queue_limit), *body_limit(scenario)),
                *service,
            )
            servers["receiver"] = (receiver, now_us())
            provider_flags += sole_subscription(scenario, offsets.size)
        provider = context.crew.server("provider", *provider_flags)
        servers["provider"] = (provider, now_us())
        for child, _ in servers.values():
            context.monitor.watch(child.role, child.pid)
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
        if arm == "polling":
            poller = _start_poller(
                context, scenario, settings.seed, provider.url, origin_us, inbox, limit_s, service
            )
            servers["receiver"] = (poller, now_us())
        else:
            subscribe(provider, f"{servers['receiver'][0].url}/webhooks/standard", scenario, origin_us)
    others = [
        f"the {child.role} was ready only {(ready_us - origin_us) / 1e3:.0f} ms after the run's origin"
        for child, ready_us in servers.values()
        if ready_us > origin_us
    ]
    disturb(settings.disturbance, {role: child for role, (child, _) in servers.items()}, origin_us)
    counted = WindowCounts({role: child for role, (child, _) in servers.items()}, origin_us, scenario)
    samples = generation.samples(origin_us, context.progress, f"{label}: events happen")
    consumer = servers["receiver"][0]
    published = int(samples.acknowledged.sum())
    in_window, late = counted.result()
    others += late
    with context.progress.stage(f"{label}: draining"):
        if arm == "polling":
            # Nothing can have come before the next tick, and asking would cost the servers CPU.
            tick_us = next_tick_us(scenario, settings.seed, origin_us, int(samples.intended_us[-1]))
            time.sleep(max(0.0, (tick_us - now_us()) / 1e6) + 0.1)
        others += drain(lambda: _drained(provider, consumer, published), limit_s + POLLER_MARGIN_S)
    context.monitor.read_now()
    statuses: dict[str, Any] = {}
    try:
        for role, (child, _) in servers.items():
            statuses[role] = child.status()
    except ServerSilent as error:
        others.append(f"{error} after the drain")
    # The consumer first when it polls, the dispatcher first when it pushes: nobody talks to the dead.
    for child in (consumer, provider) if arm == "polling" else (provider, consumer):
        child.stop(limit_s + 10.0)
    rows, provider_rows = read_ledger(inbox), read_provider_ledger(ledger_path, provider)
    missed = statuses.get("receiver", {}).get("missed_events", 0)
    provider_rows = with_missed(provider_rows, rows, missed)
    end_us = last_visible_us(rows, origin_us + round(scenario.run.duration_s * 1e6))
    records = race_records(arm, samples.intended_us, rows, provider_rows, origin_us)
    counters = window_counters(arm, in_window)
    metrics = summarise(records, counters, scenario, outages_enacted=False)
    warmup_s, warmup_us = scenario.run.warmup_s, round(scenario.run.warmup_s * 1e6)
    windowed = samples.due_from(origin_us + warmup_us)
    published_window = generator_metrics(windowed, origin_us + warmup_us, scenario.run.duration_s - warmup_s)
    metrics |= {name: published_window[name] for name in ("lag_p50_s", "lag_p99_s", "achieved_rate_per_s")}
    outcomes = {int(row["index"]): row["outcome"] for row in provider_rows}
    ledger = count_race(samples, rows, outcomes)
    return finish(
        context,
        Measured(
            arm,
            samples,
            metrics,
            judged_record_metrics(records, warmup_s),
            ledger,
            records,
            ledger.visible or 0,
            origin_us,
            end_us,
        ),
        servers=servers,
        settings=settings,
        notes={
            "statuses": statuses,
            "counted_in_window": in_window,
            "run_id": plan.run_id,
            "seed": settings.seed,
            "unlike_the_model": unlike_the_model(scenario),
        },
        run=number,
        others=others,
    )


def _start_poller(
    context: Session,
    scenario: Scenario,
    seed: int,
    source: str,
    origin_us: int,
    inbox: Path,
    drain_s: float,
    service: Sequence[str],
) -> Child:
    from sim.engine import poll_phase_s  # noqa: PLC0415 - compiled code

    polling = scenario.polling
    poller = context.crew.server(
        "poller",
        *("--source", source, "--inbox", f"sqlite:///{inbox}", "--drain-s", f"{drain_s:.3f}"),
        *("--interval-s", repr(polling.interval_s), "--phase-s", repr(float(poll_phase_s(scenario, seed)))),
        *("--origin-us", str(origin_us), "--page-size", str(min(polling.page_size, 1000))),
        *("--timeout-s", repr(polling.timeout_s)),
        *service,
    )
    context.monitor.watch("poller", poller.pid)
    return poller


def next_tick_us(scenario: Scenario, seed: int, origin_us: int, after_us: int) -> int:
    """The poller's first tick not before `after_us`, on the run's clock."""
    from sim.engine import poll_phase_s  # noqa: PLC0415 - compiled code

    first_us = origin_us + round(float(poll_phase_s(scenario, seed)) * 1e6)
    interval_us = round(scenario.polling.interval_s * 1e6)
    return first_us + max(0, -((first_us - after_us) // interval_us)) * interval_us


def _drained(provider: Child, consumer: Child, published: int) -> bool:
    """Whether every published event is visible, or has been given up."""
    at_provider, at_consumer = provider.status(), consumer.status()
    if at_consumer["waiting"] or at_consumer["in_service"]:
        return False
    if at_provider["waiting"] or at_provider["in_flight"] or at_provider["backing_off"]:
        return False
    given_up = int(at_provider["failed"]) + int(at_consumer.get("missed_events", 0))
    return int(at_consumer["visible"]) + given_up >= published
