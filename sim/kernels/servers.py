"""A queue of jobs before c workers, first come first served, without happenings of its own.

Two arrays: when each worker is free (a heap), and when each waiting job will start (a ring: starts never
decrease in order of arrival). A job that joins starts at the later of now and the earliest time a worker
is free (Kiefer & Wolfowitz, "On the theory of queues with many servers", 1955), so its end is known
at once. With the "preempt" discipline nobody queues: a new job takes the only worker.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sim.compiled import allocating, jit
from sim.policies import overlap

BUSY, WAITING, IN_USE = 0, 1, 2
INTEGRALS = 3
"""How many time integrals a kernel keeps: worker-seconds busy, jobs waiting, connections in use."""

_FIRST, _COUNT = 0, 1
_PLACES = 64


@allocating
def idle_servers(workers: int) -> NDArray[np.float64]:
    """When each of `workers` workers is free: since the beginning."""
    return np.zeros(workers, dtype=np.float64)


@allocating
def empty_queue(room: int = _PLACES) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """The starts of waiting jobs, none yet: the ring, and its first place and length."""
    return np.empty(max(room, 1), dtype=np.float64), np.zeros(2, dtype=np.int64)


@jit
def waiting_now(starts: NDArray[np.float64], ring: NDArray[np.int64], now: float) -> int:
    """How many accepted jobs have not started by `now`; forgets those that have."""
    first, count = ring[_FIRST], ring[_COUNT]
    while count > 0 and starts[first] <= now:
        first += 1
        if first == len(starts):
            first = 0
        count -= 1
    ring[_FIRST], ring[_COUNT] = first if count > 0 else 0, count
    return int(count)


@jit
def waiting_at_most(ring: NDArray[np.int64]) -> int:
    """How many accepted jobs had not started when somebody last looked."""
    return int(ring[_COUNT])


@allocating
def with_room(starts: NDArray[np.float64], ring: NDArray[np.int64], jobs: int = 1) -> NDArray[np.float64]:
    """The same queue with room for so many more jobs."""
    places = len(starts)
    if ring[_COUNT] + jobs <= places:
        return starts
    more = np.empty(2 * places + jobs, dtype=np.float64)
    for place in range(places):
        more[place] = starts[(ring[_FIRST] + place) % places]
    ring[_FIRST] = 0
    return more


@jit
def idle_now(free: NDArray[np.float64], now: float) -> int:
    """How many workers are free at `now`."""
    idle = 0
    for free_s in free:
        if free_s <= now:
            idle += 1
    return idle


@jit
def replace_earliest(free: NDArray[np.float64], free_s: float) -> None:
    """Pop the earliest time of the heap and push another: sift it down from the root."""
    position = 0
    while True:
        child = 2 * position + 1
        if child >= len(free):
            break
        if child + 1 < len(free) and free[child + 1] < free[child]:
            child += 1
        if free_s <= free[child]:
            break
        free[position] = free[child]
        position = child
    free[position] = free_s


@jit
def serve(
    free: NDArray[np.float64],
    starts: NDArray[np.float64],
    ring: NDArray[np.int64],
    now: float,
    service_s: float,
    window_start_s: float,
    window_end_s: float,
    integrals: NDArray[np.float64],
) -> tuple[float, float]:
    """Queue a job that arrives `now`, given room for it; returns when its service starts and ends.

    Adds its time in service and in the queue, within the window, to `integrals[BUSY]` and
    `integrals[WAITING]`.
    """
    start = max(now, free[0])
    end = start + service_s
    replace_earliest(free, end)
    if start > now:
        place = ring[_FIRST] + ring[_COUNT]
        starts[place if place < len(starts) else place - len(starts)] = start
        ring[_COUNT] += 1
        integrals[WAITING] += overlap(now, start, window_start_s, window_end_s)
    integrals[BUSY] += overlap(start, end, window_start_s, window_end_s)
    return start, end


@jit
def preempt(
    free: NDArray[np.float64],
    now: float,
    service_s: float,
    window_start_s: float,
    window_end_s: float,
    integrals: NDArray[np.float64],
) -> float:
    """Give the only worker a job that arrives `now`, whoever it serves; returns when that ends.

    The time that was still owed to whoever had the worker is taken off `integrals[BUSY]` again.
    """
    end = now + service_s
    owed_s = overlap(now, free[0], window_start_s, window_end_s)
    integrals[BUSY] += overlap(now, end, window_start_s, window_end_s) - owed_s
    free[0] = end
    return end
