"""Metrics against a parameter of the scenario."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

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
            marker="os^Dv<>"[names.index(str(name)) % 7], markersize=5,
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


def _cost_of_waiting(table: pd.DataFrame) -> str:
    longest = table[table["interval_s"] == table["interval_s"].max()]
    interval = duration(float(longest["interval_s"].iloc[0]))
    told = [
        f"{duration(latency_s)} by {name}"
        for latency_s, name in sorted(zip(longest["latency_mean_s"], longest["mechanism"], strict=True))
    ]
    return f"At one poll every {interval} an event takes {extremes(told)} on average"
