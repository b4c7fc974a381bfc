"""Figures of latency and of what happens over time, for reports and for class: the only matplotlib in `sim`.

Every function returns a `matplotlib.figure.Figure` that no global state knows of, so it works headless,
in notebooks and in threads. The finding is the title and curves carry their own labels. Colours are Okabe
and Ito's ("Color Universal Design", 2008), told apart by every kind of colour vision; dashes tell them
apart in black and white.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Callable, Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator
from numpy.typing import ArrayLike, NDArray

from sim.scenario import Scenario

_Dash = str | tuple[float, tuple[float, ...]]
# A mechanism looks the same in every figure. Relatives share a colour; no two share a dash.
_LOOKS: dict[str, tuple[str, _Dash]] = {
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
_INK, _GRID = "#333333", "#e4e4e4"
_WRONG = {"refuse": "down", "black_hole": "silent", "error": "failing", "slow": "slow"}
_FEW = 4  # more than so many are labelled from top to bottom, and titles tell the extremes only
_LABEL_HEIGHT = 0.05  # of a label, as a share of the axes
_POINTS = 2000  # drawn per curve: more cannot be seen

Latencies = Mapping[str, ArrayLike]
"""Mechanism -> the latency of each of its events, seconds; NaN for one that was not delivered."""


def look(name: str) -> tuple[str, _Dash]:
    """The colour and the dash of a mechanism's curves, the same in every figure."""
    return _LOOKS.get(name, (_INK, "solid"))


