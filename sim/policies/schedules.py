"""When a poller asks: ticks, delays and gaps."""

from __future__ import annotations

import math
from typing import NamedTuple

from sim.compiled import jit
from sim.randomness import Stream, uniform
from sim.scenario import Polling

FIXED_RATE, FIXED_DELAY, EXPONENTIAL_GAPS = range(3)

_SCHEDULES = {"fixed_rate": FIXED_RATE, "fixed_delay": FIXED_DELAY, "exponential": EXPONENTIAL_GAPS}


class PollSchedule(NamedTuple):
    """When a poller wakes, as numbers; times in seconds."""

    kind: int
    interval_s: float
    jitter_s: float
    synchronised: bool


def compile_schedule(polling: Polling) -> PollSchedule:
    """The numbers the tick functions need."""
    return PollSchedule(
        _SCHEDULES[polling.schedule], polling.interval_s, polling.jitter_s, polling.phase == "synchronised"
    )


def sleeping_schedule(polling: Polling) -> PollSchedule:
    """The schedule of a poller that chooses its own sleeps: it only says where the first wake falls."""
    return PollSchedule(FIXED_DELAY, polling.interval_s, 0.0, polling.phase == "synchronised")


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
