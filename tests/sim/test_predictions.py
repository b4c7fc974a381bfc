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


PUSHED: dict = {
    "name": "pushed",
    "workload": {"kind": "poisson", "rate_per_s": 0.5},
    "network": {"one_way": {"kind": "constant", "mean_s": 0.25}},
    "receiver": {"service": CONSTANT_0},
    "run": {"duration_s": 2000.0, "warmup_s": 100.0, "drain_s": 10.0},
}
HELD: dict = PUSHED | {
    "provider_api": {"service": CONSTANT_0},
    "run": {"duration_s": 2000.0, "warmup_s": 100.0, "drain_s": 100.0},
}
RECONCILED: dict = PUSHED | {
    "webhook": {"retry": {"kind": "none"}},
    "reconciliation": {"interval_s": 60.0},
    "receiver": {"service": CONSTANT_0, "error_probability": 0.05},
    "run": {"duration_s": 2000.0, "warmup_s": 100.0, "drain_s": 200.0, "on_time_s": 30.0},
}
LOG: dict = {
    "name": "log",
    "workload": {"kind": "poisson", "rate_per_s": 0.5},
    "network": {"one_way": CONSTANT_0},
    "broker_pull": {"partitions": 1, "persist": CONSTANT_0, "fetch_max_wait_s": 0.0, "idle_s": 4.0},
    "receiver": {"workers": 1, "service": {"kind": "constant", "mean_s": 1.0}},
    "run": {"duration_s": 2000.0, "warmup_s": 200.0, "drain_s": 200.0},
}
LAST_VALUE = {"workload.content": "last_value", "run.warmup_s": 500.0}
SAMPLER = {
    "workload.content": "last_value",
    "polling.schedule": "fixed_delay",
    "provider_api.service": {"kind": "exponential", "mean_s": 1.0},
}
UNIFORM = {"receiver.service": {"kind": "uniform", "low_s": 0.0, "high_s": 1.0}}
ONCE = {"webhook.retry": {"kind": "none"}}
TWICE = {"webhook.retry": {"kind": "fixed", "max_attempts": 2}}
CONSTANT_1 = {"receiver.service": {"kind": "constant", "mean_s": 1.0}}
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
        ("P1", POLLED, {"network.request_loss": 0.1}, "(here network.request_loss)"),
        ("P1", POLLED, {"network.response_loss": 0.1}, "(here network.response_loss)"),
        ("P1", POLLED, {"receiver.outages": OUTAGE}, "(here receiver.outages)"),
        ("P1", POLLED, {"provider_api.rate_limit": LIMIT}, "(here provider_api.rate_limit)"),
        ("P1", POLLED, {"provider_api.retention": {"events": 300}}, "(here provider_api.retention)"),
        ("P1", POLLED, {"provider_api.feed_lag_s": 1.0}, "(here provider_api.feed_lag_s)"),
        ("P1", POLLED, {"polling.timeout_s": 0.3}, "round trip is below polling.timeout_s"),
        ("P1", POLLED, {"polling.interval_s": 0.3}, "below interval_s at a fixed rate (here 0.4 s)"),
        ("P1", POLLED, {"polling.page_size": 5}, "with probability below 1e-09 (here 0.00366 at"),
        ("P1", POLLED, {"polling.phase": "synchronised"}, "polling.phase is random"),
        ("P1", POLLED, {"receiver.service.mean_s": 0.1}, "with a worker for each event of a page"),
        ("P1", POLLED, {"run.drain_s": 0.0}, "run.drain_s covers the last events' poll"),
        ("P2", POLLED, {}, "or jitter_s is above 0 (here fixed_rate)"),
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
        ("retry", DOWN, {"receiver.outages": []}, "has one entry, not a slow one (here none)"),
        ("retry", DOWN, {"webhook.retry.jitter": "full"}, "jitter (here exponential, 6 attempts, full)"),
        ("retry", DOWN, {"webhook.retry.max_attempts": 1}, "allows two attempts or more"),
        ("retry", DOWN, {"run.duration_s": 500.0}, "the outage lies within"),
        ("retry", DOWN, {"run.drain_s": 300.0}, "run.drain_s covers the last attempt (here 300 s for 310 s)"),
        ("retry", DOWN, {"receiver.service.mean_s": 0.1}, "receiver.service is constant 0"),
        ("retry", DOWN, {"receiver.outages": [{"start_s": 100.0, "duration_s": 900.0, "kind": "black_hole"}]},
         "max_in_flight is reached, even in the outage"),
        ("attempts", LOSSY, {"network.request_loss": 0.0, "network.response_loss": 0.0}, "is above 0"),
        ("attempts", LOSSY, {"webhook.retry.max_duration_s": 5.0}, "max_duration_s is absent (here 5.0)"),
        ("attempts", LOSSY, {"receiver.outages": OUTAGE}, "(here receiver.outages)"),
        ("attempts", LOSSY, {"webhook.retry.jitter": "proportional"}, "jitter is none, full or equal"),
        ("P2", POLLED, {"polling.jitter_s": 1.0}, "so that no tick falls into it (here 0.4 s)"),
        ("P2", POLLED, EXP | {"receiver.workers": 100, "receiver.service.mean_s": 0.1}, "a worker for each"),
        ("P3", POLLED, {"polling.jitter_s": 1.0, "workload.kind": "periodic"}, "fixed_rate without jitter"),
        ("P7", POLLED, {}, "workload.content is last_value (here events)"),
        ("P7", POLLED, LAST_VALUE | {"polling.page_size": 1}, "polling.page_size is 2 or more"),
        ("P7", POLLED, LAST_VALUE | {"run.duration_s": 900.0}, "holds a thousand cycles"),
        ("freshness and age", POLLED, {}, "run.warmup_s covers 21 updates and cycles"),
        ("freshness and age", POLLED, {"receiver.service.mean_s": 0.1}, "receiver.service is constant 0"),
        ("freshness and age", POLLED, {"polling.page_size": 5}, "a page is full with probability"),
        ("age of information of a polled", POLLED, {"run.duration_s": 900.0}, "holds a thousand cycles"),
        ("age of information of a sampler", POLLED, LAST_VALUE, "polling.schedule is fixed_delay"),
        ("age of information of a samp", POLLED, SAMPLER | {"polling.timeout_s": 20.0}, "timeout_s covers"),
        ("age of information of a sampler", POLLED, SAMPLER, "run.warmup_s covers 21 updates and cycles"),
        ("freshness and ages", PUSHED, {"receiver.service.mean_s": 0.1}, "receiver.service is constant 0"),
        ("freshness and ages", PUSHED, {"run.warmup_s": 10.0}, "run.warmup_s covers 21 events and a transit"),
        ("freshness and ages", PUSHED, {"run.drain_s": 0.0}, "run.drain_s covers a webhook's transit"),
        ("freshness and ages", PUSHED, {"workload.kind": "periodic", "workload.rate_per_s": 5.0},
         "a webhook takes at most a period (here 0.25 s)"),
        ("M/G/1", QUEUED, {}, "receiver.service is not exponential"),
        ("M/G/1", QUEUED, CONSTANT_1, "receiver.workers is 1 (here 4)"),
        ("M/G/1", QUEUED, CONSTANT_1 | {"receiver.workers": 1}, "utilisation is below 1 (here 3.2)"),
        ("M/D/c", QUEUED, CONSTANT_1 | {"receiver.workers": 1}, "receiver.workers is 2 or more"),
        ("M/D/c", QUEUED, CONSTANT_1 | {"receiver.queue_limit": 3}, "receiver.queue_limit is reached"),
        ("M/D/c", QUEUED, CONSTANT_1 | {"run.drain_s": 1.0}, "cover ten relaxation times"),
        ("D/M/1", QUEUED, {}, "workload.kind is periodic, at a random phase (here poisson)"),
        ("age of information of a receiver", QUEUED, {}, "receiver.workers is 1 (here 4)"),
        ("age of information of a receiver", QUEUED, UNIFORM,
         "receiver.service is exponential, or constant and above 0 (here uniform)"),
        ("M/M/c/K", QUEUED, {}, "webhook.retry allows one attempt (here 6)"),
        ("M/M/c/K", QUEUED, ONCE, "receiver.queue_limit is at most 1000, and"),
        ("M/M/c/K", QUEUED, ONCE | {"receiver.queue_limit": 9, "run.warmup_s": 1.0},
         "cover ten relaxation times"),
        ("age of information of a pre-empting", QUEUED, {}, "receiver.discipline is preempt (here fcfs)"),
        ("L1", POLLED, {"provider_api.service.mean_s": 0.1}, "provider_api.service is constant 0"),
        ("L1", HELD, {"long_polling.timeout_s": 30.0}, "hold_s and a round trip end before"),
        ("L1", HELD, {"long_polling.intermediary_timeout_s": 30.0}, "hold_s and a round trip end before"),
        ("L1", HELD, {"polling.page_size": 1}, "a page is full"),
        ("L1", HELD, {"subscribers.count": 9}, "so that no poll queues"),
        ("L1", HELD, {"run.warmup_s": 10.0}, "run.warmup_s covers polling.interval_s"),
        ("L1", HELD, {"network.one_way.mean_s": 0.0, "long_polling.hold_s": 0.0}, "the transit is above 0"),
        ("H1", RECONCILED, {"receiver.error_probability": 0.0}, "receiver.error_probability is above 0"),
        ("H1", RECONCILED, TWICE, "allows one attempt (here 2)"),
        ("H1", RECONCILED, {"reconciliation.phase": "synchronised"}, "reconciliation.phase is random"),
        ("H1", RECONCILED, {"reconciliation.page_size": 50}, "a page of a reconciliation is full"),
        ("H1", RECONCILED, {"reconciliation.timeout_s": 0.1}, "below reconciliation.timeout_s"),
        ("H1", RECONCILED, {"run.drain_s": 10.0}, "run.drain_s covers two reconciliations"),
        ("P6", LOG, {"broker_pull.partitions": 2}, "broker_pull.partitions is 1 (here 2)"),
        ("P6", LOG, {"broker_pull.fetch_max_wait_s": 0.5}, "an empty fetch is answered at once"),
        ("P6", LOG, {"broker_pull.persist.mean_s": 0.1}, "broker_pull.persist is constant 0"),
        ("P6", LOG, {"broker_pull.rebalance_every": RANDOM}, "broker_pull.rebalance_every is absent"),
        ("P6", LOG, {"network.one_way.mean_s": 0.1}, "network.one_way is constant 0"),
        ("P6", LOG, {"receiver.service.mean_s": 2.0}, "above 0 and below 1 (here 1)"),
        ("P6", LOG, {"run.drain_s": 1.0}, "cover ten relaxation times of the queue"),
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


