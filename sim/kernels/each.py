"""One subscriber after another: each one's row opened, filled by the kernels of its mechanism, and closed."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sim.compiled import allocating, jit
from sim.kernels import calm_poll, calm_push
from sim.kernels.book import Share, close_row, open_row, wipe_row
from sim.kernels.calm_poll import fetch_calmly
from sim.kernels.calm_push import push_calmly
from sim.kernels.feed import Rows
from sim.kernels.intake import take_in
from sim.kernels.parameters import Pull, Push, World
from sim.kernels.polled import Polled, one_row, polled_row, wipe
from sim.kernels.pull import fetch
from sim.kernels.push import QUEUE_MAX, push_to_subscriber
from sim.kernels.turns import LetIn, Pages


@allocating
def poll_each(
    world: World,
    pull: Pull,
    rows: Rows,
    share: Share,
    polled: Polled,
    apart: bool,
    may_wait: bool,
    counts: NDArray[np.int64],
    at_api: NDArray[np.float64],
    at_receivers: NDArray[np.float64],
) -> bool:
    """Let each receiver take in what its poller fetched.

    Args:
        world: the world.
        pull: how pollers ask, and the API.
        rows: the events.
        share: whose pollers, and where records go.
        polled: what all of them fetched; with `apart`, room for one poller's.
        apart: whether each poller is run here, by itself, which is the same as all together as long as no
            request waits at the API.
        may_wait: whether a request may wait there nevertheless.
        counts: by `sim.kernels.pull.COUNTER_NAMES`.
        at_api: the API's integrals.
        at_receivers: the receivers'.

    Returns:
        Whether it stands. If not, a request waited that may not, and the rest is undone.
    """
    for s in range(share.first, share.end):
        row, n = open_row(share, rows, s), rows.counts[s]
        place = 0 if apart else s
        if apart:
            waited = _poll_alone(world, pull, rows, s, polled, counts, at_api, share.series)
            if waited and not may_wait:
                return False
        found = polled_row(polled, place, n)
        row.first_attempt[:] = found.first_attempt
        row.attempts[:] = found.attempts
        row.status[:] = found.status
        take_in(
            world, s, share.book.usual_via, found.pages.fetched, found.pages.opens_page, row.visible,
            row.copies, row.via, row.status, counts, at_receivers,
        )  # fmt: skip
        close_row(share, s, row)
    return True


@allocating
def push_to_each(
    world: World,
    push: Push,
    rows: Rows,
    share: Share,
    let_in: LetIn,
    counts: NDArray[np.int64],
    at_receivers: NDArray[np.float64],
) -> None:
    """Push to each subscriber; `let_in` are rows for all to be filled, or one empty row."""
    may_be_calm = let_in.event.size == 0 and calm_push.may_be_calm(world, push)
    no_pages = Pages(np.zeros(0), np.zeros(0, np.bool_), np.zeros(0, np.int64))
    own, of_this = np.zeros_like(counts), np.zeros_like(at_receivers)
    for s in range(share.first, share.end):
        row, n = open_row(share, rows, s), rows.counts[s]
        place = min(s, len(let_in.event) - 1)
        order = LetIn(let_in.event[place, :n], let_in.turn[place, :n])
        own[:] = 0
        of_this[:] = 0.0
        calm = may_be_calm and push_calmly(world, push, s, row, own, of_this, share.series)
        if may_be_calm and not calm:
            wipe_row(share, row)
        if not calm:
            push_to_subscriber(
                world, push, row.created, s, no_pages, order, row.first_attempt, row.visible, row.attempts,
                row.copies, row.via, row.status, own, of_this, share.series,
            )  # fmt: skip
        _add(counts, own)
        at_receivers += of_this
        close_row(share, s, row)


@allocating
def reconcile_each(
    world: World,
    push: Push,
    pull: Pull,
    rows: Rows,
    share: Share,
    polled: Polled,
    apart: bool,
    may_wait: bool,
    counts: NDArray[np.int64],
    at_receivers: NDArray[np.float64],
    poll_counts: NDArray[np.int64],
    at_api: NDArray[np.float64],
) -> bool:
    """Push to each subscriber, every page of its poller arriving when it does; the rest as of `poll_each`."""
    nobody_asks = LetIn(np.zeros(0, np.int64), np.zeros(0, np.int64))
    own, of_this = np.zeros_like(counts), np.zeros_like(at_receivers)
    for s in range(share.first, share.end):
        row, n = open_row(share, rows, s), rows.counts[s]
        place = 0 if apart else s
        if apart:
            waited = _poll_alone(world, pull, rows, s, polled, poll_counts, at_api, share.series)
            if waited and not may_wait:
                return False
        found = polled_row(polled, place, n)
        row.status[:] = found.status
        own[:] = 0
        of_this[:] = 0.0
        push_to_subscriber(
            world, push, row.created, s, found.pages, nobody_asks, row.first_attempt, row.visible,
            row.attempts, row.copies, row.via, row.status, own, of_this, share.series,
        )  # fmt: skip
        _add(counts, own)
        at_receivers += of_this
        for event in range(n):
            if not row.first_attempt[event] <= found.first_attempt[event] and not np.isnan(
                found.first_attempt[event]
            ):
                row.first_attempt[event] = found.first_attempt[event]
            row.attempts[event] += found.attempts[event]
        close_row(share, s, row)
    return True


@allocating
def _poll_alone(
    world: World,
    pull: Pull,
    rows: Rows,
    subscriber: int,
    polled: Polled,
    counts: NDArray[np.int64],
    at_api: NDArray[np.float64],
    series: NDArray[np.int64],
) -> bool:
    """Run one poller, into the first row of `polled`; whether a request of it waited at the API."""
    n = rows.counts[subscriber]
    room = one_row(polled, n)
    wipe(room)
    if calm_poll.may_be_calm(world, pull):
        if fetch_calmly(world, pull, rows, subscriber, polled_row(polled, 0, n), counts, at_api, series):
            return False
        wipe(room)
    return fetch(world, pull, rows, subscriber, room, counts, at_api, series)


@jit
def _add(counts: NDArray[np.int64], own: NDArray[np.int64]) -> None:
    """Add what pushing to one subscriber counted: sums, and the longest queue."""
    longest = max(counts[QUEUE_MAX], own[QUEUE_MAX])
    counts += own
    counts[QUEUE_MAX] = longest
