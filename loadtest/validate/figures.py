"""Figures of a validation: distributions overlaid, quantile against quantile, and every error at a glance."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from loadtest.validate.comparison import Comparison, Verdict
from sim.figures import duration

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from loadtest.schedule import FloatArray
    from loadtest.validate.part import Part
    from loadtest.validate.validation import Validation

# Okabe & Ito, "Color Universal Design" (2008), each with a dash and a marker of its own.
LOOKS = (("#0072B2", "-", "o"), ("#009E73", "--", "s"), ("#E69F00", "-.", "^"), ("#CC79A7", ":", "D"))
MET, MISSED, FOUND = "#0072B2", "#D55E00", "#777777"
_MARKERS = {Verdict.MET: ("o", MET), Verdict.MISSED: ("X", MISSED), Verdict.FOUND: ("|", FOUND)}
POINTS = 400
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99)
LEAST_S = 1e-5


def draw(result: Validation) -> dict[str, Figure]:
    """Every figure, by file name."""
    figures = {}
    with matplotlib.rc_context({"font.size": 10, "axes.spines.top": False, "axes.spines.right": False}):
        if result.comparisons:
            figures["errors"] = errors(result.comparisons, void=bool(result.void))
        for part in result.parts:
            if part.curves:
                figures[f"cdf_{part.name}"] = overlay(part)
                figures[f"quantiles_{part.name}"] = quantiles(part)
    return figures


def overlay(part: Part) -> Figure:
    """The share of events within each latency: pale bands predicted, lines measured, a colour a load."""
    figure = Figure(figsize=(8, 4.6), layout="constrained")
    axes = figure.subplots()
    heights = np.linspace(0.85, 0.3, max(2, len(part.curves)))
    for (colour, dash, _), curve, height in zip(_looks(part), part.curves, heights, strict=False):
        axes.plot(*_cdf(curve.predicted_s), color=colour, linewidth=7, alpha=0.28, solid_capstyle="butt")
        x, share = _cdf(curve.measured_s)
        axes.plot(x, share, color=colour, linewidth=1.7, linestyle=dash)
        at = min(int(np.searchsorted(share, height)), x.size - 1)
        axes.annotate(
            curve.load, (float(x[at]), height), xytext=(8, 0), textcoords="offset points", color=colour,
            va="center", fontweight="bold",
            bbox={"facecolor": "white", "alpha": 0.8, "edgecolor": "none", "pad": 1},
        )  # fmt: skip
    axes.set_xscale("log")
    _times(axes)
    axes.set_ylim(0, 1.03)
    axes.set_xlabel("latency\npale band: predicted; line: measured")
    axes.set_ylabel("share of events")
    axes.grid(alpha=0.25)
    axes.set_title(_finding(part), loc="left")
    _stamp(figure, part.void)
    return figure


def quantiles(part: Part) -> Figure:
    """Quantile against quantile: on the diagonal the prediction is right; grey is a tenth to either side."""
    figure = Figure(figsize=(6.2, 5.6), layout="constrained")
    axes = figure.subplots()
    every: list[float] = []
    for (colour, _, marker), curve in zip(_looks(part), part.curves, strict=False):
        measured, predicted = (
            np.maximum(np.nanquantile(values, QUANTILES), LEAST_S)
            for values in (curve.measured_s, curve.predicted_s)
        )
        axes.plot(measured, predicted, marker, color=colour, markersize=6, fillstyle="none", label=curve.load)
        every += [*measured, *predicted]
    low, high = min(every) / 1.4, max(every) * 1.4
    axes.fill_between(
        [low, high], [0.9 * low, 0.9 * high], [1.1 * low, 1.1 * high], color="#cccccc", alpha=0.5
    )
    axes.plot([low, high], [low, high], color="#333333", linewidth=1)
    axes.set_xscale("log")
    axes.set_yscale("log")
    _times(axes)
    _times(axes, vertical=True)
    axes.set_xlim(low, high)
    axes.set_ylim(low, high)
    axes.set_xlabel("measured quantile")
    told = ", ".join(f"p{100 * level:g}" for level in QUANTILES)
    axes.set_ylabel(f"predicted quantile\n({told})")
    axes.grid(alpha=0.25)
    axes.legend(frameon=False, loc="upper left")
    axes.set_title(f"{part.name}: {part.title}", loc="left", fontsize=10)
    _stamp(figure, part.void)
    return figure


def errors(comparisons: Sequence[Comparison], *, void: bool = False) -> Figure:
    """Each error with its interval and its tolerance, a row each; those without a tolerance are left out."""
    judged = [each for each in comparisons if each.tolerance is not None] or list(comparisons)
    figure = Figure(figsize=(8, 1.4 + 0.24 * len(judged)), layout="constrained")
    axes = figure.subplots()
    reach = 1.3 * max(
        (abs(each.error.mean) for each in judged if math.isfinite(each.error.mean)), default=0.1
    )
    reach = max(reach, 1.3 * max((each.tolerance or 0.0) for each in judged))
    for row, each in enumerate(reversed(judged)):
        marker, colour = _MARKERS[each.verdict]
        if each.tolerance is not None:
            axes.barh(row, 2 * each.tolerance, left=-each.tolerance, height=0.7, color="#dddddd")
        if not math.isfinite(each.error.mean):
            axes.annotate("not known", (0, row), ha="center", va="center", color=colour)
            continue
        if each.error.low is not None and each.error.high is not None:
            axes.plot([each.error.low, each.error.high], [row, row], color=colour, linewidth=1.4)
        axes.plot(each.error.mean, row, marker, color=colour, markersize=7)
    axes.axvline(0, color="#333333", linewidth=1)
    axes.set_yticks(
        range(len(judged)), [f"{e.part}, {e.load}: {_short(e.metric)}" for e in reversed(judged)], fontsize=8
    )
    axes.set_ylim(-0.6, len(judged) - 0.4)
    axes.set_xlim(-reach, reach)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{100 * x:+.0f} %" if x else "0 %"))
    axes.set_xlabel(
        "predicted against measured\ngrey: tolerance; line: 95 % interval over replications; ×: missed"
    )
    axes.grid(axis="x", alpha=0.25)
    kept = sum(each.verdict is Verdict.MET for each in judged)
    axes.set_title(f"{kept} of {len(judged)} predictions lie within their tolerance", loc="left")
    _stamp(figure, ("void",) if void else ())
    return figure


def _finding(part: Part) -> str:
    medians = [each for each in part.comparisons if each.metric.endswith("latency_p50_s")]
    known = [abs(each.error.mean) for each in medians if math.isfinite(each.error.mean)]
    if not known:
        return f"{part.name}: {part.title}"
    return f"{part.name}: medians predicted within {100 * max(known):.2g} %"


def _looks(part: Part) -> list[tuple[str, str, str]]:
    return [LOOKS[place % len(LOOKS)] for place in range(len(part.curves))]


def _short(metric: str) -> str:
    return metric.removesuffix("_s").removesuffix("_s_per_1k").replace("cpu", "CPU").replace("_", " ")


def _cdf(values: FloatArray) -> tuple[FloatArray, FloatArray]:
    came = np.maximum(np.sort(values[~np.isnan(values)]), LEAST_S)
    drawn = np.unique(np.linspace(0, came.size - 1, min(POINTS, came.size)).astype(np.int64))
    return came[drawn], (drawn + 1) / values.size


def _times(axes: Axes, *, vertical: bool = False) -> None:
    axis = axes.yaxis if vertical else axes.xaxis
    axis.set_major_locator(LogLocator(base=10, subs=(1.0, 2.0, 5.0), numticks=12))
    axis.set_major_formatter(FuncFormatter(lambda seconds, _: duration(seconds)))
    axis.set_minor_formatter(NullFormatter())


def _stamp(figure: Figure, void: Sequence[str]) -> None:
    if void:
        figure.text(
            0.5, 0.5, "VOID", fontsize=90, color="#D55E00", alpha=0.16, ha="center", va="center", rotation=20
        )
