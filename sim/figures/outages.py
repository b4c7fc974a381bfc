"""One outage over time: who was down, what piled up, what was tried again, and when it was over."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from sim.figures.looks import INK, axis_time, colour_of, dash_of, duration, plain
from sim.figures.transients import outages_of
from sim.scenario import Scenario

MOST = 4
"""So many mechanisms can be told apart in one panel."""

_NEEDED = {"start_s", "end_s", "requests", "first_tries", "created", "visible", "backlog", "mechanism"}


def outage_timeline(
    series: pd.DataFrame,
    scenario: Scenario,
    between_s: tuple[float, float] | None = None,
    title: str | None = None,
) -> Figure:
    """The longest scheduled outage, from before it until after everybody has caught up.

    Four panels over one axis of time: which server was down; events that exist and are not visible, with a
    mark where a backlog is first back at its highest from before the outage; requests per second, those of
    webhooks split into first tries and retries; and all events created and visible since the left edge.

    Args:
        series: as `Outcome.series` has it, of at most `MOST` mechanisms, its bins narrow against the outage.
        scenario: which states the outages.
        between_s: from when to when; by default around the outage.
        title: the finding; by default when each has caught up.

    Raises:
        ValueError: a column is missing, there are too many mechanisms, or no outage is scheduled.
    """
    missing = _NEEDED - set(series.columns)
    names = [] if missing else [str(name) for name in dict.fromkeys(series["mechanism"])]
    spans = outages_of(scenario)
    if missing or not names:
        raise ValueError(f"the series lacks {', '.join(sorted(missing)) or 'rows'}")
    if len(names) > MOST:
        raise ValueError(f"at most {MOST} mechanisms can be told apart, got {len(names)}")
    if not spans:
        raise ValueError("the scenario schedules no outage")
    start_s, end_s, what = max(spans, key=lambda span: span[1] - span[0])
    bins = {name: series[series["mechanism"] == name].reset_index(drop=True) for name in names}
    again_s = {name: caught_up_s(of_one, start_s, end_s) for name, of_one in bins.items()}
    low_s, high_s = between_s or around_outage(series, scenario)
    shown = {
        name: of_one[(of_one["end_s"] > low_s) & (of_one["start_s"] < high_s)]
        for name, of_one in bins.items()
    }
    figure = Figure(figsize=(8.4, 7.2), layout="constrained", facecolor="white")
    told = title or _finding(what, end_s - start_s, end_s, again_s)
    figure.suptitle(
        textwrap.fill(told, 84), x=0.01, ha="left", fontsize=11.5, fontweight="bold", color=INK
    )  # fmt: skip
    servers = list(dict.fromkeys(span[2].split()[0] for span in spans))
    heights = [0.18 + 0.17 * len(servers), 1.3, 1.1, 1.1]
    strip, backlog, rate, total = figure.subplots(4, 1, sharex=True, height_ratios=heights)
    _strip(strip, spans, servers, low_s, high_s)
    _backlogs(backlog, shown, again_s, names)
    _rates(rate, shown, names)
    _totals(total, shown, names)
    for axes in (backlog, rate, total):
        plain(axes)
        axes.axvspan(start_s, end_s, color="#bbbbbb", alpha=0.4, linewidth=0, zorder=0)
        axes.locator_params(axis="y", nbins=5)
        axes.set_ylim(bottom=0)
    total.set_xlim(low_s, high_s)
    total.xaxis.set_major_formatter(FuncFormatter(axis_time))
    total.set_xlabel("time")
    return figure


def caught_up_s(bins: pd.DataFrame, start_s: float, end_s: float) -> float | None:
    """When a backlog is first, after an outage, no higher than ever before it; None if never.

    Args:
        bins: one mechanism's series.
        start_s: when the outage begins.
        end_s: when it ends.
    """
    before = bins[bins["end_s"] <= start_s]
    normal = 0 if before.empty else int(before["backlog"].max())
    again = bins[(bins["end_s"] >= end_s) & (bins["backlog"] <= normal)]
    return None if again.empty else max(float(again["end_s"].iloc[0]), end_s)


def around_outage(series: pd.DataFrame, scenario: Scenario) -> tuple[float, float]:
    """From before the longest scheduled outage until after all have caught up that ever do."""
    start_s, end_s, _ = max(outages_of(scenario), key=lambda span: span[1] - span[0])
    again_s = [
        caught_up_s(of_one, start_s, end_s) for _, of_one in series.groupby("mechanism", observed=True)
    ]
    length_s = end_s - start_s
    world_end_s = float(series["end_s"].max())
    latest_s = max((at for at in again_s if at is not None), default=end_s)
    after_s = max(0.5 * length_s, 0.3 * (latest_s - start_s))
    return max(0.0, start_s - 0.75 * length_s), min(world_end_s, max(latest_s + after_s, end_s + length_s))


def _finding(what: str, length_s: float, end_s: float, again_s: dict[str, float | None]) -> str:
    told = [
        f"{name} {f'{duration(at - end_s)} later' if at is not None else 'never'}"
        for name, at in sorted(again_s.items(), key=lambda item: np.inf if item[1] is None else item[1])
    ]
    return f"After {duration(length_s)} with the {what}, backlogs are back to normal: {', '.join(told)}"


def _strip(
    axes: Axes, spans: Sequence[tuple[float, float, str]], servers: list[str], low_s: float, high_s: float
) -> None:
    for row, server in enumerate(servers):
        axes.broken_barh([(low_s, high_s - low_s)], (row - 0.4, 0.8), facecolors="#dddddd")
        for start_s, end_s, what in spans:
            if what.split()[0] == server:
                axes.broken_barh([(start_s, end_s - start_s)], (row - 0.4, 0.8), facecolors=INK)
                if start_s < high_s and end_s > low_s:
                    middle_s = (max(start_s, low_s) + min(end_s, high_s)) / 2
                    axes.text(
                        middle_s, row, what.split()[1], color="white", ha="center", va="center", fontsize=9,
                        clip_on=True,
                    )  # fmt: skip
    axes.set_yticks(range(len(servers)), servers)
    axes.set_ylim(-0.5, len(servers) - 0.5)
    axes.tick_params(left=False, bottom=False)
    axes.spines[:].set_visible(False)


def _backlogs(
    axes: Axes, shown: dict[str, pd.DataFrame], again_s: dict[str, float | None], names: list[str]
) -> None:
    highest = max(float(bins["backlog"].max()) for bins in shown.values())
    for place, (name, bins) in enumerate(shown.items()):
        colour = colour_of(name, names)
        at, backlog = bins["end_s"].to_numpy(float), bins["backlog"].to_numpy(float)
        axes.plot(at, backlog, color=colour, linestyle=dash_of(name, names), linewidth=1.8)
        again = again_s[name]
        if again is not None and at[0] <= again <= at[-1]:
            axes.plot(again, np.interp(again, at, backlog), "o", color=colour, markersize=6, zorder=4)
        peak = int(backlog.argmax())
        axes.annotate(
            f"{name}: at most {backlog[peak]:,.0f}", (0.995, 0.96 - 0.13 * place), xycoords="axes fraction",
            ha="right", va="top", color=colour, fontweight="bold", fontsize=9.5,
            bbox={"facecolor": "white", "alpha": 0.75, "edgecolor": "none", "pad": 1},
        )  # fmt: skip
    axes.set_ylim(0, 1.1 * highest or 1.0)
    axes.set_title(
        "events not yet visible (dot: back to normal)", loc="left", fontsize=10, color=INK
    )  # fmt: skip


def _rates(axes: Axes, shown: dict[str, pd.DataFrame], names: list[str]) -> None:
    for name, bins in shown.items():
        colour = colour_of(name, names)
        edges = np.append(bins["start_s"].to_numpy(float), float(bins["end_s"].iloc[-1]))
        width_s = np.diff(edges)
        requests = bins["requests"].to_numpy(float) / width_s
        axes.stairs(requests, edges, color=colour, linewidth=1.4, linestyle=dash_of(name, names))
        if name == "webhook":
            first = bins["first_tries"].to_numpy(float) / width_s
            axes.stairs(first, edges, color=colour, alpha=0.25, fill=True)
            axes.stairs(
                requests, edges, baseline=first, fill=True, facecolor="none", edgecolor=colour, hatch="////",
                linewidth=0,
            )  # fmt: skip
    split = " (webhook: filled first tries, hatched retries)" if "webhook" in shown else ""
    axes.set_title(f"requests per second{split}", loc="left", fontsize=10, color=INK)


def _totals(axes: Axes, shown: dict[str, pd.DataFrame], names: list[str]) -> None:
    for name, bins in shown.items():
        at = bins["end_s"].to_numpy(float)
        created = bins["created"].to_numpy(float).cumsum()
        if name == names[0]:
            axes.plot(at, created, color=INK, linewidth=7, alpha=0.25, solid_capstyle="butt")
        late = float(bins["backlog"].iloc[0] - bins["created"].iloc[0] + bins["visible"].iloc[0])
        visible = bins["visible"].to_numpy(float).cumsum() - late
        axes.plot(at, visible, color=colour_of(name, names), linestyle=dash_of(name, names), linewidth=1.6)
    axes.set_title(
        "events since the left edge: pale created, lines visible", loc="left", fontsize=10, color=INK
    )
