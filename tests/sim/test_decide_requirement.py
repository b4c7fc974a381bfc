"""Protects what is asked: bounds as read and as implied, judged against their favour; contradictions."""

from __future__ import annotations

import math
from typing import Any

import pytest

from sim.catalogue import MECHANISMS
from sim.decide.requirement import SHARES, Requirement, requirements_of
from sim.engine import simulate
from sim.errors import InputError
from sim.experiment import Estimate
from sim.metrics.directions import METRICS
from sim.scenario import Scenario, load_scenario, scenario_from
from sim.thresholds import parse_threshold

MINIMAL: dict[str, Any] = {
    "name": "mine",
    "workload": {"kind": "poisson", "rate_per_s": 0.5},
    "run": {"duration_s": 200.0},
}


def mine(**tables: Any) -> Scenario:
    return scenario_from(MINIMAL | tables)


def bound(text: str) -> Requirement:
    return Requirement(parse_threshold(text, METRICS))


# --- judging ---------------------------------------------------------------------------------------


def test_a_bound_is_judged_by_the_end_of_the_interval_that_speaks_against_it() -> None:
    e = Estimate(4.8, 4.7, 4.95)
    assert bound("latency_p95_s<5").unfavourable(e) == e.high
    assert bound("on_time_ratio>0.5").unfavourable(e) == e.low
    assert bound("latency_p95_s<=4.95").met_by(e)
    assert not bound("latency_p95_s<4.95").met_by(e)
    assert not bound("latency_p95_s<=4.9").met_by(e), "the mean alone would do"


def test_what_never_came_or_is_undefined_or_unbounded_keeps_no_bound() -> None:
    never, undefined = Estimate(math.inf, None, None), Estimate(math.nan, None, None)
    for each in (never, undefined, Estimate(1.0, 0.9, None)):
        assert not bound("latency_p95_s<1e9").met_by(each)
        assert bound("latency_p95_s<5").miss(each) == math.inf
    assert not bound("latency_p95_s>0").met_by(never)
    assert bound("latency_p95_s>0.5").met_by(Estimate(1.0, 0.9, None))


def test_a_miss_is_a_share_of_the_limit() -> None:
    assert bound("latency_p95_s<5").miss(Estimate(4.0, 3.0, 4.5)) == 0.0
    assert bound("latency_p95_s<5").miss(Estimate(9.0, 8.0, 10.0)) == pytest.approx(1.0)
    assert bound("on_time_ratio>=0.8").miss(Estimate(0.7, 0.6, 0.8)) == pytest.approx(0.25)
    assert bound("lost_ratio<=0").miss(Estimate(0.02, 0.01, 0.03)) == pytest.approx(2.0)


def test_where_nothing_may_be_lost_none_is_enough_and_elsewhere_it_must_be_shown() -> None:
    """No number of runs can show that a share is 0; that it is below a limit takes as many as it takes."""
    none, all_of_them = Estimate(0.0, 0.0, 2e-4), Estimate(1.0, 0.9998, 1.0)
    assert bound("lost_ratio<=0").met_by(none)
    assert not bound("lost_ratio<=0").met_by(Estimate(1e-6, 0.0, 2e-4))
    assert bound("lost_ratio<1e-3").met_by(none)
    assert not bound("lost_ratio<1e-4").met_by(none)
    assert bound("on_time_ratio>=1").met_by(all_of_them)
    assert not bound("on_time_ratio>0.9999").met_by(all_of_them)
    assert not bound("requests_per_event>=1").asks_for_all, "which may be more than 1"


# --- what is asked -----------------------------------------------------------------------------------


def texts(scenario: Scenario, *stated: str, budget: str | None = None) -> list[str]:
    return [each.text for each in requirements_of(scenario, stated, budget)]


