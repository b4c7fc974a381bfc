"""Protects what runs share: only what cannot differ, and as each run alone would have it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import sim.experiment.runs
from sim.catalogue import MECHANISMS, WAYS
from sim.engine import ENGINES, Engine, run_once, summary_once
from sim.experiment.axes import design, parse_axis
from sim.experiment.crossover import crossover
from sim.experiment.runs import EVENTS_READ, MOST_TOGETHER, Work, carry_out, carry_out_all, shares
from sim.metrics import summarise
from sim.scenario import Scenario, load_scenario
from sim.workload import event_times
from tests.sim.generated import scenarios


class Watched:
    """A table of a scenario that notes when it is looked into."""

    def __init__(self, table: Any, name: str, seen: set[str]) -> None:
        self._watched = (table, name, seen)

    def __getattr__(self, key: str) -> Any:
        table, name, seen = self._watched
        seen.add(name)
        return getattr(table, key)


def watched(scenario: Scenario, names: set[str]) -> tuple[Scenario, set[str]]:
    """The scenario with some of its tables watched, and the set in which they will be named."""
    seen: set[str] = set()
    return scenario.model_copy(
        update={name: Watched(getattr(scenario, name), name, seen) for name in names}
    ), seen


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("mechanism", MECHANISMS)
@settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(scenario=scenarios(), seed=st.integers(0, 2**63 - 1))
def test_a_mechanism_looks_into_nothing_but_what_it_declares(
    mechanism: str, engine: Engine, scenario: Scenario, seed: int
) -> None:
    observed, seen = watched(scenario, set(WAYS))
    run = run_once(observed, mechanism, event_times(observed, seed), seed, engine)
    summarise(run.deliveries, run.counters, observed)
    assert seen <= set(MECHANISMS[mechanism].reads)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(scenario=scenarios(), seed=st.integers(0, 2**63 - 1))
def test_events_depend_on_few_tables(scenario: Scenario, seed: int) -> None:
    tables = {name for name in Scenario.model_fields if name not in EVENTS_READ}
    observed, seen = watched(scenario, tables)
    event_times(observed, seed)
    assert seen == set()


def test_the_watch_would_see_it() -> None:
    observed, seen = watched(load_scenario("shop-orders"), {"polling"})
    assert observed.polling.interval_s == 30
    assert seen == {"polling"}


@pytest.fixture(scope="module")
def small() -> Scenario:
    return load_scenario("shop-orders").with_values(**{"run.duration_s": 900.0, "run.drain_s": 60.0})


VARIED = ("polling.interval_s=5,60", "workload.rate_per_s=0.02,0.1", "receiver.workers=1,2")


def test_what_is_carried_out_together_is_what_each_gives_alone(small: Scenario) -> None:
    points = design(small, [parse_axis(text) for text in VARIED])
    mechanisms = ("webhook", "polling", "streaming")
    works = [
        Work(small.model_dump_json(), number, point, mechanisms, (0, 2) if number % 2 else (2,), 7)
        for number, point in enumerate(points)
    ]
    together = {(each.point, each.replication): each.metrics for each in carry_out_all(works)}
    alone = {(each.point, each.replication): each.metrics for work in works for each in carry_out(work)}
    assert len(together) == 12
    assert repr(sorted(together.items())) == repr(sorted(alone.items()))  # NaN and all


def test_each_thing_is_computed_once(small: Scenario, monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[str] = []

    def counting(scenario: Scenario, mechanism: str, *rest: Any) -> Any:
        ran.append(mechanism)
        return summary_once(scenario, mechanism, *rest)

    monkeypatch.setattr(sim.experiment.runs, "summary_once", counting)
    points = design(small, [parse_axis("polling.interval_s=5,10,60"), parse_axis("receiver.workers=1,2")])
    carry_out_all(
        [
            Work(small.model_dump_json(), number, point, ("webhook", "polling"), (0,), 1)
            for number, point in enumerate(points)
        ]
    )
    assert (ran.count("webhook"), ran.count("polling")) == (2, 6)
    ran.clear()
    found = crossover(
        small, "webhook", "polling", "polling.interval_s", "requests_per_event",
        low=1.0, high=100.0, replications=3, executor="threads:1",
    )  # fmt: skip
    assert (ran.count("webhook"), ran.count("polling")) == (3, 3 * len(found.points))


@given(replications=st.lists(st.sets(st.integers(0, 4)), min_size=12, max_size=12), slots=st.integers(1, 40))
@settings(max_examples=60, deadline=None, derandomize=True)
def test_every_run_that_is_left_is_in_one_lot(replications: list[set[int]], slots: int) -> None:
    scenario = load_scenario("shop-orders")
    points = design(
        scenario, [parse_axis("polling.interval_s=1:60:log6"), parse_axis("workload.rate_per_s=0.1,1")]
    )
    left = {number: sorted(which) for number, which in enumerate(replications)}
    lots = shares(left, points, ("webhook", "polling"), slots)
    runs = [(number, r) for lot in lots for number, which in lot for r in which]
    assert sorted(runs) == [(number, r) for number, which in left.items() for r in which]
    assert all(1 <= len(lot) <= MOST_TOGETHER for lot in lots)
    assert all(len({points[number]["workload.rate_per_s"] for number, _ in lot}) == 1 for lot in lots)


def test_lots_are_large_as_long_as_every_slot_has_work() -> None:
    points = design(
        load_scenario("shop-orders"),
        [parse_axis("polling.interval_s=1:60:log9"), parse_axis("workload.rate_per_s=0.1:1:log9")],
    )
    left = {number: range(10) for number in range(81)}
    assert {len(lot) for lot in shares(left, points, ("webhook", "polling"), 2)} == {9}
    lots = shares(left, points, ("webhook", "polling"), 100)
    assert len(lots) >= 400
    assert all(len(which) == 1 for lot in lots for _, which in lot)
    one_row = {number: range(10) for number in range(0, 81, 9)}
    assert len(shares(one_row, points, ("webhook", "polling"), 2)) == 10
