"""Figures of a load or a race: latency distributions, and the servers' load over time above the latency.

Colours are Okabe and Ito's, told apart by every kind of colour vision, each with its own line style;
curves are named where they run; the finding is the title; a void run says so across the figure.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import matplotlib
import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from loadtest.plans import LISTENERS
from loadtest.runner.results import ArmRun, LoadResult
from loadtest.schedule import shape_of
from loadtest.timeline.figures import timeline_figure
from sim.figures import latency_cdf, look

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

# Okabe & Ito, "Color Universal Design" (2008): bluish green, reddish purple, orange.
ROLE_COLOURS = defaultdict(lambda: "#009E73", provider="#CC79A7", generator="#777777", broker="#E69F00")
"""Of processes: the subscriber's has many names."""

STYLES = defaultdict(lambda: "-", provider="--", generator=":", broker="-.")

_Floats = npt.NDArray[np.float64]

SHORTEST_SPAN_S = 0.05
LEAST_MS = 0.05
"""Where the logarithmic latency axis begins at the earliest."""


def draw(result: LoadResult) -> dict[str, Figure]:
    """Every figure of a result, by file name; distributions only where something was answered."""
    figures = {}
    with matplotlib.rc_context({"font.size": 10, "axes.spines.top": False, "axes.spines.right": False}):
        if all(_latencies_ms(result, arm).size for arm in result.arms):
            figures["latency_cdf"] = race_cdf(result) if result.command == "race" else load_cdf(result)
        for arm in result.arms:
            run = result.of(arm)[0]
            figures[f"server_load_{arm}"] = server_load(result, run)
            figures[f"timeline_{arm}"] = timeline_figure(result.command, run, run.void)
    return figures


def race_cdf(result: LoadResult) -> Figure:
    """The share of events visible within each latency, one curve an arm, drawn as simulations are."""
    medians = {arm: float(np.median(_latencies_ms(result, arm))) for arm in result.arms}
    title = None
    if len(medians) == 2:
        fast, slow = sorted(medians, key=lambda arm: medians[arm])
        times = medians[slow] / medians[fast]
        factor = f"{times:,.0f}" if times >= 10 else f"{times:.1f}"
        title = f"Half of all events are visible {factor}× sooner by {fast} than by {slow}"
    series = {
        arm: np.concatenate([_latency_series("race", run)[1] for run in result.of(arm)]) / 1e3
        for arm in result.arms
    }
    if result.shape != shape_of(result.scenario) or result.scenario.workload.kind == "shaped":
        title = f"{title or 'Share of events visible'} ({result.shape})"
    figure = latency_cdf(series, title=title)
    _stamp(figure, result.void)
    return figure


def load_cdf(result: LoadResult) -> Figure:
    """The share of requests answered within each latency, corrected and not, one pair of curves an arm."""
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.subplots()
    for position, arm in enumerate(result.arms):
        colour, dash = look(arm)
        values = np.sort(_latencies_ms(result, arm))
        raw = np.sort(np.concatenate([run.samples.uncorrected_us for run in result.of(arm)])) / 1e3
        share = np.arange(1, values.size + 1) / values.size
        for drawn, style, width in ((values, dash, 1.8), (np.maximum(raw, LEAST_MS), ":", 1.2)):
            axes.plot(drawn, share, linestyle=style, color=colour, drawstyle="steps-post", linewidth=width)
        height = (0.5, 0.25)[position % 2]
        axes.annotate(
            f"{arm}: median {_milliseconds(float(np.median(values)))}",
            (float(np.quantile(values, height)), height),
            xytext=(7, 0),
            textcoords="offset points",
            color=colour,
            va="center",
            bbox={"facecolor": "white", "alpha": 0.8, "edgecolor": "none", "pad": 1},
        )
    axes.annotate(
        "dotted: the same from the real send", (0.99, 0.02), xycoords="axes fraction", ha="right",
        fontsize=8, color="#555555",
    )  # fmt: skip
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(_TIME)
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_ylim(0, 1.02)
    axes.set_xlabel("latency: intended send to answer")
    axes.set_ylabel("share of requests")
    done = ", ".join(f"{arm} {_p99(_latencies_ms(result, arm))}" for arm in result.arms)
    what = "events arrive" if set(result.arms) <= set(LISTENERS) else "requests are answered"
    axes.set_title(f"99 % of {what} within: {done}\n{result.shape}", loc="left")
    axes.grid(alpha=0.25)
    _stamp(figure, result.void)
    return figure


