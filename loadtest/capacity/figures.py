"""The figure of a capacity search: what each objective was at each rate, and where the server gives in."""

from __future__ import annotations

from typing import TYPE_CHECKING

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from loadtest.capacity.search import Limit, Outcome

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from loadtest.capacity.result import CapacityResult
    from sim.thresholds import Threshold

# Okabe & Ito, "Color Universal Design" (2008).
_LOOKS = {
    Outcome.MET: ("o", "#0072B2", "met"),
    Outcome.MISSED: ("X", "#D55E00", "missed"),
    Outcome.GENERATOR: ("^", "#777777", "generator too slow: says nothing"),
}


def latency_against_rate(result: CapacityResult) -> Figure:
    """One panel an objective: its metric at each probed rate, the bound, and the answer."""
    count = len(result.objectives)
    with matplotlib.rc_context({"font.size": 10, "axes.spines.top": False, "axes.spines.right": False}):
        figure = Figure(figsize=(8, 1.2 + 3.3 * count), layout="constrained")
        panels = np.atleast_1d(figure.subplots(count, 1, sharex=True))
        for position, objective in enumerate(result.objectives):
            _panel(panels[position], result, position, objective)
        panels[-1].set_xlabel(
            "requests per second" if result.arm == "webhook" else f"{result.arm} requests per second"
        )
        panels[0].set_title(_title(result), loc="left")
        handles, labels = panels[0].get_legend_handles_labels()
        figure.legend(handles, labels, frameon=False, fontsize=8, loc="outside lower center", ncols=3)
    return figure


def _title(result: CapacityResult) -> str:
    rate = result.answer.rate_per_s
    if rate is None:
        return f"{result.arm}: no rate meets {result.slo}"
    least = "" if result.answer.limit is Limit.SERVER else "at least "
    return f"{result.arm}: {least}{rate:,.4g} requests a second meet {result.slo}"


def _panel(axes: Axes, result: CapacityResult, position: int, objective: Threshold) -> None:
    timed = objective.metric.endswith("_s") and not objective.metric.endswith("_per_s")
    scale = 1e3 if timed else 1.0
    known = [each.values[position] for each in result.probes if each.values[position] is not None]
    for outcome, (marker, colour, label) in _LOOKS.items():
        points = [
            (each.probe.rate_per_s, each.values[position])
            for each in result.probes
            if each.outcome is outcome
        ]
        shown = [(rate, scale * value) for rate, value in points if value is not None]
        if shown:
            axes.plot(*zip(*shown, strict=True), marker, color=colour, label=label, markersize=7, alpha=0.75)
        for rate, value in points:
            if value is None:
                axes.annotate(
                    "undefined", (rate, 1.0), xycoords=("data", "axes fraction"), rotation=90, fontsize=7,
                    color=colour, ha="center", va="top",
                )  # fmt: skip
    bound = scale * objective.limit
    axes.axhline(bound, color="#555555", linestyle="--", linewidth=1)
    axes.annotate(
        objective.text, (0.005, bound), xycoords=("axes fraction", "data"), va="bottom", fontsize=8,
        color="#555555",
    )  # fmt: skip
    sound = [each for each in result.probes if each.outcome is not Outcome.GENERATOR]
    medians = []
    for rate in sorted({each.probe.rate_per_s for each in sound}):
        values = [each.values[position] for each in sound if each.probe.rate_per_s == rate]
        defined = [value for value in values if value is not None]
        if defined:
            medians.append((rate, scale * float(np.median(defined))))
    if medians:
        axes.plot(*zip(*medians, strict=True), color="#999999", linewidth=0.8, zorder=0)
    knee = result.answer.rate_per_s
    if knee is not None:
        axes.axvline(knee, color="#009E73", linewidth=1.2)
        axes.annotate(
            f" {knee:,.4g}/s", (knee, 0.02), xycoords=("data", "axes fraction"), color="#009E73", fontsize=9
        )
    axes.set_xscale("log")
    axes.margins(x=0.08)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.4g}"))
    axes.xaxis.set_minor_formatter(FuncFormatter(lambda value, _: f"{value:,.3g}" if _few(result) else ""))
    if bound > 0 and all(value is not None and value > 0 for value in known):
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.4g}"))
        axes.yaxis.set_minor_formatter(NullFormatter())
    axes.set_ylabel(f"{objective.metric.removesuffix('_s')}, ms" if timed else objective.metric)
    axes.grid(alpha=0.25)


def _few(result: CapacityResult) -> bool:
    """Whether the rates span so little that the decades alone would label next to nothing."""
    rates = [each.probe.rate_per_s for each in result.probes]
    return max(rates) < 10 * min(rates)
