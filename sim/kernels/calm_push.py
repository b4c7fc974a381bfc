"""Webhooks that nothing disturbs, compiled: acknowledged on receipt, by a network that always takes as long.

Requests then arrive in the order in which events happen, and answers come back in it: who is in flight and
who waits are stretches of one list, so a delivery is a few additions, and the workers' heap. Draws, sums and
records are those of `sim.kernels.push`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sim.compiled import allocating, jit
from sim.distributions import is_constant, sample
from sim.kernels.book import Row
from sim.kernels.parameters import Push, World
from sim.kernels.push import COUNTER_NAMES, OPENED, PEAK, QUEUE_MAX, REQUEST_BYTES, REQUESTS, RESPONSE_BYTES
from sim.kernels.servers import BUSY, IN_USE, INTEGRALS, WAITING, idle_servers, replace_earliest
from sim.policies import NEVER, bin_of, overlap
from sim.randomness import Stream, delivery_entity
from sim.records import Status

_DELIVERED = int(Status.DELIVERED)


@jit
def may_be_calm(world: World, push: Push) -> bool:
    """Whether only a full queue, a timeout or too many in flight could disturb the webhooks."""
    nothing_fails = (
        world.request_loss == 0.0
        and world.response_loss == 0.0
        and push.error_probability == 0.0
        and push.signature_tolerance_s == NEVER
        and len(world.outages.start_s) == 0
    )
    in_order = is_constant(world.one_way) and (world.setup_round_trips == 0 or world.one_way.a == 0.0)
    return nothing_fails and in_order and world.keep_alive and push.on_receipt and not world.preempt


@allocating
def push_calmly(
    world: World,
    push: Push,
    subscriber: int,
    row: Row,
    counts: NDArray[np.int64],
    integrals: NDArray[np.float64],
    series: NDArray[np.int64],
) -> bool:
    """Push every event to one subscriber; whether nothing ever disturbed that. If it did, nothing is counted.

    Then the row is to be wiped. The rest as of `sim.kernels.push.push_to_subscriber`.
    """
    own, of_this = np.zeros(len(COUNTER_NAMES), np.int64), np.zeros(INTEGRALS)
    requests = np.zeros(len(series), np.int64)
    free, starts_s = idle_servers(world.receiver_workers), np.empty(len(row.created))
    calm = _run(world, push, subscriber, row, free, starts_s, own, of_this, requests)
    if calm:
        counts += own
        integrals += of_this
        series += requests
    return calm


@jit
def _run(
    world: World,
    push: Push,
    subscriber: int,
    row: Row,
    free: NDArray[np.float64],
    starts_s: NDArray[np.float64],
    counts: NDArray[np.int64],
    integrals: NDArray[np.float64],
    series: NDArray[np.int64],
) -> bool:
    """Events `answered` to `event` - 1 are in flight; of the jobs, `begun` to `event` - 1 wait."""
    created, one_way_s = row.created, world.one_way.a
    window_start_s, window_end_s, world_end_s = world.window_start_s, world.window_end_s, world.world_end_s
    answered, begun, open_connections, peak, opened = 0, 0, 0, 0, 0
    requests, answers, longest = 0, 0, 0
    busy_s, waiting_s, in_use_s = 0.0, 0.0, 0.0
    for event in range(len(created)):
        now = created[event]
        # An answer comes before an event of the same instant, unless it answers one of that instant.
        while answered < event:
            back_s = (created[answered] + one_way_s) + one_way_s
            if back_s > now or (back_s == now and created[answered] == now):
                break
            answered += 1
        in_flight = event - answered
        if in_flight >= push.max_in_flight:
            return False
        counted = window_start_s <= now < window_end_s
        if in_flight == open_connections:
            open_connections += 1
            opened += counted
        if counted:
            peak = open_connections
        requests += counted
        series[bin_of(now, world.series_bin_s)] += 1
        row.attempts[event] = 1
        row.first_attempt[event] = now

        arrival_s, deadline = now + one_way_s, now + push.timeout_s
        back_s = arrival_s + one_way_s
        if arrival_s >= deadline or back_s > deadline:
            return False
        in_use_s += overlap(now, back_s, window_start_s, window_end_s)
        if arrival_s >= world_end_s:
            starts_s[event] = arrival_s
            continue
        while begun < event and starts_s[begun] <= arrival_s:
            begun += 1
        if free[0] > arrival_s and event - begun >= push.queue_limit:
            return False
        entity = delivery_entity(subscriber, event)
        start_s = max(arrival_s, free[0])
        end_s = start_s + sample(world.receiver_service, world.seed, Stream.SERVICE, entity, 0)
        replace_earliest(free, end_s)
        starts_s[event] = start_s
        busy_s += overlap(start_s, end_s, window_start_s, window_end_s)
        waiting_s += overlap(arrival_s, start_s, window_start_s, window_end_s)
        row.copies[event] = 1
        if window_start_s <= arrival_s < window_end_s:
            answers += 1
            longest = max(longest, event - begun + int(start_s > arrival_s))
        if end_s < world_end_s:
            row.visible[event] = end_s
            row.status[event] = _DELIVERED
    counts[REQUESTS], counts[OPENED], counts[PEAK], counts[QUEUE_MAX] = requests, opened, peak, longest
    counts[REQUEST_BYTES] = requests * (world.request_header_bytes + world.payload_bytes)
    counts[REQUEST_BYTES] += opened * world.setup_bytes
    counts[RESPONSE_BYTES] = answers * world.response_header_bytes
    integrals[BUSY], integrals[WAITING], integrals[IN_USE] = busy_s, waiting_s, in_use_s
    return True
