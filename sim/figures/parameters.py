"""Metrics against a parameter of the scenario."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullLocator

from sim.figures.cells import spaced_by_ratio
from sim.figures.looks import (
    INK,
    colour_of,
    dash_of,
    duration,
    extremes,
    labels_apart,
    log_time_ticks,
    single,
)
from sim.figures.scales import scale, told

if TYPE_CHECKING:
    from sim.experiment.crossover import Crossover

_MARKERS = "os^Dv<>Ph*"


def latency_vs_interval(
    table: pd.DataFrame,
    theory_line: Callable[[float], float] | None = None,
    theory_label: str = "theory: T/2 + d",
    title: str | None = None,
) -> Figure:
    """Mean latency against the poll interval, with the theory's line through the points.

    Args:
        table: columns `mechanism`, `interval_s`, `latency_mean_s`, and where known `low` and `high`, the
            ends of its confidence interval.
        theory_line: interval_s -> latency_mean_s of polling; its points then stand on this line alone.
        theory_label: what to call that line.
        title: the finding; by default what the longest interval costs.

    Raises:
        ValueError: a column is missing, or the table is empty.
    """
    missing = {"mechanism", "interval_s", "latency_mean_s"} - set(table.columns)
    if missing or table.empty:
        raise ValueError(f"the table lacks {', '.join(sorted(missing)) or 'rows'}")
    figure, axes = single(title or _cost_of_waiting(table))
    names = [str(name) for name in dict.fromkeys(table["mechanism"])]
    ends: list[tuple[str, float, float, str]] = []
    intervals = np.sort(table["interval_s"].unique().astype(float))
    if theory_line is not None:
        x = np.geomspace(intervals[0], intervals[-1], 200)
        y = np.array([theory_line(float(interval_s)) for interval_s in x])
        axes.plot(x, y, color=INK, linewidth=1)
        middle = len(x) * 2 // 5
        axes.annotate(
            theory_label, (x[middle], y[middle]), xytext=(-8, 8), textcoords="offset points",
            ha="right", va="bottom", color=INK, fontsize=9,
        )  # fmt: skip
    for name, rows in table.groupby("mechanism", sort=False, observed=True):
        ordered = rows.sort_values("interval_s")
        x, y = ordered["interval_s"].to_numpy(float), ordered["latency_mean_s"].to_numpy(float)
        colour = colour_of(str(name), names)
        error = None
        if {"low", "high"} <= set(ordered.columns):
            error = np.abs(
                np.vstack([y - ordered["low"].to_numpy(float), ordered["high"].to_numpy(float) - y])
            )
        on_the_line = theory_line is not None and name == "polling"
        axes.errorbar(
            x, y, error, color=colour, linestyle="none" if on_the_line else dash_of(str(name), names),
            linewidth=1.2, elinewidth=1.2, capsize=3,
            marker=_MARKERS[names.index(str(name)) % len(_MARKERS)], markersize=5,
        )  # fmt: skip
        ends.append((str(name), float(x[-1]), float(y[-1]), colour))
    axes.set_xscale("log")
    axes.set_xlabel("poll interval T")
    axes.set_ylabel("mean latency")
    log_time_ticks(axes.xaxis)
    axes.set_yscale("log")
    log_time_ticks(axes.yaxis)
    axes.set_xlim(intervals[0] / 1.3, intervals[-1] * 2.2)
    labels_apart(axes, ends)
    return figure


def metric_vs_parameter(table: pd.DataFrame, parameter: str, metric: str, title: str | None = None) -> Figure:
    """A metric against one number of the scenario, a line a mechanism with the band of its intervals.

    Args:
        table: columns `mechanism`, the one that `parameter` names, `mean`, and where known `low` and `high`.
        parameter: the scenario's key.
        metric: what the means are of.
        title: the finding; by default what it is at the largest value.

    Raises:
        ValueError: a column is missing, or no mean is defined.
    """
    missing = {"mechanism", parameter, "mean"} - set(table.columns)
    shown = table if missing else table[table["mean"].notna()]
    if missing or shown.empty:
        raise ValueError(f"the table lacks {', '.join(sorted(missing)) or 'defined means'}")
    figure, axes = single(title or _at_the_end(shown, parameter, metric))
    names = [str(name) for name in dict.fromkeys(table["mechanism"])]
    values = np.sort(shown[parameter].unique().astype(float))
    x_wide = scale(axes, "x", parameter, values, wide=spaced_by_ratio(values) if len(values) > 1 else False)
    y_wide = scale(axes, "y", metric, shown["mean"])
    floor = float(shown["mean"].min()) / 10 if y_wide else -np.inf
    ends: list[tuple[str, float, float, str]] = []
    for name, rows in shown.groupby("mechanism", sort=False, observed=True):
        ordered = rows.sort_values(parameter)
        x, y = ordered[parameter].to_numpy(float), ordered["mean"].to_numpy(float)
        colour = colour_of(str(name), names)
        if {"low", "high"} <= set(ordered.columns):
            low = np.maximum(ordered["low"].to_numpy(float), floor)
            axes.fill_between(x, low, ordered["high"].to_numpy(float), color=colour, alpha=0.2, linewidth=0)
        axes.plot(
            x, y, color=colour, linestyle=dash_of(str(name), names), linewidth=1.6,
            marker=_MARKERS[names.index(str(name)) % len(_MARKERS)], markersize=5,
        )  # fmt: skip
        ends.append((str(name), float(x[-1]), float(y[-1]), colour))
    low, high = values[0], values[-1]
    axes.set_xlim(
        (low / 1.15, high * 1.15) if x_wide else (low - 0.03 * (high - low), high + 0.03 * (high - low))
    )
    axes.set_xlabel(parameter)
    axes.set_ylabel(metric)
    if not y_wide and float(shown["mean"].min()) >= 0:
        axes.set_ylim(bottom=0)
    labels_apart(axes, ends, in_a_column=True)
    return figure


def difference_vs_parameter(found: Crossover, title: str | None = None) -> Figure:
    """The difference of two mechanisms against one parameter with its intervals, and where it crosses 0.

    A crossing is marked with its interval; each side of 0 says which mechanism has the lower value there. A
    difference that spans much is drawn on a scale that is linear around 0 and logarithmic beyond.

    Args:
        found: what was searched and found.
        title: the finding; by default the search's own sentence.
    """
    figure, axes = single(title or found.sentence())
    x = np.array([at for at, _ in found.points])
    y = np.array([difference.mean for _, difference in found.points])
    low, high = (
        np.array([getattr(difference, end) for _, difference in found.points], dtype=np.float64)
        for end in ("low", "high")
    )
    for crossing in found.crossings:
        ends = (crossing.low or found.low, crossing.high or found.high)
        axes.axvspan(*ends, color="#bbbbbb", alpha=0.5, linewidth=0, zorder=0)
        axes.axvline(crossing.at, color=INK, linewidth=1, linestyle=(0, (4, 2)), zorder=1)
    axes.fill_between(x, low, high, color="#0072B2", alpha=0.25, linewidth=0)
    axes.plot(x, y, color="#0072B2", linewidth=1.6, marker="o", markersize=3.5)
    axes.axhline(0, color=INK, linewidth=1.2)
    told_apart = np.abs(y[y != 0])
    wide = told_apart.size > 0 and told_apart.max() > 30 * np.median(told_apart)
    if wide:
        axes.set_yscale("symlog", linthresh=float(np.median(told_apart)), linscale=1.0)
        axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: told(found.metric, value)))
    every = np.concatenate([y, low[~np.isnan(low)], high[~np.isnan(high)]])
    reach, room = float(np.abs(every).max()) or 1.0, 3 if wide else 1.15
    axes.set_ylim(room * min(every.min(), -0.15 * reach), room * max(every.max(), 0.15 * reach))
    scale(axes, "x", found.parameter, x, wide=True)
    axes.set_xlim(found.low, found.high)
    for name, corner, place in ((found.b, (0.99, 0.98), "top"), (found.a, (0.99, 0.02), "bottom")):
        axes.annotate(
            f"{name} lower", corner, xycoords="axes fraction", ha="right", va=place, color=INK,
            fontweight="bold", bbox={"facecolor": "white", "alpha": 0.75, "edgecolor": "none", "pad": 1},
        )  # fmt: skip
    grey = "\ngrey: the crossing's 95 % interval" if found.crossings else ""
    axes.set_xlabel(f"{found.parameter}{grey}")
    axes.set_ylabel(f"{found.metric}: {found.a} − {found.b}")
    return figure


def _at_the_end(shown: pd.DataFrame, parameter: str, metric: str) -> str:
    last = shown[shown[parameter] == shown[parameter].max()]
    values = [
        f"{told(metric, float(f'{mean:.3g}'))} by {name}"
        for mean, name in sorted(zip(last["mean"], last["mechanism"], strict=True))
    ]
    at = told(parameter, float(f"{float(last[parameter].iloc[0]):.3g}"))
    return f"At {parameter} = {at} {metric} is {extremes(values)}"


def _cost_of_waiting(table: pd.DataFrame) -> str:
    longest = table[table["interval_s"] == table["interval_s"].max()]
    interval = duration(float(longest["interval_s"].iloc[0]))
    told = [
        f"{duration(latency_s)} by {name}"
        for latency_s, name in sorted(zip(longest["latency_mean_s"], longest["mechanism"], strict=True))
    ]
    return f"At one poll every {interval} an event takes {extremes(told)} on average"
