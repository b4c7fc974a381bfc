"""The name of every metric that a simulated run may have."""

from __future__ import annotations

METRICS = (
    *("latency_mean_s", "latency_p50_s", "latency_p95_s", "latency_p99_s", "latency_max_s", "fairness"),
    *("goodput_per_s", "attempts_per_event", "duplicates_per_event", "lost_ratio", "pending_ratio"),
    *("out_of_order_ratio", "on_time_ratio", "missed_ratio"),
    *("freshness", "age_mean_s", "aoi_mean_s", "peak_aoi_mean_s", "recovery_time_s"),
    *("requests_per_event", "empty_ratio", "not_modified_ratio", "error_ratio", "rejected_ratio"),
    *("timeout_ratio", "bytes_per_event", "unsent_per_event", "redeliveries_per_event", "dead_letter_ratio"),
    *("provider_utilisation", "receiver_utilisation", "provider_queue_mean", "receiver_queue_mean"),
    *("connections_mean", "provider_queue_max", "receiver_queue_max", "connections_peak"),
    "cost_per_million_events",
)
"""All of them are 0 or more; those in `SHARES` are 1 at the most."""

SHARES = frozenset(
    {
        *(name for name in METRICS if name.endswith(("_ratio", "_utilisation"))),
        *("freshness", "fairness"),
    }
)
