"""Estimates of metrics over replications, each by the method that its kind needs (`sim.metrics.kinds`).

====================  ==================================================================================
kind                  estimate and 95 % interval
====================  ==================================================================================
mean, extreme         the mean over replications; Student's t
ratio, share, count   the sum over the sum; Student's t over what each replication adds to it, the delta
                      method (Law, "Simulation Modeling and Analysis", section 9.5.3)
share, count, when    the same; Clopper and Pearson's binomial interval (of counts Garwood's for Poisson)
seldom or never seen  over an effective number: how many independent events would tell as much, with the
                      deviation between replications (Korn & Graubard, Survey Methodology 24, 1998)
quantile              the quantile of all deliveries together; between two of them in order, by the
                      binomial law, over an effective number likewise (Woodruff, JASA 47, 1952)
====================  ==================================================================================

A mean of per-replication quantiles would be off by more than its interval wherever replications are many and
short: a run's p99 stands for its p98 when it has a hundred deliveries. The t interval of what was never seen
would be [0, 0]; the binomial one is at most 3.7 in N, if such events strike independently of each other.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from sim.experiment.estimates import CONFIDENCE, Estimate, Method, Pairing, estimate, pairing
from sim.metrics.basis import Basis, joint_latencies_s, pooled_quantile
from sim.metrics.kinds import Kind, Nature, nature_of

SELDOM = 30
"""A share of so few independent cases, or a share that leaves out so few, has a lopsided interval."""

REFINEMENTS = 8
"""Where not all latencies were kept, the end of an interval is found between two by so many halvings."""


class Sample(NamedTuple):
    """One metric of one mechanism over replications.

    Attributes:
        values: one a replication.
        bases: what they rest on; empty where it was not kept, when every metric is taken for a mean.
    """

    values: Sequence[float]
    bases: Sequence[Basis] = ()


def metric_estimate(metric: str, sample: Sample, confidence: float = CONFIDENCE) -> Estimate:
    """A metric with its interval; NaN when it is undefined in some replication, no bounds for one alone."""
    nature = nature_of(metric)
    weights = _weights(nature, sample)
    if any(math.isnan(value) for value in sample.values):
        return Estimate(math.nan, None, None)
    if nature.level is not None and sample.bases:
        return _quantile(nature.level, sample.bases, confidence)
    if weights is None:
        return estimate(sample.values, confidence)
    if nature.kind in (Kind.SHARE, Kind.COUNT) and len(sample.values) > 1:
        return _share(nature.kind, sample.values, weights, confidence)
    found = estimate(_scores(sample.values, weights), confidence)
    return Estimate(found.mean, found.low, found.high, Method.RATIO)


def metric_pairing(metric: str, a: Sample, b: Sample, confidence: float = CONFIDENCE) -> Pairing:
    """The difference a − b over replications that shared their random numbers, and what sharing won.

    It is the difference of the two estimates; its interval is Student's t over what each replication adds
    to it. Where a share was never seen, or always, in one of them, its interval is put together from both
    (Zou & Donner, Statistics in Medicine 27, 2008), and what pairing won is not known.
    """
    nature = nature_of(metric)
    if any(math.isnan(value) for sample in (a, b) for value in sample.values):
        return pairing([math.nan] * len(a.values), [math.nan] * len(b.values), confidence)
    scores = [_all_scores(nature, sample) for sample in (a, b)]
    paired = pairing(scores[0], scores[1], confidence)
    if nature.kind not in (Kind.SHARE, Kind.COUNT) or paired.difference.high is None:
        return paired
    ends = [metric_estimate(metric, sample, confidence) for sample in (a, b)]
    if not any(end.method is Method.SELDOM and end.mean in (0.0, 1.0) for end in ends):
        return paired
    first, second = ends
    assert first.low is not None and first.high is not None  # noqa: PT018 - as of every share with intervals
    assert second.low is not None and second.high is not None  # noqa: PT018
    mean = first.mean - second.mean
    low = mean - math.hypot(first.mean - first.low, second.high - second.mean)
    high = mean + math.hypot(first.high - first.mean, second.mean - second.low)
    difference = Estimate(mean, low, high, Method.SELDOM)
    return Pairing(difference, difference, math.nan)


def _weights(nature: Nature, sample: Sample) -> list[float] | None:
    """What each replication's value is per; None where it is no ratio, or that is not known."""
    if nature.base is None or not sample.bases:
        return None
    counts = [basis.of(nature.base) for basis in sample.bases]
    known = [float(count) for count in counts if count is not None]
    return known if len(known) == len(counts) and any(known) else None


def _scores(values: Sequence[float], weights: Sequence[float]) -> list[float]:
    """One number a replication whose mean is the ratio of the sums and whose deviation is the ratio's.

    With y over x the ratio is r; a replication's score is r + n (y − r x) / Σx, n being their number.
    """
    whole = math.fsum(weights)
    ratio = math.fsum(value * weight for value, weight in zip(values, weights, strict=True)) / whole
    each = len(values) / whole
    return [ratio + each * weight * (value - ratio) for value, weight in zip(values, weights, strict=True)]


