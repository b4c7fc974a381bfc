"""The push family, compiled: what `sim.mechanisms.webhook` says, one subscriber after another.

Subscribers share nothing when events are pushed, so each is a world of its own. Where a subscriber polls as
well (`sim.mechanisms.webhook_reconciled`), its polls do not depend on its webhooks: they are computed
beforehand (`sim.kernels.pull`), and the pages they brought are a third sorted input here, beside the events
and the agenda. The notifications of thin webhooks (`sim.mechanisms.thin_webhook`) are webhooks to a receiver
that takes no time. Where these parts touch at one instant: `sim.kernels.turns`.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sim.compiled import allocating, jit
from sim.distributions import sample
from sim.happenings import Happening
from sim.kernels import agenda
from sim.kernels.agenda import pack, unpack
from sim.kernels.endpoint import ACKNOWLEDGED, ERROR, FULL, NOTHING, REFUSED, answer
from sim.kernels.parameters import Push, World, in_window, is_lost, setup_delay
from sim.kernels.receiver import Receiver, open_receiver, take_page
from sim.kernels.servers import IN_USE, waiting_at_most, with_room
from sim.kernels.turns import LetIn, Pages, end_of_page, next_page
from sim.policies import (
    NEVER,
    Standing,
    after_failure,
    after_success,
    bin_of,
    is_off,
    is_stale,
    new_standing,
    next_look,
    overlap,
    retry_delay,
)
from sim.randomness import Stream, delivery_entity, uniform
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
    QUEUE_MAX,
    UNSENT,
    DEAD_LETTERS,
    REDELIVERIES,
) = range(12)
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
    "unsent",
    "dead_letters",
    "redeliveries",
)

_RESPONSE_ARRIVAL = int(Happening.RESPONSE_ARRIVAL)
_TIMEOUT = int(Happening.TIMEOUT)
_ATTEMPT_READY = int(Happening.ATTEMPT_READY)
_REQUEST_ARRIVAL = int(Happening.REQUEST_ARRIVAL)
_DELIVERED, _LOST, _PENDING = int(Status.DELIVERED), int(Status.LOST), int(Status.PENDING)
_WEBHOOK, _POLL = int(Via.WEBHOOK), int(Via.POLL)

# The code of an answer's key is what the sender hears (`sim.kernels.endpoint`), that of a request's key
# whether its sender has left when it arrives, and whether its signature is refused.
_LATE, _STALE = 1, 2

_PLACES = 64  # of the agenda and the receiver's queue at first
_ADDED_AT_MOST = 4  # happenings in one step: a back-off's end, and a request with its timeout
_ALIVE = -1  # the redeliveries of an event that is no dead letter


@allocating
def push_to_subscriber(
    world: World,
    push: Push,
    created: NDArray[np.float64],
    subscriber: int,
    pages: Pages,
    let_in: LetIn,
    first_attempt: NDArray[np.float64],
    visible: NDArray[np.float64],
    attempts: NDArray[np.int32],
    copies: NDArray[np.int32],
    via: NDArray[np.int8],
    status: NDArray[np.int8],
    counts: NDArray[np.int64],
    integrals: NDArray[np.float64],
    series: NDArray[np.int64],
) -> None:
    """Push every event to one subscriber until the world ends; fills the arrays of shape (n_events,).

    Where the subscriber polls as well, `pages` says what that brought, and `status` at first which events
    it can no longer bring.
    """
    n_events = len(created)
    receiver, starts = open_receiver(world, visible, copies, via, integrals, _PLACES)
    times, keys = np.empty(_PLACES, dtype=np.float64), np.empty(_PLACES, dtype=np.int64)
    deadline = np.empty(n_events, dtype=np.float64)
    waited_s = np.full(n_events, push.retry.base_s)
    done = np.zeros(n_events, dtype=np.bool_)
    redelivered = np.full(n_events, _ALIVE, dtype=np.int16)
    ready = np.empty(n_events, dtype=np.int64)
    so_far = _Progress(False, 1, 0, 0, 0, 0, 0, 0.0, new_standing(), 0, next_page(pages, 0), 0, 0, -1.0)
    while True:
        so_far = _run(
            world, push, created, subscriber, pages, let_in, receiver, starts, first_attempt, attempts,
            status, counts, series, times, keys, deadline, waited_s, done, redelivered, ready, so_far,
        )  # fmt: skip
        if so_far.is_over:
            break
        times, keys = agenda.grown(times, keys, so_far.size + _ADDED_AT_MOST + so_far.ready_count)
        starts = with_room(starts, receiver.ring, so_far.joining)


@jit
def _tried_again_at(
    push: Push,
    event: int,
    created_s: float,
    now: float,
    counted: bool,
    redelivered: NDArray[np.int16],
    counts: NDArray[np.int64],
) -> float:
    """When an event whose retries are over is tried by hand; NEVER when it is given up for good."""
    if redelivered[event] == _ALIVE:
        redelivered[event] = 0
        counts[DEAD_LETTERS] += counted
    if redelivered[event] == push.redelivery.rounds:
        return NEVER
    look_s = next_look(push.redelivery, now)
    if look_s - created_s > push.redelivery.within_s:
        return NEVER
    redelivered[event] += 1
    return look_s


class _Progress(NamedTuple):
    """How far a subscriber's world has come: to its end, or to where something needs more room.

    That is the agenda, or the receiver's queue, which so many are about to be `joining`.
    """

    is_over: bool
    joining: int
    size: int
    ready_first: int
    ready_count: int
    in_flight: int
    open_connections: int
    last_change_s: float
    standing: Standing
    next_event: int
    next_fetched: int
    n_let_in: int
    turn: int
    turn_s: float


@jit
def _run(
    world: World,
    push: Push,
    created: NDArray[np.float64],
    subscriber: int,
    pages: Pages,
    let_in: LetIn,
    receiver: Receiver,
    starts: NDArray[np.float64],
    first_attempt: NDArray[np.float64],
    attempts: NDArray[np.int32],
    status: NDArray[np.int8],
    counts: NDArray[np.int64],
    series: NDArray[np.int64],
    times: NDArray[np.float64],
    keys: NDArray[np.int64],
    deadline: NDArray[np.float64],
    waited_s: NDArray[np.float64],
    done: NDArray[np.bool_],
    redelivered: NDArray[np.int16],
    ready: NDArray[np.int64],
    so_far: _Progress,
) -> _Progress:
    """The world of one subscriber, from where it has come to. An event is in the ring `ready` only once."""
    fetched = pages.fetched
    n_events, n_fetched = len(created), len(fetched)
    integrals = receiver.integrals
    (
        _, joining, size, ready_first, ready_count, in_flight, open_connections, last_change_s, standing,
        next_event, next_fetched, n_let_in, turn, turn_s,
    ) = so_far  # fmt: skip

    while True:
        if size + _ADDED_AT_MOST + ready_count > len(times) or waiting_at_most(receiver.ring) + joining > len(
            starts
        ):
            return _Progress(
                False, joining, size, ready_first, ready_count, in_flight, open_connections, last_change_s,
                standing, next_event, next_fetched, n_let_in, turn, turn_s,
            )  # fmt: skip
        now, key = world.world_end_s, 0
        from_agenda, from_page = False, False
        if size > 0 and times[0] < now:
            now, key, from_agenda = times[0], keys[0], True
        if next_event < n_events:
            created_key = pack(_ATTEMPT_READY, next_event, 1, NOTHING)
            if created[next_event] < now or (created[next_event] == now and created_key < key):
                now, key, from_agenda = created[next_event], created_key, False
        if next_fetched < n_fetched and (
            fetched[next_fetched] < now or (fetched[next_fetched] == now and pages.turn[next_fetched] < key)
        ):
            now, from_agenda, from_page = fetched[next_fetched], False, True
        if now >= world.world_end_s:
            break
        counted = in_window(world, now)

        if from_page:
            page_end = end_of_page(fetched, pages.opens_page, next_fetched)
            if waiting_at_most(receiver.ring) + (page_end - next_fetched) > len(starts):
                joining = page_end - next_fetched
                continue
            joining = 1
            longest = take_page(world, receiver, starts, subscriber, next_fetched, page_end, now, _POLL)
            if counted:
                counts[QUEUE_MAX] = max(counts[QUEUE_MAX], longest)
            next_fetched = next_page(pages, page_end)
            continue

        kind, event, attempt, code = unpack(key)
        if from_agenda:
            size = agenda.drop_first(times, keys, size)
        else:
            next_event += 1

        if kind == _ATTEMPT_READY:
            ready[(ready_first + ready_count) % n_events] = event
            ready_count += 1
            counts[REDELIVERIES] += counted and redelivered[event] > 0

        elif kind == _REQUEST_ARRIVAL:
            heard, leaves, waiting = answer(
                world, push, receiver, starts, subscriber, event, attempt, code & _STALE != 0, now
            )
            if counted:
                counts[ERRORS] += heard in (REFUSED, ERROR)
                counts[REJECTED] += heard == FULL
                counts[QUEUE_MAX] = max(counts[QUEUE_MAX], waiting)
            if len(let_in.event) > 0:
                turn = max(turn, event) if now == turn_s else event
                turn_s = now
                if heard == ACKNOWLEDGED and receiver.copies[event] == 1:
                    let_in.event[n_let_in], let_in.turn[n_let_in] = event, turn
                    n_let_in += 1
                    turn = 0
            if heard not in (NOTHING, REFUSED) and in_window(world, leaves):
                counts[RESPONSE_BYTES] += world.response_header_bytes
            if code & _LATE:
                continue
            entity = delivery_entity(subscriber, event)
            back = leaves + sample(world.one_way, world.seed, Stream.RESPONSE_TRANSIT, entity, attempt)
            comes_back = not is_lost(world.response_loss, world.seed, Stream.RESPONSE_LOSS, entity, attempt)
            if heard != NOTHING and comes_back and back <= deadline[event]:
                size = agenda.add(times, keys, size, back, pack(_RESPONSE_ARRIVAL, event, attempt, heard))
            else:
                key = pack(_TIMEOUT, event, attempt, NOTHING)
                size = agenda.add(times, keys, size, deadline[event], key)
            continue

        else:
            in_use = in_flight * overlap(last_change_s, now, world.window_start_s, world.window_end_s)
            integrals[IN_USE] += in_use
            last_change_s = now
            in_flight -= 1
            if kind == _TIMEOUT:
                counts[TIMEOUTS] += counted
            if kind == _TIMEOUT or code == REFUSED or not world.keep_alive:
                open_connections -= 1
            if code == ACKNOWLEDGED:
                standing = after_success(standing)
                done[event] = True
            else:
                standing = after_failure(push.disabling, standing, now)
                ready_s = NEVER
                if redelivered[event] == _ALIVE and attempt < push.retry.attempts_allowed:
                    u = uniform(world.seed, Stream.RETRY_JITTER, delivery_entity(subscriber, event), attempt)
                    waited_s[event] = retry_delay(push.retry, attempt, waited_s[event], u)
                    ready_s = now + max(waited_s[event], push.retry_after_s if code == FULL else 0.0)
                    if ready_s - created[event] > push.retry.max_duration_s:
                        ready_s = NEVER
                if ready_s == NEVER:
                    ready_s = _tried_again_at(push, event, created[event], now, counted, redelivered, counts)
                if ready_s < NEVER:
                    key = pack(_ATTEMPT_READY, event, attempt + 1, NOTHING)
                    size = agenda.add(times, keys, size, ready_s, key)
                else:
                    done[event] = True

        while ready_count > 0 and in_flight < push.max_in_flight:
            event = ready[ready_first]
            ready_first = (ready_first + 1) % n_events
            ready_count -= 1
            attempt = int(attempts[event]) + 1
            if is_off(standing, now):
                counts[UNSENT] += counted
                ready_s = _tried_again_at(push, event, created[event], now, counted, redelivered, counts)
                if ready_s < NEVER:
                    key = pack(_ATTEMPT_READY, event, attempt, NOTHING)
                    size = agenda.add(times, keys, size, ready_s, key)
                else:
                    done[event] = True
                continue
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
            if not is_lost(world.request_loss, world.seed, Stream.REQUEST_LOSS, entity, attempt):
                transit_s = sample(world.one_way, world.seed, Stream.REQUEST_TRANSIT, entity, attempt)
                arrival = now + (setting_up_s + transit_s)
                code = _LATE if arrival >= deadline[event] else 0
                if is_stale(now, arrival, push.clock_offset_s, push.signature_tolerance_s):
                    code |= _STALE
                size = agenda.add(times, keys, size, arrival, pack(_REQUEST_ARRIVAL, event, attempt, code))
            if arrival >= deadline[event]:
                key = pack(_TIMEOUT, event, attempt, NOTHING)
                size = agenda.add(times, keys, size, deadline[event], key)

    in_use = in_flight * overlap(last_change_s, world.window_end_s, world.window_start_s, world.window_end_s)
    integrals[IN_USE] += in_use
    for event in range(n_events):
        polls_are_past_it = n_fetched == 0 or status[event] == _LOST or not np.isnan(fetched[event])
        if receiver.visible[event] < world.world_end_s:
            status[event] = _DELIVERED
        else:
            gone = done[event] and receiver.copies[event] == receiver.dropped[event] and polls_are_past_it
            status[event] = _LOST if gone else _PENDING
            receiver.via[event] = _WEBHOOK
    for place in range(size):
        kind, event, _, _ = unpack(keys[place])
        if kind == _REQUEST_ARRIVAL and status[event] == _LOST:
            status[event] = _PENDING
    return _Progress(
        True, 0, size, ready_first, ready_count, in_flight, open_connections, last_change_s, standing,
        next_event, next_fetched, n_let_in, turn, turn_s,
    )  # fmt: skip
