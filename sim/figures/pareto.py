"""Alternatives against two metrics: which are on the front, and which meet what was asked."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Literal

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Annotation
from matplotlib.transforms import Bbox
from numpy.typing import NDArray

from sim.figures.looks import INK, colour_of, single
from sim.figures.scales import scale
from sim.metrics.directions import GOOD

_MARKERS = "os^Dv<>Ph*"
_DISTANCES = (9, 16, 26, 40, 58, 80)  # points from a mark to its label
_SIDES = ((1, 0), (-1, 0), (0, 1), (0, -1), (0.85, 0.85), (-0.85, -0.85), (0.85, -0.85), (-0.85, 0.85))


def pareto_scatter(table: pd.DataFrame, x: str, y: str, title: str | None = None) -> Figure:
    """Alternatives as marks, the front joined by steps, each named beside its mark.

    A filled mark meets what was asked, an open one does not; marks off the front are pale. A name that finds
    no room without covering another is left out, which a note counts; those on the front come first.

    Args:
        table: a row an alternative: `label`, `mechanism`, the columns that `x` and `y` name, `on_front` and
            `meets` (bool); where known the ends of intervals, `{x}_low`, `{x}_high`, `{y}_low`, `{y}_high`.
        x: the metric that goes right.
        y: the metric that goes up.
        title: the finding; by default how many are on the front.

    Raises:
        ValueError: a column is missing, the table is empty, or no row has both metrics.
    """
    missing = {"label", "mechanism", x, y, "on_front", "meets"} - set(table.columns)
    if missing or table.empty:
        raise ValueError(f"the table lacks {', '.join(sorted(missing)) or 'rows'}")
    shown = table[np.isfinite(table[x].to_numpy(float)) & np.isfinite(table[y].to_numpy(float))]
    if shown.empty:
        raise ValueError(f"no alternative has both {x} and {y}")
    figure, axes = single(title or _finding(shown, x, y), (8.0, 5.2))
    names = [str(name) for name in dict.fromkeys(shown["mechanism"])]
    front = shown[shown["on_front"]].sort_values(x)
    _axes(axes, shown, x, y)
    if len(front) > 1:
        axes.plot(
            front[x], front[y], color=INK, linewidth=1.1, linestyle=(0, (4, 2)), zorder=1, drawstyle=_steps(x)
        )
    for name, rows in shown.groupby("mechanism", sort=False, observed=True):
        colour, marker = colour_of(str(name), names), _MARKERS[names.index(str(name)) % len(_MARKERS)]
        for row in rows.to_dict("records"):
            pale = 1.0 if row["on_front"] else 0.45
            _interval(axes, row, x, y, colour, pale)
            axes.plot(
                row[x], row[y], marker, color=colour, markersize=9 if row["on_front"] else 7, alpha=pale,
                markerfacecolor=colour if row["meets"] else "white", markeredgewidth=1.6, zorder=3,
            )  # fmt: skip
    _named(figure, axes, shown, x, y, names)
    return figure


def _finding(shown: pd.DataFrame, x: str, y: str) -> str:
    best, meets = int(shown["on_front"].sum()), int((shown["on_front"] & shown["meets"]).sum())
    asked = (
        ""
        if shown["meets"].all()
        else f"; of these {meets} {'meets' if meets == 1 else 'meet'} what was asked"
    )
    return f"Nothing beats {best} of {len(shown)} alternatives on both {x} and {y}{asked}"


def _steps(x: str) -> str:
    """What a member of the front beats lies on its worse side: right of it, where less is better."""
    return "steps-pre" if GOOD.get(x) == "more" else "steps-post"


def _axes(axes: Axes, shown: pd.DataFrame, x: str, y: str) -> None:
    directions: tuple[tuple[Literal["x", "y"], str], ...] = (("x", x), ("y", y))
    for direction, name in directions:
        values = shown[name].to_numpy(float)
        logarithmic = scale(axes, direction, name, values)
        low, high = values.min(), values.max()
        limits = (low / 2.2, high * 2.2) if logarithmic else _padded(low, high)
        (axes.set_xlim if direction == "x" else axes.set_ylim)(*limits)
    better = {name: f" ({GOOD[name]} is better)" if name in GOOD else "" for name in (x, y)}
    kinds = "" if shown["meets"].all() else "; filled: meets what was asked, open: does not"
    axes.set_xlabel(f"{x}{better[x]}\ndashed: the front{kinds}")
    axes.set_ylabel(f"{y}{better[y]}")


def _padded(low: float, high: float) -> tuple[float, float]:
    room = 0.14 * (high - low) or 0.2 * abs(high) or 1.0
    return (low - room if low < 0 or low > room else -0.25 * room), high + room


def _interval(axes: Axes, row: dict[str, float], x: str, y: str, colour: str, pale: float) -> None:
    ends = {}
    for name in (x, y):
        low, high = row.get(f"{name}_low", math.nan), row.get(f"{name}_high", math.nan)
        if math.isfinite(low) and math.isfinite(high):
            ends[name] = np.array([[row[name] - low], [high - row[name]]])
    if ends:
        axes.errorbar(
            row[x], row[y], xerr=ends.get(x), yerr=ends.get(y), color=colour, alpha=0.6 * pale,
            linestyle="none", linewidth=1, capsize=2, zorder=2,
        )  # fmt: skip


def _named(figure: Figure, axes: Axes, shown: pd.DataFrame, x: str, y: str, names: list[str]) -> None:
    """Write each name where it covers neither a mark nor another name, as near as there is room."""
    figure.draw_without_rendering()  # lays the panel out, so that places are known
    figure.set_layout_engine("none")
    panel = axes.get_window_extent()
    at = axes.transData.transform(shown[[x, y]].to_numpy(float))
    per_point = figure.dpi / 72
    taken = [Bbox.from_extents(*(place - 6 * per_point), *(place + 6 * per_point)) for place in at]
    taken += _front_boxes(at[shown["on_front"].to_numpy(bool)], _steps(x), per_point)
    left_out = 0
    order = np.argsort(~shown["on_front"].to_numpy(bool), kind="stable")
    rows = shown.to_dict("records")
    for number in order:
        row = rows[number]
        text = axes.annotate(
            str(row["label"]), (row[x], row[y]), xytext=(0, 0), textcoords="offset points", zorder=5,
            color=colour_of(str(row["mechanism"]), names), fontsize=8.5,
            fontweight="bold" if row["on_front"] else "normal", in_layout=False,
        )  # fmt: skip
        if _placed(text, taken, panel, per_point):
            _lead(axes, text)
        else:
            text.remove()
            left_out += 1
    if left_out:
        axes.annotate(
            f"{left_out} more without room for a name", (1, 0), xycoords="axes fraction", xytext=(-4, 4),
            textcoords="offset points", ha="right", va="bottom", color=INK, fontsize=8.5, in_layout=False,
        )  # fmt: skip


def _front_boxes(at: NDArray[np.float64], steps: str, per_point: float) -> list[Bbox]:
    """The steps between members of the front, as thin boxes that names keep clear of."""
    boxes = []
    for (x0, y0), (x1, y1) in pairwise(at[np.argsort(at[:, 0])]):
        corner = (x0, y1) if steps == "steps-pre" else (x1, y0)
        boxes += [Bbox([(x0, y0), corner]), Bbox([corner, (x1, y1)])]
    thin = per_point
    return [Bbox.from_extents(b.xmin - thin, b.ymin - thin, b.xmax + thin, b.ymax + thin) for b in boxes]


def _placed(text: Annotation, taken: list[Bbox], panel: Bbox, per_point: float) -> bool:
    """Move a name to the nearest place where there is room; says whether there is any."""
    for distance in _DISTANCES:
        for across, up in _SIDES:
            text.set_position((distance * across, distance * up))
            text.set_horizontalalignment("left" if across > 0 else "right" if across < 0 else "center")
            text.set_verticalalignment("bottom" if up > 0 else "top" if up < 0 else "center")
            box = text.get_window_extent().padded(1.5 * per_point)
            inside = panel.x0 <= box.x0 and box.x1 <= panel.x1 and panel.y0 <= box.y0 and box.y1 <= panel.y1
            if inside and not any(box.overlaps(other) for other in taken):
                taken.append(box)
                return True
    return False


def _lead(axes: Axes, text: Annotation) -> None:
    """A hairline from a mark to its name, where that stands further off."""
    place = text.get_position()
    if math.hypot(*place) > _DISTANCES[1]:
        axes.annotate(
            "", text.xy, xytext=place, textcoords="offset points", zorder=2, in_layout=False,
            arrowprops={"arrowstyle": "-", "color": "#999999", "linewidth": 0.7, "shrinkA": 0, "shrinkB": 5},
        )  # fmt: skip
