"""What a run was like: pure functions of its records and counters, the same for simulated and measured runs.

Names, everywhere: latency is visible − created over delivered records; age, freshness and age of
information are time averages over the window; ratios per event have windowed events × subscribers
below the line. A metric that a run cannot know (a counter it did not measure) is absent; one that is
undefined (a quantile of nothing) is NaN.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from sim.records import Counters, Deliveries, Status, Window
from sim.scenario import Scenario

if TYPE_CHECKING:
    import pandas as pd

QUANTILE_METHOD: Literal["linear"] = (
    "linear"  # Hyndman & Fan (1996) type 7, the default of NumPy, pandas and R
)

_Array = NDArray[np.float64]


def summarise(records: pd.DataFrame | Deliveries, counters: Counters, scenario: Scenario) -> dict[str, float]:
    """Every metric of one run of one mechanism or arm, by name.

    Args:
        records: delivery records from time 0 on, sorted by subscriber and event; what was created before
            the warm-up ended counts only towards the state it left behind (age, freshness).
        counters: what happened within the window; None where unknown.
        scenario: states the window, the workers, the on-time bound and the prices.
    """
    deliveries = records if isinstance(records, Deliveries) else Deliveries.from_frame(records)
    window = Window(scenario.run.warmup_s, scenario.run.duration_s)
    windowed = deliveries.within(window)
    metrics = latency_metrics(deliveries, windowed)
    metrics |= outcome_metrics(deliveries, windowed, scenario.run.on_time_s)
    metrics |= age_metrics(deliveries, window)
    total = int(windowed.sum())
    metrics |= counter_metrics(counters, scenario, window, total)
    price = scenario.cost.per_million_requests
    if price is not None and counters.requests is not None:
        metrics["cost_per_million_events"] = _ratio(counters.requests * price, total)
    return metrics


def latency_metrics(deliveries: Deliveries, windowed: NDArray[np.bool_]) -> dict[str, float]:
    """Mean, quantiles (`QUANTILE_METHOD`) and maximum of latency over delivered records, seconds."""
    latency_s = (deliveries.visible - deliveries.created)[windowed]
    latency_s = latency_s[~np.isnan(latency_s)]
    if latency_s.size == 0:
        return {f"latency_{name}_s": math.nan for name in ("mean", "p50", "p95", "p99", "max")}
    p50, p95, p99 = np.quantile(latency_s, np.array([0.5, 0.95, 0.99]), method=QUANTILE_METHOD)
    return {
        "latency_mean_s": float(latency_s.mean()),
        "latency_p50_s": float(p50),
        "latency_p95_s": float(p95),
        "latency_p99_s": float(p99),
        "latency_max_s": float(latency_s.max()),
    }


def outcome_metrics(
    deliveries: Deliveries, windowed: NDArray[np.bool_], on_time_s: float | None
) -> dict[str, float]:
    """What became of the windowed deliveries: lost, pending, on time, out of order; attempts, duplicates.

    A delivery is out of order when an event created later was visible before it.
    """
    status, copies = deliveries.status[windowed], deliveries.copies[windowed]
    total = status.size
    delivered = status == Status.DELIVERED
    overtaken = _overtaken(deliveries)[windowed]
    metrics = {
        "attempts_per_event": _ratio(int(deliveries.attempts[windowed].sum()), total),
        "duplicates_per_event": _ratio(int((copies[delivered] - 1).sum()), total),
        "lost_ratio": _ratio(int((status == Status.LOST).sum()), total),
        "pending_ratio": _ratio(int((status == Status.PENDING).sum()), total),
        "out_of_order_ratio": _ratio(int((overtaken & delivered).sum()), int(delivered.sum())),
    }
    if on_time_s is not None:
        on_time = (deliveries.visible - deliveries.created)[windowed] <= on_time_s
        metrics["on_time_ratio"] = _ratio(int(on_time.sum()), total)
    return metrics


def _overtaken(deliveries: Deliveries) -> NDArray[np.bool_]:
    """Whether an event created later was visible before each event (or each event never was)."""
    visible = np.where(np.isnan(deliveries.visible), np.inf, deliveries.visible)
    subscribers, width = visible.shape
    visible_from = np.full((subscribers, width + 1), np.inf)
    visible_from[:, :-1] = np.minimum.accumulate(visible[:, ::-1], axis=1)[:, ::-1]
    created = deliveries.created[:1] if deliveries.audience.shared else deliveries.created
    later = np.full((len(created), width), width)
    later[:, :-1] = np.where(created[:, 1:] > created[:, :-1], np.arange(1, width), width)
    later = np.minimum.accumulate(later[:, ::-1], axis=1)[:, ::-1]
    overtaken: NDArray[np.bool_] = (
        np.take_along_axis(visible_from, np.broadcast_to(later, visible.shape), axis=1) < visible
    )
    return overtaken


def age_metrics(deliveries: Deliveries, window: Window) -> dict[str, float]:
    """Freshness, age, age of information and its peaks: averages over the window and the subscribers.

    Fresh: everything created so far is visible. Age: how long ago the oldest event not yet visible was
    created, 0 when fresh (Cho & Garcia-Molina, "Synchronizing a database to improve freshness", SIGMOD
    2000). Age of information: how long ago the newest visible event was created; its peaks are the
    values just before it drops (Kaul, Yates & Gruteser, INFOCOM 2012). All start with the state at 0 seen.
    """
    created = deliveries.created
    visible = np.where(np.isnan(deliveries.visible), np.inf, deliveries.visible)
    stale_s, age_s2 = _staleness(created, visible, window)
    aoi_s2, peaks_s = _age_of_information(created, visible, window)
    observed_s = window.length_s * len(visible)
    return {
        "freshness": 1.0 - stale_s / observed_s,
        "age_mean_s": age_s2 / observed_s,
        "aoi_mean_s": aoi_s2 / observed_s,
        "peak_aoi_mean_s": float(peaks_s.mean()) if peaks_s.size else math.nan,
    }


def _staleness(created: _Array, visible: _Array, window: Window) -> tuple[float, float]:
    """The integrals of "not fresh" and of age.

    An event is the oldest unseen one from when all before it are visible (and it exists) until it is
    visible itself.
    """
    if created.shape[1] == 0:
        return 0.0, 0.0
    seen_before = np.full(visible.shape, -np.inf)
    seen_before[:, 1:] = np.maximum.accumulate(visible, axis=1)[:, :-1]
    start = np.clip(np.maximum(created, seen_before), window.start_s, window.end_s)
    end = np.maximum(np.clip(visible, window.start_s, window.end_s), start)
    real = np.isfinite(created)
    start, end, created = start[real], end[real], created[real]
    age_s2 = ((end - created) ** 2 - (start - created) ** 2) / 2
    return float((end - start).sum()), float(age_s2.sum())


def _age_of_information(created: _Array, visible: _Array, window: Window) -> tuple[float, _Array]:
    """The integral of age of information, and its peaks within the window."""
    order = np.argsort(visible, axis=1, kind="stable")
    shown = np.take_along_axis(visible, order, axis=1)
    known = np.where(np.isfinite(created), created, 0.0)  # padding is never shown
    newest = np.maximum.accumulate(np.take_along_axis(known, order, axis=1), axis=1)
    origin = np.zeros((len(visible), 1))
    newest = np.concatenate([origin, newest], axis=1)
    start = np.clip(np.concatenate([origin, shown], axis=1), window.start_s, window.end_s)
    end = np.concatenate([start[:, 1:], np.full((len(visible), 1), window.end_s)], axis=1)
    aoi_s2 = ((end - newest) ** 2 - (start - newest) ** 2) / 2
    before, is_last = _instants(shown, newest)
    drops = is_last & (newest[:, 1:] > before) & (shown >= window.start_s) & (shown < window.end_s)
    return float(aoi_s2.sum()), (shown - before)[drops]


def _instants(shown: _Array, newest: _Array) -> tuple[_Array, NDArray[np.bool_]]:
    """What becomes visible at one instant is one update.

    Returns the newest creation time before each event's instant, and which event is its instant's last.
    """
    changes = np.ones(shown.shape, dtype=np.bool_)
    changes[:, 1:] = shown[:, 1:] != shown[:, :-1]
    first = np.maximum.accumulate(np.where(changes, np.arange(shown.shape[1]), 0), axis=1)
    is_last = np.ones(shown.shape, dtype=np.bool_)
    is_last[:, :-1] = changes[:, 1:]
    return np.take_along_axis(newest, first, axis=1), is_last


def counter_metrics(
    counters: Counters, scenario: Scenario, window: Window, deliveries: int
) -> dict[str, float]:
    """Requests, bytes, waste, load: what the counters say, of those that are known."""
    c = counters
    receivers = scenario.subscribers.count
    metrics: dict[str, float] = {}
    if c.requests is not None:
        metrics["requests_per_event"] = _ratio(c.requests, deliveries)
        for name, count in (
            ("empty_ratio", c.empty_responses),
            ("error_ratio", c.errors),
            ("rejected_ratio", c.rejected),
            ("timeout_ratio", c.timeouts),
        ):
            if count is not None:
                metrics[name] = _ratio(count, c.requests)
    if c.request_bytes is not None and c.response_bytes is not None:
        metrics["bytes_per_event"] = _ratio(c.request_bytes + c.response_bytes, deliveries)
    if c.provider_busy_s is not None:
        metrics["provider_utilisation"] = c.provider_busy_s / (
            scenario.provider_api.workers * window.length_s
        )
    if c.receiver_busy_s is not None:
        metrics["receiver_utilisation"] = c.receiver_busy_s / (
            scenario.receiver.workers * receivers * window.length_s
        )
    if c.receiver_queue_integral_s is not None:
        metrics["receiver_queue_mean"] = c.receiver_queue_integral_s / (receivers * window.length_s)
    for name, peak in (
        ("receiver_queue_max", c.receiver_queue_max),
        ("connections_peak", c.connections_peak),
    ):
        if peak is not None:
            metrics[name] = float(peak)
    return metrics


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else math.nan
