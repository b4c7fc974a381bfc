"""Every metric that a simulation may have, and which way it is good."""

from __future__ import annotations

import difflib
from typing import Literal

from sim.errors import InputError

_LESS = (
    *("latency_mean_s", "latency_p50_s", "latency_p95_s", "latency_p99_s", "latency_max_s"),
    *("age_mean_s", "aoi_mean_s", "peak_aoi_mean_s", "recovery_time_s"),
    *("attempts_per_event", "requests_per_event", "bytes_per_event", "duplicates_per_event"),
    *("unsent_per_event", "redeliveries_per_event", "cost_per_million_events"),
    *("empty_ratio", "lost_ratio", "pending_ratio", "out_of_order_ratio", "rejected_ratio", "timeout_ratio"),
    *("error_ratio", "dead_letter_ratio", "missed_ratio"),
    *("provider_queue_mean", "provider_queue_max", "receiver_queue_mean", "receiver_queue_max"),
)
_MORE = ("freshness", "on_time_ratio", "goodput_per_s", "fairness")

Good = Literal["less", "more"]
GOOD: dict[str, Good] = {
    **{metric: "less" for metric in _LESS},  # noqa: C420 - `dict.fromkeys` would lose the type
    **{metric: "more" for metric in _MORE},  # noqa: C420
}
"""Metric -> which way it is good. What is not here may differ, but is neither better nor worse."""

NEITHER = (
    *("provider_utilisation", "receiver_utilisation", "connections_mean", "connections_peak"),
    "not_modified_ratio",
)
METRICS = (*GOOD, *NEITHER)


def least_is_best(metric: str) -> bool:
    """Whether the lower value wins, as it does also where neither is better in itself."""
    return GOOD.get(metric) != "more"


def check_metric(name: str, option: str = "--metric") -> None:
    """Refuse what is no metric, before anything is computed.

    Raises:
        InputError: naming it and the metrics there are.
    """
    if name not in METRICS:
        nearest = difflib.get_close_matches(name, METRICS, n=1, cutoff=0.5)
        hint = f"did you mean {nearest[0]!r}? " if nearest else ""
        raise InputError(f"{option} {name!r}: no such metric; {hint}known: {', '.join(METRICS)}")
