"""The pull family, compiled: what `sim.mechanisms.polling` and the pollers after it say.

In two steps. Fetching: all pollers on one heap, because they contend at the provider's API; how they
differ is a matter of parameters (`parameters.Pull`). Serving: each subscriber's receiver takes in what
its poller fetched, in that order; nothing it does comes back to the poller, so it can be computed afterwards.
"""

from __future__ import annotations

from heapq import heappop, heappush

import numpy as np
from numpy.typing import NDArray

from sim.compiled import jit
from sim.distributions import sample
from sim.happenings import Happening
from sim.kernels.borrowed import borrowed, hold
from sim.kernels.feed import Rows, created_at, oldest
from sim.kernels.parameters import LONG, Pull, World, borrowed_pull, borrowed_world, in_window, setup_delay
from sim.kernels.pollers import NO_POLL, Pollers, wake_again, wake_first, went_well
from sim.kernels.provider_api import (
    ERROR,
    GATEWAY_TIMEOUT,
    NOT_MODIFIED,
    NOTHING,
    REFUSED,
    REJECTED,
    Api,
    Tried,
    respond,
)
from sim.kernels.servers import IN_USE, empty_queue, idle_now, idle_servers, serve, waiting_now, with_room
from sim.policies import UP, bin_of, outage_at, overlap, slowdown_at, window_retry_after
from sim.randomness import Stream, delivery_entity, uniform
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
_DELIVERED, _LOST = int(Status.DELIVERED), int(Status.LOST)


@jit
def fetch(
    world: World,
    pull: Pull,
    rows: Rows,
    fetched: NDArray[np.float64],
    opens_page: NDArray[np.bool_],
    page_poll: NDArray[np.int64],
    first_attempt: NDArray[np.float64],
    attempts: NDArray[np.int32],
    status: NDArray[np.int8],
    counts: NDArray[np.int64],
    integrals: NDArray[np.float64],
    series: NDArray[np.int64],
) -> None:
    """Run all pollers until the world ends; fills arrays of shape (n_subscribers, width).

    `fetched` is when the response that brought an event arrived, NaN if none did; `opens_page` marks the
    first event of each response, `page_poll` is the number of the poll it answered. `integrals` are the
    API's.
    """
    n = len(fetched)
    phase_s, started_s, newest_s, retry_after_s = np.zeros(n), np.zeros(n), np.zeros(n), np.zeros(n)
    interval_s = np.full(n, pull.adaptive.first_interval_s)
    wake, polls, cursor = np.zeros(n, np.int64), np.zeros(n, np.int64), np.zeros(n, np.int64)
    etag_poll = np.full(n, NO_POLL)
    said, page_first, page_end = np.zeros(n, np.int64), np.zeros(n, np.int64), np.zeros(n, np.int64)
    found, connected, seen_connected = np.zeros(n, np.bool_), np.zeros(n, np.bool_), np.zeros(n, np.bool_)
    pollers = Pollers(
        borrowed(phase_s), borrowed(started_s), borrowed(interval_s), borrowed(newest_s),
        borrowed(retry_after_s), borrowed(wake), borrowed(polls), borrowed(cursor), borrowed(etag_poll),
        borrowed(said), borrowed(page_first), borrowed(page_end), borrowed(found), borrowed(connected),
        borrowed(seen_connected),
    )  # fmt: skip
    free, (starts, ring) = idle_servers(pull.api_workers), empty_queue()
    window, used = np.full(n, -1), np.zeros(n, np.int64)
    _run(
        borrowed_world(world), borrowed_pull(pull),
        Rows(borrowed(rows.created), rows.stride, borrowed(rows.counts)),
        Api(borrowed(free), borrowed(ring), borrowed(window), borrowed(used)), borrowed(starts), pollers,
        Tried(borrowed(first_attempt), borrowed(attempts)),
        borrowed(fetched), borrowed(opens_page), borrowed(page_poll), borrowed(status), borrowed(counts),
        borrowed(integrals), borrowed(series),
    )  # fmt: skip
    hold(phase_s, started_s, interval_s, newest_s, retry_after_s)
    hold(wake, polls, cursor, etag_poll, said, page_first, page_end)
    hold(found, connected, seen_connected)
    hold(free, starts, ring, window, used)


