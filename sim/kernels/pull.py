"""The pull family, compiled: what `sim.mechanisms.polling` and the pollers after it say.

All pollers are on one agenda, because they contend at the provider's API; how they differ is a matter of
parameters (`parameters.Pull`). What becomes of what they fetch is computed afterwards (`kernels.intake`).
"""

from __future__ import annotations

from heapq import heappop, heappush
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sim.compiled import allocating, jit
from sim.distributions import sample
from sim.happenings import Happening
from sim.kernels import agenda
from sim.kernels.agenda import pack_poll, unpack_poll
from sim.kernels.feed import Rows, created_at, oldest, page
from sim.kernels.parameters import (
    ADAPTIVE,
    LONG,
    Pull,
    World,
    is_lost,
    setup_delay,
)
from sim.kernels.polled import Polled
from sim.kernels.pollers import NO_POLL, Pollers, wake_again
from sim.kernels.provider_api import (
    ERROR,
    GATEWAY_TIMEOUT,
    NOT_MODIFIED,
    NOTHING,
    OK,
    REFUSED,
    REJECTED,
    hold_answer,
    over_limit,
    went_well,
)
from sim.kernels.servers import (
    IN_USE,
    empty_queue,
    idle_servers,
    serve,
    waiting_at_most,
    waiting_now,
    with_room,
)
from sim.kernels.turns import turn_of_answer
from sim.policies import (
    BLACK_HOLE,
    NEVER,
    REFUSE,
    UP,
    adaptive_interval,
    bin_of,
    first_wake,
    outage_at,
    overlap,
    slowdown_at,
    tick_at,
    up_from,
    window_retry_after,
)
from sim.randomness import Stream
from sim.records import Status

(
    REQUESTS,
    EMPTY_RESPONSES,
    NOT_MODIFIED_RESPONSES,
    REJECTED_REQUESTS,
    ERRORS,
    TIMEOUTS,
    REQUEST_BYTES,
    RESPONSE_BYTES,
    OPENED,
    PEAK,
    RECEIVER_QUEUE_MAX,
    PROVIDER_QUEUE_MAX,
) = range(12)
COUNTER_NAMES = (
    "requests",
    "empty_responses",
    "not_modified",
    "rejected",
    "errors",
    "timeouts",
    "request_bytes",
    "response_bytes",
    "connections_opened",
    "connections_peak",
    "receiver_queue_max",
    "provider_queue_max",
)

_RESPONSE_ARRIVAL = int(Happening.RESPONSE_ARRIVAL)
_TIMEOUT = int(Happening.TIMEOUT)
_REQUEST_ARRIVAL = int(Happening.REQUEST_ARRIVAL)
_TICK = int(Happening.TICK)
_LOST = int(Status.LOST)


@allocating
def fetch(
    world: World,
    pull: Pull,
    rows: Rows,
    first: int,
    polled: Polled,
    counts: NDArray[np.int64],
    integrals: NDArray[np.float64],
    series: NDArray[np.int64],
) -> bool:
    """Run the pollers of subscribers `first`, … until the world ends; as many as `polled` has rows for.

    `integrals` are the API's. Returns whether any request waited there, so that pollers run one by one would
    have fared better.
    """
    n = len(polled.first_attempt)
    pages = polled.pages
    phase_s, started_s, sent_s = np.zeros(n), np.zeros(n), np.zeros(n)
    interval_s = np.full(n, pull.adaptive.first_interval_s)
    newest_s, retry_after_s = np.zeros(n), np.zeros(n)
    wake, polls, cursor = np.zeros(n, np.int64), np.zeros(n, np.int64), np.zeros(n, np.int64)
    etag_poll = np.full(n, NO_POLL)
    said, page_first, page_end = np.zeros(n, np.int64), np.zeros(n, np.int64), np.zeros(n, np.int64)
    found, connected, seen_connected = np.zeros(n, np.bool_), np.zeros(n, np.bool_), np.zeros(n, np.bool_)
    times, keys = np.empty(n), np.empty(n, np.int64)
    free, (starts, ring) = idle_servers(pull.api_workers), empty_queue()
    window, used = np.full(n, -1), np.zeros(n, np.int64)
    pollers = Pollers(
        phase_s, started_s, sent_s, interval_s, newest_s, retry_after_s, wake, polls, cursor, etag_poll, said,
        page_first, page_end, found, connected, seen_connected,
    )  # fmt: skip
    _first_wakes(world, pull, first, phase_s, times, keys)
    too_late = [_NOT_LATE for _ in range(0)]
    so_far = _Progress(False, 0, 0.0, 0, -1.0, False, _NOT_LATE, _NOT_LATE, False)
    while not so_far.is_over:
        starts = with_room(starts, ring)
        if so_far.has_arrived:
            heappop(too_late)
        if so_far.newly_late.arrives_s < NEVER:
            heappush(too_late, so_far.newly_late)
        soonest = too_late[0] if len(too_late) > 0 else _NOT_LATE
        so_far = _run(
            world, pull, rows, first, pollers, times, keys, free, starts, ring, window, used, pages.fetched,
            pages.opens_page, pages.turn, polled.first_attempt, polled.attempts, polled.status, counts,
            integrals, series, _resumed(so_far, soonest),
        )  # fmt: skip
    return so_far.any_waited


