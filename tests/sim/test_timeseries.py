"""Protects the table of a run over time: every bin by hand, and that nothing falls out of it or in twice."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sim.audience import everybody
from sim.catalogue import MECHANISMS
from sim.engine import run_once, simulate
from sim.errors import InputError
from sim.records import Counters, Deliveries, Replication, Status, Via
from sim.scenario import Scenario, scenario_from
from sim.timeseries import SERIES_COLUMNS, time_series
from sim.workload import event_times
from tests.sim.generated import scenarios

TEN_SECONDS = scenario_from(
    {
        "name": "ten",
        "workload": {"kind": "poisson", "rate_per_s": 1.0},
        "run": {"duration_s": 8.0, "drain_s": 2.0, "series_bin_s": 4.0},
    }
)


def test_every_bin_by_hand() -> None:
    """Bins [0, 4), [4, 8) and [8, 10), where the world ends."""
    deliveries = Deliveries.empty(everybody(np.array([0.0, 1.0, 2.0, 4.0, 7.0]), 1), Via.POLL)
    deliveries.visible[:] = [1.0, 4.0, math.nan, 8.0, math.nan]
    deliveries.first_attempt[:] = [0.5, 1.0, 2.0, 4.0, math.nan]
    deliveries.status[:] = [0, 0, Status.LOST, 0, Status.PENDING]
    frame = time_series(TEN_SECONDS, Replication(deliveries, Counters(), np.array([3, 4, 5], dtype=np.int64)))
    assert tuple(frame.columns) == SERIES_COLUMNS
    assert frame["start_s"].tolist() == [0.0, 4.0, 8.0]
    assert frame["end_s"].tolist() == [4.0, 8.0, 10.0]
    assert frame["requests"].tolist() == [3, 4, 5]
    assert frame["first_tries"].tolist() == [3, 1, 0]
    assert frame["created"].tolist() == [3, 2, 0]
    assert frame["visible"].tolist() == [1, 1, 1]
    assert frame["lost"].tolist() == [1, 0, 0]
    assert frame["backlog"].tolist() == [1, 2, 1]
    assert frame["latency_mean_s"].tolist() == pytest.approx([2.0, 4.0, math.nan], nan_ok=True)
    assert frame["latency_p95_s"].tolist() == pytest.approx([1.0 + 0.95 * 2.0, 4.0, math.nan], nan_ok=True)


def test_a_bin_that_would_start_as_the_world_ends_is_not_one() -> None:
    """What rounds up to the end is counted just before it."""
    scenario = TEN_SECONDS.with_values(**{"run.series_bin_s": 5.0})
    deliveries = Deliveries.empty(everybody(np.empty(0), 1), Via.POLL)
    frame = time_series(scenario, Replication(deliveries, Counters(), np.array([1, 2, 4], dtype=np.int64)))
    assert frame["end_s"].tolist() == [5.0, 10.0]
    assert frame["requests"].tolist() == [1, 6]


@settings(max_examples=50, deadline=None, derandomize=True)
@given(scenario=scenarios(), mechanism=st.sampled_from(list(MECHANISMS)), seed=st.integers(0, 1000))
def test_nothing_falls_out_of_a_series_or_in_twice(scenario: Scenario, mechanism: str, seed: int) -> None:
    run = run_once(scenario, mechanism, event_times(scenario, seed), seed)
    frame = time_series(scenario, run)
    real = np.isfinite(run.deliveries.created)
    status = run.deliveries.status[real]
    assert frame["requests"].sum() == run.series.sum()
    assert frame["created"].sum() == real.sum()
    assert frame["visible"].sum() == (status == Status.DELIVERED).sum()
    assert frame["lost"].sum() == (status == Status.LOST).sum()
    assert frame["backlog"].iloc[-1] == (status == Status.PENDING).sum()
    assert (frame["backlog"] >= 0).all()
    assert frame["end_s"].iloc[-1] == scenario.world_end_s
    assert (frame["end_s"].iloc[:-1].to_numpy() == frame["start_s"].iloc[1:].to_numpy()).all()
    if scenario.run.warmup_s == scenario.run.drain_s == 0:
        assert frame["requests"].sum() == run.counters.requests


def test_an_outcome_has_the_series_of_each_replication() -> None:
    outcome = simulate(TEN_SECONDS, ["webhook", "polling"], replications=2)
    first, second = outcome.series(), outcome.series(1)
    assert first.columns.tolist() == ["mechanism", *SERIES_COLUMNS]
    assert first["mechanism"].tolist() == ["webhook"] * 3 + ["polling"] * 3
    records = outcome.records
    for replication, series in enumerate((first, second)):
        of_this = records[records["replication"] == replication]
        assert series["created"].sum() == len(of_this)
    with pytest.raises(InputError, match=r"replication must be in \[0, 2\), got 2"):
        outcome.series(2)
    with pytest.raises(InputError, match="no records were kept"):
        simulate(TEN_SECONDS, records=False).series()
