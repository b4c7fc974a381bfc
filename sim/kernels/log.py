"""A broker's partitioned logs, compiled: what `sim.mechanisms.broker_pull` says, consumer after consumer.

Nothing one consumer does concerns another, and a consumer does one thing after the other: its life is one
loop, without a heap.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sim.compiled import allocating, jit
from sim.distributions import Distribution, sample
from sim.kernels.book import Share, close_row, open_row
from sim.kernels.feed import Rows
from sim.kernels.parameters import World, in_window, setup_delay
from sim.kernels.queue import in_order, publish
from sim.kernels.servers import BUSY, IN_USE, WAITING
from sim.policies import (
    Rebalances,
    answered_at,
    bin_of,
    carried_until,
    next_down,
    overlap,
    partition_of,
    put_off,
    rebalances_by,
    rejoined_at,
    slowdown_at,
)
from sim.randomness import Stream, delivery_entity, uniform
from sim.records import Status

(
    REQUESTS,
    EMPTY_RESPONSES,
    ERRORS,
    REQUEST_BYTES,
    RESPONSE_BYTES,
    OPENED,
    PEAK,
    DEAD_LETTERS,
    REDELIVERIES,
    QUEUE_MAX,
) = range(10)
COUNTER_NAMES = (
    "requests",
    "empty_responses",
    "errors",
    "request_bytes",
    "response_bytes",
    "connections_opened",
    "connections_peak",
    "dead_letters",
    "redeliveries",
    "receiver_queue_max",
)

_DELIVERED, _LOST = int(Status.DELIVERED), int(Status.LOST)


class Group(NamedTuple):
    """How the consumers of a group fetch and work, as numbers."""

    partitions: int
    consumers: int
    fetch_min: int
    fetch_max_wait_s: float
    max_records: int
    idle_s: float
    commit_interval_s: float
    max_deliveries: int
    error_probability: float
    record_bytes: int


@allocating
def consume_each(
    world: World,
    persist: Distribution,
    group: Group,
    rebalances: Rebalances,
    rows: Rows,
    share: Share,
    counts: NDArray[np.int64],
    integrals: NDArray[np.float64],
) -> None:
    """Publish every event and let each subscriber's consumers work it off."""
    published = 0
    first = np.empty(group.consumers + 1, dtype=np.int64)
    of_this = np.zeros_like(integrals)
    for s in range(share.first, share.end):
        row = open_row(share, rows, s)
        n = len(row.created)
        stored_s, log, gave_up = np.empty(n), np.empty(n, dtype=np.int64), np.zeros(n, dtype=np.bool_)
        published += publish(world, persist, row.created, s, stored_s, share.series)
        write_logs(world, group, s, in_order(stored_s), log, first)
        of_this[:] = 0.0
        for consumer in range(group.consumers):
            own = log[first[consumer] : first[consumer + 1]]
            consume_log(
                world, group, rebalances, s, consumer, own, stored_s[own], row.first_attempt, row.visible,
                row.attempts, row.copies, row.status, gave_up, counts, of_this, share.series,
            )  # fmt: skip
        integrals += of_this
        close_row(share, s, row)
    counts[REQUESTS] += published
    counts[REQUEST_BYTES] += published * (world.request_header_bytes + world.payload_bytes)


@allocating
def write_logs(
    world: World,
    group: Group,
    subscriber: int,
    order: NDArray[np.int64],
    log: NDArray[np.int64],
    first: NDArray[np.int64],
) -> None:
    """Split a subscriber's events, given in the order they are stored, into one log a consumer.

    Consumer c's is `log[first[c]:first[c + 1]]`: the merge of its partitions, those that are c modulo the
    number of consumers.
    """
    first[:] = 0
    consumer_of = np.empty(len(order), dtype=np.int64)
    for event in range(len(order)):
        consumer_of[event] = partition_of(group.partitions, world.seed, subscriber, event) % group.consumers
        first[consumer_of[event] + 1] += 1
    for consumer in range(group.consumers):
        first[consumer + 1] += first[consumer]
    written = first[:-1].copy()
    for event in order:
        consumer = consumer_of[event]
        log[written[consumer]] = event
        written[consumer] += 1


