"""What a race showed: its deliveries as records, and the arms against each other."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from loadtest.inbox import LedgerRow
from loadtest.runner.outcome import visible_us
from loadtest.runner.processes import Child, ProcessFailed
from loadtest.runner.results import ArmRun, Paired
from loadtest.schedule import IntArray
from sim.experiment import paired_difference
from sim.records import MISSING_US, Status, Via, measured_records

if TYPE_CHECKING:
    import pandas as pd


def race_records(
    intended_us: IntArray,
    rows: Sequence[LedgerRow],
    provider_rows: Sequence[Mapping[str, str]],
    tries: tuple[IntArray, IntArray],
    via: Via,
    origin_us: int,
) -> pd.DataFrame:
    """Delivery records of one arm, from the schedule, the provider's ledger and the inbox.

    Args:
        intended_us: when each event was to be published.
        rows: the inbox; what is in it says itself which way it came.
        provider_rows: the provider's ledger; "failed" is lost unless it became visible all the same.
        tries: when each event was first tried, and how often.
        via: the way of what is not in the inbox.
        origin_us: the run's origin.
    """
    size = intended_us.size
    when, copies = visible_us(rows, size)
    first, attempts = tries
    ways = np.full(size, via)
    for row in rows:
        if 0 <= row.event_index < size:
            ways[row.event_index] = Via[row.via.upper()]
    status = np.full(size, Status.PENDING)
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
        via=ways,
        status=status,
        origin_us=origin_us,
    )


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


def means(runs: Sequence[ArmRun]) -> dict[str, float]:
    """Each metric's mean over runs, what a threshold is held against."""
    judged = [run.metrics | run.judged for run in runs]
    names = dict.fromkeys(name for metrics in judged for name in metrics)
    return {name: float(np.mean([metrics[name] for metrics in judged if name in metrics])) for name in names}


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
        if len(arms) == 2:
            table["difference_s"] = table[f"{arms[0]}_latency_s"] - table[f"{arms[1]}_latency_s"]
        table.insert(0, "run", number)
        tables.append(table)
    return pd.concat(tables, ignore_index=True)
