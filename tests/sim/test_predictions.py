"""Protects: theory speaks of the scenarios it holds for, and refuses all others by name.

A formula's conditions are checked against a scenario; each is broken here once, and its sentence looked for.
"""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim import theory
from sim.errors import ConditionsViolated, InputError
from sim.scenario import Scenario, scenario_from
from sim.theory import MMc

CONSTANT_0 = {"kind": "constant", "mean_s": 0.0}
POLLED: dict = {
    "name": "polled",
    "workload": {"kind": "poisson", "rate_per_s": 0.1},
    "network": {"one_way": {"kind": "constant", "mean_s": 0.1}},
    "polling": {"interval_s": 10.0},
    "receiver": {"service": {"kind": "constant", "mean_s": 0.0}},
    "provider_api": {"service": {"kind": "constant", "mean_s": 0.2}},
    "run": {"duration_s": 20_000.0, "warmup_s": 100.0, "drain_s": 300.0},
}
QUEUED: dict = {
    "name": "queued",
    "workload": {"kind": "poisson", "rate_per_s": 3.2},
    "network": {"one_way": {"kind": "constant", "mean_s": 0.25}},
    "receiver": {
        "workers": 4,
        "service": {"kind": "exponential", "mean_s": 1.0},
        "queue_limit": 1000,
        "acknowledge": "on_receipt",
    },
    "run": {"duration_s": 20_000.0, "warmup_s": 1000.0, "drain_s": 1000.0},
}
DOWN: dict = {
    "name": "down",
    "workload": {"kind": "poisson", "rate_per_s": 1.0},
    "network": {"one_way": CONSTANT_0},
    "webhook": {"retry": {"kind": "exponential", "base_s": 10.0, "factor": 2.0, "max_attempts": 6}},
    "receiver": {"service": CONSTANT_0, "outages": [{"start_s": 100.0, "duration_s": 900.0}]},
    "run": {"duration_s": 2000.0, "drain_s": 400.0},
}
LOSSY: dict = {
    "name": "lossy",
    "workload": {"kind": "poisson", "rate_per_s": 1.0},
    "network": {"one_way": CONSTANT_0, "request_loss": 0.1, "response_loss": 0.05},
    "webhook": {
        "timeout_s": 1.0,
        "retry": {"kind": "fixed", "base_s": 1.0, "max_attempts": 4, "jitter": "full"},
    },
    "receiver": {"service": CONSTANT_0},
    "run": {"duration_s": 2000.0, "drain_s": 60.0},
}


def scenario(document: dict, **changes: object) -> Scenario:
    return scenario_from(document).with_values(**changes)


def predicted(document: dict, mechanism: str, **changes: object) -> dict[str, float]:
    predictions = theory.predict(scenario(document, **changes), mechanism)
    assert len({p.metric for p in predictions}) == len(predictions)  # no metric promised twice
    return {p.metric: p.value for p in predictions}


def test_polling_is_predicted_with_its_way_back():
    values = predicted(POLLED, "polling")
    assert values["latency_mean_s"] == pytest.approx(5 + 0.2 + 0.1)
    assert values["latency_p95_s"] == pytest.approx(9.5 + 0.2 + 0.1)
    assert values["empty_ratio"] == pytest.approx(math.exp(-1))
    assert values["requests_per_event"] == pytest.approx(1.0)


def test_fixed_delay_cycles_are_longer_by_the_round_trip():
    values = predicted(POLLED, "polling", **{"polling.schedule": "fixed_delay"})
    assert values["latency_mean_s"] == pytest.approx((10 + 0.4) / 2 + 0.3)


def test_periodic_events_are_predicted_unless_they_lock():
    change = {"workload.kind": "periodic", "workload.rate_per_s": 1 / (10 * math.pi)}
    values = predicted(POLLED, "polling", **change)
    assert values["empty_ratio"] == pytest.approx(1 - 1 / math.pi)
    assert values["latency_mean_s"] == pytest.approx(5.3)
    assert "latency_p95_s" not in values  # their phases lie on a lattice, and so do a run's quantiles
    locked = scenario(POLLED, **{"workload.kind": "periodic", "workload.rate_per_s": 0.025})
    with pytest.raises(ConditionsViolated, match=r"do not lock to the polls.*\(here 0\.25\)"):
        theory.FORMULAS[0].predict(locked)


def test_a_single_worker_serves_the_batch():
    change = {"receiver.workers": 1, "receiver.service.mean_s": 0.2, "workload.rate_per_s": 0.3}
    values = predicted(POLLED, "polling", **change, **{"polling.interval_s": 20.0})
    assert values["latency_mean_s"] == pytest.approx(10.8 + 0.3)


