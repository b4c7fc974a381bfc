"""Polling in closed form: how long an event waits to be asked for, and how often nobody asked for anything.

Everything follows from the cycle, the time C between the instants at which one poll and the next look
at the feed. λ is the events' rate, T the poll interval.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Cycle:
    """The time between two looks at the feed: a stationary sequence, of which one C is described.

    Means over time need nothing more (the inversion formula of Palm calculus: Baccelli & Brémaud, Elements of
    Queueing Theory, 2nd ed. 2003); the cycles need not be independent of each other.

    Attributes:
        mean_s: E[C].
        second_moment_s2: E[C²].
        laplace: z -> E[exp(−zC)], z in 1/s.
    """

    mean_s: float
    second_moment_s2: float
    laplace: Callable[[float], float]

    @property
    def wait_mean_s(self) -> float:
        """P2: the mean time from an event to the next look, E[C²] / (2 E[C]).

        Conditions: events independent of the looks. It exceeds E[C]/2 because an event is likelier to
        fall into a long cycle (the inspection paradox). It is also the mean time since the last look.
        Source: Cox, Renewal Theory, 1962, ch. 5.
        """
        return self.second_moment_s2 / (2 * self.mean_s)

    def empty_ratio(self, rate_per_s: float) -> float:
        """P3: the share of looks that find nothing, E[exp(−λC)].

        Conditions: Poisson events, independent of the looks. For C = T it is exp(−λT), for exponential C
        of mean T it is 1/(1 + λT). Source: the Poisson probability of no event, averaged over C
        (Ross, Stochastic Processes, 2nd ed. 1996, ch. 2).
        """
        return self.laplace(rate_per_s)

    def batch_mean(self, rate_per_s: float) -> float:
        """P4: the mean number of events a look finds, empty ones included: λ E[C] (any event process)."""
        return rate_per_s * self.mean_s

    def seen_ratio(self, rate_per_s: float) -> float:
        """P7: the share of a last value's updates that some look sees, (1 − E[exp(−λC)]) / (λ E[C]).

        Conditions: Poisson updates, independent of the looks. A look that finds anything new sees one update,
        the newest; of the λ E[C] in a cycle the others were overwritten. For C = T it is
        (1 − exp(−λT))/(λT), for exponential C of mean T 1/(1 + λT). By PASTA (Wolff 1982) it is also the
        probability of no update since the last look, so the freshness of a copy made at each look.
        """
        return (1 - self.laplace(rate_per_s)) / self.batch_mean(rate_per_s)


def _uniform_laplace(x: float) -> float:
    """E[exp(−xU)] for U on (0, 1): (1 − e^(−x))/x."""
    return -math.expm1(-x) / x if x else 1.0


def constant_cycle(cycle_s: float) -> Cycle:
    """A look every `cycle_s`: fixed-rate polls, or fixed-delay polls, where C = T + round trip."""
    return Cycle(cycle_s, cycle_s**2, lambda z: math.exp(-z * cycle_s))


def jittered_cycle(interval_s: float, jitter_s: float) -> Cycle:
    """Tick k at kT + J·U_k, U_k uniform and independent: C = T + J(U' − U), of a triangular density.

    E[C] = T, E[C²] = T² + J²/6, and with x = zJ E[exp(−zC)] = e^(−zT) (1 − e^(−x))(e^x − 1)/x². With J = T
    it is one look at a random time in each period. Conditions: J ≤ T; a poll is over before the next tick,
    which for J = T needs a round trip of 0.
    """
    return Cycle(
        interval_s,
        interval_s**2 + jitter_s**2 / 6,
        lambda z: (
            math.exp(-z * interval_s) * _uniform_laplace(z * jitter_s) * _uniform_laplace(-z * jitter_s)
        ),
    )


def delayed_cycle(delay_s: float, jitter_s: float) -> Cycle:
    """A delay after each answer, counted with the round trip, and jitter beside it: C = D + J·U.

    E[C] = D + J/2, E[C²] = D² + DJ + J²/3, E[exp(−zC)] = e^(−zD) (1 − e^(−zJ))/(zJ).
    """
    return Cycle(
        delay_s + jitter_s / 2,
        delay_s**2 + delay_s * jitter_s + jitter_s**2 / 3,
        lambda z: math.exp(-z * delay_s) * _uniform_laplace(z * jitter_s),
    )


def exponential_cycle(interval_s: float, round_trip_s: float = 0.0) -> Cycle:
    """Polls at exponential gaps of mean T, put off until the answer to the last is there: C = max(X, r).

    With r the constant round trip, from P(C > x) = exp(−x/T) for x ≥ r and 1 below:
    E[C] = r + T e^(−r/T), E[C²] = r² + 2T(r + T) e^(−r/T),
    E[exp(−zC)] = e^(−zr)(1 − e^(−r/T)) + e^(−(z + 1/T) r)/(1 + zT). With r = 0: T, 2T², 1/(1 + zT).
    """
    mean_s, r = interval_s, round_trip_s
    beyond = math.exp(-r / mean_s)
    return Cycle(
        r + mean_s * beyond,
        r**2 + 2 * mean_s * (r + mean_s) * beyond,
        lambda z: math.exp(-z * r) * (1 - beyond) + math.exp(-z * r) * beyond / (1 + z * mean_s),
    )


def fixed_rate_latency_mean_s(interval_s: float, return_s: float = 0.0) -> float:
    """P1: the mean latency of events polled at a fixed rate, T/2 + d.

    Conditions: events of any kind, independent of the poll phase; a constant outbound transit, which
    then only shifts the phase; d = `return_s`, from the look to the event's being visible. Source: the
    time to the next point of a lattice at a uniform phase is U(0, T) (Cox, Renewal Theory, 1962, ch. 5).
    """
    return interval_s / 2 + return_s


def fixed_rate_latency_quantile_s(p: float, interval_s: float, return_s: float = 0.0) -> float:
    """P1: the p-quantile of that latency, pT + d. Conditions besides: d constant."""
    return p * interval_s + return_s


def empty_ratio_periodic(period_s: float, interval_s: float) -> float:
    """P3: the share of fixed-rate polls that find nothing when events come every `period_s`: max(0, 1 − T/P).

    Conditions: a free phase between the two. A cycle shorter than the period holds an event with
    probability T/P, a longer one always holds one.
    """
    return max(0.0, 1 - interval_s / period_s)


def batch_nonempty_mean(rate_per_s: float, interval_s: float) -> float:
    """P4: the mean size of a batch that is not empty, λT / (1 − exp(−λT)).

    Conditions: Poisson events, fixed-rate polls. Source: the zero-truncated Poisson distribution
    (Johnson, Kemp & Kotz, Univariate Discrete Distributions, 3rd ed. 2005, ch. 4).
    """
    mean = rate_per_s * interval_s
    return mean / -math.expm1(-mean)


def served_batch_latency_mean_s(
    rate_per_s: float, interval_s: float, service_s: float, return_s: float = 0.0
) -> float:
    """P5: the mean latency when a polled batch is served one after another, T/2 + d + λTs/2 + s.

    Conditions: Poisson events, fixed-rate polls, one worker, constant service s, each batch served before
    the next arrives. An event waits for E[N(N − 1)] / (2 E[N]) others of its batch on average, which is
    λT/2 for a Poisson N. Source: Burke, "Delays in single-server queues with batch input", Operations
    Research 23(4), 1975.
    """
    return interval_s / 2 + return_s + rate_per_s * interval_s * service_s / 2 + service_s
