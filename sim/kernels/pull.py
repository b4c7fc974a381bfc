"""The pull family, compiled: what `sim.mechanisms.polling` says.

In two steps. Fetching: all pollers on one heap, because they contend at the provider's API. Serving:
each subscriber's receiver takes in what its poller fetched, in that order; nothing it does comes back
to the poller, so it can be computed afterwards.
"""

from __future__ import annotations

from heapq import heappop, heappush

import numpy as np
from numpy.typing import NDArray

from sim.compiled import jit
from sim.distributions import sample
from sim.happenings import Happening
from sim.kernels.borrowed import borrowed, hold
from sim.kernels.feed import Rows, oldest, page
from sim.kernels.parameters import Pull, World, borrowed_world, in_window, setup_delay
from sim.kernels.receiver import Receiver, borrowed_receiver, open_receiver, take_page
from sim.kernels.servers import IN_USE, empty_queue, idle_servers, serve, waiting_now, with_room
from sim.kernels.turns import end_of_page, turn_of_answer
from sim.policies import (
    FIXED_RATE,
    UP,
    bin_of,
    first_tick_from,
    first_wake,
    next_start,
    outage_at,
    overlap,
    slowdown_at,
    tick_at,
    window_of,
    window_retry_after,
)
from sim.randomness import Stream, uniform
from sim.records import Status, Via

