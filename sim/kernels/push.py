"""The push family, compiled: what `sim.mechanisms.webhook` says, one subscriber after another.

Subscribers share nothing when events are pushed, so each is a world of its own.
"""

from __future__ import annotations

from heapq import heappop, heappush

import numpy as np
from numpy.typing import NDArray

from sim.compiled import jit
from sim.distributions import sample
from sim.happenings import Happening
from sim.kernels.parameters import Push, World, in_window
from sim.kernels.servers import idle_servers, no_jobs, serve, waiting_now
from sim.policies import BLACK_HOLE, REFUSE, UP, outage_at, retry_delay
from sim.randomness import Stream, delivery_entity, uniform
from sim.records import Status

REQUESTS, REJECTED, ERRORS, TIMEOUTS, REQUEST_BYTES, RESPONSE_BYTES, OPENED, PEAK, QUEUE_MAX = range(9)
COUNTER_NAMES = (
    "requests",
    "rejected",
    "errors",
    "timeouts",
    "request_bytes",
    "response_bytes",
    "connections_opened",
    "connections_peak",
    "receiver_queue_max",
)

_RESPONSE_ARRIVAL = int(Happening.RESPONSE_ARRIVAL)
_TIMEOUT = int(Happening.TIMEOUT)
_ATTEMPT_READY = int(Happening.ATTEMPT_READY)
_REQUEST_ARRIVAL = int(Happening.REQUEST_ARRIVAL)
_DELIVERED, _LOST, _PENDING = int(Status.DELIVERED), int(Status.LOST), int(Status.PENDING)

# What a sender hears, in the last place of a happening; a request that arrives after its sender left is LATE.
_NOTHING, _ACKNOWLEDGED, _REFUSED, _ERROR, _FULL, _LATE = range(6)

_Happening = tuple[float, int, int, int, int]  # time, kind, event, attempt, what is heard


@jit
def _send(
    world: World,
    push: Push,
    subscriber: int,
    event: int,
    attempt: int,
    now: float,
    heap: list[_Happening],
) -> None:
    """Schedule the request's arrival, and the timeout if nothing can be heard before it."""
    entity = delivery_entity(subscriber, event)
    deadline = now + push.timeout_s
    heard = _NOTHING
    arrives = uniform(world.seed, Stream.REQUEST_LOSS, entity, attempt) >= world.request_loss
    if arrives:
        arrival = now + sample(world.one_way, world.seed, Stream.REQUEST_TRANSIT, entity, attempt)
        heard = _LATE if arrival >= deadline else _NOTHING
        heappush(heap, (arrival, _REQUEST_ARRIVAL, event, attempt, heard))
    if not arrives or heard == _LATE:
        heappush(heap, (deadline, _TIMEOUT, event, attempt, _NOTHING))


@jit
def _arrive(
    world: World,
    push: Push,
    subscriber: int,
    event: int,
    now: float,
    free: NDArray[np.float64],
    starts: list[float],
    visible: NDArray[np.float64],
    copies: NDArray[np.int32],
    counts: NDArray[np.int64],
    integrals: NDArray[np.float64],
) -> tuple[int, float]:
    """The request reaches the receiver; returns what it answers and when that leaves."""
    door = outage_at(world.outages, now)
    if door == BLACK_HOLE:
        return _NOTHING, now
    counted = in_window(world, now)
    if door != UP:
        counts[ERRORS] += counted
        return (_REFUSED if door == REFUSE else _ERROR), now
    waiting = waiting_now(starts, now)
    if free[0] > now and waiting >= push.queue_limit:
        counts[REJECTED] += counted
        return _FULL, now
    entity = delivery_entity(subscriber, event)
    service_s = sample(world.receiver_service, world.seed, Stream.SERVICE, entity, copies[event])
    copies[event] += 1
    start, end = serve(free, starts, now, service_s, world.window_start_s, world.window_end_s, integrals)
    if counted:
        counts[QUEUE_MAX] = max(counts[QUEUE_MAX], waiting + (start > now))
    if end < world.world_end_s and not visible[event] <= end:
        visible[event] = end
    return _ACKNOWLEDGED, (now if push.on_receipt else end)


