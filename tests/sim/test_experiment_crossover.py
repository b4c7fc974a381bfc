"""Protects the answer to "where does the verdict flip": against theory, a brute-force grid, and itself."""

from __future__ import annotations

import numpy as np
import pytest

import sim
from sim.errors import InputError
from sim.experiment import Estimate, paired_difference
from sim.experiment.crossover import Looks, crossings, crossover
from sim.scenario import Scenario, load_scenario


@pytest.fixture(scope="module")
def shop() -> Scenario:
    return load_scenario("shop-orders").with_values(
        **{"run.duration_s": 10000.0, "run.warmup_s": 0.0, "network.request_loss": 0.0,
           "network.response_loss": 0.0, "receiver.outages": []}
    )  # fmt: skip


def test_requests_are_level_where_theory_says(shop: Scenario) -> None:
    """A webhook costs one request an event, polling 1/(λT): level at λT = 1, whatever the arrival process.

    The interval is a 95 % one, so one seed in twenty would miss it; the seed is fixed.
    """
    rate = shop.workload.rate_per_s
    found = crossover(
        shop, "webhook", "polling", "polling.interval_s", "requests_per_event",
        replications=6, executor="threads:2",
    )  # fmt: skip
    (crossing,) = found.crossings
    assert crossing.low is not None
    assert crossing.high is not None
    assert crossing.low <= 1 / rate <= crossing.high
    assert crossing.low <= crossing.at <= crossing.high
    assert crossing.high / crossing.low < 1.2, "an interval so wide would prove nothing"
    assert crossing.lower_before == "webhook"
    assert "webhook has the lower requests_per_event up to polling.interval_s = " in found.sentence()
    assert "polling beyond" in found.sentence()


def test_a_brute_force_grid_agrees(shop: Scenario) -> None:
    over = np.geomspace(0.01, 0.1, 21)
    found = crossover(
        shop, "polling", "webhook", "workload.rate_per_s", "bytes_per_event",
        low=0.01, high=0.1, replications=4, executor="threads:2",
    )  # fmt: skip
    signs = []
    for rate in over:
        values = sim.simulate(
            shop.with_values(**{"workload.rate_per_s": float(rate)}), replications=4, records=False
        ).metrics
        signs.append(
            paired_difference(values["polling"]["bytes_per_event"], values["webhook"]["bytes_per_event"]).mean
            > 0
        )
    changes = [i for i in range(20) if signs[i] != signs[i + 1]]
    assert len(changes) == len(found.crossings) == 1
    assert over[changes[0]] <= found.crossings[0].at <= over[changes[0] + 1]
    assert found.crossings[0].lower_before == "webhook"


def test_without_a_crossing_it_says_who_is_lower_throughout(shop: Scenario) -> None:
    found = crossover(
        shop, "webhook", "polling", "polling.interval_s", "latency_mean_s",
        low=100, high=1000, replications=2, executor="threads:1",
    )  # fmt: skip
    assert found.crossings == ()
    assert found.sentence() == (
        "webhook has the lower latency_mean_s for every polling.interval_s from 100 to 1000"
    )


def test_what_is_level_everywhere_crosses_nowhere(shop: Scenario) -> None:
    found = crossover(
        shop, "webhook", "polling", "polling.interval_s", "lost_ratio",
        low=1, high=100, replications=2, executor="threads:1",
    )  # fmt: skip
    assert found.crossings == ()
    assert found.sentence() == (
        "lost_ratio is the same for webhook and polling for every polling.interval_s from 1 to 100"
    )


@pytest.mark.parametrize(
    ("differences", "crossed"),
    [
        ({}, []),
        ({1: 0, 2: 0, 4: 0}, []),
        ({1: -1, 2: 0, 4: 0, 8: 1}, ["a"]),  # one crossing, somewhere on the level stretch
        ({1: 1, 2: 0, 4: 1, 8: 1}, []),  # touched, not crossed
        ({1: 0, 2: 0, 4: 1, 8: 1}, []),  # level, then apart
        ({1: -1, 2: 1, 4: 0, 8: -1}, ["a", "b"]),
    ],
)
def test_a_crossing_is_a_change_of_sign(differences: dict[float, float], crossed: list[str]) -> None:
    """Of made-up differences, constant up to the next value given."""
    steps = sorted(differences.items()) or [(1, 1)]

    def mean(x: float) -> float:
        return [d for at, d in steps if at <= x * 1.0000001][-1]

    look = Looks("a", "b", lambda x: Estimate(mean(x), mean(x), mean(x)))
    found = crossings(look, [float(2**k) for k in range(4)], whole=False)
    assert [crossing.lower_before for crossing in found] == crossed
    for crossing in found:
        assert crossing.low is not None
        assert crossing.high is not None
        assert crossing.low <= crossing.at <= crossing.high
        assert mean(crossing.low) * mean(crossing.high) < 0


def test_of_whole_numbers_it_lies_between_neighbours(shop: Scenario) -> None:
    busy = shop.with_values(
        **{"workload.rate_per_s": 2.0, "receiver.service": {"kind": "exponential", "mean_s": 2.0},
           "receiver.acknowledge": "on_receipt", "run.duration_s": 3000.0, "polling.interval_s": 30.0,
           "receiver.workers": 4}
    )  # fmt: skip
    found = crossover(
        busy, "webhook", "polling", "receiver.workers", "receiver_queue_mean",
        low=1, high=16, replications=2, executor="threads:1",
    )  # fmt: skip
    assert all(x == round(x) for x, _ in found.points)
    assert all(crossing.at * 2 == round(crossing.at * 2) for crossing in found.crossings)


@pytest.mark.parametrize(
    ("parameter", "metric", "more", "why"),
    [
        ("polling.intervall_s", "latency_mean_s", {}, "interval_s"),
        ("polling.schedule", "latency_mean_s", {}, "no number above 0"),
        ("polling.interval_s", "latency_men_s", {}, "no such metric"),
        ("polling.interval_s", "latency_mean_s", {"low": 5.0, "high": 1.0}, "0 < LOW < HIGH, got 5:1"),
        ("polling.interval_s", "latency_mean_s", {"low": 1.0, "high": float("inf")}, "0 < LOW < HIGH"),
        ("polling.interval_s", "latency_mean_s", {"replications": 1}, "2 replications or more"),
        ("network.request_loss", "latency_mean_s", {"low": 0.5, "high": 3.0}, "request_loss"),
    ],
)
def test_what_cannot_be_searched_is_refused_by_name(
    shop: Scenario, parameter: str, metric: str, more: dict[str, float], why: str
) -> None:
    with pytest.raises(InputError, match=why):
        crossover(shop, "webhook", "polling", parameter, metric, executor="threads:1", **more)  # type: ignore[arg-type]
