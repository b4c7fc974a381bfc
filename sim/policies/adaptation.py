"""How long an adaptive poller sleeps."""

from __future__ import annotations

from typing import NamedTuple

from sim.compiled import jit
from sim.scenario import Scenario

AIMD, AGE = range(2)

_KINDS = {"aimd": AIMD, "age": AGE}


class AdaptiveRule(NamedTuple):
    """A scenario's `adaptive_polling` as numbers, with the interval a poller begins with."""

    kind: int
    share: float
    increase_s: float
    decrease: float
    min_interval_s: float
    max_interval_s: float
    first_interval_s: float


def compile_adaptive(scenario: Scenario) -> AdaptiveRule:
    """The numbers `adaptive_interval` needs; the first interval is that of `polling`, within the bounds."""
    spec = scenario.adaptive_polling
    return AdaptiveRule(
        _KINDS[spec.kind],
        spec.share,
        spec.increase_s,
        spec.decrease,
        spec.min_interval_s,
        spec.max_interval_s,
        min(max(scenario.polling.interval_s, spec.min_interval_s), spec.max_interval_s),
    )


@jit
def adaptive_interval(rule: AdaptiveRule, last_s: float, found: bool, age_s: float) -> float:
    """The interval after a cycle that went well, seconds.

    Args:
        rule: the rule.
        last_s: the interval before it.
        found: whether the cycle brought any event.
        age_s: the age of the newest event known, counted from 0 while none is.
    """
    if rule.kind == AGE:
        return min(max(rule.share * age_s, rule.min_interval_s), rule.max_interval_s)
    if found:
        return max(rule.min_interval_s, rule.decrease * last_s)
    return min(rule.max_interval_s, last_s + rule.increase_s)
