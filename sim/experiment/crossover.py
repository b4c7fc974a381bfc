"""Where the verdict flips: the values of one parameter at which two mechanisms are level on a metric.

The difference D(x) of two mechanisms is a mean over replications that share their random numbers, with each
other and across all x. A coarse grid finds where D changes its sign, bisection where exactly. The interval of
a crossing holds the values around it at which the 95 % interval of D(x) contains 0: inverting a test, as
Fieller's theorem does (Fieller 1954), needs no slope and is as wide as the data are vague.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np

from sim.engine import check
from sim.errors import InputError, ScenarioError
from sim.experiment.axes import Value
from sim.experiment.estimates import Estimate, paired_difference
from sim.experiment.executors import Workers, open_executor
from sim.experiment.runs import Work, carry_out
from sim.scenario import Scenario

RANGE_FACTOR = 100.0
"""Without a range, the search spans from a hundredth of the scenario's value to its hundredfold."""

RESOLUTION = 0.005
"""A crossing is found to half a percent; of whole numbers, between neighbours."""

GRID = 9
"""Values looked at first, evenly spaced by ratio: two crossings closer than that hide each other."""


@dataclass(frozen=True)
class Crossing:
    """One change of the sign.

    Attributes:
        at: where the mechanisms are level; between whole numbers, halfway.
        low, high: the ends of its interval; None where that leaves the range searched.
        lower_before: the mechanism whose metric is lower just below `at`.
    """

    at: float
    low: float | None
    high: float | None
    lower_before: str


@dataclass(frozen=True)
class Crossover:
    """What a search found.

    Attributes:
        a, b, metric, parameter: what was compared, over what.
        low, high: the range searched.
        crossings: in ascending order; none where one mechanism is lower throughout.
        points: every value that was looked at with the difference a − b there, in ascending order.
    """

    a: str
    b: str
    metric: str
    parameter: str
    low: float
    high: float
    crossings: tuple[Crossing, ...]
    points: tuple[tuple[float, Estimate], ...] = field(repr=False)

    def sentence(self) -> str:
        """The finding in words."""
        if not self.crossings:
            first = self.points[0][1].mean
            if first == 0:
                return (
                    f"{self.metric} is the same for {self.a} and {self.b} at {self.parameter} = {self.low:g}"
                )
            lower = self.a if first < 0 else self.b
            return (
                f"{lower} has the lower {self.metric} for every {self.parameter} "
                f"from {self.low:g} to {self.high:g}"
            )
        told = []
        for crossing in self.crossings:
            after = self.b if crossing.lower_before == self.a else self.a
            low = "below the range" if crossing.low is None else f"{crossing.low:.4g}"
            high = "above the range" if crossing.high is None else f"{crossing.high:.4g}"
            told.append(
                f"{crossing.lower_before} has the lower {self.metric} up to {self.parameter} = "
                f"{crossing.at:.4g} (95 % interval {low} to {high}), {after} beyond"
            )
        return "; ".join(told)


def crossover(
    scenario: Scenario,
    a: str,
    b: str,
    parameter: str,
    metric: str,
    *,
    low: float | None = None,
    high: float | None = None,
    replications: int = 10,
    seed: int = 1,
    executor: str | Workers = "processes",
    progress: Callable[[int, int], None] | None = None,
) -> Crossover:
    """Search one parameter for the values at which two mechanisms are level.

    Args:
        scenario: all else.
        a: one mechanism.
        b: the other.
        parameter: a dotted key that holds a number above 0.
        metric: on which they are compared.
        low: where the search begins; by default at a hundredth of the scenario's value.
        high: where it ends; by default at a hundred times the scenario's value.
        replications: at each value that is looked at, two or more.
        seed: fixes every draw.
        executor: computes replications at a time; see `sim.experiment.executors`.
        progress: called with (values looked at, how many there may be in all).

    Raises:
        InputError: the key holds no such number, the range is empty or refused, the metric is unknown, or it
            is undefined somewhere in the range.
    """
    check([a, b], "fast", seed, replications)
    if replications < 2:
        raise InputError(f"a crossover needs 2 replications or more for its interval, got {replications}")
    whole, low, high = _range(scenario, parameter, low, high)
    opened = open_executor(executor) if isinstance(executor, str) else nullcontext(executor)
    with opened as workers:
        look = _Looker(scenario, a, b, parameter, metric, replications, seed, workers, progress)
        grid = [float(x) for x in np.geomspace(low, high, GRID)]
        grid = [low, *grid[1:-1], high]
        if whole:
            grid = sorted({float(round(x)) for x in grid})
        changes = [(x, y) for x, y in pairwise(grid) if _sign(look(x).mean) * _sign(look(y).mean) < 0]
        changes += [(x, x) for x in grid[1:-1] if look(x).mean == 0]
        crossings = [_crossing(look, x, y, low, high, whole=whole) for x, y in sorted(changes)]
    return Crossover(a, b, metric, parameter, low, high, tuple(crossings), tuple(sorted(look.seen.items())))


