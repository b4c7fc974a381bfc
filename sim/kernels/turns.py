"""Where parts of a world that are computed one after another touch at one instant.

What does not depend on the rest of a world is computed before it and then meets it as a sorted input: a
subscriber's polls and its webhooks, notifications and the fetches that they cause. Together they must happen
in the documented order all the same. A happening of one part that another part waits for therefore has a
turn: the latest, in that order, of itself and of what happened before it in its own part at that instant.
It happens once the other part has nothing left that comes before its turn. (A page that follows a tick
without delay comes after the requests that arrive at that instant, although answers come before requests.)
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sim.compiled import jit
from sim.kernels.agenda import LAST_EVENT, pack


class Pages(NamedTuple):
    """What polls brought, event by event; arrays of one subscriber, or of all.

    When the response that brought it arrived (NaN if none did), whether it is the first of its response, and
    the turn of that at its instant, as a key of `sim.kernels.agenda`.
    """

    fetched: NDArray[np.float64]
    opens_page: NDArray[np.bool_]
    turn: NDArray[np.int64]


class LetIn(NamedTuple):
    """In which order events were first let in by an endpoint; arrays of one subscriber, or of all.

    The first, second, … event, −1 after the last; and its turn at its instant: the last, in the order of
    events, of those that arrived there since the one let in before it.
    """

    event: NDArray[np.int64]
    turn: NDArray[np.int64]


@jit
def next_page(pages: Pages, event: int) -> int:
    """The first event, from `event` on, that a response brought; their number if none did."""
    while event < len(pages.fetched) and np.isnan(pages.fetched[event]):
        event += 1
    return event


@jit
def end_of_page(fetched: NDArray[np.float64], opens_page: NDArray[np.bool_], first: int) -> int:
    """One past the last event of the response that brought event `first`, which opens it."""
    end = first + 1
    while end < len(fetched) and not (opens_page[end] or np.isnan(fetched[end])):
        end += 1
    return end


@jit
def turn_of_answer(subscriber: int, turn: tuple[int, int, int]) -> int:
    """A turn (kind, subscriber, number) among everybody's polls as one among this subscriber's webhooks."""
    kind, whose, number = turn
    if whose != subscriber:
        number = 0 if whose < subscriber else LAST_EVENT
    return pack(kind, number, 0, 0)
