"""What each mechanism costs and what makes it up: item by item, a month and a million events."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sim.decide.evaluation import Evaluation, Evaluator
from sim.decide.prices import require_prices
from sim.engine import check
from sim.experiment import Estimate, estimate
from sim.experiment.executors import Workers, open_executor
from sim.experiment.intervals import Sample, metric_estimate
from sim.scenario import Scenario

if TYPE_CHECKING:
    import pandas as pd

MONTH_S = 365.25 / 12 * 86_400.0
"""A twelfth of a year, seconds."""

MILLION = 1e6
TOTAL = "total"


@dataclass(frozen=True)
class Bill:
    """What one mechanism costs.

    Attributes:
        mechanism: which.
        per_month: item -> cost of a month like the run, and `TOTAL`.
        per_million_events: item -> cost of a million events, and `TOTAL`.
    """

    mechanism: str
    per_month: dict[str, Estimate]
    per_million_events: dict[str, Estimate]


def bills(
    scenario: Scenario,
    mechanisms: Sequence[str],
    *,
    replications: int = 10,
    seed: int = 1,
    executor: str | Workers = "processes",
    progress: Callable[[int, int], None] | None = None,
) -> list[Bill]:
    """The bill of each mechanism at the scenario's prices.

    Requests, bytes, server and connection time are those of the window; late seconds (visible − created,
    summed) and losses those of the events created in it. An item that a mechanism cannot know is NaN, and so
    then is the total.

    Raises:
        InputError: no price is stated, an unknown mechanism, or a number out of range.
    """
    check(mechanisms, "fast", seed, replications)
    require_prices(scenario)
    window_s = scenario.run.duration_s - scenario.run.warmup_s
    opened = open_executor(executor) if isinstance(executor, str) else nullcontext(executor)
    with opened as workers:
        evaluator = Evaluator(scenario, workers, replications, seed, progress, to_the_end=False)
        evaluations = evaluator.many([(mechanism, {}) for mechanism in mechanisms])
    return [_bill(evaluation, window_s) for evaluation in evaluations]


def _bill(evaluation: Evaluation, window_s: float) -> Bill:
    items = list(evaluation.runs[0].costs)
    costs = {item: [run.costs[item] for run in evaluation.runs] for item in items}
    costs[TOTAL] = [math.fsum(run.costs.values()) for run in evaluation.runs]
    return Bill(
        evaluation.mechanism,
        {item: estimate([value * MONTH_S / window_s for value in values]) for item, values in costs.items()},
        {item: _of_a_million(values, evaluation) for item, values in costs.items()},
    )


def _of_a_million(values: Sequence[float], evaluation: Evaluation) -> Estimate:
    """As `cost_per_million_events`: the sum over the sum."""
    each = [
        value * MILLION / run.deliveries if run.deliveries else math.nan
        for value, run in zip(values, evaluation.runs, strict=True)
    ]
    return metric_estimate("cost_per_million_events", Sample(each, [run.basis for run in evaluation.runs]))


def table(of: Sequence[Bill]) -> pd.DataFrame:
    """The bills, a row each mechanism, item and basis: `mechanism, per, item, mean, low, high`."""
    import pandas as pd  # noqa: PLC0415

    return pd.DataFrame(
        [
            (bill.mechanism, per, item, e.mean, e.low, e.high)
            for bill in of
            for per, items in (("month", bill.per_month), ("million_events", bill.per_million_events))
            for item, e in items.items()
        ],
        columns=["mechanism", "per", "item", "mean", "low", "high"],
    ).astype({"low": "float64", "high": "float64"})
