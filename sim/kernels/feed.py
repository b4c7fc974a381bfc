"""What the provider's feed shows each subscriber at a time, compiled: pure functions of the time."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sim.audience import Audience
from sim.compiled import jit
from sim.policies import NEVER, shown_from


class Rows(NamedTuple):
    """An audience as kernels read it: row s starts at s · `stride`, 0 when all share one."""

    created: NDArray[np.float64]
    stride: int
    counts: NDArray[np.int64]


class Feed(NamedTuple):
    """How late the feed shows an event, and what it retains.

    So many events (0: any number), and those of so many seconds.
    """

    lag_s: float
    retained_events: int
    retained_s: float


def compile_rows(audience: Audience) -> Rows:
    """The rows of an audience."""
    if audience.shared:  # a copy can be written, as other rows can: one type, so kernels are compiled once
        return Rows(audience.created[0].copy(), 0, audience.count)
    return Rows(audience.created.ravel(), audience.created.shape[1], audience.count)


@jit
def created_at(rows: Rows, subscriber: int, event: int) -> float:
    """When a subscriber's event is created."""
    return float(rows.created[subscriber * rows.stride + event])


@jit
def shown(feed: Feed, rows: Rows, subscriber: int, time_s: float) -> int:
    """How many events have come into a subscriber's feed by a time, retained or not."""
    by_s = time_s - feed.lag_s
    first = low = subscriber * rows.stride
    high = first + rows.counts[subscriber]
    while low < high:
        middle = (low + high) >> 1
        if rows.created[middle] <= by_s:
            low = middle + 1
        else:
            high = middle
    return int(low - first)


@jit
def oldest(feed: Feed, rows: Rows, subscriber: int, time_s: float) -> int:
    """The first event a subscriber's feed still retains at a time."""
    if feed.retained_events > 0:
        return max(shown(feed, rows, subscriber, time_s) - feed.retained_events, 0)
    if feed.retained_s == NEVER:
        return 0
    since_s = time_s - feed.retained_s
    first = low = subscriber * rows.stride
    high = first + rows.counts[subscriber]
    while low < high:
        middle = (low + high) >> 1
        if rows.created[middle] < since_s:
            low = middle + 1
        else:
            high = middle
    return int(low - first)


@jit
def page(feed: Feed, rows: Rows, subscriber: int, cursor: int, size: int, time_s: float) -> tuple[int, int]:
    """The feed's answer at a time, at most `size` events from `cursor` on: events first … end - 1."""
    first = max(cursor, oldest(feed, rows, subscriber, time_s))
    return first, max(first, min(shown(feed, rows, subscriber, time_s), first + size))


@jit
def next_news(feed: Feed, rows: Rows, subscriber: int, cursor: int, time_s: float, until_s: float) -> float:
    """When the feed next shows something from `cursor` on, given that it shows nothing at `time_s`.

    `until_s`, if that comes first. An event that is too old before it is ever shown is no news.
    """
    for event in range(max(cursor, shown(feed, rows, subscriber, time_s)), rows.counts[subscriber]):
        shown_s = shown_from(created_at(rows, subscriber, event), feed.lag_s)
        if shown_s >= until_s:
            break
        if oldest(feed, rows, subscriber, shown_s) <= event:
            return shown_s
    return until_s
