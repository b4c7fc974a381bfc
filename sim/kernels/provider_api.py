"""The provider's events API, compiled: what `sim.mechanisms.provider_api` says, and how it holds long polls.

What becomes of a request is computed when it arrives: the queue's future is known then
(`sim.kernels.servers`), and what the feed will show is a function of the time.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sim.compiled import jit
from sim.kernels.feed import Feed, Rows, next_news, page
from sim.policies import HoldingRule, window_of

NOTHING, OK, NOT_MODIFIED, REJECTED, REFUSED, ERROR, GATEWAY_TIMEOUT = range(7)
"""What a client hears: nothing, 200, 304, 429, a refused connection, a 5xx, an intermediary's 504."""


@jit
def went_well(said: int) -> bool:
    """Whether an answer says what is new, be it nothing."""
    return said in (OK, NOT_MODIFIED)


@jit
def over_limit(
    requests: int,
    per_s: float,
    window: NDArray[np.int64],
    used: NDArray[np.int64],
    subscriber: int,
    now: float,
    free: bool,
) -> bool:
    """Count an arriving request, unless it is free; whether it is over its subscriber's limit.

    `window` and `used` are each subscriber's last window, and what was used of its quota.
    """
    current = window_of(now, per_s)
    if current != window[subscriber]:
        window[subscriber], used[subscriber] = current, 0
    if free:
        return False
    if used[subscriber] >= requests:
        return True
    used[subscriber] += 1
    return False


@jit
def hold_answer(
    feed: Feed,
    rows: Rows,
    holding: HoldingRule,
    subscriber: int,
    cursor: int,
    size: int,
    arrived_s: float,
    ends: float,
) -> tuple[int, float]:
    """What answers a long poll whose service ends at `ends`, and when it leaves."""
    leaves = ends
    first, end = page(feed, rows, subscriber, cursor, size, ends)
    if first == end:
        leaves = next_news(feed, rows, subscriber, cursor, ends, ends + holding.hold_s)
    loses_patience_s = arrived_s + holding.intermediary_timeout_s
    if leaves > loses_patience_s:
        return GATEWAY_TIMEOUT, loses_patience_s
    return OK, leaves
