"""The rules both engines call: retry delays, poll ticks, rate-limit windows, outages.

Pure functions of numbers, compiled once, called one by one by the SimPy models and inlined into the
kernels. A time is its cause plus one delay: one float64 addition, the same in both engines.
"""

from sim.policies.adaptation import AdaptiveRule, adaptive_interval, compile_adaptive
from sim.policies.connections import setup_s
from sim.policies.holding import NO_HOLDING, HoldingRule, ask_again_after, compile_holding, shown_from
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
    sleeping_schedule,
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
    "NO_HOLDING",
    "REFUSE",
    "SLOW",
    "UP",
    "AdaptiveRule",
    "HoldingRule",
    "Outages",
    "PollSchedule",
    "RetryPolicy",
    "adaptive_interval",
    "api_outages",
    "ask_again_after",
    "bin_of",
    "compile_adaptive",
    "compile_holding",
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
    "shown_from",
    "sleeping_schedule",
    "slowdown_at",
    "tick_at",
    "up_from",
    "window_of",
    "window_retry_after",
]
