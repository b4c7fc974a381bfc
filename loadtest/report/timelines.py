"""What happened over time: throughput, latency, what was not yet visible, and the servers' load beneath."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from loadtest.report.looks import solid
from loadtest.report.plot import Curve, Figure, Ids, Panel, Plot, Table
from loadtest.report.processes import process_panels
from loadtest.report.scales import FloatArray, Scale, over, time_text
from loadtest.report.seconds import second_panels
from loadtest.runs import Latencies, Repetition
from sim.tables import number_text

if TYPE_CHECKING:
    import pandas as pd

BINS = 100
PER_BIN = 12
DOTS = 1000
HEIGHT = 88
TABLED = 60
ORIGIN = "seconds since the first event was due"
SIMULATED = "simulated seconds"


@dataclass(frozen=True)
class Timeline:
    """One repetition of one arm over time, before the panels of all arms are brought to one scale.

    Attributes:
        arm, run: whose.
        end_s: when its panels end.
        panels: by title.
        table: a row a bin.
        how: what was binned and thinned, in words.
        title: of the horizontal axis.
    """

    arm: str
    run: int
    end_s: float
    panels: dict[str, list[Curve]]
    table: Table
    how: str
    title: str = ORIGIN


def of_repetition(
    repetition: Repetition, look: str, done: str, seconds: pd.DataFrame | None = None
) -> Timeline | None:
    """A measured repetition over time, its warm-up included; None when nothing was scheduled.

    Args:
        repetition: of a load or a race.
        look: the arm's.
        done: what becomes of a request or an event: answered, or visible.
        seconds: its rows of `timeline.csv`, where the run has one.
    """
    look = solid(look)
    found = repetition.latencies()
    latencies = found.get("latency") or found.get("visible_latency")
    if latencies is None or latencies.created_s.size == 0:
        return None
    created_s = latencies.created_s
    finished_s = np.sort((created_s + latencies.latency_s)[np.isfinite(latencies.latency_s)])
    noted_s = (repetition.notes["end_us"] - repetition.notes["origin_us"]) / 1e6
    end_s = max(float(created_s.max()), float(finished_s.max(initial=0.0)), noted_s)
    bin_s = bin_width_s(end_s, created_s.size)
    edges = _edges(end_s, bin_s)
    due, came = (np.histogram(times, edges)[0] / np.diff(edges) for times in (created_s, finished_s))
    median_s = _binned_medians(latencies, edges)
    starts, middles = edges[:-1], (edges[:-1] + edges[1:]) / 2
    panels = {
        "per second": [
            Curve("due", "due", edges, _held(due), "c6 d4", "step", "due"),
            Curve(done, done, edges, _held(came), look, "step", done),
        ],
        "latency": [
            *_dots(latencies, look),
            Curve("latency", "median latency", middles, median_s, look, "line", "median"),
        ],
    }
    seen = found.get("visible_latency") or (latencies if done == "visible" else None)
    if seen is not None:
        visible_s = np.sort((seen.created_s + seen.latency_s)[np.isfinite(seen.latency_s)])
        at_s, waiting = _backlog(np.sort(seen.created_s), visible_s, end_s)
        panels["events not yet visible"] = [
            Curve("backlog", "not yet visible", at_s, waiting, look, "step", "backlog")
        ]
    if repetition.server_load is not None:
        panels |= process_panels(repetition.server_load, end_s)
    if seconds is not None and len(seconds):
        panels |= second_panels(seconds)
    rows = [
        (f"{start:g}", number_text(a), number_text(b), time_text(m) if np.isfinite(m) else "–")
        for start, a, b, m in zip(starts, due, came, median_s, strict=True)
    ]
    head = ("from second", "due, per s", f"{done}, per s", "median latency of those due")
    how = (
        f"Rates are counted in bins of {bin_s:g} s. A latency stands where its event was due: the line is "
        f"the median of each bin, dots are single events, at most {DOTS} of them and the slowest always."
    )
    return Timeline(
        repetition.arm, repetition.run, end_s, panels, thinned(repetition.arm, head, rows), how
    )  # fmt: skip


def simulated(mechanism: str, series: pd.DataFrame, look: str) -> Timeline:
    """A simulation's replication 0 over time, from its `series.csv` (`sim.timeseries.SERIES_COLUMNS`)."""
    look = solid(look)
    starts = series["start_s"].to_numpy(dtype=np.float64)
    ends = series["end_s"].to_numpy(dtype=np.float64)
    width, edges = ends - starts, np.append(starts, ends[-1])
    columns = {
        name: series[name].to_numpy(dtype=np.float64)
        for name in ("requests", "created", "visible", "backlog", "latency_mean_s", "latency_p95_s")
    }
    middles = (starts + ends) / 2
    panels = {
        "events per second": [
            Curve("due", "created", edges, _held(columns["created"] / width), "c6 d4", "step", "created"),
            Curve("visible", "visible", edges, _held(columns["visible"] / width), look, "step", "visible"),
        ],
        "requests per second": [
            Curve("requests", "requests", edges, _held(columns["requests"] / width), look, "step", "requests")
        ],
        "latency": [
            Curve("p95", "95th percentile", middles, columns["latency_p95_s"], f"{look} thin", "line", "p95"),
            Curve("latency", "mean latency", middles, columns["latency_mean_s"], look, "line", "mean"),
        ],
        "events not yet visible": [
            Curve("backlog", "not yet visible", ends, columns["backlog"], look, "step", "backlog")
        ],
    }
    rows = [
        (
            f"{start:g}",
            *(number_text(columns[name][place]) for name in ("created", "visible", "requests", "backlog")),
            time_text(latency) if np.isfinite(latency := float(columns["latency_mean_s"][place])) else "–",
        )
        for place, start in enumerate(starts)
    ]
    head = ("from second", "created", "visible", "requests", "backlog at its end", "mean latency")
    how = f"Replication 1, in {len(starts)} bins of {width[0]:g} s, warm-up and drain included."
    return Timeline(
        mechanism, 0, float(ends[-1]), panels, thinned(mechanism, head, rows), how, SIMULATED
    )  # fmt: skip


