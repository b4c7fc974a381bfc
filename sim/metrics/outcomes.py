"""What became of the events: delivered, on time, in order, twice, too late to matter, or never."""

from __future__ import annotations

import math

from sim.metrics.ratios import ratio
from sim.metrics.scans import Tally, shown_within, tally
from sim.records import Deliveries
from sim.scenario import Scenario


def tally_of(deliveries: Deliveries, scenario: Scenario) -> Tally:
    """Count what became of the events created within the scenario's window."""
    created, count, visible = deliveries.scanned
    on_time_s = scenario.run.on_time_s
    return tally(
        created,
        count,
        visible,
        deliveries.attempts,
        deliveries.copies,
        deliveries.status,
        scenario.run.warmup_s,
        scenario.world_end_s,
        math.inf if on_time_s is None else on_time_s,
    )


def outcome_metrics(deliveries: Deliveries, counted: Tally, scenario: Scenario) -> dict[str, float]:
    """Lost, pending, on time, out of order, missed; attempts, duplicates, goodput.

    A delivery is out of order when an event created later was visible before it. An update of a last value
    is missed when it was never seen as the newest: it is lost, or something newer (later in the workload's
    order) was visible no later. One that is pending while nothing newer is visible may still be seen, and
    is not missed. Goodput is the number of events first visible within the window, whenever created, per
    second, over all subscribers.
    """
    run, total = scenario.run, counted.total
    shown = shown_within(deliveries.audience.count, deliveries.visible, run.warmup_s, run.duration_s)
    metrics = {
        "goodput_per_s": shown / (run.duration_s - run.warmup_s),
        "attempts_per_event": ratio(counted.attempts, total),
        "duplicates_per_event": ratio(counted.duplicates, total),
        "lost_ratio": ratio(counted.lost, total),
        "pending_ratio": ratio(counted.pending, total),
        "out_of_order_ratio": ratio(counted.overtaken, counted.delivered),
    }
    if run.on_time_s is not None:
        metrics["on_time_ratio"] = ratio(counted.on_time, total)
    if scenario.workload.content == "last_value":
        metrics["missed_ratio"] = ratio(counted.missed, total)
    return metrics