class _Late(NamedTuple):
    """A request that arrives when its poller has given up: when, its key, its cursor, when it was sent."""

    arrives_s: float
    key: int
    cursor: int
    sent_s: float


_NOT_LATE = _Late(NEVER, 0, 0, 0.0)


class _Progress(NamedTuple):
    """How far the pollers' world has come: to its end, or to where the caller is needed.

    That is when a request will arrive too late or has done so, the soonest of which is told each time, and
    when the API's queue needs more room.
    """

    is_over: bool
    outstanding: int
    last_change_s: float
    turn: int
    turn_s: float
    any_waited: bool
    soonest: _Late
    newly_late: _Late
    has_arrived: bool


@jit
def _resumed(so_far: _Progress, soonest: _Late) -> _Progress:
    """Where to go on from."""
    return _Progress(
        False, so_far.outstanding, so_far.last_change_s, so_far.turn, so_far.turn_s, so_far.any_waited,
        soonest, _Late(NEVER, 0, 0, 0.0), False,
    )  # fmt: skip


@jit
def _first_wakes(
    world: World,
    pull: Pull,
    first: int,
    phase_s: NDArray[np.float64],
    times: NDArray[np.float64],
    keys: NDArray[np.int64],
) -> None:
    """Put every poller's first wake on the agenda."""
    for p in range(len(phase_s)):
        phase_s[p] = first_wake(pull.schedule, world.seed, first + p)
        start_s = tick_at(pull.schedule, phase_s[p], world.seed, first + p, 0)
        agenda.add(times, keys, p, start_s, pack_poll(_TICK, first + p, 0))