def server_load(result: LoadResult, run: ArmRun) -> Figure:
    """CPU of each process over time, and each request's or event's latency on the same time axis."""
    figure = Figure(figsize=(8, 5.5), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True)
    peaks: dict[str, float] = {}
    ends: list[tuple[float, float, str]] = []
    end_s = (run.notes["end_us"] - run.notes["origin_us"]) / 1e6
    whole = run.server_load[run.server_load["at_s"] <= end_s + SHORTEST_SPAN_S]
    for role, readings in whole.groupby("role", sort=False):
        at, percent = _cpu_percent(readings)
        if at.size == 0:
            continue
        name = str(role)
        upper.step(at, percent, STYLES[name], color=ROLE_COLOURS[name], where="pre")
        ends.append((float(np.median(percent)), float(at[-1]), name))
        if name != "generator":
            peaks[name] = float(percent.max())
    upper.set_ylim(bottom=0)
    _label_ends(upper, ends)
    created_s, latency_ms = _latency_series(result.command, run)
    lower.plot(
        created_s, np.maximum(latency_ms, LEAST_MS), ".", color=look(run.arm)[0], markersize=3, alpha=0.6
    )
    failed = run.samples.failed
    if result.command == "load" and failed.any():
        failed_s = (run.samples.intended_us[failed] - run.notes["origin_us"]) / 1e6
        top = np.full(failed_s.size, 0.96)
        lower.plot(failed_s, top, "x", color="#555555", markersize=4, transform=lower.get_xaxis_transform())
        lower.annotate(
            f"× failed: {failed_s.size:,}", (0.99, 0.86), xycoords="axes fraction", ha="right",
            fontsize=8, color="#555555",
        )  # fmt: skip
    lower.set_yscale("log")
    known = latency_ms[~np.isnan(latency_ms)]
    if known.size:
        lower.set_ylim(max(LEAST_MS, known.min()) / 1.5, max(known.max(), 10 * known.min()) * 1.5)
    lower.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    lower.yaxis.set_major_formatter(_TIME)
    lower.yaxis.set_minor_formatter(NullFormatter())
    lower.set_ylabel("latency")
    lower.set_xlabel("seconds since the first event was due")
    upper.set_ylabel("CPU, % of a core")
    busiest = max(peaks, key=lambda name: peaks[name], default=None)
    finding = (
        f"at most {peaks[busiest]:.0f} % of a core for the {busiest}" if busiest else "no server was ours"
    )
    upper.set_title(f"{run.arm}: {finding}, p99 {_p99(latency_ms)}\n{result.shape}", loc="left")
    for fault in run.notes.get("faults", ()):
        _shade(axes=(upper, lower), fault=fault)
    for axes in (upper, lower):
        axes.grid(alpha=0.25)
    _stamp(figure, run.void)
    return figure


def _shade(axes: tuple[Axes, Axes], fault: Mapping[str, Any]) -> None:
    """Where a server was disturbed, on both panels."""
    begun_s, ended_s = fault["begun_s"], fault["ended_s"]
    for each in axes:
        each.axvspan(begun_s, ended_s, color="#bbbbbb", alpha=0.45, linewidth=0, zorder=0)
    axes[0].annotate(
        f"{fault['role']}: {fault['kind']}",
        (begun_s, 1.0),
        xycoords=("data", "axes fraction"),
        xytext=(3, -3),
        textcoords="offset points",
        va="top",
        fontsize=8,
        color="#555555",
    )


def _cpu_percent(readings: pd.DataFrame) -> tuple[_Floats, _Floats]:
    """When each span between readings ended, from the origin on, and the CPU rate in it."""
    at, cpu_s = readings["at_s"].to_numpy(dtype=np.float64), readings["cpu_s"].to_numpy(dtype=np.float64)
    kept = [0] if at.size else []
    for position in range(1, at.size):
        if at[position] - at[kept[-1]] >= SHORTEST_SPAN_S:
            kept.append(position)
    at, cpu_s = at[kept], cpu_s[kept]
    running = at[:-1] >= 0 if at.size else np.zeros(0, dtype=np.bool_)
    return at[1:][running], (100 * np.diff(cpu_s) / np.diff(at))[running]


def _label_ends(axes: Axes, ends: list[tuple[float, float, str]]) -> None:
    """Name each curve at the right edge, apart from each other."""
    least = 0.09 * axes.get_ylim()[1]
    lowest = -least
    right = axes.get_xlim()[1]
    for height, _, name in sorted(ends):
        lowest = max(height, lowest + least)
        axes.annotate(
            f" {name}", (right, lowest), color=ROLE_COLOURS[name], va="center", annotation_clip=False
        )


def _latencies_ms(result: LoadResult, arm: str) -> _Floats:
    """The known latencies of all runs of an arm."""
    latency_ms = np.concatenate([_latency_series(result.command, run)[1] for run in result.of(arm)])
    known: _Floats = np.maximum(latency_ms[~np.isnan(latency_ms)], LEAST_MS)
    return known


def _latency_series(command: str, run: ArmRun) -> tuple[_Floats, _Floats]:
    """When each event was due (s) and its latency (ms), NaN where it never came."""
    if command == "race" and run.records is not None:
        created = run.records["created"].to_numpy(dtype=np.float64)
        return created, 1e3 * (run.records["visible"].to_numpy(dtype=np.float64) - created)
    done = run.samples.acknowledged
    created = (run.samples.intended_us[done] - run.notes["origin_us"]) / 1e6
    return created, run.samples.corrected_us / 1e3


def _p99(latency_ms: _Floats) -> str:
    known = latency_ms[~np.isnan(latency_ms)]
    return _milliseconds(float(np.quantile(known, 0.99))) if known.size else "unknown"


def _milliseconds(value: float) -> str:
    return f"{value:.3g} ms" if value < 1000 else f"{value / 1000:.3g} s"


_TIME = FuncFormatter(lambda value, _position: _milliseconds(value))


def _stamp(figure: Figure, void: Sequence[str]) -> None:
    if void:
        figure.text(
            0.5, 0.5, "VOID", fontsize=90, color="#888888", alpha=0.35, ha="center", va="center", rotation=25
        )
