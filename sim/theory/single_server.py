"""Queues with one worker in closed form: general service, service with vacations, periodic arrivals."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class MG1:
    """M/G/1: Poisson arrivals, service of any distribution, one worker, unlimited queue.

    Sources: Pollaczek 1930, Khinchine 1932; Kleinrock, Queueing Systems I, 1975, §5.6. Conditions: steady
    state (ρ < 1), services independent of all else; for the mean wait, any order blind to service times.

    Attributes:
        arrivals_per_s: λ.
        service_mean_s: E[S].
        service_second_moment_s2: E[S²].

    Raises:
        ValueError: ρ = λE[S] is not below 1, or a parameter is impossible.
    """

    arrivals_per_s: float
    service_mean_s: float
    service_second_moment_s2: float

    def __post_init__(self) -> None:
        # A constant's second moment may be a rounding below its mean's square.
        if self.arrivals_per_s <= 0 or self.service_mean_s <= 0:
            raise ValueError(f"rate and service must be positive: {self}")
        if self.service_second_moment_s2 < self.service_mean_s**2 * (1 - 1e-12):
            raise ValueError(f"E[S²] must be at least E[S]²: {self}")
        if self.utilisation >= 1:
            raise ValueError(f"a steady state needs ρ below 1, got {self.utilisation:g}: {self}")

    @property
    def utilisation(self) -> float:
        """ρ = λE[S]."""
        return self.arrivals_per_s * self.service_mean_s

    @property
    def wait_mean_s(self) -> float:
        """W_q = λE[S²] / (2(1 − ρ))."""
        return self.arrivals_per_s * self.service_second_moment_s2 / (2 * (1 - self.utilisation))

    @property
    def queue_mean(self) -> float:
        """The mean number waiting, λ W_q (Little 1961)."""
        return self.arrivals_per_s * self.wait_mean_s

    @property
    def sojourn_mean_s(self) -> float:
        """From arrival to the end of service: W_q + E[S]."""
        return self.wait_mean_s + self.service_mean_s

    @property
    def relaxation_s(self) -> float:
        """Roughly the time constant in which an empty start is forgotten, E[S] + 2λE[S²]/(1 − ρ)².

        The second term is that of the reflected Brownian motion the workload resembles in heavy traffic, of
        drift −(1 − ρ) and variance λE[S²] a second (Abate & Whitt, Advances in Applied Probability 19, 1987).
        """
        heavy_traffic_s = (
            2 * self.arrivals_per_s * self.service_second_moment_s2 / (1 - self.utilisation) ** 2
        )
        return self.service_mean_s + heavy_traffic_s

    def wait_with_vacations_mean_s(self, vacation_mean_s: float, vacation_second_moment_s2: float) -> float:
        """P6: the mean wait when the worker takes a vacation V whenever it finds nothing, again and again.

        W_q = λE[S²]/(2(1 − ρ)) + E[V²]/(2E[V]): the wait without vacations and, independent of it, the rest
        of a vacation seen at a random time. "Sleep T when empty, else drain" is V = T. Conditions besides
        those of M/G/1: vacations independent of arrivals and services. Sources: Levy & Yechiali,
        "Utilization of idle time in an M/G/1 queueing system", Management Science 22, 1975; Fuhrmann &
        Cooper, Operations Research 33, 1985 (the decomposition).
        """
        return self.wait_mean_s + vacation_second_moment_s2 / (2 * vacation_mean_s)


@dataclass(frozen=True)
class DM1:
    """D/M/1: periodic arrivals, exponential service, one worker, first come first served, unlimited queue.

    An arrival finds a geometric number there, so its sojourn is exponential of rate μ(1 − β), where β is the
    root in (0, 1) of β = exp(−(1 − β)/ρ). Sources: Kendall 1953; Kleinrock, Queueing Systems I, 1975, ch. 6.
    Conditions: steady state, which needs ρ < 1.

    Attributes:
        arrivals_per_s: λ.
        services_per_s: μ.

    Raises:
        ValueError: ρ = λ/μ is not below 1, or a parameter is not positive.
    """

    arrivals_per_s: float
    services_per_s: float

    def __post_init__(self) -> None:
        if self.arrivals_per_s <= 0 or self.services_per_s <= 0:
            raise ValueError(f"rates must be positive: {self}")
        if self.utilisation >= 1:
            raise ValueError(f"a steady state needs ρ below 1, got {self.utilisation:g}: {self}")

    @property
    def utilisation(self) -> float:
        """ρ = λ/μ."""
        return self.arrivals_per_s / self.services_per_s

    @property
    def found_busy(self) -> float:
        """β, the probability that an arrival waits: by bisection to the last bit.

        exp(−(1 − β)/ρ) − β is convex, positive at 0 and zero at 1, and negative just below 1 as ρ < 1.
        """
        low, high = 0.0, 1.0
        while low < (middle := (low + high) / 2) < high:
            above = math.exp(-(1 - middle) / self.utilisation) > middle
            low, high = (middle, high) if above else (low, middle)
        return low

    @property
    def sojourn_mean_s(self) -> float:
        """From arrival to the end of service: 1/(μ(1 − β))."""
        return 1 / (self.services_per_s * (1 - self.found_busy))

    @property
    def wait_mean_s(self) -> float:
        """W_q = β/(μ(1 − β))."""
        return self.found_busy * self.sojourn_mean_s

    @property
    def queue_mean(self) -> float:
        """The mean number waiting, λ W_q (Little 1961)."""
        return self.arrivals_per_s * self.wait_mean_s

    def sojourn_quantile_s(self, p: float) -> float:
        """The t with P(sojourn ≤ t) = p, p in (0, 1)."""
        return -math.log1p(-p) * self.sojourn_mean_s
