"""Latency of each mechanism: its distribution, and its tail."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray

from sim.figures.looks import FEW, colour_of, dash_of, duration, extremes, label, single, time_axis

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
