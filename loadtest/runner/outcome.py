"""After the last answer: the ledger counted, records joined, costs read, the verdict reached."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from loadtest.inbox import LedgerRow
from loadtest.monitor import Usage
from loadtest.recorder import TIMED_OUT, HistogramOverflow, Samples, histogram
from loadtest.runner.faults import Faults
from loadtest.runner.figures_of_merit import quantiles_s, server_metrics
from loadtest.runner.fleet import Fleet
from loadtest.runner.generation import ROLE
from loadtest.runner.processes import Child, Crew
from loadtest.runner.results import ArmRun
from loadtest.runner.session import Session, Settings, idle_span
from loadtest.schedule import IntArray
from loadtest.traffic import COPY, GENUINE
from loadtest.verdict import Ledger, void_reasons
from sim.records import MISSING_US, Counters, Status, Via, measured_records

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Measured:
    """One arm run as measured, before the verdict.

    Attributes:
        judged: see `ArmRun`.
        delivered: what the servers' cost is spread over: visible events, or answered polls.
        origin_us, end_us: the span over which that cost is counted.
        received_us: see `ArmRun`.
    """

    arm: str
    samples: Samples
    metrics: dict[str, float]
    judged: dict[str, float]
    ledger: Ledger
    records: pd.DataFrame | None
    delivered: int
    origin_us: int
    end_us: int
    received_us: IntArray | None = None


def received_us(rows: Sequence[LedgerRow], size: int) -> IntArray:
    """When the first copy of each event was completely at the receiver (`MISSING_US`: never)."""
    when = np.full(size, MISSING_US, dtype=np.int64)
    for row in rows:
        if 0 <= row.event_index < size:
            when[row.event_index] = row.received_us
    return when


def visible_us(rows: Sequence[LedgerRow], size: int) -> tuple[IntArray, IntArray]:
    """When each event became visible (`MISSING_US`: never), and how many copies of it were accepted."""
    when = np.full(size, MISSING_US, dtype=np.int64)
    copies = np.zeros(size, dtype=np.int64)
    for row in rows:
        if 0 <= row.event_index < size:
            copies[row.event_index] += row.copies
            if row.visible_us is not None:
                when[row.event_index] = row.visible_us
    return when, copies


def last_visible_us(rows: Sequence[LedgerRow], at_least_us: int) -> int:
    """When the last event became visible, where the servers' useful work ends; or a later end of the run."""
    return max([at_least_us, *(row.visible_us for row in rows if row.visible_us is not None)])


def count(samples: Samples, rows: Sequence[LedgerRow] | None) -> Ledger:
    """The ledger of a run: from the generator's samples and, where it is ours, the inbox."""
    scheduled, sent = samples.index.size, int(samples.sent.sum())
    acknowledged = samples.acknowledged
    figures = {
        "scheduled": scheduled,
        "sent": sent,
        "unsent": scheduled - sent,
        "acknowledged": int(acknowledged.sum()),
        "failed": int(samples.failed.sum()),
    } | _storms(samples)
    if rows is None:
        return Ledger(**figures)
    events = int(samples.event[samples.honest].max(initial=-1)) + 1
    when, copies = visible_us(rows, events)
    seen = when != MISSING_US
    taken = np.zeros(events, dtype=np.bool_)
    taken[samples.event[acknowledged]] = True
    if (samples.kind == COPY).any():
        figures["repeated"] = figures["acknowledged"] - int(taken.sum())
    return Ledger(
        **figures,
        visible=int((taken & seen).sum()),
        lost=int((taken & ~seen).sum()),
        duplicates=int(np.maximum(copies - 1, 0).sum()),
        unacknowledged_visible=int((~taken & seen).sum()),
    )


def _storms(samples: Samples) -> dict[str, int]:
    """What storms add to the ledger, nothing without them."""
    found = {}
    if not samples.honest.all():
        found["refused"] = int(samples.refused.sum())
        found["forgeries_acknowledged"] = samples.forgeries_acknowledged
    if (samples.attempts > 1).any():
        found["retries"] = int(np.maximum(samples.attempts - 1, 0).sum())
    return found