@jit
def _run(
    world: World,
    pull: Pull,
    rows: Rows,
    api: Api,
    starts: NDArray[np.float64],
    pollers: Pollers,
    tried: Tried,
    fetched: NDArray[np.float64],
    opens_page: NDArray[np.bool_],
    page_poll: NDArray[np.int64],
    status: NDArray[np.int8],
    counts: NDArray[np.int64],
    integrals: NDArray[np.float64],
    series: NDArray[np.int64],
) -> None:
    subscribers = len(fetched)
    heap = [(0.0, 0, 0, 0, 0, 0.0) for _ in range(0)]
    outstanding, last_change_s = 0, 0.0
    for s in range(subscribers):
        heappush(heap, (wake_first(world, pull, pollers, s), _TICK, s, 0, 0, 0.0))

    while len(heap) > 0 and heap[0][0] < world.world_end_s:
        now, kind, s, number, sent_cursor, sent_s = heappop(heap)
        counted = in_window(world, now)
        asks = False
        if kind in (_RESPONSE_ARRIVAL, _TIMEOUT):
            in_use = outstanding * overlap(last_change_s, now, world.window_start_s, world.window_end_s)
            integrals[IN_USE] += in_use
            last_change_s = now
            outstanding -= 1

        if kind == _TICK:
            pollers.started_s[s] = now
            pollers.retry_after_s[s] = 0.0
            pollers.found[s] = False
            asks = outage_at(world.outages, s, now) == UP

        elif kind == _REQUEST_ARRIVAL:
            starts = with_room(starts, api.ring)
            conditional = pull.conditional and number > pollers.etag_poll[s]
            said, first, end, leaves, queued = respond(
                world, pull, rows, api, starts, tried, s, number, sent_cursor, conditional, sent_s, now,
                integrals,
            )  # fmt: skip
            if counted:
                counts[PROVIDER_QUEUE_MAX] = max(counts[PROVIDER_QUEUE_MAX], queued)
            if in_window(world, leaves):
                _count_answer(world, pull, said, end - first, counts)
            deadline = sent_s + pull.timeout_s
            if now < deadline:
                transit_s = sample(world.one_way, world.seed, Stream.POLL_RESPONSE_TRANSIT, s, number)
                back = leaves + transit_s
                comes_back = uniform(world.seed, Stream.POLL_RESPONSE_LOSS, s, number) >= world.response_loss
                if said != NOTHING and comes_back and back <= deadline:
                    pollers.said[s], pollers.page_first[s], pollers.page_end[s] = said, first, end
                    if said == REJECTED:
                        pollers.retry_after_s[s] = window_retry_after(now, pull.rate_limit_per_s)
                    heappush(heap, (back, _RESPONSE_ARRIVAL, s, number, 0, 0.0))
                else:
                    heappush(heap, (deadline, _TIMEOUT, s, number, 0, 0.0))
            continue

        elif kind == _TIMEOUT:
            counts[TIMEOUTS] += counted
            pollers.said[s] = NOTHING
            pollers.connected[s] = False

        else:
            said = pollers.said[s]
            pollers.connected[s] = said != REFUSED and world.keep_alive
            if went_well(said):
                first, end = pollers.page_first[s], pollers.page_end[s]
                counts[EMPTY_RESPONSES] += counted and first == end
                counts[NOT_MODIFIED_RESPONSES] += counted and said == NOT_MODIFIED
                for event in range(pollers.cursor[s], first):
                    status[s, event] = _LOST
                pollers.cursor[s] = end
                pollers.etag_poll[s] = min(pollers.etag_poll[s], number)
                for event in range(first, end):
                    fetched[s, event] = now
                    opens_page[s, event] = event == first
                    page_poll[s, event] = number
                if first < end:
                    pollers.found[s] = True
                    pollers.newest_s[s] = created_at(rows, s, end - 1)
                full = end - first == pull.page_size
                asks = full and pull.way != LONG and outage_at(world.outages, s, now) == UP

        if not asks:
            start_s = wake_again(world, pull, pollers, s, now, kind == _TICK)
            heappush(heap, (start_s, _TICK, s, pollers.wake[s], 0, 0.0))
            continue

        poll = pollers.polls[s]
        pollers.polls[s] += 1
        setting_up_s, sent_bytes = 0.0, world.request_header_bytes
        if not pollers.connected[s]:
            counts[OPENED] += counted
            setting_up_s = setup_delay(world, Stream.POLL_SETUP_TRANSIT, s, poll)
            sent_bytes += world.setup_bytes
        pollers.connected[s] = True
        pollers.seen_connected[s] |= counted
        in_use = outstanding * overlap(last_change_s, now, world.window_start_s, world.window_end_s)
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
            heappush(heap, (arrival, _REQUEST_ARRIVAL, s, poll, pollers.cursor[s], now))
        if arrival >= deadline:
            heappush(heap, (deadline, _TIMEOUT, s, poll, 0, 0.0))

    in_use = outstanding * overlap(
        last_change_s, world.window_end_s, world.window_start_s, world.window_end_s
    )
    integrals[IN_USE] += in_use
    for s in range(subscribers):
        gone = oldest(pull.feed, rows, s, world.world_end_s)
        for event in range(pollers.cursor[s], gone):
            status[s, event] = _LOST
    counts[PEAK] = np.count_nonzero(pollers.seen_connected)


