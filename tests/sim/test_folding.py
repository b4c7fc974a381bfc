"""Protects metrics without records: those of the records, whoever does the work; quantiles within bounds."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sim.catalogue import MECHANISMS
from sim.engine import run_once, summary_once
from sim.errors import ScenarioError
from sim.metrics import summary_of
from sim.metrics.digest import BLOCKS, blocks_of
from sim.metrics.histogram import RELATIVE_ERROR, bucket_of, empty_histogram, middle_of, quantiles_of
from sim.scenario import Scenario, scenario_from
from sim.workload import MAX_DELIVERIES, event_times
from tests.sim.generated import scenarios

QUANTILES = {"latency_p50_s", "latency_p95_s", "latency_p99_s"}


def assert_folding_changes_nothing(scenario: Scenario, mechanism: str, seed: int) -> None:
    created = event_times(scenario, seed)
    run = run_once(scenario, mechanism, created, seed)
    exact, basis = summary_of(run.deliveries, run.counters, scenario)
    for workers in (1, 3):
        summary, counted = summary_once(scenario, mechanism, created, seed, workers=workers, exact_up_to=-1)
        folded = summary.metrics
        assert counted == run.counters
        assert list(folded) == list(exact)
        for name, value in exact.items():
            if name in QUANTILES:
                assert folded[name] == pytest.approx(value, rel=RELATIVE_ERROR, abs=1e-7, nan_ok=True), name
            else:
                np.testing.assert_equal(folded[name], value, err_msg=name)
        found = summary.basis
        assert (found.events, found.requests, found.delivered) == (
            basis.events,
            basis.requests,
            basis.delivered,
        )
        assert found.latencies_s == pytest.approx(basis.latencies_s, rel=RELATIVE_ERROR, abs=1e-7)


@pytest.mark.parametrize("mechanism", MECHANISMS)
@settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(scenario=scenarios(), seed=st.integers(0, 2**63 - 1))
def test_metrics_without_records_are_those_of_the_records(
    mechanism: str, scenario: Scenario, seed: int
) -> None:
    assert_folding_changes_nothing(scenario, mechanism, seed)


@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_threads_and_blocks_change_nothing(mechanism: str) -> None:
    """Enough subscribers for several in a block, and enough deliveries for several threads."""
    scenario = scenario_from(
        {
            "name": "many",
            "workload": {"kind": "poisson", "rate_per_s": 5.0},
            "subscribers": {"count": 3 * BLOCKS + 1},
            "network": {"one_way": {"kind": "lognormal", "mean_s": 0.05, "cv": 1.0}},
            "polling": {"interval_s": 5.0},
            "receiver": {"service": {"kind": "exponential", "mean_s": 0.1}},
            "provider_api": {"workers": 200, "service": {"kind": "constant", "mean_s": 0.002}},
            "run": {"duration_s": 100.0, "warmup_s": 10.0, "drain_s": 5.0, "on_time_s": 1.0},
        }
    )
    assert_folding_changes_nothing(scenario, mechanism, 3)


@given(subscribers=st.integers(1, 5000))
def test_blocks_hold_every_subscriber_once(subscribers: int) -> None:
    blocks = blocks_of(subscribers)
    assert len(blocks) == min(BLOCKS, subscribers)
    assert [s for first, end in blocks for s in range(first, end)] == list(range(subscribers))


@given(st.floats(2.0**-24, 1e9))
def test_a_bucket_is_narrow_in_proportion(duration_s: float) -> None:
    assert middle_of(bucket_of(duration_s)) == pytest.approx(duration_s, rel=RELATIVE_ERROR)


@given(
    st.lists(st.one_of(st.just(0.0), st.floats(1e-6, 1e5)), min_size=1, max_size=300),
    st.lists(st.floats(0.0, 1.0), min_size=1, max_size=5),
)
def test_quantiles_of_a_histogram_are_near_the_exact_ones(
    durations_s: list[float], shares: list[float]
) -> None:
    histogram = empty_histogram(1e5)
    for duration_s in durations_s:
        histogram[bucket_of(duration_s)] += 1
    found = quantiles_of(histogram, shares, min(durations_s), max(durations_s))
    # Between two order statistics the method interpolates, so the error is one of either.
    assert found == pytest.approx(np.quantile(durations_s, shares), rel=RELATIVE_ERROR * 1.001, abs=1e-7)


def test_no_latency_has_no_quantile() -> None:
    assert all(math.isnan(each) for each in quantiles_of(empty_histogram(10.0), [0.5], math.inf, -math.inf))


def test_what_needs_all_deliveries_at_once_is_refused_beyond_memory() -> None:
    scenario = scenario_from(
        {
            "name": "crowd",
            "workload": {"kind": "periodic", "rate_per_s": 1.0},
            "subscribers": {"count": MAX_DELIVERIES // 100},
            "run": {"duration_s": 200.0},
        }
    )
    created = event_times(scenario, 1, recorded=False)
    with pytest.raises(ScenarioError, match="polls wait for one another"):
        summary_once(scenario, "polling", created, 1)
    with pytest.raises(ScenarioError, match="fit in memory"):
        event_times(scenario, 1)
