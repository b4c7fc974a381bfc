"""How sure we are: means over replications with confidence intervals, and paired differences.

Intervals are over per-replication values, which are independent; values within a replication are not.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

CONFIDENCE = 0.95


class Method(StrEnum):
    """How an interval was made; `sim.experiment.intervals` says when and after whom."""

    STUDENT = "t"
    RATIO = "ratio"
    SELDOM = "seldom"
    POOLED = "pooled"


@dataclass(frozen=True)
class Estimate:
    """A figure over replications and its two-sided interval.

    Attributes:
        mean: of the replications; of ratios and quantiles that of all of them together.
        low, high: the interval's ends. Both None for one replication; one of them where the replications are
            too few to bound a quantile on that side.
        method: how the interval was made.
    """

    mean: float
    low: float | None
    high: float | None
    method: Method = Method.STUDENT

    @property
    def half_width(self) -> float | None:
        """The longer way from the mean to an end; None unless both are there."""
        if self.low is None or self.high is None:
            return None
        return max(self.mean - self.low, self.high - self.mean)


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


@dataclass(frozen=True)
class Pairing:
    """What common random numbers won on one difference a − b.

    Attributes:
        difference: with the interval of paired replications.
        unpaired: the same mean with Welch's interval, as of independent runs.
        variance_ratio: variance of the paired difference over that of the unpaired one: 0 is perfect pairing,
            1 no gain, above 1 a loss; NaN where neither varies.
        share: of the unpaired variance, what comes from a; NaN likewise.
    """

    difference: Estimate
    unpaired: Estimate
    variance_ratio: float
    share: float = math.nan

    @property
    def correlation(self) -> float:
        """Of a and b over replications; NaN where one of them does not vary."""
        spread = 2 * math.sqrt(self.share * (1 - self.share))
        return (1 - self.variance_ratio) / spread if spread else math.nan

    @property
    def narrower_at_best(self) -> float:
        """How many times narrower it could be if a and b moved in step: 1 where only one of them varies."""
        apart = abs(math.sqrt(self.share) - math.sqrt(1 - self.share))
        return 1 / apart if apart else math.inf

    @property
    def narrower(self) -> float:
        """How many times narrower the paired interval is than the unpaired one; NaN without intervals."""
        ours, theirs = self.difference.half_width, self.unpaired.half_width
        if ours is None or theirs is None or math.isnan(self.variance_ratio):
            return math.nan
        return theirs / ours if ours else math.inf if theirs else math.nan

    @property
    def helps(self) -> bool:
        """Whether pairing narrowed the interval noticeably, to two thirds or less."""
        return self.narrower >= 1.5


def pairing(a: Sequence[float], b: Sequence[float], confidence: float = CONFIDENCE) -> Pairing:
    """Compare paired replications with what independent ones would have told.

    The unpaired interval is Welch's (Welch 1947), with Satterthwaite's degrees of freedom; the paired one is
    Student's over differences (Law, "Simulation Modeling and Analysis", sections 10.2.1 and 11.2).
    """
    difference = paired_difference(a, b, confidence)
    count = len(a)
    if difference.high is None:
        return Pairing(difference, Estimate(difference.mean, None, None), math.nan)
    variances = [float(np.var(values, ddof=1)) / count for values in (a, b)]
    total = sum(variances)
    if not total:
        return Pairing(difference, Estimate(difference.mean, difference.mean, difference.mean), math.nan)
    from scipy.special import stdtrit  # noqa: PLC0415 - slow to import, and one replication needs none

    freedom = total**2 / sum(variance**2 / (count - 1) for variance in variances)
    half_width = float(stdtrit(freedom, (1 + confidence) / 2)) * math.sqrt(total)
    unpaired = Estimate(difference.mean, difference.mean - half_width, difference.mean + half_width)
    paired_variance = float(np.var(np.subtract(a, b), ddof=1)) / count
    return Pairing(difference, unpaired, paired_variance / total, variances[0] / total)
