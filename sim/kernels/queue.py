"""A broker's queues, compiled: what `sim.mechanisms.broker_push` says, one subscriber after another.

Hardly anything needs a heap here. A connection is two pipes in which nothing overtakes, so what comes next
out of either is what went in first; messages are stored in an order known beforehand; a connection has one
next happening. Only the services under way lie on a heap, at most one a worker, and the messages put
back, which are few. The next happening is the soonest of these, the kinds asked in their order.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sim.compiled import allocating, jit
from sim.distributions import Distribution, sample
from sim.happenings import Happening
from sim.kernels import agenda
from sim.kernels.agenda import pack, unpack
from sim.kernels.book import Share, close_row, open_row
from sim.kernels.feed import Rows
from sim.kernels.fifo import empty_fifo, roomier
from sim.kernels.parameters import World, in_window, setup_delay
from sim.kernels.servers import BUSY, IN_USE, WAITING
from sim.policies import (
    NEVER,
    Link,
    bin_of,
    broker_notices,
    client_notices,
    connection_ends,
    connects_at,
    heartbeats_within,
    next_down,
    overlap,
    slowdown_at,
    stored_at,
)
from sim.randomness import Stream, delivery_entity, uniform
from sim.records import Status

(
    REQUESTS,
    ERRORS,
    REQUEST_BYTES,
    RESPONSE_BYTES,
    OPENED,
    PEAK,
    DEAD_LETTERS,
    REDELIVERIES,
    QUEUE_MAX,
) = range(9)
COUNTER_NAMES = (
    "requests",
    "errors",
    "request_bytes",
    "response_bytes",
    "connections_opened",
    "connections_peak",
    "dead_letters",
    "redeliveries",
    "receiver_queue_max",
)

_LOST, _SERVICE_END, _ACK_ARRIVAL, _NOTICED, _STORED, _ARRIVAL, _UP = (
    int(Happening.CONNECTION_LOST),
    int(Happening.SERVICE_END),
    int(Happening.RESPONSE_ARRIVAL),
    int(Happening.TIMEOUT),
    int(Happening.ATTEMPT_READY),
    int(Happening.REQUEST_ARRIVAL),
    int(Happening.TICK),
)
_STATUS_DELIVERED, _STATUS_LOST, _STATUS_PENDING = (
    int(Status.DELIVERED),
    int(Status.LOST),
    int(Status.PENDING),
)
_ACKNOWLEDGED, _FAILED = 0, 1  # what an answer says: the code of its key
_NOWHERE = -1


class Broker(NamedTuple):
    """What the broker does, as numbers."""

    prefetch: int
    automatic: bool
    max_deliveries: int
    error_probability: float
    frame_bytes: int
    heartbeat_bytes: int


@jit
def publish(
    world: World,
    persist: Distribution,
    created: NDArray[np.float64],
    subscriber: int,
    stored_s: NDArray[np.float64],
    series: NDArray[np.int64],
) -> int:
    """Fill in when each event is stored for a subscriber; returns how many are published in the window."""
    counted = 0
    for event in range(len(created)):
        created_s = created[event]
        counted += in_window(world, created_s)
        series[bin_of(created_s, world.series_bin_s)] += 1
        stored_s[event] = stored_at(world.one_way, persist, world.seed, subscriber, event, created_s)
    return counted


@allocating
def consume_each(
    world: World,
    persist: Distribution,
    link: Link,
    broker: Broker,
    rows: Rows,
    share: Share,
    counts: NDArray[np.int64],
    integrals: NDArray[np.float64],
) -> None:
    """Publish every event and bring it to each subscriber's consumer."""
    published = 0
    own, of_this = np.zeros_like(counts), np.zeros_like(integrals)
    for s in range(share.first, share.end):
        row = open_row(share, rows, s)
        stored_s = np.empty(len(row.created))
        published += publish(world, persist, row.created, s, stored_s, share.series)
        own[:] = 0
        of_this[:] = 0.0
        consume_queue(
            world, link, broker, s, stored_s, in_order(stored_s), row.first_attempt, row.visible,
            row.attempts, row.copies, row.status, own, of_this,
        )  # fmt: skip
        longest = max(counts[QUEUE_MAX], own[QUEUE_MAX])
        counts += own
        counts[QUEUE_MAX] = longest
        integrals += of_this
        close_row(share, s, row)
    counts[REQUESTS] = published
    counts[REQUEST_BYTES] += published * (world.request_header_bytes + world.payload_bytes)


