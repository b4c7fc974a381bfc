"""What polling brought: arrays of all pollers, or of one that is run by itself."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sim.compiled import allocating, jit
from sim.delivery import Status
from sim.kernels.turns import Pages

_PENDING = int(Status.PENDING)


class Polled(NamedTuple):
    """The pages polls brought; when each event was first asked for, how often, and if it is lost to them."""

    pages: Pages
    first_attempt: NDArray[np.float64]
    attempts: NDArray[np.int32]
    status: NDArray[np.int8]


@allocating
def nothing_polled(pollers: int, width: int) -> Polled:
    """Room for what pollers will find, arrays of shape (pollers, width): nothing yet."""
    shape = (pollers, width)
    return Polled(
        Pages(np.full(shape, np.nan), np.zeros(shape, np.bool_), np.zeros(shape, np.int64)),
        np.full(shape, np.nan),
        np.zeros(shape, np.int32),
        np.full(shape, np.int8(_PENDING)),
    )


@allocating
def one_row(polled: Polled, n_events: int) -> Polled:
    """The first poller's part as arrays of shape (1, n_events)."""
    shape = (1, n_events)
    return Polled(
        Pages(
            polled.pages.fetched[0, :n_events].reshape(shape),
            polled.pages.opens_page[0, :n_events].reshape(shape),
            polled.pages.turn[0, :n_events].reshape(shape),
        ),
        polled.first_attempt[0, :n_events].reshape(shape),
        polled.attempts[0, :n_events].reshape(shape),
        polled.status[0, :n_events].reshape(shape),
    )


@jit
def wipe(polled: Polled) -> None:
    """Forget what was found; what a page's first event is, and its turn, is only read of what was fetched."""
    polled.pages.fetched[:] = np.nan
    polled.first_attempt[:] = np.nan
    polled.attempts[:] = 0
    polled.status[:] = _PENDING


@allocating
def polled_row(polled: Polled, place: int, n_events: int) -> Polled:
    """One poller's part as arrays of shape (n_events,)."""
    pages = polled.pages
    return Polled(
        Pages(
            pages.fetched[place, :n_events], pages.opens_page[place, :n_events], pages.turn[place, :n_events]
        ),
        polled.first_attempt[place, :n_events],
        polled.attempts[place, :n_events],
        polled.status[place, :n_events],
    )
