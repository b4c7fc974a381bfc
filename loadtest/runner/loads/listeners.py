"""Load arms of held connections: long pollers and streams, to which events are published meanwhile.

A sample is one event on one connection: due when the event was to be created, sent when its publication
left, done when it arrived. So the generator's lag is that of the publications.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from loadtest.contract import now_us
from loadtest.plans import plan_of
from loadtest.recorder import UNSENT, Samples
from loadtest.runner.generation import Arrivals
from loadtest.runner.inquiries import event_loop_at
from loadtest.runner.loads.outside import begin, seen_from_outside
from loadtest.runner.outcome import Measured, count, finish
from loadtest.runner.processes import Child
from loadtest.runner.results import ArmRun
from loadtest.runner.session import Session, Settings
from loadtest.schedule import shape_of

if TYPE_CHECKING:
    from sim.scenario import Scenario

SPARE = 100


def listeners(context: Session, arm: str, scenario: Scenario, settings: Settings) -> ArmRun:
    """Run a load of the provider by held connections once."""
    host = settings.host
    plan = replace(plan_of(arm, scenario, settings.seed, settings.wishes, context.run_id), lead_in_s=0.5)
    provider: Child | None = None
    if host is None:
        room = str(plan.clients + SPARE)
        with context.progress.stage("starting the provider"):
            provider = context.crew.server(
                "provider",
                *("--max-streams", room, "--max-waiting", room, "--max-wait-s", str(max(60.0, plan.wait_s))),
                *("--heartbeat-s", str(scenario.streaming.heartbeat_s)),
            )
            context.monitor.watch("provider", provider.pid)
        host = provider.url
    ready_us = now_us()
    generation, origin_us, _ = begin(context, plan, host, provider, settings, scenario)
    published = generation.samples(origin_us, context.progress, f"{arm}: loading {host}")
    context.monitor.read_now()
    end_us = now_us()
    arrivals = generation.arrivals()
    samples = arrivals_as_samples(published, arrivals, plan.clients)
    ledger = replace(count(samples, None), duplicates=arrivals.counts["duplicates"])
    metrics, judged = seen_from_outside(samples, origin_us, scenario)
    deliveries = max(1, samples.index.size)
    metrics["requests_per_event"] = arrivals.counts["requests"] / deliveries
    metrics["connections_peak"] = float(arrivals.counts["connections"])
    if arm == "long_polling":
        metrics["empty_ratio"] = arrivals.counts["empty"] / max(1, arrivals.counts["requests"])
    return finish(
        context,
        Measured(arm, samples, metrics, judged, ledger, None, ledger.acknowledged, origin_us, end_us),
        servers={} if provider is None else {"provider": (provider, ready_us)},
        settings=settings,
        notes={
            "shape": f"{plan.clients} connections, {shape_of(scenario)}",
            "published": int(published.acknowledged.sum()),
            "held_connections": arrivals.counts,
        },
        loops=event_loop_at(settings.host, context.crew.fleet.ca) if settings.host else None,
    )


def arrivals_as_samples(published: Samples, arrivals: Arrivals, connections: int) -> Samples:
    """Each published event on each connection as a request.

    What did not arrive keeps the failure of its publication; when that was acknowledged, it is unanswered.
    """
    order = np.argsort(published.event)
    publication = np.repeat(order, connections)
    pairs = np.arange(publication.size, dtype=np.int64)
    samples = Samples.scheduled(pairs, published.intended_us[publication], event=pairs)
    for name in ("dispatched_us", "sent_us", "queued", "attempts"):
        getattr(samples, name)[:] = getattr(published, name)[publication]
    failed = ~published.acknowledged[publication]
    samples.status[:] = np.where(failed, published.status[publication], UNSENT)
    place = arrivals.event * connections + arrivals.connection
    samples.done_us[place] = arrivals.received_us
    samples.status[place] = 200
    return samples
