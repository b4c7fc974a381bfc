"""The pull family, compiled: what `sim.mechanisms.polling` and the pollers after it say.

All pollers are on one agenda, because they contend at the provider's API; how they differ is a matter of
parameters (`parameters.Pull`). What becomes of what they fetch is computed afterwards (`kernels.intake`).
"""

from __future__ import annotations

from heapq import heappop, heappush

import numpy as np
from numpy.typing import NDArray

from sim.compiled import jit
from sim.distributions import sample
from sim.happenings import Happening
from sim.kernels import agenda
from sim.kernels.agenda import pack_poll, unpack_poll
from sim.kernels.borrowed import borrowed, hold
from sim.kernels.feed import Rows, created_at, oldest, page
from sim.kernels.parameters import (
    ADAPTIVE,
    LONG,
    Pull,
    World,
    borrowed_pull,
    borrowed_world,
    setup_delay,
)
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
from sim.kernels.servers import IN_USE, empty_queue, idle_servers, serve, waiting_now, with_room
from sim.kernels.turns import turn_of_answer
from sim.policies import (
    BLACK_HOLE,
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
from sim.randomness import Stream, uniform
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


@jit
def fetch(
    world: World,
    pull: Pull,
    rows: Rows,
    fetched: NDArray[np.float64],
    opens_page: NDArray[np.bool_],
    turns: NDArray[np.int64],
    first_attempt: NDArray[np.float64],
    attempts: NDArray[np.int32],
    status: NDArray[np.int8],
    counts: NDArray[np.int64],
    integrals: NDArray[np.float64],
    series: NDArray[np.int64],
) -> None:
    """Run all pollers until the world ends; fills arrays of shape (n_subscribers, width).

    `fetched`, `opens_page` and `turns` say what each poll brought (`sim.kernels.turns.Pages`). `integrals`
    are the API's.
    """
    n = len(fetched)
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
    _run(
        borrowed_world(world), borrowed_pull(pull),
        Rows(borrowed(rows.created), rows.stride, borrowed(rows.counts)),
        Pollers(
            borrowed(phase_s), borrowed(started_s), borrowed(sent_s), borrowed(interval_s),
            borrowed(newest_s), borrowed(retry_after_s), borrowed(wake), borrowed(polls), borrowed(cursor),
            borrowed(etag_poll), borrowed(said), borrowed(page_first), borrowed(page_end), borrowed(found),
            borrowed(connected), borrowed(seen_connected),
        ),
        borrowed(times), borrowed(keys), borrowed(free), borrowed(starts), borrowed(ring), borrowed(window),
        borrowed(used), borrowed(fetched), borrowed(opens_page), borrowed(turns), borrowed(first_attempt),
        borrowed(attempts), borrowed(status), borrowed(counts), borrowed(integrals), borrowed(series),
    )  # fmt: skip
    hold(phase_s, started_s, sent_s, interval_s, newest_s, retry_after_s, wake, polls, cursor, etag_poll)
    hold(said, page_first, page_end, found, connected, seen_connected)
    hold(times, keys, free, starts, ring, window, used)


@jit
def _run(
    world: World,
    pull: Pull,
    rows: Rows,
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
) -> None:
    """The world of all pollers. Each has one happening on the agenda, which its next one replaces.

    A request that arrives when its poller has given up is nobody's next happening: such are on a heap of
    their own, with the cursor they ask from and when they were sent.
    """
    p = pollers
    window_start_s, window_end_s = world.window_start_s, world.window_end_s
    # Most servers never fail, and looking into outages takes a while: five arrays to hand over.
    receiver_fails, api_fails = len(world.outages.start_s) > 0, len(pull.api_outages.start_s) > 0
    subscribers = len(fetched)
    too_late = [(0.0, 0, 0, 0.0) for _ in range(0)]
    outstanding, last_change_s = 0, 0.0
    turn, turn_s = 0, -1.0
    for s in range(subscribers):
        p.phase_s[s] = first_wake(pull.schedule, world.seed, s)
        start_s = tick_at(pull.schedule, p.phase_s[s], world.seed, s, 0)
        agenda.add(times, keys, s, start_s, pack_poll(_TICK, s, 0))

    while True:
        is_late = len(too_late) > 0 and (
            too_late[0][0] < times[0] or (too_late[0][0] == times[0] and too_late[0][1] < keys[0])
        )
        now = too_late[0][0] if is_late else times[0]
        if now >= world.world_end_s:
            break
        if is_late:
            _, key, cursor, sent_s = heappop(too_late)
            kind, s, poll = unpack_poll(key)
        else:
            key = keys[0]
            kind, s, poll = unpack_poll(key)
            cursor, sent_s = p.cursor[s], p.sent_s[s]
        turn, turn_s = (max(turn, key) if now == turn_s else key), now
        counted = window_start_s <= now < window_end_s
        asks = False
        if kind in (_RESPONSE_ARRIVAL, _TIMEOUT):
            in_use = outstanding * overlap(last_change_s, now, window_start_s, window_end_s)
            integrals[IN_USE] += in_use
            last_change_s = now
            outstanding -= 1

        if kind == _TICK:
            p.started_s[s] = now
            p.retry_after_s[s] = 0.0
            p.found[s] = False
            p.said[s] = NOTHING
            asks = not receiver_fails or outage_at(world.outages, s, now) == UP

        elif kind == _REQUEST_ARRIVAL:
            first, end = cursor, cursor
            leaves = now
            conditional = pull.conditional and poll > p.etag_poll[s]
            door = outage_at(pull.api_outages, 0, now) if api_fails else UP
            if door != UP:
                said = NOTHING if door == BLACK_HOLE else REFUSED if door == REFUSE else ERROR
            else:
                is_free = False
                if conditional and pull.not_modified_free:
                    new_first, new_end = page(pull.feed, rows, s, cursor, pull.page_size, now)
                    is_free = new_first == new_end
                if over_limit(pull.rate_limit, pull.rate_limit_per_s, window, used, s, now, is_free):
                    said = REJECTED
                else:
                    waiting = waiting_now(starts, ring, now)
                    service_s = sample(pull.api_service, world.seed, Stream.API_SERVICE, s, poll)
                    if api_fails:
                        service_s = slowdown_at(pull.api_outages, 0, max(now, free[0])) * service_s
                    starts = with_room(starts, ring)
                    start, leaves = serve(
                        free, starts, ring, now, service_s, window_start_s, window_end_s, integrals
                    )
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
                            attempts[s, event] += 1
                            if not first_attempt[s, event] <= sent_s:
                                first_attempt[s, event] = sent_s
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
            comes_back = uniform(world.seed, Stream.POLL_RESPONSE_LOSS, s, poll) >= world.response_loss
            if said != NOTHING and comes_back and back <= deadline:
                p.said[s], p.page_first[s], p.page_end[s] = said, first, end
                if said == REJECTED:
                    p.retry_after_s[s] = window_retry_after(now, pull.rate_limit_per_s)
                agenda.replace_first(times, keys, subscribers, back, pack_poll(_RESPONSE_ARRIVAL, s, poll))
            else:
                agenda.replace_first(times, keys, subscribers, deadline, pack_poll(_TIMEOUT, s, poll))
            continue

        elif kind == _TIMEOUT:
            counts[TIMEOUTS] += counted
            p.said[s] = NOTHING
            p.connected[s] = False

        else:
            p.connected[s] = p.said[s] != REFUSED and world.keep_alive
            if went_well(p.said[s]):
                first, end = p.page_first[s], p.page_end[s]
                counts[EMPTY_RESPONSES] += counted and first == end
                counts[NOT_MODIFIED_RESPONSES] += counted and p.said[s] == NOT_MODIFIED
                for event in range(cursor, first):
                    status[s, event] = _LOST
                p.cursor[s] = end
                p.etag_poll[s] = min(p.etag_poll[s], poll)
                for event in range(first, end):
                    fetched[s, event] = now
                    opens_page[s, event] = event == first
                    turns[s, event] = turn_of_answer(s, unpack_poll(turn))
                if first < end:
                    p.found[s] = True
                    p.newest_s[s] = created_at(rows, s, end - 1)
                full = end - first == pull.page_size and pull.way != LONG
                asks = full and not (receiver_fails and outage_at(world.outages, s, now) != UP)

        if not asks:
            answered = went_well(p.said[s])
            if answered and pull.way == ADAPTIVE:
                p.interval_s[s] = adaptive_interval(
                    pull.adaptive, p.interval_s[s], p.found[s], now - p.newest_s[s]
                )
            start_s, p.wake[s] = wake_again(
                pull.way, pull.schedule, pull.holding, world.seed, s, p.wake[s], p.phase_s[s], p.started_s[s],
                p.interval_s[s], now, answered, p.retry_after_s[s],
            )  # fmt: skip
            if kind == _TICK and pull.way == LONG:
                start_s = up_from(world.outages, s, now)
            agenda.replace_first(times, keys, subscribers, start_s, pack_poll(_TICK, s, 0))
            continue

        poll = p.polls[s]
        p.polls[s] += 1
        p.sent_s[s] = now
        setting_up_s, sent_bytes = 0.0, world.request_header_bytes
        if not p.connected[s]:
            counts[OPENED] += counted
            setting_up_s = setup_delay(world, Stream.POLL_SETUP_TRANSIT, s, poll)
            sent_bytes += world.setup_bytes
        p.connected[s] = True
        p.seen_connected[s] |= counted
        in_use = outstanding * overlap(last_change_s, now, window_start_s, window_end_s)
        integrals[IN_USE] += in_use
        last_change_s = now
        outstanding += 1
        series[bin_of(now, world.series_bin_s)] += 1
        counts[REQUESTS] += counted
        counts[REQUEST_BYTES] += counted * sent_bytes
        deadline = now + pull.timeout_s
        arrival = deadline
        if uniform(world.seed, Stream.POLL_REQUEST_LOSS, s, poll) >= world.request_loss:
            transit_s = sample(world.one_way, world.seed, Stream.POLL_REQUEST_TRANSIT, s, poll)
            arrival = now + (setting_up_s + transit_s)
            if arrival >= deadline:
                heappush(too_late, (arrival, pack_poll(_REQUEST_ARRIVAL, s, poll), p.cursor[s], now))
        if arrival >= deadline:
            agenda.replace_first(times, keys, subscribers, deadline, pack_poll(_TIMEOUT, s, poll))
        else:
            agenda.replace_first(times, keys, subscribers, arrival, pack_poll(_REQUEST_ARRIVAL, s, poll))

    in_use = outstanding * overlap(last_change_s, window_end_s, window_start_s, window_end_s)
    integrals[IN_USE] += in_use
    for s in range(subscribers):
        gone = oldest(pull.feed, rows, s, world.world_end_s)
        for event in range(p.cursor[s], gone):
            status[s, event] = _LOST
    counts[PEAK] = np.count_nonzero(p.seen_connected)
