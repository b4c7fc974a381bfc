"""The receiver as a queue in closed form."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count


@dataclass(frozen=True)
class MMc:
    """M/M/c: Poisson arrivals, exponential service, c workers, first come first served, unlimited queue.

    Sources: Erlang 1917 (Erlang C); Kleinrock, Queueing Systems I, 1975, §3.5; Gross & Harris,
    Fundamentals of Queueing Theory, ch. 2. Conditions: steady state, which needs ρ < 1.

    Attributes:
        workers: c.
        arrivals_per_s: λ.
        services_per_s: μ, of one worker.

    Raises:
        ValueError: ρ = λ/(cμ) is not below 1, or a parameter is not positive.
    """

    workers: int
    arrivals_per_s: float
    services_per_s: float

    def __post_init__(self) -> None:
        if self.workers < 1 or self.arrivals_per_s <= 0 or self.services_per_s <= 0:
            raise ValueError(f"workers and rates must be positive: {self}")
        if self.utilisation >= 1:
            raise ValueError(f"a steady state needs ρ below 1, got {self.utilisation:g}: {self}")

    @property
    def load(self) -> float:
        """The offered load a = λ/μ, in busy workers."""
        return self.arrivals_per_s / self.services_per_s

    @property
    def utilisation(self) -> float:
        """ρ = λ/(cμ)."""
        return self.load / self.workers

    @property
    def drain_per_s(self) -> float:
        """cμ − λ: how fast a queue shrinks; the rate of the exponential wait of those who wait."""
        return self.workers * self.services_per_s - self.arrivals_per_s

    @property
    def wait_probability(self) -> float:
        """Erlang C, P(W > 0), from Erlang B's recursion B(k) = aB(k−1) / (k + aB(k−1)): B/(1 − ρ(1 − B))."""
        blocked = 1.0
        for k in range(1, self.workers + 1):
            blocked = self.load * blocked / (k + self.load * blocked)
        return blocked / (1 - self.utilisation * (1 - blocked))

    @property
    def wait_mean_s(self) -> float:
        """W_q = C/(cμ − λ)."""
        return self.wait_probability / self.drain_per_s

    def wait_exceeds(self, t_s: float) -> float:
        """P(W > t) = C exp(−(cμ − λ) t), t ≥ 0."""
        return self.wait_probability * math.exp(-self.drain_per_s * t_s)

    @property
    def queue_mean(self) -> float:
        """The mean number waiting, λ W_q (Little 1961)."""
        return self.arrivals_per_s * self.wait_mean_s

    def queue_reaches(self, n: int) -> float:
        """P(an arrival finds all workers busy and at least n waiting) = C ρ^n."""
        return self.wait_probability * self.utilisation**n

    @property
    def sojourn_mean_s(self) -> float:
        """From arrival to the end of service: W_q + 1/μ."""
        return self.wait_mean_s + 1 / self.services_per_s

    def sojourn_exceeds(self, t_s: float) -> float:
        """P(S > t), the wait and the service convolved.

        With b = c − 1 − a: exp(−μt) (1 + C (1 − exp(−μbt))/b); at b = 0 the fraction is μt. For c = 1 this
        is exp(−(μ − λ)t), the classical M/M/1.
        """
        mu, b = self.services_per_s, self.workers - 1 - self.load
        x = mu * b * t_s
        served = math.exp(-mu * t_s)
        if abs(x) > 1:
            waited = (served - math.exp(-self.drain_per_s * t_s)) / b
        else:
            waited = served * (-math.expm1(-x) / b if b else mu * t_s)
        return served + self.wait_probability * waited

    def sojourn_quantile_s(self, p: float) -> float:
        """The t with P(S ≤ t) = p, by bisection to the last bit; p in (0, 1)."""
        low, high = 0.0, 1 / self.services_per_s
        while self.sojourn_exceeds(high) > 1 - p:
            low, high = high, 2 * high
        while low < (middle := (low + high) / 2) < high:
            low, high = (middle, high) if self.sojourn_exceeds(middle) > 1 - p else (low, middle)
        return high

    @property
    def relaxation_s(self) -> float:
        """The time constant in which an empty start is forgotten, max(1/μ, 1/(√(cμ) − √λ)²).

        Exact for c = 1 (Morse, Queues, Inventories and Maintenance, 1958), an approximation otherwise.
        """
        gap = (math.sqrt(self.workers * self.services_per_s) - math.sqrt(self.arrivals_per_s)) ** 2
        return max(1 / self.services_per_s, 1 / gap)


