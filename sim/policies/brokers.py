"""What brokers do with an event: store it, place it in a partition, answer a fetch, rebalance a group."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sim.compiled import jit
from sim.distributions import Distribution, compile_distribution, sample
from sim.policies.outages import Outages, next_down, up_from
from sim.policies.times import NEVER
from sim.randomness import Stream, delivery_entity, uniform
from sim.scenario import Scenario


@jit
def stored_at(
    one_way: Distribution, persist: Distribution, seed: int, subscriber: int, event: int, created_s: float
) -> float:
    """When the broker has stored an event: published when created, one transit, then persisted."""
    entity = delivery_entity(subscriber, event)
    transit_s = sample(one_way, seed, Stream.PUBLISH_TRANSIT, entity, 0)
    return created_s + (transit_s + sample(persist, seed, Stream.PERSIST, entity, 0))


@jit
def partition_of(partitions: int, seed: int, subscriber: int, event: int) -> int:
    """The partition an event is written to: that of its key, which is random."""
    return int(uniform(seed, Stream.PARTITION, delivery_entity(subscriber, event), 0) * partitions)


@jit
def answered_at(
    stored_s: NDArray[np.float64], position: int, fetch_min: int, max_wait_s: float, arrival_s: float
) -> float:
    """When the broker answers a fetch that arrives at `arrival_s`: with enough records, or after long enough.

    Args:
        stored_s: when each record of the consumer's log is stored, ascending.
        position: the first record asked for.
        fetch_min: how many are enough.
        max_wait_s: how long is long enough.
        arrival_s: when the fetch arrives.
    """
    last = position + fetch_min - 1
    enough_s = stored_s[last] if last < len(stored_s) else NEVER
    return max(arrival_s, min(enough_s, arrival_s + max_wait_s))


@jit
def carried_until(stored_s: NDArray[np.float64], position: int, max_records: int, answered_s: float) -> int:
    """The end of what an answer carries: of the records from `position` on, those stored by then."""
    end = position
    while end < len(stored_s) and end - position < max_records and stored_s[end] <= answered_s:
        end += 1
    return end


class Rebalances(NamedTuple):
    """When each subscriber's group rebalances, and for how long it stops.

    Those of subscriber s are the places `first[s]` to `first[s + 1]`, ascending.
    """

    at_s: NDArray[np.float64]
    first: NDArray[np.int64]
    pause_s: float


def compile_rebalances(scenario: Scenario, seed: int) -> Rebalances:
    """The random rebalances of every subscriber's group in one replication, up to the world's end."""
    broker, count = scenario.broker_pull, scenario.subscribers.count
    if broker.rebalance_every is None:
        return Rebalances(np.empty(0), np.zeros(count + 1, dtype=np.int64), broker.rebalance_s)
    gaps = compile_distribution(broker.rebalance_every)
    at_s: list[float] = []
    first = [0]
    for s in range(count):
        time_s, number = sample(gaps, seed, int(Stream.REBALANCE), s, 0), 0
        while time_s < scenario.world_end_s:
            at_s.append(time_s)
            number += 1
            time_s += sample(gaps, seed, int(Stream.REBALANCE), s, number)
        first.append(len(at_s))
    return Rebalances(np.array(at_s, dtype=np.float64), np.array(first, dtype=np.int64), broker.rebalance_s)


@jit
def rebalances_by(rebalances: Rebalances, subscriber: int, time_s: float) -> int:
    """How many rebalances of a group have begun by a time, those at it included."""
    first = low = rebalances.first[subscriber]
    high = rebalances.first[subscriber + 1]
    while low < high:
        middle = (low + high) >> 1
        if rebalances.at_s[middle] <= time_s:
            low = middle + 1
        else:
            high = middle
    return int(low - first)


@jit
def put_off(rebalances: Rebalances, subscriber: int, due_s: float) -> float:
    """The earliest time, not before `due_s`, at which a group is not stopped by a rebalance."""
    while True:
        begun = rebalances_by(rebalances, subscriber, due_s)
        if begun == 0:
            return due_s
        over_s = rebalances.at_s[rebalances.first[subscriber] + begun - 1] + rebalances.pause_s
        if due_s >= over_s:
            return due_s
        due_s = over_s


@jit
def rejoined_at(
    outages: Outages, subscriber: int, down_s: float, pause_s: float, not_before_s: float
) -> float:
    """When a consumer that went down at `down_s` starts again.

    It rejoins its group when it is up again, which stops the group for `pause_s`, and starts then, but not
    before `not_before_s`. Should it go down once more meanwhile, all begins anew.
    """
    while True:
        back_s = up_from(outages, subscriber, down_s)
        ready_s = max(back_s + pause_s, not_before_s)
        down_s = next_down(outages, subscriber, back_s)
        if down_s > ready_s:
            return ready_s