@allocating
def in_order(stored_s: NDArray[np.float64]) -> NDArray[np.int64]:
    """The events in the order in which they are stored, ties by event."""
    for event in range(1, len(stored_s)):
        if stored_s[event] < stored_s[event - 1]:
            return np.argsort(stored_s, kind="mergesort")
    return np.arange(len(stored_s))


@allocating
def consume_queue(
    world: World,
    link: Link,
    broker: Broker,
    subscriber: int,
    stored_s: NDArray[np.float64],
    order: NDArray[np.int64],
    first_attempt: NDArray[np.float64],
    visible: NDArray[np.float64],
    attempts: NDArray[np.int32],
    copies: NDArray[np.int32],
    status: NDArray[np.int8],
    counts: NDArray[np.int64],
    integrals: NDArray[np.float64],
) -> None:
    """Bring every message of one queue to its consumer; fills arrays of shape (n_events,).

    `order` are the events in the order in which they are stored, ties by event.
    """
    n_events = len(order)
    gone = np.zeros(n_events, dtype=np.bool_)
    out = np.empty(min(broker.prefetch, n_events), dtype=np.int64)
    place_in_out = np.full(n_events, _NOWHERE, dtype=np.int64)
    ends_s, ends = (
        np.empty(world.receiver_workers, dtype=np.float64),
        np.empty(world.receiver_workers, dtype=np.int64),
    )
    put_back_s, put_back = empty_fifo()
    message_s, messages = empty_fifo()
    answer_s, answers = empty_fifo()
    work_s, waiting = empty_fifo()
    session, up_s = _connect(world, link, subscriber, 0, 0, 0.0, counts)
    so_far = _Progress(
        False, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, session, False, False, False, 0.0, 0.0, 0.0, 0.0, NEVER,
        NEVER, NEVER, up_s, 0.0,
    )  # fmt: skip
    while True:
        so_far = _run(
            world, link, broker, subscriber, stored_s, order, first_attempt, visible, attempts, copies,
            status, counts, integrals, gone, out, place_in_out, ends_s, ends, put_back_s, put_back,
            message_s, messages, answer_s, answers, work_s, waiting, so_far,
        )  # fmt: skip
        if so_far.is_over:
            break
        put_back_s, put_back = agenda.grown(put_back_s, put_back, so_far.n_put_back + so_far.n_out + 1)
        if so_far.message_tail - so_far.message_head == len(messages):
            message_s, messages = roomier(message_s, messages, so_far.message_head, so_far.message_tail)
        if so_far.answer_tail - so_far.answer_head == len(answers):
            answer_s, answers = roomier(answer_s, answers, so_far.answer_head, so_far.answer_tail)
        if so_far.waiting_tail - so_far.waiting_head == len(waiting):
            work_s, waiting = roomier(work_s, waiting, so_far.waiting_head, so_far.waiting_tail)


@jit
def _connect(
    world: World,
    link: Link,
    subscriber: int,
    session: int,
    failures: int,
    noticed_s: float,
    counts: NDArray[np.int64],
) -> tuple[int, float]:
    """Set up connections until one comes about; returns its number and when it is up, NEVER if none is."""
    while True:
        begins_s = connects_at(link, world.outages, world.seed, subscriber, session, failures, noticed_s)
        if begins_s >= world.world_end_s:
            return session, NEVER
        if in_window(world, begins_s):
            counts[OPENED] += 1
            counts[REQUEST_BYTES] += world.setup_bytes
        up_s = begins_s + setup_delay(world, Stream.POLL_SETUP_TRANSIT, subscriber, session)
        down_s = next_down(world.outages, subscriber, begins_s)
        if up_s < down_s:
            return session, up_s
        noticed_s = down_s
        failures += 1
        session += 1


