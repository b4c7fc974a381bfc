"""A receiver that turns away what it has no room for, in closed form."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class MMcK:
    """M/M/c/K: Poisson arrivals, exponential service, c workers, K places in all; who finds none is lost.

    A birth-death process: births at λ below K, deaths at min(n, c)μ. With K = c it is Erlang's loss system,
    with K = c = 1 the blocking worker M/M/1/1. Sources: Erlang 1917; Kleinrock, Queueing Systems I, 1975,
    §3.6; Gross & Harris, Fundamentals of Queueing Theory, ch. 2. Conditions: steady state, which always
    exists.

    Attributes:
        workers: c.
        places: K, those in service included.
        arrivals_per_s: λ, of those turned away too.
        services_per_s: μ, of one worker.

    Raises:
        ValueError: a parameter is not positive, or K is below c.
    """

    workers: int
    places: int
    arrivals_per_s: float
    services_per_s: float

    def __post_init__(self) -> None:
        if self.workers < 1 or self.arrivals_per_s <= 0 or self.services_per_s <= 0:
            raise ValueError(f"workers and rates must be positive: {self}")
        if self.places < self.workers:
            raise ValueError(f"there must be a place for each worker: {self}")

    @property
    def occupancy(self) -> list[float]:
        """P(n there) for n = 0 … K: p(n) = p(n − 1) λ / (min(n, c) μ), summing to 1."""
        log_p = [0.0]
        for n in range(1, self.places + 1):
            busy = min(n, self.workers)
            log_p.append(log_p[-1] + math.log(self.arrivals_per_s / (busy * self.services_per_s)))
        largest = max(log_p)
        weights = [math.exp(x - largest) for x in log_p]
        whole = math.fsum(weights)
        return [weight / whole for weight in weights]

    @property
    def lost_ratio(self) -> float:
        """The share turned away, P(K there), as Poisson arrivals see time averages (Wolff 1982).

        For c = 1 it is (1 − ρ)ρ^K / (1 − ρ^(K+1)).
        """
        return self.occupancy[-1]

    @property
    def accepted_per_s(self) -> float:
        """λ(1 − P(K there))."""
        return self.arrivals_per_s * (1 - self.lost_ratio)

    @property
    def utilisation(self) -> float:
        """The share of worker time spent serving."""
        return self.accepted_per_s / (self.workers * self.services_per_s)

    @property
    def queue_mean(self) -> float:
        """The mean number waiting."""
        return math.fsum(max(n - self.workers, 0) * p for n, p in enumerate(self.occupancy))

    @property
    def wait_mean_s(self) -> float:
        """The mean wait of those let in, by Little's law."""
        return self.queue_mean / self.accepted_per_s

    @property
    def sojourn_mean_s(self) -> float:
        """From arrival to the end of service, of those let in."""
        return self.wait_mean_s + 1 / self.services_per_s

    @property
    def relaxation_s(self) -> float:
        """The time constant in which an empty start is forgotten.

        max(1/μ, 1/(λ + cμ − 2√(λcμ) cos(π/(K + 1)))), exact for c = 1 (Morse, Queues, Inventories and
        Maintenance, 1958), an approximation otherwise.
        """
        capacity = self.workers * self.services_per_s
        turn = math.cos(math.pi / (self.places + 1))
        gap = self.arrivals_per_s + capacity - 2 * math.sqrt(self.arrivals_per_s * capacity) * turn
        return max(1 / self.services_per_s, 1 / gap)
