"""The Pareto front: candidates that no other one beats, over metrics of which less is better.

Candidate a dominates b when a's mean is no higher on any metric, and a is surely lower on at least one: their
intervals do not touch there. So

- equal candidates do not dominate each other, and both stay;
- a difference that the intervals cannot tell from nothing dominates nobody;
- an undefined value (NaN) is as bad as an infinite one, and level with it;
- a plain number is its own interval, and then this is the usual strict dominance; an interval that lacks
  one end has no bound there.

Since a dominating candidate is strictly lower on some mean and higher on none, nobody is dominated in a
circle: the front of any candidates is never empty.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from sim.experiment import Estimate

Measured = float | Estimate
"""A value, or a mean with the interval around it."""


def dominates(a: Mapping[str, Measured], b: Mapping[str, Measured], metrics: Sequence[str]) -> bool:
    """Whether a is at least as good as b on every metric, and surely better on one.

    Raises:
        KeyError: one of them lacks a metric.
    """
    pairs = [(_interval(a[metric]), _interval(b[metric])) for metric in metrics]
    return all(mean <= other for (_, mean, _), (_, other, _) in pairs) and any(
        high < low for (_, _, high), (low, _, _) in pairs
    )


def pareto_front(candidates: Sequence[Mapping[str, Measured]], metrics: Sequence[str]) -> list[bool]:
    """Of each candidate, whether it is on the front.

    Args:
        candidates: metric -> value, each with all of `metrics`.
        metrics: of which less is better; at least one.

    Raises:
        ValueError: no metric is named.
        KeyError: a candidate lacks one.
    """
    if not metrics:
        raise ValueError("a front needs at least one metric")
    return [not any(dominates(other, each, metrics) for other in candidates) for each in candidates]


def _interval(value: Measured) -> tuple[float, float, float]:
    """Low, mean, high; what is undefined is infinite."""
    if not isinstance(value, Estimate):
        mean = low = high = float(value)
    else:
        mean = value.mean
        alone = value.low is value.high is None
        low = mean if alone else -math.inf if value.low is None else value.low
        high = mean if alone else math.inf if value.high is None else value.high
    if math.isnan(mean):
        return math.inf, math.inf, math.inf
    return low, mean, high
