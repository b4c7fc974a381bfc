"""Protects the break-even surface: against theory, `crossover` and a brute-force grid; what it may span."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import sim
from sim.errors import InputError
from sim.experiment import Estimate, estimate, paired_difference
from sim.experiment.axes import parse_axis
from sim.experiment.crossover import crossover
from sim.experiment.plane import surface_axes
from sim.experiment.surface import SIGNS, Surface, surface
from sim.scenario import Scenario, load_scenario
from sim.theory import best_interval_s, break_even_rate_per_s
from tests.sim.surfaces import made_up

AXES = [parse_axis("polling.interval_s=2:200:log6"), parse_axis("workload.rate_per_s=0.01:1:log5")]
REPLICATIONS = 8


@pytest.fixture(scope="module")
def shop() -> Scenario:
    """Nothing fails, so that a webhook is one request; a page is never full."""
    return load_scenario("shop-orders").with_values(
        **{"run.duration_s": 10000.0, "run.warmup_s": 0.0, "run.drain_s": 600.0, "network.request_loss": 0.0,
           "network.response_loss": 0.0, "receiver.outages": [], "polling.page_size": 10_000}
    )  # fmt: skip


@pytest.fixture(scope="module")
def requests(shop: Scenario) -> Surface:
    return surface(
        shop, "webhook", "polling", "requests_per_event", AXES, replications=REPLICATIONS,
        executor="threads:2",
    )  # fmt: skip


def test_requests_are_level_at_one_event_a_poll(requests: Surface) -> None:
    """B1: λT = 1. Each interval is a 95 % one of a fixed seed."""
    curve = requests.curve()
    assert [each.x for each in curve] == pytest.approx([0.01, 0.0316227766, 0.1, 0.316227766])
    for each in curve:
        assert each.better_below == "webhook"
        assert each.low is not None
        assert each.high is not None
        assert each.low <= each.y <= each.high
        theory = 1 / each.x  # T at which λ T = 1
        assert break_even_rate_per_s(theory) == pytest.approx(each.x)
        assert each.low <= theory <= each.high, each
        assert each.high / each.low < 1.35, "an interval so wide would prove nothing"


def test_every_winner_is_theory_s(requests: Surface) -> None:
    rows = requests.table()
    assert len(rows) == 30
    product = rows["polling.interval_s"] * rows["workload.rate_per_s"]
    clear = (product < 0.75) | (product > 1.33)
    assert clear.sum() >= 26
    expected = np.where(product < 1, "webhook", "polling")
    assert (rows["winner"] == expected)[clear].all()
    assert (rows["decided"] == (rows["winner"] != "")).all()
    undecided = rows[~rows["decided"]]
    assert (undecided["low"] <= 0).all()
    assert (undecided["high"] >= 0).all()


def test_one_column_is_what_crossover_finds(shop: Scenario, requests: Surface) -> None:
    """The same draws, searched to half a per cent; along the interval the ratio is a straight line."""
    at = shop.with_values(**{"workload.rate_per_s": requests.xs[2]})
    found = crossover(
        at, "webhook", "polling", "polling.interval_s", "requests_per_event",
        low=2, high=200, replications=REPLICATIONS, executor="threads:2",
    )  # fmt: skip
    (crossing,) = found.crossings
    (each,) = [each for each in requests.curve() if each.x == requests.xs[2]]
    assert each.y == pytest.approx(crossing.at, rel=0.01)
    assert each.low == pytest.approx(crossing.low, rel=0.03)
    assert each.high == pytest.approx(crossing.high, rel=0.03)


def test_a_brute_force_grid_agrees(shop: Scenario, requests: Surface) -> None:
    for row in (0, 3, 5):
        for column in (1, 4):
            point = {"polling.interval_s": requests.ys[row], "workload.rate_per_s": requests.xs[column]}
            outcome = sim.simulate(shop.with_values(**point), replications=REPLICATIONS, records=False)
            (e,) = [e for _, _, metric, e in outcome.paired() if metric == "requests_per_event"]
            assert requests.differences[row, column] == e


def priced(shop: Scenario) -> Scenario:
    """A request costs 1e-6 and a poll 2e-6 besides, for a hundredth of a second of the API's."""
    return shop.with_values(
        **{"cost.per_million_requests": 1.0, "cost.per_server_hour": 2e-4 * 3600,
           "provider_api.service": {"kind": "constant", "mean_s": 0.01}}
    )  # fmt: skip


