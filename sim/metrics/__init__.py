"""What a run was like: pure functions of its records and counters, the same for simulated and measured runs.

Names, everywhere: latency is visible − created over delivered records; age, freshness and age of
information are time averages over the window; ratios per event have windowed events × subscribers
below the line. A metric that a run cannot know (a counter it did not measure) is absent; one that is
undefined (a quantile of nothing) is NaN.

`scans` walks the records and `digest` holds what they come to; `latencies`, `outcomes`, `ages`, `recovery`,
`work` and `cost` say what is made of it.
`kinds` says what kind of number each is, and `basis` what it takes to put those of several runs together.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from sim.metrics.ages import age_metrics
from sim.metrics.basis import Basis
from sim.metrics.cost import cost_items, cost_metrics
from sim.metrics.digest import Digest, Totals, digest_records
from sim.metrics.latencies import (
    LATENCY_NAMES,
    QUANTILE_METHOD,
    fairness_metrics,
    judged_delivery_metrics,
    judged_latency_metrics,
    latency_metrics,
)
from sim.metrics.outcomes import outcome_metrics
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
    "Digest",
    "Summary",
    "Totals",
    "age_metrics",
    "cost_items",
    "cost_metrics",
    "counter_metrics",
    "digest_records",
    "fairness_metrics",
    "judged_delivery_metrics",
    "judged_latency_metrics",
    "latency_metrics",
    "outcome_metrics",
    "recovery_metrics",
    "summarise",
    "summary_of",
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
    records: pd.DataFrame | Deliveries | Digest,
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
    records: pd.DataFrame | Deliveries | Digest,
    counters: Counters,
    scenario: Scenario,
    *,
    outages_enacted: bool = True,
) -> Summary:
    """The same as `summarise`, with what the metrics rest on."""
    if not isinstance(records, Digest):
        deliveries = records if isinstance(records, Deliveries) else Deliveries.from_frame(records)
        records = digest_records(deliveries, scenario)
    totals = records.totals
    metrics = latency_metrics(records)
    metrics |= fairness_metrics(records)
    metrics |= outcome_metrics(totals, scenario)
    metrics |= age_metrics(records, Window(scenario.run.warmup_s, scenario.run.duration_s))
    if outages_enacted:
        metrics |= recovery_metrics(records, scenario)
    metrics |= counter_metrics(counters, scenario, totals.total)
    metrics |= cost_metrics(counters, totals, scenario.cost)
    return Summary(metrics, Basis(totals.total, counters.requests, records.latencies_s, totals.seen))
