"""The rules both engines call: retry delays, poll ticks, rate-limit windows, outages.

Pure functions of numbers, compiled once, called one by one by the SimPy models and inlined into the
kernels. A time is its cause plus one delay: one float64 addition, the same in both engines.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sim.compiled import jit
from sim.randomness import Stream, uniform
from sim.scenario import Outage, Polling, RateLimit, Retry

NEVER = math.inf

NO_RETRY, FIXED, LINEAR, EXPONENTIAL, SCHEDULE = range(5)
NO_JITTER, FULL, EQUAL, DECORRELATED = range(4)
UP, REFUSE, BLACK_HOLE, ERROR = range(4)
FIXED_RATE, FIXED_DELAY, EXPONENTIAL_GAPS = range(3)

_RETRY_KINDS = {
    "none": NO_RETRY,
    "fixed": FIXED,
    "linear": LINEAR,
    "exponential": EXPONENTIAL,
    "schedule": SCHEDULE,
}
_JITTERS = {"none": NO_JITTER, "full": FULL, "equal": EQUAL, "decorrelated": DECORRELATED}
_OUTAGES = {"refuse": REFUSE, "black_hole": BLACK_HOLE, "error": ERROR}
_SCHEDULES = {"fixed_rate": FIXED_RATE, "fixed_delay": FIXED_DELAY, "exponential": EXPONENTIAL_GAPS}


class RetryPolicy(NamedTuple):
    """A scenario's `webhook.retry` as numbers."""

    kind: int
    base_s: float
    factor: float
    cap_s: float
    gaps_s: NDArray[np.float64]
    jitter: int
    attempts_allowed: int
    max_duration_s: float


class PollSchedule(NamedTuple):
    """When a poller wakes, as numbers; times in seconds."""

    kind: int
    interval_s: float
    jitter_s: float
    synchronised: bool


class Outages(NamedTuple):
    """A receiver's outages: edges in seconds, ascending and apart, and what its door does meanwhile."""

    start_s: NDArray[np.float64]
    end_s: NDArray[np.float64]
    kind: NDArray[np.int64]


def compile_retry(retry: Retry) -> RetryPolicy:
    """The numbers `retry_delay` needs."""
    return RetryPolicy(
        kind=_RETRY_KINDS[retry.kind],
        base_s=retry.base_s,
        factor=retry.factor,
        cap_s=retry.cap_s,
        gaps_s=np.asarray(retry.gaps_s, dtype=np.float64),
        jitter=_JITTERS[retry.jitter],
        attempts_allowed=retry.attempts_allowed,
        max_duration_s=NEVER if retry.max_duration_s is None else retry.max_duration_s,
    )


def compile_schedule(polling: Polling) -> PollSchedule:
    """The numbers the tick functions need."""
    return PollSchedule(
        _SCHEDULES[polling.schedule], polling.interval_s, polling.jitter_s, polling.phase == "synchronised"
    )


def compile_outages(outages: tuple[Outage, ...]) -> Outages:
    """The arrays `outage_at` needs."""
    return Outages(
        np.array([outage.start_s for outage in outages], dtype=np.float64),
        np.array([outage.start_s + outage.duration_s for outage in outages], dtype=np.float64),
        np.array([_OUTAGES[outage.kind] for outage in outages], dtype=np.int64),
    )


def compile_rate_limit(limit: RateLimit | None) -> tuple[int, float]:
    """(requests a window, window seconds); without a limit the first is the largest int64."""
    return (np.iinfo(np.int64).max, 1.0) if limit is None else (limit.requests, limit.per_s)


