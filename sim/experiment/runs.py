"""One run of a design point: the piece of work that an executor's workers are given."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from sim.engine import Engine, metrics_once
from sim.errors import InputError
from sim.experiment.axes import Point
from sim.experiment.journal import Finished
from sim.randomness import replication_seed
from sim.scenario import Scenario
from sim.workload import event_times


class Work(NamedTuple):
    """Replications of one design point. Small and plain, so that it travels well.

    Attributes:
        scenario: the base scenario as JSON.
        number: of the design point.
        point: its values.
        mechanisms: each is run on the same events.
        replications: which.
        seed: the experiment's; replication r runs with `replication_seed(seed, r)` at every point.
        engine: which engine.
    """

    scenario: str
    number: int
    point: Point
    mechanisms: tuple[str, ...]
    replications: tuple[int, ...]
    seed: int
    engine: Engine = "fast"


def carry_out(work: Work) -> list[Finished]:
    """Run it.

    Raises:
        InputError: the point's values do not go together; the message names them.
    """
    base = Scenario.model_validate(json.loads(work.scenario))
    try:
        scenario = base.with_values(**work.point)
    except InputError as error:
        raise InputError(f"design point {told(work.point)}: {error}") from None
    return [
        Finished(
            work.number,
            replication,
            run_metrics(scenario, work.mechanisms, work.seed, replication, work.engine),
        )
        for replication in work.replications
    ]


def run_metrics(
    scenario: Scenario, mechanisms: Iterable[str], seed: int, replication: int, engine: Engine = "fast"
) -> dict[str, dict[str, float]]:
    """Mechanism -> metric -> value, of one replication on common random numbers."""
    run_seed = int(replication_seed(seed, replication))
    created = event_times(scenario, run_seed, recorded=engine != "fast")
    metrics = {}
    for mechanism in mechanisms:
        metrics[mechanism], _ = metrics_once(scenario, mechanism, created, run_seed, engine)
    return metrics


def told(point: Point) -> str:
    """A design point in words."""
    return ", ".join(f"{key}={value}" for key, value in point.items())


def portions(replications: Sequence[int], size: int) -> list[tuple[int, ...]]:
    """Replications in groups of at most `size`."""
    return [tuple(replications[first : first + size]) for first in range(0, len(replications), size)]
