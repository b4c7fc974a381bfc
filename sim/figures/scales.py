"""Axes of metrics and of scenario values: logarithmic where they span much, their ticks in readable units."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullFormatter, NullLocator

from sim.figures.looks import axis_time

WIDE = 30.0
"""What spans more than this factor is drawn on a logarithmic axis."""


def is_wide(values: Iterable[float]) -> bool:
    """Whether values, all above 0, span so much that a logarithmic axis is due."""
    finite = np.array([value for value in values if math.isfinite(value)])
    return bool(finite.size and finite.min() > 0 and finite.max() > WIDE * finite.min())


def is_time(name: str) -> bool:
    """Whether a metric or a scenario's key is a time in seconds."""
    return name.endswith("_s") and not name.endswith("_per_s")


def is_share(name: str) -> bool:
    """Whether a metric is a share of something, told in per cent."""
    return name.endswith(("_ratio", "_utilisation", "_share")) or name == "freshness"


def scale(
    axes: Axes,
    direction: Literal["x", "y"],
    name: str,
    values: Iterable[float],
    *,
    wide: bool | None = None,
    few: int = 0,
) -> bool:
    """Set an axis's scale and the look of its ticks by what it shows; returns whether it is logarithmic.

    Args:
        axes: a panel.
        direction: which of its axes.
        name: a metric or a scenario's key, whose ending tells its unit.
        values: what will be drawn.
        wide: whether to make it logarithmic; by default where the values span much.
        few: so many values at most get a tick each, in place of round ones.
    """
    axis: Axis = axes.xaxis if direction == "x" else axes.yaxis
    shown = [float(value) for value in values]
    logarithmic = is_wide(shown) if wide is None else wide
    if logarithmic:
        (axes.set_xscale if direction == "x" else axes.set_yscale)("log")
        positive = [value for value in shown if value > 0 and math.isfinite(value)]
        decades = math.log10(max(positive) / min(positive)) if positive else 1.0
        subs = (1.0,) if decades > 3 else (1.0, 3.0) if decades > 1.2 else (1.0, 2.0, 5.0)
        axis.set_major_locator(LogLocator(base=10, subs=subs, numticks=12))
        axis.set_minor_locator(NullLocator())
        axis.set_minor_formatter(NullFormatter())
    if len(shown) <= few:
        axis.set_major_locator(FixedLocator(shown))
    axis.set_major_formatter(FuncFormatter(lambda value, _: told(name, value)))
    return logarithmic


def told(name: str, value: float) -> str:
    """A value of a metric or a scenario's key as the label of a tick."""
    if is_time(name):
        return axis_time(value) if value >= 0 else f"−{axis_time(-value)}"
    return f"{100 * value:.3g} %" if is_share(name) else _number(value)


def _number(value: float) -> str:
    if value == 0:
        return "0"
    if abs(value) >= 1e7 or abs(value) < 1e-5:
        return f"{value:.3g}"
    return f"{value:,.0f}" if value == round(value) or abs(value) >= 1000 else f"{value:.3g}"
