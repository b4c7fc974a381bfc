"""Figures of the studies: the finding as the title, curves that carry their own names.

Colours are Okabe and Ito's ("Color Universal Design", 2008); dashes tell curves apart in black and white.
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullLocator

from sim.figures import duration
from sim.studies.findings import Results

_BLUE, _VERMILION, _GREEN, _PURPLE, _INK, _GRID = (
    "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#333333", "#e4e4e4",
)  # fmt: skip
_Dash = str | tuple[float, tuple[float, ...]]

_RULES: dict[str, tuple[str, str, _Dash]] = {
    "none": ("no back-off", _INK, (0, (1, 1))),
    "exponential": ("exponential", _VERMILION, "solid"),
    "equal": ("equal jitter", _PURPLE, (0, (6, 2))),
    "full": ("full jitter", _BLUE, "solid"),
    "decorrelated": ("decorrelated jitter", _GREEN, (0, (6, 2, 1, 2))),
}


def contention(results: Results) -> Figure:
    """Calls and time against the number of clients, a curve for each back-off."""
    runs = results.tables["runs"]
    means = runs.groupby(["rule", "clients"], as_index=False)[["calls", "completion_s"]].mean()
    curves = {rule: means[means["rule"] == rule] for rule in _RULES}
    crowd = int(runs["clients"].max())
    calls = {rule: float(curve["calls"].iloc[-1]) for rule, curve in curves.items()}
    time_s = {rule: float(curve["completion_s"].iloc[-1]) for rule, curve in curves.items()}
    figure, (work, time) = _panels(
        f"Jitter is what makes backing off work: with it {crowd} clients need "
        f"{calls['exponential'] / calls['full']:.1f} times fewer calls, {duration(time_s['full'])} "
        f"instead of {duration(time_s['exponential'])}",
        1, 2, 108,
    )  # fmt: skip
    for rule, (_, colour, dash) in _RULES.items():
        curve = curves[rule]
        for axes, column in ((work, "calls"), (time, "completion_s")):
            axes.plot(curve["clients"], curve[column], color=colour, linestyle=dash, linewidth=1.8)
    work.set_ylabel("writes tried until all are done")
    time.set_ylabel("time until all are done")
    time.set_yscale("log")
    time.set_yticks([0.5, 1, 2, 5, 10, 20, 50, 100])
    time.yaxis.set_minor_locator(NullLocator())
    time.yaxis.set_major_formatter(FuncFormatter(lambda seconds, _: f"{seconds:g} s"))
    for axes, ends in ((work, calls), (time, time_s)):
        axes.set_xlabel("clients contending for one row")
        axes.set_xlim(0, crowd * 1.55)
        axes.set_xticks([0, 50, 100, 150])
        for rule, height in _apart(axes, ends).items():
            name, colour, _ = _RULES[rule]
            axes.annotate(
                name, (crowd, ends[rule]), xytext=(crowd * 1.03, height), textcoords="data", va="center",
                color=colour, fontsize=9, fontweight="bold",
            )  # fmt: skip
    return figure


def storm(results: Results) -> Figure:
    """Requests and answers in time over time, above and below the threshold."""
    series = results.tables["series"]
    recovery_s = results.finding("recovery").estimate().mean
    load = results.finding("storm").estimate().mean
    figure, panels = _panels(
        f"After a stall of 10 s at 280 queries a second the database gets {load:.0f} a second and "
        f"answers none in time; at 140 a second it is well again after {duration(recovery_s)}",
        2, 1, 78,
    )  # fmt: skip
    for axes, (name, rate) in zip(panels, (("280, stall", 280), ("140, stall", 140)), strict=True):
        rows = series[series["scenario"] == name]
        seconds = rows["second"].to_numpy(float) + 0.5
        smooth = {
            column: _smoothed(rows[column].to_numpy(float)) for column in ("requests_per_s", "in_time_per_s")
        }
        axes.axvspan(60, 70, color=_INK, alpha=0.12, linewidth=0)
        axes.axhline(300, color=_INK, linewidth=0.9, linestyle=(0, (1, 2)))
        axes.plot(seconds, smooth["requests_per_s"], color=_VERMILION, linewidth=1.6)
        axes.plot(seconds, smooth["in_time_per_s"], color=_BLUE, linewidth=1.6, linestyle=(0, (5, 1.5)))
        axes.set_ylabel(f"a second,\n{rate} queries/s asked")
        axes.set_ylim(-15, 640)
        axes.set_xlim(0, 450)
        _name(axes, "requests", 78, smooth["requests_per_s"][78] - 38, _VERMILION)
        _name(axes, "answered in time", 78, smooth["in_time_per_s"][78] + 38, _BLUE)
        axes.annotate(
            "capacity", (446, 300), xytext=(0, 3), textcoords="offset points", ha="right", va="bottom",
            color=_INK, fontsize=8.5,
        )  # fmt: skip
    panels[0].annotate("stall", (58, 600), ha="right", va="center", color=_INK, fontsize=9)
    panels[-1].set_xlabel(f"time, s (means of {len(results.finding('storm').values)} runs)")
    return figure


FIGURES: dict[str, Callable[[Results], Figure]] = {
    "backoff-and-jitter": contention,
    "metastable-failure": storm,
}
"""Study -> its figure, where one helps."""


def _panels(title: str, rows: int, columns: int, width: int) -> tuple[Figure, list[Axes]]:
    figure = Figure(figsize=(4.6 * columns + 3.2 / columns, 4.2 if rows == 1 else 5.6), layout="constrained")
    figure.set_facecolor("white")
    figure.suptitle(
        textwrap.fill(title, width), x=0.01, ha="left", fontsize=11.5, fontweight="bold", color=_INK
    )
    panels = list(np.ravel(figure.subplots(rows, columns, sharex=True)))
    for axes in panels:
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(color=_GRID, linewidth=0.8)
        axes.set_axisbelow(True)
    return figure, panels


def _name(axes: Axes, text: str, x: float, y: float, colour: str) -> None:
    axes.annotate(text, (x, y), va="center", color=colour, fontsize=9, fontweight="bold")


def _smoothed(values: np.ndarray, over: int = 5) -> np.ndarray:
    """A running mean that leaves the ends as they are."""
    smooth = values.copy()
    half = over // 2
    smooth[half:-half] = np.convolve(values, np.full(over, 1 / over), mode="valid")
    return smooth


def _apart(axes: Axes, ends: dict[str, float], share: float = 0.055) -> dict[str, float]:
    """Where to write names beside the ends of curves, so that none covers another."""
    to_axes, to_data = axes.transLimits.transform, axes.transLimits.inverted().transform
    scale, back = axes.transScale.transform, axes.transScale.inverted().transform
    placed: dict[str, float] = {}
    last = -1.0
    for name, value in sorted(ends.items(), key=lambda item: item[1]):
        height = max(float(to_axes(scale((1.0, value)))[1]), last + share)
        placed[name] = float(back(to_data((0.0, height)))[1])
        last = height
    return placed