def latency_cdf(
    latencies_s: Latencies, predicted_s: Latencies | None = None, title: str | None = None
) -> Figure:
    """The share of all events delivered within each latency, one curve a mechanism.

    A curve ends at the share that was delivered at all. With `predicted_s` the model's curves lie beneath as
    pale bands, for a measurement to be held against.

    Args:
        latencies_s: the curves.
        predicted_s: the bands, by the same names.
        title: the finding; by default the medians.

    Raises:
        ValueError: no mechanism, or one without events.
    """
    curves = {name: _cdf(name, values) for name, values in latencies_s.items()}
    bands = {name: _cdf(name, values) for name, values in (predicted_s or {}).items()}
    if not curves:
        raise ValueError("a figure of latency needs at least one mechanism")
    figure, axes = _figure(title or _medians(latencies_s))
    names = list(dict.fromkeys([*curves, *bands]))
    for name, (x, share) in bands.items():
        axes.plot(x, share, color=_colour(name, names), linewidth=7, alpha=0.25, solid_capstyle="butt")
    for name, (x, share) in curves.items():
        axes.plot(x, share, color=_colour(name, names), linestyle=_dash(name, names), linewidth=1.8)
    axes.set_ylim(0, 1.03)
    axes.set_yticks([0, 0.25, 0.5, 0.75, 0.95, 1], ["0", "25 %", "50 %", "75 %", "95 %", "100 %"])
    axes.set_ylabel("share of events visible")
    explained = "\npale band: predicted; line: measured" if bands else ""
    axes.set_xlabel("latency: from the event to its being visible" + explained)
    _time_axis(axes, np.concatenate([x for x, _ in (*curves.values(), *bands.values())]))
    by_median = sorted(curves, key=lambda name: _x_at(curves[name], 0.5))
    for place, name in enumerate(by_median):
        top, bottom = (0.62, 0.32) if len(by_median) <= _FEW else (0.92, 0.08)
        height = top - (top - bottom) * place / max(1, len(by_median) - 1)
        x, share = curves[name]
        at = min(height, 0.9 * float(share[-1]))
        missing = f" ({100 * (1 - share[-1]):.2g} % never)" if share[-1] < 1 else ""
        _label(axes, name + missing, _x_at((x, share), at), at, _colour(name, names))
    return figure


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
    figure, axes = _figure(title or _cost_of_waiting(table))
    names = [str(name) for name in dict.fromkeys(table["mechanism"])]
    ends: list[tuple[str, float, float, str]] = []
    intervals = np.sort(table["interval_s"].unique().astype(float))
    if theory_line is not None:
        x = np.geomspace(intervals[0], intervals[-1], 200)
        y = np.array([theory_line(float(interval_s)) for interval_s in x])
        axes.plot(x, y, color=_INK, linewidth=1)
        middle = len(x) * 2 // 5
        axes.annotate(
            theory_label, (x[middle], y[middle]), xytext=(-8, 8), textcoords="offset points",
            ha="right", va="bottom", color=_INK, fontsize=9,
        )  # fmt: skip
    for name, rows in table.groupby("mechanism", sort=False, observed=True):
        ordered = rows.sort_values("interval_s")
        x, y = ordered["interval_s"].to_numpy(float), ordered["latency_mean_s"].to_numpy(float)
        colour = _colour(str(name), names)
        error = None
        if {"low", "high"} <= set(ordered.columns):
            error = np.abs(
                np.vstack([y - ordered["low"].to_numpy(float), ordered["high"].to_numpy(float) - y])
            )
        on_the_line = theory_line is not None and name == "polling"
        axes.errorbar(
            x, y, error, color=colour, linestyle="none" if on_the_line else _dash(str(name), names),
            linewidth=1.2, elinewidth=1.2, capsize=3,
            marker="os^Dv<>"[names.index(str(name)) % 7], markersize=5,
        )  # fmt: skip
        ends.append((str(name), float(x[-1]), float(y[-1]), colour))
    axes.set_xscale("log")
    axes.set_xlabel("poll interval T")
    axes.set_ylabel("mean latency")
    _log_ticks(axes.xaxis)
    axes.set_yscale("log")
    _log_ticks(axes.yaxis)
    axes.set_xlim(intervals[0] / 1.3, intervals[-1] * 2.2)
    _labels_apart(axes, ends)
    return figure


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
        x=0.01, ha="left", fontsize=11.5, fontweight="bold", color=_INK,
    )  # fmt: skip
    panels = figure.subplots(len(names), 2, sharex=True, sharey="col", squeeze=False)
    for (backlog, rate), name in zip(panels, names, strict=True):
        bins, colour = series[series["mechanism"] == name], _colour(name, names)
        start_s, end_s = bins["start_s"].to_numpy(float), bins["end_s"].to_numpy(float)
        _steps(backlog, start_s, end_s, bins["backlog"].to_numpy(float), colour)
        _steps(rate, start_s, end_s, bins["requests"].to_numpy(float) / (end_s - start_s), colour)
        backlog.annotate(
            name, (0, 1), xycoords="axes fraction", xytext=(4, -3), textcoords="offset points",
            ha="left", va="top", color=colour, fontweight="bold",
            bbox={"facecolor": "white", "alpha": 0.75, "edgecolor": "none", "pad": 1},
        )  # fmt: skip
        for axes in (backlog, rate):
            _plain(axes)
            axes.locator_params(axis="y", nbins=4)
    panels[0, 0].set_title("events not yet visible", loc="left", fontsize=10, color=_INK)
    panels[0, 1].set_title("requests per second", loc="left", fontsize=10, color=_INK)
    low_s, high_s = between_s or (float(series["start_s"].min()), float(series["end_s"].max()))
    for axes in panels.flat:
        axes.set_xlim(low_s, high_s)
        axes.set_ylim(bottom=0)
        for from_s, to_s, _ in _outages(scenario):
            axes.axvspan(from_s, to_s, color="#bbbbbb", alpha=0.45, linewidth=0, zorder=0)
    told = dict.fromkeys(
        what for from_s, to_s, what in _outages(scenario) if from_s < high_s and to_s > low_s
    )
    for axes in panels[-1]:
        axes.xaxis.set_major_formatter(FuncFormatter(_axis_time))
    shaded = f" (shaded: {' and '.join(told)})" if told else ""
    figure.supxlabel(f"time{shaded}", fontsize=10, color=_INK)
    return figure


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


def _axis_time(seconds: float, _position: object = None) -> str:
    if seconds == 0:
        return "0"
    if seconds >= 0.9995:
        return f"{seconds:,.0f} s" if seconds == round(seconds) else f"{seconds:g} s"
    return f"{seconds * 1e3:g} ms" if seconds >= 0.9995e-3 else f"{seconds * 1e6:g} µs"


def _medians(latencies_s: Latencies) -> str:
    medians = []
    for name, values in latencies_s.items():
        every = np.nan_to_num(np.asarray(values, dtype=np.float64).ravel(), nan=np.inf)
        medians.append((float(np.quantile(every, 0.5, method="inverted_cdf")), name))
    within = _extremes(
        [f"{duration(median)} by {name}" for median, name in sorted(medians) if median < np.inf]
    )
    rare = " and ".join(name for median, name in medians if median == np.inf)
    if not rare:
        return f"Half of the events arrive within {within}"
    fewer = f"ewer than half of the events ever arrive by {rare}"
    return f"Half of the events arrive within {within}; f{fewer}" if within else f"F{fewer}"


def _highest_backlogs(series: pd.DataFrame) -> str:
    peaks = series.groupby("mechanism", sort=False, observed=True)["backlog"].max().sort_values()
    return f"The backlog rises to {_extremes([f'{peak:,.0f} by {name}' for name, peak in peaks.items()])}"