(
    REQUESTS,
    EMPTY_RESPONSES,
    REJECTED,
    TIMEOUTS,
    REQUEST_BYTES,
    RESPONSE_BYTES,
    OPENED,
    PEAK,
    RECEIVER_QUEUE_MAX,
    PROVIDER_QUEUE_MAX,
) = range(10)
COUNTER_NAMES = (
    "requests",
    "empty_responses",
    "rejected",
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
_DELIVERED, _LOST = int(Status.DELIVERED), int(Status.LOST)
_POLL = int(Via.POLL)


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
    subscribers = len(fetched)
    schedule = pull.schedule
    heap = [(0.0, 0, 0, 0, 0, 0.0) for _ in range(0)]
    free = idle_servers(pull.api_workers)
    starts, ring = empty_queue()
    phase_s = np.empty(subscribers, dtype=np.float64)
    started_s = np.zeros(subscribers, dtype=np.float64)
    wake = np.zeros(subscribers, dtype=np.int64)
    polls = np.zeros(subscribers, dtype=np.int64)
    cursor = np.zeros(subscribers, dtype=np.int64)
    connected = np.zeros(subscribers, dtype=np.bool_)
    seen_connected = np.zeros(subscribers, dtype=np.bool_)
    window = np.full(subscribers, -1, dtype=np.int64)
    used = np.zeros(subscribers, dtype=np.int64)
    page_first = np.zeros(subscribers, dtype=np.int64)
    page_end = np.zeros(subscribers, dtype=np.int64)
    retry_after_s = np.zeros(subscribers, dtype=np.float64)
    rejected = np.zeros(subscribers, dtype=np.bool_)
    outstanding, last_change_s = 0, 0.0
    turn, turn_s = (0, 0, 0), -1.0
    for s in range(subscribers):
        phase_s[s] = first_wake(schedule, world.seed, s)
        start_s = tick_at(schedule, phase_s[s], world.seed, s, 0)
        heappush(heap, (start_s, _TICK, s, 0, 0, 0.0))

    while len(heap) > 0 and heap[0][0] < world.world_end_s:
        now, kind, s, number, sent_cursor, sent_s = heappop(heap)
        if now > turn_s or (kind, s, number) > turn:
            turn = (kind, s, number)
        turn_s = now
        counted = in_window(world, now)
        sends = False
        cycle_over = False
        if kind in (_RESPONSE_ARRIVAL, _TIMEOUT):
            in_use = outstanding * overlap(last_change_s, now, world.window_start_s, world.window_end_s)
            integrals[IN_USE] += in_use
            last_change_s = now
            outstanding -= 1
            connected[s] = kind == _RESPONSE_ARRIVAL and world.keep_alive

        if kind == _TICK:
            started_s[s] = now
            retry_after_s[s] = 0.0
            sends = outage_at(world.outages, s, now) == UP
            cycle_over = not sends

        elif kind == _REQUEST_ARRIVAL:
            deadline = sent_s + pull.timeout_s
            in_time = now < deadline
            current = window_of(now, pull.rate_limit_per_s)
            if current != window[s]:
                window[s], used[s] = current, 0
            over_limit = used[s] >= pull.rate_limit
            carried = 0
            first, end = sent_cursor, sent_cursor
            if over_limit:
                leaves = now
                counts[REJECTED] += counted
            else:
                used[s] += 1
                waiting = waiting_now(starts, ring, now)
                slowdown = slowdown_at(pull.api_outages, 0, max(now, free[0]))
                service_s = slowdown * sample(pull.api_service, world.seed, Stream.API_SERVICE, s, number)
                starts = with_room(starts, ring)
                start, leaves = serve(
                    free, starts, ring, now, service_s, world.window_start_s, world.window_end_s, integrals
                )
                if counted:
                    counts[PROVIDER_QUEUE_MAX] = max(counts[PROVIDER_QUEUE_MAX], waiting + (start > now))
                if start < world.world_end_s:
                    first, end = page(pull.feed, rows, s, sent_cursor, pull.page_size, start)
                    for event in range(first, end):
                        attempts[s, event] += 1
                        if not first_attempt[s, event] <= sent_s:
                            first_attempt[s, event] = sent_s
                carried = end - first
            if in_window(world, leaves):
                counts[RESPONSE_BYTES] += world.response_header_bytes + carried * world.payload_bytes
            if in_time:
                transit_s = sample(world.one_way, world.seed, Stream.POLL_RESPONSE_TRANSIT, s, number)
                back = leaves + transit_s
                comes_back = uniform(world.seed, Stream.POLL_RESPONSE_LOSS, s, number) >= world.response_loss
                if comes_back and back <= deadline:
                    page_first[s], page_end[s], rejected[s] = first, end, over_limit
                    if over_limit:
                        retry_after_s[s] = window_retry_after(now, pull.rate_limit_per_s)
                    heappush(heap, (back, _RESPONSE_ARRIVAL, s, number, 0, 0.0))
                else:
                    heappush(heap, (deadline, _TIMEOUT, s, number, 0, 0.0))

        elif kind == _TIMEOUT:
            counts[TIMEOUTS] += counted
            cycle_over = True

        elif rejected[s]:
            cycle_over = True

        else:
            first, end = page_first[s], page_end[s]
            counts[EMPTY_RESPONSES] += counted and first == end
            for event in range(cursor[s], first):
                status[s, event] = _LOST
            cursor[s] = end
            for event in range(first, end):
                fetched[s, event] = now
                opens_page[s, event] = event == first
                turns[s, event] = turn_of_answer(s, turn)
            sends = end - first == pull.page_size and outage_at(world.outages, s, now) == UP
            cycle_over = not sends

        if cycle_over:
            if schedule.kind == FIXED_RATE:
                wake[s] = first_tick_from(
                    schedule, phase_s[s], world.seed, s, wake[s] + 1, now + retry_after_s[s]
                )
                start_s = tick_at(schedule, phase_s[s], world.seed, s, wake[s])
            else:
                wake[s] += 1
                start_s = next_start(schedule, world.seed, s, wake[s], started_s[s], now, retry_after_s[s])
            heappush(heap, (start_s, _TICK, s, wake[s], 0, 0.0))

        if sends:
            poll = polls[s]
            polls[s] += 1
            setting_up_s, sent_bytes = 0.0, world.request_header_bytes
            if not connected[s]:
                counts[OPENED] += counted
                setting_up_s = setup_delay(world, Stream.POLL_SETUP_TRANSIT, s, poll)
                sent_bytes += world.setup_bytes
            connected[s] = True
            seen_connected[s] |= counted
            in_use = outstanding * overlap(last_change_s, now, world.window_start_s, world.window_end_s)
            integrals[IN_USE] += in_use
            last_change_s = now
            outstanding += 1
            series[bin_of(now, world.series_bin_s)] += 1
            counts[REQUESTS] += counted
            counts[REQUEST_BYTES] += counted * sent_bytes
            deadline = now + pull.timeout_s
            arrives = uniform(world.seed, Stream.POLL_REQUEST_LOSS, s, poll) >= world.request_loss
            arrival = deadline
            if arrives:
                transit_s = sample(world.one_way, world.seed, Stream.POLL_REQUEST_TRANSIT, s, poll)
                arrival = now + (setting_up_s + transit_s)
                heappush(heap, (arrival, _REQUEST_ARRIVAL, s, poll, cursor[s], now))
            if arrival >= deadline:
                heappush(heap, (deadline, _TIMEOUT, s, poll, 0, 0.0))

    in_use = outstanding * overlap(
        last_change_s, world.window_end_s, world.window_start_s, world.window_end_s
    )
    integrals[IN_USE] += in_use
    for s in range(subscribers):
        gone = oldest(pull.feed, rows, s, world.world_end_s)
        for event in range(cursor[s], gone):
            status[s, event] = _LOST
    counts[PEAK] = np.count_nonzero(seen_connected)


@jit
def take_in(
    world: World,
    subscriber: int,
    fetched: NDArray[np.float64],
    opens_page: NDArray[np.bool_],
    visible: NDArray[np.float64],
    copies: NDArray[np.int32],
    via: NDArray[np.int8],
    status: NDArray[np.int8],
    counts: NDArray[np.int64],
    integrals: NDArray[np.float64],
) -> None:
    """Serve what one poller fetched; fills arrays of shape (n_events,). `integrals` are the receiver's."""
    receiver, starts = open_receiver(world, visible, copies, via, integrals)
    _serve_pages(
        borrowed_world(world), subscriber, borrowed(fetched), borrowed(opens_page),
        borrowed_receiver(receiver), borrowed(starts), borrowed(status), borrowed(counts),
    )  # fmt: skip
    hold(receiver.free, receiver.ring, receiver.in_service, receiver.dropped, starts)


@jit
def _serve_pages(
    world: World,
    subscriber: int,
    fetched: NDArray[np.float64],
    opens_page: NDArray[np.bool_],
    receiver: Receiver,
    starts: NDArray[np.float64],
    status: NDArray[np.int8],
    counts: NDArray[np.int64],
) -> None:
    first = 0
    while first < len(fetched):
        now, end = fetched[first], end_of_page(fetched, opens_page, first)
        if not np.isnan(now):
            starts, longest = take_page(world, receiver, starts, subscriber, first, end, now, _POLL)
            if in_window(world, now):
                counts[RECEIVER_QUEUE_MAX] = max(counts[RECEIVER_QUEUE_MAX], longest)
        first = end
    for event in range(len(fetched)):
        if receiver.visible[event] < world.world_end_s:
            status[event] = _DELIVERED
        elif receiver.dropped[event] > 0:
            status[event] = _LOST
