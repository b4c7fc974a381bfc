"""The push family, compiled: what `sim.mechanisms.webhook` says, one subscriber after another.

Subscribers share nothing when events are pushed, so each is a world of its own.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sim.compiled import jit
from sim.distributions import sample
from sim.happenings import Happening
from sim.kernels import agenda
from sim.kernels.agenda import pack, unpack
from sim.kernels.borrowed import borrowed, hold
from sim.kernels.parameters import Push, World, borrowed_push, borrowed_world, in_window, setup_delay
from sim.kernels.servers import IN_USE, empty_queue, idle_servers, serve, waiting_now, with_room
from sim.policies import BLACK_HOLE, REFUSE, UP, bin_of, outage_at, overlap, retry_delay, slowdown_at
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

# What a sender hears, the code of a happening's key; a request that arrives after its sender left is LATE.
_NOTHING, _ACKNOWLEDGED, _REFUSED, _ERROR, _FULL, _LATE = range(6)

_ADDED_AT_MOST = 4  # happenings in one step: a back-off's end, and a request with its timeout


@jit
def _arrive(
    world: World,
    push: Push,
    subscriber: int,
    event: int,
    now: float,
    free: NDArray[np.float64],
    starts: NDArray[np.float64],
    ring: NDArray[np.int64],
    visible: NDArray[np.float64],
    copies: NDArray[np.int32],
    counts: NDArray[np.int64],
    integrals: NDArray[np.float64],
) -> tuple[int, float]:
    """The request reaches the receiver; returns what it answers and when that leaves."""
    door = outage_at(world.outages, subscriber, now)
    if door == BLACK_HOLE:
        return _NOTHING, now
    counted = in_window(world, now)
    if door != UP:
        counts[ERRORS] += counted
        return (_REFUSED if door == REFUSE else _ERROR), now
    waiting = waiting_now(starts, ring, now)
    if free[0] > now and waiting >= push.queue_limit:
        counts[REJECTED] += counted
        return _FULL, now
    entity = delivery_entity(subscriber, event)
    slowdown = slowdown_at(world.outages, subscriber, max(now, free[0]))
    service_s = slowdown * sample(world.receiver_service, world.seed, Stream.SERVICE, entity, copies[event])
    copies[event] += 1
    start, end = serve(
        free, starts, ring, now, service_s, world.window_start_s, world.window_end_s, integrals
    )
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
    series: NDArray[np.int64],
) -> None:
    """Push every event to one subscriber until the world ends; fills the arrays of shape (n_events,)."""
    n_events = len(created)
    free = idle_servers(world.receiver_workers)
    starts, ring = empty_queue()
    times, keys = np.empty(64, dtype=np.float64), np.empty(64, dtype=np.int64)
    deadline = np.empty(n_events, dtype=np.float64)
    waited_s = np.full(n_events, push.retry.base_s)
    gave_up = np.zeros(n_events, dtype=np.bool_)
    ready = np.empty(n_events, dtype=np.int64)
    _run(
        borrowed_world(world), borrowed_push(push), borrowed(created), subscriber,
        borrowed(first_attempt), borrowed(visible), borrowed(attempts), borrowed(copies), borrowed(status),
        borrowed(counts), borrowed(integrals), borrowed(series),
        borrowed(free), borrowed(starts), borrowed(ring), borrowed(times), borrowed(keys),
        borrowed(deadline), borrowed(waited_s), borrowed(gave_up),
        borrowed(ready),
    )  # fmt: skip
    hold(free, starts, ring, times, keys, deadline, waited_s, gave_up, ready)


@jit
def _run(
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
    series: NDArray[np.int64],
    free: NDArray[np.float64],
    starts: NDArray[np.float64],
    ring: NDArray[np.int64],
    times: NDArray[np.float64],
    keys: NDArray[np.int64],
    deadline: NDArray[np.float64],
    waited_s: NDArray[np.float64],
    gave_up: NDArray[np.bool_],
    ready: NDArray[np.int64],
) -> None:
    """The world of one subscriber. `ready` is a ring: an event is ready at most once at a time."""
    n_events = len(created)
    size = 0
    ready_first, ready_count = 0, 0
    in_flight, open_connections, last_change_s = 0, 0, 0.0
    next_event = 0

    while True:
        if size + _ADDED_AT_MOST > len(times):
            times, keys = agenda.grown(times, keys)
        if next_event < n_events and (
            size == 0
            or created[next_event] < times[0]
            or (created[next_event] == times[0] and pack(_ATTEMPT_READY, next_event, 1, _NOTHING) < keys[0])
        ):
            now, kind, event, attempt, heard = created[next_event], _ATTEMPT_READY, next_event, 1, _NOTHING
            next_event += 1
        elif size > 0 and times[0] < world.world_end_s:
            now = times[0]
            kind, event, attempt, heard = unpack(keys[0])
            size = agenda.drop_first(times, keys, size)
        else:
            break
        counted = in_window(world, now)

        if kind == _ATTEMPT_READY:
            ready[(ready_first + ready_count) % n_events] = event
            ready_count += 1

        elif kind == _REQUEST_ARRIVAL:
            late = heard == _LATE
            starts = with_room(starts, ring)
            heard, leaves = _arrive(
                world, push, subscriber, event, now, free, starts, ring, visible, copies, counts, integrals
            )
            if heard not in (_NOTHING, _REFUSED) and in_window(world, leaves):
                counts[RESPONSE_BYTES] += world.response_header_bytes
            if late:
                continue
            entity = delivery_entity(subscriber, event)
            back = leaves + sample(world.one_way, world.seed, Stream.RESPONSE_TRANSIT, entity, attempt)
            comes_back = uniform(world.seed, Stream.RESPONSE_LOSS, entity, attempt) >= world.response_loss
            if heard != _NOTHING and comes_back and back <= deadline[event]:
                size = agenda.add(times, keys, size, back, pack(_RESPONSE_ARRIVAL, event, attempt, heard))
            else:
                key = pack(_TIMEOUT, event, attempt, _NOTHING)
                size = agenda.add(times, keys, size, deadline[event], key)
            continue

        else:
            in_use = in_flight * overlap(last_change_s, now, world.window_start_s, world.window_end_s)
            integrals[IN_USE] += in_use
            last_change_s = now
            in_flight -= 1
            if kind == _TIMEOUT:
                counts[TIMEOUTS] += counted
            if kind == _TIMEOUT or heard == _REFUSED or not world.keep_alive:
                open_connections -= 1
            if heard != _ACKNOWLEDGED:
                gave_up[event] = True
                if attempt < push.retry.attempts_allowed:
                    u = uniform(world.seed, Stream.RETRY_JITTER, delivery_entity(subscriber, event), attempt)
                    waited_s[event] = retry_delay(push.retry, attempt, waited_s[event], u)
                    ready_s = now + max(waited_s[event], push.retry_after_s if heard == _FULL else 0.0)
                    if not ready_s - created[event] > push.retry.max_duration_s:
                        gave_up[event] = False
                        key = pack(_ATTEMPT_READY, event, attempt + 1, _NOTHING)
                        size = agenda.add(times, keys, size, ready_s, key)

        while ready_count > 0 and in_flight < push.max_in_flight:
            event = ready[ready_first]
            ready_first = (ready_first + 1) % n_events
            ready_count -= 1
            attempt = int(attempts[event]) + 1
            attempts[event] = attempt
            if attempt == 1:
                first_attempt[event] = now
            deadline[event] = now + push.timeout_s
            entity = delivery_entity(subscriber, event)
            setting_up_s, sent_bytes = 0.0, world.request_header_bytes + world.payload_bytes
            if in_flight == open_connections:
                open_connections += 1
                counts[OPENED] += counted
                setting_up_s = setup_delay(world, Stream.SETUP_TRANSIT, entity, attempt)
                sent_bytes += world.setup_bytes
            in_use = in_flight * overlap(last_change_s, now, world.window_start_s, world.window_end_s)
            integrals[IN_USE] += in_use
            last_change_s = now
            in_flight += 1
            series[bin_of(now, world.series_bin_s)] += 1
            if counted:
                counts[PEAK] = max(counts[PEAK], open_connections)
                counts[REQUESTS] += 1
                counts[REQUEST_BYTES] += sent_bytes
            arrival = deadline[event]
            if uniform(world.seed, Stream.REQUEST_LOSS, entity, attempt) >= world.request_loss:
                transit_s = sample(world.one_way, world.seed, Stream.REQUEST_TRANSIT, entity, attempt)
                arrival = now + (setting_up_s + transit_s)
                code = _LATE if arrival >= deadline[event] else _NOTHING
                size = agenda.add(times, keys, size, arrival, pack(_REQUEST_ARRIVAL, event, attempt, code))
            if arrival >= deadline[event]:
                key = pack(_TIMEOUT, event, attempt, _NOTHING)
                size = agenda.add(times, keys, size, deadline[event], key)

    in_use = in_flight * overlap(last_change_s, world.window_end_s, world.window_start_s, world.window_end_s)
    integrals[IN_USE] += in_use
    for event in range(n_events):
        if visible[event] < world.world_end_s:
            status[event] = _DELIVERED
        elif gave_up[event] and copies[event] == 0:
            status[event] = _LOST
    for key in keys[:size]:
        kind, event, _, _ = unpack(key)
        if kind == _REQUEST_ARRIVAL and status[event] == _LOST:
            status[event] = _PENDING
