"""Latency of each mechanism: the share of events within each latency, and the share beyond it."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator
from numpy.typing import ArrayLike, NDArray

from sim.figures.looks import (
    FEW,
    colour_of,
    dash_of,
    duration,
    extremes,
    label,
    labels_apart,
    log_time_ticks,
    single,
    time_axis,
)

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
    figure, axes = single(title or _medians(latencies_s))
    names = list(dict.fromkeys([*curves, *bands]))
    for name, (x, share) in bands.items():
        axes.plot(x, share, color=colour_of(name, names), linewidth=7, alpha=0.25, solid_capstyle="butt")
    for name, (x, share) in curves.items():
        axes.plot(x, share, color=colour_of(name, names), linestyle=dash_of(name, names), linewidth=1.8)
    axes.set_ylim(0, 1.03)
    axes.set_yticks([0, 0.25, 0.5, 0.75, 0.95, 1], ["0", "25 %", "50 %", "75 %", "95 %", "100 %"])
    axes.set_ylabel("share of events visible")
    explained = "\npale band: predicted; line: measured" if bands else ""
    axes.set_xlabel("latency: from the event to its being visible" + explained)
    time_axis(axes, np.concatenate([x for x, _ in (*curves.values(), *bands.values())]))
    by_median = sorted(curves, key=lambda name: _x_at(curves[name], 0.5))
    for place, name in enumerate(by_median):
        top, bottom = (0.62, 0.32) if len(by_median) <= FEW else (0.92, 0.08)
        height = top - (top - bottom) * place / max(1, len(by_median) - 1)
        x, share = curves[name]
        at = min(height, 0.9 * float(share[-1]))
        missing = f" ({100 * (1 - share[-1]):.2g} % never)" if share[-1] < 1 else ""
        label(axes, name + missing, _x_at((x, share), at), at, colour_of(name, names))
    return figure


def latency_survival(latencies_s: Latencies, title: str | None = None) -> Figure:
    """The share of all events that take longer than each latency, both axes logarithmic: the tail.

    A tail that is a straight line falls off as a power law. A curve that ends in a horizontal line does so at
    the share that was never delivered; any other ends with its last event.

    Args:
        latencies_s: the curves.
        title: the finding; by default beyond which latency one event in a hundred is.

    Raises:
        ValueError: no mechanism, or one without events.
    """
    curves = {name: _tail(name, values) for name, values in latencies_s.items()}
    if not curves:
        raise ValueError("a figure of latency needs at least one mechanism")
    figure, axes = single(title or _tails(latencies_s))
    names = list(curves)
    every = np.concatenate([x for x, _ in curves.values()])
    shortest = float(every[every > 0].min(initial=np.inf))
    shortest = shortest if np.isfinite(shortest) else 1e-3
    longest = max(1.5 * float(every.max()), 10 * shortest)
    lowest = min(float(beyond[beyond > 0].min()) for _, beyond in curves.values())
    ends = []
    for name, (x, beyond) in curves.items():
        colour, lost = colour_of(name, names), float(beyond[-1])
        at = np.maximum(x, shortest)
        drawn = np.maximum(beyond, lowest / 2)  # down to the edge, where the last event arrives
        axes.step(at, drawn, where="post", color=colour, linestyle=dash_of(name, names), linewidth=1.8)
        if lost:
            axes.plot([at[-1], longest], [lost, lost], color=colour, linestyle=(0, (1, 1.5)), linewidth=1.8)
            ends.append((f"{name} ({100 * lost:.2g} % never)", longest, lost, colour))
        else:
            ends.append((name, float(at[-1]), float(beyond[-2]), colour))
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlim(shortest / 1.5, longest * 2)
    axes.set_ylim(lowest / 1.5, 1.4)
    log_time_ticks(axes.xaxis)
    axes.yaxis.set_major_locator(LogLocator(base=10, numticks=12))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda share, _: f"{100 * share:g} %"))
    axes.set_xlabel("latency: from the event to its being visible")
    axes.set_ylabel("share of events that take longer")
    labels_apart(axes, ends, in_a_column=len(ends) > FEW)
    return figure


def _tail(name: str, values: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Latencies, and the share of all events beyond each; the last ones singly, of the others some."""
    every = np.asarray(values, dtype=np.float64).ravel()
    delivered = np.sort(every[~np.isnan(every)])
    if delivered.size == 0:
        raise ValueError(f"{name} delivered no event, so there is no latency to draw")
    from_last = np.unique(np.geomspace(1, delivered.size, _POINTS).astype(int))
    drawn = delivered.size - from_last[::-1]
    beyond = (every.size - drawn - 1) / every.size
    return np.concatenate([delivered[:1], delivered[drawn]]), np.concatenate([[1.0], beyond])


def _tails(latencies_s: Latencies) -> str:
    tails = []
    for name, values in latencies_s.items():
        every = np.nan_to_num(np.asarray(values, dtype=np.float64).ravel(), nan=np.inf)
        tails.append((float(np.quantile(every, 0.99, method="inverted_cdf")), name))
    longer = [f"{duration(tail)} by {name}" for tail, name in sorted(tails) if tail < np.inf]
    never = " and ".join(name for tail, name in tails if tail == np.inf)
    told = f"One event in a hundred takes longer than {extremes(longer)}" if longer else ""
    more = f"ore than one in a hundred never arrive{'' if ' and ' in never else 's'} by {never}"
    if not never:
        return told
    return f"{told}; m{more}" if told else f"M{more}"


def _medians(latencies_s: Latencies) -> str:
    medians = []
    for name, values in latencies_s.items():
        every = np.nan_to_num(np.asarray(values, dtype=np.float64).ravel(), nan=np.inf)
        medians.append((float(np.quantile(every, 0.5, method="inverted_cdf")), name))
    within = extremes(
        [f"{duration(median)} by {name}" for median, name in sorted(medians) if median < np.inf]
    )
    rare = " and ".join(name for median, name in medians if median == np.inf)
    if not rare:
        return f"Half of the events arrive within {within}"
    fewer = f"ewer than half of the events ever arrive by {rare}"
    return f"Half of the events arrive within {within}; f{fewer}" if within else f"F{fewer}"


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
