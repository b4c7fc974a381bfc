"""Thin webhooks, compiled: what `sim.mechanisms.thin_webhook` says of what follows the notifications.

In three steps. Notifying: the push kernel, for each subscriber alone (`sim.kernels.push`). Fetching: all
subscribers' fetches on one heap, because they contend at the provider's API; the notifications are a sorted
input beside it. Taking in: each subscriber's receiver, in the order in which its fetches came back; nothing
it does comes back to them.
"""

from __future__ import annotations

from heapq import heappop, heappush
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sim.compiled import allocating, jit
from sim.distributions import sample
from sim.happenings import Happening
from sim.kernels.book import Share, close_row, open_row
from sim.kernels.feed import Rows
from sim.kernels.parameters import Fetching, Pull, World, in_window, is_lost, setup_delay
from sim.kernels.receiver import Receiver, accept, open_receiver
from sim.kernels.servers import IN_USE, empty_queue, idle_servers, serve, waiting_now, with_room
from sim.policies import (
    BLACK_HOLE,
    REFUSE,
    UP,
    bin_of,
    outage_at,
    overlap,
    slowdown_at,
    up_from,
    window_of,
    window_retry_after,
)
from sim.randomness import Stream, delivery_entity
from sim.records import Status, Via

(
    REQUESTS,
    REJECTED,
    ERRORS,
    TIMEOUTS,
    REQUEST_BYTES,
    RESPONSE_BYTES,
    OPENED,
    PEAK,
    PROVIDER_QUEUE_MAX,
    RECEIVER_QUEUE_MAX,
) = range(10)
COUNTER_NAMES = (
    "requests",
    "rejected",
    "errors",
    "timeouts",
    "request_bytes",
    "response_bytes",
    "connections_opened",
    "connections_peak",
    "provider_queue_max",
    "receiver_queue_max",
)

_RESPONSE_ARRIVAL = int(Happening.RESPONSE_ARRIVAL)
_TIMEOUT = int(Happening.TIMEOUT)
_ATTEMPT_READY = int(Happening.ATTEMPT_READY)
_REQUEST_ARRIVAL = int(Happening.REQUEST_ARRIVAL)
_DELIVERED, _LOST = int(Status.DELIVERED), int(Status.LOST)
_WEBHOOK = int(Via.WEBHOOK)

# What a fetch hears; no fetch is number 0, which a notification bears.
_NOTHING, _FOUND, _REFUSED, _ERROR, _LIMITED = range(5)
_NOTIFIED = 0


class Notifications(NamedTuple):
    """The first notification of each event that was let in, in the order in which that happened.

    When, at whom, of which event, and its turn among what arrives at that instant (`sim.kernels.turns`).
    """

    time_s: NDArray[np.float64]
    subscriber: NDArray[np.int64]
    event: NDArray[np.int64]
    turn: NDArray[np.int64]