@pytest.mark.parametrize("document", [POLLED, QUEUED, DOWN, LOSSY, PUSHED, HELD, RECONCILED, LOG])
def test_each_of_these_scenarios_meets_a_formula(document):
    assert predicted(document, mechanism_of(document))


def mechanism_of(document: dict) -> str:
    names = {"polled": "polling", "log": "broker_pull"}
    if document in (HELD, RECONCILED):
        return "long_polling" if document == HELD else "webhook_reconciled"
    return names.get(document["name"], "webhook")


# key -> how a scenario switches on what theory leaves out
FEATURES: dict[str, dict[str, object]] = {
    "network.request_loss": {"network.request_loss": 0.1},
    "network.response_loss": {"network.response_loss": 0.1},
    "network.setup_round_trips": {"network.setup_round_trips": 2, "network.keep_alive": False},
    "subscribers.interest": {"subscribers.interest": 0.5},
    "receiver.outages": {"receiver.outages": [{"start_s": 10.0, "duration_s": 10.0, "kind": "slow"}]},
    "receiver.random_outages": {
        "receiver.outages": [],
        "receiver.random_outages": {"up": RANDOM, "down": RANDOM},
    },
    "receiver.discipline": {
        "receiver.discipline": "preempt",
        "receiver.workers": 1,
        "receiver.acknowledge": "on_receipt",
    },
    "receiver.error_probability": {"receiver.error_probability": 0.1},
    "receiver.signature_tolerance_s": {
        "receiver.signature_tolerance_s": 300.0,
        "receiver.clock_offset_s": 400.0,
    },
    "webhook.disabling": {"webhook.disabling": {"consecutive_failures": 3}},
    "webhook.redelivery": {"webhook.redelivery": {"every_s": 60.0}},
    "provider_api.outages": {"provider_api.outages": OUTAGE},
    "provider_api.random_outages": {"provider_api.random_outages": {"up": RANDOM, "down": RANDOM}},
    "provider_api.rate_limit": {"provider_api.rate_limit": LIMIT},
    "provider_api.retention": {"provider_api.retention": {"events": 300}},
    "provider_api.feed_lag_s": {"provider_api.feed_lag_s": 1.0},
    "workload.content": {"workload.content": "last_value"},
}
OF_ENDPOINTS = {
    "receiver.error_probability",
    "receiver.signature_tolerance_s",
    "webhook.disabling",
    "webhook.redelivery",
}
OF_FEEDS = {key for key in FEATURES if key.startswith("provider_api")} | {"workload.content"}
HARMLESS = {
    "webhook": OF_FEEDS,
    "polling": OF_ENDPOINTS,
    "long_polling": OF_ENDPOINTS,
    "webhook_reconciled": set(),
    "broker_pull": OF_FEEDS | OF_ENDPOINTS - {"receiver.error_probability"},
}

