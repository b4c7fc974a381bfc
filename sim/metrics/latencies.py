"""Latency: from an event's creation to its being visible, over what was delivered."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from sim.metrics.ratios import ratio
from sim.records import Deliveries, Window

if TYPE_CHECKING:
    from sim.metrics.digest import Digest

QUANTILE_METHOD: Literal["linear"] = (
    "linear"  # Hyndman & Fan (1996) type 7, the default of NumPy, pandas and R
)
QUANTILES = (0.5, 0.95, 0.99)
LATENCY_NAMES = ("mean", "p50", "p95", "p99", "max")


def sorted_latencies(deliveries: Deliveries, window: Window) -> NDArray[np.float64]:
    """Every latency of a windowed event there is, seconds, sorted: of these quantiles are quickly found."""
    latency_s = deliveries.visible - deliveries.created
    latency_s = latency_s[deliveries.within(window) & ~np.isnan(latency_s)]
    latency_s.sort()
    return latency_s


def exact_quantiles(latency_s: NDArray[np.float64]) -> list[float]:
    """The `QUANTILES` of sorted latencies by `QUANTILE_METHOD`, seconds; NaN of nothing."""
    if latency_s.size == 0:
        return [math.nan for _ in QUANTILES]
    return [float(each) for each in np.quantile(latency_s, QUANTILES, method=QUANTILE_METHOD)]


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


def judged_latency_metrics(latency_s: NDArray[np.float64], prefix: str = "latency") -> dict[str, float]:
    """What bounds on latency are held against, by the same names as `latency_metrics`.

    Args:
        latency_s: of every request or delivery, `inf` where it failed, timed out or never came: a server
            that answers half of its requests quickly and refuses the rest is not quick.
        prefix: of the names.

    Returns:
        the metrics in seconds; `inf` as soon as a failure reaches into a quantile.
    """
    if latency_s.size == 0:
        return {f"{prefix}_{name}_s": math.nan for name in LATENCY_NAMES}
    with np.errstate(invalid="ignore"):  # between a latency and a failure lies no number: NaN, hence inf
        values = [
            latency_s.mean(),
            *np.quantile(latency_s, QUANTILES, method=QUANTILE_METHOD),
            latency_s.max(),
        ]
    return {
        f"{prefix}_{name}_s": math.inf if np.isnan(value) else float(value)
        for name, value in zip(LATENCY_NAMES, values, strict=True)
    }


def judged_delivery_metrics(deliveries: Deliveries, windowed: NDArray[np.bool_]) -> dict[str, float]:
    """`judged_latency_metrics` of delivery records: what was lost, or had not come by the end, is late."""
    latency_s = (deliveries.visible - deliveries.created)[windowed]
    return judged_latency_metrics(np.where(np.isnan(latency_s), math.inf, latency_s))


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
