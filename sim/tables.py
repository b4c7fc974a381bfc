"""Metrics as a table a person reads: one row a metric, one column a mechanism."""

from __future__ import annotations

import math
from collections.abc import Mapping

from rich.table import Table

from sim.experiment import Estimate


def metrics_table(title: str, estimates: Mapping[str, Mapping[str, Estimate]]) -> Table:
    """A table of every metric that any column has; `estimates` is column -> metric -> estimate."""
    table = Table(title=title, title_justify="left", title_style="bold")
    table.add_column("metric")
    for column in estimates:
        table.add_column(column, justify="right")
    metrics = list(dict.fromkeys(metric for by_metric in estimates.values() for metric in by_metric))
    for metric in metrics:
        cells = [by_metric.get(metric) for by_metric in estimates.values()]
        table.add_row(metric, *(estimate_text(cell) if cell else "–" for cell in cells))
    return table


def estimate_text(e: Estimate) -> str:
    """A mean, with the half-width of its interval if it has one."""
    if e.low is None or e.high is None:
        return number_text(e.mean)
    return f"{number_text(e.mean)} ± {number_text((e.high - e.low) / 2, 2)}"


def number_text(value: float, significant: int = 4) -> str:
    """A number with so many significant digits, as short as it can be."""
    if math.isnan(value):
        return "undefined"
    if value == 0:
        return "0"
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    if abs(value) < 0.001:
        return f"{value:.{significant - 1}e}"
    digits = significant - 1 - math.floor(math.log10(abs(value)))
    text = f"{value:.{max(digits, 0)}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
