"""Counters as kernels keep them, in arrays, and as everybody else reads them."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
from numpy.typing import NDArray

from sim.kernels.servers import BUSY, IN_USE, INTEGRALS, WAITING
from sim.records import Counters


def no_integrals() -> NDArray[np.float64]:
    """Time integrals of one server and the connections to it, all 0; see `sim.kernels.servers`."""
    return np.zeros(INTEGRALS)


def counters(
    names: tuple[str, ...],
    counts: NDArray[np.int64],
    at_receivers: NDArray[np.float64],
    at_api: NDArray[np.float64] | None = None,
) -> Counters:
    """Counts by name, with the integrals summed over receivers, and those of the provider's API."""
    found = Counters(**{name: int(count) for name, count in zip(names, counts, strict=True)})
    found.receiver_busy_s = float(at_receivers[BUSY])
    found.receiver_queue_integral_s = float(at_receivers[WAITING])
    found.connection_s = float(at_receivers[IN_USE])
    if at_api is not None:
        found.provider_busy_s, found.provider_queue_integral_s = float(at_api[BUSY]), float(at_api[WAITING])
        found.connection_s += float(at_api[IN_USE])
    return found


def combined(first: Counters, second: Counters) -> Counters:
    """What two parts of one world counted, together: the longest queue of either, and sums."""
    both = Counters()
    for field in fields(Counters):
        a, b = getattr(first, field.name), getattr(second, field.name)
        setattr(both, field.name, max(a, b) if field.name.endswith("_queue_max") else a + b)
    return both