ONE = {"receiver.workers": 1}
PATIENT = {"run.warmup_s": 500.0}
# formula -> a scenario it holds for, and the features it is about, does not mind or cannot meet
EXAMPLES: dict[str, tuple[dict, dict[str, object], set[str]]] = {
    "P1 ": (POLLED, {}, set()),
    "P2 ": (POLLED, {"polling.schedule": "exponential"}, set()),
    "P3 ": (POLLED, {}, {"provider_api.feed_lag_s"}),
    "P5 ": (POLLED, ONE | {"receiver.service.mean_s": 0.2}, set()),
    "P7 ": (POLLED, LAST_VALUE, {"workload.content"}),
    "freshness and age of a polled": (POLLED, PATIENT, set()),
    "age of information of a polled": (POLLED, PATIENT, set()),
    "age of information of a sampler": (
        POLLED, SAMPLER | PATIENT | {"receiver.service": CONSTANT_0}, {"workload.content"},
    ),
    "freshness and ages": (PUSHED, {}, set()),
    "retry": (DOWN, {}, {"receiver.outages", "receiver.random_outages"}),
    "attempts": (
        LOSSY, {}, {"network.request_loss", "network.response_loss", "receiver.error_probability"},
    ),
    "M/M/c latency": (QUEUED, ONE | {"workload.rate_per_s": 0.5}, set()),
    "M/G/1": (QUEUED, ONE | CONSTANT_1 | {"workload.rate_per_s": 0.5}, set()),
    "M/D/c": (QUEUED, CONSTANT_1, {"receiver.discipline"}),
    "D/M/1": (QUEUED, ONE | {"workload": {"kind": "periodic", "rate_per_s": 0.5}}, set()),
    "M/M/c/K": (
        QUEUED, ONE | ONCE | {"receiver.queue_limit": 9}, set()
    ),
    "age of information of a receiver": (QUEUED, ONE | {"workload.rate_per_s": 0.5}, set()),
    "age of information of a pre-empting": (QUEUED, FEATURES["receiver.discipline"], {"receiver.discipline"}),
    "L1 ": (HELD, {}, set()),
    "H1 ": (RECONCILED, {}, {"receiver.error_probability"}),
    "P6 ": (LOG, {}, set()),
}  # fmt: skip


