"""A webhook endpoint, compiled: what it answers to a request, and when."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sim.compiled import inlined
from sim.kernels.parameters import Push, World
from sim.kernels.receiver import Receiver, accept
from sim.kernels.servers import waiting_now
from sim.policies import BLACK_HOLE, REFUSE, UP, outage_at
from sim.randomness import Stream, delivery_entity, uniform
from sim.records import Via

NOTHING, ACKNOWLEDGED, REFUSED, ERROR, FULL = range(5)
"""What a sender hears; 400 and 500 are one to it."""

_WEBHOOK = int(Via.WEBHOOK)


@inlined
def answer(
    world: World,
    push: Push,
    receiver: Receiver,
    starts: NDArray[np.float64],
    subscriber: int,
    event: int,
    attempt: int,
    is_stale: bool,
    now: float,
) -> tuple[int, float, int]:
    """Answer a request that arrives, given room for it in the queue.

    Returns what it says, when that leaves, and the queue that an accepted copy leaves behind it.
    """
    door = outage_at(world.outages, subscriber, now)
    if door == BLACK_HOLE:
        return NOTHING, now, 0
    if door != UP:
        return (REFUSED if door == REFUSE else ERROR), now, 0
    entity = delivery_entity(subscriber, event)
    if is_stale or (
        push.error_probability > 0.0
        and uniform(world.seed, Stream.RECEIVER_ERROR, entity, attempt) < push.error_probability
    ):
        return ERROR, now, 0
    waiting = waiting_now(starts, receiver.ring, now)
    if not world.preempt and receiver.free[0] > now and waiting >= push.queue_limit:
        return FULL, now, 0
    start, end = accept(world, receiver, starts, subscriber, event, now, _WEBHOOK)
    return ACKNOWLEDGED, (now if push.on_receipt else end), waiting + int(start > now)
