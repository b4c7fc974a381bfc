"""Runs of design points: the pieces of work that an executor's workers are given, sharing what they can.

Many runs of an experiment have parts in common: the same events under another poll interval, and a webhook
that knows nothing of poll intervals at all. Works that are carried out together compute each of these once.
What a mechanism looks into says `sim.catalogue.Mechanism.reads`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import groupby
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sim.catalogue import MECHANISMS, WAYS
from sim.engine import Engine, summary_once
from sim.errors import InputError
from sim.experiment.axes import Point
from sim.experiment.journal import Finished
from sim.metrics import Summary
from sim.randomness import replication_seed
from sim.scenario import Scenario
from sim.scenario.presets import ABOUT
from sim.workload import event_times

MOST_TOGETHER = 16
"""Design points carried out together: more would share hardly more, and a stop would lose them all."""

EVENTS_READ = ("workload", "subscribers", "run")
"""The tables of a scenario that decide its events."""


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
    return carry_out_all((work,))


def carry_out_all(works: Sequence[Work]) -> list[Finished]:
    """Run several, what they share once. They differ in their points only.

    Raises:
        InputError: the values of a point do not go together; the message names them.
    """
    prepared = [_Prepared(work) for work in works]
    return [
        finished
        for replication in sorted({r for work in works for r in work.replications})
        for finished in _of_one_replication(prepared, replication)
    ]


class _Prepared:
    """A work with its scenario, and the JSON of what decides its events and each mechanism's metrics."""

    def __init__(self, work: Work) -> None:
        self.work = work
        self.scenario = _scenario_at(work.scenario, json.dumps(dict(work.point)))
        self.events = self.scenario.model_dump_json(include=set(EVENTS_READ))
        self.deciding = {
            mechanism: self.scenario.model_dump_json(
                exclude={*ABOUT, *WAYS.difference(MECHANISMS[mechanism].reads)}
            )
            for mechanism in work.mechanisms
        }


@lru_cache(maxsize=256)
def _scenario_at(base: str, point: str) -> Scenario:
    values = json.loads(point)
    try:
        return _base(base).with_values(**values)
    except InputError as error:
        raise InputError(f"design point {told(values)}: {error}") from None


@lru_cache(maxsize=8)
def _base(scenario: str) -> Scenario:
    return Scenario.model_validate(json.loads(scenario))


def _of_one_replication(prepared: Sequence[_Prepared], replication: int) -> Iterator[Finished]:
    known: dict[tuple[str, str], Summary] = {}
    wanted = [each for each in prepared if replication in each.work.replications]
    for _, alike in groupby(wanted, key=lambda each: each.events):
        created: NDArray[np.float64] | None = None
        for each in alike:
            work, run_seed = each.work, int(replication_seed(each.work.seed, replication))
            if created is None:
                created = event_times(each.scenario, run_seed, recorded=work.engine != "fast")
            for mechanism in work.mechanisms:
                if (mechanism, each.deciding[mechanism]) not in known:
                    known[mechanism, each.deciding[mechanism]], _ = summary_once(
                        each.scenario, mechanism, created, run_seed, work.engine
                    )
            found = {mechanism: known[mechanism, each.deciding[mechanism]] for mechanism in work.mechanisms}
            metrics = {mechanism: summary.metrics for mechanism, summary in found.items()}
            bases = {mechanism: summary.basis for mechanism, summary in found.items()}
            yield Finished(work.number, replication, metrics, bases)


def told(point: Point) -> str:
    """A design point in words."""
    return ", ".join(f"{key}={value}" for key, value in point.items())


def shares(
    left: Mapping[int, Sequence[int]], points: Sequence[Point], mechanisms: Sequence[str], slots: int
) -> list[list[tuple[int, tuple[int, ...]]]]:
    """Runs that are left to do, in lots to be carried out together: each a list of (point, replications).

    Points with the same events stand together, and among them those that are the same to most mechanisms,
    as long as that leaves work for every slot.

    Args:
        left: point's number -> replications.
        points: the design points.
        mechanisms: run at each of them.
        slots: how many lots are computed at a time.
    """
    runs: dict[tuple[str, tuple[int, ...]], list[int]] = {}
    for number, replications in left.items():
        if replications:
            events = _values(points[number], lambda key: key.partition(".")[0] in EVENTS_READ)
            runs.setdefault((events, tuple(replications)), []).append(number)

    def by_all(key: str) -> bool:
        return all(MECHANISMS[mechanism].heeds(key) for mechanism in mechanisms)

    for numbers in runs.values():
        numbers.sort(key=lambda number: (_values(points[number], by_all), number))

    def lots(size: int) -> int:
        return sum(-(-len(numbers) // size) * len(which) for (_, which), numbers in runs.items())

    size = MOST_TOGETHER
    while size > 1 and lots(size) < 4 * slots:
        size = -(-size // 2)
    several = max(1, lots(size) // (64 * slots))  # replications: handing out work takes its time, too
    return [
        [(number, which[first : first + several]) for number in numbers[start : start + size]]
        for (_, which), numbers in runs.items()
        for first in range(0, len(which), several)
        for start in range(0, len(numbers), size)
    ]


def _values(point: Point, which: Callable[[str], bool]) -> str:
    """The values of some keys of a point, as JSON."""
    return json.dumps({key: value for key, value in point.items() if which(key)})
