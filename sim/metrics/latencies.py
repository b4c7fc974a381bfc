"""Latency: from an event's creation to its being visible, over what was delivered."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

import numpy as np

from sim.metrics.ratios import ratio
from sim.records import Deliveries, Window

if TYPE_CHECKING:
    from sim.metrics.digest import Digest

QUANTILE_METHOD: Literal["linear"] = (
    "linear"  # Hyndman & Fan (1996) type 7, the default of NumPy, pandas and R
)
QUANTILES = (0.5, 0.95, 0.99)


def exact_quantiles(deliveries: Deliveries, window: Window) -> list[float]:
    """The `QUANTILES` of latency over delivered records by `QUANTILE_METHOD`, seconds; NaN of nothing."""
    latency_s = deliveries.visible - deliveries.created
    latency_s = latency_s[deliveries.within(window) & ~np.isnan(latency_s)]
    if latency_s.size == 0:
        return [math.nan for _ in QUANTILES]
    found = np.quantile(latency_s, QUANTILES, method=QUANTILE_METHOD, overwrite_input=True)
    return [float(each) for each in found]


def latency_metrics(digest: Digest) -> dict[str, float]:
    """Mean, quantiles and maximum of latency over delivered records, seconds.

    Quantiles are those of `QUANTILE_METHOD`: exact of records, within `sim.metrics.histogram.RELATIVE_ERROR`
    where none were kept.
    """
    totals = digest.totals
    p50, p95, p99 = digest.latency_quantiles_s
    return {
        "latency_mean_s": ratio(totals.latency_s, totals.seen),
        "latency_p50_s": p50,
        "latency_p95_s": p95,
        "latency_p99_s": p99,
        "latency_max_s": totals.latency_max_s if totals.seen else math.nan,
    }


def fairness_metrics(digest: Digest) -> dict[str, float]:
    """How alike the subscribers' mean latencies are: (Σx)² / (n Σx²), 1 when equal, 1/n when one has all.

    Jain's index (Jain, Chiu & Hawe, "A quantitative measure of fairness and discrimination for resource
    allocation in shared computer systems", DEC TR-301, 1984), over the subscribers that had a windowed
    event. It is undefined when one of them got nothing: a mean latency that does not exist can be neither
    left out nor called fair. Absent with a single subscriber.
    """
    if len(digest.mean_latency_s) < 2:
        return {}
    x = digest.mean_latency_s[digest.concerned]
    if x.size == 0 or np.isnan(x).any():
        return {"fairness": math.nan}
    largest = x.max()
    if largest == 0:
        return {"fairness": 1.0}
    x = x / largest  # the index has no unit; squares of tiny latencies need not vanish
    return {"fairness": float(x.sum() ** 2 / (x.size * (x**2).sum()))}
