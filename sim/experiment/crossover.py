"""Where the verdict flips: the values of one parameter at which two mechanisms are level on a metric.

The difference D(x) of two mechanisms is a mean over replications that share their random numbers, with each
other and across all x. A coarse grid finds where D changes its sign, bisection where exactly. The interval of
a crossing holds the values around it at which the 95 % interval of D(x) contains 0: inverting a test, as
Fieller's theorem does (Fieller 1954), needs no slope and is as wide as the data are vague.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np

from sim.catalogue import MECHANISMS
from sim.engine import check
from sim.errors import InputError, ScenarioError
from sim.experiment.axes import Value
from sim.experiment.estimates import Estimate, Pairing
from sim.experiment.executors import Workers, open_executor
from sim.experiment.intervals import Sample, metric_pairing
from sim.experiment.runs import Work, carry_out
from sim.metrics.directions import check_metric
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
        pairings: the same, with what sharing the draws won.
    """

    a: str
    b: str
    metric: str
    parameter: str
    low: float
    high: float
    crossings: tuple[Crossing, ...]
    points: tuple[tuple[float, Estimate], ...] = field(repr=False)
    pairings: tuple[tuple[float, Pairing], ...] = field(default=(), repr=False)

    @property
    def pairings_at_crossings(self) -> tuple[Pairing, ...]:
        """Of the value looked at that is nearest to each crossing."""
        return tuple(
            min(self.pairings, key=lambda each: abs(each[0] - crossing.at))[1] for crossing in self.crossings
        )

    def sentence(self) -> str:
        """The finding in words."""
        if not self.crossings:
            everywhere = f"for every {self.parameter} from {self.low:g} to {self.high:g}"
            means = [difference.mean for _, difference in self.points if difference.mean]
            if not means:
                return f"{self.metric} is the same for {self.a} and {self.b} {everywhere}"
            lower = self.a if means[0] < 0 else self.b
            level = " or the same" if len(means) < len(self.points) else ""
            return f"{lower} has the lower{level} {self.metric} {everywhere}"
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
    whole, low, high = check_crossover(scenario, parameter, metric, replications, low, high)
    opened = open_executor(executor) if isinstance(executor, str) else nullcontext(executor)
    with opened as workers:
        differences = _Differences(scenario, a, b, parameter, metric, replications, seed, workers)
        look = Looks(a, b, differences, progress)
        found = crossings(look, _grid(low, high, whole=whole), whole=whole)
    pairings = tuple(sorted(differences.pairings.items(), key=lambda each: each[0]))
    points = tuple((x, pairing.difference) for x, pairing in pairings)
    return Crossover(a, b, metric, parameter, low, high, tuple(found), points, pairings)


def check_crossover(
    scenario: Scenario,
    parameter: str,
    metric: str,
    replications: int,
    low: float | None = None,
    high: float | None = None,
) -> tuple[bool, float, float]:
    """Refuse what cannot be searched, before anything is computed.

    Returns:
        Whether the parameter takes whole numbers only, and from where to where it is searched.

    Raises:
        InputError: as `crossover`.
    """
    check_metric(metric)
    if replications < 2:
        raise InputError(f"a crossover needs 2 replications or more for its interval, got {replications}")
    return _range(scenario, parameter, low, high)


class Looks:
    """The difference a − b at any value, each computed once.

    Args:
        a: one mechanism.
        b: the other.
        difference: computes it.
        progress: called with (values looked at, how many there may be in all).

    Attributes:
        seen: value -> difference, of all that were looked at.
    """

    def __init__(
        self,
        a: str,
        b: str,
        difference: Callable[[float], Estimate],
        progress: Callable[[int, int], None] | None = None,
    ) -> None:
        self.a, self.b = a, b
        self._difference, self._progress = difference, progress
        self.seen: dict[float, Estimate] = {}

    def __call__(self, x: float) -> Estimate:
        """The difference at x."""
        if x not in self.seen:
            self.seen[x] = self._difference(x)
            if self._progress is not None:
                self._progress(len(self.seen), max(4 * GRID, len(self.seen) + 1))
        return self.seen[x]