def formula_called(name: str) -> theory.Formula:
    (formula,) = [formula for formula in theory.FORMULAS if formula.name.startswith(name)]
    return formula


def test_every_formula_has_an_example():
    assert sorted(formula_called(name).name for name in EXAMPLES) == sorted(f.name for f in theory.FORMULAS)


@pytest.mark.parametrize(
    ("name", "key"), [(name, key) for name in EXAMPLES for key in FEATURES if key not in EXAMPLES[name][2]]
)
def test_whatever_else_is_at_work_is_refused_by_name_or_does_not_matter(name, key):
    formula, (document, change, _) = formula_called(name), EXAMPLES[name]
    plain = scenario(document, **change)
    disturbed = scenario(document, **(change | FEATURES[key]))
    if key in HARMLESS[formula.mechanism]:
        assert formula.predict(disturbed) == formula.predict(plain)
        return
    with pytest.raises(ConditionsViolated) as caught:
        formula.predict(disturbed)
    assert any(sentence.endswith(f"(here {key})") for sentence in caught.value.violated), (
        caught.value.violated
    )


@pytest.mark.parametrize(
    "workload",
    [
        {"kind": "bursty", "rate_per_s": 1.0, "dispersion": 5.0},
        {"kind": "diurnal", "rate_per_s": 1.0},
        {"kind": "batch", "rate_per_s": 1.0, "batch_mean": 3.0},
        {"kind": "trace", "path": "no-such-file.csv"},
    ],
)
@pytest.mark.parametrize("name", EXAMPLES)
def test_other_arrivals_are_refused_by_name(name, workload):
    document, change, _ = EXAMPLES[name]
    with pytest.raises(ConditionsViolated) as caught:
        formula_called(name).predict(scenario(document, **(change | {"workload": workload})))
    assert any(f"(here {workload['kind']})" in sentence for sentence in caught.value.violated)


