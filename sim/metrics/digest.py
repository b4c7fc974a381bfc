"""What metrics need of any number of deliveries: sums, counts and a histogram, which add up.

Both ways to a metric lead through here. Records are folded when a metric is asked for; a simulation that
keeps none folds each subscriber's before it forgets them. Either way deliveries are summed subscriber by
subscriber within fixed blocks, and the blocks in order, so sums have the same bits for any number of workers.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sim.metrics.basis import kept_ranks
from sim.metrics.histogram import empty_histogram, quantiles_of, ranked
from sim.metrics.latencies import QUANTILES, exact_quantiles, sorted_latencies
from sim.metrics.recovery import recoveries
from sim.metrics.scans import COUNTS, LATENCY_MAX_S, LATENCY_MIN_S, SUMS, Folded, Span, fold_rows
from sim.records import Deliveries, Window
from sim.scenario import Scenario

BLOCKS = 32
"""Into how many blocks subscribers are divided at most."""


class Totals(NamedTuple):
    """What became of deliveries, over all subscribers; "windowed" are those of events created in the window.

    Attributes:
        total: how many windowed deliveries there are.
        delivered: of those, how many became visible.
        lost: how many never will.
        pending: how many were under way when the world ended.
        attempts: tries made.
        duplicates: copies beyond the first of those delivered.
        overtaken: delivered after an event created later.
        on_time: visible within the bound.
        missed: lost, or not visible before a newer one was.
        shown: first visible within the window, whenever created.
        seen: windowed and visible, so that there is a latency.
        peaks: how often age of information dropped within the window.
        late_s: seconds from creation to being visible, or to the world's end.
        latency_s: the sum of latencies.
        stale_s: the integral over the window of not being fresh.
        age_s2: the integral of age.
        aoi_s2: the integral of age of information.
        peak_sum_s: the sum of its peaks.
        latency_max_s: the longest latency, −inf of none.
        latency_min_s: the shortest, +inf of none.
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
    shown: int
    seen: int
    peaks: int
    late_s: float
    latency_s: float
    stale_s: float
    age_s2: float
    aoi_s2: float
    peak_sum_s: float
    latency_max_s: float
    latency_min_s: float


@dataclass(frozen=True)
class Digest:
    """Deliveries folded: all that metrics need of them but exact quantiles.

    Attributes:
        totals: sums and counts.
        latency_quantiles_s: of `QUANTILES`.
        latencies_s: those at `sim.metrics.basis.kept_ranks` of all, sorted.
        mean_latency_s: of each subscriber, NaN if it got nothing, shape (n_subscribers,).
        concerned: whether a subscriber had a windowed event.
        come_s: when what is not lost is created, NaN elsewhere; empty unless a recovery is to be timed.
        gone_s: when it becomes visible; likewise.
    """

    totals: Totals
    latency_quantiles_s: Sequence[float]
    latencies_s: NDArray[np.float64]
    mean_latency_s: NDArray[np.float64]
    concerned: NDArray[np.bool_]
    come_s: NDArray[np.float64]
    gone_s: NDArray[np.float64]


def span_of(scenario: Scenario) -> Span:
    """What of a scenario's time is looked at."""
    run = scenario.run
    on_time_s = math.inf if run.on_time_s is None else run.on_time_s
    return Span(run.warmup_s, run.duration_s, scenario.world_end_s, on_time_s)


def blocks_of(subscribers: int) -> list[tuple[int, int]]:
    """The blocks into which subscribers are divided, as (first, end): a function of their number alone."""
    blocks = min(BLOCKS, subscribers)
    return list(pairwise(subscribers * block // blocks for block in range(blocks + 1)))


def nothing_folded(shape: tuple[int, ...], span: Span, *, buckets: bool, times: bool) -> Folded:
    """A fold of no deliveries yet, of the (n_subscribers, width) that are to come.

    Args:
        shape: how many subscribers there are, and the most events that one of them has.
        span: what will be looked at.
        buckets: whether latencies are counted in a histogram.
        times: whether the times are kept that timing a recovery needs, 16 bytes a delivery.
    """
    sums = np.zeros(SUMS + 2)
    sums[LATENCY_MAX_S], sums[LATENCY_MIN_S] = -math.inf, math.inf
    kept = shape if times else (0, shape[1])
    return Folded(
        counts=np.zeros(COUNTS, dtype=np.int64),
        sums=sums,
        histogram=empty_histogram(span.world_end_s) if buckets else np.zeros(0, dtype=np.int64),
        mean_latency_s=np.full(shape[0], math.nan),
        concerned=np.zeros(shape[0], dtype=np.bool_),
        come_s=np.full(kept, math.nan),
        gone_s=np.full(kept, math.nan),
    )


def beside(folded: Folded, span: Span) -> Folded:
    """A fold of no deliveries yet for one block, to be added to `folded`; what is by subscriber is shared."""
    own = nothing_folded((0, 0), span, buckets=len(folded.histogram) > 0, times=False)
    return folded._replace(counts=own.counts, sums=own.sums, histogram=own.histogram)


def add(folded: Folded, blocks: Iterable[Folded]) -> None:
    """Add blocks in order to what they were `beside`."""
    for block in blocks:
        folded.counts[...] += block.counts
        folded.histogram[...] += block.histogram
        folded.sums[:SUMS] += block.sums[:SUMS]
        folded.sums[LATENCY_MAX_S] = max(folded.sums[LATENCY_MAX_S], block.sums[LATENCY_MAX_S])
        folded.sums[LATENCY_MIN_S] = min(folded.sums[LATENCY_MIN_S], block.sums[LATENCY_MIN_S])


def totals_of(folded: Folded) -> Totals:
    """Counts and sums by name."""
    return Totals(*(int(count) for count in folded.counts), *(float(value) for value in folded.sums))


def digest(folded: Folded) -> Digest:
    """What deliveries folded one by one come to; quantiles are the histogram's."""
    totals = totals_of(folded)
    ends_s = totals.latency_min_s, totals.latency_max_s
    quantiles_s = quantiles_of(folded.histogram, QUANTILES, *ends_s)
    kept_s = ranked(folded.histogram, kept_ranks(totals.seen), *ends_s)
    return Digest(totals, quantiles_s, kept_s, *folded[3:])


def digest_records(deliveries: Deliveries, scenario: Scenario) -> Digest:
    """What records come to; quantiles are exact."""
    span = span_of(scenario)
    folded = nothing_folded(deliveries.visible.shape, span, buckets=False, times=bool(recoveries(scenario)))
    created = deliveries.created[:1].copy() if deliveries.audience.shared else deliveries.created
    blocks = []
    for first, end in blocks_of(len(deliveries.visible)):
        blocks.append(beside(folded, span))
        fold_rows(
            blocks[-1], span, first, end, created, deliveries.audience.count, deliveries.visible,
            deliveries.attempts, deliveries.copies, deliveries.status,
        )  # fmt: skip
    add(folded, blocks)
    latency_s = sorted_latencies(deliveries, Window(span.start_s, span.end_s))
    kept_s = latency_s[kept_ranks(len(latency_s))]
    return Digest(totals_of(folded), exact_quantiles(latency_s), kept_s, *folded[3:])