def test_a_queueing_receiver_is_predicted_with_its_transit():
    values, queue = predicted(QUEUED, "webhook"), MMc(4, 3.2, 1.0)
    assert values["latency_mean_s"] == pytest.approx(1.745541 + 0.25, rel=1e-6)
    assert values["latency_p99_s"] == pytest.approx(queue.sojourn_quantile_s(0.99) + 0.25)
    assert values["receiver_utilisation"] == pytest.approx(0.8)


def test_an_outage_is_predicted_over_the_whole_window():
    values = predicted(DOWN, "webhook")
    lost = (900 - 310) / 2000
    assert values["lost_ratio"] == pytest.approx(lost)
    assert values["latency_mean_s"] == pytest.approx(310 / 2000 * 210 / (1 - lost))


def test_losses_are_predicted():
    values = predicted(LOSSY, "webhook")
    assert values["attempts_per_event"] == pytest.approx(1.169074, rel=1e-6)
    assert values["duplicates_per_event"] == pytest.approx(0.052266, rel=1e-4)
    assert values["lost_ratio"] == pytest.approx(1e-4)


LIMIT = {"requests": 10, "per_s": 60.0}
EXP = {"polling.schedule": "exponential"}
RANDOM = {"kind": "exponential", "mean_s": 1.0}
OUTAGE = [{"start_s": 10.0, "duration_s": 10.0}]


@pytest.mark.parametrize(
    ("name", "document", "change", "named"),
    [
        ("P1", POLLED, {"polling.schedule": "fixed_delay"}, "schedule is fixed_rate (here fixed_delay)"),
        ("P1", POLLED, {"polling.jitter_s": 1.0}, "polling.jitter_s is 0 (here 1.0)"),
        ("P1", POLLED, {"network.one_way": RANDOM}, "one_way is constant (here exp"),
        ("P1", POLLED, {"provider_api.service": RANDOM}, "provider_api.service is"),
        ("P1", POLLED, {"subscribers.count": 9}, "so that no poll queues (here 8 for 9)"),
        ("P1", POLLED, {"network.request_loss": 0.1}, "response_loss are 0 (here 0.1 and 0.0)"),
        ("P1", POLLED, {"network.response_loss": 0.1}, "response_loss are 0 (here 0.0 and 0.1)"),
        ("P1", POLLED, {"receiver.outages": OUTAGE}, "receiver.outages is empty (here 1 of them)"),
        ("P1", POLLED, {"provider_api.rate_limit": LIMIT}, "provider_api.rate_limit is absent"),
        ("P1", POLLED, {"provider_api.retention": {"events": 300}}, "provider_api.retention is absent"),
        ("P1", POLLED, {"provider_api.feed_lag_s": 1.0}, "provider_api.feed_lag_s is 0 (here 1.0)"),
        ("P1", POLLED, {"polling.timeout_s": 0.3}, "round trip is below polling.timeout_s"),
        ("P1", POLLED, {"polling.interval_s": 0.3}, "below interval_s at a fixed rate (here 0.4 s)"),
        ("P1", POLLED, {"polling.page_size": 5}, "with probability below 1e-09 (here 0.00366 at"),
        ("P1", POLLED, {"polling.phase": "synchronised"}, "polling.phase is random"),
        ("P1", POLLED, {"receiver.service.mean_s": 0.1}, "with a worker for each event of a page"),
        ("P1", POLLED, {"run.drain_s": 0.0}, "run.drain_s covers the last events' poll"),
        ("P2", POLLED, {}, "polling.schedule is fixed_delay or exponential (here fixed_rate)"),
        ("P2", POLLED, EXP | {"run.warmup_s": 0.0}, "warmup_s covers the first poll"),
        ("P2", POLLED, EXP | {"run.duration_s": 900.0}, "holds a thousand cycles"),
        ("P3", POLLED, {"run.warmup_s": 0.0}, "run.warmup_s covers the first poll (here 0 s)"),
        ("P5", POLLED, {}, "receiver.workers is 1 (here 4)"),
        ("P5", POLLED, {"receiver.workers": 1}, "receiver.service is constant and above 0"),
        ("P5", POLLED, {"receiver.workers": 1, "receiver.service.mean_s": 3.0}, "outlasts the poll"),
        ("M/M/c", QUEUED, {"workload.kind": "periodic"}, "workload.kind is poisson (here periodic)"),
        ("M/M/c", QUEUED, {"receiver.service": CONSTANT_0}, "service is exponential (here constant)"),
        ("M/M/c", QUEUED, {"receiver.acknowledge": "after_processing"}, "receiver.acknowledge is on_receipt"),
        ("M/M/c", QUEUED, {"receiver.workers": 3}, "utilisation is below 1 (here 1.06667)"),
        ("M/M/c", QUEUED, {"receiver.queue_limit": 10}, "receiver.queue_limit is reached"),
        ("M/M/c", QUEUED, {"webhook.max_in_flight": 3}, "webhook.max_in_flight is reached"),
        ("M/M/c", QUEUED, {"webhook.timeout_s": 0.4}, "a webhook's round trip is below webhook.timeout_s"),
        ("M/M/c", QUEUED, {"run.warmup_s": 10.0}, "warmup_s and drain_s cover ten relaxation times"),
        ("retry", DOWN, {"receiver.outages": []}, "receiver.outages has one entry (here 0 of them)"),
        ("retry", DOWN, {"webhook.retry.jitter": "full"}, "jitter (here exponential, 6 attempts, full)"),
        ("retry", DOWN, {"webhook.retry.max_attempts": 1}, "allows two attempts or more"),
        ("retry", DOWN, {"run.duration_s": 500.0}, "the outage lies within"),
        ("retry", DOWN, {"run.drain_s": 300.0}, "run.drain_s covers the last attempt (here 300 s for 310 s)"),
        ("retry", DOWN, {"receiver.service.mean_s": 0.1}, "receiver.service is constant 0"),
        ("retry", DOWN, {"receiver.outages": [{"start_s": 100.0, "duration_s": 900.0, "kind": "black_hole"}]},
         "max_in_flight is reached, even in the outage"),
        ("attempts", LOSSY, {"network.request_loss": 0.0, "network.response_loss": 0.0}, "is above 0"),
        ("attempts", LOSSY, {"webhook.retry.max_duration_s": 5.0}, "max_duration_s is absent (here 5.0)"),
        ("attempts", LOSSY, {"receiver.outages": OUTAGE}, "receiver.outages is empty"),
        ("attempts", LOSSY, {"webhook.max_in_flight": 10}, "is reached, were every attempt lost"),
        ("attempts", LOSSY, {"run.drain_s": 5.0}, "run.drain_s covers the last attempt's timeout"),
    ],
)  # fmt: skip
def test_a_scenario_outside_a_formula_s_conditions_is_refused_by_name(name, document, change, named):
    formula = next(formula for formula in theory.FORMULAS if formula.name.startswith(name))
    with pytest.raises(ConditionsViolated) as caught:
        formula.predict(scenario(document, **change))
    assert any(named in sentence for sentence in caught.value.violated), caught.value.violated
    assert caught.value.formula == formula.name
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("document", [POLLED, QUEUED, DOWN, LOSSY])
def test_each_of_these_scenarios_meets_a_formula(document):
    mechanism = "polling" if document is POLLED else "webhook"
    assert predicted(document, mechanism)


