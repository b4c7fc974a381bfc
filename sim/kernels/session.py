"""Streams, compiled: what `sim.mechanisms.streaming` says.

Clients meet only at the API's workers, when they connect: connects are on one heap. What a stream carries is
known as soon as it opens (events and outages are functions of the time), so it is computed then, in one go;
what becomes of what arrives is computed afterwards (`kernels.intake`).
"""

from __future__ import annotations

from heapq import heappop, heappush
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sim.compiled import allocating, jit
from sim.distributions import sample
from sim.happenings import Happening
from sim.kernels.feed import Rows, created_at, oldest, shown
from sim.kernels.parameters import Pull, World, in_window, is_lost, setup_delay
from sim.kernels.provider_api import ERROR, NOTHING, OK, REFUSED, REJECTED, over_limit
from sim.kernels.pull import (
    ERRORS,
    OPENED,
    PEAK,
    PROVIDER_QUEUE_MAX,
    REJECTED_REQUESTS,
    REQUEST_BYTES,
    REQUESTS,
    RESPONSE_BYTES,
    TIMEOUTS,
)
from sim.kernels.servers import IN_USE, empty_queue, idle_servers, serve, waiting_now, with_room
from sim.policies import (
    BLACK_HOLE,
    REFUSE,
    UP,
    Link,
    bin_of,
    client_notices,
    connection_ends,
    connects_at,
    first_wake,
    heartbeats_within,
    next_down,
    outage_at,
    overlap,
    shown_from,
    slowdown_at,
    up_from,
    window_retry_after,
)
from sim.randomness import Stream, delivery_entity
from sim.records import Status

_CONNECTION_LOST = int(Happening.CONNECTION_LOST)
_RESPONSE_ARRIVAL = int(Happening.RESPONSE_ARRIVAL)
_TIMEOUT = int(Happening.TIMEOUT)
_REQUEST_ARRIVAL = int(Happening.REQUEST_ARRIVAL)
_TICK = int(Happening.TICK)
_LOST = int(Status.LOST)


class Streams(NamedTuple):
    """What streams need besides the API: how connections live, and what messages weigh."""

    link: Link
    replays: bool
    heartbeat_bytes: int
    message_bytes: int


@jit
def _first_sent(api: Pull, streams: Streams, rows: Rows, subscriber: int, opened_s: float) -> int:
    """The first event that a stream opened at a time may carry, the client's own place apart."""
    if streams.replays:
        return oldest(api.feed, rows, subscriber, opened_s)
    return shown(api.feed, rows, subscriber, opened_s)


@jit
def _carry(
    world: World,
    api: Pull,
    streams: Streams,
    rows: Rows,
    subscriber: int,
    session: int,
    cursor: int,
    opened_s: float,
    up_s: float,
    ends_s: float,
    arrived: NDArray[np.float64],
    first_attempt: NDArray[np.float64],
    attempts: NDArray[np.int32],
    counts: NDArray[np.int64],
) -> int:
    """All that a stream carries from the client's `cursor` on; returns where that is in the end."""
    arrives_s = up_s
    for event in range(cursor, rows.counts[subscriber]):
        sent_s = max(opened_s, shown_from(created_at(rows, subscriber, event), api.feed.lag_s))
        if sent_s >= ends_s or sent_s >= world.world_end_s:
            break
        counts[RESPONSE_BYTES] += in_window(world, sent_s) * streams.message_bytes
        attempts[event] += 1
        if not first_attempt[event] <= sent_s:
            first_attempt[event] = sent_s
        entity = delivery_entity(subscriber, event)
        transit_s = sample(world.one_way, world.seed, Stream.MESSAGE_TRANSIT, entity, session)
        arrives_s = max(arrives_s, sent_s + transit_s)
        if arrives_s < ends_s and arrives_s < world.world_end_s:
            arrived[event] = arrives_s
            cursor = event + 1
    return cursor


