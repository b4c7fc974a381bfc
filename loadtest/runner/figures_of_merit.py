"""From raw samples, readings and records to named metrics; pure functions."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from loadtest.monitor import Usage
from loadtest.recorder import TIMED_OUT, Samples
from loadtest.schedule import IntArray
from sim.metrics import LATENCY_NAMES, QUANTILE_METHOD, judged_latency_metrics

if TYPE_CHECKING:
    import pandas as pd

_METHOD: Any = QUANTILE_METHOD

SERVER_ROLES = ("provider", "receiver")
"""The two sides; in the polling arm the poller stands on the receiver's side and bears its name."""

BYSTANDERS = ("broker",)
"""Servers of others whose cost belongs to an arm."""

KNOWN_METRICS = (
    *(f"latency_{name}_s" for name in LATENCY_NAMES),
    *(f"uncorrected_latency_{name}_s" for name in LATENCY_NAMES),
    *(f"visible_latency_{name}_s" for name in LATENCY_NAMES),
    *(f"refused_latency_{name}_s" for name in LATENCY_NAMES),
    *("lag_p50_s", "lag_p99_s", "achieved_rate_per_s", "queued_ratio", "error_ratio"),
    *("freshness", "age_mean_s", "aoi_mean_s", "peak_aoi_mean_s"),
    *("attempts_per_event", "requests_per_event", "bytes_per_event", "duplicates_per_event"),
    *("empty_ratio", "lost_ratio", "pending_ratio", "on_time_ratio", "out_of_order_ratio"),
    *("rejected_ratio", "timeout_ratio", "not_modified_ratio", "dead_letter_ratio", "missed_ratio"),
    *("goodput_per_s", "fairness", "unsent_per_event", "redeliveries_per_event", "retries_per_event"),
    *(f"{role}_{name}" for role in SERVER_ROLES for name in ("utilisation", "queue_mean", "queue_max")),
    *("connections_mean", "connections_peak", "cost_per_million_events"),
    *(
        f"{role}_{name}"
        for role in (*SERVER_ROLES, *BYSTANDERS)
        for name in ("cpu_s_per_1k", "cpu_share", "rss_mb", "run_wait_s_per_1k", "switches_per_1k")
    ),
    "generator_cpu_share",
)
"""Every metric that a load or a race may report, hence every name a threshold may use."""


def quantiles_s(values_us: IntArray, *levels: float) -> list[float]:
    """Quantiles of times in µs, in seconds, by the one method of `sim.metrics`."""
    return [float(np.quantile(values_us / 1e6, level, method=_METHOD)) for level in levels]


def latency_metrics(values_us: IntArray, prefix: str = "latency") -> dict[str, float]:
    """Mean, quantiles and maximum in seconds, by the names ``<prefix>_p99_s``; NaN of nothing."""
    if values_us.size == 0:
        return {f"{prefix}_{name}_s": math.nan for name in LATENCY_NAMES}
    seconds = values_us / 1e6
    p50, p95, p99 = quantiles_s(values_us, 0.5, 0.95, 0.99)
    values = (seconds.mean(), p50, p95, p99, seconds.max())
    return {f"{prefix}_{name}_s": float(value) for name, value in zip(LATENCY_NAMES, values, strict=True)}


def judged_sample_metrics(samples: Samples) -> dict[str, float]:
    """`judged_latency_metrics` of a generator's requests, corrected and uncorrected."""
    metrics: dict[str, float] = {}
    for prefix, start_us in (("latency", samples.intended_us), ("uncorrected_latency", samples.sent_us)):
        latency_s = np.where(samples.acknowledged, (samples.done_us - start_us) / 1e6, math.inf)
        metrics |= judged_latency_metrics(latency_s, prefix)
    return metrics


def judged_record_metrics(
    records: pd.DataFrame, warmup_s: float, prefix: str = "latency"
) -> dict[str, float]:
    """`judged_latency_metrics` of delivery records created from the end of the warm-up on."""
    windowed = records[records["created"] >= warmup_s]
    latency_s = (windowed["visible"] - windowed["created"]).fillna(math.inf).to_numpy()
    return judged_latency_metrics(latency_s, prefix)


def generator_metrics(samples: Samples, origin_us: int, duration_s: float) -> dict[str, float]:
    """What the generator did: lag, achieved rate, and the shares of requests that failed or had to queue."""
    sent = int(samples.sent.sum())
    metrics = {"lag_p50_s": math.nan, "lag_p99_s": math.nan}
    if sent:
        p50, p99 = quantiles_s(samples.lag_us, 0.5, 0.99)
        metrics = {"lag_p50_s": p50, "lag_p99_s": p99}
    acknowledged = samples.acknowledged
    if acknowledged.any():
        span_s = max(duration_s, (int(samples.done_us[acknowledged].max()) - origin_us) / 1e6)
        metrics["achieved_rate_per_s"] = int(acknowledged.sum()) / span_s
    else:
        metrics["achieved_rate_per_s"] = 0.0
    rejected = int(np.isin(samples.status, (429, 503)).sum())
    timed_out = int((samples.status == TIMED_OUT).sum())
    failed = int(samples.failed.sum())
    for name, count in (
        ("rejected_ratio", rejected),
        ("timeout_ratio", timed_out),
        ("error_ratio", failed - rejected - timed_out),
        ("queued_ratio", int(samples.queued.sum())),
    ):
        metrics[name] = count / sent if sent else math.nan
    return metrics


def server_metrics(usages: Mapping[str, Usage | None], delivered: int) -> dict[str, float]:
    """Each side's cost per 1,000 delivered, its share of a core, and its peak memory.

    Args:
        usages: by role, "provider" or "receiver"; None where nothing could be read.
        delivered: events (or answered polls) the cost is spread over.
    """
    metrics: dict[str, float] = {}
    for role, usage in usages.items():
        if usage is None:
            continue
        per_1k = 1000 / delivered if delivered else math.nan
        metrics[f"{role}_cpu_s_per_1k"] = usage.cpu_s * per_1k
        metrics[f"{role}_cpu_share"] = usage.cpu_share
        metrics[f"{role}_rss_mb"] = usage.rss_peak_mb
        if usage.run_wait_s is not None:
            metrics[f"{role}_run_wait_s_per_1k"] = usage.run_wait_s * per_1k
        if usage.voluntary_switches is not None and usage.involuntary_switches is not None:
            switches = usage.voluntary_switches + usage.involuntary_switches
            metrics[f"{role}_switches_per_1k"] = switches * per_1k
    return metrics