@jit
def push_to_subscriber(
    world: World,
    push: Push,
    created: NDArray[np.float64],
    subscriber: int,
    first_attempt: NDArray[np.float64],
    visible: NDArray[np.float64],
    attempts: NDArray[np.int32],
    copies: NDArray[np.int32],
    status: NDArray[np.int8],
    counts: NDArray[np.int64],
    integrals: NDArray[np.float64],
) -> None:
    """Push every event to one subscriber until the world ends; fills the arrays of shape (n_events,)."""
    n_events = len(created)
    heap = [(0.0, 0, 0, 0, 0) for _ in range(0)]
    free = idle_servers(world.receiver_workers)
    starts = no_jobs()
    deadline = np.empty(n_events, dtype=np.float64)
    waited_s = np.full(n_events, push.retry.base_s)
    gave_up = np.zeros(n_events, dtype=np.bool_)
    ready = np.empty(n_events, dtype=np.int64)  # a ring: an event is ready at most once at a time
    ready_first, ready_count = 0, 0
    in_flight, open_connections = 0, 0
    next_event = 0

    while True:
        if next_event < n_events and (
            len(heap) == 0 or (created[next_event], _ATTEMPT_READY, next_event, 1, 0) < heap[0]
        ):
            now, kind, event, attempt, heard = created[next_event], _ATTEMPT_READY, next_event, 1, 0
            next_event += 1
        elif len(heap) > 0 and heap[0][0] < world.world_end_s:
            now, kind, event, attempt, heard = heappop(heap)
        else:
            break
        counted = in_window(world, now)

        if kind == _ATTEMPT_READY:
            ready[(ready_first + ready_count) % n_events] = event
            ready_count += 1

        elif kind == _REQUEST_ARRIVAL:
            late = heard == _LATE
            heard, leaves = _arrive(
                world, push, subscriber, event, now, free, starts, visible, copies, counts, integrals
            )
            if heard not in (_NOTHING, _REFUSED) and in_window(world, leaves):
                counts[RESPONSE_BYTES] += world.response_header_bytes
            if late:
                continue
            entity = delivery_entity(subscriber, event)
            back = leaves + sample(world.one_way, world.seed, Stream.RESPONSE_TRANSIT, entity, attempt)
            comes_back = uniform(world.seed, Stream.RESPONSE_LOSS, entity, attempt) >= world.response_loss
            if heard != _NOTHING and comes_back and back <= deadline[event]:
                heappush(heap, (back, _RESPONSE_ARRIVAL, event, attempt, heard))
            else:
                heappush(heap, (deadline[event], _TIMEOUT, event, attempt, _NOTHING))
            continue

        else:
            in_flight -= 1
            if kind == _TIMEOUT:
                counts[TIMEOUTS] += counted
            if kind == _TIMEOUT or heard == _REFUSED:
                open_connections -= 1
            if heard != _ACKNOWLEDGED:
                gave_up[event] = True
                if attempt < push.retry.attempts_allowed:
                    u = uniform(world.seed, Stream.RETRY_JITTER, delivery_entity(subscriber, event), attempt)
                    waited_s[event] = retry_delay(push.retry, attempt, waited_s[event], u)
                    ready_s = now + max(waited_s[event], push.retry_after_s if heard == _FULL else 0.0)
                    if not ready_s - created[event] > push.retry.max_duration_s:
                        gave_up[event] = False
                        heappush(heap, (ready_s, _ATTEMPT_READY, event, attempt + 1, _NOTHING))

        while ready_count > 0 and in_flight < push.max_in_flight:
            event = ready[ready_first]
            ready_first = (ready_first + 1) % n_events
            ready_count -= 1
            attempt = int(attempts[event]) + 1
            attempts[event] = attempt
            if attempt == 1:
                first_attempt[event] = now
            deadline[event] = now + push.timeout_s
            if in_flight == open_connections:
                open_connections += 1
                counts[OPENED] += counted
            in_flight += 1
            if counted:
                counts[PEAK] = max(counts[PEAK], open_connections)
                counts[REQUESTS] += 1
                counts[REQUEST_BYTES] += world.request_header_bytes + world.payload_bytes
            _send(world, push, subscriber, event, attempt, now, heap)

    for event in range(n_events):
        if visible[event] < world.world_end_s:
            status[event] = _DELIVERED
        elif gave_up[event] and copies[event] == 0:
            status[event] = _LOST
    for _, kind, event, _, _ in heap:
        if kind == _REQUEST_ARRIVAL and status[event] == _LOST:
            status[event] = _PENDING
