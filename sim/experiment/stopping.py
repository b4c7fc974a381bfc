"""How many replications are enough: as many as make an interval as narrow as was asked for."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sim.engine import DEFAULT_MECHANISMS, Engine, Outcome, extended, simulate
from sim.errors import InputError
from sim.experiment.estimates import Estimate, Method
from sim.scenario import Scenario

FEWEST = 3
"""Below so many replications a standard deviation says next to nothing."""


@dataclass(frozen=True)
class Precision:
    """When to stop.

    Attributes:
        relative: the error that is tolerable, as a share of the mean: 0.02 for two percent.
        metric: of which metric, for every mechanism.
        minimum, maximum: replications at least and at most.

    Raises:
        InputError: a number out of range.
    """

    relative: float
    metric: str = "latency_mean_s"
    minimum: int = 10
    maximum: int = 1000

    def __post_init__(self) -> None:
        if not 0 < self.relative < 1:
            raise InputError(f"--precision must lie between 0 and 1, got {self.relative:g}")
        if not FEWEST <= self.minimum <= self.maximum:
            raise InputError(
                f"replications: {FEWEST} <= minimum <= maximum, got {self.minimum} and {self.maximum}"
            )

    def achieved(self, estimate: Estimate) -> float:
        """The half-width as a share of the mean; 0 where nothing varies, as where something is never seen."""
        half_width = estimate.half_width
        if half_width is None:
            return math.inf
        if half_width == 0 or (estimate.method is Method.SELDOM and estimate.mean in (0.0, 1.0)):
            return 0.0
        return half_width / abs(estimate.mean) if estimate.mean else math.inf

    @property
    def target(self) -> float:
        """The relative half-width to reach: γ/(1 + γ) keeps the error relative to the true mean within γ."""
        return self.relative / (1 + self.relative)

    def missed_by(self, outcome: Outcome) -> dict[str, float]:
        """By mechanism, the relative half-width of each that is wider than asked."""
        achieved = {
            mechanism: self.achieved(by_metric[self.metric])
            for mechanism, by_metric in outcome.estimates().items()
            if self.metric in by_metric
        }
        return {mechanism: width for mechanism, width in achieved.items() if width > self.target}

    def next_count(self, count: int, worst: float) -> int:
        """How many replications to look at next, when `count` gave a relative half-width of `worst`.

        Widths shrink with the root of the number. It is at most doubled, because a width from few
        replications is itself uncertain, and seldom looked at: each look is a chance to stop too soon.
        """
        wanted = 2 * count if math.isinf(worst) else math.ceil(count * (worst / self.target) ** 2)
        return min(max(wanted, count + 1), 2 * count, self.maximum)


def simulate_until(
    scenario: Scenario,
    mechanisms: Sequence[str] = DEFAULT_MECHANISMS,
    *,
    precision: Precision,
    engine: Engine = "fast",
    seed: int = 1,
    records: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Outcome:
    """Simulate until the metric of every mechanism is known as well as asked, or `maximum` is spent.

    The procedure for a relative error of Law and Kelton ("Simulation Modeling and Analysis", section 9.4.1):
    stop when the half-width of the 95 % interval is at most γ/(1 + γ) of the mean. Its coverage falls short
    of 95 % by a few points when it stops at few replications, hence a `minimum` of ten.

    Raises:
        InputError: as `simulate`; or no mechanism has the metric, or it is undefined in some replication.
    """
    outcome = simulate(
        scenario, mechanisms, engine=engine, seed=seed, replications=precision.minimum, records=records,
        progress=progress,
    )  # fmt: skip
    while (worst := _worst(outcome, precision)) > precision.target:
        if outcome.replications >= precision.maximum:
            break
        outcome = extended(outcome, precision.next_count(outcome.replications, worst), progress)
    return outcome


def _worst(outcome: Outcome, precision: Precision) -> float:
    """The largest relative half-width of the metric, over the mechanisms that have it."""
    metric = precision.metric
    of_it = {
        mechanism: by_metric[metric]
        for mechanism, by_metric in outcome.estimates().items()
        if metric in by_metric
    }
    if not of_it:
        known = dict.fromkeys(name for by_metric in outcome.metrics.values() for name in by_metric)
        raise InputError(f"no metric is called {metric!r} here; there are {', '.join(known)}")
    for mechanism, estimate in of_it.items():
        if math.isnan(estimate.mean):
            raise InputError(
                f"{metric} of {mechanism} is undefined in some replication, so no precision can be asked "
                "of it; a longer run may define it"
            )
    return max(precision.achieved(estimate) for estimate in of_it.values())
