"""Two parameters at a time: which of two mechanisms is better where, and by how much."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import PolyCollection
from matplotlib.colors import LinearSegmentedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.patheffects import AbstractPathEffect, withStroke
from matplotlib.ticker import FixedLocator, FuncFormatter
from numpy.typing import NDArray

from sim.figures.cells import Floats, cell_edges, refined, spaced_by_ratio
from sim.figures.looks import INK, colour_of, single
from sim.figures.scales import scale, told
from sim.metrics.directions import least_is_best

if TYPE_CHECKING:
    from sim.experiment.surface import Surface


_OTHER = "#D55E00"  # of the second mechanism, where both have one colour
_LARGEST_RATIO = 1000.0  # beyond it colours do not deepen
_HALO: list[AbstractPathEffect] = [withStroke(linewidth=3, foreground="white")]
_TIMES = (1.01, 1.02, 1.05, 1.1, 1.2, 1.5, 2.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0)
_THEORY = {"polling.interval_s", "workload.rate_per_s"}


def break_even_surface(surface: Surface, title: str | None = None) -> Figure:
    """Which of two mechanisms is better where, by how much, and the line on which they are level.

    Each side has its mechanism's colour, deeper where the difference is larger, and its name; the second's is
    hatched, so that the sides differ in black and white. A ring marks a cell where the 95 % interval of the
    difference contains 0, a dash one where there is no difference, a cross one without the metric. Points on
    the break-even line are where a column's difference changes its sign, with intervals. Over poll interval
    and event rate the requests an event of polling and webhooks are level where λT = 1
    (`sim.theory.break_even_rate_per_s`): that line is the pale band.

    Args:
        surface: what was found.
        title: the finding; by default how many cells each wins.
    """
    xs, ys = np.array(surface.xs), np.array(surface.ys)
    wide = (spaced_by_ratio(xs), spaced_by_ratio(ys))
    figure, axes = single(title or surface.sentence(), (8.0, 5.6))
    axes.grid(visible=False)
    ratios = _are_ratios(surface)
    deep, deepest = _depths(surface, ratios=ratios)
    colours = _sides(surface)
    ramp = LinearSegmentedColormap.from_list("sides", [colours[0], "#ffffff", colours[1]])
    edges = cell_edges(xs, by_ratio=wide[0]), cell_edges(ys, by_ratio=wide[1])
    axes.pcolormesh(*edges, np.ma.masked_invalid(deep), cmap=ramp, vmin=-deepest, vmax=deepest)
    scale(axes, "x", surface.x, xs, wide=wide[0], few=6)
    scale(axes, "y", surface.y, ys, wide=wide[1], few=6)
    notes = []
    if (deep > 0).any():
        _hatch(axes, edges, deep > 0)
        notes.append(f"hatched: {surface.b}'s side")
    if surface.curve():
        _level_line(axes, surface, wide)
        notes.append("line: level, with 95 % intervals")
    notes += _marks(axes, surface)
    if {surface.x, surface.y} == _THEORY and _is_requests(surface):
        _theory(axes, edges)
    for name in (surface.a, surface.b):
        _name(axes, name, xs, ys, _won(surface, name))
    axes.set_xlim(edges[0][0], edges[0][-1])
    axes.set_ylim(edges[1][0], edges[1][-1])
    axes.set_xlabel("\n".join([surface.x, "; ".join(notes)]))
    axes.set_ylabel(surface.y)
    _colour_bar(figure, axes, surface, ScalarMappable(Normalize(-deepest, deepest), ramp), ratios=ratios)
    return figure


def _is_requests(surface: Surface) -> bool:
    return surface.metric == "requests_per_event" and {surface.a, surface.b} == {"webhook", "polling"}


def _sides(surface: Surface) -> tuple[str, str]:
    names = [surface.a, surface.b]
    first, second = colour_of(surface.a, names), colour_of(surface.b, names)
    return first, second if second != first else _OTHER if first != _OTHER else "#0072B2"


def _are_ratios(surface: Surface) -> bool:
    """Whether the means are above 0 throughout, so that how many times one is the other says something."""
    means = np.concatenate([surface.means(name).ravel() for name in (surface.a, surface.b)])
    return bool((means[~np.isnan(means)] > 0).all())


def _depths(surface: Surface, *, ratios: bool) -> tuple[Floats, float]:
    """How far each cell is on either side, below 0 where a is better; and how far the colours reach."""
    deep = np.full((len(surface.ys), len(surface.xs)), np.nan)
    for (row, column), difference in surface.differences.items():
        if not math.isnan(difference.mean):
            size = abs(surface.height(row, column, difference.mean) if ratios else difference.mean)
            is_a = size > 0 and surface.better(difference.mean) == surface.a
            deep[row, column] = -size if is_a else size
    deepest = float(np.nanmax(np.abs(deep))) if not np.isnan(deep).all() else 0.0
    return deep, min(deepest or 1.0, math.log(_LARGEST_RATIO) if ratios else math.inf)


def _won(surface: Surface, name: str) -> NDArray[np.bool_]:
    won = np.zeros((len(surface.ys), len(surface.xs)), dtype=np.bool_)
    for row, column in surface.differences:
        won[row, column] = surface.winner(row, column) == name
    return won


def _hatch(axes: Axes, edges: tuple[Floats, Floats], where: NDArray[np.bool_]) -> None:
    x, y = edges
    quads = [
        [(x[c], y[r]), (x[c + 1], y[r]), (x[c + 1], y[r + 1]), (x[c], y[r + 1])]
        for r, c in zip(*np.nonzero(where), strict=True)
    ]
    hatched = PolyCollection(
        quads, facecolors="none", edgecolors="#00000045", linewidths=0, hatch="//", closed=True
    )
    hatched.set_hatch_linewidth(0.7)
    axes.add_collection(hatched)


def _level_line(axes: Axes, surface: Surface, wide: tuple[bool, bool]) -> None:
    """The line on which both are level, and where it is in each column, with intervals."""
    heights = np.full((len(surface.ys), len(surface.xs)), np.nan)
    for (row, column), difference in surface.differences.items():
        if not math.isnan(difference.mean):
            heights[row, column] = surface.height(row, column, difference.mean)
    x, across = refined(np.array(surface.xs), heights, by_ratio=wide[0])
    y, both = refined(np.array(surface.ys), across.T, by_ratio=wide[1])
    field = np.ma.masked_invalid(both.T)
    if field.count() and field.min() < 0 < field.max():
        axes.contour(x, y, field, levels=[0.0], colors="#000000", linewidths=2.0)
    for found in surface.curve():
        low = surface.ys[0] if found.low is None else found.low
        high = surface.ys[-1] if found.high is None else found.high
        axes.errorbar(
            found.x, found.y, [[found.y - low], [high - found.y]], color="#000000", marker="o",
            markersize=3.5, capsize=3, linewidth=1.3,
        )  # fmt: skip


def _marks(axes: Axes, surface: Surface) -> list[str]:
    """Rings where sides cannot be told apart, crosses where there is nothing to tell; says what they are."""
    notes = []
    kinds = (
        ("undecided", "o", "ring: not told apart"),
        ("level", "_", "dash: the same"),
        ("undefined", "x", "cross: undefined"),
    )
    for kind, marker, told_as in kinds:
        at = [
            (surface.xs[column], surface.ys[row])
            for row, column in surface.differences
            if surface.cell(row, column) == kind
        ]
        if at:
            x, y = zip(*at, strict=True)
            axes.plot(
                x, y, linestyle="none", marker=marker, markersize=9, markerfacecolor="white",
                markeredgecolor=INK, markeredgewidth=1.4, zorder=2.5,
            )  # fmt: skip
            notes.append(told_as)
    return notes


def _theory(axes: Axes, edges: tuple[Floats, Floats]) -> None:
    """λT = 1 through the whole panel, a pale band as all that is predicted."""
    x = np.array([edges[0][0], edges[0][-1]])
    axes.plot(x, 1 / x, color=INK, linewidth=8, alpha=0.3, solid_capstyle="butt", zorder=1.9)
    low = max(edges[0][0], 1 / edges[1][-1])
    high = min(edges[0][-1], 1 / edges[1][0])
    if low < high:
        at = low * (high / low) ** 0.12
        text = axes.annotate(
            "theory: λT = 1", (at, 1 / at), xytext=(8, 7), textcoords="offset points", ha="left", va="bottom",
            color=INK, fontsize=9, zorder=4,
        )  # fmt: skip
        text.set_path_effects(_HALO)


def _name(axes: Axes, name: str, xs: Floats, ys: Floats, won: NDArray[np.bool_]) -> None:
    """A mechanism's name in the middle of what it won: the cell that is furthest from any other."""
    if not won.any():
        return
    rows, columns = np.nonzero(~np.pad(won, 1))
    apart = [
        (float(np.min(np.hypot(rows - 1 - r, (columns - 1 - c) * 0.6))), int(r), int(c))
        for r, c in zip(*np.nonzero(won), strict=True)
    ]
    _, row, column = max(apart)
    text = axes.annotate(
        name, (xs[column], ys[row]), ha="center", va="center", fontsize=12, fontweight="bold", color=INK,
        zorder=4, annotation_clip=True,
    )  # fmt: skip
    text.set_path_effects(_HALO)


def _times(height: float, _position: object) -> str:
    return f"{float(f'{math.exp(abs(height)):.3g}'):,g}×" if height else "the same"


def _colour_bar(
    figure: Figure, axes: Axes, surface: Surface, colours: ScalarMappable, *, ratios: bool
) -> None:
    deepest = float(colours.get_clim()[1] or 1.0)
    capped = ratios and deepest == math.log(_LARGEST_RATIO)
    bar = figure.colorbar(colours, ax=axes, aspect=28, pad=0.02, extend="both" if capped else "neither")
    if ratios:
        shown: list[float] = []
        for times in reversed(_TIMES):
            height = math.log(times)
            if height <= 1.001 * deepest and all(
                abs(height - other) > 0.22 * deepest for other in [*shown, 0.0]
            ):
                shown.append(height)
        bar.ax.yaxis.set_major_locator(FixedLocator(sorted([0.0, *shown, *(-height for height in shown)])))
        bar.ax.yaxis.set_major_formatter(FuncFormatter(_times))
    else:
        bar.ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: told(surface.metric, abs(value))))
    better = "lower" if least_is_best(surface.metric) else "higher"
    bar.set_label(f"{surface.a}  ←  {better} {surface.metric}  →  {surface.b}")