def test_costs_are_level_where_theory_says(shop: Scenario) -> None:
    """B1 with costs: c_poll = 3e-6, and a webhook's c_hook − c_event = 1e-6, for both serve the event."""
    found = surface(
        priced(shop), "webhook", "polling", "cost_per_million_events",
        [parse_axis("polling.interval_s=2:500:log9"), AXES[1]], replications=REPLICATIONS,
        executor="threads:2",
    )  # fmt: skip
    curve = found.curve()
    assert [each.x for each in curve] == pytest.approx(found.xs)
    for each in curve:
        assert each.low is not None
        assert each.high is not None
        theory_s = 3e-6 / (each.x * 1e-6)
        assert break_even_rate_per_s(theory_s, 3e-6, 1e-6) == pytest.approx(each.x)
        assert each.low <= theory_s <= each.high, each
        assert each.better_below == "webhook"
        assert each.high / each.low < 1.35


def test_the_best_interval_costs_least(shop: Scenario) -> None:
    """B1: T* = √(2 c_poll/(w λ)), where an event costs w (T* + what it takes to arrive and be served).

    Of the mean cost: 99 % intervals of the paired differences to half as long and twice as long a poll
    interval, and of the cost itself.
    """
    rate, w = 0.1, 4e-9
    best_s = best_interval_s(rate, 3e-6, w)
    assert best_s == pytest.approx(math.sqrt(2 * 3e-6 / (w * rate)))
    stale = priced(shop).with_values(**{"workload.rate_per_s": rate, "cost.per_late_event_second": w})
    cost = {
        factor: sim.simulate(
            stale.with_values(**{"polling.interval_s": best_s * factor}), ["polling"], replications=20,
            records=False,
        ).metrics["polling"]["cost_per_million_events"]
        for factor in (0.5, 1.0, 2.0)
    }  # fmt: skip
    for factor in (0.5, 2.0):
        dearer = paired_difference(cost[factor], cost[1.0], 0.99)
        assert dearer.low is not None
        assert dearer.low > 0
    served = 2e-4 * stale.receiver.service.mean_s
    return_s = 0.01 + stale.network.one_way.mean_s + stale.receiver.service.mean_s
    e = estimate(cost[1.0], 0.99)
    assert e.low is not None
    assert e.high is not None
    assert e.low / 1e6 <= w * (best_s + return_s) + served <= e.high / 1e6
    assert e.high / e.low < 1.05


def test_the_grid_has_the_highest_row_on_top_and_letters_for_winners() -> None:
    nan = math.nan
    found = made_up([[-5, 0.3, -5], [5, 0.0, -5], [5, nan, 5]])
    assert found.grid() == ["P ? P", "P · W", "W · W"]
    assert found.letters() == {"webhook": "W", "polling": "P"} | SIGNS
    assert found.sentence() == (
        "webhook has the lower latency_mean_s in 3 of 9 cells, polling in 3; 2 cannot be told apart; "
        "1 undefined"
    )
    nothing = made_up([[0.0, 0.0], [0.0, 0.0]], noise=0.0)
    assert nothing.grid() == ["= =", "= ="]
    assert nothing.sentence() == "latency_mean_s is the same for webhook and polling in all 4 cells"
    more = made_up([[-5, 5], [5, 5]], metric="freshness")
    assert more.grid() == ["W W", "P W"], "more of it is better"
    assert "higher freshness" in more.sentence()


def test_the_curve_has_a_point_for_each_change_of_sign_and_ends_where_it_can_be_told() -> None:
    found = made_up([[-5, -5, -5, 0.1], [-0.3, 5, 5, 0.1], [0.3, -5, 5, -0.1], [5, -5, math.nan, 0.1]])
    curve = found.curve()
    assert [(each.x, each.better_below) for each in curve] == [
        (1.0, "webhook"), (2.0, "webhook"), (2.0, "polling"), (3.0, "webhook"), (4.0, "polling"),
        (4.0, "webhook"),
    ]  # fmt: skip
    first = curve[0]
    assert 2 < first.y < 4
    assert first.low is not None
    assert first.high is not None
    assert 1 < first.low < 2, "the second row cannot be told from 0"
    assert 4 < first.high < 8
    for each in curve[1:4]:
        assert each.low is not None
        assert each.high is not None
        assert each.low <= each.y <= each.high
    assert all(each.low is None and each.high is None for each in curve[4:])
    table = found.curve_table()
    assert list(table.columns) == [
        "workload.rate_per_s", "polling.interval_s", "low", "high", "better_below",
    ]  # fmt: skip
    assert len(table) == 6