def _extremes(told: list[str]) -> str:
    """All that is told, or of many the first and the last."""
    return ", ".join(told) if len(told) <= _FEW else f"{told[0]}, …, {told[-1]}"


def _outages(scenario: Scenario | None) -> list[tuple[float, float, str]]:
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


def _cost_of_waiting(table: pd.DataFrame) -> str:
    longest = table[table["interval_s"] == table["interval_s"].max()]
    interval = duration(float(longest["interval_s"].iloc[0]))
    told = [
        f"{duration(latency_s)} by {name}"
        for latency_s, name in sorted(zip(longest["latency_mean_s"], longest["mechanism"], strict=True))
    ]
    return f"At one poll every {interval} an event takes {_extremes(told)} on average"


def _cdf(name: str, values: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    every = np.asarray(values, dtype=np.float64).ravel()
    delivered = np.sort(every[~np.isnan(every)])
    if delivered.size == 0:
        raise ValueError(f"{name} delivered no event, so there is no latency to draw")
    drawn = np.unique(np.linspace(0, delivered.size - 1, _POINTS).astype(int))
    x, share = delivered[drawn], (drawn + 1) / every.size
    return np.concatenate([x[:1], x]), np.concatenate([[0.0], share])


def _x_at(curve: tuple[NDArray[np.float64], NDArray[np.float64]], height: float) -> float:
    x, share = curve
    return float(x[min(int(np.searchsorted(share, height)), len(x) - 1)])


def _look(name: str, names: list[str]) -> tuple[str, _Dash]:
    """A mechanism's own colour and dash; any other name takes those that no mechanism in the figure has."""
    if name in _LOOKS:
        return _LOOKS[name]
    free = [look for known, look in _LOOKS.items() if known not in names] or list(_LOOKS.values())
    others = [each for each in names if each not in _LOOKS]
    return free[others.index(name) % len(free)]


def _colour(name: str, names: list[str]) -> str:
    return _look(name, names)[0]


def _dash(name: str, names: list[str]) -> _Dash:
    return _look(name, names)[1]


def _figure(title: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(7.2, 4.4), layout="constrained", facecolor="white")
    axes = figure.add_subplot()
    axes.set_title(textwrap.fill(title, 66), loc="left", fontsize=11.5, fontweight="bold", color=_INK, pad=10)
    _plain(axes)
    return figure, axes


def _plain(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color=_GRID, linewidth=0.8)
    axes.set_axisbelow(True)


def _label(axes: Axes, text: str, x: float, y: float, colour: str) -> None:
    axes.annotate(
        text, (x, y), xytext=(8, 0), textcoords="offset points", ha="left", va="center",
        color=colour, fontweight="bold", zorder=5,
        bbox={"facecolor": "white", "alpha": 0.75, "edgecolor": "none", "pad": 1},
    )  # fmt: skip


def _labels_apart(axes: Axes, labels: list[tuple[str, float, float, str]]) -> None:
    """Labels right of their points (text, x, y, colour), moved up or down so that none covers another."""
    axes.autoscale_view()
    to_axes = axes.transData + axes.transAxes.inverted()
    placed = sorted(
        (float(at[1]), float(at[0]), label)
        for label in labels
        for at in [to_axes.transform((label[1], label[2]))]
    )
    lowest = 0.0
    heights = []
    for place, (height, _, _) in enumerate(placed):
        room_above = 1.0 - _LABEL_HEIGHT * (len(placed) - 1 - place)
        heights.append(max(lowest, min(height, room_above)))
        lowest = heights[-1] + _LABEL_HEIGHT
    for height, (_, across, (text, x, y, colour)) in zip(heights, placed, strict=True):
        axes.annotate(
            text, (x, y), xycoords="data", xytext=(across + 0.015, height), textcoords="axes fraction",
            ha="left", va="center", color=colour, fontweight="bold", zorder=5,
        )  # fmt: skip


def _time_axis(axes: Axes, times_s: NDArray[np.float64]) -> None:
    """A logarithmic axis when the times span more than a factor of thirty, else one from 0."""
    positive = times_s[times_s > 0]
    if positive.size and positive.max() > 30 * positive.min():
        axes.set_xscale("log")
        axes.set_xlim(positive.min() / 1.5, positive.max() * 2)
        _log_ticks(axes.xaxis)
    else:
        axes.set_xlim(0, float(times_s.max()) * 1.15 or 1.0)
        axes.xaxis.set_major_formatter(FuncFormatter(_axis_time))


def _log_ticks(axis: Axis) -> None:
    axis.set_major_locator(LogLocator(base=10, numticks=12))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(_axis_time))