def _all_scores(nature: Nature, sample: Sample) -> Sequence[float]:
    """The same for every kind; a replication's quantile is moved, so that their mean is the joint one."""
    if nature.level is not None and sample.bases:
        shift = pooled_quantile(sample.bases, nature.level) - float(np.mean(sample.values))
        return [value + shift for value in sample.values]
    weights = _weights(nature, sample)
    return sample.values if weights is None else _scores(sample.values, weights)


def _share(
    kind: Kind, values: Sequence[float], weights: Sequence[float], confidence: float, effect: float = 0.0
) -> Estimate:
    """A share of clustered observations, with an interval that holds also where it is near an end.

    Args:
        kind: of a share, or a count.
        values: the share in each replication.
        weights: of how many.
        confidence: of the interval.
        effect: a design effect (see `_design_effect`) known otherwise: the larger one counts.
    """
    from scipy.special import betaincinv, gammaincinv, ndtri, stdtrit  # noqa: PLC0415 - slow to import

    count, total, level = len(values), math.fsum(weights), (1 + confidence) / 2
    share, own = _design_effect(kind, values, weights)
    effect = max(effect, 0.0 if math.isnan(own) else own)
    fewer = share if kind is Kind.COUNT else min(share, 1 - share)
    if total * fewer >= SELDOM * max(effect, 1.0):
        alone = share if kind is Kind.COUNT else share * (1 - share)
        half_width = float(stdtrit(count - 1, level)) * math.sqrt(effect * alone / total)
        return Estimate(share, share - half_width, share + half_width, Method.RATIO)
    number = total / max(effect, 1.0)
    if effect:  # which is itself uncertain
        number *= min(1.0, float(ndtri(level) / stdtrit(count - 1, level)) ** 2)
    seen = share * number
    if kind is Kind.COUNT:
        low = float(gammaincinv(seen, 1 - level)) / number if seen else 0.0
        high = float(gammaincinv(seen + 1, level)) / number
    else:
        low = float(betaincinv(seen, number - seen + 1, 1 - level)) if seen > 0 else 0.0
        high = float(betaincinv(seen + 1, number - seen, level)) if seen < number else 1.0
    return Estimate(share, min(low, share), max(high, share), Method.SELDOM)


def _design_effect(kind: Kind, values: Sequence[float], weights: Sequence[float]) -> tuple[float, float]:
    """A share, and how many times its variance is that of as many independent observations (Kish 1965).

    It is NaN where none or all are in the share: then nothing shows how they cluster.
    """
    scores = _scores(values, weights)
    share = math.fsum(scores) / len(scores)
    alone = share if kind is Kind.COUNT else share * (1 - share)
    if alone <= 0:
        return share, math.nan
    variance = math.fsum((score - share) ** 2 for score in scores) / (len(scores) - 1)
    return share, variance / len(scores) / (alone / math.fsum(weights))


def _quantile(level: float, bases: Sequence[Basis], confidence: float) -> Estimate:
    """The joint quantile, and the latencies of which the share that is no longer may be `level`.

    The design effect is the larger one of those at the quantile and at the latency in question: in the tail
    too few are left to show how they cluster. Where even the longest latency may be too short, there is no
    upper bound.
    """
    mean = pooled_quantile(bases, level)
    if len(bases) < 2 or math.isnan(mean):
        return Estimate(mean, None, None)
    counters = [basis.counter() for basis in bases]
    weights = [float(basis.delivered) for basis in bases]

    def shares(latency_s: float) -> list[float]:
        return [
            counter(latency_s) / weight if weight else 0.0
            for counter, weight in zip(counters, weights, strict=True)
        ]

    _, at_mean = _design_effect(Kind.SHARE, shares(mean), weights)
    effect = 0.0 if math.isnan(at_mean) else at_mean

    def share_at(latency_s: float) -> Estimate:
        return _share(Kind.SHARE, shares(latency_s), weights, confidence, effect)

    def long_enough(latency_s: float) -> bool:
        high = share_at(latency_s).high
        return high is not None and high >= level

    def too_long(latency_s: float) -> bool:
        low = share_at(latency_s).low
        return low is not None and low > level

    known_s = joint_latencies_s(bases)
    middle = bisect_left(known_s, mean)
    low = _first(known_s[: middle + 1], long_enough)
    high = _first(known_s[middle:], too_long)
    return Estimate(
        mean,
        mean if low is None else min(low, mean),
        None if high is None else max(high, mean),
        Method.POOLED,
    )


def _first(ascending: Sequence[float], test: Callable[[float], bool]) -> float | None:
    """Where a test that fails at first begins to pass, also between two values; None if it never does."""
    place = bisect_left(ascending, True, key=test)
    if place == len(ascending):
        return None
    above = ascending[place]
    below = ascending[place - 1] if place else above
    for _ in range(REFINEMENTS if place else 0):
        between = (below + above) / 2
        if test(between):
            above = between
        else:
            below = between
    return above
