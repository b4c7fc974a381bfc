"""`load`: how much can one server take? Locust plays the whole world outside it, open loop.

Arm ``webhook``: senders post signed events at the receiver. Arm ``polling``: a crowd asks the events
API of a provider. ``latency_*`` here is intended send to answer, what the world outside sees;
``visible_latency_*`` is created to visible, known where the receiver is our own.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import numpy as np

from loadtest.contract import envelope, now_us
from loadtest.inbox import LedgerRow, read_ledger
from loadtest.recorder import Samples
from loadtest.runner.check import check
from loadtest.runner.comparison import judged_by_arm
from loadtest.runner.figures_of_merit import (
    generator_metrics,
    judged_record_metrics,
    judged_sample_metrics,
    latency_metrics,
)
from loadtest.runner.folder import save
from loadtest.runner.generation import Generation
from loadtest.runner.outcome import Measured, count, deliveries, finish, last_visible_us, sender_counters
from loadtest.runner.processes import Child, ProcessFailed, event_loop_at, get_json, require_reachable
from loadtest.runner.progress import Progress
from loadtest.runner.results import ArmRun, LoadResult
from loadtest.runner.session import (
    RECEIVER,
    Disturbance,
    Session,
    Settings,
    WindowCounts,
    body_limit,
    disturb,
    drain,
    drain_limit_s,
    own_secret,
    secrets_given,
    session,
    terminable,
    unlike_the_model,
    write_service_times,
)
from loadtest.schedule import (
    DEFAULT_POOL_SIZE,
    Plan,
    crowd_schedule,
    event_schedule,
    event_times_s,
    require_schedulable,
    scheduled_scenario,
)
from loadtest.verdict import LAG_P99_LIMIT_S, judge
from sim.errors import InputError
from sim.metrics import summarise
from sim.results import RunFolder

if TYPE_CHECKING:
    from sim.scenario import Scenario

ARMS = ("webhook", "polling")
PUBLISH_BATCH_BYTES = 4_000_000


def load(
    scenario: Scenario,
    arms: Sequence[str] = ("webhook",),
    *,
    rate_per_s: float | None = None,
    duration_s: float | None = None,
    thresholds: Sequence[str] = (),
    host: str | None = None,
    seed: int = 1,
    pool_size: int = DEFAULT_POOL_SIZE,
    out: str | Path | None = None,
    command: str | Sequence[str] = "hookbench load",
    figures: bool = True,
    lag_limit_s: float = LAG_P99_LIMIT_S,
    disturbance: Disturbance | None = None,
    receiver: Sequence[str] = RECEIVER,
    progress: Progress | None = None,
) -> LoadResult:
    """Load one server per arm with the scenario's own event list, and say what it cost and endured.

    Args:
        scenario: whose events are sent; see `loadtest.schedule.scheduled_scenario` for the overrides.
        arms: of `ARMS`, one after another on fresh servers.
        rate_per_s: instead of the workload, a Poisson process at this rate (of polls, for ``polling``).
        duration_s: seconds of load; at most 30 of the scenario's by default.
        thresholds: such as ``latency_p99_s<0.25``.
        host: the base URL of a server that runs already, instead of one of our own; one arm only.
        seed: fixes the event list, the service times and the pollers' phases.
        pool_size: requests in flight at most; beyond it they wait, and are counted as queued.
        out: parent of the run folder (default ./results).
        command: what was asked, for run.json.
        figures: draw them into the run folder.
        lag_limit_s: p99 of the generator's own lag above which the run is void.
        disturbance: called during the run, as the self-tests do to stop a server for a while.
        receiver: the module that serves the receiver, and further flags; the self-test has its own.
        progress: where to show it.

    Raises:
        InputError: an unknown arm or metric, an unreachable host, no event to send.
        ProcessFailed: a process of the run died or kept silent.
        KeyboardInterrupt: interrupted; every process is gone and the run folder is marked incomplete.
    """
    limits = check(arms, ARMS, thresholds, seed, pool_size)
    # For a crowd of pollers the rate counts polls: the events stay as they are.
    effective = {
        arm: scheduled_scenario(scenario, rate_per_s if arm == "webhook" else None, duration_s)
        for arm in arms
    }
    if host is not None:
        if len(arms) > 1:
            raise InputError(f"--host is one server, so give one arm, not {', '.join(arms)}")
        require_reachable(host)
        if arms[0] == "webhook" and not secrets_given():
            raise InputError(
                "--host: set HOOKBENCH_WEBHOOK_SECRET to that receiver's secret (whsec_ and base64)"
            )
    settings = Settings(seed, pool_size, lag_limit_s, disturbance, host, rate_per_s, tuple(receiver))
    progress = progress or Progress()
    name = f"load-{scenario.name}"
    with (
        terminable(),
        RunFolder.create(name, command, out, scenario=effective[arms[0]], seeds=(seed,)) as folder,
    ):
        runs = []
        for arm in arms:
            with session(progress, None if host else own_secret()) as context:
                runs.append((_senders if arm == "webhook" else _crowd)(context, effective[arm], settings))
        judged = judge(limits, judged_by_arm(runs))
        result = LoadResult("load", effective[arms[0]], seed, tuple(runs), tuple(judged), folder.path)
        save(folder, result, figures=figures)
    return result


def _senders(context: Session, scenario: Scenario, settings: Settings) -> ArmRun:
    seed, host = settings.seed, settings.host
    offsets = event_schedule(scenario, seed)
    receiver: Child | None = None
    inbox = context.folder / "inbox.db"
    drain_s = drain_limit_s(scenario, seed, offsets.size)
    if host is None:
        with context.progress.stage("starting the receiver"):
            receiver = context.crew.server(
                "receiver",
                *("--inbox", f"sqlite:///{inbox}", "--drain-s", f"{drain_s:.3f}"),
                *("--queue-limit", str(scenario.receiver.queue_limit), *body_limit(scenario)),
                *write_service_times(scenario, seed, offsets.size, context.folder / "service.f64"),
                *settings.receiver[1:],
                module=settings.receiver[0],
            )
            context.monitor.watch("receiver", receiver.pid)
        host = receiver.url
    ready_us = now_us()
    plan = Plan(
        run_id=context.run_id,
        arm="webhook",
        path="/webhooks/standard",
        offsets_us=offsets,
        payload_bytes=scenario.workload.payload_bytes,
        timeout_s=scenario.webhook.timeout_s,
        pool_size=settings.pool_size,
        lead_in_s=0.5,
    )
    origin_us, samples, counted = _generate(context, plan, host, receiver, settings, scenario)
    status: dict[str, Any] = {}
    rows: list[LedgerRow] | None = None
    others: list[str] = []
    if receiver is not None:
        in_window, others = counted.result()
        status = in_window.get("receiver", {})
        with context.progress.stage("draining the receiver"):
            others += drain(lambda: _idle(receiver), drain_s)
        context.monitor.read_now()
    end_us = now_us()
    if receiver is not None:
        receiver.stop(drain_s + 5.0)
        rows = read_ledger(inbox)
        end_us = last_visible_us(rows, origin_us + round(scenario.run.duration_s * 1e6))
    ledger = count(samples, rows)
    metrics, judged = _seen_from_outside(samples, origin_us, scenario)
    records = None
    if rows is not None:
        records = deliveries(samples, rows, origin_us)
        seen = summarise(
            records,
            sender_counters(samples, status, _window_start_us(origin_us, scenario)),
            scenario,
            outages_enacted=False,
        )
        metrics |= {
            (f"visible_{name}" if name.startswith("latency_") else name): value
            for name, value in seen.items()
        }
        judged |= judged_record_metrics(records, scenario.run.warmup_s, "visible_latency")
    return finish(
        context,
        Measured(
            "webhook", samples, metrics, judged, ledger, records, ledger.visible or 0, origin_us, end_us
        ),
        servers={} if receiver is None else {"receiver": (receiver, ready_us)},
        settings=settings,
        notes={
            "receiver_status": status,
            "run_id": plan.run_id,
            "unlike_the_model": unlike_the_model(scenario),
        },
        others=others,
        loops=event_loop_at(settings.host) if settings.host else None,
    )


def _crowd(context: Session, scenario: Scenario, settings: Settings) -> ArmRun:
    from sim.engine import poll_phase_s  # noqa: PLC0415 - compiled code

    seed, host, rate_per_s = settings.seed, settings.host, settings.rate_per_s
    interval_s = scenario.polling.interval_s
    pollers = scenario.subscribers.count
    if rate_per_s is not None:
        # So many polls a second are so many pollers of this interval, at least one, a little faster then.
        pollers = max(1, round(rate_per_s * interval_s))
        interval_s = pollers / rate_per_s
        scenario = scenario.with_values(**{"polling.interval_s": interval_s})
    require_schedulable(pollers * (scenario.run.duration_s / interval_s + 1), "pollers × duration / interval")
    phases = np.array([poll_phase_s(scenario, seed, poller) for poller in range(pollers)])
    page_size = min(scenario.polling.page_size, 1000)
    polls = crowd_schedule(
        phases, interval_s, scenario.run.duration_s, event_times_s(scenario, seed), page_size
    )
    if polls.offsets_us.size == 0:
        raise InputError(
            f"no poll falls within {scenario.run.duration_s:g} s at one poll every {interval_s:g} s "
            f"from each of {pollers} pollers; raise --rate or --duration"
        )
    provider: Child | None = None
    cursors: tuple[str, ...] = ()
    if host is None:
        with context.progress.stage("starting the provider"):
            provider = context.crew.server("provider")
            context.monitor.watch("provider", provider.pid)
            cursors = _preload(
                provider, context.run_id, int(polls.due.max()), scenario.workload.payload_bytes
            )
        host = provider.url
    ready_us = now_us()
    plan = Plan(
        run_id=context.run_id,
        arm="polling",
        path="/events",
        offsets_us=polls.offsets_us,
        timeout_s=scenario.polling.timeout_s,
        pool_size=settings.pool_size,
        lead_in_s=0.5,
        due=polls.due,
        cursors=cursors,
        page_size=page_size,
    )
    origin_us, samples, _ = _generate(context, plan, host, provider, settings, scenario)
    context.monitor.read_now()
    end_us = now_us()
    ledger = count(samples, None)
    metrics, judged = _seen_from_outside(samples, origin_us, scenario)
    if provider is not None:
        windowed = samples.due_from(_window_start_us(origin_us, scenario))
        metrics["empty_ratio"] = (
            float((polls.due[windowed.index] == 0).mean()) if windowed.index.size else math.nan
        )
    return finish(
        context,
        Measured("polling", samples, metrics, judged, ledger, None, ledger.acknowledged, origin_us, end_us),
        servers={} if provider is None else {"provider": (provider, ready_us)},
        settings=settings,
        notes={"pollers": pollers, "interval_s": interval_s},
        loops=event_loop_at(settings.host) if settings.host else None,
    )


def _window_start_us(origin_us: int, scenario: Scenario) -> int:
    return origin_us + round(scenario.run.warmup_s * 1e6)


def _seen_from_outside(
    samples: Samples, origin_us: int, scenario: Scenario
) -> tuple[dict[str, float], dict[str, float]]:
    """The metrics of the requests due after the warm-up, and the latencies that thresholds judge."""
    start_us = _window_start_us(origin_us, scenario)
    windowed = samples.due_from(start_us)
    metrics = latency_metrics(windowed.corrected_us)
    metrics |= latency_metrics(windowed.uncorrected_us, "uncorrected_latency")
    metrics |= generator_metrics(windowed, start_us, scenario.run.duration_s - scenario.run.warmup_s)
    return metrics, judged_sample_metrics(windowed)


def _generate(
    context: Session, plan: Plan, host: str, server: Child | None, settings: Settings, scenario: Scenario
) -> tuple[int, Samples, WindowCounts]:
    with context.progress.stage("starting Locust"):
        generation = Generation(context.crew, context.monitor, plan, host)
        origin_us = generation.origin_us()
    servers = {} if server is None else {server.role: server}
    disturb(settings.disturbance, servers, origin_us)
    # Of a crowd's provider nobody asks for counts: every answer is in the samples.
    counted = WindowCounts(servers if plan.arm == "webhook" else {}, origin_us, scenario)
    return origin_us, generation.samples(origin_us, context.progress, f"{plan.arm}: loading {host}"), counted


def _preload(provider: Child, run_id: str, most_due: int, payload_bytes: int) -> tuple[str, ...]:
    """Publish as many events as any poll finds; returns the cursors behind which 0, 1, 2 … of them lie.

    Raises:
        ProcessFailed: the provider does not take them.
    """
    batch = max(1, PUBLISH_BATCH_BYTES // max(payload_bytes, 500))
    try:
        cursors = [str(get_json(f"{provider.url}/events")["cursor"])]
        for start in range(0, most_due, batch):
            indices = range(start, min(start + batch, most_due))
            events = b",".join(envelope(run_id, index, now_us(), payload_bytes) for index in indices)
            get_json(f"{provider.url}/events", b"[" + events + b"]")
        for _ in range(most_due):
            page = get_json(f"{provider.url}/events?limit=1&after={quote(cursors[-1], safe='')}")
            cursors.append(str(page["cursor"]))
    except (OSError, ValueError) as error:
        raise ProcessFailed(
            f"the provider did not take {most_due} events of {payload_bytes:,} bytes: {error}"
        ) from None
    return tuple(reversed(cursors))


def _idle(receiver: Child) -> bool:
    status = receiver.status()
    return not status["waiting"] and not status["in_service"]