def test_the_height_keeps_the_sign_and_is_the_ratio_s_logarithm() -> None:
    found = made_up([[-5.0, 30.0], [1.0, 1.0]])
    assert found.height(0, 0, -5.0) == pytest.approx(math.log(5 / 10))
    assert found.height(0, 1, 30.0) == pytest.approx(math.log(40 / 10))
    assert found.height(0, 1, 0.0) == 0
    assert made_up([[-10.0, 0.0], [1.0, 1.0]], noise=0.0).height(0, 0, -10.0) == pytest.approx(-math.log(2))
    assert isinstance(found.differences[0, 0], Estimate)


def test_without_axes_it_spans_around_the_scenario_s_own_values(shop: Scenario) -> None:
    rows, columns = surface_axes(shop, [])
    assert (rows.keys, columns.keys) == (("polling.interval_s",), ("workload.rate_per_s",))
    assert len(rows.values) == len(columns.values) == 9
    middle = [rows.values[4][0], columns.values[4][0]]
    assert middle == pytest.approx([30.0, 0.5])
    assert rows.values[-1][0] / rows.values[0][0] == pytest.approx(400)


def test_a_surface_that_was_stopped_goes_on(shop: Scenario, tmp_path: Path) -> None:
    few: dict[str, Any] = {"replications": 2, "executor": "threads:1", "journal": tmp_path / "journal.jsonl"}
    axes = [parse_axis("polling.interval_s=10,60"), parse_axis("workload.rate_per_s=0.05,0.2")]
    whole = surface(shop, "webhook", "polling", "latency_mean_s", axes, **few)
    seen: list[tuple[int, int]] = []
    again = surface(
        shop, "webhook", "polling", "bytes_per_event", axes, **few,
        progress=lambda done, total: seen.append((done, total)),
    )  # fmt: skip
    assert seen == [(8, 8)], "another metric of the same runs costs nothing"
    assert again.sweep.rows().equals(whole.sweep.rows())
    assert again.metric == "bytes_per_event"


@pytest.mark.parametrize(
    ("axes", "more", "why"),
    [
        (["polling.interval_s=1,2"], {}, "has two axes, got 1"),
        (["polling.interval_s=1,2"] * 2, {}, "stands on both axes"),
        (["polling.interval_s=2,1", "receiver.workers=1,2"], {}, "ascending numbers or more, got 2, 1"),
        (["polling.interval_s=1,1", "receiver.workers=1,2"], {}, "ascending numbers or more, got 1, 1"),
        (["polling.interval_s=1", "receiver.workers=1,2"], {}, "ascending numbers or more, got 1"),
        (["polling.schedule=fixed_rate,fixed_delay", "receiver.workers=1,2"], {}, "ascending numbers"),
        (["network.keep_alive=false,true", "receiver.workers=1,2"], {}, "ascending numbers"),
        (["polling.interval_s=1,2&receiver.workers=1,2", "webhook.timeout_s=1,2"], {}, "has one key"),
        (["polling.interval_s=1,2", "receiver.worker=1,2"], {}, "did you mean 'workers'"),
        ([], {"replications": 1}, "2 replications or more"),
        (["polling.interval_s=5,50", "receiver.workers=1,2"], {"metric": "happiness"}, "no such metric"),
    ],
)
def test_what_is_no_surface_is_refused_by_name(
    shop: Scenario, axes: list[str], more: dict[str, Any], why: str
) -> None:
    values = {"replications": 2, "executor": "threads:1", "metric": "latency_mean_s"} | more
    with pytest.raises(InputError, match=why):
        surface(shop, "webhook", "polling", axes=[parse_axis(text) for text in axes], **values)


def test_a_scenario_without_a_rate_needs_axes(shop: Scenario) -> None:
    traced = shop.model_copy(update={"workload": shop.workload.model_copy(update={"rate_per_s": None})})
    with pytest.raises(InputError, match=r"workload.rate_per_s is None, no number above 0"):
        surface_axes(traced, [])
