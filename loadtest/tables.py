"""A load or a race as tables for people: the metrics by name, and where every request ended up."""

from __future__ import annotations

import shlex

from rich.console import Console
from rich.table import Table

from loadtest.runner.results import LoadResult
from sim.tables import metrics_table, plain_table

METRICS = (
    "latency_mean_s",
    "latency_p50_s",
    "latency_p95_s",
    "latency_p99_s",
    "uncorrected_latency_p99_s",
    "visible_latency_p50_s",
    "visible_latency_p99_s",
    "age_mean_s",
    "achieved_rate_per_s",
    "requests_per_event",
    "bytes_per_event",
    "empty_ratio",
    "duplicates_per_event",
    "lost_ratio",
    "pending_ratio",
    "error_ratio",
    "rejected_ratio",
    "timeout_ratio",
    "provider_cpu_s_per_1k",
    "receiver_cpu_s_per_1k",
    "provider_rss_mb",
    "receiver_rss_mb",
    "lag_p99_s",
    "generator_cpu_share",
)

MEANING = {
    "load": "latency: intended send to answer; visible_latency: created to visible",
    "race": "latency: created to visible",
}


def show(result: LoadResult, console: Console | None = None) -> None:
    """Print one column an arm, the ledger, what was unlike the model, and where the run folder is."""
    console = console or Console()
    title = f"{result.command} {result.scenario.name}"
    by_arm = {arm: result.metrics(arm) for arm in result.arms}
    measured = [metric for metric in METRICS if any(metric in metrics for metrics in by_arm.values())]
    console.print(f"VOID: {title}" if result.void else title, style="bold", highlight=False)
    console.print(metrics_table(by_arm, measured))
    console.print(MEANING[result.command], style="italic")
    console.print(_ledger(result))
    unlike = dict.fromkeys(note for run in result.runs for note in run.notes.get("unlike_the_model", ()))
    if unlike:
        console.print(f"unlike the model: {'; '.join(unlike)}")
    console.print(f"run folder: {result.path}", soft_wrap=True, highlight=False)
    console.print(
        f"report: hookbench report {shlex.quote(str(result.path))}", soft_wrap=True, highlight=False
    )


def _ledger(result: LoadResult) -> Table:
    table = plain_table()
    table.add_column("ledger", no_wrap=True)
    ledgers = [result.ledger(arm) for arm in result.arms]
    for arm in result.arms:
        table.add_column(arm, justify="right")
    for name in ledgers[0]:
        counts = [ledger[name] for ledger in ledgers]
        if any(count is not None for count in counts):
            table.add_row(name, *("–" if count is None else f"{count:,}" for count in counts))
    return table
