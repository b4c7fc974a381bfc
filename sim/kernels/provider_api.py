"""The provider's events API, compiled: what `sim.mechanisms.provider_api` says, and how it holds long polls.

What becomes of a request is computed when it arrives: the queue's future is known then
(`sim.kernels.servers`), and what the feed will show is a function of the time.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sim.compiled import jit
from sim.distributions import sample
from sim.kernels.feed import Rows, next_news, page
from sim.kernels.parameters import LONG, Pull, World
from sim.kernels.servers import serve, waiting_now
from sim.policies import BLACK_HOLE, REFUSE, UP, outage_at, slowdown_at, window_of
from sim.randomness import Stream

NOTHING, OK, NOT_MODIFIED, REJECTED, REFUSED, ERROR, GATEWAY_TIMEOUT = range(7)
"""What a client hears: nothing, 200, 304, 429, a refused connection, a 5xx, an intermediary's 504."""


class Api(NamedTuple):
    """The API's workers and queue (`sim.kernels.servers`), and each subscriber's quota."""

    free: NDArray[np.float64]
    ring: NDArray[np.int64]
    window: NDArray[np.int64]
    used: NDArray[np.int64]


class Tried(NamedTuple):
    """When an answer first carried each event, by when it was asked for, and how many did."""

    first_attempt: NDArray[np.float64]
    attempts: NDArray[np.int32]


@jit
def respond(
    world: World,
    pull: Pull,
    rows: Rows,
    api: Api,
    starts: NDArray[np.float64],
    tried: Tried,
    subscriber: int,
    poll: int,
    cursor: int,
    conditional: bool,
    sent_s: float,
    now: float,
    integrals: NDArray[np.float64],
) -> tuple[int, int, int, float, int]:
    """A request reaches the API, whose queue has room.

    Returns:
        What is answered, with events first … end - 1, and when that leaves; and how long a queue the
        request left behind it (0 if it did not join).
    """
    door = outage_at(pull.api_outages, 0, now)
    if door == BLACK_HOLE:
        return NOTHING, cursor, cursor, now, 0
    if door != UP:
        return (REFUSED if door == REFUSE else ERROR), cursor, cursor, now, 0
    if _over_limit(pull, rows, api, subscriber, cursor, conditional, now):
        return REJECTED, cursor, cursor, now, 0
    waiting = waiting_now(starts, api.ring, now)
    slowdown = slowdown_at(pull.api_outages, 0, max(now, api.free[0]))
    service_s = slowdown * sample(pull.api_service, world.seed, Stream.API_SERVICE, subscriber, poll)
    start, ends = serve(
        api.free, starts, api.ring, now, service_s, world.window_start_s, world.window_end_s, integrals
    )
    queued = waiting + (start > now)
    if pull.way == LONG:
        leaves = _leaves(pull, rows, subscriber, cursor, ends)
        loses_patience_s = now + pull.holding.intermediary_timeout_s
        if leaves > loses_patience_s:
            return GATEWAY_TIMEOUT, cursor, cursor, loses_patience_s, queued
        first, end = _snapshot(world, pull, rows, tried, subscriber, cursor, sent_s, leaves)
        return OK, first, end, leaves, queued
    first, end = _snapshot(world, pull, rows, tried, subscriber, cursor, sent_s, start)
    return (NOT_MODIFIED if conditional and first == end else OK), first, end, ends, queued


@jit
def _over_limit(
    pull: Pull, rows: Rows, api: Api, subscriber: int, cursor: int, conditional: bool, now: float
) -> bool:
    """Count an arriving request; whether it is over its subscriber's limit."""
    current = window_of(now, pull.rate_limit_per_s)
    if current != api.window[subscriber]:
        api.window[subscriber], api.used[subscriber] = current, 0
    if conditional and pull.not_modified_free:
        first, end = page(pull.feed, rows, subscriber, cursor, pull.page_size, now)
        if first == end:
            return False
    if api.used[subscriber] >= pull.rate_limit:
        return True
    api.used[subscriber] += 1
    return False


@jit
def _leaves(pull: Pull, rows: Rows, subscriber: int, cursor: int, ends: float) -> float:
    """When the answer to a long poll leaves whose service ends at `ends`, if the intermediary lets it."""
    first, end = page(pull.feed, rows, subscriber, cursor, pull.page_size, ends)
    if first < end:
        return ends
    return next_news(pull.feed, rows, subscriber, cursor, ends, ends + pull.holding.hold_s)


@jit
def _snapshot(
    world: World,
    pull: Pull,
    rows: Rows,
    tried: Tried,
    subscriber: int,
    cursor: int,
    sent_s: float,
    time_s: float,
) -> tuple[int, int]:
    """The page a request gets at a time, if the world lasts until then; its events are noted as tried."""
    if time_s >= world.world_end_s:
        return cursor, cursor
    first, end = page(pull.feed, rows, subscriber, cursor, pull.page_size, time_s)
    for event in range(first, end):
        tried.attempts[subscriber, event] += 1
        if not tried.first_attempt[subscriber, event] <= sent_s:
            tried.first_attempt[subscriber, event] = sent_s
    return first, end
