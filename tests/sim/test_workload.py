"""Protects the event list every mechanism shares: its law, its span, and that it is one list."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from sim.errors import ScenarioError
from sim.scenario import Scenario, scenario_from
from sim.workload import event_times


def scenario_of(workload: dict[str, object], duration_s: float = 20_000.0) -> Scenario:
    return scenario_from({"name": "w", "workload": workload, "run": {"duration_s": duration_s}})


def test_poisson_events_are_poisson() -> None:
    """Gaps are exponential (Kolmogorov-Smirnov) and the count is Poisson, each at level 1e-6."""
    times = event_times(scenario_of({"kind": "poisson", "rate_per_s": 2.0}), seed=3)
    assert (np.diff(times) > 0).all()
    assert 0 <= times[0] <= times[-1] < 20_000.0
    assert stats.kstest(np.diff(times), "expon", args=(0, 0.5)).pvalue > 1e-6
    low, high = stats.poisson.interval(1 - 1e-6, 40_000)
    assert low <= len(times) <= high


def test_a_longer_run_has_the_same_beginning() -> None:
    short = event_times(scenario_of({"kind": "poisson", "rate_per_s": 9.0}, 100.0), seed=3)
    long = event_times(scenario_of({"kind": "poisson", "rate_per_s": 9.0}, 20_000.0), seed=3)
    assert (long[: len(short)] == short).all()


def test_periodic_events_have_a_phase() -> None:
    fixed = event_times(
        scenario_of({"kind": "periodic", "rate_per_s": 0.5, "phase": "synchronised"}, 10.0), 1
    )
    assert fixed.tolist() == [0.0, 2.0, 4.0, 6.0, 8.0]
    phases = [
        event_times(scenario_of({"kind": "periodic", "rate_per_s": 0.5}, 10.0), s)[0] for s in range(500)
    ]
    assert stats.kstest(phases, "uniform", args=(0, 2)).pvalue > 1e-6


def test_a_trace_is_replayed_from_zero_and_faster(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("created\n2024-01-01T00:00:10Z\n2024-01-01T00:00:20Z\n2024-01-01T00:01:10Z\n")
    workload = {"kind": "trace", "path": str(path), "speedup": 10.0}
    assert event_times(scenario_of(workload), 1).tolist() == [0.0, 1.0, 6.0]
    with pytest.raises(ScenarioError, match=r"1 of 3 events fall at or after run\.duration_s = 5"):
        event_times(scenario_of(workload, 5.0), 1)
