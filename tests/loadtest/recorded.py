"""Run folders made of invented measurements, for tests of what reads them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from loadtest.recorder import Samples
from loadtest.runner.folder import save
from loadtest.runner.results import ArmRun, LoadResult
from loadtest.verdict import Ledger, ThresholdResult
from sim.records import MISSING_US, Status, Via, measured_records
from sim.results import RunFolder
from sim.scenario import Scenario, load_scenario

ORIGIN_US = 5_000_000
GAP_US = 50_000


def invented_run(
    arm: str,
    run: int,
    latency_us: np.ndarray,
    *,
    failed: Sequence[int] = (),
    void: Sequence[str] = (),
    metrics: Mapping[str, float] | None = None,
) -> ArmRun:
    """Requests 50 ms apart, answered after the given times; visible 1 ms after the answer, or never."""
    count = latency_us.size
    intended = ORIGIN_US + np.arange(count) * GAP_US
    samples = Samples.scheduled(np.arange(count), intended)
    samples.sent_us[:] = intended + 100
    samples.dispatched_us[:] = intended + 50
    samples.done_us[:] = intended + latency_us
    samples.status[:] = 204
    samples.status[list(failed)] = 500
    visible = intended + latency_us + 1000
    visible[list(failed)] = MISSING_US
    status = np.full(count, Status.DELIVERED)
    status[list(failed)] = Status.LOST
    records = measured_records(
        created_us=intended,
        first_attempt_us=intended,
        visible_us=visible,
        attempts=np.ones(count),
        copies=np.ones(count),
        via=Via.WEBHOOK,
        status=status,
        origin_us=ORIGIN_US,
    )
    at_s = np.arange(0.0, 1.1, 0.1)
    load = pd.DataFrame({"role": "receiver", "at_s": at_s, "cpu_s": at_s * 0.25})
    good = count - len(failed)
    ledger = Ledger(count, count, 0, good, len(failed), good, 0, 0, 0)
    notes = {"origin_us": ORIGIN_US, "end_us": ORIGIN_US + count * GAP_US, "failures": {}}
    found = {"latency_p50_s": float(np.median(latency_us)) / 1e6, **(metrics or {})}
    return ArmRun(arm, run, found, ledger, list(void), samples, records, load, notes)


def written(
    out: Path,
    command: str,
    runs: Sequence[ArmRun],
    thresholds: Sequence[ThresholdResult] = (),
    scenario: Scenario | None = None,
) -> LoadResult:
    """Write the run folder of a load or a race that was never run."""
    scenario = scenario or load_scenario("shop-orders-rush")
    with RunFolder.create(
        f"{command}-{scenario.name}", f"hookbench {command}", out, scenario=scenario
    ) as folder:
        result = LoadResult(command, scenario, 1, tuple(runs), tuple(thresholds), folder.path)
        save(folder, result, figures=False)
    return result
