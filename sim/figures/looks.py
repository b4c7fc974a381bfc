"""What every figure looks like: colours and dashes, one panel under its finding, labels, times in words.

Colours are Okabe and Ito's ("Color Universal Design", 2008), told apart by every kind of colour vision;
dashes tell them apart in black and white.
"""

from __future__ import annotations

import math
import textwrap

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator
from numpy.typing import NDArray

Dash = str | tuple[float, tuple[float, ...]]
# A mechanism looks the same in every figure. Relatives share a colour; no two share a dash.
_LOOKS: dict[str, tuple[str, Dash]] = {
    "webhook": ("#0072B2", "solid"),  # blue
    "polling": ("#D55E00", (0, (6, 2))),  # vermilion
    "streaming": ("#009E73", (0, (2, 1.5))),  # green
    "long_polling": ("#CC79A7", (0, (6, 2, 1, 2))),  # purple
    "broker_push": ("#E69F00", (0, (1, 1))),  # orange
    "broker_pull": ("#56B4E9", (0, (3, 1, 1, 1, 1, 1))),  # sky
    "conditional_polling": ("#D55E00", (0, (10, 3))),
    "adaptive_polling": ("#000000", (0, (4, 4))),
    "webhook_reconciled": ("#0072B2", (0, (12, 2, 2, 2))),
    "thin_webhook": ("#000000", (0, (9, 2, 1, 2, 1, 2))),
}
INK, GRID = "#333333", "#e4e4e4"
FEW = 4
"""More than so many are labelled from top to bottom, and titles tell the extremes only."""

_LABEL_HEIGHT = 0.05  # of a label, as a share of the axes


def look(name: str) -> tuple[str, Dash]:
    """The colour and the dash of a mechanism's curves, the same in every figure."""
    return _LOOKS.get(name, (INK, "solid"))


def look_among(name: str, names: list[str]) -> tuple[str, Dash]:
    """A mechanism's own colour and dash; any other name takes those that no mechanism in the figure has."""
    if name in _LOOKS:
        return _LOOKS[name]
    free = [look for known, look in _LOOKS.items() if known not in names] or list(_LOOKS.values())
    others = [each for each in names if each not in _LOOKS]
    return free[others.index(name) % len(free)]


def colour_of(name: str, names: list[str]) -> str:
    """The colour of `look_among`."""
    return look_among(name, names)[0]


def dash_of(name: str, names: list[str]) -> Dash:
    """The dash of `look_among`."""
    return look_among(name, names)[1]


def duration(seconds: float) -> str:
    """A duration to two digits or more, in the unit a person would use: "43 ms", "15 s", "4.2 min"."""
    if not math.isfinite(seconds):
        return "never"
    for below, size, unit in (
        (1e-3, 1e-6, "µs"),
        (1.0, 1e-3, "ms"),
        (120.0, 1.0, "s"),
        (7200.0, 60.0, "min"),
    ):
        if seconds < 0.9995 * below:
            return _two_digits(seconds / size, unit)
    return _two_digits(seconds / 3600, "h")


def _two_digits(value: float, unit: str) -> str:
    return f"{value:,.0f} {unit}" if value >= 9.95 else f"{float(f'{value:.2g}'):g} {unit}"


def axis_time(seconds: float, _position: object = None) -> str:
    """A time as the label of a tick."""
    if seconds == 0:
        return "0"
    if seconds >= 0.9995:
        return f"{seconds:,.0f} s" if seconds >= 100 or seconds == round(seconds) else f"{seconds:.3g} s"
    return f"{seconds * 1e3:.3g} ms" if seconds >= 0.9995e-3 else f"{seconds * 1e6:.3g} µs"


def extremes(told: list[str]) -> str:
    """All that is told, or of many the first and the last."""
    return ", ".join(told) if len(told) <= FEW else f"{told[0]}, …, {told[-1]}"


def single(title: str, size: tuple[float, float] = (7.2, 4.4)) -> tuple[Figure, Axes]:
    """A figure of one panel under its finding; `size` is width and height in inches."""
    figure = Figure(figsize=size, layout="constrained", facecolor="white")
    axes = figure.add_subplot()
    axes.set_title(
        textwrap.fill(title, round(9.2 * size[0])),
        loc="left",
        fontsize=11.5,
        fontweight="bold",
        color=INK,
        pad=10,
    )
    plain(axes)
    return figure, axes


def plain(axes: Axes) -> None:
    """Two spines, and a grid beneath everything."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)


def label(axes: Axes, text: str, x: float, y: float, colour: str) -> None:
    """A curve's name, right of a point of it."""
    axes.annotate(
        text, (x, y), xytext=(8, 0), textcoords="offset points", ha="left", va="center",
        color=colour, fontweight="bold", zorder=5,
        bbox={"facecolor": "white", "alpha": 0.75, "edgecolor": "none", "pad": 1},
    )  # fmt: skip


def labels_apart(
    axes: Axes, labels: list[tuple[str, float, float, str]], *, in_a_column: bool = False
) -> None:
    """Labels right of their points (text, x, y, colour), moved up or down so that none covers another.

    In a column all stand right of the rightmost point.
    """
    axes.autoscale_view()
    to_axes = axes.transData + axes.transAxes.inverted()
    placed = sorted(
        (float(at[1]), float(at[0]), label)
        for label in labels
        for at in [to_axes.transform((label[1], label[2]))]
    )
    rightmost = max((across for _, across, _ in placed), default=0.0)
    lowest = 0.0
    heights = []
    for place, (height, _, _) in enumerate(placed):
        room_above = 1.0 - _LABEL_HEIGHT * (len(placed) - 1 - place)
        heights.append(max(lowest, min(height, room_above)))
        lowest = heights[-1] + _LABEL_HEIGHT
    for height, (_, across, (text, x, y, colour)) in zip(heights, placed, strict=True):
        beside = ((rightmost if in_a_column else across) + 0.015, height)
        axes.annotate(
            text, (x, y), xycoords="data", xytext=beside, textcoords="axes fraction",
            ha="left", va="center", color=colour, fontweight="bold", zorder=5,
        )  # fmt: skip


def time_axis(axes: Axes, times_s: NDArray[np.float64]) -> None:
    """A logarithmic axis when the times span more than a factor of thirty, else one from 0."""
    positive = times_s[times_s > 0]
    if positive.size and positive.max() > 30 * positive.min():
        axes.set_xscale("log")
        axes.set_xlim(positive.min() / 1.5, positive.max() * 2)
        log_time_ticks(axes.xaxis)
    else:
        axes.set_xlim(0, float(times_s.max()) * 1.15 or 1.0)
        axes.xaxis.set_major_formatter(FuncFormatter(axis_time))


def log_time_ticks(axis: Axis) -> None:
    """Ticks at powers of ten, told as times."""
    axis.set_major_locator(LogLocator(base=10, numticks=12))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(axis_time))
