"""A metric over two parameters, a panel a mechanism."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, MaxNLocator, NullLocator

from sim.figures.cells import Floats, cell_edges, refined, spaced_by_ratio
from sim.figures.looks import INK
from sim.figures.scales import is_wide, scale, told

if TYPE_CHECKING:
    from sim.experiment.sweep import Sweep


def metric_map(sweep: Sweep, metric: str, title: str | None = None) -> Figure:
    """A metric over a sweep's two axes, a panel a mechanism, all in the same colours, with contours.

    Args:
        sweep: over two axes, each of one key with ascending numbers.
        metric: what is shown: means over replications.
        title: the finding; by default from where to where it goes.

    Raises:
        ValueError: the metric is undefined everywhere.
    """
    ys, xs = (np.array([float(value) for (value,) in axis.values]) for axis in sweep.axes)
    means = {
        mechanism: np.reshape(
            [sweep.estimate(point, mechanism, metric).mean for point in range(len(sweep.points))],
            (len(ys), len(xs)),
        )
        for mechanism in sweep.mechanisms
    }
    every = np.concatenate([values[~np.isnan(values)] for values in means.values()])
    if not every.size:
        raise ValueError(f"{metric} is undefined throughout")
    low, high = float(every.min()), float(every.max())
    columns = min(3, len(means))
    rows = -(-len(means) // columns)
    size = (1.6 + 3.3 * columns, 1.2 + 3.2 * rows)
    figure = Figure(figsize=size, layout="constrained", facecolor="white")
    figure.suptitle(
        title or _span(metric, low, high), x=0.01, ha="left", fontsize=11.5, fontweight="bold", color=INK,
    )  # fmt: skip
    panels = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    levels = _levels(low, high, by_ratio=is_wide(every))
    norm = LogNorm(low, high) if is_wide(every) else Normalize(low, high if high > low else low + 1)
    wide = spaced_by_ratio(xs), spaced_by_ratio(ys)
    edges = cell_edges(xs, by_ratio=wide[0]), cell_edges(ys, by_ratio=wide[1])
    for panel, (mechanism, values) in zip(panels.flat, means.items(), strict=False):
        panel.pcolormesh(*edges, np.ma.masked_invalid(values), cmap="cividis", norm=norm)
        scale(panel, "x", sweep.axes[1].keys[0], xs, wide=wide[0], few=6)
        scale(panel, "y", sweep.axes[0].keys[0], ys, wide=wide[1], few=6)
        _contours(panel, metric, xs, ys, values, wide, levels)
        panel.set_title(mechanism, loc="left", fontsize=10, fontweight="bold", color=INK)
    for panel in list(panels.flat)[len(means) :]:
        panel.set_visible(False)
    figure.supxlabel(sweep.axes[1].keys[0], fontsize=10)
    figure.supylabel(sweep.axes[0].keys[0], fontsize=10)
    bar = figure.colorbar(ScalarMappable(norm, "cividis"), ax=panels, aspect=28, pad=0.02)
    bar.ax.yaxis.set_major_locator(FixedLocator(levels))
    bar.ax.yaxis.set_minor_locator(NullLocator())
    bar.ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: told(metric, value)))
    bar.set_label(metric)
    return figure


def _span(metric: str, low: float, high: float) -> str:
    ends = [told(metric, float(f"{end:.2g}")) for end in (low, high)]
    return (
        f"{metric} is {ends[0]} throughout" if low == high else f"{metric} goes from {ends[0]} to {ends[1]}"
    )


def _levels(low: float, high: float, *, by_ratio: bool) -> list[float]:
    """Round values between two, for contours and for the bar."""
    locator = LogLocator(base=10, subs=(1.0, 3.0), numticks=12) if by_ratio else MaxNLocator(6)
    return [float(level) for level in locator.tick_values(low, high) if low <= level <= high]


def _contours(
    axes: Axes,
    metric: str,
    xs: Floats,
    ys: Floats,
    values: Floats,
    wide: tuple[bool, bool],
    levels: Sequence[float],
) -> None:
    """Lines of round values; between cells metrics are taken to change by ratio where they span much."""
    known = values[~np.isnan(values)]
    crossed = [level for level in levels if known.size and known.min() < level < known.max()]
    if not crossed:
        return
    bend = np.log if is_wide(known) else np.asarray
    x, across = refined(xs, bend(values), by_ratio=wide[0])
    y, both = refined(ys, across.T, by_ratio=wide[1])
    names = {float(bend(level)): told(metric, level) for level in crossed}
    drawn = axes.contour(
        x,
        y,
        np.ma.masked_invalid(both.T),
        levels=sorted(names),
        colors="white",
        linewidths=1,
        linestyles="solid",
    )
    drawn.set_path_effects([withStroke(linewidth=2.2, foreground="#00000090")])
    for text in axes.clabel(drawn, fontsize=8, fmt=names):
        text.set_path_effects([withStroke(linewidth=2.2, foreground="#000000b0")])
