"""What a run was like: pure functions of its records and counters, the same for simulated and measured runs.

Names, everywhere: latency is visible − created over delivered records; age, freshness and age of
information are time averages over the window; ratios per event have windowed events × subscribers
below the line. A metric that a run cannot know (a counter it did not measure) is absent; one that is
undefined (a quantile of nothing) is NaN.

`latencies`, `outcomes`, `ages`, `recovery`, `work` and `cost` define them; `scans` walks the records.
`kinds` says what kind of number each is, and `basis` what it takes to put those of several runs together.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from sim.metrics.ages import age_metrics
from sim.metrics.basis import Basis, basis_of
from sim.metrics.cost import cost_items, cost_metrics
from sim.metrics.latencies import (
    LATENCY_NAMES,
    QUANTILE_METHOD,
    delivered_latencies,
    fairness_metrics,
    judged_delivery_metrics,
    judged_latency_metrics,
    latency_metrics,
)
from sim.metrics.outcomes import outcome_metrics, tally_of
from sim.metrics.recovery import recovery_metrics
from sim.metrics.work import counter_metrics
from sim.records import Counters, Deliveries, Window
from sim.scenario import Scenario

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "LATENCY_NAMES",
    "QUANTILE_METHOD",
    "Basis",
    "Summary",
    "age_metrics",
    "cost_items",
    "cost_metrics",
    "counter_metrics",
    "fairness_metrics",
    "judged_delivery_metrics",
    "judged_latency_metrics",
    "latency_metrics",
    "outcome_metrics",
    "recovery_metrics",
    "summarise",
    "summary_of",
    "tally_of",
]


class Summary(NamedTuple):
    """What a run was like, and what that rests on.

    Attributes:
        metrics: every metric by name.
        basis: what is needed to put the metrics of several runs together.
    """

    metrics: dict[str, float]
    basis: Basis


def summarise(
    records: pd.DataFrame | Deliveries,
    counters: Counters,
    scenario: Scenario,
    *,
    outages_enacted: bool = True,
) -> dict[str, float]:
    """Every metric of one run of one mechanism or arm, by name.

    Args:
        records: delivery records from time 0 on, sorted by subscriber and event; what was created before
            the warm-up ended counts only towards the state it left behind (age, freshness, backlog).
        counters: what happened within the window; None where unknown.
        scenario: states the window, the workers, the on-time bound, the outages and the prices.
        outages_enacted: whether the scenario's outages took place, so that there is a recovery to time.
    """
    return summary_of(records, counters, scenario, outages_enacted=outages_enacted).metrics


def summary_of(
    records: pd.DataFrame | Deliveries,
    counters: Counters,
    scenario: Scenario,
    *,
    outages_enacted: bool = True,
) -> Summary:
    """The same as `summarise`, with what the metrics rest on."""
    deliveries = records if isinstance(records, Deliveries) else Deliveries.from_frame(records)
    window = Window(scenario.run.warmup_s, scenario.run.duration_s)
    tally = tally_of(deliveries, scenario)
    latency_s = delivered_latencies(deliveries, deliveries.within(window))
    metrics = latency_metrics(latency_s)
    metrics |= fairness_metrics(deliveries, window)
    metrics |= outcome_metrics(deliveries, tally, scenario)
    metrics |= age_metrics(deliveries, window)
    if outages_enacted:
        metrics |= recovery_metrics(deliveries, scenario)
    metrics |= counter_metrics(counters, scenario, tally.total)
    metrics |= cost_metrics(counters, tally, scenario.cost)
    return Summary(metrics, basis_of(latency_s, tally.total, counters.requests))
