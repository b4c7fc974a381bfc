"""Taking in, compiled: a subscriber's receiver serves what came, page by page or message by message.

Nothing it does comes back to where the events came from, so it can be computed when all have come.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sim.compiled import allocating, jit
from sim.kernels.parameters import World, in_window
from sim.kernels.pull import RECEIVER_QUEUE_MAX
from sim.kernels.receiver import Receiver, open_receiver, take_page
from sim.kernels.turns import end_of_page
from sim.records import Status

_DELIVERED, _LOST = int(Status.DELIVERED), int(Status.LOST)


@allocating
def take_in(
    world: World,
    subscriber: int,
    way: int,
    fetched: NDArray[np.float64],
    opens_page: NDArray[np.bool_],
    visible: NDArray[np.float64],
    copies: NDArray[np.int32],
    via: NDArray[np.int8],
    status: NDArray[np.int8],
    counts: NDArray[np.int64],
    integrals: NDArray[np.float64],
) -> None:
    """Serve what came one `way`; fills arrays of shape (n_events,). `integrals` are the receiver's."""
    receiver, starts = open_receiver(world, visible, copies, via, integrals, len(fetched))
    _serve_pages(world, subscriber, way, fetched, opens_page, receiver, starts, status, counts)


@jit
def _serve_pages(
    world: World,
    subscriber: int,
    way: int,
    fetched: NDArray[np.float64],
    opens_page: NDArray[np.bool_],
    receiver: Receiver,
    starts: NDArray[np.float64],
    status: NDArray[np.int8],
    counts: NDArray[np.int64],
) -> None:
    first = 0
    while first < len(fetched):
        now, end = fetched[first], end_of_page(fetched, opens_page, first)
        if not np.isnan(now):
            longest = take_page(world, receiver, starts, subscriber, first, end, now, way)
            if in_window(world, now):
                counts[RECEIVER_QUEUE_MAX] = max(counts[RECEIVER_QUEUE_MAX], longest)
        first = end
    for event in range(len(fetched)):
        if receiver.visible[event] < world.world_end_s:
            status[event] = _DELIVERED
        elif receiver.dropped[event] > 0:
            status[event] = _LOST