def crossings(look: Looks, grid: Sequence[float], *, whole: bool) -> list[Crossing]:
    """Where the difference changes its sign, as far as a grid of ascending values shows it.

    A stretch on which it is exactly 0 counts as one crossing where the signs on its two sides differ, and as
    none where they do not or where it reaches the end of the grid.
    """
    signs = [(x, _sign(look(x).mean)) for x in grid]
    told = [(x, sign) for x, sign in signs if sign]
    return [
        _crossing(look, left, right, grid[0], grid[-1], whole=whole)
        for (left, before), (right, after) in pairwise(told)
        if before != after
    ]


def _grid(low: float, high: float, *, whole: bool) -> list[float]:
    spaced = [low, *(float(x) for x in np.geomspace(low, high, GRID)[1:-1]), high]
    return sorted({float(round(x)) for x in spaced}) if whole else spaced


def _crossing(look: Looks, left: float, right: float, low: float, high: float, *, whole: bool) -> Crossing:
    """The crossing between two values of opposite signs; on a level stretch, some value of it."""
    before = _sign(look(left).mean)
    while left < right and (middle := _between(left, right, whole=whole)) is not None:
        sign = _sign(look(middle).mean)
        if sign != -before:
            left = middle
        if sign != before:
            right = middle
    at = left if left == right else (left + right) / 2 if whole else math.sqrt(left * right)
    lower_before = look.a if before < 0 else look.b
    return Crossing(
        at, _end(look, left, low, whole=whole), _end(look, right, high, whole=whole), lower_before
    )


def _end(look: Looks, start: float, limit: float, *, whole: bool) -> float | None:
    """From `start` towards `limit`, the first value at which the difference can be told from 0."""
    outward = sorted(
        (x for x in look.seen if min(start, limit) <= x <= max(start, limit)), key=lambda x: abs(x - start)
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
    return clear


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


class _Differences:
    """Computes the difference at one value of the parameter, its replications side by side."""

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
    ) -> None:
        self.a, self.b = a, b
        self._scenario = scenario.model_dump_json()
        self._parameter, self._metric = parameter, metric
        self._replications, self._seed = replications, seed
        self._workers = workers
        self.pairings: dict[float, Pairing] = {}
        self._whatever: dict[str, Sample] = {}  # of mechanisms to which the parameter is nothing

    def __call__(self, x: float) -> Estimate:
        value: Value = int(x) if x == round(x) else x
        point = {self._parameter: value}
        asked = tuple(mechanism for mechanism in (self.a, self.b) if mechanism not in self._whatever)
        works = [Work(self._scenario, 0, point, asked, (r,), self._seed) for r in range(self._replications)]
        futures = [self._workers.executor.submit(carry_out, work) for work in works]
        runs = [finished for future in futures for finished in future.result()]
        samples = dict(self._whatever)
        for mechanism in asked:
            if self._metric not in runs[0].metrics[mechanism]:
                known = ", ".join(runs[0].metrics[mechanism])
                raise InputError(f"--metric {self._metric!r}: {mechanism} has no such metric; it has {known}")
            values = [run.metrics[mechanism][self._metric] for run in runs]
            if any(math.isnan(value) for value in values):
                raise InputError(
                    f"{self._metric} of {mechanism} is undefined at {self._parameter} = {x:g} in some "
                    "replication; a longer run may define it"
                )
            samples[mechanism] = Sample(values, [run.bases[mechanism] for run in runs])
            if not MECHANISMS[mechanism].heeds(self._parameter):
                self._whatever[mechanism] = samples[mechanism]
        self.pairings[x] = metric_pairing(self._metric, samples[self.a], samples[self.b])
        return self.pairings[x].difference


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
