"""Where a kernel writes what becomes of each event: a row a subscriber, kept; or one, folded and used again.

A kernel does not know which. It asks for a subscriber's row, fills it and closes it; where records are not
kept, closing folds the row into sums (`sim.metrics.scans`), so memory does not grow with the subscribers.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sim.compiled import allocating, jit
from sim.delivery import Status
from sim.kernels.feed import Rows
from sim.metrics.scans import Folded, Span, fold

_PENDING = int(Status.PENDING)


class Book(NamedTuple):
    """Delivery records (`sim.records.Deliveries`), each array of shape (rows, width), and the usual `via`."""

    first_attempt: NDArray[np.float64]
    visible: NDArray[np.float64]
    attempts: NDArray[np.int32]
    copies: NDArray[np.int32]
    via: NDArray[np.int8]
    status: NDArray[np.int8]
    usual_via: int


class Share(NamedTuple):
    """A block of subscribers, `first` to `end` - 1, and what is written of them.

    With `folds`, the `book` has one row, which each of them uses in turn. `series` counts requests.
    """

    first: int
    end: int
    book: Book
    folds: bool
    folded: Folded
    span: Span
    series: NDArray[np.int64]


class Row(NamedTuple):
    """One subscriber's records, each array of shape (n_events,)."""

    created: NDArray[np.float64]
    first_attempt: NDArray[np.float64]
    visible: NDArray[np.float64]
    attempts: NDArray[np.int32]
    copies: NDArray[np.int32]
    via: NDArray[np.int8]
    status: NDArray[np.int8]


@allocating
def open_row(share: Share, rows: Rows, subscriber: int) -> Row:
    """A subscriber's records before anything happened."""
    book, n = share.book, rows.counts[subscriber]
    place = 0 if share.folds else subscriber
    begins = subscriber * rows.stride
    row = Row(
        rows.created[begins : begins + n],
        book.first_attempt[place, :n],
        book.visible[place, :n],
        book.attempts[place, :n],
        book.copies[place, :n],
        book.via[place, :n],
        book.status[place, :n],
    )
    if share.folds:
        wipe_row(share, row)
    return row


@jit
def wipe_row(share: Share, row: Row) -> None:
    """Forget what was written of a subscriber."""
    row.first_attempt[:] = np.nan
    row.visible[:] = np.nan
    row.attempts[:] = 0
    row.copies[:] = 0
    row.via[:] = share.book.usual_via
    row.status[:] = _PENDING


@jit
def close_row(share: Share, subscriber: int, row: Row) -> None:
    """Fold a subscriber's records, unless they are kept."""
    if share.folds:
        fold(
            share.folded, share.span, subscriber, row.created, row.visible, row.attempts, row.copies,
            row.status,
        )  # fmt: skip
