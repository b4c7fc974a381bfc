"""Small experiments for class, as tables: one parameter varied, several cases compared, a run over time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from sim.engine import simulate
from sim.experiment import estimate
from sim.experiment.axes import parse_axis
from sim.experiment.sweep import sweep
from sim.scenario import Scenario

if TYPE_CHECKING:
    import pandas as pd


def varied(
    scenario: Scenario,
    axis: str,
    metric: str,
    mechanisms: Sequence[str] = ("polling",),
    *,
    replications: int = 5,
    seed: int = 1,
) -> pd.DataFrame:
    """One metric along one axis: the axis' columns, `mechanism, value, low, high`; a 95 % interval each.

    Args:
        scenario: the rest of it.
        axis: what varies, such as ``polling.interval_s=1:600:log9``; see `sim.experiment.axes`.
        metric: of the vocabulary.
        mechanisms: a row each.
        replications: at each point.
        seed: fixes every draw.

    Raises:
        InputError: an unknown key or mechanism, or a value out of range.
    """
    found = sweep(
        scenario, [parse_axis(axis)], mechanisms, replications=replications, seed=seed, executor="threads"
    ).summary()
    rows = found[found["metric"] == metric].rename(columns={"mean": "value"})
    return rows.drop(columns=["point", "metric", "method"]).reset_index(drop=True)


def compared(
    cases: Mapping[str, Scenario],
    metrics: Sequence[str],
    mechanisms: Sequence[str] = ("webhook",),
    *,
    replications: int = 3,
    seed: int = 1,
) -> pd.DataFrame:
    """Several cases beside each other, on the same draws: `case, mechanism`, and a column a metric.

    A metric that a case does not have is NaN.
    """
    import pandas as pd  # noqa: PLC0415

    rows = []
    for case, scenario in cases.items():
        outcome = simulate(scenario, mechanisms, replications=replications, seed=seed, records=False)
        for mechanism, found in outcome.metrics.items():
            means = {name: estimate(found[name]).mean if name in found else float("nan") for name in metrics}
            rows.append({"case": case, "mechanism": mechanism} | means)
    return pd.DataFrame(rows)


def over_time(cases: Mapping[str, Scenario], mechanism: str = "webhook", *, seed: int = 1) -> pd.DataFrame:
    """Several cases over time, for `sim.figures.transient`: their names stand where mechanisms' do."""
    import pandas as pd  # noqa: PLC0415

    found = []
    for case, scenario in cases.items():
        series = simulate(scenario, [mechanism], seed=seed).series()
        series["mechanism"] = case
        found.append(series)
    return pd.concat(found, ignore_index=True)
