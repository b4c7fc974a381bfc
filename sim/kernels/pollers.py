"""What pollers know, and when they wake: what `sim.mechanisms.polling` and the pollers after it say."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sim.compiled import jit
from sim.kernels.parameters import ADAPTIVE, LONG
from sim.policies import (
    FIXED_RATE,
    HoldingRule,
    PollSchedule,
    ask_again_after,
    first_tick_from,
    next_start,
    tick_at,
)

NO_POLL = int(np.iinfo(np.int64).max)
"""The number of a poll later than any."""


class Pollers(NamedTuple):
    """All pollers' states, each array of shape (n_subscribers,).

    A poller hears (or is about to) `said`, events `page_first` to `page_end` - 1, and a Retry-After, in
    answer to what it sent at `sent_s`. `found` says whether its cycle, begun at `started_s`, has brought an
    event, and `newest_s` when the newest it knows was created. The answer to its poll `etag_poll` gave it an
    ETag: later requests are conditional.
    """

    phase_s: NDArray[np.float64]
    started_s: NDArray[np.float64]
    sent_s: NDArray[np.float64]
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
def wake_again(
    way: int,
    schedule: PollSchedule,
    holding: HoldingRule,
    seed: int,
    subscriber: int,
    wake: int,
    phase_s: float,
    started_s: float,
    interval_s: float,
    now: float,
    answered: bool,
    retry_after_s: float,
) -> tuple[float, int]:
    """When a poller whose cycle is over wakes after its wake number `wake`, and the number of that wake.

    Args:
        way: how it asks, see `parameters.Pull`.
        schedule: its schedule.
        holding: how its long polls are held.
        seed: the replication's seed.
        subscriber: whose poller.
        wake: the number of its last wake.
        phase_s: when its schedule began.
        started_s: when its last cycle started (or would have, in an outage).
        interval_s: the interval an adaptive poller has come to.
        now: when its cycle is over.
        answered: whether its last request was answered with what is new, be it nothing.
        retry_after_s: what a 429 asked for, 0 without one.
    """
    if way == LONG:
        return now + ask_again_after(holding, answered, retry_after_s), wake + 1
    if way == ADAPTIVE:
        return now + max(interval_s, retry_after_s), wake + 1
    if schedule.kind == FIXED_RATE:
        tick = first_tick_from(schedule, phase_s, seed, subscriber, wake + 1, now + retry_after_s)
        return tick_at(schedule, phase_s, seed, subscriber, tick), tick
    return next_start(schedule, seed, subscriber, wake + 1, started_s, now, retry_after_s), wake + 1
