"""Figures of latency, for reports and for class: the only matplotlib in `sim`.

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

_COLOURS = {"webhook": "#0072B2", "polling": "#D55E00"}  # blue, vermilion
_OTHER_COLOURS = ("#009E73", "#CC79A7", "#E69F00", "#56B4E9")  # green, purple, orange, sky
_Dash = str | tuple[float, tuple[float, ...]]
_DASHES: dict[str, _Dash] = {"webhook": "solid", "polling": (0, (6, 2))}
_OTHER_DASHES: tuple[_Dash, ...] = ((0, (2, 1.5)), (0, (6, 2, 1, 2)), (0, (1, 1)), (0, (3, 1, 1, 1, 1, 1)))
_INK, _GRID = "#333333", "#e4e4e4"
_POINTS = 2000  # drawn per curve: more cannot be seen

Latencies = Mapping[str, ArrayLike]
"""Mechanism -> the latency of each of its events, seconds; NaN for one that was not delivered."""


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
        height = 0.62 - 0.3 * place / max(1, len(by_median) - 1)
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
        _label(axes, str(name), x[-1], y[-1], colour)
    axes.set_xscale("log")
    axes.set_xlabel("poll interval T")
    axes.set_ylabel("mean latency")
    _log_ticks(axes.xaxis)
    axes.set_yscale("log")
    _log_ticks(axes.yaxis)
    axes.set_xlim(intervals[0] / 1.3, intervals[-1] * 2.2)
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
    within = ", ".join(f"{duration(median)} by {name}" for median, name in sorted(medians) if median < np.inf)
    rare = " and ".join(name for median, name in medians if median == np.inf)
    if not rare:
        return f"Half of the events arrive within {within}"
    fewer = f"ewer than half of the events ever arrive by {rare}"
    return f"Half of the events arrive within {within}; f{fewer}" if within else f"F{fewer}"


def _cost_of_waiting(table: pd.DataFrame) -> str:
    longest = table[table["interval_s"] == table["interval_s"].max()]
    interval = duration(float(longest["interval_s"].iloc[0]))
    told = [
        f"{duration(latency_s)} by {name}"
        for latency_s, name in sorted(zip(longest["latency_mean_s"], longest["mechanism"], strict=True))
    ]
    return f"At one poll every {interval} an event takes {', '.join(told)} on average"


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


def _colour(name: str, names: list[str]) -> str:
    others = [each for each in names if each not in _COLOURS]
    return _COLOURS.get(name) or _OTHER_COLOURS[others.index(name) % len(_OTHER_COLOURS)]


def _dash(name: str, names: list[str]) -> _Dash:
    others = [each for each in names if each not in _DASHES]
    return _DASHES.get(name) or _OTHER_DASHES[others.index(name) % len(_OTHER_DASHES)]


def _figure(title: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(7.2, 4.4), layout="constrained", facecolor="white")
    axes = figure.add_subplot()
    axes.set_title(textwrap.fill(title, 66), loc="left", fontsize=11.5, fontweight="bold", color=_INK, pad=10)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color=_GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    return figure, axes


def _label(axes: Axes, text: str, x: float, y: float, colour: str) -> None:
    axes.annotate(
        text, (x, y), xytext=(8, 0), textcoords="offset points", ha="left", va="center",
        color=colour, fontweight="bold", zorder=5,
        bbox={"facecolor": "white", "alpha": 0.75, "edgecolor": "none", "pad": 1},
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