@jit
def _account(
    world: World,
    link: Link,
    broker: Broker,
    up_s: float,
    ended_s: float,
    counts: NDArray[np.int64],
    integrals: NDArray[np.float64],
) -> None:
    """Count a connection that was up over [`up_s`, `ended_s`): its time, its heartbeats, that it was seen."""
    up_for_s = overlap(up_s, ended_s, world.window_start_s, world.window_end_s)
    integrals[IN_USE] += up_for_s
    if up_for_s > 0.0:
        counts[PEAK] = 1
    heartbeats = heartbeats_within(link, up_s, ended_s, world.window_start_s, world.window_end_s)
    counts[REQUEST_BYTES] += heartbeats * broker.heartbeat_bytes
    counts[RESPONSE_BYTES] += heartbeats * broker.heartbeat_bytes


class _Progress(NamedTuple):
    """How far a subscriber's world has come: to its end, or to where a queue needs more room."""

    is_over: bool
    n_stored: int
    n_sent: int
    n_out: int
    n_put_back: int
    n_busy: int
    message_head: int
    message_tail: int
    answer_head: int
    answer_tail: int
    waiting_head: int
    waiting_tail: int
    session: int
    is_up: bool
    is_thought_up: bool
    counted: bool
    message_last_s: float
    answer_last_s: float
    waiting_since_s: float
    opened_s: float
    lost_s: float
    noticed_s: float
    client_noticed_s: float
    up_s: float
    now: float


