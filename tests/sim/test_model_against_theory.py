"""Protects: the models compute what the closed forms say, wherever a closed form exists.

How sure. Each check takes one value a replication (independent seeds, fixed here) and asks that theory lie
within their two-sided Student-t interval at confidence 1 − 1e-4. With fewer than a hundred checks, a set of
seeds would fail a correct model with probability below 1 %; these seeds are fixed, so the outcome is
reproducible. No tolerance is chosen by hand. Each check also states a resolution and requires the
interval's half-width to be below that share of theory, so that a model whose mean over these replications is
off by more than the resolution cannot pass.
"""

from functools import lru_cache

import numpy as np
import pytest

from sim import theory
from sim.distributions import service_times
from sim.engine import Outcome, simulate
from sim.experiment import estimate
from sim.randomness import replication_seed
from sim.scenario import Scenario, scenario_from
from sim.theory import AtLeastOnce, MMc

LEVEL = 1e-4
SEED = 20_240_501

NOTHING = {"kind": "constant", "mean_s": 0.0}
INSTANT = {
    "network": {"one_way": NOTHING},
    "receiver": {"service": NOTHING},
    "provider_api": {"service": NOTHING},
}


def agree(values: list[float] | np.ndarray, expected: float, resolution: float) -> None:
    """Theory lies within the interval, and the interval is narrow enough to mean something."""
    found = estimate(list(values), confidence=1 - LEVEL)
    assert found.low is not None
    assert found.high is not None
    assert found.low <= expected <= found.high, (
        f"theory {expected:.6g}, model {found.low:.6g} … {found.high:.6g}"
    )
    resolved = (found.high - found.low) / 2 / abs(expected)
    assert resolved < resolution, (
        f"too vague: the half-width is {resolved:.2%} of theory, not {resolution:.2%}"
    )


def polled(rate_per_s: float, interval_s: float, duration_s: float, **changes: object) -> Scenario:
    document = INSTANT | {
        "name": "polled",
        "workload": {"kind": "poisson", "rate_per_s": rate_per_s},
        "polling": {"interval_s": interval_s, "page_size": 1000},
        "run": {
            "duration_s": duration_s + 4 * interval_s,
            "warmup_s": 4 * interval_s,
            "drain_s": 30 * interval_s,
        },
    }
    return scenario_from(document).with_values(**changes)


def queued(workers: int, rate_per_s: float, duration_s: float, **changes: object) -> Scenario:
    document = INSTANT | {
        "name": "queued",
        "workload": {"kind": "poisson", "rate_per_s": rate_per_s},
        "receiver": {
            "workers": workers,
            "service": {"kind": "exponential", "mean_s": 1.0},
            "queue_limit": 10_000,
            "acknowledge": "on_receipt",
        },
        "run": {"duration_s": duration_s + 1000.0, "warmup_s": 1000.0, "drain_s": 1000.0},
    }
    return scenario_from(document).with_values(**changes)


def down(outage_s: float, **changes: object) -> Scenario:
    document = INSTANT | {
        "name": "down",
        "workload": {"kind": "poisson", "rate_per_s": 20.0},
        "webhook": {
            "retry": {"kind": "exponential", "base_s": 10.0, "factor": 2.0, "max_attempts": 6},
            "max_in_flight": 100_000,
        },
        "receiver": {"service": NOTHING, "outages": [{"start_s": 100.0, "duration_s": outage_s}]},
        "run": {"duration_s": outage_s + 300.0, "warmup_s": 50.0, "drain_s": 500.0},
    }
    return scenario_from(document).with_values(**changes)


def lossy(request_loss: float, response_loss: float, attempts: int, **changes: object) -> Scenario:
    document = INSTANT | {
        "name": "lossy",
        "workload": {"kind": "poisson", "rate_per_s": 10.0},
        "network": {"one_way": NOTHING, "request_loss": request_loss, "response_loss": response_loss},
        "webhook": {
            "timeout_s": 1.0,
            "retry": {"kind": "fixed", "base_s": 1.0, "max_attempts": attempts, "jitter": "full"},
            "max_in_flight": 1000,
        },
        "run": {"duration_s": 5000.0, "drain_s": 100.0},
    }
    return scenario_from(document).with_values(**changes)


TRANSIT = {"network.one_way": {"kind": "constant", "mean_s": 1.25}}
AFAR = TRANSIT | {"provider_api.service": {"kind": "constant", "mean_s": 0.5}}
ONE_WORKER = {"receiver.workers": 1, "receiver.service.mean_s": 0.2}
GOLDEN = (1 + 5**0.5) / 2  # the ratio farthest from every ratio of integers: phases cannot lock
PERIODIC = {"workload.kind": "periodic"}

