"""Protects: brokers compute what queueing theory says where it says something.

How sure is said in `test_model_against_theory`, whose intervals are used here.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from sim.engine import simulate
from sim.scenario import Scenario, scenario_from
from tests.sim.test_model_against_theory import agree

SEED = 20_240_613


def constant(mean_s: float) -> dict[str, Any]:
    return {"kind": "constant", "mean_s": mean_s}


def brokered(
    rate_per_s: float, service_s: float, one_way_s: float, duration_s: float, **tables: dict[str, Any]
) -> Scenario:
    document: dict[str, dict[str, Any]] = {
        "workload": {"kind": "poisson", "rate_per_s": rate_per_s},
        "network": {"one_way": constant(one_way_s)},
        "receiver": {"workers": 1, "service": constant(service_s)},
        "broker_push": {"persist": constant(0.0)},
        "broker_pull": {"persist": constant(0.0), "partitions": 1},
        "run": {"duration_s": duration_s + 1000.0, "warmup_s": 1000.0, "drain_s": 1000.0},
    }
    return scenario_from(
        {"name": "brokered"} | {name: table | tables.get(name, {}) for name, table in document.items()}
    )


def latencies(scenario: Scenario, mechanism: str, seed: int, replications: int = 30) -> list[float]:
    outcome = simulate(scenario, [mechanism], seed=seed, replications=replications, records=False)
    return outcome.metrics[mechanism]["latency_mean_s"]


def test_p6_a_log_asked_at_leisure_is_a_queue_with_vacations() -> None:
    """M/G/1 with vacations: W_q = λE[S²]/(2(1 − ρ)) + E[V²]/(2E[V]) (Doshi, Queueing Systems 1, 1986).

    A consumer that finds nothing stays away for T = 4 s; λ = 0.5, S = 1: 0.5 + 2 = 2.5 s, and 1 of service.
    """
    scenario = brokered(
        0.5, 1.0, 0.0, 20_000.0, broker_pull={"fetch_max_wait_s": 0.0, "idle_s": 4.0, "max_records": 3}
    )
    agree(latencies(scenario, "broker_pull", SEED), 2.5 + 1.0, 0.01)


def test_a_log_asked_with_patience_is_a_plain_queue() -> None:
    """Held for ever and nothing on the way: M/D/1, W_q = λS²/(2(1 − ρ)) = 0.5."""
    scenario = brokered(0.5, 1.0, 0.0, 20_000.0, broker_pull={"fetch_max_wait_s": 1e6})
    agree(latencies(scenario, "broker_pull", SEED + 1), 1.5, 0.015)


def test_one_message_at_a_time_is_a_queue_whose_service_includes_the_round_trip() -> None:
    """Prefetch 1: the slot is busy for S' = d + S + d = 1 s, so W_q = λS'²/(2(1 − λS')) = 0.5.

    Latency is publishing, that wait, the way to the consumer and the service: 0.25 + 0.5 + 0.25 + 0.5.
    """
    scenario = brokered(0.5, 0.5, 0.25, 20_000.0, broker_push={"prefetch": 1})
    agree(latencies(scenario, "broker_push", SEED + 2), 1.5, 0.01)


def test_prefetching_enough_hides_the_round_trip() -> None:
    """M/D/1 with S = 0.5 at the consumer: W_q = 0.5·0.25/(2·0.75) = 1/12; and 0.25 + 0.25 + 0.5."""
    scenario = brokered(0.5, 0.5, 0.25, 20_000.0, broker_push={"prefetch": 10_000})
    agree(latencies(scenario, "broker_push", SEED + 3), 1.0 + 1.0 / 12.0, 0.01)


@pytest.mark.parametrize("mechanism", ["broker_push", "broker_pull"])
def test_independent_failures_up_to_a_limit(mechanism: str) -> None:
    """Failing with p = 0.3, three deliveries at the most: (1 − p³)/(1 − p) = 1.39 copies, p³ = 0.027 lost."""
    scenario = brokered(
        5.0, 0.01, 0.0, 3000.0,
        receiver={"error_probability": 0.3},
        broker_push={"max_deliveries": 3},
        broker_pull={"max_deliveries": 3},
    )  # fmt: skip
    outcome = simulate(scenario, [mechanism], seed=SEED + 4, replications=30)
    metrics = outcome.metrics[mechanism]
    windowed = [d.copies[d.created >= scenario.run.warmup_s] for d in outcome.deliveries[mechanism]]
    agree([float(np.mean(copies)) for copies in windowed], 1.39, 0.005)
    agree(metrics["lost_ratio"], 0.027, 0.05)
    assert max(metrics["pending_ratio"]) == 0
