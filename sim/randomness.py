"""Every random draw is a pure function of (seed, stream, entity, index).

A draw does not depend on who asks, in what order, in which engine or on how many workers, so two
mechanisms in one replication see the same events, transits and service times (common random
numbers), and both engines see the same bits.

The function is a tree of SplitMix64 generators (Steele, Lea & Flood, "Fast splittable pseudorandom
number generators", OOPSLA 2014): the seed's generator yields one state per stream, a stream's yields
one per entity, and draw `index` of an entity is output number `index` of the generator started there.
SplitMix64 is counter-based, so any output is reached in constant time.
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from sim.compiled import allocating, jit

_GOLDEN_GAMMA = np.uint64(0x9E3779B97F4A7C15)
_MULTIPLIER_1 = np.uint64(0xBF58476D1CE4E5B9)
_MULTIPLIER_2 = np.uint64(0x94D049BB133111EB)
_SHIFT_30, _SHIFT_27, _SHIFT_31, _SHIFT_12 = np.uint64(30), np.uint64(27), np.uint64(31), np.uint64(12)
_ONE = np.uint64(1)

_EVENT_BITS = 40


class Stream(IntEnum):
    """What is drawn. The numbers are part of every result: append, never renumber."""

    INTERARRIVAL = 1
    WORKLOAD_PHASE = 2
    SERVICE = 3
    REQUEST_TRANSIT = 4
    RESPONSE_TRANSIT = 5
    REQUEST_LOSS = 6
    RESPONSE_LOSS = 7
    RETRY_JITTER = 8
    POLL_PHASE = 9
    POLL_JITTER = 10
    POLL_GAP = 11
    POLL_REQUEST_TRANSIT = 12
    POLL_RESPONSE_TRANSIT = 13
    POLL_REQUEST_LOSS = 14
    POLL_RESPONSE_LOSS = 15
    API_SERVICE = 16
    REPLICATION = 17
    INTEREST = 18
    SPELL = 19
    THINNING = 20
    BATCH_SIZE = 21
    RECEIVER_UP = 22
    RECEIVER_DOWN = 23
    API_UP = 24
    API_DOWN = 25
    RECEIVER_ERROR = 26
    SETUP_TRANSIT = 27
    POLL_SETUP_TRANSIT = 28
    FETCH_REQUEST_TRANSIT = 29
    FETCH_RESPONSE_TRANSIT = 30
    FETCH_REQUEST_LOSS = 31
    FETCH_RESPONSE_LOSS = 32
    FETCH_SERVICE = 33
    FETCH_SETUP_TRANSIT = 34
    SESSION_LIFETIME = 35
    RECONNECT_JITTER = 36
    MESSAGE_TRANSIT = 37
    ACK_TRANSIT = 38
    PUBLISH_TRANSIT = 39
    PERSIST = 40
    PARTITION = 41
    REBALANCE = 42
    CONTENTION_HOP = 43
    PAYLOAD_BYTES = 44
    DUPLICATE = 45
    FORGERY = 46
    TIMER = 47


@jit
def splitmix64(state: int | np.uint64, index: int) -> np.uint64:
    """Output number `index` (from 0) of the SplitMix64 generator started at `state`, 64 bits."""
    z = np.uint64(state) + (np.uint64(index) + _ONE) * _GOLDEN_GAMMA
    z = (z ^ (z >> _SHIFT_30)) * _MULTIPLIER_1
    z = (z ^ (z >> _SHIFT_27)) * _MULTIPLIER_2
    return z ^ (z >> _SHIFT_31)


@jit
def uniform(seed: int, stream: int, entity: int, index: int) -> float:
    """A draw from U(0, 1), open at both ends: the centres of 2^52 equal cells.

    Args:
        seed: the replication's seed (see `replication_seed`).
        stream: what is drawn, a `Stream`.
        entity: who draws: a subscriber, or an event of a subscriber (see `delivery_entity`).
        index: which of the entity's draws: attempt, copy or poll number.
    """
    state = splitmix64(splitmix64(splitmix64(seed, 0), stream), entity)
    return (np.float64(splitmix64(state, index) >> _SHIFT_12) + 0.5) * 2.0**-52


@allocating
def uniforms(seed: int, stream: int, entity: int, count: int) -> NDArray[np.float64]:
    """The first `count` draws of an entity, shape (count,); see `uniform`."""
    draws = np.empty(count, dtype=np.float64)
    for index in range(count):
        draws[index] = uniform(seed, stream, entity, index)
    return draws


@jit
def delivery_entity(subscriber: int, event: int) -> int:
    """One event on its way to one subscriber, as an entity: fewer than 2^40 events, 2^23 subscribers."""
    return (subscriber << _EVENT_BITS) | event


@jit
def replication_seed(seed: int, replication: int) -> int:
    """The seed of replication number `replication` (from 0), an int in [0, 2^63)."""
    stream_state = splitmix64(splitmix64(seed, 0), Stream.REPLICATION)
    return np.int64(splitmix64(stream_state, replication) >> _ONE)  # type: ignore[return-value]