@allocating
def fetch_by_id(
    world: World,
    pull: Pull,
    fetching: Fetching,
    told: Notifications,
    fetched: NDArray[np.float64],
    order: NDArray[np.int64],
    attempts: NDArray[np.int32],
    status: NDArray[np.int8],
    counts: NDArray[np.int64],
    integrals: NDArray[np.float64],
    series: NDArray[np.int64],
) -> None:
    """Fetch every event a subscriber was told of, until the world ends.

    Fills arrays of shape (n_subscribers, width): when each event's answer arrived (NaN if none did), and
    which event was the first, second, … to arrive (−1 after the last). `integrals` are the API's.
    """
    subscribers = len(fetched)
    heap = [(0.0, 0, 0, 0, 0, 0, 0.0) for _ in range(0)]
    free = idle_servers(pull.api_workers)
    starts, ring = empty_queue()
    arrived = np.zeros(subscribers, dtype=np.int64)
    open_connections = np.zeros(subscribers, dtype=np.int64)
    in_flight = np.zeros(subscribers, dtype=np.int64)
    peak = np.zeros(subscribers, dtype=np.int64)
    window = np.full(subscribers, -1, dtype=np.int64)
    used = np.zeros(subscribers, dtype=np.int64)
    outstanding, last_change_s = 0, 0.0
    next_told = 0

    while True:
        now, kind, s, event, number, heard, value_s = world.world_end_s, 0, 0, 0, 0, _NOTHING, 0.0
        from_heap = len(heap) > 0
        if next_told < len(told.time_s):
            s, turn = told.subscriber[next_told], told.turn[next_told]
            notified = (told.time_s[next_told], _REQUEST_ARRIVAL, s, turn, _NOTIFIED, _NOTHING, 0.0)
            if not from_heap or notified < heap[0]:
                now, kind, event, from_heap = notified[0], _REQUEST_ARRIVAL, told.event[next_told], False
                next_told += 1
        if from_heap and heap[0][0] < world.world_end_s:
            now, kind, s, event, number, heard, value_s = heappop(heap)
        if now >= world.world_end_s:
            break
        counted = in_window(world, now)
        sends = kind == _ATTEMPT_READY

        if kind in (_RESPONSE_ARRIVAL, _TIMEOUT):
            in_use = outstanding * overlap(last_change_s, now, world.window_start_s, world.window_end_s)
            integrals[IN_USE] += in_use
            last_change_s = now
            outstanding -= 1
            in_flight[s] -= 1
            if kind == _TIMEOUT:
                counts[TIMEOUTS] += counted
            if kind == _TIMEOUT or heard == _REFUSED or not world.keep_alive:
                open_connections[s] -= 1
            if heard == _FOUND:
                fetched[s, event] = now
                order[s, arrived[s]] = event
                arrived[s] += 1
            elif number == fetching.max_attempts:
                status[s, event] = _LOST
            else:
                ready_s = up_from(world.outages, s, now + max(fetching.retry_s, value_s))
                heappush(heap, (ready_s, _ATTEMPT_READY, s, event, number + 1, _NOTHING, 0.0))

        elif kind == _REQUEST_ARRIVAL and number == _NOTIFIED:
            sends, number = True, 1

        elif kind == _REQUEST_ARRIVAL:
            deadline = value_s + fetching.timeout_s
            entity = delivery_entity(s, event)
            leaves, retry_after_s, answer_bytes = now, 0.0, world.response_header_bytes
            door = outage_at(pull.api_outages, 0, now)
            if door == BLACK_HOLE:
                heard, answer_bytes = _NOTHING, 0
            elif door == REFUSE:
                heard, answer_bytes = _REFUSED, 0
                counts[ERRORS] += counted
            elif door != UP:
                heard = _ERROR
                counts[ERRORS] += counted
            else:
                current = window_of(now, pull.rate_limit_per_s)
                if current != window[s]:
                    window[s], used[s] = current, 0
                if used[s] >= pull.rate_limit:
                    heard, retry_after_s = _LIMITED, window_retry_after(now, pull.rate_limit_per_s)
                    counts[REJECTED] += counted
                else:
                    used[s] += 1
                    heard, answer_bytes = _FOUND, world.response_header_bytes + world.payload_bytes
                    waiting = waiting_now(starts, ring, now)
                    slowdown = slowdown_at(pull.api_outages, 0, max(now, free[0]))
                    service_s = slowdown * sample(
                        pull.api_service, world.seed, Stream.FETCH_SERVICE, entity, number
                    )
                    starts = with_room(starts, ring)
                    start, leaves = serve(
                        free,
                        starts,
                        ring,
                        now,
                        service_s,
                        world.window_start_s,
                        world.window_end_s,
                        integrals,
                    )
                    if counted:
                        counts[PROVIDER_QUEUE_MAX] = max(counts[PROVIDER_QUEUE_MAX], waiting + (start > now))
            if in_window(world, leaves):
                counts[RESPONSE_BYTES] += answer_bytes
            if now < deadline:
                transit_s = sample(world.one_way, world.seed, Stream.FETCH_RESPONSE_TRANSIT, entity, number)
                back = leaves + transit_s
                comes_back = not is_lost(
                    world.response_loss, world.seed, Stream.FETCH_RESPONSE_LOSS, entity, number
                )
                if heard != _NOTHING and comes_back and back <= deadline:
                    heappush(heap, (back, _RESPONSE_ARRIVAL, s, event, number, heard, retry_after_s))
                else:
                    heappush(heap, (deadline, _TIMEOUT, s, event, number, _NOTHING, 0.0))

        if sends:
            attempts[s, event] += 1
            entity = delivery_entity(s, event)
            setting_up_s, sent_bytes = 0.0, world.request_header_bytes
            if in_flight[s] == open_connections[s]:
                open_connections[s] += 1
                counts[OPENED] += counted
                setting_up_s = setup_delay(world, Stream.FETCH_SETUP_TRANSIT, entity, number)
                sent_bytes += world.setup_bytes
            in_use = outstanding * overlap(last_change_s, now, world.window_start_s, world.window_end_s)
            integrals[IN_USE] += in_use
            last_change_s = now
            outstanding += 1
            in_flight[s] += 1
            series[bin_of(now, world.series_bin_s)] += 1
            if counted:
                peak[s] = max(peak[s], open_connections[s])
                counts[REQUESTS] += 1
                counts[REQUEST_BYTES] += sent_bytes
            deadline = now + fetching.timeout_s
            arrival = deadline
            if not is_lost(world.request_loss, world.seed, Stream.FETCH_REQUEST_LOSS, entity, number):
                transit_s = sample(world.one_way, world.seed, Stream.FETCH_REQUEST_TRANSIT, entity, number)
                arrival = now + (setting_up_s + transit_s)
                heappush(heap, (arrival, _REQUEST_ARRIVAL, s, event, number, _NOTHING, now))
            if arrival >= deadline:
                heappush(heap, (deadline, _TIMEOUT, s, event, number, _NOTHING, 0.0))

    in_use = outstanding * overlap(
        last_change_s, world.window_end_s, world.window_start_s, world.window_end_s
    )
    integrals[IN_USE] += in_use
    counts[PEAK] = peak.sum()


