"""A load or a race as tables for people: the metrics by name, and where every request ended up."""

from __future__ import annotations

import shlex
from collections.abc import Mapping

from rich.console import Console
from rich.table import Table

from loadtest.plans import LISTENERS
from loadtest.runner.results import LoadResult
from sim.experiment import Estimate
from sim.tables import console as sized_console
from sim.tables import metrics_table, overview_table, plain_table

METRICS = (
    "latency_mean_s",
    "latency_p50_s",
    "latency_p95_s",
    "latency_p99_s",
    "uncorrected_latency_p99_s",
    "visible_latency_p50_s",
    "visible_latency_p99_s",
    "refused_latency_p50_s",
    "refused_latency_p99_s",
    "age_mean_s",
    "achieved_rate_per_s",
    "requests_per_event",
    "retries_per_event",
    "bytes_per_event",
    "empty_ratio",
    "not_modified_ratio",
    "connections_peak",
    "duplicates_per_event",
    "lost_ratio",
    "pending_ratio",
    "error_ratio",
    "rejected_ratio",
    "timeout_ratio",
    "provider_cpu_s_per_1k",
    "receiver_cpu_s_per_1k",
    "broker_cpu_s_per_1k",
    "provider_rss_mb",
    "receiver_rss_mb",
    "lag_p99_s",
    "generator_cpu_share",
)

FEW = 3
"""So many arms fit side by side; of more there is a row each."""

OVERVIEW = {
    "provider_cpu_s_per_1k": "CPU/1k\nprov.",
    "receiver_cpu_s_per_1k": "\nrecv.",
    "broker_cpu_s_per_1k": "\nbroker",
}
MANY = (
    "requests and bytes are per event; CPU is the time that a thousand events took the provider, the "
    "receiving side and a broker; every metric is in summary.csv in the run folder"
)
ALWAYS = frozenset({"scheduled", "acknowledged", "visible", "lost"})

MEANING = {
    "load": "latency: intended send to answer; visible_latency: created to visible",
    "race": "latency: created to visible",
}


def shown_metrics(by_arm: Mapping[str, Mapping[str, Estimate]]) -> list[str]:
    """Of the metrics worth a line, those that some arm measured."""
    return [metric for metric in METRICS if any(metric in metrics for metrics in by_arm.values())]


def show(result: LoadResult, console: Console | None = None) -> None:
    """Print one column an arm, the ledger, what was unlike the model, and where the run folder is."""
    console = console or sized_console()
    title = f"{result.command} {result.scenario.name}"
    by_arm = {arm: result.metrics(arm) for arm in result.arms}
    console.print(f"VOID: {title}" if result.void else title, style="bold", highlight=False)
    meaning = MEANING[result.command]
    if any(arm in LISTENERS for arm in result.arms) and result.command == "load":
        meaning += "; of held connections: created to arrived"
    if any("refused_latency_p50_s" in metrics for metrics in by_arm.values()):
        meaning += "; refused_latency: of forged requests, intended send to refusal"
    if len(by_arm) <= FEW:
        console.print(metrics_table(by_arm, shown_metrics(by_arm)))
        console.print(meaning, style="italic")
        console.print(_ledger(result))
    else:
        console.print(overview_table(by_arm, what="arm", more=OVERVIEW))
        console.print(f"{meaning}; {MANY}", style="italic")
        console.print(_short_ledger(result))
    console.print(f"load: {result.shape}", highlight=False)
    for fault in result.runs[0].notes.get("faults", ()):
        console.print(
            f"{fault['role']}: {fault['kind']} from {fault['begun_s']:.2f} s to {fault['ended_s']:.2f} s",
            highlight=False,
        )
    unlike = dict.fromkeys(note for run in result.runs for note in run.notes.get("unlike_the_model", ()))
    if unlike:
        console.print(f"unlike the model: {'; '.join(unlike)}")
    unknown = dict.fromkeys(note for run in result.runs for note in run.notes.get("not_measured", ()))
    if unknown:
        console.print(f"not measured: {'; '.join(unknown)}")
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


def _short_ledger(result: LoadResult) -> Table:
    """A row an arm; headings under which nothing stands are left out, those of `ALWAYS` excepted."""
    ledgers = {arm: result.ledger(arm) for arm in result.arms}
    shown = [
        name
        for name in next(iter(ledgers.values()))
        if name in ALWAYS or any(ledger[name] for ledger in ledgers.values())
    ]
    table = plain_table()
    for name in ("ledger", *shown):
        table.add_column(name, justify="left" if name == "ledger" else "right", no_wrap=True)
    for arm, ledger in ledgers.items():
        counts = (ledger[name] for name in shown)
        table.add_row(arm, *("–" if count is None else f"{count:,}" for count in counts))
    return table