def _crossing(look: _Looker, left: float, right: float, low: float, high: float, *, whole: bool) -> Crossing:
    before = look(left).mean if left < right else look(max(x for x in look.seen if x < left)).mean
    while left < right and (middle := _between(left, right, whole=whole)) is not None:
        if _sign(look(middle).mean) == _sign(look(left).mean):
            left = middle
        else:
            right = middle
    at = left if left == right else (left + right) / 2 if whole else math.sqrt(left * right)
    ends = []
    for start, limit in ((left, low), (right, high)):
        outward = sorted(
            (x for x in look.seen if (x - start) * (limit - start) >= 0), key=lambda x: abs(x - start)
        )
        vague, clear = start, None
        for x in outward:
            if _decided(look(x)):
                clear = x
                break
            vague = x
        while clear is not None and (middle := _between(*sorted((vague, clear)), whole=whole)) is not None:
            if _decided(look(middle)):
                clear = middle
            else:
                vague = middle
        ends.append(clear)
    return Crossing(at, ends[0], ends[1], look.a if before < 0 else look.b)


def _between(left: float, right: float, *, whole: bool) -> float | None:
    """A value between two, or None when they are close enough."""
    if whole:
        return float((left + right) // 2) if right - left > 1 else None
    return math.sqrt(left * right) if right / left > 1 + RESOLUTION else None


def _sign(value: float) -> int:
    return (value > 0) - (value < 0)


def _decided(difference: Estimate) -> bool:
    assert difference.low is not None
    assert difference.high is not None
    return difference.low > 0 or difference.high < 0


class _Looker:
    """The difference at any value, computed once."""

    def __init__(
        self,
        scenario: Scenario,
        a: str,
        b: str,
        parameter: str,
        metric: str,
        replications: int,
        seed: int,
        workers: Workers,
        progress: Callable[[int, int], None] | None,
    ) -> None:
        self.a, self.b = a, b
        self._scenario = scenario.model_dump_json()
        self._parameter, self._metric = parameter, metric
        self._replications, self._seed = replications, seed
        self._workers, self._progress = workers, progress
        self.seen: dict[float, Estimate] = {}

    def __call__(self, x: float) -> Estimate:
        if x not in self.seen:
            self.seen[x] = self._difference(x)
            if self._progress is not None:
                self._progress(len(self.seen), max(4 * GRID, len(self.seen) + 1))
        return self.seen[x]

    def _difference(self, x: float) -> Estimate:
        value: Value = int(x) if x == round(x) else x
        point = {self._parameter: value}
        works = [
            Work(self._scenario, 0, point, (self.a, self.b), (r,), self._seed)
            for r in range(self._replications)
        ]
        futures = [self._workers.executor.submit(carry_out, work) for work in works]
        runs = [finished.metrics for future in futures for finished in future.result()]
        values = {}
        for mechanism in (self.a, self.b):
            if self._metric not in runs[0][mechanism]:
                known = ", ".join(runs[0][mechanism])
                raise InputError(f"--metric {self._metric!r}: {mechanism} has no such metric; it has {known}")
            values[mechanism] = [run[mechanism][self._metric] for run in runs]
            if any(math.isnan(value) for value in values[mechanism]):
                raise InputError(
                    f"{self._metric} of {mechanism} is undefined at {self._parameter} = {x:g} in some "
                    "replication; a longer run may define it"
                )
        return paired_difference(values[self.a], values[self.b])


def _range(
    scenario: Scenario, parameter: str, low: float | None, high: float | None
) -> tuple[bool, float, float]:
    """Whether the parameter takes whole numbers only, and the range to search."""
    value: Any = scenario.model_dump()
    for key in parameter.split("."):
        value = value.get(key) if isinstance(value, dict) else None
    if value is None:
        scenario.with_values(**{parameter: 1})  # names a key that does not exist
    if low is None or high is None:
        if isinstance(value, bool) or not isinstance(value, int | float) or value <= 0:
            raise InputError(
                f"--over {parameter}: the scenario has {value!r} there, no number above 0 to start from; "
                f"give a range, as {parameter}=1:100"
            )
        low = value / RANGE_FACTOR if low is None else low
        high = value * RANGE_FACTOR if high is None else high
    whole = isinstance(value, int) and not _takes(scenario, parameter, (low + high) / 2 + 0.123456)
    if whole:
        low, high = float(max(1, math.ceil(low))), float(math.floor(high))
    if not (0 < low < high < math.inf):
        raise InputError(f"--over {parameter}: a range needs 0 < LOW < HIGH, got {low:g}:{high:g}")
    for end in (low, high):
        scenario.with_values(**{parameter: int(end) if end == round(end) else end})
    return whole, low, high


def _takes(scenario: Scenario, parameter: str, value: float) -> bool:
    try:
        scenario.with_values(**{parameter: value})
    except ScenarioError:
        return False
    return True