# case -> scenario, mechanism, replications, predicted metric -> resolution
CASES: dict[str, tuple[Scenario, str, int, dict[str, float]]] = {
    "P1, P3, P4 at T = 10": (
        polled(0.1, 10.0, 100_000.0), "polling", 30,
        {
            "latency_mean_s": 0.01, "latency_p50_s": 0.015, "latency_p95_s": 0.005, "latency_p99_s": 0.002,
            "empty_ratio": 0.015, "requests_per_event": 0.01,
        },
    ),
    "P1 with transit and API": (
        polled(0.1, 10.0, 100_000.0, **AFAR), "polling", 30,
        {
            "latency_mean_s": 0.01, "latency_p50_s": 0.015, "latency_p95_s": 0.005, "latency_p99_s": 0.002,
            "empty_ratio": 0.015, "requests_per_event": 0.01,
        },
    ),
    "P1 of many subscribers, each worker a batch's event": (
        polled(
            0.1, 10.0, 15_000.0,
            **{
                "subscribers.count": 8, "polling.page_size": 40, "receiver.workers": 40,
                "receiver.service.mean_s": 3.0,
            },
        ), "polling", 30,
        {
            "latency_mean_s": 0.005, "latency_p50_s": 0.01, "latency_p95_s": 0.005, "latency_p99_s": 0.002,
            "empty_ratio": 0.03, "requests_per_event": 0.03,
        },
    ),
    "P1 and P3 of periodic events": (
        polled(1 / (10 * GOLDEN), 10.0, 40_000.0, **PERIODIC), "polling", 30,
        {"latency_mean_s": 0.001, "empty_ratio": 0.002, "requests_per_event": 0.001},
    ),
    "P2 and P3 of exponential polls": (
        polled(0.1, 10.0, 200_000.0, **{"polling.schedule": "exponential"}), "polling", 40,
        {"latency_mean_s": 0.02, "empty_ratio": 0.01, "requests_per_event": 0.01},
    ),
    "P2 of exponential polls put off by their round trip": (
        polled(0.1, 10.0, 200_000.0, **{"polling.schedule": "exponential"}, **AFAR), "polling", 40,
        {"latency_mean_s": 0.02, "empty_ratio": 0.01, "requests_per_event": 0.01},
    ),
    "P2 of fixed delay": (
        polled(0.2, 10.0, 130_000.0, **{"polling.schedule": "fixed_delay"}, **AFAR), "polling", 30,
        {"latency_mean_s": 0.01, "empty_ratio": 0.03, "requests_per_event": 0.01},
    ),
    "P5": (
        polled(0.3, 20.0, 250_000.0, **ONE_WORKER), "polling", 30,
        {"latency_mean_s": 0.005, "empty_ratio": 0.15, "requests_per_event": 0.01},
    ),
    "M/M/1": (
        queued(1, 0.5, 40_000.0), "webhook", 30,
        {
            "latency_mean_s": 0.02, "latency_p50_s": 0.02, "latency_p95_s": 0.03, "latency_p99_s": 0.04,
            "receiver_utilisation": 0.01, "receiver_queue_mean": 0.05,
        },
    ),
    "M/M/4 at 80 %": (
        queued(4, 3.2, 40_000.0), "webhook", 40,
        {
            "latency_mean_s": 0.02, "latency_p50_s": 0.02, "latency_p95_s": 0.02, "latency_p99_s": 0.03,
            "receiver_utilisation": 0.005, "receiver_queue_mean": 0.05,
        },
    ),
    "M/M/16 at 87.5 % with transit": (
        queued(16, 14.0, 10_000.0, **TRANSIT), "webhook", 20,
        {
            "latency_mean_s": 0.01, "latency_p50_s": 0.01, "latency_p95_s": 0.02, "latency_p99_s": 0.02,
            "receiver_utilisation": 0.005, "receiver_queue_mean": 0.1,
        },
    ),
    "an outage of 900 s": (down(900.0), "webhook", 20, {"lost_ratio": 0.01, "latency_mean_s": 0.02}),
    "an outage that swallows, with transit": (
        down(
            900.0,
            **{"receiver.outages": [{"start_s": 100.0, "duration_s": 900.0, "kind": "black_hole"}]},
            **{"webhook.timeout_s": 5.0, "network.one_way": {"kind": "constant", "mean_s": 1.25}},
        ), "webhook", 20, {"lost_ratio": 0.01, "latency_mean_s": 0.02},
    ),
    "losses": (
        lossy(0.3, 0.2, 3), "webhook", 30,
        {"attempts_per_event": 0.005, "duplicates_per_event": 0.02, "lost_ratio": 0.04},
    ),
}  # fmt: skip


@lru_cache(maxsize=1)
def run(case: str) -> tuple[Scenario, str, Outcome]:
    scenario, mechanism, replications, _ = CASES[case]
    outcome = simulate(scenario, [mechanism], seed=SEED, replications=replications, records=False)
    return scenario, mechanism, outcome


