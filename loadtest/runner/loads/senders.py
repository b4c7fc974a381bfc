"""Load arms of senders: a provider's webhooks, or thin ones, at a receiver."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from loadtest.contract import MISSING, now_us
from loadtest.inbox import LedgerRow, read_ledger
from loadtest.plans import plan_of
from loadtest.runner.figures_of_merit import judged_record_metrics
from loadtest.runner.inquiries import event_loop_at
from loadtest.runner.loads.outside import begin, seen_from_outside, window_start_us
from loadtest.runner.outcome import (
    Measured,
    count,
    deliveries,
    finish,
    last_visible_us,
    received_us,
    sender_counters,
)
from loadtest.runner.processes import Child
from loadtest.runner.results import ArmRun
from loadtest.runner.session import (
    Session,
    Settings,
    body_limit,
    drain,
    drain_limit_s,
    unlike_the_model,
    write_service_times,
)
from loadtest.schedule import Plan
from loadtest.senders import INDEXED, PUBLIC_URL, Identities, delivery_of, identities
from sim.metrics import summarise

if TYPE_CHECKING:
    from sim.scenario import Scenario


def senders(context: Session, arm: str, scenario: Scenario, settings: Settings) -> ArmRun:
    """Run a load of the receiver once."""
    host, wishes = settings.host, settings.wishes
    plan = replace(
        plan_of(arm, scenario, settings.seed, wishes, context.run_id),
        pool_size=settings.pool_size,
        lead_in_s=0.5,
    )
    events = int((plan.kind == 0).sum()) if plan.kind.size else plan.offsets_us.size
    receiver: Child | None = None
    inbox = context.folder / "inbox.db"
    drain_s = drain_limit_s(scenario, settings.seed, events)
    if host is None:
        with context.progress.stage("starting the receiver"):
            receiver = context.crew.server(
                "receiver",
                *("--inbox", f"sqlite:///{inbox}", "--drain-s", f"{drain_s:.3f}"),
                *("--queue-limit", str(scenario.receiver.queue_limit), "--public-url", PUBLIC_URL),
                *body_limit(scenario, int(plan.sizes.max(initial=0))),
                *write_service_times(scenario, settings.seed, events, context.folder / "service.f64"),
                *settings.receiver[1:],
                module=settings.receiver[0],
            )
            context.monitor.watch("receiver", receiver.pid)
        host = receiver.url
    else:
        plan = replace(plan, public_url=wishes.public_url or host)
    ready_us = now_us()
    generation, origin_us, counted = begin(context, plan, host, receiver, settings, scenario)
    samples = generation.samples(origin_us, context.progress, f"{arm}: loading {host}")
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
        rows = known_again(read_ledger(inbox), _identities(plan, events))
        end_us = last_visible_us(rows, origin_us + round(scenario.run.duration_s * 1e6))
    ledger = count(samples, rows)
    metrics, judged = seen_from_outside(samples, origin_us, scenario)
    records = received = None
    if rows is not None:
        received = received_us(rows, events)
        records = deliveries(samples, rows, origin_us)
        counters = sender_counters(samples, status, window_start_us(origin_us, scenario))
        seen = summarise(records, counters, scenario, outages_enacted=settings.outages_enacted)
        metrics |= {
            (f"visible_{name}" if name.startswith("latency_") else name): value
            for name, value in seen.items()
        }
        judged |= judged_record_metrics(records, scenario.run.warmup_s, "visible_latency")
    return finish(
        context,
        Measured(
            arm, samples, metrics, judged, ledger, records, ledger.visible or 0, origin_us, end_us, received
        ),
        servers={} if receiver is None else {"receiver": (receiver, ready_us)},
        settings=settings,
        notes={
            "receiver_status": status,
            "run_id": plan.run_id,
            "source": plan.source,
            "unlike_the_model": _unlike_the_model(scenario, plan, settings),
        },
        others=others,
        loops=event_loop_at(settings.host, context.crew.fleet.ca) if settings.host else None,
    )


def _unlike_the_model(scenario: Scenario, plan: Plan, settings: Settings) -> list[str]:
    told = settings.as_run(unlike_the_model(scenario))
    if plan.kind.any():
        told.append("duplicates and forgeries are not in the model")
    if scenario.receiver.acknowledge == "after_processing":
        told.append("the real receiver acknowledges on receipt, not after processing")
    if plan.source not in INDEXED:
        told.append(f"receiver.service is not enacted: events of {plan.source} do not say which they are")
    return told


def _identities(plan: Plan, events: int) -> Identities:
    sizes = plan.sizes.tolist() or [plan.payload_bytes] * events
    return identities(
        plan.source,
        (delivery_of(plan.run_id, index, 0, sizes[index]) for index in range(events)),
        plan.run_id,
    )


def known_again(rows: list[LedgerRow], known: Identities) -> list[LedgerRow]:
    """An inbox's rows with the index of the run's events where the events did not say it themselves."""
    found = []
    for row in rows:
        index = known.index(row.event_id) if row.event_index == MISSING else None
        found.append(row if index is None else row._replace(event_index=index))
    return found


def _idle(receiver: Child) -> bool:
    """Whether all that was accepted is visible.

    What a killed receiver had begun does not wait in its successor, until the lease on it has run out.
    """
    status = receiver.status()
    at_rest = not status["waiting"] and not status["in_service"]
    return at_rest and int(status["visible"]) + int(status["dead"]) >= int(status["accepted"])
