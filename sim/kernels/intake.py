"""The pull family, compiled: each subscriber's receiver takes in what its poller fetched, in that order.

Nothing it does comes back to the poller, so it can be computed when all is fetched.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sim.compiled import jit
from sim.distributions import sample
from sim.kernels.borrowed import borrowed, hold
from sim.kernels.parameters import World, borrowed_world
from sim.kernels.pull import RECEIVER_QUEUE_MAX
from sim.kernels.servers import empty_queue, idle_now, idle_servers, serve, waiting_now, with_room
from sim.policies import slowdown_at
from sim.randomness import Stream, delivery_entity
from sim.records import Status

_DELIVERED = int(Status.DELIVERED)


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
    window_start_s, window_end_s = world.window_start_s, world.window_end_s
    fails = len(world.outages.start_s) > 0
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
        if window_start_s <= now < window_end_s:
            counts[RECEIVER_QUEUE_MAX] = max(counts[RECEIVER_QUEUE_MAX], waiting)
        copies[event] = 1
        entity = delivery_entity(subscriber, event)
        service_s = sample(world.receiver_service, world.seed, Stream.SERVICE, entity, 0)
        if fails:
            service_s = slowdown_at(world.outages, subscriber, max(now, free[0])) * service_s
        starts = with_room(starts, ring)
        _, end = serve(free, starts, ring, now, service_s, window_start_s, window_end_s, integrals)
        if end < world.world_end_s:
            visible[event] = end
            status[event] = _DELIVERED
