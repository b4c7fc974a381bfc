"""A subscriber's receiver, compiled: the copies it takes in, and when each event becomes visible."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sim.compiled import allocating, inlined
from sim.distributions import sample
from sim.kernels.parameters import World
from sim.kernels.servers import empty_queue, idle_now, idle_servers, preempt, serve, waiting_now
from sim.policies import slowdown_at
from sim.randomness import Stream, delivery_entity


class Receiver(NamedTuple):
    """A receiver's workers, and what it made of each event; arrays that are written in place.

    `free` and `ring` are those of `sim.kernels.servers` (the ring's `starts`, which may grow, lie apart);
    `in_service` names the event of the only worker that may be pushed out. Of each event: when it is
    `visible`, the `copies` taken in, those of them `dropped`, and the way of the copy first visible.
    """

    free: NDArray[np.float64]
    ring: NDArray[np.int64]
    in_service: NDArray[np.int64]
    visible: NDArray[np.float64]
    copies: NDArray[np.int32]
    dropped: NDArray[np.int32]
    via: NDArray[np.int8]
    integrals: NDArray[np.float64]


@allocating
def open_receiver(
    world: World,
    visible: NDArray[np.float64],
    copies: NDArray[np.int32],
    via: NDArray[np.int8],
    integrals: NDArray[np.float64],
    room: int,
) -> tuple[Receiver, NDArray[np.float64]]:
    """A receiver with nothing to do, writing into the arrays given; and the `starts` of its queue.

    The queue has room for as many jobs as stated, be it memory that is never touched.
    """
    starts, ring = empty_queue(room)
    in_service = np.full(1, -1, dtype=np.int64)
    dropped = np.zeros(len(copies), dtype=np.int32)
    free = idle_servers(world.receiver_workers)
    return Receiver(free, ring, in_service, visible, copies, dropped, via, integrals), starts


@inlined
def accept(
    world: World,
    receiver: Receiver,
    starts: NDArray[np.float64],
    subscriber: int,
    event: int,
    now: float,
    way: int,
) -> tuple[float, float]:
    """Take in one copy of an event, given room for it; returns when its service starts and ends."""
    visible, free = receiver.visible, receiver.free
    copy = receiver.copies[event]
    receiver.copies[event] += 1
    start = now if world.preempt else max(now, free[0])
    entity = delivery_entity(subscriber, event)
    service_s = sample(world.receiver_service, world.seed, Stream.SERVICE, entity, copy)
    if len(world.outages.start_s) > 0:
        service_s = slowdown_at(world.outages, subscriber, start) * service_s
    if world.preempt:
        until_s = free[0]
        if until_s > now:
            pushed_out = receiver.in_service[0]
            receiver.dropped[pushed_out] += 1
            if visible[pushed_out] == until_s:
                visible[pushed_out] = np.nan
        receiver.in_service[0] = event
        end = preempt(free, now, service_s, world.window_start_s, world.window_end_s, receiver.integrals)
    else:
        start, end = serve(
            free, starts, receiver.ring, now, service_s, world.window_start_s, world.window_end_s,
            receiver.integrals,
        )  # fmt: skip
    if end < world.world_end_s and not visible[event] <= end:
        visible[event] = end
        receiver.via[event] = way
    return start, end


@inlined
def take_page(
    world: World,
    receiver: Receiver,
    starts: NDArray[np.float64],
    subscriber: int,
    first: int,
    end: int,
    now: float,
    way: int,
) -> int:
    """Take in the events first … end - 1 of one response, less those the receiver has; whatever the limit.

    There must be room for all of them. Returns the longest queue that one of them left behind.
    """
    # The events of one response join before any of them can end, even if service takes no time.
    idle, waiting, longest = idle_now(receiver.free, now), waiting_now(starts, receiver.ring, now), 0
    newest = end - 1
    while world.preempt and newest >= first and receiver.copies[newest] > 0:
        newest -= 1
    for event in range(first, end):
        if receiver.copies[event] > 0:
            continue
        if world.preempt and event != newest:  # one of the same page pushes it out at once
            receiver.copies[event] = 1
            receiver.dropped[event] = 1
            continue
        if not world.preempt:
            if idle > 0:
                idle -= 1
            else:
                waiting += 1
            longest = max(longest, waiting)
        accept(world, receiver, starts, subscriber, event, now, way)
    return longest