def test_a_scenario_implies_its_own_bound_and_that_nothing_is_lost() -> None:
    assert texts(mine()) == ["lost_ratio<=0"]
    assert texts(mine(run={"duration_s": 200.0, "on_time_s": 5.0})) == ["latency_p95_s<=5", "lost_ratio<=0"]
    implied = requirements_of(load_scenario("chat-notification"))
    assert [each.text for each in implied] == ["on_time_ratio>=0.912", "lost_ratio<=0"]  # 0.95 of 96 %
    assert all(each.why for each in implied)
    assert not any(each.why for each in requirements_of(mine(), ["lost_ratio<0.1"]))


def test_what_is_stated_stands_in_place_of_what_is_implied() -> None:
    scenario = mine(run={"duration_s": 200.0, "on_time_s": 5.0})
    assert texts(scenario, "latency_p99_s < 3") == ["latency_p99_s < 3"]
    assert texts(scenario, "lost_ratio<0.1", "lost_ratio<0.1") == ["lost_ratio<0.1"]


def test_a_budget_is_a_bound_on_cost() -> None:
    priced = mine(cost={"per_million_requests": 1.0})
    assert texts(priced, budget="3.5") == ["lost_ratio<=0", "cost_per_million_events<=3.5"]
    assert texts(priced, budget="cost_per_million_events<3")[-1] == "cost_per_million_events<3"


@pytest.mark.parametrize(
    ("stated", "budget", "why"),
    [
        (["latncy_p95_s<1"], None, "did you mean 'latency_p95_s'"),
        (["latency_p95_s"], None, "expected METRIC<NUMBER"),
        (["latency_p95_s<soon"], None, "'soon' is not a number"),
        (["webhook.latency_p95_s<1"], None, "leave out 'webhook'"),
        (["latency_p95_s<5", "latency_p95_s>10"], None, "no value keeps both 'latency_p95_s>10' and"),
        (["latency_p95_s<5", "latency_p95_s>=5"], None, "no value keeps both"),
        (["latency_p95_s<0"], None, "never below 0"),
        (["on_time_ratio>1"], None, "needs run.on_time_s"),
        (["freshness>1"], None, "never above 1"),
        (["missed_ratio<1"], None, "last_value"),
        (["fairness>0.9"], None, "subscribers.count"),
        (["recovery_time_s<9"], None, "outages"),
        (["cost_per_million_events<9"], None, "a price in"),
        ([], "9", "nothing has a price"),
    ],
)
def test_what_cannot_be_required_is_refused(stated: list[str], budget: str | None, why: str) -> None:
    with pytest.raises(InputError) as caught:
        requirements_of(mine(), stated, budget)
    assert why in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_budget_bounds_nothing_else() -> None:
    with pytest.raises(InputError, match="--budget 'lost_ratio<1'"):
        requirements_of(mine(cost={"per_gigabyte": 1.0}), [], "lost_ratio<1")
    with pytest.raises(InputError, match="--budget 'cost_per_million_events>1'"):
        requirements_of(mine(cost={"per_gigabyte": 1.0}), [], "cost_per_million_events>1")


def test_bounds_that_touch_are_no_contradiction() -> None:
    assert texts(mine(), "latency_p95_s<=5", "latency_p95_s>=5") == ["latency_p95_s<=5", "latency_p95_s>=5"]


# --- the vocabulary ----------------------------------------------------------------------------------


@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_the_vocabulary_is_what_runs_report(mechanism: str) -> None:
    scenario = mine(
        workload={"kind": "poisson", "rate_per_s": 0.5, "content": "last_value"},
        subscribers={"count": 3},
        receiver={"outages": [{"start_s": 50.0, "duration_s": 10.0}]},
        cost={"per_million_requests": 1.0},
        run={"duration_s": 200.0, "on_time_s": 5.0},
    )
    found = simulate(scenario, [mechanism], records=False).metrics[mechanism]
    assert set(found) == set(METRICS)
    assert all(values[0] >= 0 for values in found.values())
    assert all(found[name][0] <= 1 for name in SHARES if not math.isnan(found[name][0]))