@jit
def retry_delay(policy: RetryPolicy, failed_attempt: int, previous_s: float, u: float) -> float:
    """Seconds from when the failure of attempt `failed_attempt` (from 1) is known to the next attempt.

    Args:
        policy: the retry policy.
        failed_attempt: the attempt that failed; 1 is the first.
        previous_s: the delay before the failed attempt, `base_s` at the first (decorrelated only).
        u: a draw from U(0, 1).
    """
    k = failed_attempt
    if policy.jitter == DECORRELATED:
        low = policy.base_s
        return min(policy.cap_s, low + u * max(3.0 * previous_s - low, 0.0))
    if policy.kind == SCHEDULE:
        nominal = float(policy.gaps_s[k - 1])
    elif policy.kind == LINEAR:
        nominal = min(policy.cap_s, policy.base_s * k)
    elif policy.kind == EXPONENTIAL:
        # 0 times an overflowing factor would be NaN.
        growth = float(policy.factor ** (k - 1.0)) if policy.base_s > 0.0 else 0.0
        nominal = min(policy.cap_s, policy.base_s * growth)
    else:
        nominal = min(policy.cap_s, policy.base_s)
    if policy.jitter == FULL:
        return u * nominal
    if policy.jitter == EQUAL:
        return nominal / 2.0 + u * (nominal / 2.0)
    return nominal


@jit
def outage_at(outages: Outages, time_s: float) -> int:
    """What the receiver's door does at a time: UP, REFUSE, BLACK_HOLE or ERROR; outages are [start, end)."""
    position = np.searchsorted(outages.start_s, time_s, side="right") - 1
    if position >= 0 and time_s < outages.end_s[position]:
        return int(outages.kind[position])
    return UP


@jit
def first_wake(schedule: PollSchedule, seed: int, subscriber: int) -> float:
    """When a poller's schedule begins: a random phase, or 0 for all when synchronised.

    The phase is uniform over one interval (fixed rate, fixed delay), or one exponential gap, so that
    the polls are stationary from the start.
    """
    if schedule.synchronised:
        return 0.0
    u = uniform(seed, Stream.POLL_PHASE, subscriber, 0)
    if schedule.kind == EXPONENTIAL_GAPS:
        return -schedule.interval_s * math.log1p(-u)
    return u * schedule.interval_s


@jit
def jitter(schedule: PollSchedule, seed: int, subscriber: int, wake: int) -> float:
    """The jitter added to a poller's wake number `wake`, seconds."""
    if schedule.jitter_s == 0.0:
        return 0.0
    return schedule.jitter_s * uniform(seed, Stream.POLL_JITTER, subscriber, wake)


@jit
def tick_at(schedule: PollSchedule, phase_s: float, seed: int, subscriber: int, tick: int) -> float:
    """The time of fixed-rate tick number `tick`: computed, never accumulated."""
    return (phase_s + tick * schedule.interval_s) + jitter(schedule, seed, subscriber, tick)


@jit
def first_tick_from(
    schedule: PollSchedule, phase_s: float, seed: int, subscriber: int, tick: int, not_before_s: float
) -> int:
    """The number of the first fixed-rate tick, from `tick` on, at or after `not_before_s`."""
    # Two intervals of slack: one for jitter (at most an interval), one for rounding.
    skipped = math.floor((not_before_s - phase_s) / schedule.interval_s) - 2
    candidate = max(tick, skipped)
    while tick_at(schedule, phase_s, seed, subscriber, candidate) < not_before_s:
        candidate += 1
    return candidate


@jit
def next_start(
    schedule: PollSchedule,
    seed: int,
    subscriber: int,
    wake: int,
    started_s: float,
    over_s: float,
    retry_after_s: float,
) -> float:
    """When a fixed-delay or exponential poller starts again.

    Fixed delay sleeps from the end of the cycle, exponential gaps run from start to start and are put
    off to the end of the cycle; either waits out a Retry-After.

    Args:
        schedule: the schedule.
        seed: the replication's seed.
        subscriber: whose poller.
        wake: the number of the wake to come, from 1.
        started_s: when the last cycle started (or would have, in an outage).
        over_s: when it ended.
        retry_after_s: what a 429 asked for, 0 without one.
    """
    if schedule.kind == FIXED_DELAY:
        return over_s + max(schedule.interval_s + jitter(schedule, seed, subscriber, wake), retry_after_s)
    gap = -schedule.interval_s * math.log1p(-uniform(seed, Stream.POLL_GAP, subscriber, wake))
    return max(started_s + gap, over_s + retry_after_s)


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
