"""What became of the events: delivered, on time, in order, twice, too late to matter, or never."""

from __future__ import annotations

from sim.metrics.digest import Totals
from sim.metrics.ratios import ratio
from sim.scenario import Scenario


def outcome_metrics(counted: Totals, scenario: Scenario) -> dict[str, float]:
    """Lost, pending, on time, out of order, missed; attempts, duplicates, goodput.

    A delivery is out of order when an event created later was visible before it. An update of a last value
    is missed when it was never seen as the newest: it is lost, or something newer (later in the workload's
    order) was visible no later. One that is pending while nothing newer is visible may still be seen, and
    is not missed. Goodput is the number of events first visible within the window, whenever created, per
    second, over all subscribers.
    """
    run, total = scenario.run, counted.total
    metrics = {
        "goodput_per_s": counted.shown / (run.duration_s - run.warmup_s),
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
