"""Which of two mechanisms is better where: a metric's difference over two parameters, and the line between.

A surface is a sweep over two axes (`sim.experiment.sweep`), read: at each design point the paired difference
with its interval, hence a winner where the interval leaves 0 out. The break-even curve has a point a column:
where, going up the rows, the difference changes its sign, interpolated between them by a monotone cubic
(Fritsch & Butland, "A method for constructing local monotone piecewise cubic interpolants", SIAM Journal on
Scientific and Statistical Computing 5(2), 1984), so that it changes its sign nowhere but where rows say so.
Its interval is that of the draws; how far rows are apart it knows nothing of (`sim.experiment.crossover`
searches one column to half a percent).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from sim.errors import InputError
from sim.experiment.axes import Axis
from sim.experiment.estimates import Estimate
from sim.experiment.executors import Workers
from sim.experiment.plane import check_surface, numbers, surface_axes
from sim.experiment.sweep import Sweep, sweep
from sim.metrics.directions import least_is_best
from sim.scenario import Scenario

if TYPE_CHECKING:
    import pandas as pd

SIGNS = {"undecided": "·", "level": "=", "undefined": "?"}
"""In a grid: the interval contains 0; both were the same in every replication; one has no value."""


@dataclass(frozen=True)
class Break:
    """Where, in one column, two mechanisms are level.

    Attributes:
        x: the column's value.
        y: where the difference is 0, interpolated between two rows.
        low, high: the ends of its interval; None where that leaves the rows.
        better_below: the mechanism that is better just below `y`.
    """

    x: float
    y: float
    low: float | None
    high: float | None
    better_below: str


@dataclass(frozen=True)
class Surface:
    """Two mechanisms compared over two parameters.

    Attributes:
        a, b, metric: what is compared.
        sweep: the runs; its first axis gives the rows, its second the columns.
    """

    a: str
    b: str
    metric: str
    sweep: Sweep

    @property
    def x(self) -> str:
        """The key that varies from column to column."""
        return self.sweep.axes[1].keys[0]

    @property
    def y(self) -> str:
        """The key that varies from row to row."""
        return self.sweep.axes[0].keys[0]

    @cached_property
    def xs(self) -> tuple[float, ...]:
        """The columns' values, ascending."""
        return numbers(self.sweep.axes[1])

    @cached_property
    def ys(self) -> tuple[float, ...]:
        """The rows' values, ascending."""
        return numbers(self.sweep.axes[0])

    @cached_property
    def differences(self) -> dict[tuple[int, int], Estimate]:
        """(row, column) -> the difference a − b, paired by replication; NaN where either is undefined."""
        columns = len(self.xs)
        return {
            divmod(point, columns): self.sweep.difference(point, self.a, self.b, self.metric)
            for point in range(len(self.sweep.points))
        }

    def means(self, mechanism: str) -> NDArray[np.float64]:
        """The metric's mean over replications (`Sweep.estimate`), shape (rows, columns)."""
        flat = [
            self.sweep.estimate(point, mechanism, self.metric).mean for point in range(len(self.sweep.points))
        ]
        return np.reshape(flat, (len(self.ys), len(self.xs)))

    def winner(self, row: int, column: int) -> str | None:
        """The mechanism that is better there with 95 % confidence; None where that cannot be told."""
        difference = self.differences[row, column]
        return self.better(difference.mean) if _is_decided(difference) else None

    def better(self, difference: float) -> str:
        """Whose side a difference a − b that is not 0 speaks for."""
        return self.a if (difference < 0) == least_is_best(self.metric) else self.b

    def table(self) -> pd.DataFrame:
        """A row a cell: the two keys, `mean`, `low` and `high` of the difference, `winner`, `decided`.

        `winner` is empty where the interval of the difference contains 0 or the metric is undefined.
        """
        import pandas as pd  # noqa: PLC0415

        lines = []
        for (row, column), e in self.differences.items():
            winner = self.winner(row, column)
            at = (self.ys[row], self.xs[column])
            lines.append((*at, e.mean, e.low, e.high, winner or "", winner is not None))
        columns = [self.y, self.x, "mean", "low", "high", "winner", "decided"]
        return pd.DataFrame(lines, columns=columns).astype({"low": "float64", "high": "float64"})

    def curve(self) -> tuple[Break, ...]:
        """The break-even curve: every change of the sign, column by column, from the lowest row up."""
        return tuple(found for column in range(len(self.xs)) for found in self._breaks(column))

    def curve_table(self) -> pd.DataFrame:
        """The curve as a table: the two keys, `low`, `high`, `better_below`; NaN beyond the rows."""
        import pandas as pd  # noqa: PLC0415

        lines = [(each.x, each.y, each.low, each.high, each.better_below) for each in self.curve()]
        columns = [self.x, self.y, "low", "high", "better_below"]
        return pd.DataFrame(lines, columns=columns).astype({"low": "float64", "high": "float64"})

    def grid(self) -> list[str]:
        """A letter a cell, a line a row, the highest row first; see `letters`."""
        letters = self.letters()
        return [
            " ".join(letters[self.cell(row, column)] for column in range(len(self.xs)))
            for row in reversed(range(len(self.ys)))
        ]

    def letters(self) -> dict[str, str]:
        """What stands for each mechanism, and `SIGNS`."""
        first = [name[0].upper() for name in (self.a, self.b)]
        a, b = first if first[0] != first[1] else ("A", "B")
        return {self.a: a, self.b: b, **SIGNS}

    def sentence(self) -> str:
        """The finding in words."""
        cells = [self.cell(row, column) for row, column in self.differences]
        if cells.count("level") == len(cells):
            return f"{self.metric} is the same for {self.a} and {self.b} in all {len(cells)} cells"
        what = f"the {'lower' if least_is_best(self.metric) else 'higher'} {self.metric}"
        told: list[str] = []
        for name in sorted((self.a, self.b), key=cells.count, reverse=True):
            if count := cells.count(name):
                told.append(
                    f"{name} in {count}" if told else f"{name} has {what} in {count} of {len(cells)} cells"
                )
        sentence = ", ".join(told) or f"Nowhere does either have {what}"
        for what, words in (
            ("undecided", "cannot be told apart"),
            ("level", "the same"),
            ("undefined", "undefined"),
        ):
            if count := cells.count(what):
                sentence += f"; {count} {words}"
        return sentence

    def height(self, row: int, column: int, value: float) -> float:
        """A value of the difference, bent so that what lies between rows can be interpolated.

        Between rows spaced by ratio metrics change by ratio, too; so 0 stays 0, and the mean difference
        becomes ± the logarithm of the ratio of the two means: polling's 1/(λT) requests an event against a
        webhook's one are then a straight line over log T, whose zero is exact.
        """
        a, b = (abs(self._means[name][row, column]) for name in (self.a, self.b))
        unit = min(a, b) or max(a, b)
        return math.copysign(math.log1p(abs(value) / unit), value) if unit else 0.0

    @cached_property
    def _means(self) -> dict[str, NDArray[np.float64]]:
        return {name: self.means(name) for name in (self.a, self.b)}

    def cell(self, row: int, column: int) -> str:
        """The winner there, or which of `SIGNS`."""
        difference = self.differences[row, column]
        if math.isnan(difference.mean):
            return "undefined"
        if (winner := self.winner(row, column)) is not None:
            return winner
        point = row * len(self.xs) + column
        values = [self.sweep.values(point, mechanism, self.metric) for mechanism in (self.a, self.b)]
        return "level" if values[0] == values[1] else "undecided"

    def _breaks(self, column: int) -> list[Break]:
        rows = [row for row in range(len(self.ys)) if not math.isnan(self.differences[row, column].mean)]
        told = [row for row in rows if self.differences[row, column].mean]
        breaks = []
        for below, above in pairwise(told):
            means = [self.differences[row, column].mean for row in (below, above)]
            if (means[0] < 0) != (means[1] < 0):
                y = self._zero(column, rows, below, above, lambda e: e.mean)
                breaks.append(
                    Break(
                        self.xs[column], y,
                        self._end(column, rows, y, means[0], downwards=True),
                        self._end(column, rows, y, means[1], downwards=False),
                        self.better(means[0]),
                    )
                )  # fmt: skip
        return breaks

    def _zero(
        self, column: int, rows: Sequence[int], left: int, right: int, of: Callable[[Estimate], float]
    ) -> float:
        """Where the mean, or an end of the interval, is 0 between two rows at which its signs differ."""
        from scipy.interpolate import PchipInterpolator  # noqa: PLC0415 - slow to import
        from scipy.optimize import brentq  # noqa: PLC0415

        by_ratio = self.ys[0] > 0
        places = {row: math.log(self.ys[row]) if by_ratio else self.ys[row] for row in rows}
        heights = [self.height(row, column, of(self.differences[row, column])) for row in rows]
        through = PchipInterpolator(list(places.values()), heights)
        zero = float(brentq(lambda at: float(through(at)), places[left], places[right], xtol=1e-12))
        return math.exp(zero) if by_ratio else zero

    def _end(
        self, column: int, rows: Sequence[int], y: float, sign: float, *, downwards: bool
    ) -> float | None:
        """From a break outwards, where the difference can first be told from 0 on the side of `sign`."""

        def nearest_0(e: Estimate) -> float:
            end = e.high if sign < 0 else e.low
            return 0.0 if end is None else end

        outward = [row for row in rows if (self.ys[row] <= y if downwards else self.ys[row] >= y)]
        if downwards:
            outward.reverse()
        for row in outward:
            if nearest_0(self.differences[row, column]) * sign > 0:
                place = rows.index(row)
                inner = rows[place + 1] if downwards else rows[place - 1]
                pair = (row, inner) if downwards else (inner, row)
                return self._zero(column, rows, *pair, nearest_0)
        return None


