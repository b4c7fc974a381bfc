"""A queue of jobs before c workers, first come first served, without happenings of its own.

Kept as two heaps of floats: when each worker is free (an array, since their number is fixed), and when
each waiting job will start. Starts never decrease in order of arrival, so pushing one is a plain append.
"""

from __future__ import annotations

from heapq import heappop, heappush

import numpy as np
from numpy.typing import NDArray

from sim.compiled import jit
from sim.policies import overlap

BUSY, WAITING = 0, 1


@jit
def idle_servers(workers: int) -> NDArray[np.float64]:
    """`workers` workers, all free since the beginning."""
    return np.zeros(workers, dtype=np.float64)


@jit
def no_jobs() -> list[float]:
    """An empty queue."""
    return [0.0 for _ in range(0)]


@jit
def waiting_now(starts: list[float], now: float) -> int:
    """How many accepted jobs have not started by `now`; forgets those that have."""
    while len(starts) > 0 and starts[0] <= now:
        heappop(starts)
    return len(starts)


@jit
def idle_now(free: NDArray[np.float64], now: float) -> int:
    """How many workers are free at `now`."""
    idle = 0
    for free_s in free:
        if free_s <= now:
            idle += 1
    return idle


@jit
def _replace_earliest(free: NDArray[np.float64], free_s: float) -> None:
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
    starts: list[float],
    now: float,
    service_s: float,
    window_start_s: float,
    window_end_s: float,
    integrals: NDArray[np.float64],
) -> tuple[float, float]:
    """Queue a job that arrives `now`; returns when its service starts and ends.

    Adds its time in service and in the queue, within the window, to `integrals[BUSY]` and
    `integrals[WAITING]`.
    """
    start = max(now, free[0])
    end = start + service_s
    _replace_earliest(free, end)
    if start > now:
        heappush(starts, start)
        integrals[WAITING] += overlap(now, start, window_start_s, window_end_s)
    integrals[BUSY] += overlap(start, end, window_start_s, window_end_s)
    return start, end
