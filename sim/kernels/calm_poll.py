"""A poller whom nothing disturbs, compiled: no loss, no outage, no limit, no timeout, nobody in its way.

Its polls then follow one another, each a few additions, and what they find is a walk along the events: two
sorted streams merged, without an agenda. Draws, sums and records are those of `sim.kernels.pull`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sim.compiled import allocating, jit
from sim.distributions import sample
from sim.happenings import Happening
from sim.kernels.agenda import pack_poll, unpack_poll
from sim.kernels.feed import Rows, oldest
from sim.kernels.parameters import AT_INTERVALS, Pull, World, setup_delay
from sim.kernels.polled import Polled
from sim.kernels.pollers import NO_POLL, wake_again
from sim.kernels.pull import (
    COUNTER_NAMES,
    EMPTY_RESPONSES,
    NOT_MODIFIED_RESPONSES,
    OPENED,
    PEAK,
    REQUEST_BYTES,
    REQUESTS,
    RESPONSE_BYTES,
)
from sim.kernels.servers import BUSY, IN_USE, INTEGRALS
from sim.kernels.turns import turn_of_answer
from sim.policies import NEVER, NO_LIMIT, bin_of, first_wake, overlap, tick_at
from sim.randomness import Stream
from sim.records import Status

_RESPONSE_ARRIVAL = int(Happening.RESPONSE_ARRIVAL)
_REQUEST_ARRIVAL = int(Happening.REQUEST_ARRIVAL)
_TICK = int(Happening.TICK)
_LOST = int(Status.LOST)


@jit
def may_be_calm(world: World, pull: Pull) -> bool:
    """Whether only a timeout could disturb a poller that has a worker of the API to itself."""
    nothing_lost = world.request_loss == 0.0 and world.response_loss == 0.0
    nobody_fails = len(world.outages.start_s) == 0 and len(pull.api_outages.start_s) == 0
    return pull.way == AT_INTERVALS and nothing_lost and nobody_fails and pull.rate_limit == NO_LIMIT


@allocating
def fetch_calmly(
    world: World,
    pull: Pull,
    rows: Rows,
    subscriber: int,
    polled: Polled,
    counts: NDArray[np.int64],
    integrals: NDArray[np.float64],
    series: NDArray[np.int64],
) -> bool:
    """Run one poller until the world ends; whether it was never disturbed. If it was, nothing is counted.

    Fills arrays of shape (n_events,); the rest as of `sim.kernels.pull.fetch`.
    """
    own, of_this = np.zeros(len(COUNTER_NAMES), np.int64), np.zeros(INTEGRALS)
    requests = np.zeros(len(series), np.int64)
    begins = subscriber * rows.stride
    created = rows.created[begins : begins + rows.counts[subscriber]]
    pages = polled.pages
    calm = _run(
        world, pull, rows, created, subscriber, pages.fetched, pages.opens_page, pages.turn,
        polled.first_attempt, polled.attempts, polled.status, own, of_this, requests,
    )  # fmt: skip
    if calm:
        counts += own
        integrals += of_this
        series += requests
    return calm


@jit
def _run(
    world: World,
    pull: Pull,
    rows: Rows,
    created: NDArray[np.float64],
    s: int,
    fetched: NDArray[np.float64],
    opens_page: NDArray[np.bool_],
    turns: NDArray[np.int64],
    first_attempt: NDArray[np.float64],
    attempts: NDArray[np.int32],
    status: NDArray[np.int8],
    counts: NDArray[np.int64],
    integrals: NDArray[np.float64],
    series: NDArray[np.int64],
) -> bool:
    seed, schedule, feed = world.seed, pull.schedule, pull.feed
    window_start_s, window_end_s, world_end_s = world.window_start_s, world.window_end_s, world.world_end_s
    n_events, forgets = len(created), feed.retained_events > 0 or feed.retained_s < NEVER
    phase_s = first_wake(schedule, seed, s)
    now = tick_at(schedule, phase_s, seed, s, 0)
    started_s, wake, poll = now, 0, 0
    cursor, shown, etag_poll = 0, 0, NO_POLL
    connected, seen_connected = False, False
    requests, opened, empty, not_modified, request_bytes, response_bytes = 0, 0, 0, 0, 0, 0
    in_use_s, busy_s = 0.0, 0.0
    key, turn, turn_s = pack_poll(_TICK, s, 0), 0, -1.0

    while now < world_end_s:
        turn, turn_s = (max(turn, key) if now == turn_s else key), now
        sent_s = now
        counted = window_start_s <= sent_s < window_end_s
        setting_up_s, sent_bytes = 0.0, world.request_header_bytes
        if not connected:
            opened += counted
            setting_up_s = setup_delay(world, Stream.POLL_SETUP_TRANSIT, s, poll)
            sent_bytes += world.setup_bytes
        connected = world.keep_alive
        seen_connected |= counted
        series[bin_of(sent_s, world.series_bin_s)] += 1
        requests += counted
        request_bytes += counted * sent_bytes

        deadline = sent_s + pull.timeout_s
        transit_s = sample(world.one_way, seed, Stream.POLL_REQUEST_TRANSIT, s, poll)
        arrival_s = sent_s + (setting_up_s + transit_s)
        if arrival_s >= deadline:
            return False
        if arrival_s >= world_end_s:
            in_use_s += overlap(sent_s, arrival_s, window_start_s, window_end_s)
            break
        key = pack_poll(_REQUEST_ARRIVAL, s, poll)
        turn, turn_s = (max(turn, key) if arrival_s == turn_s else key), arrival_s
        leaves_s = arrival_s + sample(pull.api_service, seed, Stream.API_SERVICE, s, poll)
        busy_s += overlap(arrival_s, leaves_s, window_start_s, window_end_s)
        by_s = arrival_s - feed.lag_s
        while shown < n_events and created[shown] <= by_s:
            shown += 1
        first = cursor
        if forgets:
            first = max(cursor, oldest(feed, rows, s, arrival_s))
        end = max(first, min(shown, first + pull.page_size))
        for event in range(first, end):
            first_attempt[event] = sent_s
            attempts[event] = 1
        unchanged = first == end and pull.conditional and poll > etag_poll
        if window_start_s <= leaves_s < window_end_s:
            if unchanged:
                response_bytes += pull.not_modified_bytes
            else:
                response_bytes += world.response_header_bytes + (end - first) * world.payload_bytes

        now = leaves_s + sample(world.one_way, seed, Stream.POLL_RESPONSE_TRANSIT, s, poll)
        if now > deadline:
            return False
        in_use_s += overlap(sent_s, now, window_start_s, window_end_s)
        if now >= world_end_s:
            break
        key = pack_poll(_RESPONSE_ARRIVAL, s, poll)
        turn, turn_s = (max(turn, key) if now == turn_s else key), now
        counted = window_start_s <= now < window_end_s
        empty += counted and first == end
        not_modified += counted and unchanged
        etag_poll = min(etag_poll, poll)
        for event in range(cursor, first):
            status[event] = _LOST
        if first < end:
            turn_here = turn_of_answer(s, unpack_poll(turn))
            for event in range(first, end):
                fetched[event] = now
                opens_page[event] = event == first
                turns[event] = turn_here
        cursor = end
        poll += 1
        if end - first == pull.page_size:
            continue
        now, wake = wake_again(
            pull.way, schedule, pull.holding, seed, s, wake, phase_s, started_s, 0.0, now, True, 0.0
        )
        started_s = now
        key = pack_poll(_TICK, s, 0)

    gone = oldest(feed, rows, s, world_end_s) if forgets else 0
    for event in range(cursor, gone):
        status[event] = _LOST
    counts[REQUESTS], counts[OPENED], counts[EMPTY_RESPONSES] = requests, opened, empty
    counts[NOT_MODIFIED_RESPONSES], counts[PEAK] = not_modified, seen_connected
    counts[REQUEST_BYTES], counts[RESPONSE_BYTES] = request_bytes, response_bytes
    integrals[IN_USE], integrals[BUSY] = in_use_s, busy_s
    return True