def count_race(samples: Samples, rows: Sequence[LedgerRow], outcomes: Mapping[int, str]) -> Ledger:
    """The ledger of a race's arm.

    Args:
        samples: the publications.
        rows: the inbox.
        outcomes: by event index, what the provider's ledger says became of its delivery; in the
            polling arm "failed" is what the provider forgot before it was fetched.
    """
    ledger = count(samples, rows)
    when, _ = visible_us(rows, samples.index.size)
    unseen = [
        outcomes.get(int(index)) for index in samples.index[samples.acknowledged & (when == MISSING_US)]
    ]
    given_up, pending = unseen.count("failed"), unseen.count("pending")
    return replace(ledger, lost=len(unseen) - given_up - pending, given_up=given_up, pending=pending)


def deliveries(samples: Samples, rows: Sequence[LedgerRow], origin_us: int) -> pd.DataFrame:
    """Delivery records of a load, one an event: visible when the receiver's worker served it.

    Attempts are all sendings of the event, copies and retries included.
    """
    firsts = samples.chosen(samples.kind == GENUINE)
    firsts = firsts.chosen(np.argsort(firsts.event))
    attempts = np.zeros(firsts.index.size, dtype=np.int32)
    honest = samples.honest
    np.add.at(attempts, samples.event[honest], samples.attempts[honest].astype(np.int32))
    when, copies = visible_us(rows, firsts.index.size)
    status = np.where(attempts > 0, Status.LOST, Status.PENDING)
    status[when != MISSING_US] = Status.DELIVERED
    return measured_records(
        created_us=firsts.intended_us,
        first_attempt_us=firsts.sent_us,
        visible_us=when,
        attempts=attempts,
        copies=copies,
        via=Via.WEBHOOK,
        status=status,
        origin_us=origin_us,
    )


def sender_counters(samples: Samples, receiver: Mapping[str, Any], start_us: int) -> Counters:
    """The counters of a load of the receiver, of requests due from `start_us` on, as far as measured."""
    counters = inbox_counters(receiver)
    windowed = samples.intended_us >= start_us
    counters.requests = int(samples.attempts[windowed].sum())
    counters.rejected = int((np.isin(samples.status, (429, 503)) & windowed).sum())
    counters.timeouts = int(((samples.status == TIMED_OUT) & windowed).sum())
    return counters


def inbox_counters(status: Mapping[str, Any]) -> Counters:
    """What the status of a process with an inbox says of its queue and its worker."""
    counters = Counters.unknown()
    counters.receiver_busy_s = status.get("busy_s")
    counters.receiver_queue_max = status.get("queue_max")
    counters.receiver_queue_integral_s = status.get("queue_integral_s")
    return counters


def not_measured(measured: Measured, servers: Mapping[str, object], fleet: Fleet) -> list[str]:
    """What a load of somebody else's server cannot tell, each with why."""
    if servers:
        return []
    told = ["the server's CPU, memory and waiting: its processes are not ours to read"]
    if measured.records is None and measured.arm == "webhook":
        told.append("created to visible, lost, duplicates: its inbox is not ours to read")
        if fleet.elsewhere:
            told.append(
                "created to visible: its clock is not the workers' (send to answer needs one clock only)"
            )
    if measured.arm == "polling":
        told.append("empty_ratio: every poll asks for a first page, for what it holds is not ours to know")
    return told


def busiest_share(crew: Crew, generator: Usage | None) -> float | None:
    """How much of a core the busiest generator process had, or all of them of the cores they share.

    Of several processes each tells its own; what the monitor sees of them together is one tree.
    """
    shares = [report["cpu_s"] / report["busy_s"] for report in crew.reports if report["busy_s"]]
    if generator is not None:
        cores = len(crew.cpus.generator) if crew.cpus.generator else os.cpu_count() or 1
        shares.append(generator.cpu_share / min(cores, crew.fleet.processes))
    return max(shares, default=None)