def test_a_feature_that_a_formula_is_about_must_exist():
    from sim.theory.features import PUSHING, nothing_of

    with pytest.raises(ValueError, match=r"no such feature: receiver\.outage$"):
        nothing_of(PUSHING, but=["receiver.outage"])


def test_where_no_formula_holds_every_reason_is_given():
    with pytest.raises(ConditionsViolated) as caught:
        theory.predict(scenario(POLLED, **{"subscribers.count": 9}), "polling")
    for formula in theory.FORMULAS:
        assert (f"{formula.name} needs " in str(caught.value)) == (formula.mechanism == "polling")


def test_a_mechanism_without_closed_forms_is_bad_input():
    with pytest.raises(InputError, match="no closed form is known for mechanism 'pigeon'"):
        theory.predict(scenario(POLLED), "pigeon")


@given(
    kind=st.sampled_from(["constant", "uniform", "exponential", "lognormal", "gamma", "pareto", "empirical"]),
    where=st.sampled_from(["receiver.service", "network.one_way", "provider_api.service"]),
    document=st.sampled_from([POLLED, QUEUED, DOWN, LOSSY, PUSHED, HELD, RECONCILED, LOG]),
    workload=st.sampled_from(["poisson", "periodic", "trace"]),
    mechanism=st.sampled_from(sorted(HARMLESS)),
    schedule=st.sampled_from(["fixed_rate", "fixed_delay", "exponential"]),
    content=st.sampled_from(["events", "last_value"]),
)
def test_any_scenario_is_predicted_or_refused(kind, where, document, workload, mechanism, schedule, content):
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
    source |= {"content": content}
    changed = scenario(document, **{where: spec, "workload": source, "polling.schedule": schedule})
    try:
        predictions = theory.predict(changed, mechanism)
    except ConditionsViolated as error:
        violated = error.violated
        assert violated
    else:
        assert all(math.isfinite(p.value) for p in predictions)
