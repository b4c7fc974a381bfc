"""What a provider and a webhook endpoint make of each other: signatures, switching off, second chances."""

from __future__ import annotations

from typing import NamedTuple

from sim.compiled import jit
from sim.policies.times import NEVER, window_of
from sim.scenario import Disabling, Redelivery

_UNHEARD_OF = 2**62


class DisablingRule(NamedTuple):
    """A scenario's `webhook.disabling` as numbers; without one, never."""

    consecutive_failures: int
    failing_for_s: float
    re_enable_after_s: float


class RedeliveryRule(NamedTuple):
    """A scenario's `webhook.redelivery` as numbers; without one, no rounds."""

    every_s: float
    rounds: int
    within_s: float


class Standing(NamedTuple):
    """How an endpoint stands with its provider.

    So many failures in a row, the first of them known at `since_s`; off until `off_until_s`.
    """

    failures: int
    since_s: float
    off_until_s: float


def compile_disabling(disabling: Disabling | None) -> DisablingRule:
    """The numbers `after_failure` needs."""
    if disabling is None:
        return DisablingRule(_UNHEARD_OF, NEVER, NEVER)
    return DisablingRule(
        disabling.consecutive_failures or _UNHEARD_OF,
        disabling.failing_for_s or NEVER,
        disabling.re_enable_after_s or NEVER,
    )


def compile_redelivery(redelivery: Redelivery | None) -> RedeliveryRule:
    """How often somebody looks at the dead letters, how many times, and how old they may be."""
    if redelivery is None:
        return RedeliveryRule(1.0, 0, NEVER)
    return RedeliveryRule(redelivery.every_s, redelivery.rounds, redelivery.within_s or NEVER)


@jit
def new_standing() -> Standing:
    """Switched on, nothing held against it."""
    return Standing(0, 0.0, 0.0)


@jit
def is_off(standing: Standing, time_s: float) -> bool:
    """Whether the endpoint is switched off."""
    return time_s < standing.off_until_s


@jit
def after_failure(rule: DisablingRule, standing: Standing, known_s: float) -> Standing:
    """The standing once a failed attempt is known; one known while the endpoint is off changes nothing."""
    if known_s < standing.off_until_s:
        return standing
    since_s = known_s if standing.failures == 0 else standing.since_s
    failures = standing.failures + 1
    if failures >= rule.consecutive_failures or known_s - since_s >= rule.failing_for_s:
        return Standing(0, known_s, known_s + rule.re_enable_after_s)
    return Standing(failures, since_s, standing.off_until_s)


@jit
def after_success(standing: Standing) -> Standing:
    """The standing once an acknowledged attempt is known: nothing held against the endpoint any more."""
    return Standing(0, standing.since_s, standing.off_until_s)


@jit
def next_look(rule: RedeliveryRule, time_s: float) -> float:
    """When the dead letters are next looked at, strictly after a time: at the multiples of `every_s`."""
    return (window_of(time_s, rule.every_s) + 1) * rule.every_s


@jit
def is_stale(signed_s: float, arrival_s: float, clock_offset_s: float, tolerance_s: float) -> bool:
    """Whether a signature's time is further off the receiver's clock than it tolerates, either way."""
    return abs((arrival_s + clock_offset_s) - signed_s) > tolerance_s
