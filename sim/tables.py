"""Metrics as a table a person reads: one row a metric, one column a mechanism or arm."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

from rich.box import SIMPLE_HEAD
from rich.table import Table

from sim.experiment import Estimate

_ROUNDING = 1e-12  # a half-width below this share of the mean is rounding, not uncertainty
_TIME_UNITS = ((1e-3, 1e6, "µs"), (1.0, 1e3, "ms"), (120.0, 1.0, "s"), (7200.0, 1 / 60, "min"))


def metrics_table(
    estimates: Mapping[str, Mapping[str, Estimate]], metrics: Iterable[str] | None = None
) -> Table:
    """A table of metrics by name, in readable units.

    Args:
        estimates: column -> metric -> estimate.
        metrics: which rows, in which order; by default every metric that any column has.
    """
    table = plain_table()
    table.add_column("metric", no_wrap=True)
    for column in estimates:
        table.add_column(column, justify="right", no_wrap=True)
    every = dict.fromkeys(metric for by_metric in estimates.values() for metric in by_metric)
    for metric in every if metrics is None else metrics:
        cells = [by_metric.get(metric) for by_metric in estimates.values()]
        table.add_row(metric, *(estimate_text(cell, metric) if cell else "–" for cell in cells))
    return table


def plain_table() -> Table:
    """The look of every table: a rule under the head, and nothing else."""
    return Table(box=SIMPLE_HEAD, pad_edge=False, collapse_padding=True)


def estimate_text(e: Estimate, metric: str) -> str:
    """A metric's mean in a readable unit, with the half-width of its interval if it has one."""
    if math.isnan(e.mean):
        return "undefined"
    scale, unit = _unit(metric, e.mean)
    text = number_text(e.mean * scale)
    if e.low is not None and e.high is not None:
        half_width = (e.high - e.low) / 2
        if half_width > _ROUNDING * abs(e.mean):
            text += f" ± {number_text(half_width * scale, 2)}"
    return f"{text} {unit}" if unit else text


def number_text(value: float, significant: int = 3) -> str:
    """A number with so many significant digits, all digits before the point, and no trailing zeros."""
    if value == 0:
        return "0"
    digits = significant - 1 - math.floor(math.log10(abs(value)))
    if digits <= 0:
        return f"{value:,.0f}"
    if digits > 6:
        return f"{value:.{significant - 1}e}"
    return f"{value:.{digits}f}".rstrip("0").rstrip(".")


def _unit(metric: str, value: float) -> tuple[float, str]:
    if metric.endswith("_per_s"):
        return 1.0, "/s"
    if metric.endswith("_mb"):
        return 1.0, "MB"
    if metric.endswith(("_ratio", "_utilisation", "_share")) or metric == "freshness":
        return 100.0, "%"
    if metric.endswith(("_s", "_s_per_1k")):
        for below, scale, unit in _TIME_UNITS:
            if abs(value) < below and value != 0:
                return scale, unit
        return (1.0, "s") if value == 0 else (1 / 3600, "h")
    return 1.0, ""
