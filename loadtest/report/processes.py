"""The servers' load over time, from the monitor's readings: whatever columns it recorded."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from loadtest.report.looks import role_look
from loadtest.report.plot import Curve
from loadtest.report.scales import FloatArray

if TYPE_CHECKING:
    import pandas as pd

SPAN_S = 0.2
"""CPU is a difference between readings; nearer ones would show the clock's ticks."""

POINTS = 300

RATES = {
    "cpu_s": ("CPU, % of a core", 100.0),
    "run_wait_s": ("ready but without a core, % of the time", 100.0),
}
"""Cumulative columns, shown as what they grew by: the panel's title and the factor."""

GAUGES = {"rss_mb": "memory, MB"}
"""Columns shown as they are, if they were recorded."""


def process_panels(load: pd.DataFrame, end_s: float) -> dict[str, list[Curve]]:
    """A panel a column, a curve a process; what was not recorded makes none.

    Args:
        load: `role`, `at_s` since the origin, and the fields of `loadtest.monitor.Reading`.
        end_s: when the run's useful work ended.
    """
    whole = load[(load["at_s"] >= -SPAN_S) & (load["at_s"] <= end_s + SPAN_S)]
    panels: dict[str, list[Curve]] = {}
    for column, (title, factor) in RATES.items():
        panels[title] = [
            Curve(role, role, at_s, factor * rate, role_look(role), "line", role)
            for role, rows in _roles(whole, column)
            for at_s, rate in [_rate(rows["at_s"].to_numpy(np.float64), rows[column].to_numpy(np.float64))]
            if at_s.size
        ]
    for column, title in GAUGES.items():
        panels[title] = [
            Curve(role, role, at_s[chosen], values[chosen], role_look(role), "line", role)
            for role, rows in _roles(whole, column)
            for at_s, values in [(rows["at_s"].to_numpy(np.float64), rows[column].to_numpy(np.float64))]
            for chosen in [_few(at_s.size)]
        ]
    return {title: curves for title, curves in panels.items() if curves}


def peak_cpu_percent(panels: dict[str, list[Curve]]) -> dict[str, float]:
    """By process, the most CPU it used in any span, % of a core."""
    return {curve.name: float(np.nanmax(curve.y)) for curve in panels.get(RATES["cpu_s"][0], ())}


def _roles(load: pd.DataFrame, column: str) -> list[tuple[str, pd.DataFrame]]:
    if column not in load:
        return []
    known = load[load[column].notna()]
    return [(str(role), rows) for role, rows in known.groupby("role", sort=False)]


def _rate(at_s: FloatArray, total: FloatArray) -> tuple[FloatArray, FloatArray]:
    """When each span ended and how fast the total grew in it; spans are long enough to be seen apart."""
    if at_s.size < 2:
        return np.zeros(0), np.zeros(0)
    span_s = max(SPAN_S, (at_s[-1] - at_s[0]) / POINTS)
    kept = [0]
    for place in range(1, at_s.size):
        if at_s[place] - at_s[kept[-1]] >= span_s * 0.95:
            kept.append(place)
    at_s, total = at_s[kept], total[kept]
    return np.maximum(at_s[1:], 0.0), np.diff(total) / np.diff(at_s)


def _few(size: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    return np.unique(np.linspace(0, size - 1, min(size, POINTS)).astype(np.int64))