@jit
def _run(
    world: World,
    pull: Pull,
    rows: Rows,
    first_subscriber: int,
    pollers: Pollers,
    times: NDArray[np.float64],
    keys: NDArray[np.int64],
    free: NDArray[np.float64],
    starts: NDArray[np.float64],
    ring: NDArray[np.int64],
    window: NDArray[np.int64],
    used: NDArray[np.int64],
    fetched: NDArray[np.float64],
    opens_page: NDArray[np.bool_],
    turns: NDArray[np.int64],
    first_attempt: NDArray[np.float64],
    attempts: NDArray[np.int32],
    status: NDArray[np.int8],
    counts: NDArray[np.int64],
    integrals: NDArray[np.float64],
    series: NDArray[np.int64],
    so_far: _Progress,
) -> _Progress:
    """The world of all pollers, from where it has come to.

    Each has one happening on the agenda, which its next one replaces; a request that arrives when its
    poller has given up is nobody's next happening. A poller's place `p` in the arrays is its subscriber's
    number `s`, less the first one's.
    """
    of = pollers
    window_start_s, window_end_s = world.window_start_s, world.window_end_s
    # Most servers never fail, and looking into outages takes a while: five arrays to hand over.
    receiver_fails, api_fails = len(world.outages.start_s) > 0, len(pull.api_outages.start_s) > 0
    n_pollers = len(fetched)
    _, outstanding, last_change_s, turn, turn_s, any_waited, late, newly_late, has_arrived = so_far

    while True:
        if has_arrived or newly_late.arrives_s < NEVER or waiting_at_most(ring) == len(starts):
            return _Progress(
                False, outstanding, last_change_s, turn, turn_s, any_waited, late, newly_late, has_arrived
            )
        is_late = late.arrives_s < times[0] or (late.arrives_s == times[0] and late.key < keys[0])
        now = late.arrives_s if is_late else times[0]
        if now >= world.world_end_s:
            break
        key = late.key if is_late else keys[0]
        kind, s, poll = unpack_poll(key)
        cursor, sent_s = of.cursor[s - first_subscriber], of.sent_s[s - first_subscriber]
        if is_late:
            cursor, sent_s = late.cursor, late.sent_s
            has_arrived = True
        p = s - first_subscriber
        turn, turn_s = (max(turn, key) if now == turn_s else key), now
        counted = window_start_s <= now < window_end_s
        asks = False
        if kind in (_RESPONSE_ARRIVAL, _TIMEOUT):
            in_use = outstanding * overlap(last_change_s, now, window_start_s, window_end_s)
            integrals[IN_USE] += in_use
            last_change_s = now
            outstanding -= 1

        if kind == _TICK:
            of.started_s[p] = now
            of.retry_after_s[p] = 0.0
            of.found[p] = False
            of.said[p] = NOTHING
            asks = not receiver_fails or outage_at(world.outages, s, now) == UP

        elif kind == _REQUEST_ARRIVAL:
            first, end = cursor, cursor
            leaves = now
            conditional = pull.conditional and poll > of.etag_poll[p]
            door = outage_at(pull.api_outages, 0, now) if api_fails else UP
            if door != UP:
                said = NOTHING if door == BLACK_HOLE else REFUSED if door == REFUSE else ERROR
            else:
                is_free = False
                if conditional and pull.not_modified_free:
                    new_first, new_end = page(pull.feed, rows, s, cursor, pull.page_size, now)
                    is_free = new_first == new_end
                if over_limit(pull.rate_limit, pull.rate_limit_per_s, window, used, p, now, is_free):
                    said = REJECTED
                else:
                    waiting = waiting_now(starts, ring, now)
                    service_s = sample(pull.api_service, world.seed, Stream.API_SERVICE, s, poll)
                    if api_fails:
                        service_s = slowdown_at(pull.api_outages, 0, max(now, free[0])) * service_s
                    start, leaves = serve(
                        free, starts, ring, now, service_s, window_start_s, window_end_s, integrals
                    )
                    any_waited |= start > now
                    if counted:
                        counts[PROVIDER_QUEUE_MAX] = max(counts[PROVIDER_QUEUE_MAX], waiting + (start > now))
                    said, snapshot_s = OK, start
                    if pull.way == LONG:
                        said, leaves = hold_answer(
                            pull.feed, rows, pull.holding, s, cursor, pull.page_size, now, leaves
                        )
                        snapshot_s = leaves
                    if said == OK and snapshot_s < world.world_end_s:
                        first, end = page(pull.feed, rows, s, cursor, pull.page_size, snapshot_s)
                        for event in range(first, end):
                            attempts[p, event] += 1
                            if not first_attempt[p, event] <= sent_s:
                                first_attempt[p, event] = sent_s
                    if conditional and first == end:
                        said = NOT_MODIFIED
            if window_start_s <= leaves < window_end_s:
                counts[REJECTED_REQUESTS] += said == REJECTED
                counts[ERRORS] += said in (REFUSED, ERROR, GATEWAY_TIMEOUT)
                if said == NOT_MODIFIED:
                    counts[RESPONSE_BYTES] += pull.not_modified_bytes
                elif said not in (NOTHING, REFUSED):
                    counts[RESPONSE_BYTES] += (
                        world.response_header_bytes + (end - first) * world.payload_bytes
                    )
            if is_late:
                continue
            deadline = sent_s + pull.timeout_s
            back = leaves + sample(world.one_way, world.seed, Stream.POLL_RESPONSE_TRANSIT, s, poll)
            comes_back = not is_lost(world.response_loss, world.seed, Stream.POLL_RESPONSE_LOSS, s, poll)
            if said != NOTHING and comes_back and back <= deadline:
                of.said[p], of.page_first[p], of.page_end[p] = said, first, end
                if said == REJECTED:
                    of.retry_after_s[p] = window_retry_after(now, pull.rate_limit_per_s)
                agenda.replace_first(times, keys, n_pollers, back, pack_poll(_RESPONSE_ARRIVAL, s, poll))
            else:
                agenda.replace_first(times, keys, n_pollers, deadline, pack_poll(_TIMEOUT, s, poll))
            continue

        elif kind == _TIMEOUT:
            counts[TIMEOUTS] += counted
            of.said[p] = NOTHING
            of.connected[p] = False

        else:
            of.connected[p] = of.said[p] != REFUSED and world.keep_alive
            if went_well(of.said[p]):
                first, end = of.page_first[p], of.page_end[p]
                counts[EMPTY_RESPONSES] += counted and first == end
                counts[NOT_MODIFIED_RESPONSES] += counted and of.said[p] == NOT_MODIFIED
                for event in range(cursor, first):
                    status[p, event] = _LOST
                of.cursor[p] = end
                of.etag_poll[p] = min(of.etag_poll[p], poll)
                for event in range(first, end):
                    fetched[p, event] = now
                    opens_page[p, event] = event == first
                    turns[p, event] = turn_of_answer(s, unpack_poll(turn))
                if first < end:
                    of.found[p] = True
                    of.newest_s[p] = created_at(rows, s, end - 1)
                full = end - first == pull.page_size and pull.way != LONG
                asks = full and not (receiver_fails and outage_at(world.outages, s, now) != UP)

        if not asks:
            answered = went_well(of.said[p])
            if answered and pull.way == ADAPTIVE:
                of.interval_s[p] = adaptive_interval(
                    pull.adaptive, of.interval_s[p], of.found[p], now - of.newest_s[p]
                )
            start_s, of.wake[p] = wake_again(
                pull.way, pull.schedule, pull.holding, world.seed, s, of.wake[p], of.phase_s[p],
                of.started_s[p], of.interval_s[p], now, answered, of.retry_after_s[p],
            )  # fmt: skip
            if kind == _TICK and pull.way == LONG:
                start_s = up_from(world.outages, s, now)
            agenda.replace_first(times, keys, n_pollers, start_s, pack_poll(_TICK, s, 0))
            continue

        poll = of.polls[p]
        of.polls[p] += 1
        of.sent_s[p] = now
        setting_up_s, sent_bytes = 0.0, world.request_header_bytes
        if not of.connected[p]:
            counts[OPENED] += counted
            setting_up_s = setup_delay(world, Stream.POLL_SETUP_TRANSIT, s, poll)
            sent_bytes += world.setup_bytes
        of.connected[p] = True
        of.seen_connected[p] |= counted
        in_use = outstanding * overlap(last_change_s, now, window_start_s, window_end_s)
        integrals[IN_USE] += in_use
        last_change_s = now
        outstanding += 1
        series[bin_of(now, world.series_bin_s)] += 1
        counts[REQUESTS] += counted
        counts[REQUEST_BYTES] += counted * sent_bytes
        deadline = now + pull.timeout_s
        arrival = deadline
        if not is_lost(world.request_loss, world.seed, Stream.POLL_REQUEST_LOSS, s, poll):
            transit_s = sample(world.one_way, world.seed, Stream.POLL_REQUEST_TRANSIT, s, poll)
            arrival = now + (setting_up_s + transit_s)
            if arrival >= deadline:
                newly_late = _Late(arrival, pack_poll(_REQUEST_ARRIVAL, s, poll), of.cursor[p], now)
        if arrival >= deadline:
            agenda.replace_first(times, keys, n_pollers, deadline, pack_poll(_TIMEOUT, s, poll))
        else:
            agenda.replace_first(times, keys, n_pollers, arrival, pack_poll(_REQUEST_ARRIVAL, s, poll))

    in_use = outstanding * overlap(last_change_s, window_end_s, window_start_s, window_end_s)
    integrals[IN_USE] += in_use
    for p in range(n_pollers):
        counts[PEAK] += of.seen_connected[p]
        gone = oldest(pull.feed, rows, first_subscriber + p, world.world_end_s)
        for event in range(of.cursor[p], gone):
            status[p, event] = _LOST
    return _Progress(
        True, outstanding, last_change_s, turn, turn_s, any_waited, late, newly_late, has_arrived
    )
