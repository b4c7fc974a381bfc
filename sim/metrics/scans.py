"""Compiled walks over delivery records: one subscriber's events in order, or backwards, folded into sums."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sim.compiled import jit
from sim.delivery import Status
from sim.metrics.histogram import bucket_of

_DELIVERED, _LOST = int(Status.DELIVERED), int(Status.LOST)

_Times = NDArray[np.float64]

(
    TOTAL,
    DELIVERED,
    LOST,
    PENDING,
    ATTEMPTS,
    DUPLICATES,
    OVERTAKEN,
    ON_TIME,
    MISSED,
    SHOWN,
    SEEN,
    PEAKS,
) = range(12)
COUNTS = 12
"""How many things are counted; what each is: `sim.metrics.digest.Totals`."""

LATE_S, LATENCY_S, STALE_S, AGE_S2, AOI_S2, PEAK_SUM_S, LATENCY_MAX_S, LATENCY_MIN_S = range(8)
SUMS = 6
"""How many of the above are sums over deliveries or integrals over time; the last two are extremes."""


class Span(NamedTuple):
    """What is looked at: the window, the world's end and the bound of being on time, seconds."""

    start_s: float
    end_s: float
    world_end_s: float
    on_time_s: float


class Folded(NamedTuple):
    """What any number of deliveries come to, as arrays that are written in place.

    Attributes:
        counts: `COUNTS` numbers.
        sums: `SUMS` sums and two extremes.
        histogram: windowed latencies (`sim.metrics.histogram`); empty when they are not wanted.
        mean_latency_s: each subscriber's, NaN if it got nothing.
        concerned: whether a subscriber had a windowed event.
        come_s: when what is not lost is created, row by row, NaN elsewhere; empty when it is not wanted.
        gone_s: when it becomes visible; likewise.
    """

    counts: NDArray[np.int64]
    sums: _Times
    histogram: NDArray[np.int64]
    mean_latency_s: _Times
    concerned: NDArray[np.bool_]
    come_s: _Times
    gone_s: _Times


@jit
def fold(
    folded: Folded,
    span: Span,
    subscriber: int,
    created: _Times,
    visible: _Times,
    attempts: NDArray[np.int32],
    copies: NDArray[np.int32],
    status: NDArray[np.int8],
) -> None:
    """Add one subscriber's events: arrays of shape (n_events,), `visible` with NaN for never."""
    _back(folded, span, subscriber, created, visible, attempts, copies, status)
    _forth(folded, span, created, visible)
    if len(folded.come_s) > 0:
        for e in range(len(created)):
            if status[e] != _LOST:
                folded.come_s[subscriber, e], folded.gone_s[subscriber, e] = created[e], visible[e]


@jit
def fold_rows(
    folded: Folded,
    span: Span,
    first: int,
    end: int,
    created: _Times,
    count: NDArray[np.int64],
    visible: _Times,
    attempts: NDArray[np.int32],
    copies: NDArray[np.int32],
    status: NDArray[np.int8],
) -> None:
    """Add subscribers first … end - 1 of arrays of shape (n_subscribers, width).

    `created` may be one row for all; `count` is how many places of each row mean anything.
    """
    for s in range(first, end):
        n = count[s]
        fold(
            folded, span, s, created[min(s, len(created) - 1), :n], visible[s, :n], attempts[s, :n],
            copies[s, :n], status[s, :n],
        )  # fmt: skip