def figure(
    timeline: Timeline,
    others: Sequence[Timeline],
    ids: Ids,
    finding: str,
    *,
    void: bool,
    spans: tuple[tuple[float, float, str], ...] = (),
) -> Figure:
    """The panels of one arm, on the scales of all.

    Args:
        timeline: to be drawn.
        others: those it may be compared with, itself included.
        ids: of the page.
        finding: the caption.
        void: stamp it.
        spans: stretches of time to shade, each with its words.
    """
    panels = []
    for title, curves in timeline.panels.items():
        heights = np.concatenate([curve.y for each in others for curve in each.panels.get(title, ())])
        scale = over(heights, "time") if title == "latency" else over(heights, kind="linear")
        panels.append(Panel(title, scale, tuple(curves), height=HEIGHT))
    end_s = max(each.end_s for each in others)
    x = Scale("linear", 0.0, end_s, "number")
    plot = Plot(x, timeline.title, tuple(panels), spans=spans, zooms=True, void=void)
    same = " All arms are drawn to the same scales." if len(others) > 1 else ""
    return Figure(
        ids.new(f"time-{timeline.arm}"), finding, timeline.how + same, plot, timeline.table, timeline.arm
    )  # fmt: skip


def bin_width_s(end_s: float, count: int) -> float:
    """A round width: about a dozen events a bin, and at most `BINS` bins."""
    least = end_s / max(8, min(BINS, count / PER_BIN))
    power = 10.0 ** math.floor(math.log10(least))
    return next((digit * power for digit in (1, 2, 5) if digit * power >= least * 0.999), 10 * power)


def _edges(end_s: float, bin_s: float) -> FloatArray:
    """Where bins begin and the last one ends; a short rest belongs to the bin before it."""
    edges = np.arange(0.0, end_s, bin_s)
    if edges.size > 1 and end_s - edges[-1] < bin_s / 2:
        edges = edges[:-1]
    return np.append(edges, end_s)


def _held(values: FloatArray) -> FloatArray:
    """A value a bin, the last one held until its end."""
    return np.append(values, values[-1])


def thinned(name: str, head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> Table:
    """A table over time, of at most `TABLED` rows."""
    step = max(1, math.ceil(len(rows) / TABLED))
    note = "" if step == 1 else f"One row in {step} is shown; the run folder has the raw data."
    return Table(f"{name} over time", head, tuple(rows[::step]), note)


def _binned_medians(latencies: Latencies, edges: FloatArray) -> FloatArray:
    place = np.searchsorted(edges, latencies.created_s, side="right") - 1
    medians = np.full(edges.size - 1, np.nan)
    order = np.argsort(place, kind="stable")
    bounds = np.searchsorted(place[order], np.arange(edges.size))
    for number in range(edges.size - 1):
        chosen = latencies.latency_s[order[bounds[number] : bounds[number + 1]]]
        if chosen.size:
            median = float(np.sort(chosen)[chosen.size // 2])
            medians[number] = median if np.isfinite(median) else np.nan
    return medians


def _dots(latencies: Latencies, look: str) -> list[Curve]:
    """Single events: all when few, else the slowest in each stretch and every so-many-th of the others."""
    known = np.flatnonzero(np.isfinite(latencies.latency_s))
    if known.size > DOTS:
        stretches = np.array_split(known, DOTS // 2)
        slowest = [part[np.argmax(latencies.latency_s[part])] for part in stretches]
        known = np.unique(np.concatenate([slowest, known[:: math.ceil(2 * known.size / DOTS)]]))
    x, y = latencies.created_s[known], latencies.latency_s[known]
    order = np.argsort(x, kind="stable")
    return [Curve("single events", "single events", x[order], y[order], look, "dots", read=False)]


def _backlog(created_s: FloatArray, finished_s: FloatArray, end_s: float) -> tuple[FloatArray, FloatArray]:
    """How many events exist and are not yet visible, at as many instants as can be seen."""
    at_s = np.linspace(0.0, end_s, 400)
    waiting = np.searchsorted(created_s, at_s, "right") - np.searchsorted(finished_s, at_s, "right")
    return at_s, waiting.astype(np.float64)