@allocating
def take_in_each(
    world: World,
    rows: Rows,
    share: Share,
    fetched: NDArray[np.float64],
    order: NDArray[np.int64],
    first_attempt: NDArray[np.float64],
    attempts: NDArray[np.int32],
    status: NDArray[np.int8],
    counts: NDArray[np.int64],
    integrals: NDArray[np.float64],
) -> None:
    """Serve what each subscriber fetched; arrays of all subscribers."""
    for s in range(share.first, share.end):
        row, n = open_row(share, rows, s), rows.counts[s]
        row.first_attempt[:] = first_attempt[s, :n]
        row.attempts[:] = attempts[s, :n]
        row.status[:] = status[s, :n]
        take_in(
            world, s, fetched[s, :n], order[s, :n], row.visible, row.copies, row.via, row.status, counts,
            integrals,
        )  # fmt: skip
        close_row(share, s, row)


@allocating
def take_in(
    world: World,
    subscriber: int,
    fetched: NDArray[np.float64],
    order: NDArray[np.int64],
    visible: NDArray[np.float64],
    copies: NDArray[np.int32],
    via: NDArray[np.int8],
    status: NDArray[np.int8],
    counts: NDArray[np.int64],
    integrals: NDArray[np.float64],
) -> None:
    """Serve what a subscriber fetched; fills arrays of shape (n_events,). `integrals` are its receiver's."""
    receiver, starts = open_receiver(world, visible, copies, via, integrals, len(fetched))
    _serve_in_order(world, subscriber, fetched, order, receiver, starts, status, counts)


@jit
def _serve_in_order(
    world: World,
    subscriber: int,
    fetched: NDArray[np.float64],
    order: NDArray[np.int64],
    receiver: Receiver,
    starts: NDArray[np.float64],
    status: NDArray[np.int8],
    counts: NDArray[np.int64],
) -> None:
    for event in order:
        if event < 0:
            break
        now = fetched[event]
        waiting = waiting_now(starts, receiver.ring, now)
        start, _ = accept(world, receiver, starts, subscriber, event, now, _WEBHOOK)
        if in_window(world, now):
            counts[RECEIVER_QUEUE_MAX] = max(counts[RECEIVER_QUEUE_MAX], waiting + (start > now))
    for event in range(len(fetched)):
        if receiver.visible[event] < world.world_end_s:
            status[event] = _DELIVERED
        elif receiver.dropped[event] > 0:
            status[event] = _LOST
