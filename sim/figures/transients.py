"""What happens over time: backlogs, requests, outages."""

from __future__ import annotations

import textwrap

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter
from numpy.typing import NDArray

from sim.figures.looks import INK, axis_time, colour_of, extremes, plain
from sim.scenario import Scenario

_WRONG = {"refuse": "down", "black_hole": "silent", "error": "failing", "slow": "slow"}


def transient(
    series: pd.DataFrame,
    scenario: Scenario | None = None,
    between_s: tuple[float, float] | None = None,
    title: str | None = None,
) -> Figure:
    """Backlog and request rate over time, a row of panels a mechanism, all rows to one scale.

    Args:
        series: `mechanism` and the columns of `sim.timeseries.time_series`, as `Outcome.series` has them.
        scenario: whose scheduled outages to shade.
        between_s: from when to when, seconds; by default the whole world.
        title: the finding; by default how high the backlogs rise.

    Raises:
        ValueError: a column is missing, or there is nothing within that time.
    """
    missing = {"mechanism", "start_s", "end_s", "requests", "backlog"} - set(series.columns)
    if not missing and between_s is not None:
        series = series[(series["end_s"] > between_s[0]) & (series["start_s"] < between_s[1])]
    if missing or series.empty:
        raise ValueError(f"the series lacks {', '.join(sorted(missing)) or 'bins in that time'}")
    names = [str(name) for name in dict.fromkeys(series["mechanism"])]
    figure = Figure(figsize=(8.4, 1.3 + 1.25 * len(names)), layout="constrained", facecolor="white")
    figure.suptitle(
        textwrap.fill(title or _highest_backlogs(series), 84),
        x=0.01, ha="left", fontsize=11.5, fontweight="bold", color=INK,
    )  # fmt: skip
    panels = figure.subplots(len(names), 2, sharex=True, sharey="col", squeeze=False)
    for (backlog, rate), name in zip(panels, names, strict=True):
        bins, colour = series[series["mechanism"] == name], colour_of(name, names)
        start_s, end_s = bins["start_s"].to_numpy(float), bins["end_s"].to_numpy(float)
        _steps(backlog, start_s, end_s, bins["backlog"].to_numpy(float), colour)
        _steps(rate, start_s, end_s, bins["requests"].to_numpy(float) / (end_s - start_s), colour)
        backlog.annotate(
            name, (0, 1), xycoords="axes fraction", xytext=(4, -3), textcoords="offset points",
            ha="left", va="top", color=colour, fontweight="bold",
            bbox={"facecolor": "white", "alpha": 0.75, "edgecolor": "none", "pad": 1},
        )  # fmt: skip
        for axes in (backlog, rate):
            plain(axes)
            axes.locator_params(axis="y", nbins=4)
    panels[0, 0].set_title("events not yet visible", loc="left", fontsize=10, color=INK)
    panels[0, 1].set_title("requests per second", loc="left", fontsize=10, color=INK)
    low_s, high_s = between_s or (float(series["start_s"].min()), float(series["end_s"].max()))
    for axes in panels.flat:
        axes.set_xlim(low_s, high_s)
        axes.set_ylim(bottom=0)
        for from_s, to_s, _ in outages_of(scenario):
            axes.axvspan(from_s, to_s, color="#bbbbbb", alpha=0.45, linewidth=0, zorder=0)
    told = dict.fromkeys(
        what for from_s, to_s, what in outages_of(scenario) if from_s < high_s and to_s > low_s
    )
    for axes in panels[-1]:
        axes.xaxis.set_major_formatter(FuncFormatter(axis_time))
    shaded = f" (shaded: {' and '.join(told)})" if told else ""
    figure.supxlabel(f"time{shaded}", fontsize=10, color=INK)
    return figure


def _highest_backlogs(series: pd.DataFrame) -> str:
    peaks = series.groupby("mechanism", sort=False, observed=True)["backlog"].max().sort_values()
    return f"The backlog rises to {extremes([f'{peak:,.0f} by {name}' for name, peak in peaks.items()])}"


def outages_of(scenario: Scenario | None) -> list[tuple[float, float, str]]:
    """When each scheduled outage starts and ends, and what is wrong."""
    if scenario is None:
        return []
    return [
        (outage.start_s, outage.start_s + outage.duration_s, f"{name} {_WRONG[outage.kind]}")
        for name, server in (("receiver", scenario.receiver), ("API", scenario.provider_api))
        for outage in server.outages
    ]


def _steps(
    axes: Axes, start_s: NDArray[np.float64], end_s: NDArray[np.float64], y: NDArray[np.float64], colour: str
) -> None:
    axes.stairs(y, np.append(start_s, end_s[-1]), color=colour, linewidth=1.4)
    axes.stairs(y, np.append(start_s, end_s[-1]), color=colour, alpha=0.18, fill=True)
