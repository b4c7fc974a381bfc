"""First in, first out: what travels on a connection, or waits for a worker, as (value, key) in two arrays.

The arrays are a ring whose length is a power of two. Who uses it counts what came in (`tail`) and went out
(`head`); number n of all that ever came in lies at n & (length - 1).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sim.compiled import allocating

_PLACES = 64


@allocating
def empty_fifo() -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """A ring with nothing in it: head and tail are 0."""
    return np.empty(_PLACES, dtype=np.float64), np.empty(_PLACES, dtype=np.int64)


@allocating
def roomier(
    values: NDArray[np.float64], keys: NDArray[np.int64], head: int, tail: int
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """The same ring with twice the places."""
    places = len(values)
    more_values = np.empty(2 * places, dtype=np.float64)
    more_keys = np.empty(2 * places, dtype=np.int64)
    for number in range(head, tail):
        old, new = number & (places - 1), number & (2 * places - 1)
        more_values[new], more_keys[new] = values[old], keys[old]
    return more_values, more_keys
