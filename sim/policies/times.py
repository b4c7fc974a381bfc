"""Windows of time: of a rate limit, of a time series, of what counters cover."""

from __future__ import annotations

import math

import numpy as np

from sim.compiled import jit
from sim.scenario import RateLimit, Scenario

NEVER = math.inf
NO_LIMIT = int(np.iinfo(np.int64).max)
"""So many requests are allowed where there is no rate limit."""


def compile_rate_limit(limit: RateLimit | None) -> tuple[int, float]:
    """(requests a window, window seconds); without a limit the first is the largest int64."""
    return (NO_LIMIT, 1.0) if limit is None else (limit.requests, limit.per_s)


def compile_retention(scenario: Scenario) -> tuple[int, float]:
    """(events, seconds) that the feed retains: 0 events means no bound by number, NEVER none by age.

    Of a last value the feed shows the newest update only.
    """
    retention = scenario.provider_api.retention
    if scenario.workload.content == "last_value":
        return 1, NEVER
    if retention is None:
        return 0, NEVER
    return retention.events or 0, retention.seconds or NEVER


@jit
def window_of(time_s: float, per_s: float) -> int:
    """The number of the rate-limit window a time falls in; windows are aligned at 0."""
    window = math.floor(time_s / per_s)
    while (window + 1) * per_s <= time_s:  # the quotient may round to the other side of an edge
        window += 1
    while window * per_s > time_s:
        window -= 1
    return window


@jit
def window_retry_after(time_s: float, per_s: float) -> float:
    """Seconds until the rate-limit window a time falls in ends."""
    return max((window_of(time_s, per_s) + 1) * per_s - time_s, 0.0)


@jit
def overlap(start: float, end: float, low: float, high: float) -> float:
    """The length of [start, end) within [low, high)."""
    return max(min(end, high) - max(start, low), 0.0)


@jit
def bin_of(time_s: float, bin_s: float) -> int:
    """The bin of a time series that a time falls in."""
    return int(time_s / bin_s)