@dataclass(frozen=True)
class MDc:
    """M/D/c: Poisson arrivals, constant service, c workers, first come first served, unlimited queue.

    With equal services the workers take the arrivals in turn, so each sees every c-th one: it is an E_c/D/1
    queue, whose wait is the maximum of the random walk S_k = ks − G_k, G_k the time of kc arrivals.
    Spitzer's identity gives E[W] = Σ E[S_k⁺]/k and P(W = 0) = exp(−Σ P(S_k > 0)/k) (Spitzer, Transactions
    of the AMS 82, 1956), and G_k < ks says that at least kc arrivals come in ks, a Poisson number of mean
    kcρ. The sum is Crommelin's ("Delay probability formulae when the holding times are constant", P.O.
    Electrical Engineers Journal 25, 1932). Conditions: steady state, which needs ρ < 1.

    Attributes:
        workers: c.
        arrivals_per_s: λ.
        service_s: s.

    Raises:
        ValueError: ρ = λs/c is not below 1, or a parameter is not positive.
    """

    workers: int
    arrivals_per_s: float
    service_s: float

    def __post_init__(self) -> None:
        if self.workers < 1 or self.arrivals_per_s <= 0 or self.service_s <= 0:
            raise ValueError(f"workers, rate and service must be positive: {self}")
        if self.utilisation >= 1:
            raise ValueError(f"a steady state needs ρ below 1, got {self.utilisation:g}: {self}")

    @property
    def utilisation(self) -> float:
        """ρ = λs/c."""
        return self.arrivals_per_s * self.service_s / self.workers

    @property
    def wait_probability(self) -> float:
        """P(W > 0) = 1 − exp(−Σ P(N_k ≥ kc)/k), N_k Poisson of mean kcρ."""
        return -math.expm1(-math.fsum(reached / k for k, reached, _ in self._walk()))

    @property
    def wait_mean_s(self) -> float:
        """W_q = s Σ [P(N_k ≥ kc) − P(N_k > kc)/ρ], N_k Poisson of mean kcρ (Crommelin 1932)."""
        steps = (reached - passed / self.utilisation for _, reached, passed in self._walk())
        return self.service_s * math.fsum(steps)

    @property
    def queue_mean(self) -> float:
        """The mean number waiting, λ W_q (Little 1961)."""
        return self.arrivals_per_s * self.wait_mean_s

    @property
    def sojourn_mean_s(self) -> float:
        """From arrival to the end of service: W_q + s."""
        return self.wait_mean_s + self.service_s

    @property
    def relaxation_s(self) -> float:
        """Roughly the time constant in which an empty start is forgotten, s + 2ρs/(c(1 − ρ)²).

        The second term is that of reflected Brownian motion, as `sim.theory.single_server.MG1.relaxation_s`.
        """
        return self.service_s * (1 + 2 * self.utilisation / (self.workers * (1 - self.utilisation) ** 2))

    def _walk(self) -> Iterator[tuple[int, float, float]]:
        """k, P(N_k ≥ kc), P(N_k > kc), until the first is below 1e-18; they fall geometrically."""
        from scipy.special import pdtrc  # noqa: PLC0415 - slow to import, and only this queue needs it

        for k in count(1):
            n, mean = k * self.workers, k * self.workers * self.utilisation
            reached, passed = float(pdtrc(n - 1, mean)), float(pdtrc(n, mean))
            if reached < 1e-18:
                return
            yield k, reached, passed
