"""Protects long runs: nothing grows but what is recorded, and the schedule is kept at the end as at first.

A minute in the default tests, half an hour among the slow ones.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from loadtest.recorder import Samples
from loadtest.runner import load
from loadtest.schedule import DEFAULT_POOL_SIZE
from sim.scenario import scenario_from

RATE_PER_S = 100
SPARE_MB = 10.0
"""What an allocator keeps back and connections take after a stall: 7 MB on a machine that stalled often."""
LAG_LIMIT_S = 2.0
"""Not tails are the matter here, but what grows; a busy machine may stall now and then."""

RECORDED_BYTES = len(Samples.__dataclass_fields__) * 8
"""Of a request in the generator's memory: its row, whose page is first touched when it is filled in."""


@pytest.mark.parametrize("minutes", [1, pytest.param(30, marks=pytest.mark.slow)])
def test_a_soak_grows_no_memory_and_drifts_not_from_its_schedule(minutes, tmp_path):
    scenario = scenario_from(
        {
            "name": "soak",
            "workload": {"kind": "poisson", "rate_per_s": RATE_PER_S, "payload_bytes": 1000},
            "receiver": {"service": {"kind": "constant", "mean_s": 0.0005}},
            "run": {"duration_s": 60.0 * minutes},
        }
    )
    shape = f"soak:rate={RATE_PER_S}"
    result = load(
        scenario, shape=shape, duration_s=60.0 * minutes, out=tmp_path, figures=False, lag_limit_s=LAG_LIMIT_S
    )
    (run,) = result.runs
    assert not run.void
    assert run.ledger.acknowledged == run.ledger.scheduled == run.samples.index.size == 6000 * minutes

    seconds = pd.read_csv(result.path / "timeline.csv")
    for role, per_request in (("receiver", 0), ("generator", RECORDED_BYTES)):
        early, late = _halves(seconds[f"{role}_rss_mb"].to_numpy(dtype=float))
        requests = run.samples.index.size / 2
        assert late - early < SPARE_MB + per_request * requests / 1e6, f"{role}: {early:.1f} to {late:.1f} MB"
    early, late = _halves(seconds["receiver_fds"].to_numpy(dtype=float))
    assert late <= early + DEFAULT_POOL_SIZE

    assert _drift_us(run.samples) < 1000, "requests leave later and later"


def _halves(level: np.ndarray) -> tuple[float, float]:
    """A level early, once all is warm, and at the end: medians of a tenth of the run each."""
    tenth = len(level) // 10
    return float(np.nanmedian(level[2 * tenth : 3 * tenth])), float(np.nanmedian(level[-tenth:]))


def _drift_us(samples: Samples) -> float:
    """How much later than at first requests leave at the end, by medians: a clock that drifts adds up."""
    tenth = samples.index.size // 10
    lag_us = samples.lag_us
    return float(abs(np.median(lag_us[-tenth:]) - np.median(lag_us[tenth : 2 * tenth])))
