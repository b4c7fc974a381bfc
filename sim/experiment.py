"""How sure we are: means over replications with confidence intervals, and paired differences.

Intervals are over per-replication values, which are independent; values within a replication are not.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Estimate:
    """A mean over replications and its two-sided Student-t interval; None bounds for one replication."""

    mean: float
    low: float | None
    high: float | None


def estimate(values: Sequence[float], confidence: float = CONFIDENCE) -> Estimate:
    """The mean of one value a replication, with its interval.

    A NaN (undefined in some replication) makes the whole estimate NaN: leaving such replications
    out would bias it.
    """
    mean = float(np.mean(values))
    if len(values) < 2 or math.isnan(mean):
        return Estimate(mean, None, None)
    from scipy.special import stdtrit  # noqa: PLC0415 - slow to import, and one replication needs none

    error = float(np.std(values, ddof=1)) / math.sqrt(len(values))
    half_width = float(stdtrit(len(values) - 1, (1 + confidence) / 2)) * error
    return Estimate(mean, mean - half_width, mean + half_width)


def paired_difference(a: Sequence[float], b: Sequence[float], confidence: float = CONFIDENCE) -> Estimate:
    """The mean of a − b over replications that shared their random numbers, with its interval."""
    return estimate([x - y for x, y in zip(a, b, strict=True)], confidence)
