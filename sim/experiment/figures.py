"""Figures of experiments: how a run settles.

The finding is the title, curves carry their own names. Colours and dashes are those of `sim.figures`.
"""

from __future__ import annotations

import textwrap

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator

from sim.experiment.warmup import Settling, WarmUp
from sim.figures.looks import INK, duration, look, plain

_TIME_UNITS = ((86_400.0, "days"), (3600.0, "hours"), (60.0, "minutes"), (1.0, "seconds"))
_BEGINNING = 0.05  # a warm-up that is a smaller share of the run is shown without most of the rest


def settling(found: WarmUp) -> Figure:
    """Welch's plot: the metric over time, averaged over replications, and where MSER-5 cuts; a panel each."""
    rows = len(found.settlings)
    figure = Figure(figsize=(7.6, 1.5 + 1.75 * rows), layout="constrained", facecolor="white")
    figure.suptitle(
        textwrap.fill(_settled(found), 78), x=0.01, ha="left", fontsize=11.5, fontweight="bold", color=INK
    )
    panels = figure.subplots(rows, 1, sharex=True, squeeze=False)[:, 0]
    for axes, each in zip(panels, found.settlings, strict=True):
        _panel(axes, each, found)
    until_s = _shown_until_s(found)
    size_s, unit = next((size, unit) for size, unit in _TIME_UNITS if until_s >= 5 * size or size == 1)
    panels[-1].set_xlim(0, until_s)
    panels[-1].xaxis.set_major_locator(
        FixedLocator([size_s * t for t in MaxNLocator(8).tick_values(0, until_s / size_s)])
    )
    panels[-1].xaxis.set_major_formatter(FuncFormatter(lambda t, _: f"{t / size_s:g}"))
    runs = f"{found.replications} replications" if found.replications > 1 else "one run"
    panels[-1].set_xlabel(
        f"{unit} since the empty start (pale: mean of {runs}; line: Welch's moving average)",
        fontsize=9.5, color=INK,
    )  # fmt: skip
    return figure


def _panel(axes: Axes, each: Settling, found: WarmUp) -> None:
    colour, dash = look(each.mechanism)
    plain(axes)
    middles_s = (each.edges_s[:-1] + each.edges_s[1:]) / 2
    axes.plot(middles_s, each.values, color=colour, linewidth=0.7, alpha=0.35)
    axes.plot(middles_s[: len(each.smoothed)], each.smoothed, color=colour, linestyle=dash, linewidth=1.8)
    axes.set_ylim(0, 1.3 * float(each.values[middles_s <= _shown_until_s(found)].max()) or 1.0)
    axes.locator_params(axis="y", nbins=4)
    if found.metric == "latency":
        axes.yaxis.set_major_formatter(FuncFormatter(lambda s, _: "0" if s == 0 else duration(s)))
    axes.set_ylabel("mean latency" if found.metric == "latency" else "events not\nyet visible", fontsize=9.5)
    axes.annotate(
        each.mechanism, (1, 1), xycoords="axes fraction", ha="right", va="top", color=colour,
        fontweight="bold",
        bbox={"facecolor": "white", "alpha": 0.75, "edgecolor": "none", "pad": 1},
    )  # fmt: skip
    if each.warmup_s is None:
        told = "no steady state: the rule would cut more than half"
    elif each.warmup_s == 0:
        told = "steady from the start"
    else:
        told = f"cut here: {duration(each.warmup_s)}"
        axes.hlines(each.mean_after or 0.0, each.warmup_s, each.edges_s[-1], INK, (0, (1, 2)), linewidth=0.9)
        axes.axvspan(0, each.warmup_s, color=INK, alpha=0.1, linewidth=0)
        axes.axvline(each.warmup_s, color=INK, linewidth=1.2, linestyle=(0, (4, 2)))
    axes.annotate(
        told, (each.warmup_s or 0, 1), xycoords=("data", "axes fraction"), xytext=(5, -2),
        textcoords="offset points", ha="left", va="top", color=INK, fontsize=9,
        bbox={"facecolor": "white", "alpha": 0.75, "edgecolor": "none", "pad": 1},
    )  # fmt: skip


def _shown_until_s(found: WarmUp) -> float:
    """The whole run; of one that settles early only its beginning, in which that can be seen."""
    end_s = float(max(each.edges_s[-1] for each in found.settlings))
    longest_s = found.warmup_s
    if longest_s and longest_s < _BEGINNING * end_s:
        return longest_s / _BEGINNING * 0.5
    return end_s


def _settled(found: WarmUp) -> str:
    unsteady = [each.mechanism for each in found.settlings if each.warmup_s is None]
    if unsteady:
        return f"{' and '.join(unsteady)}: no steady state within {duration(found.scenario.run.duration_s)}"
    slowest = max(found.settlings, key=lambda each: each.warmup_s or 0.0)
    if not slowest.warmup_s:
        return "No warm-up is needed: the first minutes are like the rest"
    if len(found.settlings) > 1:
        return f"All settle within {duration(slowest.warmup_s)}, {slowest.mechanism} last: cut that much"
    return f"{slowest.mechanism} settles within {duration(slowest.warmup_s)}: cut that much"
