"""A run's seconds as aligned panels: what was asked, how late it was, and what held it up.

Every line has a style of its own beside its colour, and its name where it ends, so a print in grey reads
as well; a void run says so across the figure.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from loadtest.observations import MACHINE, PRESSURES
from loadtest.runner.results import ArmRun
from loadtest.timeline import timeline

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

# Okabe & Ito, "Color Universal Design" (2008), the dark ones, each with the style that goes with it.
LOOKS = (("#0072B2", "-"), ("#D55E00", "--"), ("#009E73", ":"), ("#555555", "-."))

LEAST_MS = 0.01
NOTABLE_SHARE = 0.01
"""Pressure on memory or disk below 1 % is not drawn."""

NOTABLE_WAIT = 0.25
"""A process that lacked a core for less of the worst second is not named with it."""

_Floats = npt.NDArray[np.float64]


class Line(NamedTuple):
    """One line of a panel."""

    name: str
    values: _Floats


class Panel(NamedTuple):
    """One panel: what its axis says, and its lines."""

    label: str
    lines: list[Line]
    format: Callable[[float], str]
    logarithmic: bool = False


def timeline_figure(command: str, run: ArmRun, void: Sequence[str] = ()) -> Figure:
    """The panels of one arm run that have something to show, on one axis of seconds."""
    table = timeline(command, run)
    panels = [panel for panel in _panels(command, table) if panel.lines]
    figure = Figure(figsize=(8, 1.1 + 1.35 * len(panels)), layout="constrained")
    rows = figure.subplots(len(panels), 1, sharex=True, squeeze=False)[:, 0]
    edges = np.arange(len(table) + 1, dtype=np.float64)
    for axes, panel in zip(rows, panels, strict=True):
        for line, (colour, style) in zip(panel.lines, LOOKS, strict=False):
            axes.stairs(line.values, edges, color=colour, linestyle=style, linewidth=1.6, baseline=None)
        _scale(axes, panel)
        axes.set_ylabel(panel.label, rotation=0, ha="right", va="center")
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _, panel=panel: panel.format(value)))
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
        axes.set_xlim(0, edges[-1])
        _name_lines(axes, panel, float(edges[-1]))
    rows[-1].set_xlabel("seconds since the run's origin")
    rows[-1].xaxis.set_major_locator(MaxNLocator(integer=True))
    figure.align_ylabels()
    rows[0].set_title(_finding(run.arm, table), loc="left")
    if void:
        figure.text(
            0.5, 0.5, "VOID", fontsize=90, color="#888888", alpha=0.35, ha="center", va="center", rotation=25
        )
    return figure


def _panels(command: str, table: pd.DataFrame) -> list[Panel]:
    roles = _roles(table)
    of_events = "events" if command == "race" else "requests"

    def lines(*named: tuple[str, str], factor: float = 1.0) -> list[Line]:
        return [
            Line(name, factor * table[column].to_numpy(dtype=np.float64))
            for name, column in named
            if column in table and not table[column].isna().all()
        ]

    failed = [("failed", "failed")] if table["failed"].any() else []
    pressures = [
        (what, f"{MACHINE}_pressure_{what}")
        for what in PRESSURES
        if what == "cpu" or table.get(f"{MACHINE}_pressure_{what}", np.zeros(1)).max() >= NOTABLE_SHARE
    ]
    several = sum(f"{role}_waiting" in table for role in roles) > 1
    queues = [
        (f"{role} {words}" if several else words, f"{role}_{name}")
        for role in roles
        for name, words in (("waiting", "waiting"), ("in_service", "in service"))
        if table.get(f"{role}_{name}", np.zeros(1)).max() > 0
    ]
    return [
        Panel(f"{of_events}\na second", lines(("due", "due"), ("answered", "answered"), *failed), _number),
        Panel(
            "latency",
            lines(("p50", "latency_p50_s"), ("p99", "latency_p99_s"), factor=1e3),
            _milliseconds,
            logarithmic=True,
        ),
        Panel("CPU, share\nof a core", lines(*((role, f"{role}_cpu_share") for role in roles)), _percent),
        Panel(
            "ready to run,\nno core", lines(*((role, f"{role}_run_wait_share") for role in roles)), _percent
        ),
        Panel("events in\nthe queues", lines(*queues[: len(LOOKS)]), _number),
        Panel(
            "event loop\nlate by",
            lines(*((role, f"{role}_loop_lag_s") for role in roles), factor=1e3),
            _milliseconds,
        ),
        Panel("pressure on\nthe machine", lines(*pressures), _percent),
    ]


def _roles(table: pd.DataFrame) -> list[str]:
    """Whose processes were read: the servers, then the generator."""
    found = [name.removesuffix("_cpu_share") for name in map(str, table) if name.endswith("_cpu_share")]
    return sorted(found, key=lambda role: role == "generator")[: len(LOOKS)]


def _scale(axes: Axes, panel: Panel) -> None:
    values = np.concatenate([line.values[~np.isnan(line.values)] for line in panel.lines])
    if panel.logarithmic:
        axes.set_yscale("log")
        low, high = max(LEAST_MS, float(values.min())), max(LEAST_MS, float(values.max()))
        axes.set_ylim(low / 1.5, max(high, 4 * low) * 1.5)
        axes.yaxis.set_major_locator(LogLocator(numticks=4))
        axes.yaxis.set_minor_formatter(NullFormatter())
    else:
        axes.set_ylim(0, 1.1 * max(float(values.max()), 1e-3))
        axes.yaxis.set_major_locator(MaxNLocator(3))


def _name_lines(axes: Axes, panel: Panel, right: float) -> None:
    """Each line's name at the right edge, apart from each other, as high as the line ends."""
    low, high = axes.transData.transform([(0, value) for value in axes.get_ylim()])[:, 1]
    ends = []
    for line, (colour, _) in zip(panel.lines, LOOKS, strict=False):
        known = line.values[~np.isnan(line.values)]
        height = axes.transData.transform((0, max(float(known[-1]), axes.get_ylim()[0])))[1]
        ends.append((float((height - low) / (high - low)), line.name, colour))
    step, lowest = 0.2, -1.0
    for height, name, colour in sorted(ends):
        lowest = max(height, lowest + step)
        axes.annotate(
            f" {name}", (1.0, lowest), xycoords="axes fraction", color=colour, va="center", fontsize=9,
            annotation_clip=False,
        )  # fmt: skip


def _finding(arm: str, table: pd.DataFrame) -> str:
    worst = table["latency_p99_s"]
    if worst.isna().all():
        return f"{arm}: nothing was answered"
    second = int(np.nanargmax(worst.to_numpy()))
    words = f"{arm}: p99 at its worst in second {second}: {_milliseconds(1e3 * float(worst.max()))}"
    waits = [name for name in map(str, table) if name.endswith("_run_wait_share")]
    if waits:
        most = max(waits, key=lambda name: float(np.nan_to_num(table[name][second])))
        share = float(np.nan_to_num(table[most][second]))
        if share >= NOTABLE_WAIT:
            role = most.removesuffix("_run_wait_share")
            words += f",\nthe {role} ready to run but without a core for {_percent(share)} of it"
    return words


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 or value == int(value) else f"{value:.2g}"


def _percent(value: float) -> str:
    return f"{100 * value:.0f} %" if value >= 0.1 or value == 0 else f"{100 * value:.2g} %"


def _milliseconds(value: float) -> str:
    return f"{value:.3g} ms" if value < 1000 else f"{value / 1000:.3g} s"