@jit
def _back(
    folded: Folded,
    span: Span,
    subscriber: int,
    created: _Times,
    visible: _Times,
    attempts: NDArray[np.int32],
    copies: NDArray[np.int32],
    status: NDArray[np.int8],
) -> None:
    """What became of the events, from the newest back to the window's start; and age of information.

    Backwards, an event is news if it is visible before everything newer. It is then the newest visible one
    until the next news, and its own age just before that is the peak.
    """
    histogram, bins = folded.histogram, len(folded.histogram)
    start_s, end_s, on_time_s = span.start_s, span.end_s, span.on_time_s
    delivered = lost = pending = tries = duplicates = overtaken = on_time = missed = shown_in = peaks = 0
    windowed = seen = 0
    late_s, latency_s, max_s, min_s = 0.0, 0.0, -math.inf, math.inf
    aoi_s2, peak_sum_s = 0.0, 0.0
    # The earliest time at which an event is visible: of those created later than this one, of those
    # created at the same instant after it.
    after, beside, instant = math.inf, math.inf, math.inf
    next_shown, next_born = math.inf, math.inf
    for e in range(len(created) - 1, -1, -1):
        born = created[e]
        shown = math.inf if math.isnan(visible[e]) else visible[e]
        shown_in += start_s <= shown < end_s
        if born < instant:
            after, beside, instant = min(after, beside), math.inf, born
        if born >= start_s:
            newer = min(after, beside)
            windowed += 1
            tries += attempts[e]
            missed += status[e] == _LOST or (newer < math.inf and newer <= shown)
            if shown < math.inf:
                took_s = shown - born
                seen += 1
                on_time += took_s <= on_time_s
                latency_s += took_s
                late_s += took_s
                max_s, min_s = max(max_s, took_s), min(min_s, took_s)
                if bins > 0:
                    histogram[min(bucket_of(took_s), bins - 1)] += 1
            else:
                late_s += max(span.world_end_s, born) - born
            if status[e] == _DELIVERED:
                delivered += 1
                duplicates += copies[e] - 1
                overtaken += after < shown
            elif status[e] == _LOST:
                lost += 1
            else:
                pending += 1
        beside = min(beside, shown)
        if shown < next_shown:
            if born < next_born and start_s <= next_shown < end_s:
                peak_sum_s += next_shown - born
                peaks += 1
            aoi_s2 += _ageing(born, max(shown, start_s), min(next_shown, end_s))
            next_shown, next_born = shown, born
    # Before all of them, the state at 0 was seen from the start.
    if next_born > 0.0 and start_s <= next_shown < end_s:
        peak_sum_s += next_shown
        peaks += 1
    aoi_s2 += _ageing(0.0, start_s, min(next_shown, end_s))

    counts, sums = folded.counts, folded.sums
    counts[TOTAL] += windowed
    counts[DELIVERED] += delivered
    counts[LOST] += lost
    counts[PENDING] += pending
    counts[ATTEMPTS] += tries
    counts[DUPLICATES] += duplicates
    counts[OVERTAKEN] += overtaken
    counts[ON_TIME] += on_time
    counts[MISSED] += missed
    counts[SHOWN] += shown_in
    counts[SEEN] += seen
    counts[PEAKS] += peaks
    sums[LATE_S] += late_s
    sums[LATENCY_S] += latency_s
    sums[AOI_S2] += aoi_s2
    sums[PEAK_SUM_S] += peak_sum_s
    sums[LATENCY_MAX_S] = max(sums[LATENCY_MAX_S], max_s)
    sums[LATENCY_MIN_S] = min(sums[LATENCY_MIN_S], min_s)
    folded.concerned[subscriber] = windowed > 0
    folded.mean_latency_s[subscriber] = latency_s / seen if seen > 0 else math.nan


@jit
def _forth(folded: Folded, span: Span, created: _Times, visible: _Times) -> None:
    """The integrals of "not fresh" and of age over the window.

    An event is the oldest unseen one from when all before it are visible (and it exists) until it is visible
    itself.
    """
    start_s, end_s = span.start_s, span.end_s
    stale_s, age_s2 = 0.0, 0.0
    seen_before = -math.inf
    for e in range(len(created)):
        born = created[e]
        shown = math.inf if math.isnan(visible[e]) else visible[e]
        begin = max(born, seen_before, start_s)
        end = min(shown, end_s)
        if begin < end:
            stale_s += end - begin
            age_s2 += ((end - born) ** 2 - (begin - born) ** 2) / 2
        seen_before = max(seen_before, shown)
    folded.sums[STALE_S] += stale_s
    folded.sums[AGE_S2] += age_s2


@jit
def _ageing(born: float, begin: float, end: float) -> float:
    """The integral over [begin, end) of how long ago `born` was."""
    return ((end - born) ** 2 - (begin - born) ** 2) / 2 if begin < end else 0.0


@jit
def normal_again(created: _Times, visible: _Times, start_s: float, begins_s: float, ends_s: float) -> float:
    """When a backlog is first, from `ends_s` on, no higher than ever in [start_s, begins_s); NaN if never.

    Args:
        created: when what will not be lost is created, sorted, all subscribers together.
        visible: when what is delivered becomes visible, sorted.
        start_s: from when on the backlog is watched.
        begins_s: when things begin to go wrong.
        ends_s: when they are over.
    """
    normal, come, gone = 0, 0, 0
    now = start_s
    while True:
        while come < len(created) and created[come] <= now:
            come += 1
        while gone < len(visible) and visible[gone] <= now:
            gone += 1
        backlog = come - gone
        if now < begins_s:
            normal = max(normal, backlog)
        elif now >= ends_s and backlog <= normal:
            return now
        soonest = min(
            created[come] if come < len(created) else math.inf,
            visible[gone] if gone < len(visible) else math.inf,
        )
        if now < ends_s:
            soonest = min(soonest, ends_s)
        if soonest == math.inf:
            return math.nan
        now = soonest
