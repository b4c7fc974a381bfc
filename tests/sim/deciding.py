"""What the tests of deciding share: small scenarios, one thread to run them, evaluations made up by hand."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from sim.decide.evaluation import Evaluation, Evaluator, Ran
from sim.decide.requirement import Requirement
from sim.experiment.executors import open_executor
from sim.metrics.basis import basis_of
from sim.metrics.directions import METRICS
from sim.scenario import Scenario, scenario_from
from sim.thresholds import parse_threshold

SMALL: dict[str, Any] = {
    "name": "small",
    "workload": {"kind": "poisson", "rate_per_s": 0.2},
    "network": {"one_way": {"kind": "constant", "mean_s": 0.02}},
    "receiver": {"service": {"kind": "constant", "mean_s": 0.01}},
    "run": {"duration_s": 3000.0, "on_time_s": 10.0},
}


def small(**tables: Any) -> Scenario:
    return scenario_from(SMALL | tables)


def bounds(*texts: str) -> list[Requirement]:
    return [Requirement(parse_threshold(text, METRICS)) for text in texts]


@contextmanager
def evaluating(scenario: Scenario, replications: int = 3, seed: int = 7) -> Iterator[Evaluator]:
    with open_executor("threads:1") as workers:
        yield Evaluator(scenario, workers, replications, seed)


def made_up(mechanism: str, settings: dict[str, Any] | None = None, **means: float) -> Evaluation:
    """Two replications of 10,000 deliveries that agree; each takes the p95, and what is not given is 0."""
    metrics = dict.fromkeys(METRICS, 0.0) | means
    basis = basis_of(np.full(10_000, metrics["latency_p95_s"]), 10_000, 10_000)
    latencies = {name: value for name, value in metrics.items() if name.startswith("latency_")}
    ran = Ran(metrics, basis, latencies, basis, {}, 10_000)
    return Evaluation(mechanism, settings or {}, (ran, ran))
