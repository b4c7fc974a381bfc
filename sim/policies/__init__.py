"""The rules both engines call: retry delays, poll ticks, rate-limit windows, outages.

Pure functions of numbers, compiled once, called one by one by the SimPy models and inlined into the
kernels. A time is its cause plus one delay: one float64 addition, the same in both engines.
"""

from sim.policies.connections import setup_s
from sim.policies.outages import (
    BLACK_HOLE,
    ERROR,
    REFUSE,
    SLOW,
    UP,
    Outages,
    api_outages,
    next_down,
    outage_at,
    receiver_outages,
    slowdown_at,
    up_from,
)
from sim.policies.retries import (
    RetryPolicy,
    compile_reconnect,
    compile_retry,
    retry_delay,
)
from sim.policies.schedules import (
    FIXED_DELAY,
    FIXED_RATE,
    PollSchedule,
    compile_schedule,
    first_tick_from,
    first_wake,
    jitter,
    next_start,
    tick_at,
)
from sim.policies.times import (
    NEVER,
    bin_of,
    compile_rate_limit,
    compile_retention,
    overlap,
    window_of,
    window_retry_after,
)

__all__ = [
    "BLACK_HOLE",
    "ERROR",
    "FIXED_DELAY",
    "FIXED_RATE",
    "NEVER",
    "REFUSE",
    "SLOW",
    "UP",
    "Outages",
    "PollSchedule",
    "RetryPolicy",
    "api_outages",
    "bin_of",
    "compile_rate_limit",
    "compile_reconnect",
    "compile_retention",
    "compile_retry",
    "compile_schedule",
    "first_tick_from",
    "first_wake",
    "jitter",
    "next_down",
    "next_start",
    "outage_at",
    "overlap",
    "receiver_outages",
    "retry_delay",
    "setup_s",
    "slowdown_at",
    "tick_at",
    "up_from",
    "window_of",
    "window_retry_after",
]
