"""How sure a difference between measured latencies is: a block bootstrap, since neighbours are alike.

Requests that follow one another share a queue, a garbage collection, a busy neighbour; resampled one by
one, as if independent, they would look surer than they are. So whole blocks of consecutive ones are drawn
(H. R. Künsch, "The jackknife and the bootstrap for general stationary observations", Annals of Statistics
17(3), 1989), from a series bent into a circle, so that each request is as likely as any other to be drawn
(D. N. Politis & J. P. Romano, "A circular block-resampling procedure for stationary data", in LePage &
Billard, eds., Exploring the Limits of Bootstrap, 1992). Intervals are percentile intervals (B. Efron,
"Nonparametric standard errors and confidence intervals", Canadian Journal of Statistics 9(2), 1981).
Dependence longer than a block stays unseen, and so does whatever differs between one run and the next.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from loadtest.schedule import FloatArray, IntArray

BLOCK_S = 1.0
LEAST_BLOCKS = 20
MOST_REPLICATES, LEAST_REPLICATES = 999, 199
_WORK = 200_000_000
"""About how many values may be drawn in all: long series get fewer replicates, not more minutes."""


@dataclass(frozen=True)
class Interval:
    """A statistic and its bootstrap interval; NaN where it is undefined."""

    value: float
    low: float
    high: float


def block_length(created_s: FloatArray) -> int:
    """How many consecutive elements make a block: those of `BLOCK_S` seconds, or of n^(1/3) if more.

    n^(1/3) is the order that suits a variance best (P. Hall, J. L. Horowitz & B.-Y. Jing, "On blocking rules
    for the bootstrap with dependent data", Biometrika 82(3), 1995); but there are never fewer than
    `LEAST_BLOCKS` blocks, so of a run of less than 20 s a block is shorter than a second.
    """
    count = int(created_s.size)
    if count < 2:
        return 1
    span_s = float(created_s.max() - created_s.min())
    in_a_second = count * BLOCK_S / span_s if span_s > 0 else 1.0
    wanted = round(max(in_a_second, math.cbrt(count)))
    return max(1, min(wanted, count // LEAST_BLOCKS))


def replicates(count: int) -> int:
    """How many resamples are drawn of a series of so many elements."""
    return min(MOST_REPLICATES, max(LEAST_REPLICATES, _WORK // max(count, 1)))


def resample(count: int, length: int, rng: np.random.Generator) -> IntArray:
    """The indices of one circular block resample of a series."""
    starts = rng.integers(0, count, size=math.ceil(count / length))
    indices: IntArray = ((starts[:, None] + np.arange(length)) % count).ravel()[:count]
    return indices


def intervals(
    statistics: Callable[[IntArray, IntArray], FloatArray],
    sizes: tuple[int, int],
    lengths: tuple[int, int],
    *,
    paired: bool,
    confidence: float,
    seed: int = 1,
) -> list[Interval]:
    """Percentile intervals of statistics of two series.

    Args:
        statistics: from the chosen indices of either series to so many numbers.
        sizes: how long the two series are.
        lengths: of a block of either.
        paired: the same indices are drawn of both, whose elements belong together one to one.
        confidence: of each interval by itself.
        seed: fixes the resamples.

    Returns:
        one interval a statistic; low and high are NaN where a resample had none, infinite where it was.
    """
    rng = np.random.default_rng(seed)
    point = np.asarray(statistics(np.arange(sizes[0]), np.arange(sizes[1])), dtype=np.float64)
    drawn = np.empty((replicates(sum(sizes)), point.size))
    for row in drawn:
        first = resample(sizes[0], lengths[0], rng)
        row[:] = statistics(first, first if paired else resample(sizes[1], lengths[1], rng))
    tail = (1 - confidence) / 2
    found = []
    for value, column in zip(point, drawn.T, strict=True):
        # Between order statistics nothing is interpolated: between a number and infinity lies no number.
        low, high = (
            np.quantile(column, (tail, 1 - tail), method="inverted_cdf")
            if not np.isnan(column).any()
            else (math.nan, math.nan)
        )
        found.append(Interval(float(value), float(low), float(high)))
    return found


def cliffs_delta(a: FloatArray, b: FloatArray) -> float:
    """How much more often b exceeds a than a exceeds b, over all pairs: −1 to 1, 0 for no preference.

    N. Cliff, "Dominance statistics: ordinal analyses to answer ordinal questions", Psychological Bulletin
    114(3), 1993. NaN of nothing.
    """
    if a.size == 0 or b.size == 0:
        return math.nan
    ordered = np.sort(a)
    below = np.searchsorted(ordered, b, side="left").sum()
    above = (a.size - np.searchsorted(ordered, b, side="right")).sum()
    return float((below - above) / (a.size * b.size))