def _is_decided(difference: Estimate) -> bool:
    return (difference.low is not None and difference.low > 0) or (
        difference.high is not None and difference.high < 0
    )


def surface(
    scenario: Scenario,
    a: str,
    b: str,
    metric: str,
    axes: Sequence[Axis] = (),
    *,
    replications: int = 10,
    seed: int = 1,
    executor: str | Workers = "processes",
    journal: Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Surface:
    """Compare two mechanisms over two parameters.

    Args:
        scenario: all else.
        a: one mechanism.
        b: the other.
        metric: on which they are compared.
        axes: the rows' and the columns', see `surface_axes`; by default around the scenario's own values.
        replications: at each design point, two or more.
        seed: fixes every draw.
        executor: computes runs side by side; see `sim.experiment.executors`.
        journal: where finished runs are kept, so that a surface that was stopped can be gone on with.
        progress: called with (runs finished, runs in all).

    Raises:
        InputError: axes or values that cannot be, an unknown mechanism, a metric that one of them has not.
        WorkerLost: a worker process was killed; what is finished is in the journal.
    """
    rows, columns = check_surface(scenario, axes, metric, replications)
    swept = sweep(
        scenario, [rows, columns], [a, b], replications=replications, seed=seed, executor=executor,
        journal=journal, progress=progress,
    )  # fmt: skip
    return surface_of(swept, a, b, metric)


def surface_of(swept: Sweep, a: str, b: str, metric: str) -> Surface:
    """A sweep over two axes as a surface of any of its metrics.

    Raises:
        InputError: it has no such mechanism, or one of the two has no such metric.
    """
    for mechanism in (a, b):
        if mechanism not in swept.mechanisms:
            raise InputError(f"{mechanism!r} was not run; there are {', '.join(swept.mechanisms)}")
        known = dict.fromkeys(name for run in swept.results.values() for name in run[mechanism])
        if metric not in known:
            raise InputError(
                f"--metric {metric!r}: {mechanism} has no such metric; it has {', '.join(known)}"
            )
    surface_axes(swept.scenario, swept.axes)
    return Surface(a, b, metric, swept)