@jit
def _run(
    world: World,
    link: Link,
    broker: Broker,
    subscriber: int,
    stored_s: NDArray[np.float64],
    order: NDArray[np.int64],
    first_attempt: NDArray[np.float64],
    visible: NDArray[np.float64],
    attempts: NDArray[np.int32],
    copies: NDArray[np.int32],
    status: NDArray[np.int8],
    counts: NDArray[np.int64],
    integrals: NDArray[np.float64],
    gone: NDArray[np.bool_],
    out: NDArray[np.int64],
    place_in_out: NDArray[np.int64],
    ends_s: NDArray[np.float64],
    ends: NDArray[np.int64],
    put_back_s: NDArray[np.float64],
    put_back: NDArray[np.int64],
    message_s: NDArray[np.float64],
    messages: NDArray[np.int64],
    answer_s: NDArray[np.float64],
    answers: NDArray[np.int64],
    work_s: NDArray[np.float64],
    waiting: NDArray[np.int64],
    so_far: _Progress,
) -> _Progress:
    """The world of one subscriber, from where it has come to.

    `out[:n_out]` are the unacknowledged messages and `place_in_out` where in it each lies; `put_back` is a
    heap, the queue's head; `messages` and `answers` are under way and `waiting` are accepted, all three
    first in, first out. A message's key holds its event and its delivery number.
    """
    n_events = len(order)
    message_mask, answer_mask, waiting_mask = len(messages) - 1, len(answers) - 1, len(waiting) - 1
    (
        _,
        n_stored, n_sent, n_out, n_put_back, n_busy, message_head, message_tail, answer_head,
        answer_tail, waiting_head, waiting_tail, session, is_up, is_thought_up, counted, message_last_s,
        answer_last_s, waiting_since_s, opened_s, lost_s, noticed_s, client_noticed_s, up_s, now,
    ) = so_far  # fmt: skip

    while True:
        while (
            is_thought_up
            and n_out < len(out)
            and (n_put_back > 0 or n_sent < n_stored)
            and message_tail - message_head <= message_mask
        ):
            if n_put_back > 0:
                event = put_back[0]
                n_put_back = agenda.drop_first(put_back_s, put_back, n_put_back)
            else:
                event = order[n_sent]
                n_sent += 1
            attempts[event] += 1
            number = int(attempts[event])
            if number == 1:
                first_attempt[event] = now
            else:
                counts[REDELIVERIES] += counted
            counts[RESPONSE_BYTES] += counted * (world.payload_bytes + broker.frame_bytes)
            if broker.automatic:
                gone[event] = True
            else:
                place_in_out[event] = n_out
                out[n_out] = event
                n_out += 1
            if is_up:
                entity = delivery_entity(subscriber, event)
                transit_s = sample(world.one_way, world.seed, Stream.MESSAGE_TRANSIT, entity, number)
                message_last_s = max(message_last_s, now + transit_s)
                place = message_tail & message_mask
                message_s[place] = message_last_s
                messages[place] = pack(_SERVICE_END, event, number, _ACKNOWLEDGED)
                message_tail += 1
        if (
            message_tail - message_head > message_mask
            or answer_tail - answer_head > answer_mask
            or waiting_tail - waiting_head > waiting_mask
            or n_put_back + n_out + 1 > len(put_back)
        ):
            return _Progress(
                False,
                n_stored, n_sent, n_out, n_put_back, n_busy, message_head, message_tail, answer_head,
                answer_tail, waiting_head, waiting_tail, session, is_up, is_thought_up, counted,
                message_last_s, answer_last_s, waiting_since_s, opened_s, lost_s, noticed_s,
                client_noticed_s, up_s, now,
            )  # fmt: skip

        now, kind = lost_s, _LOST
        if n_busy > 0 and ends_s[0] < now:
            now, kind = ends_s[0], _SERVICE_END
        if answer_head < answer_tail and answer_s[answer_head & answer_mask] < now:
            now, kind = answer_s[answer_head & answer_mask], _ACK_ARRIVAL
        if noticed_s < now:
            now, kind = noticed_s, _NOTICED
        if n_stored < n_events and stored_s[order[n_stored]] < now:
            now, kind = stored_s[order[n_stored]], _STORED
        if message_head < message_tail and message_s[message_head & message_mask] < now:
            now, kind = message_s[message_head & message_mask], _ARRIVAL
        if up_s < now:
            now, kind = up_s, _UP
        if not now < world.world_end_s:
            break
        counted = in_window(world, now)
        starts = False
        key, takes_s = 0, 0.0

        if kind == _STORED:
            n_stored += 1

        elif kind == _ARRIVAL:
            place = message_head & message_mask
            message_head += 1
            key = messages[place]
            _, event, _, _ = unpack(key)
            entity = delivery_entity(subscriber, event)
            takes_s = sample(world.receiver_service, world.seed, Stream.SERVICE, entity, copies[event])
            copies[event] += 1
            starts = n_busy < world.receiver_workers
            if not starts:
                in_queue = waiting_tail - waiting_head
                integrals[WAITING] += in_queue * overlap(
                    waiting_since_s, now, world.window_start_s, world.window_end_s
                )
                waiting_since_s = now
                place = waiting_tail & waiting_mask
                work_s[place], waiting[place] = takes_s, key
                waiting_tail += 1
                if counted:
                    counts[QUEUE_MAX] = max(counts[QUEUE_MAX], in_queue + 1)

        elif kind == _SERVICE_END:
            _, event, number, _ = unpack(ends[0])
            n_busy = agenda.drop_first(ends_s, ends, n_busy)
            if waiting_head < waiting_tail:
                integrals[WAITING] += (waiting_tail - waiting_head) * overlap(
                    waiting_since_s, now, world.window_start_s, world.window_end_s
                )
                waiting_since_s = now
                place = waiting_head & waiting_mask
                takes_s, key = work_s[place], waiting[place]
                waiting_head += 1
                starts = True
            entity = delivery_entity(subscriber, event)
            code = _ACKNOWLEDGED
            if broker.error_probability > 0.0:
                u = uniform(world.seed, Stream.RECEIVER_ERROR, entity, number)
                code = _FAILED if u < broker.error_probability else _ACKNOWLEDGED
            if code == _FAILED:
                counts[ERRORS] += counted
            elif np.isnan(visible[event]):
                visible[event] = now
            if is_up and place_in_out[event] != _NOWHERE and attempts[event] == number:
                counts[REQUEST_BYTES] += counted * broker.frame_bytes
                transit_s = sample(world.one_way, world.seed, Stream.ACK_TRANSIT, entity, number)
                answer_last_s = max(answer_last_s, now + transit_s)
                place = answer_tail & answer_mask
                answer_s[place] = answer_last_s
                answers[place] = pack(_SERVICE_END, event, number, code)
                answer_tail += 1

        elif kind == _ACK_ARRIVAL:
            _, event, _, code = unpack(answers[answer_head & answer_mask])
            answer_head += 1
            n_out -= 1
            place = place_in_out[event]
            out[place] = out[n_out]
            place_in_out[out[place]] = place
            place_in_out[event] = _NOWHERE
            if code == _FAILED and attempts[event] >= broker.max_deliveries:
                counts[DEAD_LETTERS] += counted
                gone[event] = True
            elif code == _FAILED:
                n_put_back = agenda.add(put_back_s, put_back, n_put_back, stored_s[event], event)

        elif kind == _UP:
            opened_s, up_s = now, NEVER
            is_up, is_thought_up = True, True
            message_last_s, answer_last_s = now, now
            lost_s = connection_ends(link, world.outages, world.seed, subscriber, session, now)

        else:
            if kind == _LOST:
                _account(world, link, broker, opened_s, now, counts, integrals)
                is_up, lost_s = False, NEVER
                message_head, answer_head = message_tail, answer_tail
                noticed_s = broker_notices(link, opened_s, now)
                client_noticed_s = client_notices(link, world.seed, subscriber, session, opened_s, now)
            if kind == _NOTICED or not link.silent:
                noticed_s, is_thought_up = NEVER, False
                for place in range(n_out):
                    event = out[place]
                    place_in_out[event] = _NOWHERE
                    if attempts[event] >= broker.max_deliveries:
                        counts[DEAD_LETTERS] += counted
                        gone[event] = True
                        continue
                    n_put_back = agenda.add(put_back_s, put_back, n_put_back, stored_s[event], event)
                n_out = 0
                session, up_s = _connect(world, link, subscriber, session + 1, 1, client_noticed_s, counts)

        if starts:
            end = now + slowdown_at(world.outages, subscriber, now) * takes_s
            integrals[BUSY] += overlap(now, end, world.window_start_s, world.window_end_s)
            n_busy = agenda.add(ends_s, ends, n_busy, end, key)

    if is_up:
        _account(world, link, broker, opened_s, world.world_end_s, counts, integrals)
    integrals[WAITING] += (waiting_tail - waiting_head) * overlap(
        waiting_since_s, world.window_end_s, world.window_start_s, world.window_end_s
    )
    for event in range(n_events):
        if visible[event] < world.world_end_s:
            status[event] = _STATUS_DELIVERED
        elif gone[event]:
            status[event] = _STATUS_LOST
    for count in range(message_head, message_tail):
        _still_alive(status, messages[count & message_mask])
    for count in range(waiting_head, waiting_tail):
        _still_alive(status, waiting[count & waiting_mask])
    for count in range(n_busy):
        _still_alive(status, ends[count])
    return _Progress(
        True,
        n_stored, n_sent, n_out, n_put_back, n_busy, message_head, message_tail, answer_head,
        answer_tail, waiting_head, waiting_tail, session, is_up, is_thought_up, counted, message_last_s,
        answer_last_s, waiting_since_s, opened_s, lost_s, noticed_s, client_noticed_s, up_s, now,
    )  # fmt: skip


@jit
def _still_alive(status: NDArray[np.int8], key: int) -> None:
    """A copy that is on its way or at the receiver may yet become visible."""
    _, event, _, _ = unpack(key)
    if status[event] == _STATUS_LOST:
        status[event] = _STATUS_PENDING
