"""The yardstick: what a queue costs with nothing around it but its draws and a histogram of latencies."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from sim.compiled import jit
from sim.kernels.servers import replace_earliest
from sim.metrics.histogram import bucket_of
from sim.randomness import Stream, uniform


@jit
def bare_queue(
    customers: int,
    arrivals_per_s: float,
    services_per_s: float,
    seed: int,
    free: NDArray[np.float64],
    histogram: NDArray[np.int64],
) -> float:
    """Send customers through M/M/c; returns their mean time in the system, seconds.

    Args:
        customers: how many.
        arrivals_per_s: λ.
        services_per_s: μ of one worker.
        seed: fixes every draw.
        free: when each worker is free: zeros.
        histogram: counts of times in the system, filled in.
    """
    now, total_s = 0.0, 0.0
    for customer in range(customers):
        now -= math.log1p(-uniform(seed, Stream.INTERARRIVAL, 0, customer)) / arrivals_per_s
        service_s = -math.log1p(-uniform(seed, Stream.SERVICE, customer, 0)) / services_per_s
        end = max(now, free[0]) + service_s
        replace_earliest(free, end)
        total_s += end - now
        histogram[bucket_of(end - now)] += 1
    return total_s / customers