def test_where_no_formula_holds_every_reason_is_given():
    with pytest.raises(ConditionsViolated) as caught:
        theory.predict(scenario(POLLED, **{"polling.jitter_s": 2.0}), "polling")
    for formula in theory.FORMULAS:
        named = f"{formula.name} needs polling.jitter_s is 0" in str(caught.value)
        assert named == (formula.mechanism == "polling")


def test_a_mechanism_without_closed_forms_is_bad_input():
    with pytest.raises(InputError, match="no closed form is known for mechanism 'pigeon'"):
        theory.predict(scenario(POLLED), "pigeon")


@given(
    kind=st.sampled_from(["constant", "uniform", "exponential", "lognormal", "gamma", "pareto", "empirical"]),
    where=st.sampled_from(["receiver.service", "network.one_way", "provider_api.service"]),
    document=st.sampled_from([POLLED, QUEUED, DOWN, LOSSY]),
    workload=st.sampled_from(["poisson", "periodic", "trace"]),
    mechanism=st.sampled_from(["webhook", "polling"]),
    schedule=st.sampled_from(["fixed_rate", "fixed_delay", "exponential"]),
)
def test_any_scenario_is_predicted_or_refused(kind, where, document, workload, mechanism, schedule):
    """A condition never stumbles over a scenario of a sort it was not written for."""
    spec = {"kind": kind} | {
        "uniform": {"low_s": 0.0, "high_s": 1.0},
        "empirical": {"values_s": [1.0, 2.0]},
        "constant": {"mean_s": 0.5},
        "exponential": {"mean_s": 0.5},
    }.get(kind, {"mean_s": 0.5, "cv": 1.0})
    source = (
        {"kind": "trace", "path": "no-such-file.csv"}
        if workload == "trace"
        else {"kind": workload, "rate_per_s": 1.0}
    )
    changed = scenario(document, **{where: spec, "workload": source, "polling.schedule": schedule})
    try:
        predictions = theory.predict(changed, mechanism)
    except ConditionsViolated as error:
        violated = error.violated
        assert violated
    else:
        assert all(math.isfinite(p.value) for p in predictions)
