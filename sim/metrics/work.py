"""What the counters say: requests, bytes, waste, load, of those that are known."""

from __future__ import annotations

from sim.metrics.ratios import ratio
from sim.records import Counters
from sim.scenario import Scenario


def counter_metrics(counters: Counters, scenario: Scenario, deliveries: int) -> dict[str, float]:
    """Each metric whose counters are known.

    Args:
        counters: what happened within the window.
        scenario: states the window, the workers and the subscribers.
        deliveries: windowed events × subscribers.
    """
    metrics = _requests(counters, deliveries)
    for name, number in (
        ("unsent_per_event", counters.unsent),
        ("redeliveries_per_event", counters.redeliveries),
        ("dead_letter_ratio", counters.dead_letters),
    ):
        if number is not None:
            metrics[name] = ratio(number, deliveries)
    return metrics | _servers(counters, scenario)


def _requests(c: Counters, deliveries: int) -> dict[str, float]:
    metrics: dict[str, float] = {}
    if c.requests is not None:
        metrics["requests_per_event"] = ratio(c.requests, deliveries)
        for name, number in (
            ("empty_ratio", c.empty_responses),
            ("not_modified_ratio", c.not_modified),
            ("error_ratio", c.errors),
            ("rejected_ratio", c.rejected),
            ("timeout_ratio", c.timeouts),
        ):
            if number is not None:
                metrics[name] = ratio(number, c.requests)
    if c.request_bytes is not None and c.response_bytes is not None:
        metrics["bytes_per_event"] = ratio(c.request_bytes + c.response_bytes, deliveries)
    return metrics


def _servers(c: Counters, scenario: Scenario) -> dict[str, float]:
    """Time integrals become means over the window: of one worker, of one receiver, of the API, of all."""
    window_s = scenario.run.duration_s - scenario.run.warmup_s
    receivers = scenario.subscribers.count
    metrics: dict[str, float] = {}
    for name, integral_s, shared_by in (
        ("provider_utilisation", c.provider_busy_s, scenario.provider_api.workers),
        ("receiver_utilisation", c.receiver_busy_s, scenario.receiver.workers * receivers),
        ("provider_queue_mean", c.provider_queue_integral_s, 1),
        ("receiver_queue_mean", c.receiver_queue_integral_s, receivers),
        ("connections_mean", c.connection_s, 1),
    ):
        if integral_s is not None:
            metrics[name] = integral_s / (shared_by * window_s)
    for name, peak in (
        ("provider_queue_max", c.provider_queue_max),
        ("receiver_queue_max", c.receiver_queue_max),
        ("connections_peak", c.connections_peak),
    ):
        if peak is not None:
            metrics[name] = float(peak)
    return metrics
