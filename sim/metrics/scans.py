"""Compiled walks over delivery records: each subscriber's events once, in order or backwards.

Those over records take `created` as (n_subscribers, width), or as one row when everybody has the same,
`count` as how many places of each row mean anything, and `visible` with NaN for never.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sim.compiled import jit
from sim.delivery import Status

_DELIVERED, _LOST = int(Status.DELIVERED), int(Status.LOST)

_Times = NDArray[np.float64]
_Counts = NDArray[np.int64]


class Tally(NamedTuple):
    """What became of the events created within the window, summed over subscribers.

    Attributes:
        total: how many deliveries there are.
        delivered: of those, how many became visible.
        lost: how many never will.
        pending: how many were under way when the world ended.
        attempts: tries made.
        duplicates: copies beyond the first of those delivered.
        overtaken: delivered after an event created later.
        on_time: visible within the bound.
        missed: lost, or not visible before a newer one was.
        late_s: seconds from creation to being visible, or to the world's end.
    """

    total: int
    delivered: int
    lost: int
    pending: int
    attempts: int
    duplicates: int
    overtaken: int
    on_time: int
    missed: int
    late_s: float


@jit
def tally(
    created: _Times,
    count: _Counts,
    visible: _Times,
    attempts: NDArray[np.int32],
    copies: NDArray[np.int32],
    status: NDArray[np.int8],
    window_start_s: float,
    world_end_s: float,
    on_time_s: float,
) -> Tally:
    """Count what became of the events, each row from its newest event back to the window's start."""
    total = delivered = lost = pending = tries = duplicates = overtaken = on_time = missed = 0
    late_s = 0.0
    for s in range(len(visible)):
        row = min(s, len(created) - 1)
        # The earliest time at which an event is visible: of those created later than this one, of those
        # created at the same instant after it, and of both.
        after, beside = math.inf, math.inf
        instant = math.inf
        for e in range(count[s] - 1, -1, -1):
            born = created[row, e]
            if born < window_start_s:
                break
            if born < instant:
                after, beside, instant = min(after, beside), math.inf, born
            shown = math.inf if math.isnan(visible[s, e]) else visible[s, e]
            total += 1
            tries += attempts[s, e]
            on_time += shown - born <= on_time_s
            newer = min(after, beside)
            missed += status[s, e] == _LOST or (newer < math.inf and newer <= shown)
            late_s += (shown if shown < math.inf else max(world_end_s, born)) - born
            if status[s, e] == _DELIVERED:
                delivered += 1
                duplicates += copies[s, e] - 1
                overtaken += after < shown
            elif status[s, e] == _LOST:
                lost += 1
            else:
                pending += 1
            beside = min(beside, shown)
    return Tally(total, delivered, lost, pending, tries, duplicates, overtaken, on_time, missed, late_s)


@jit
def shown_within(count: _Counts, visible: _Times, start_s: float, end_s: float) -> int:
    """How many events first became visible in [start_s, end_s), whenever created."""
    shown = 0
    for s in range(len(visible)):
        for e in range(count[s]):
            shown += start_s <= visible[s, e] < end_s
    return shown


@jit
def mean_latencies(
    created: _Times, count: _Counts, visible: _Times, window_start_s: float
) -> tuple[_Times, NDArray[np.bool_]]:
    """Each subscriber's mean latency over what was delivered, NaN if nothing was; and if it had any event."""
    means = np.full(len(visible), np.nan)
    concerned = np.zeros(len(visible), dtype=np.bool_)
    for s in range(len(visible)):
        row = min(s, len(created) - 1)
        sum_s, delivered = 0.0, 0
        for e in range(count[s] - 1, -1, -1):
            if created[row, e] < window_start_s:
                break
            concerned[s] = True
            if not math.isnan(visible[s, e]):
                sum_s += visible[s, e] - created[row, e]
                delivered += 1
        if delivered > 0:
            means[s] = sum_s / delivered
    return means, concerned


@jit
def staleness(
    created: _Times, count: _Counts, visible: _Times, start_s: float, end_s: float
) -> tuple[float, float]:
    """The integrals of "not fresh" and of age over [start_s, end_s).

    An event is the oldest unseen one from when all before it are visible (and it exists) until it is visible
    itself.
    """
    stale_s, age_s2 = 0.0, 0.0
    for s in range(len(visible)):
        row = min(s, len(created) - 1)
        seen_before = -math.inf
        for e in range(count[s]):
            born = created[row, e]
            shown = math.inf if math.isnan(visible[s, e]) else visible[s, e]
            begin = max(born, seen_before, start_s)
            end = min(shown, end_s)
            if begin < end:
                stale_s += end - begin
                age_s2 += ((end - born) ** 2 - (begin - born) ** 2) / 2
            seen_before = max(seen_before, shown)
    return stale_s, age_s2


@jit
def age_of_information(
    created: _Times, count: _Counts, visible: _Times, start_s: float, end_s: float
) -> tuple[float, float, int]:
    """The integral of age of information over [start_s, end_s), and the sum and number of its peaks there.

    Backwards, an event is news if it is visible before everything newer. It is then the newest visible one
    until the next news, and its own age just before that is the peak.
    """
    aoi_s2, peak_sum_s, peaks = 0.0, 0.0, 0
    for s in range(len(visible)):
        row = min(s, len(created) - 1)
        next_shown, next_born = math.inf, math.inf
        for e in range(count[s] - 1, -2, -1):
            if e < 0:
                born, shown = 0.0, -math.inf  # the state at 0, seen from the start
            else:
                born = created[row, e]
                shown = math.inf if math.isnan(visible[s, e]) else visible[s, e]
            if shown >= next_shown:
                continue
            if born < next_born and start_s <= next_shown < end_s:
                peak_sum_s += next_shown - born
                peaks += 1
            begin, end = max(shown, start_s), min(next_shown, end_s)
            if begin < end:
                aoi_s2 += ((end - born) ** 2 - (begin - born) ** 2) / 2
            next_shown, next_born = shown, born
    return aoi_s2, peak_sum_s, peaks


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
