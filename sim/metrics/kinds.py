"""What kind of number each metric is: it decides how its interval is made (`sim.experiment.intervals`).

================  ======================================================================================
kind              over several runs
================  ======================================================================================
`Kind.MEAN`       an average over a window of fixed length: runs count alike, and so does each one's value
`Kind.RATIO`      a sum over a sum, of which the lower one varies from run to run: both are summed first
`Kind.SHARE`      a ratio of which the upper sum counts some of what the lower one counts: from 0 to 1
`Kind.COUNT`      a ratio of which the upper sum counts happenings that may never come: from 0 up
`Kind.QUANTILE`   a quantile of latency: of all runs' deliveries together
`Kind.EXTREME`    the most that was seen in a run: it grows with the run, and is told of a run this long
================  ======================================================================================

What is not in `KINDS` is taken for a mean.
"""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple


class Kind(StrEnum):
    """How the values of several runs become one."""

    MEAN = "mean"
    RATIO = "ratio"
    SHARE = "share"
    COUNT = "count"
    QUANTILE = "quantile"
    EXTREME = "extreme"


class Base(StrEnum):
    """What stands below the line of a ratio; each is a field of `sim.metrics.basis.Basis`."""

    EVENTS = "events"
    REQUESTS = "requests"
    DELIVERED = "delivered"


class Nature(NamedTuple):
    """A metric's kind, and of a ratio what it is per, of a quantile which one."""

    kind: Kind
    base: Base | None = None
    level: float | None = None


_MEAN, _EXTREME = Nature(Kind.MEAN), Nature(Kind.EXTREME)

KINDS: dict[str, Nature] = {
    "latency_mean_s": Nature(Kind.RATIO, Base.DELIVERED),
    "latency_p50_s": Nature(Kind.QUANTILE, level=0.5),
    "latency_p95_s": Nature(Kind.QUANTILE, level=0.95),
    "latency_p99_s": Nature(Kind.QUANTILE, level=0.99),
    "latency_max_s": _EXTREME,
    "fairness": _MEAN,
    "goodput_per_s": _MEAN,
    "attempts_per_event": Nature(Kind.RATIO, Base.EVENTS),
    "duplicates_per_event": Nature(Kind.COUNT, Base.EVENTS),
    "lost_ratio": Nature(Kind.SHARE, Base.EVENTS),
    "pending_ratio": Nature(Kind.SHARE, Base.EVENTS),
    "on_time_ratio": Nature(Kind.SHARE, Base.EVENTS),
    "missed_ratio": Nature(Kind.SHARE, Base.EVENTS),
    "out_of_order_ratio": Nature(Kind.SHARE, Base.DELIVERED),
    "freshness": _MEAN,
    "age_mean_s": _MEAN,
    "aoi_mean_s": _MEAN,
    "peak_aoi_mean_s": _MEAN,  # per peak, of which a run of this length has about as many each time
    "recovery_time_s": _MEAN,
    "requests_per_event": Nature(Kind.RATIO, Base.EVENTS),
    "bytes_per_event": Nature(Kind.RATIO, Base.EVENTS),
    "cost_per_million_events": Nature(Kind.RATIO, Base.EVENTS),
    "empty_ratio": Nature(Kind.SHARE, Base.REQUESTS),
    "not_modified_ratio": Nature(Kind.SHARE, Base.REQUESTS),
    "error_ratio": Nature(Kind.SHARE, Base.REQUESTS),
    "rejected_ratio": Nature(Kind.SHARE, Base.REQUESTS),
    "timeout_ratio": Nature(Kind.SHARE, Base.REQUESTS),
    "unsent_per_event": Nature(Kind.COUNT, Base.EVENTS),
    "redeliveries_per_event": Nature(Kind.COUNT, Base.EVENTS),
    "dead_letter_ratio": Nature(Kind.COUNT, Base.EVENTS),
    "provider_utilisation": _MEAN,
    "receiver_utilisation": _MEAN,
    "provider_queue_mean": _MEAN,
    "receiver_queue_mean": _MEAN,
    "connections_mean": _MEAN,
    "provider_queue_max": _EXTREME,
    "receiver_queue_max": _EXTREME,
    "connections_peak": _EXTREME,
}
"""Every metric that `sim.metrics.summarise` knows."""


def nature_of(metric: str) -> Nature:
    """A metric's kind and base."""
    return KINDS.get(metric, _MEAN)
