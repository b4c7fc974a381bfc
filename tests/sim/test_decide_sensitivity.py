"""Protects what a verdict hangs on: which values are varied, how, and that what is skipped is idle."""

from __future__ import annotations

from typing import Any

import pytest

from sim.catalogue import MECHANISMS
from sim.decide.sensitivity import FACTORS, assumed_keys, concerns, scaled, sensitivity
from sim.decide.tuning import Candidate
from sim.errors import ScenarioError
from sim.scenario import Scenario, load_scenario, preset_names
from tests.sim.deciding import bounds, evaluating, small

METRICS = ("latency_p95_s", "requests_per_event", "lost_ratio")


def at(scenario: Scenario, dotted: str) -> Any:
    value: Any = scenario.model_dump()
    for key in dotted.split("."):
        value = value[key]
    return value


@pytest.mark.parametrize(
    ("value", "factor", "expected"),
    [
        (3.0, 2.0, 6.0),
        (4, 0.5, 2),
        (1, 0.5, None),
        (1, 2.0, 2),
        (0.0, 2.0, None),
        (True, 2.0, None),
        ("poisson", 2.0, None),
        (None, 2.0, None),
        (
            {"kind": "lognormal", "mean_s": 0.2, "cv": 1.5},
            0.5,
            {"kind": "lognormal", "mean_s": 0.1, "cv": 1.5},
        ),
        (
            {"kind": "uniform", "low_s": 1.0, "high_s": 2.0},
            2.0,
            {"kind": "uniform", "low_s": 2.0, "high_s": 4.0},
        ),
        (
            {"kind": "empirical", "values_s": [1.0, 3.0]},
            2.0,
            {"kind": "empirical", "values_s": [2.0, 6.0]},
        ),
        ({"kind": "constant", "mean_s": 0.0}, 2.0, None),
        ([5.0, 60.0], 2.0, [10.0, 120.0]),
        ([0.0], 2.0, None),
        (
            [{"start_s": 5.0, "duration_s": 10.0, "kind": "refuse"}],
            2.0,
            [{"start_s": 5.0, "duration_s": 20.0, "kind": "refuse"}],
        ),
    ],
)
def test_amounts_are_multiplied_and_nothing_else(value: Any, factor: float, expected: Any) -> None:
    found = scaled("key", value, factor)
    assert (None if found is None else found[0]["key"]) == expected


@pytest.mark.parametrize("name", preset_names())
def test_the_assumed_amounts_of_a_preset_are_varied_and_no_published_one(name: str) -> None:
    scenario = load_scenario(name)
    keys = assumed_keys(scenario)
    assert keys
    assert all(scenario.sources[key].assumed for key in keys)
    assert not [key for key in keys if key.startswith("run.") or key == "polling.interval_s"]
    tried, refused = 0, set()
    for key in keys:
        for factor in FACTORS:
            found = scaled(key, at(scenario, key), factor)
            if found is not None:
                tried += 1
                try:
                    scenario.with_values(**found[0])
                except ScenarioError:
                    refused.add(key)
    assert tried >= len(keys)
    assert refused <= {"workload.amplitude", "webhook.redelivery.rounds"}, "shares, and what is at its most"


VARIED = {
    "webhook.timeout_s": 0.05,
    "webhook.max_in_flight": 1,
    "receiver.queue_limit": 0,
    "receiver.signature_tolerance_s": 0.001,
    "polling.page_size": 1,
    "provider_api.service.mean_s": 0.3,
    "provider_api.workers": 1,
    "provider_api.feed_lag_s": 3.0,
    "thin_webhook.notification_bytes": 7,
    "reconciliation.timeout_s": 0.01,
    "conditional_polling.not_modified_bytes": 7,
    "adaptive_polling.increase_s": 1.0,
    "long_polling.gap_s": 2.0,
    "streaming.frame_bytes": 9,
    "broker_push.prefetch": 1,
    "broker_pull.idle_s": 1.0,
}


@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_what_does_not_concern_a_mechanism_changes_none_of_its_metrics(mechanism: str) -> None:
    scenario = small(run={"duration_s": 600.0, "on_time_s": 1.0})
    idle = {key: value for key, value in VARIED.items() if not concerns(key, mechanism)}
    assert idle
    with evaluating(scenario, replications=1) as evaluator:
        before, after = evaluator(mechanism, {}), evaluator(mechanism, idle)
    for kind in ("metrics", "judged"):
        assert getattr(before.runs[0], kind) == pytest.approx(
            getattr(after.runs[0], kind), nan_ok=True, abs=0
        )


def test_what_flips_the_verdict_is_found_and_what_does_not_is_not() -> None:
    """Polling every 9 s has a p95 of 0.95 · 9 s and a second of the API's; webhooks need no API."""
    document = small(
        provider_api={"service": {"kind": "constant", "mean_s": 1.0}},
        workload={"kind": "poisson", "rate_per_s": 0.5},
        sources={
            "provider_api.service": {"source": "guessed", "assumed": True},
            "workload.rate_per_s": {"source": "measured"},
            "webhook.timeout_s": {"source": "guessed", "assumed": True},
        },
        webhook={"timeout_s": 10.0},
    )
    asked = bounds("latency_p95_s<10.1")
    with evaluating(document, replications=3) as evaluator:
        candidates = [
            Candidate("polling", evaluator("polling", {"polling.interval_s": 9.0})),
            Candidate("webhook", evaluator("webhook", {})),
        ]
        found = sensitivity(candidates, evaluator, asked, METRICS, 3)
    assert set(found.asked) == {"provider_api.service", "webhook.timeout_s"}
    (flip,) = found.flips
    assert (flip.key, flip.factor, flip.before, flip.first) == (
        "provider_api.service",
        2.0,
        "polling",
        "webhook",
    )
    assert list(flip.fails) == ["polling"]
    assert "doubled" in flip.sentence()


def test_a_value_that_a_scenario_refuses_is_said_to_be_impossible() -> None:
    scenario = small(
        network={"request_loss": 0.7, "one_way": {"kind": "constant", "mean_s": 0.02}},
        sources={"network.request_loss": {"source": "guessed", "assumed": True}},
    )
    with evaluating(scenario, replications=2) as evaluator:
        candidates = [Candidate("webhook", evaluator("webhook", {}))]
        found = sensitivity(candidates, evaluator, bounds("latency_p95_s<9"), METRICS, 2)
    assert list(found.impossible) == ["network.request_loss × 2"]
