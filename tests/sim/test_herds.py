"""Protects: what comes back all at once is in the models what theory says, to the request.

Nothing here is random: events are periodic from 0, so herds, bursts and storms have one size each. The same
laws for Poisson events, on average, are in `test_coverage`.
"""

import numpy as np
import pytest

from sim import theory
from sim.engine import run_once
from sim.scenario import Scenario, scenario_from
from sim.workload import event_times

NOTHING = {"kind": "constant", "mean_s": 0.0}


def outcome(scenario: Scenario, mechanism: str, engine: str = "fast"):
    return run_once(scenario, mechanism, event_times(scenario, 1), 1, engine)


def herd(kind: str, rate_per_s: float) -> Scenario:
    """An hour of refusals ends at 4000 s; bins of ten seconds, the gap between retries."""
    return scenario_from(
        {
            "name": "herd",
            "workload": {"kind": "periodic", "rate_per_s": rate_per_s, "phase": "synchronised"},
            "network": {"one_way": NOTHING},
            "webhook": {
                "retry": {"kind": kind, "base_s": 10.0, "cap_s": 1e6, "max_attempts": 500},
                "max_in_flight": 100_000,
            },
            "receiver": {"service": NOTHING, "outages": [{"start_s": 400.0, "duration_s": 3600.0}]},
            "run": {"duration_s": 4020.0, "drain_s": 100.0, "series_bin_s": 10.0},
        }
    )


@pytest.mark.parametrize(
    ("kind", "rate_per_s", "herd_per_s"),
    [
        ("fixed", 0.5, theory.fixed_gap_herd_per_s(0.5, 3600.0, 10.0)),
        ("exponential", 0.4, theory.doubling_herd_per_s(0.4, 3600.0, 10.0)),
    ],
)
def test_the_herd_after_an_hour(kind, rate_per_s, herd_per_s):
    """360 λ against 8 λ; the new events of those ten seconds come on top."""
    series = outcome(herd(kind, rate_per_s), "webhook").series
    assert series[400] == round(10 * (herd_per_s + rate_per_s))
    assert herd_per_s / rate_per_s == (360 if kind == "fixed" else 8)


@pytest.mark.parametrize("engine", ["fast", "simpy"])
@pytest.mark.parametrize(("pollers", "workers"), [(20, 3), (21, 3), (22, 3), (5, 8)])
def test_a_synchronised_burst_ends_after_as_many_rounds_as_it_takes(pollers, workers, engine):
    """Everybody asks at 0, for the one event of that instant; the API answers in rounds of half a second."""
    scenario = scenario_from(
        {
            "name": "burst",
            "workload": {"kind": "periodic", "rate_per_s": 0.01, "phase": "synchronised"},
            "subscribers": {"count": pollers},
            "network": {"one_way": NOTHING},
            "polling": {"interval_s": 50.0, "phase": "synchronised"},
            "receiver": {"service": NOTHING},
            "provider_api": {"workers": workers, "service": {"kind": "constant", "mean_s": 0.5}},
            "run": {"duration_s": 40.0},
        }
    )
    visible = outcome(scenario, "polling", engine).deliveries.visible
    assert visible.max() == theory.burst_end_s(pollers, workers, 0.5)
    first, at_once = np.unique(visible, return_counts=True)
    assert first.tolist() == [0.5 * (k + 1) for k in range(len(first))]
    assert at_once[:-1].tolist() == [workers] * (len(first) - 1)


def stormy(rate_per_s: float, retries: int) -> Scenario:
    """A database good for 300 queries a second that stands still for ten; who waits a second asks again."""
    retry = {"kind": "fixed", "base_s": 0.0, "max_attempts": 1 + retries} if retries else {"kind": "none"}
    return scenario_from(
        {
            "name": "storm",
            "workload": {"kind": "periodic", "rate_per_s": rate_per_s, "phase": "synchronised"},
            "network": {"one_way": NOTHING},
            "webhook": {"timeout_s": 1.0, "retry": retry, "max_in_flight": 100_000},
            "receiver": {
                "workers": 1,
                "service": {"kind": "constant", "mean_s": 1 / 300},
                "queue_limit": 1_000_000,
                "outages": [{"start_s": 20.0, "duration_s": 0.01, "kind": "slow", "slowdown": 3000.0}],
            },
            "run": {"duration_s": 200.0, "series_bin_s": 20.0},
        }
    )


@pytest.mark.parametrize(
    ("rate_per_s", "retries", "sustained"), [(280, 1, True), (140, 1, False), (280, 0, False), (110, 2, True)]
)
def test_a_retry_storm_outlives_its_cause_where_theory_says_it_may(rate_per_s, retries, sustained):
    """The published case: 280 a second with one retry stay at 560 long after ten seconds' standstill."""
    assert theory.retry_storm_is_possible(rate_per_s, retries, 300.0) == sustained
    per_s = outcome(stormy(rate_per_s, retries), "webhook").series[:10] / 20.0
    assert per_s[0] == rate_per_s
    assert per_s[-1] == (rate_per_s * (1 + retries) if sustained else rate_per_s)
