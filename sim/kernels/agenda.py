"""What is to happen, soonest first: a binary heap of (time, key) in two arrays.

The key orders simultaneous happenings (`sim.happenings`) and carries what they are about, packed into
one integer. From the highest bits to the lowest: of one subscriber's world kind, event, attempt and a small
code; of a world of many pollers kind, subscriber and poll.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sim.compiled import allocating, jit

_CODE_BITS, _ATTEMPT_BITS, _EVENT_BITS = 4, 12, 40
_ATTEMPT_SHIFT = _CODE_BITS
_EVENT_SHIFT = _ATTEMPT_SHIFT + _ATTEMPT_BITS
_KIND_SHIFT = _EVENT_SHIFT + _EVENT_BITS
_CODE_MASK = (1 << _CODE_BITS) - 1
_ATTEMPT_MASK = (1 << _ATTEMPT_BITS) - 1
_EVENT_MASK = (1 << _EVENT_BITS) - 1
_POLL_BITS = 33
_POLL_MASK = (1 << _POLL_BITS) - 1
_SUBSCRIBER_MASK = (1 << (_KIND_SHIFT - _POLL_BITS)) - 1
LAST_EVENT = _EVENT_MASK
"""A number that comes after those of all events."""


@jit
def pack(kind: int, event: int, attempt: int, code: int) -> int:
    """The key of a happening; fewer than 2^40 events, 2^12 attempts, 2^4 codes."""
    return (kind << _KIND_SHIFT) | (event << _EVENT_SHIFT) | (attempt << _ATTEMPT_SHIFT) | code


@jit
def unpack(key: int) -> tuple[int, int, int, int]:
    """(kind, event, attempt, code) of a key."""
    event = (key >> _EVENT_SHIFT) & _EVENT_MASK
    return key >> _KIND_SHIFT, event, (key >> _ATTEMPT_SHIFT) & _ATTEMPT_MASK, key & _CODE_MASK


@jit
def pack_poll(kind: int, subscriber: int, poll: int) -> int:
    """The key of a poller's happening; fewer than 2^23 subscribers, 2^33 polls."""
    return (kind << _KIND_SHIFT) | (subscriber << _POLL_BITS) | poll


@jit
def unpack_poll(key: int) -> tuple[int, int, int]:
    """(kind, subscriber, poll) of a key."""
    return key >> _KIND_SHIFT, (key >> _POLL_BITS) & _SUBSCRIBER_MASK, key & _POLL_MASK


@jit
def add(times: NDArray[np.float64], keys: NDArray[np.int64], size: int, time_s: float, key: int) -> int:
    """Add a happening to a heap of `size` that has room; returns the new size."""
    position = size
    while position > 0:
        parent = (position - 1) >> 1
        if times[parent] < time_s or (times[parent] == time_s and keys[parent] < key):
            break
        times[position], keys[position] = times[parent], keys[parent]
        position = parent
    times[position], keys[position] = time_s, key
    return size + 1


@jit
def replace_first(
    times: NDArray[np.float64], keys: NDArray[np.int64], size: int, time_s: float, key: int
) -> None:
    """Remove the soonest happening of a heap of `size`, which is at index 0, and add another."""
    position = 0
    while True:
        child = 2 * position + 1
        if child >= size:
            break
        right = child + 1
        if right < size and (
            times[right] < times[child] or (times[right] == times[child] and keys[right] < keys[child])
        ):
            child = right
        if time_s < times[child] or (time_s == times[child] and key < keys[child]):
            break
        times[position], keys[position] = times[child], keys[child]
        position = child
    times[position], keys[position] = time_s, key


@jit
def drop_first(times: NDArray[np.float64], keys: NDArray[np.int64], size: int) -> int:
    """Remove the soonest happening, which is at index 0; returns the new size."""
    size -= 1
    replace_first(times, keys, size, times[size], keys[size])
    return size


@allocating
def grown(
    times: NDArray[np.float64], keys: NDArray[np.int64], room: int = 0
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """The same heap with room for so many, or else for twice as many as before, if there is too little."""
    if 0 < room <= len(times):
        return times, keys
    places = max(2 * len(times), room)
    more_times = np.empty(places, dtype=np.float64)
    more_keys = np.empty(places, dtype=np.int64)
    more_times[: len(times)] = times
    more_keys[: len(keys)] = keys
    return more_times, more_keys
