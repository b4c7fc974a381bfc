"""Figures for class: points that were simulated or measured, and the line that theory draws through them.

Curves carry their own names; Okabe and Ito's colours ("Color Universal Design", 2008), dashes and markers
tell them apart in any kind of sight and in black and white.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, MaxNLocator, NullLocator

from sim.catalogue import MECHANISMS
from sim.figures import duration, look

if TYPE_CHECKING:
    import pandas as pd

_INK, _GRID = "#333333", "#e4e4e4"
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_DASHES: tuple[str | tuple[float, tuple[float, ...]], ...] = (
    "solid", (0, (6, 2)), (0, (2, 1.5)), (0, (6, 2, 1, 2)), (0, (1, 1)), (0, (9, 3)), (0, (4, 4)),
)  # fmt: skip
_MARKERS = "os^Dv<>"
_LABEL_HEIGHT = 0.06
_CLOCK_TICKS = (
    1e-3, 2e-3, 5e-3, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1800, 3600,
    7200, 21600, 86400,
)  # fmt: skip

Kind = Literal["time", "share", "number"]


@dataclass(frozen=True)
class Scale:
    """One axis of a figure.

    Attributes:
        column: of the table.
        label: what it says.
        kind: how its numbers are written: durations, per cent, or as they are.
        log: whether it is logarithmic.
        to: where it ends, if not where the points do.
    """

    column: str
    label: str
    kind: Kind = "number"
    log: bool = False
    to: float | None = None


def curves(
    table: pd.DataFrame,
    x: Scale,
    y: Scale,
    series: str,
    *,
    title: str,
    theory: Mapping[str, Callable[[float], float]] | None = None,
    names: Mapping[str, str] | None = None,
    marks: Sequence[tuple[float, str]] = (),
) -> Figure:
    """A curve for each value of one column: points with their intervals, on theory's line where there is one.

    Args:
        table: a row a point; columns `low` and `high`, where present, are the ends of its interval.
        x: across.
        y: up.
        series: the column that tells curves apart.
        title: the finding.
        theory: series -> x -> y; a line through that series' points, which are then not joined.
        names: series -> what to call it in the figure.
        marks: vertical lines, (x, what is there).

    Raises:
        ValueError: a column is missing, or there is no row.
    """
    missing = {x.column, y.column, series} - set(table.columns)
    if missing or table.empty:
        raise ValueError(f"the table lacks {', '.join(sorted(missing)) or 'rows'}")
    theory, names = theory or {}, names or {}
    figure = Figure(figsize=(7.2, 4.3), layout="constrained", facecolor="white")
    axes = figure.add_subplot()
    axes.set_title(textwrap.fill(title, 68), loc="left", fontsize=11.5, fontweight="bold", color=_INK, pad=10)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color=_GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    for scale, axis, set_scale in ((x, axes.xaxis, axes.set_xscale), (y, axes.yaxis, axes.set_yscale)):
        if scale.log:
            set_scale("log")
        axis.set_label_text(scale.label)
    values = [str(value) for value in dict.fromkeys(table[series])]
    ends: list[tuple[str, float, float, str]] = []
    for place, value in enumerate(values):
        rows = table[table[series].astype(str) == value].sort_values(x.column)
        at, height = rows[x.column].to_numpy(float), rows[y.column].to_numpy(float)
        colour, dash = _look(value, place)
        line = theory.get(value)
        if line is not None:
            along = np.geomspace(at[0], at[-1], 200) if x.log else np.linspace(at[0], at[-1], 200)
            axes.plot(
                along, [line(float(each)) for each in along], color=colour, linestyle=dash, linewidth=1.3
            )
        error = None
        if {"low", "high"} <= set(rows.columns) and rows[["low", "high"]].notna().all(axis=None):
            error = np.abs(np.vstack([height - rows["low"], rows["high"] - height]))
        axes.errorbar(
            at, height, error, color=colour, linestyle="none" if line else dash, linewidth=1.6, elinewidth=1,
            capsize=2.5, marker=_MARKERS[place % len(_MARKERS)], markersize=4.5,
        )  # fmt: skip
        known = ~np.isnan(height)
        ends.append((names.get(value, value), float(at[known][-1]), float(height[known][-1]), colour))
    top = y.to if y.kind != "share" else min(y.to or 1.03, axes.get_ylim()[1])
    if top is not None:
        axes.set_ylim(top=top)
    if not y.log:
        axes.set_ylim(bottom=0)
    for scale, axis in ((x, axes.xaxis), (y, axes.yaxis)):
        _ticks(axis, scale)
    for where, told in marks:
        axes.axvline(where, color=_INK, linewidth=0.9, linestyle=(0, (1, 2)))
        axes.annotate(
            told, (where, 1), xycoords=("data", "axes fraction"), xytext=(4, -4), va="top", fontsize=8.5,
            textcoords="offset points", color=_INK,
        )  # fmt: skip
    if theory:
        axes.annotate(
            "points: simulated; lines: theory", (1, 0), xycoords="axes fraction", xytext=(-2, 4), ha="right",
            textcoords="offset points", fontsize=8, color="#555555",
        )  # fmt: skip
    _name_ends(axes, ends)
    return figure


def bars(
    table: pd.DataFrame, name: str, value: str, *, title: str, label: str, kind: Kind = "number"
) -> Figure:
    """One bar a row, from the top in the table's order, each with its name and its number.

    Args:
        table: what to draw.
        name: the column of names.
        value: the column of numbers; NaN is drawn as nothing, and said.
        title: the finding.
        label: what the numbers are.
        kind: how they are written.

    Raises:
        ValueError: a column is missing, or there is no row.
    """
    missing = {name, value} - set(table.columns)
    if missing or table.empty:
        raise ValueError(f"the table lacks {', '.join(sorted(missing)) or 'rows'}")
    figure = Figure(figsize=(7.2, 0.9 + 0.36 * len(table)), layout="constrained", facecolor="white")
    axes = figure.add_subplot()
    axes.set_title(textwrap.fill(title, 68), loc="left", fontsize=11.5, fontweight="bold", color=_INK, pad=10)
    axes.spines[["top", "right", "left"]].set_visible(False)
    numbers = table[value].to_numpy(float)
    known = np.nan_to_num(numbers)
    for place, (each, number) in enumerate(zip(table[name], known, strict=True)):
        colour, _ = _look(str(each), 0)
        axes.barh(place, number, color=colour, height=0.62)
    for place, number in enumerate(numbers):
        told = "unknown" if np.isnan(number) else _text(kind)(number)
        axes.annotate(
            f" {told}", (known[place], place), va="center", fontsize=9, color=_INK, annotation_clip=False
        )
    axes.set_yticks(range(len(table)), [str(each) for each in table[name]])
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(len(table) - 0.45, -0.55)
    axes.set_xlim(0, 1.18 * float(known.max()) or 1.0)
    axes.set_xlabel(label)
    _ticks(axes.xaxis, Scale(value, label, kind))
    return figure


def _look(value: str, place: int) -> tuple[str, str | tuple[float, tuple[float, ...]]]:
    if value in MECHANISMS:
        return look(value)
    return _COLOURS[place % len(_COLOURS)], _DASHES[place % len(_DASHES)]


def _text(kind: Kind) -> Callable[[float], str]:
    return {"time": duration, "share": _per_cent, "number": _plain}[kind]


def _per_cent(share: float) -> str:
    return f"{100 * share:.3g} %"


def _plain(number: float) -> str:
    return f"{number:,.0f}" if abs(number) >= 1000 else f"{number:.3g}"


def _ticks(axis: Axis, scale: Scale) -> None:
    text = _text(scale.kind)
    if scale.log:
        low, high = sorted(axis.get_view_interval())
        if scale.kind == "time":
            axis.set_major_locator(FixedLocator(_few([t for t in _CLOCK_TICKS if low <= t <= high])))
        else:
            axis.set_major_locator(LogLocator(base=10, subs=(1.0, 2.0, 5.0) if high / low < 200 else (1.0,)))
        axis.set_minor_locator(NullLocator())
    elif scale.kind == "time":
        _clock_ticks(axis)
        return
    else:
        axis.set_major_locator(MaxNLocator(7))
    axis.set_major_formatter(FuncFormatter(lambda value, _: "0" if value == 0 else text(value)))


def _clock_ticks(axis: Axis) -> None:
    """Round times in one unit, that of the axis' end, on an axis that is not logarithmic."""
    low, high = sorted(axis.get_view_interval())
    size, unit = next(
        (size, unit)
        for below, size, unit in (
            (1e-3, 1e-6, "µs"), (1.0, 1e-3, "ms"), (120.0, 1.0, "s"), (7200.0, 60.0, "min"),
            (math.inf, 3600.0, "h"),
        )
        if high < below
    )  # fmt: skip
    steps = MaxNLocator(7).tick_values(low / size, high / size)
    axis.set_major_locator(FixedLocator([step * size for step in steps if low <= step * size <= high]))
    axis.set_major_formatter(
        FuncFormatter(lambda value, _: "0" if value == 0 else f"{round(value / size, 9):g} {unit}")
    )


def _few(ticks: list[float]) -> list[float]:
    return ticks[:: 1 + len(ticks) // 9]


def _name_ends(axes: Axes, ends: list[tuple[str, float, float, str]]) -> None:
    """Names right of the curves' last points, moved apart so that none covers another."""
    to_axes = axes.transData + axes.transAxes.inverted()
    placed = sorted(
        (float(to_axes.transform((at, height))[1]), name, colour) for name, at, height, colour in ends
    )
    lowest = -1.0
    heights = []
    for place, (height, _, _) in enumerate(placed):
        room_above = 1.0 - _LABEL_HEIGHT * (len(placed) - 1 - place)
        heights.append(max(lowest, min(height, room_above)))
        lowest = heights[-1] + _LABEL_HEIGHT
    for height, (_, name, colour) in zip(heights, placed, strict=True):
        axes.annotate(
            name, (1.01, height), xycoords="axes fraction", ha="left", va="center", color=colour,
            fontsize=9.5, fontweight="bold", annotation_clip=False,
        )  # fmt: skip