@jit
def _count_answer(world: World, pull: Pull, said: int, carried: int, counts: NDArray[np.int64]) -> None:
    """Count an answer that leaves within the window."""
    if said == NOTHING:
        return
    counts[REJECTED_REQUESTS] += said == REJECTED
    counts[ERRORS] += said in (REFUSED, ERROR, GATEWAY_TIMEOUT)
    if said == NOT_MODIFIED:
        counts[RESPONSE_BYTES] += pull.not_modified_bytes
    elif said != REFUSED:
        counts[RESPONSE_BYTES] += world.response_header_bytes + carried * world.payload_bytes


@jit
def take_in(
    world: World,
    subscriber: int,
    fetched: NDArray[np.float64],
    opens_page: NDArray[np.bool_],
    visible: NDArray[np.float64],
    copies: NDArray[np.int32],
    status: NDArray[np.int8],
    counts: NDArray[np.int64],
    integrals: NDArray[np.float64],
) -> None:
    """Serve what one poller fetched; fills arrays of shape (n_events,). `integrals` are the receiver's."""
    free = idle_servers(world.receiver_workers)
    starts, ring = empty_queue()
    _serve_pages(
        borrowed_world(world), subscriber, borrowed(fetched), borrowed(opens_page), borrowed(visible),
        borrowed(copies), borrowed(status), borrowed(counts), borrowed(integrals), borrowed(free),
        borrowed(starts), borrowed(ring),
    )  # fmt: skip
    hold(free, starts, ring)


@jit
def _serve_pages(
    world: World,
    subscriber: int,
    fetched: NDArray[np.float64],
    opens_page: NDArray[np.bool_],
    visible: NDArray[np.float64],
    copies: NDArray[np.int32],
    status: NDArray[np.int8],
    counts: NDArray[np.int64],
    integrals: NDArray[np.float64],
    free: NDArray[np.float64],
    starts: NDArray[np.float64],
    ring: NDArray[np.int64],
) -> None:
    idle, waiting = 0, 0
    for event in range(len(fetched)):
        now = fetched[event]
        if np.isnan(now):
            continue
        if opens_page[event]:
            # The events of one response join before any of them can end, even if service takes no time.
            idle, waiting = idle_now(free, now), waiting_now(starts, ring, now)
        if idle > 0:
            idle -= 1
        else:
            waiting += 1
        if in_window(world, now):
            counts[RECEIVER_QUEUE_MAX] = max(counts[RECEIVER_QUEUE_MAX], waiting)
        copies[event] = 1
        entity = delivery_entity(subscriber, event)
        slowdown = slowdown_at(world.outages, subscriber, max(now, free[0]))
        service_s = slowdown * sample(world.receiver_service, world.seed, Stream.SERVICE, entity, 0)
        starts = with_room(starts, ring)
        _, end = serve(
            free, starts, ring, now, service_s, world.window_start_s, world.window_end_s, integrals
        )
        if end < world.world_end_s:
            visible[event] = end
            status[event] = _DELIVERED
