"""A histogram of durations whose buckets are narrow in proportion: constant memory, a stated relative error.

Log-linear, as HdrHistogram's is: every power of two is cut into `_PARTS` equal buckets, so a duration is
known within `RELATIVE_ERROR` of itself, from `_SMALLEST_S` up; below, it counts as `_SMALLEST_S`. A bucket's
number is the leading bits of the duration as a float64 (exponent, then mantissa), less those of the smallest.
Counts are integers, so histograms add up in any order.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from sim.compiled import jit

_PART_BITS = 9
_PARTS = 1 << _PART_BITS
_SHIFT = 52 - _PART_BITS
_SMALLEST_EXPONENT = -24
_SMALLEST_S = 2.0**_SMALLEST_EXPONENT
_BIAS = 1023
_FIRST = (_BIAS + _SMALLEST_EXPONENT) << _PART_BITS

RELATIVE_ERROR = 0.5 / _PARTS
"""How far a bucket's middle is at most from what it counts, in proportion: 0.1 %."""


def empty_histogram(longest_s: float) -> NDArray[np.int64]:
    """A count for each bucket up to the one of `longest_s`: none yet."""
    return np.zeros(max(bucket_of(longest_s), 0) + 1, dtype=np.int64)


@jit
def bucket_of(duration_s: float) -> int:
    """The number of the bucket of a duration of 0 or more."""
    return max(int(np.float64(duration_s).view(np.int64) >> _SHIFT) - _FIRST, 0)


def middle_of(bucket: int) -> float:
    """The middle of a bucket, seconds."""
    exponent, part = divmod(bucket, _PARTS)
    return math.ldexp(1.0 + (part + 0.5) / _PARTS, exponent + _SMALLEST_EXPONENT)


def quantiles_of(
    histogram: NDArray[np.int64], shares: Sequence[float], least_s: float, most_s: float
) -> list[float]:
    """Quantiles of what was counted, by the method of `sim.metrics.QUANTILE_METHOD` on the buckets' middles.

    Args:
        histogram: the counts.
        shares: which quantiles, each in [0, 1].
        least_s: the least that was counted, exactly; no quantile is below.
        most_s: the most.

    Returns:
        Each within `RELATIVE_ERROR` of the exact one (and `_SMALLEST_S`); NaN of nothing.
    """
    total = int(histogram.sum())
    if total == 0:
        return [math.nan for _ in shares]
    ranks = [divmod(share * (total - 1), 1.0) for share in shares]
    low = ranked(histogram, np.array([int(rank) for rank, _ in ranks]), least_s, most_s)
    high = ranked(histogram, np.array([min(int(rank) + 1, total - 1) for rank, _ in ranks]), least_s, most_s)
    return [float(a + rest * (b - a)) for a, b, (_, rest) in zip(low, high, ranks, strict=True)]


def ranked(
    histogram: NDArray[np.int64], ranks: NDArray[np.int64], least_s: float, most_s: float
) -> NDArray[np.float64]:
    """The durations at given ranks of all in ascending order, from 0, each within `RELATIVE_ERROR`.

    Args:
        histogram: the counts.
        ranks: ascending or not, each below the number of all that was counted.
        least_s: the least that was counted, exactly.
        most_s: the most.
    """
    buckets = np.searchsorted(np.cumsum(histogram), ranks, side="right")
    middles_s = np.array([middle_of(int(bucket)) for bucket in buckets], dtype=np.float64)
    return np.clip(middles_s, least_s, most_s)
