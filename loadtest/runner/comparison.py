"""What a race showed: its deliveries as records, and the arms against each other."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from loadtest.inbox import LedgerRow
from loadtest.runner.outcome import inbox_counters, visible_us
from loadtest.runner.processes import Child, ProcessFailed
from loadtest.runner.results import ArmRun, Paired
from loadtest.schedule import IntArray
from loadtest.verdict import LEDGER_COUNTS
from sim.experiment import paired_difference
from sim.records import MISSING_US, Counters, Status, Via, measured_records

if TYPE_CHECKING:
    import pandas as pd


def race_records(
    arm: str,
    intended_us: IntArray,
    rows: Sequence[LedgerRow],
    provider_rows: Sequence[Mapping[str, str]],
    origin_us: int,
) -> pd.DataFrame:
    """Delivery records of one arm, from the schedule, the provider's ledger and the inbox.

    A polled event's first attempt is the poll that carried it, hence its arrival.
    """
    size = intended_us.size
    when, copies = visible_us(rows, size)
    first = np.full(size, MISSING_US, dtype=np.int64)
    attempts = np.zeros(size, dtype=np.int32)
    status = np.full(size, Status.PENDING)
    if arm == "polling":
        for row in rows:
            if 0 <= row.event_index < size:
                first[row.event_index], attempts[row.event_index] = row.received_us, 1
    else:
        for entry in provider_rows:
            index = int(entry["index"])
            first[index], attempts[index] = int(entry["first_attempt_us"]), int(entry["attempts"])
    for entry in provider_rows:
        if entry["outcome"] == "failed":
            status[int(entry["index"])] = Status.LOST
    status[when != MISSING_US] = Status.DELIVERED
    return measured_records(
        created_us=intended_us,
        first_attempt_us=first,
        visible_us=when,
        attempts=attempts,
        copies=copies,
        via=Via.POLL if arm == "polling" else Via.WEBHOOK,
        status=status,
        origin_us=origin_us,
    )


def with_missed(
    provider_rows: Sequence[Mapping[str, str]], rows: Sequence[LedgerRow], missed: int
) -> list[dict[str, str]]:
    """The provider's ledger, with the outcome "failed" for what it had forgotten before the poller came.

    One poller that reads in order misses the oldest of what it has not seen.
    """
    seen = {row.event_index for row in rows}
    marked = []
    for entry in provider_rows:
        lost = missed > 0 and int(entry["index"]) not in seen
        missed -= lost
        marked.append({**entry, "outcome": "failed"} if lost else dict(entry))
    return marked


def window_counters(arm: str, in_window: Mapping[str, Mapping[str, Any]]) -> Counters:
    """The servers' counts over the window, by the model's names; what they did not count stays unknown."""
    if not in_window:
        return Counters.unknown()
    consumer, provider = in_window["receiver"], in_window["provider"]
    counters = inbox_counters(consumer)
    if arm == "webhook":
        counters.requests = provider["dispatched"]
        counters.timeouts = provider["timeouts"]
        counters.errors = provider["connection_errors"]
        counters.rejected = consumer.get("rejected_full")
        counters.request_bytes = provider.get("request_bytes")
        counters.response_bytes = provider.get("response_bytes")
        for name in ("unsent", "dead_letters", "redeliveries", "connections_opened"):
            setattr(counters, name, provider.get(name))
        return counters
    for name in ("requests", "empty_responses", "not_modified", "timeouts", "errors", "rejected"):
        setattr(counters, name, consumer[name])
    counters.request_bytes, counters.response_bytes = consumer["request_bytes"], consumer["response_bytes"]
    return counters


def read_provider_ledger(path: Path, provider: Child) -> list[dict[str, str]]:
    """The rows of the CSV that the provider writes when it stops.

    Raises:
        ProcessFailed: there is none, because the provider did not come to a clean end.
    """
    try:
        with path.open(newline="", encoding="utf-8") as stream:
            return list(csv.DictReader(stream))
    except FileNotFoundError:
        raise ProcessFailed(f"the provider left no ledger: {provider.last_words()}") from None


def judged_by_arm(runs: Sequence[ArmRun]) -> dict[str, dict[str, float]]:
    """What thresholds are held against, by arm: metrics as means over runs, the ledger's counts as sums."""
    found: dict[str, dict[str, float]] = {}
    for arm in dict.fromkeys(run.arm for run in runs):
        judged = [run.metrics | run.judged for run in runs if run.arm == arm]
        names = dict.fromkeys(name for metrics in judged for name in metrics)
        found[arm] = {
            name: float(np.mean([metrics[name] for metrics in judged if name in metrics])) for name in names
        }
        ledgers = [run.ledger.as_dict() for run in runs if run.arm == arm]
        for name in LEDGER_COUNTS:
            counts = [ledger[name] for ledger in ledgers]
            if all(count is not None for count in counts):
                found[arm][name] = float(sum(count or 0 for count in counts))
    return found


def paired(runs: Sequence[ArmRun], arms: Sequence[str]) -> list[Paired]:
    """The difference of each metric between every two arms, paired by run."""
    by_arm = {arm: [run.metrics for run in runs if run.arm == arm] for arm in arms}
    return [
        Paired(
            a,
            b,
            metric,
            paired_difference([m[metric] for m in by_arm[a]], [m[metric] for m in by_arm[b]]),
        )
        for a, b in combinations(arms, 2)
        for metric in by_arm[a][0]
        if all(metric in metrics for metrics in (*by_arm[a], *by_arm[b]))
    ]


def differences(runs: Sequence[ArmRun], arms: Sequence[str]) -> pd.DataFrame | None:
    """Event by event: `run, event, <arm>_latency_s …` and, for two arms, `difference_s` (first − second)."""
    import pandas as pd  # noqa: PLC0415 - half a second, only when a table is wanted

    if len(arms) < 2:
        return None
    tables = []
    for number in sorted({run.run for run in runs}):
        columns: dict[str, Any] = {}
        for run in runs:
            if run.run == number and run.records is not None:
                frame = run.records
                columns |= {"event": frame["event"].to_numpy()}
                columns[f"{run.arm}_latency_s"] = (frame["visible"] - frame["created"]).to_numpy()
        table = pd.DataFrame(columns)
        table["difference_s"] = table[f"{arms[0]}_latency_s"] - table[f"{arms[1]}_latency_s"]
        table.insert(0, "run", number)
        tables.append(table)
    return pd.concat(tables, ignore_index=True)
