"""Surfaces made up of differences, for what reads and draws them."""

from __future__ import annotations

from sim.experiment.axes import axis
from sim.experiment.surface import Surface, surface_of
from sim.experiment.sweep import Sweep
from sim.scenario import load_scenario


def made_up(means: list[list[float]], metric: str = "latency_mean_s", noise: float = 0.1) -> Surface:
    """Differences ± noise · 2 (webhook's value is 10 plus that, polling's 10), rows from the lowest up."""
    rows, columns = len(means), len(means[0])
    axes = (
        axis(polling__interval_s=[2.0**k for k in range(rows)]),
        axis(workload__rate_per_s=[float(k + 1) for k in range(columns)]),
    )
    results = {
        (row * columns + column, r): {
            "webhook": {metric: 10 + means[row][column] + (noise if r else -noise)}, "polling": {metric: 10.0}
        }
        for row in range(rows) for column in range(columns) for r in range(2)
    }  # fmt: skip
    points = tuple({"polling.interval_s": y, "workload.rate_per_s": x} for (y,) in axes[0].values
                   for (x,) in axes[1].values)  # fmt: skip
    swept = Sweep(load_scenario("shop-orders"), axes, points, ("webhook", "polling"), 2, 1, results)
    return surface_of(swept, "webhook", "polling", metric)