def finish(
    context: Session,
    measured: Measured,
    *,
    servers: Mapping[str, tuple[Child, int]],
    settings: Settings,
    notes: Mapping[str, Any],
    bystanders: Mapping[str, int] | None = None,
    run: int = 0,
    others: Sequence[str] = (),
    loops: Mapping[str, str] | None = None,
) -> ArmRun:
    """Add the servers' cost and the verdict.

    Args:
        context: the session, whose monitor watched the servers.
        measured: what was measured.
        servers: by role: the process, and when it became ready (µs), where its idle baseline begins.
        bystanders: processes that the monitor watched too, by name, and since when (µs).
        settings: states the limit of the generator's lag.
        notes: further facts for run.json.
        run: the repetition's number.
        others: further reasons to void.
        loops: by role, the event loop that a server which is not ours to start says it runs on.
    """
    event_loops = {role: str(child.ready.get("loop")) for role, (child, _) in servers.items()} | dict(
        loops or {}
    )
    samples, monitor = measured.samples, context.monitor
    usages = {
        role: monitor.usage(
            child.role, measured.origin_us, measured.end_us, idle_span(ready_us, measured.origin_us)
        )
        for role, (child, ready_us) in servers.items()
    }
    for name, since_us in (bystanders or {}).items():
        idle = idle_span(since_us, measured.origin_us)
        usages[name] = monitor.usage(name, measured.origin_us, measured.end_us, idle)
    # The generator's share counts from the first to the last answer, without its start and its end.
    last_us = max(int(samples.done_us.max()), measured.origin_us + 1)
    generator = monitor.usage(ROLE, measured.origin_us, last_us)
    metrics = measured.metrics | server_metrics(usages, measured.delivered)
    generator_cpu = busiest_share(context.crew, generator)
    if generator_cpu is not None:
        metrics["generator_cpu_share"] = generator_cpu
    overflow = None
    try:
        for values in (samples.corrected_us, samples.uncorrected_us):
            histogram(values)
    except HistogramOverflow as error:
        overflow = str(error)
    faults, faulty = settings.disturbance.result() if isinstance(settings.disturbance, Faults) else ([], [])
    lag_us = samples.generator_lag_us
    reasons = void_reasons(
        measured.ledger,
        loops=event_loops,
        generator_cpu=generator_cpu,
        lag_p99_s=quantiles_s(lag_us, 0.99)[0] if lag_us.size else None,
        lag_limit_s=settings.lag_limit_s,
        generator_wait_s=None if generator is None else generator.run_wait_s,
        failures=samples.failures(),
        overflow=overflow,
        others=[*others, *faulty],
    )
    own: dict[str, Any] = {
        "event_loops": event_loops,
        "cpus": context.crew.cpus.describe(),
        "generators": context.crew.reports,
        "observing": monitor.observations.cost(),
        "not_measured": [
            *not_measured(measured, servers, context.crew.fleet),
            *(
                f"the {role}'s idle baseline: it was ready too late for one, so its CPU counts whole"
                for role, usage in usages.items()
                if usage is not None and usage.idle_cpu_per_s is None
            ),
        ],
        "idle_cpu_per_s": {role: usage and usage.idle_cpu_per_s for role, usage in usages.items()},
        "failures": samples.failures(),
        "origin_us": measured.origin_us,
        "end_us": measured.end_us,
        "storms": list(settings.wishes.storms),
        "faults": faults,
    }
    assert not own.keys() & notes.keys(), "two facts of one name"
    return ArmRun(
        arm=measured.arm,
        run=run,
        metrics=metrics,
        ledger=measured.ledger,
        void=reasons,
        samples=samples,
        records=measured.records,
        server_load=monitor.frame(measured.origin_us),
        observations=monitor.observations.frame(measured.origin_us),
        judged=measured.judged,
        received_us=measured.received_us,
        notes=own | dict(notes),
    )
