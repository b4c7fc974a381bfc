"""A load or a race as a table for people."""

from __future__ import annotations

import math

from rich.console import Console
from rich.table import Table

from loadtest.runner.results import LoadResult
from sim.experiment import Estimate

ROWS = (
    ("latency_p50_s", "latency p50", "ms"),
    ("latency_p95_s", "latency p95", "ms"),
    ("latency_p99_s", "latency p99", "ms"),
    ("uncorrected_latency_p99_s", "… uncorrected p99", "ms"),
    ("visible_latency_p50_s", "created to visible p50", "ms"),
    ("visible_latency_p99_s", "created to visible p99", "ms"),
    ("achieved_rate_per_s", "achieved rate", "/s"),
    ("requests_per_event", "requests per event", ""),
    ("bytes_per_event", "bytes per event", ""),
    ("empty_ratio", "empty polls", "%"),
    ("lost_ratio", "lost", "%"),
    ("pending_ratio", "pending", "%"),
    ("error_ratio", "errors", "%"),
    ("rejected_ratio", "rejected (429, 503)", "%"),
    ("timeout_ratio", "timeouts", "%"),
    ("provider_cpu_s_per_1k", "provider CPU per 1,000", "ms"),
    ("receiver_cpu_s_per_1k", "receiver CPU per 1,000", "ms"),
    ("provider_rss_mb", "provider memory", "MB"),
    ("receiver_rss_mb", "receiver memory", "MB"),
    ("lag_p99_s", "generator lag p99", "ms"),
    ("generator_cpu_share", "generator CPU", "%"),
)
SCALE = {"ms": 1e3, "%": 100.0}

MEANING = {
    "load": "latency: intended send to answer",
    "race": "latency: created to visible",
}


def show(result: LoadResult, console: Console | None = None) -> None:
    """Print one column an arm, the ledger, and where the run folder is."""
    console = console or Console()
    title = f"{result.command} {result.scenario.name}"
    table = Table(title=f"VOID: {title}" if result.void else title, caption=MEANING[result.command])
    table.add_column("")
    for arm in result.arms:
        table.add_column(arm, justify="right")
    by_arm = {arm: result.metrics(arm) for arm in result.arms}
    for name, label, unit in ROWS:
        values = [by_arm[arm].get(name) for arm in result.arms]
        if any(value is not None for value in values):
            table.add_row(f"{label} [dim]{unit}[/dim]", *(cell(value, unit) for value in values))
    table.add_section()
    ledgers = [result.ledger(arm) for arm in result.arms]
    for name in ledgers[0]:
        counts = [ledger[name] for ledger in ledgers]
        if any(count is not None for count in counts):
            words = name.replace("_", ", but ")
            table.add_row(words, *("" if count is None else f"{count:,}" for count in counts))
    console.print(table)
    console.print(f"run folder: {result.path}", soft_wrap=True, highlight=False)


def cell(value: Estimate | None, unit: str) -> str:
    """A value with three significant digits and, over several runs, its half-width."""
    if value is None:
        return ""
    if math.isnan(value.mean):
        return "–"
    scale = SCALE.get(unit, 1.0)
    text = _number(value.mean * scale, 3)
    if value.low is None or value.high is None:
        return text
    return f"{text} ±{_number((value.high - value.low) / 2 * scale, 2)}"


def _number(value: float, digits: int) -> str:
    return f"{value:,.0f}" if abs(value) >= 10 ** (digits - 1) else f"{value:.{digits}g}"
