"""Protects the promise that the compiled engine gives the same answers as the readable models.

Records and integer counters must be bit-identical, float integrals equal to 1e-9 relative, on
generated scenarios full of simultaneous happenings; and no delivery may appear or vanish.
"""

from __future__ import annotations

from dataclasses import asdict, fields
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sim.engine import MECHANISMS, run_once
from sim.records import Counters, Status
from sim.scenario import Scenario, scenario_from
from sim.workload import event_times
from tests.sim.generated import calm_scenarios, scenarios

INTEGER_COUNTERS = [field.name for field in fields(Counters) if field.type == "int | None"]
FLOAT_COUNTERS = [field.name for field in fields(Counters) if field.type == "float | None"]
RECORD_ARRAYS = ("first_attempt", "visible", "attempts", "copies", "via", "status")


def assert_engines_agree(scenario: Scenario, mechanism: str, seed: int) -> None:
    created = event_times(scenario, seed)
    fast = run_once(scenario, mechanism, created, seed, "fast")
    reference = run_once(scenario, mechanism, created, seed, "simpy")
    for name in RECORD_ARRAYS:
        np.testing.assert_array_equal(
            getattr(fast.deliveries, name), getattr(reference.deliveries, name), err_msg=name
        )
    np.testing.assert_array_equal(fast.series, reference.series)
    counted, expected = asdict(fast.counters), asdict(reference.counters)
    assert {n: counted[n] for n in INTEGER_COUNTERS} == {n: expected[n] for n in INTEGER_COUNTERS}
    for name in FLOAT_COUNTERS:
        assert counted[name] == pytest.approx(expected[name], rel=1e-9, abs=1e-9), name
    status = reference.deliveries.status
    assert np.isin(status, list(Status)).all()
    assert ((status == Status.DELIVERED) == ~np.isnan(reference.deliveries.visible)).all()


@pytest.mark.parametrize("mechanism", MECHANISMS)
@settings(max_examples=120, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(scenario=scenarios(), seed=st.integers(0, 2**63 - 1))
def test_same_records_and_counters(mechanism: str, scenario: Scenario, seed: int) -> None:
    assert_engines_agree(scenario, mechanism, seed)


CALM = ("webhook", "webhook_reconciled", "polling", "conditional_polling")


@pytest.mark.parametrize("mechanism", CALM)
@settings(max_examples=150, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(scenario=calm_scenarios(), seed=st.integers(0, 2**63 - 1))
def test_same_records_and_counters_where_nothing_disturbs(
    mechanism: str, scenario: Scenario, seed: int
) -> None:
    assert_engines_agree(scenario, mechanism, seed)


@pytest.mark.slow
@pytest.mark.parametrize("mechanism", MECHANISMS)
@settings(max_examples=2000, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(scenario=scenarios(), seed=st.integers(0, 2**63 - 1))
def test_same_records_and_counters_at_length(mechanism: str, scenario: Scenario, seed: int) -> None:
    assert_engines_agree(scenario, mechanism, seed)


def instant(**tables: dict[str, Any]) -> Scenario:
    """Nothing takes any time, so that whole stories happen at one instant; other tables stand as given."""
    nothing = {"kind": "constant", "mean_s": 0.0}
    return scenario_from(
        {
            "name": "instant",
            "workload": {"kind": "periodic", "rate_per_s": 4.0, "phase": "synchronised"},
            "subscribers": {"count": 2},
            "network": {"one_way": nothing},
            "webhook": {"max_in_flight": 1, "retry": {"kind": "schedule", "gaps_s": [0.0, 0.25]}},
            "receiver": {"workers": 1, "service": nothing, "error_probability": 0.3},
            "provider_api": {"workers": 1, "service": nothing},
            "run": {"duration_s": 30.0},
        }
        | tables
    )


@pytest.mark.parametrize("seed", range(10))
def test_polls_and_webhooks_that_meet_at_an_instant(seed: int) -> None:
    """Found by reasoning: a page that follows a tick without delay comes after the webhooks before it."""
    poll = {"interval_s": 0.25, "phase": "synchronised", "page_size": 1}
    assert_engines_agree(instant(reconciliation=poll), "webhook_reconciled", seed)


@pytest.mark.parametrize("seed", range(10))
def test_notifications_and_fetches_that_meet_at_an_instant(seed: int) -> None:
    """Found by generation: of events created together, one is let in at its second try, after the others."""
    batches = {"kind": "batch", "rate_per_s": 2.0, "batch_mean": 4.0, "batch_size": "constant"}
    for api_s in (0.0, 0.25):
        api = {"workers": 1, "service": {"kind": "constant", "mean_s": api_s}}
        assert_engines_agree(instant(workload=batches, provider_api=api), "thin_webhook", seed)


def test_pages_that_arrive_at_one_instant_are_taken_in_one_after_another() -> None:
    """Found by generation: with no transit and no service, full pages chain at a single instant."""
    scenario = scenario_from(
        {
            "name": "instant",
            "workload": {"kind": "periodic", "rate_per_s": 1.0},
            "network": {"one_way": {"kind": "constant", "mean_s": 0.0}},
            "polling": {"interval_s": 10.0, "page_size": 1},
            "receiver": {"workers": 1, "service": {"kind": "constant", "mean_s": 0.0}},
            "provider_api": {"service": {"kind": "constant", "mean_s": 0.0}},
            "run": {"duration_s": 60.0},
        }
    )
    assert_engines_agree(scenario, "polling", 0)


@pytest.mark.parametrize("acknowledge", ["after_processing", "on_receipt"])
@pytest.mark.parametrize("mechanism", ["broker_push", "broker_pull"])
def test_long_queues_and_many_messages_under_way(mechanism: str, acknowledge: str) -> None:
    """What generated worlds are too small for: hundreds of messages out, waiting, answered and put back."""
    scenario = scenario_from(
        {
            "name": "crowded",
            "workload": {"kind": "batch", "rate_per_s": 40.0, "batch_mean": 300.0},
            "network": {"one_way": {"kind": "exponential", "mean_s": 2.0}},
            "broker_push": {"prefetch": 500, "lifetime": {"kind": "exponential", "mean_s": 8.0}},
            "broker_pull": {"rebalance_every": {"kind": "exponential", "mean_s": 8.0}},
            "receiver": {
                "workers": 3,
                "service": {"kind": "exponential", "mean_s": 0.05},
                "acknowledge": acknowledge,
                "error_probability": 0.1,
                "random_outages": {
                    "up": {"kind": "exponential", "mean_s": 20.0},
                    "down": {"kind": "exponential", "mean_s": 1.0},
                },
            },
            "run": {"duration_s": 60.0, "drain_s": 30.0},
        }
    )
    assert_engines_agree(scenario, mechanism, 5)
    redelivered = run_once(scenario, mechanism, event_times(scenario, 5), 5).counters.redeliveries
    assert redelivered is not None
    assert redelivered > 200 or (mechanism == "broker_push" and acknowledge == "on_receipt")