@pytest.mark.parametrize(("case", "metric"), [(case, metric) for case in CASES for metric in CASES[case][3]])
def test_the_model_agrees_with_the_prediction(case, metric):
    scenario, mechanism, outcome = run(case)
    predicted = {prediction.metric: prediction.value for prediction in theory.predict(scenario, mechanism)}
    agree(outcome.metrics[mechanism][metric], predicted[metric], CASES[case][3][metric])


def test_p4_batches_that_are_not_empty():
    scenario = polled(0.1, 10.0, 100_000.0)
    counters = simulate(scenario, ["polling"], seed=SEED + 1, replications=30, records=False).counters[
        "polling"
    ]
    found = [1e5 * 0.1 / (c.requests - c.empty_responses) for c in counters]
    # The events' number is known on average only, so the expectation of the ratio uses it, not its draw.
    agree(found, theory.batch_nonempty_mean(0.1, 10.0), 0.01)


@pytest.mark.parametrize(
    ("workers", "rate_per_s", "duration_s", "waits", "mean_s"),
    [(4, 3.2, 20_000.0, 0.596432, 0.745541), (16, 14.0, 8000.0, 0.508482, 0.254241)],
)
def test_erlang_c_waits(workers, rate_per_s, duration_s, waits, mean_s):
    """The wait itself: what is left of each latency when the model's own service draw is taken off."""
    scenario, queue = queued(workers, rate_per_s, duration_s), MMc(workers, rate_per_s, 1.0)
    replications = 40
    outcome = simulate(scenario, ["webhook"], seed=SEED + 2, replications=replications)
    waited, long, mean = [], [], []
    for replication, deliveries in enumerate(outcome.deliveries["webhook"]):
        created = deliveries.created[0]
        service = service_times(scenario, replication_seed(SEED + 2, replication), len(created))
        wait = (deliveries.visible[0] - created - service)[created >= scenario.run.warmup_s]
        waited.append(np.mean(wait > 1e-9))
        long.append(np.mean(wait > 0.5))
        mean.append(np.mean(wait))
    agree(waited, waits, 0.02)
    agree(mean, mean_s, 0.05)
    agree(long, queue.wait_exceeds(0.5), 0.05)


@pytest.mark.parametrize(("outage_s", "lost", "mean_s"), [(300.0, 0.0, 206.667), (900.0, 0.65556, 210.0)])
def test_the_outage_s_own_events(outage_s, lost, mean_s):
    scenario = down(outage_s)
    outcome = simulate(scenario, ["webhook"], seed=SEED + 3, replications=40)
    losses, means = [], []
    for deliveries in outcome.deliveries["webhook"]:
        hit = (deliveries.created >= 100.0) & (deliveries.created < 100.0 + outage_s)
        latency = (deliveries.visible - deliveries.created)[hit]
        losses.append(np.mean(np.isnan(latency)))
        delivered = latency[~np.isnan(latency)]
        means.append(np.mean(delivered))
        np.testing.assert_allclose(
            np.unique(np.round(delivered, 6)), theory.retry_offsets_s(scenario.webhook.retry)[1:]
        )
    if lost == 0:
        assert max(losses) == 0  # the last attempt comes after the outage for certain
    else:
        agree(losses, 1 - 310 / 900, 0.005)
    agree(means, theory.outage_latency_mean_s([0, 10, 30, 70, 150, 310], outage_s), 0.005)
    assert round(theory.outage_latency_mean_s([0, 10, 30, 70, 150, 310], outage_s), 3) == mean_s


def test_at_least_once_as_published():
    """q_r = 0.1, q_a = 0.05, four tries."""
    scenario, sender = lossy(0.1, 0.05, 4), AtLeastOnce(0.1, 0.05, 4)
    outcome = simulate(scenario, ["webhook"], seed=SEED + 4, replications=40)
    runs = outcome.deliveries["webhook"]
    agree([np.mean(run.attempts) for run in runs], sender.attempts_mean, 0.002)
    agree([np.mean(run.copies) for run in runs], sender.copies_mean, 0.002)
    agree(outcome.metrics["webhook"]["duplicates_per_event"], sender.duplicates_mean, 0.02)


def test_the_harness_would_notice_a_wrong_model():
    """The check itself, on normal values: it passes the truth and fails an error of twice its resolution."""
    values = np.random.default_rng(5).normal(10.0, 0.2, 30)
    agree(values, 10.0, 0.02)
    for wrong in (10.4, 9.6):
        with pytest.raises(AssertionError, match="theory"):
            agree(values, wrong, 0.02)
    with pytest.raises(AssertionError, match="too vague"):
        agree(values, 10.0, 0.001)