@allocating
def stream(
    world: World,
    api: Pull,
    streams: Streams,
    rows: Rows,
    arrived: NDArray[np.float64],
    first_attempt: NDArray[np.float64],
    attempts: NDArray[np.int32],
    status: NDArray[np.int8],
    counts: NDArray[np.int64],
    integrals: NDArray[np.float64],
    series: NDArray[np.int64],
) -> None:
    """Run all clients until the world ends; fills arrays of shape (n_subscribers, width).

    `arrived` is when each event reached its receiver, NaN if it never did. `integrals` are the API's.
    """
    subscribers, link = len(arrived), streams.link
    window_start_s, window_end_s = world.window_start_s, world.window_end_s
    heap = [(0.0, 0, 0, 0, 0.0) for _ in range(0)]
    free, (starts, ring) = idle_servers(api.api_workers), empty_queue()
    window, used = np.full(subscribers, -1), np.zeros(subscribers, np.int64)
    connects, cursor = np.zeros(subscribers, np.int64), np.zeros(subscribers, np.int64)
    failures, said = np.zeros(subscribers, np.int64), np.zeros(subscribers, np.int64)
    opened_s, ends_s, noticed_s = np.zeros(subscribers), np.zeros(subscribers), np.zeros(subscribers)
    retry_after_s, seen_connected = np.zeros(subscribers), np.zeros(subscribers, np.bool_)
    outstanding, last_change_s = 0, 0.0
    for s in range(subscribers):
        heappush(heap, (first_wake(api.schedule, world.seed, s), _TICK, s, 0, 0.0))

    while len(heap) > 0 and heap[0][0] < world.world_end_s:
        now, kind, s, number, sent_s = heappop(heap)
        counted = in_window(world, now)

        if kind == _REQUEST_ARRIVAL:
            leaves = now
            door = outage_at(api.api_outages, 0, now)
            if door != UP:
                answer = NOTHING if door == BLACK_HOLE else REFUSED if door == REFUSE else ERROR
            elif over_limit(api.rate_limit, api.rate_limit_per_s, window, used, s, now, False):
                answer = REJECTED
            else:
                answer = OK
                waiting = waiting_now(starts, ring, now)
                slowdown = slowdown_at(api.api_outages, 0, max(now, free[0]))
                service_s = slowdown * sample(api.api_service, world.seed, Stream.API_SERVICE, s, number)
                starts = with_room(starts, ring)
                start, leaves = serve(
                    free, starts, ring, now, service_s, window_start_s, window_end_s, integrals
                )
                if counted:
                    counts[PROVIDER_QUEUE_MAX] = max(counts[PROVIDER_QUEUE_MAX], waiting + (start > now))
            if in_window(world, leaves):
                counts[REJECTED_REQUESTS] += answer == REJECTED
                counts[ERRORS] += answer in (REFUSED, ERROR)
                counts[RESPONSE_BYTES] += (answer not in (NOTHING, REFUSED)) * world.response_header_bytes
            deadline = sent_s + api.timeout_s
            if now < deadline:
                back = leaves + sample(world.one_way, world.seed, Stream.POLL_RESPONSE_TRANSIT, s, number)
                comes_back = not is_lost(
                    world.response_loss, world.seed, Stream.POLL_RESPONSE_LOSS, s, number
                )
                if answer != NOTHING and comes_back and back <= deadline:
                    said[s], opened_s[s], retry_after_s[s] = answer, leaves, 0.0
                    if answer == REJECTED:
                        retry_after_s[s] = window_retry_after(now, api.rate_limit_per_s)
                    heappush(heap, (back, _RESPONSE_ARRIVAL, s, number, 0.0))
                else:
                    heappush(heap, (deadline, _TIMEOUT, s, number, 0.0))
            continue

        if kind == _RESPONSE_ARRIVAL and said[s] == OK:
            ends_s[s] = min(
                connection_ends(link, world.outages, world.seed, s, number, now),
                next_down(api.api_outages, 0, now),
            )
            beats = heartbeats_within(link, now, ends_s[s], window_start_s, window_end_s)
            counts[RESPONSE_BYTES] += beats * streams.heartbeat_bytes
            seen_connected[s] |= overlap(now, ends_s[s], window_start_s, window_end_s) > 0
            first = _first_sent(api, streams, rows, s, opened_s[s])
            for event in range(cursor[s], first):
                status[s, event] = _LOST
            cursor[s] = _carry(
                world, api, streams, rows, s, number, max(cursor[s], first), opened_s[s], now, ends_s[s],
                arrived[s], first_attempt[s], attempts[s], counts,
            )  # fmt: skip
            retry_after_s[s] = 0.0
            if ends_s[s] < world.world_end_s:
                noticed_s[s] = client_notices(link, world.seed, s, number, now, ends_s[s])
                heappush(heap, (ends_s[s], _CONNECTION_LOST, s, number, 0.0))
            continue

        if kind == _TICK and outage_at(world.outages, s, now) != UP:
            heappush(heap, (up_from(world.outages, s, now), _TICK, s, number + 1, 0.0))
            continue

        in_use = outstanding * overlap(last_change_s, now, window_start_s, window_end_s)
        integrals[IN_USE] += in_use
        last_change_s = now

        if kind != _TICK:
            outstanding -= 1
            if kind == _CONNECTION_LOST:
                failures[s] = 1
            else:
                counts[TIMEOUTS] += counted and kind == _TIMEOUT
                if kind == _TIMEOUT:
                    retry_after_s[s] = 0.0
                noticed_s[s] = now
                failures[s] += 1
            rested_s = connects_at(link, world.outages, world.seed, s, connects[s], failures[s], noticed_s[s])
            start_s = max(rested_s, up_from(world.outages, s, noticed_s[s] + retry_after_s[s]))
            heappush(heap, (start_s, _TICK, s, 0, 0.0))
            continue

        connect = connects[s]
        connects[s] += 1
        outstanding += 1
        seen_connected[s] |= counted
        counts[OPENED] += counted
        counts[REQUESTS] += counted
        counts[REQUEST_BYTES] += counted * (world.request_header_bytes + world.setup_bytes)
        series[bin_of(now, world.series_bin_s)] += 1
        deadline = now + api.timeout_s
        arrival = deadline
        if not is_lost(world.request_loss, world.seed, Stream.POLL_REQUEST_LOSS, s, connect):
            setting_up_s = setup_delay(world, Stream.POLL_SETUP_TRANSIT, s, connect)
            transit_s = sample(world.one_way, world.seed, Stream.POLL_REQUEST_TRANSIT, s, connect)
            arrival = now + (setting_up_s + transit_s)
            heappush(heap, (arrival, _REQUEST_ARRIVAL, s, connect, now))
        if arrival >= deadline:
            heappush(heap, (deadline, _TIMEOUT, s, connect, 0.0))

    integrals[IN_USE] += outstanding * overlap(last_change_s, window_end_s, window_start_s, window_end_s)
    for s in range(subscribers):
        if ends_s[s] < world.world_end_s:
            for event in range(cursor[s], _first_sent(api, streams, rows, s, world.world_end_s)):
                status[s, event] = _LOST
    counts[PEAK] = np.count_nonzero(seen_connected)
