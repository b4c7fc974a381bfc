"""Freshness and age of a copy, after Cho & Garcia-Molina.

A copy is fresh while nothing has changed at the source that it does not show; its age is how long ago the
oldest change that it does not show was made, 0 while fresh. A copy is made of the state at each look and
shown `delay_s` after it. λ is the changes' rate, r = λT.

Changes are Poisson, so at any time only one thing matters: X, how old the state shown is. X is the time since
the last look that is shown: the time since a look, E[C²]/(2E[C]) on average, plus the delay.

Source: Cho & Garcia-Molina, "Synchronizing a database to improve freshness", SIGMOD 2000. Their three
orders are the cycles `constant_cycle(T)` (fixed order), `jittered_cycle(T, T)` (random order) and
`exponential_cycle(T)` (looks at random).
"""

from __future__ import annotations

import math

from sim.theory.cycles import Cycle


def freshness(cycle: Cycle, rate_per_s: float, delay_s: float = 0.0) -> float:
    """The share of time a copy is fresh: E[exp(−λX)] = e^(−λd) (1 − E[exp(−λC)]) / (λ E[C]).

    Fixed order (1 − e^(−r))/r; random order (1 − ((1 − e^(−r))/r)²)/r; exponential looks 1/(1 + r).
    Conditions:
    Poisson changes independent of the looks, each look shows all, after a constant delay d.
    """
    return math.exp(-rate_per_s * delay_s) * cycle.seen_ratio(rate_per_s)


def age_mean_s(cycle: Cycle, rate_per_s: float, delay_s: float = 0.0) -> float:
    """The mean age over time: E[(X − Y)⁺] = E[X] − (1 − F)/λ, F the freshness, Y exponential of rate λ.

    Y is the time from the state shown to the first change after it, so E[min(X, Y)] = (1 − E[exp(−λX)])/λ.
    Fixed order T[½ − 1/r + (1 − e^(−r))/r²]; exponential looks Tr/(1 + r). Conditions as `freshness`.
    """
    shown_age_s = cycle.wait_mean_s + delay_s
    return shown_age_s - (1 - freshness(cycle, rate_per_s, delay_s)) / rate_per_s


def pushed_freshness(rate_per_s: float, delay_s: float) -> float:
    """The share of time in which no change is under way, when each is shown a constant d after it: e^(−λd).

    Conditions: Poisson changes. It is the limit of `freshness` as the cycle goes to 0.
    """
    return math.exp(-rate_per_s * delay_s)


def pushed_age_mean_s(rate_per_s: float, delay_s: float) -> float:
    """The mean age over time then: d − (1 − e^(−λd))/λ. Conditions as `pushed_freshness`."""
    return delay_s + math.expm1(-rate_per_s * delay_s) / rate_per_s
