"""What pollers know, and when they wake: what `sim.mechanisms.polling` and the pollers after it say."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sim.compiled import jit
from sim.kernels.parameters import ADAPTIVE, LONG, Pull, World
from sim.kernels.provider_api import NOT_MODIFIED, OK
from sim.policies import (
    FIXED_RATE,
    adaptive_interval,
    ask_again_after,
    first_tick_from,
    first_wake,
    next_start,
    tick_at,
    up_from,
)

NO_POLL = int(np.iinfo(np.int64).max)
"""The number of a poll later than any."""


class Pollers(NamedTuple):
    """All pollers' states, each array of shape (n_subscribers,).

    A poller hears (or is about to) `said`, events `page_first` to `page_end` - 1, and a Retry-After. `found`
    says whether its cycle has brought an event, `newest_s` when the newest it knows was created. The answer
    to its poll `etag_poll` gave it an ETag: later requests are conditional.
    """

    phase_s: NDArray[np.float64]
    started_s: NDArray[np.float64]
    interval_s: NDArray[np.float64]
    newest_s: NDArray[np.float64]
    retry_after_s: NDArray[np.float64]
    wake: NDArray[np.int64]
    polls: NDArray[np.int64]
    cursor: NDArray[np.int64]
    etag_poll: NDArray[np.int64]
    said: NDArray[np.int64]
    page_first: NDArray[np.int64]
    page_end: NDArray[np.int64]
    found: NDArray[np.bool_]
    connected: NDArray[np.bool_]
    seen_connected: NDArray[np.bool_]


@jit
def went_well(said: int) -> bool:
    """Whether an answer says what is new, be it nothing."""
    return said in (OK, NOT_MODIFIED)


@jit
def wake_first(world: World, pull: Pull, pollers: Pollers, s: int) -> float:
    """When a poller wakes for the first time."""
    pollers.phase_s[s] = first_wake(pull.schedule, world.seed, s)
    return tick_at(pull.schedule, pollers.phase_s[s], world.seed, s, 0)


@jit
def wake_again(world: World, pull: Pull, pollers: Pollers, s: int, now: float, skipped: bool) -> float:
    """When a poller wakes next, now that its cycle is over, or skipped because its receiver is down."""
    retry_after_s = pollers.retry_after_s[s]
    pollers.wake[s] += 1
    if pull.way == LONG:
        if skipped:
            return up_from(world.outages, s, now)
        return now + ask_again_after(pull.holding, went_well(pollers.said[s]), retry_after_s)
    if pull.way == ADAPTIVE:
        if went_well(pollers.said[s]) and not skipped:
            age_s = now - pollers.newest_s[s]
            pollers.interval_s[s] = adaptive_interval(
                pull.adaptive, pollers.interval_s[s], pollers.found[s], age_s
            )
        return float(now + max(pollers.interval_s[s], retry_after_s))
    if pull.schedule.kind == FIXED_RATE:
        pollers.wake[s] = first_tick_from(
            pull.schedule, pollers.phase_s[s], world.seed, s, pollers.wake[s], now + retry_after_s
        )
        return tick_at(pull.schedule, pollers.phase_s[s], world.seed, s, pollers.wake[s])
    return next_start(pull.schedule, world.seed, s, pollers.wake[s], pollers.started_s[s], now, retry_after_s)
