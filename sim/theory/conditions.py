"""What a formula needs of a scenario: conditions that can be checked, and named when they fail."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from sim.distribution_specs import Constant, DistributionSpec
from sim.errors import ConditionsViolated
from sim.scenario import PeriodicWorkload, PoissonWorkload, Scenario

QUANTILES = {"latency_p50_s": 0.5, "latency_p95_s": 0.95, "latency_p99_s": 0.99}

NEGLIGIBLE = 1e-9
"""A probability below which a formula's idealisation ("the page is never full") counts as met."""


@dataclass(frozen=True)
class Prediction:
    """What theory says a metric will be, on average over replications.

    Attributes:
        metric: its name, as in `sim.metrics`.
        value: in the metric's unit.
        formula: the name of the formula it comes from.
    """

    metric: str
    value: float
    formula: str


@dataclass(frozen=True)
class Condition:
    """Something a scenario must be for a formula to hold.

    Attributes:
        needs: the condition as a sentence.
        holds: whether a scenario meets it.
        found: what the scenario has instead, for the message.
    """

    needs: str
    holds: Callable[[Scenario], bool]
    found: Callable[[Scenario], object]


@dataclass(frozen=True)
class Formula:
    """A closed form as a statement about scenarios.

    Attributes:
        name: what it is called in tables and errors.
        mechanism: which mechanism it speaks of.
        stages: the conditions; those of one stage make sense only where all of the stages before hold.
        values: scenario -> metric -> value.
    """

    name: str
    mechanism: str
    stages: tuple[tuple[Condition, ...], ...]
    values: Callable[[Scenario], dict[str, float]]

    def violated(self, scenario: Scenario) -> list[str]:
        """One sentence for each condition of the first stage that fails; empty when the formula applies."""
        for stage in self.stages:
            broken = [c for c in stage if not c.holds(scenario)]
            if broken:
                return [f"{c.needs} (here {c.found(scenario)})" for c in broken]
        return []

    def predict(self, scenario: Scenario) -> list[Prediction]:
        """What the formula says of this scenario.

        Raises:
            ConditionsViolated: naming each condition that does not hold.
        """
        violated = self.violated(scenario)
        if violated:
            raise ConditionsViolated(self.name, violated)
        return [Prediction(metric, value, self.name) for metric, value in self.values(scenario).items()]


def constant_s(distribution: DistributionSpec) -> float:
    """A constant duration's value, NaN for any other kind (so that no comparison with it holds)."""
    return distribution.mean_s if isinstance(distribution, Constant) else math.nan


def second_moment_s2(distribution: DistributionSpec) -> float:
    """E[S²] of a duration, from its mean and coefficient of variation."""
    return distribution.mean_s**2 * (1 + distribution.cv**2)


def rate_per_s(scenario: Scenario) -> float:
    """λ; only for workloads that state one."""
    workload = scenario.workload
    assert isinstance(workload, PoissonWorkload | PeriodicWorkload)
    return workload.rate_per_s


def poisson_exceeds(mean: float, n: float) -> float:
    """P(N > n) for a Poisson N."""
    from scipy.special import pdtrc  # noqa: PLC0415 - slow to import, and only conditions need it

    return float(pdtrc(math.floor(n), mean))


POISSON = Condition(
    "workload.kind is poisson",
    lambda s: isinstance(s.workload, PoissonWorkload),
    lambda s: s.workload.kind,
)
PERIODIC = Condition(
    "workload.kind is periodic, at a random phase",
    lambda s: isinstance(s.workload, PeriodicWorkload) and s.workload.phase == "random",
    lambda s: s.workload.kind,
)
POISSON_OR_PERIODIC = Condition(
    "workload.kind is poisson or periodic",
    lambda s: isinstance(s.workload, PoissonWorkload | PeriodicWorkload),
    lambda s: s.workload.kind,
)
CONSTANT_TRANSIT = Condition(
    "network.one_way is constant",
    lambda s: isinstance(s.network.one_way, Constant),
    lambda s: s.network.one_way.kind,
)
NO_TRANSIT = Condition(
    "network.one_way is constant 0",
    lambda s: constant_s(s.network.one_way) == 0,
    lambda s: f"{s.network.one_way.kind}, mean {s.network.one_way.mean_s:g} s",
)
NO_SERVICE = Condition(
    "receiver.service is constant 0, so that nothing queues",
    lambda s: constant_s(s.receiver.service) == 0,
    lambda s: f"{s.receiver.service.kind}, mean {s.receiver.service.mean_s:g} s",
)
ONE_WORKER = Condition(
    "receiver.workers is 1", lambda s: s.receiver.workers == 1, lambda s: s.receiver.workers
)
LAST_VALUE = Condition(
    "workload.content is last_value",
    lambda s: s.workload.content == "last_value",
    lambda s: s.workload.content,
)