@jit
def consume_log(
    world: World,
    group: Group,
    rebalances: Rebalances,
    subscriber: int,
    consumer: int,
    log: NDArray[np.int64],
    stored_s: NDArray[np.float64],
    first_attempt: NDArray[np.float64],
    visible: NDArray[np.float64],
    attempts: NDArray[np.int32],
    copies: NDArray[np.int32],
    status: NDArray[np.int8],
    gave_up: NDArray[np.bool_],
    counts: NDArray[np.int64],
    integrals: NDArray[np.float64],
    series: NDArray[np.int64],
) -> None:
    """Let one consumer work its log off; `log` and `stored_s` are its records, the rest are by event.

    Its next fetch is due at `due_s`, and it will go down at `down_s`.
    """
    entity = delivery_entity(subscriber, consumer)
    position, committed, fetches, rebalances_seen = 0, 0, 0, 0
    due_s, done_s, committed_s = 0.0, 0.0, 0.0
    down_s = next_down(world.outages, subscriber, 0.0)
    is_connected, was_seen = False, False

    while min(down_s, due_s) < world.world_end_s:
        if down_s <= due_s:
            position = committed
            due_s = rejoined_at(world.outages, subscriber, down_s, rebalances.pause_s, done_s)
            down_s = next_down(world.outages, subscriber, due_s)
            committed_s = due_s
            rebalances_seen = rebalances_by(rebalances, subscriber, due_s)
            is_connected = False
            continue
        begun = rebalances_by(rebalances, subscriber, due_s)
        if begun > rebalances_seen:
            rebalances_seen = begun
            committed, committed_s = position, due_s
            _commit(world, due_s, counts, series)
        ready_s = put_off(rebalances, subscriber, due_s)
        if ready_s > due_s:
            due_s = ready_s
            continue

        sent_s = due_s
        if sent_s - committed_s >= group.commit_interval_s:
            committed, committed_s = position, sent_s
            _commit(world, sent_s, counts, series)
        counted = in_window(world, sent_s)
        counts[REQUESTS] += counted
        counts[REQUEST_BYTES] += counted * world.request_header_bytes
        series[bin_of(sent_s, world.series_bin_s)] += 1
        was_seen |= counted
        setting_up_s = 0.0
        if not is_connected:
            is_connected = True
            counts[OPENED] += counted
            counts[REQUEST_BYTES] += counted * world.setup_bytes
            setting_up_s = setup_delay(world, Stream.POLL_SETUP_TRANSIT, entity, fetches)
        there_s = sample(world.one_way, world.seed, Stream.POLL_REQUEST_TRANSIT, entity, fetches)
        arrival_s = sent_s + (setting_up_s + there_s)
        leaves_s = answered_at(stored_s, position, group.fetch_min, group.fetch_max_wait_s, arrival_s)
        back_s = leaves_s + sample(world.one_way, world.seed, Stream.POLL_RESPONSE_TRANSIT, entity, fetches)
        fetches += 1
        end = position
        if leaves_s < down_s and leaves_s < world.world_end_s:
            end = carried_until(stored_s, position, group.max_records, leaves_s)
            for place in range(position, end):
                event = log[place]
                counts[REDELIVERIES] += attempts[event] > 0 and in_window(world, leaves_s)
                attempts[event] += 1
                if not first_attempt[event] <= sent_s:
                    first_attempt[event] = sent_s
            if in_window(world, leaves_s):
                carried_bytes = (end - position) * (world.payload_bytes + group.record_bytes)
                counts[RESPONSE_BYTES] += world.response_header_bytes + carried_bytes
        integrals[IN_USE] += overlap(sent_s, min(back_s, down_s), world.window_start_s, world.window_end_s)
        due_s = done_s = back_s
        if down_s <= back_s:
            done_s = sent_s
            continue
        if back_s >= world.world_end_s:
            break

        if in_window(world, back_s):
            counts[EMPTY_RESPONSES] += end == position
            counts[QUEUE_MAX] = max(counts[QUEUE_MAX], end - position - 1)
        for place in range(position, end):
            done_s = _work_off(
                world, group, subscriber, log[place], back_s, done_s, visible, copies, gave_up, counts,
                integrals,
            )  # fmt: skip
        due_s = done_s if end > position else done_s + group.idle_s
        position = end

    counts[PEAK] += was_seen
    resumes_at = position
    if down_s < world.world_end_s:
        resumes_at = committed
    for place in range(len(log)):
        event = log[place]
        if visible[event] < world.world_end_s:
            status[event] = _DELIVERED
        elif gave_up[event] and place < resumes_at:
            status[event] = _LOST


@jit
def _commit(world: World, time_s: float, counts: NDArray[np.int64], series: NDArray[np.int64]) -> None:
    """Count a commit that is sent at a time; it takes none."""
    counted = in_window(world, time_s)
    counts[REQUESTS] += counted
    counts[REQUEST_BYTES] += counted * world.request_header_bytes
    series[bin_of(time_s, world.series_bin_s)] += 1


@jit
def _work_off(
    world: World,
    group: Group,
    subscriber: int,
    event: int,
    accepted_s: float,
    start_s: float,
    visible: NDArray[np.float64],
    copies: NDArray[np.int32],
    gave_up: NDArray[np.bool_],
    counts: NDArray[np.int64],
    integrals: NDArray[np.float64],
) -> float:
    """Work on one record from `start_s` on until it succeeds or is given up; returns when that is."""
    entity = delivery_entity(subscriber, event)
    integrals[WAITING] += overlap(accepted_s, start_s, world.window_start_s, world.window_end_s)
    gave_up[event] = False
    tries = 0
    if not start_s < world.world_end_s:
        copies[event] += 1
    while start_s < world.world_end_s:
        copy = copies[event]
        copies[event] += 1
        tries += 1
        slowdown = slowdown_at(world.outages, subscriber, start_s)
        takes_s = sample(world.receiver_service, world.seed, Stream.SERVICE, entity, copy)
        end_s = start_s + slowdown * takes_s
        integrals[BUSY] += overlap(start_s, end_s, world.window_start_s, world.window_end_s)
        start_s = end_s
        if end_s >= world.world_end_s:
            break
        fails = False
        if group.error_probability > 0.0:
            u = uniform(world.seed, Stream.RECEIVER_ERROR, entity, copy)
            fails = u < group.error_probability
        if not fails:
            if np.isnan(visible[event]):
                visible[event] = end_s
            break
        counts[ERRORS] += in_window(world, end_s)
        if tries == group.max_deliveries:
            counts[DEAD_LETTERS] += in_window(world, end_s)
            gave_up[event] = True
            break
    return start_s
