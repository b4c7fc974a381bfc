"""Protects bills: items that add up to the metric of cost, prices with sources, theory's best interval."""

from __future__ import annotations

import math
import tomllib
from pathlib import Path

import numpy as np
import pytest

from sim.catalogue import MECHANISMS
from sim.decide.cost import MILLION, MONTH_S, TOTAL, Bill, bills, table
from sim.decide.prices import PRICES, price_names, priced, require_prices
from sim.decide.requirement import has_prices
from sim.engine import simulate
from sim.errors import InputError
from sim.experiment import estimate
from sim.experiment.intervals import metric_estimate
from sim.metrics.cost import COST_ITEMS
from sim.scenario import Scenario
from sim.theory.break_even import best_interval_s
from tests.sim.deciding import small

ALL = {price: 1.0 + number for number, price in enumerate(COST_ITEMS)}


def bill(scenario: Scenario, mechanism: str) -> Bill:
    (found,) = bills(scenario, [mechanism], executor="threads:1", replications=3, seed=5)
    return found


@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_items_add_up_to_the_cost_that_simulate_tells(mechanism: str) -> None:
    scenario = small(cost=ALL, run={"duration_s": 900.0}, network={"request_loss": 0.01})
    found = bill(scenario, mechanism)
    outcome = simulate(scenario, [mechanism], replications=3, seed=5, records=False)
    told = metric_estimate("cost_per_million_events", outcome.sample(mechanism, "cost_per_million_events"))
    items = found.per_million_events
    assert set(items) == {*COST_ITEMS.values(), TOTAL}
    assert (items[TOTAL].mean, items[TOTAL].low) == pytest.approx((told.mean, told.low))
    assert math.fsum(e.mean for item, e in items.items() if item != TOTAL) == pytest.approx(items[TOTAL].mean)
    for item, e in items.items():
        assert e.low is not None
        assert e.low <= e.mean, item


def test_a_month_is_a_twelfth_of_a_year_like_the_run() -> None:
    scenario = small(
        cost={"per_million_requests": 1e6}, polling={"interval_s": 10.0}, run={"duration_s": 3000.0}
    )
    month = bill(scenario, "polling").per_month
    assert list(month) == ["requests", TOTAL]
    assert month["requests"].mean == pytest.approx(MONTH_S / 10.0, rel=0.01)


def test_lateness_is_the_price_of_every_second_between_created_and_visible() -> None:
    scenario = small(cost={"per_late_event_second": 2.0}, run={"duration_s": 3000.0, "drain_s": 60.0})
    told = simulate(scenario, ["polling"], replications=3, seed=5, records=False).metrics["polling"]
    assert set(told["pending_ratio"]) == {0.0}
    late = [2.0 * mean * MILLION for mean in told["latency_mean_s"]]
    found = bill(scenario, "polling").per_million_events["lateness"]
    assert min(late) <= found.mean <= max(late)
    assert found.mean == pytest.approx(estimate(late).mean, rel=1e-2)


def test_a_bill_as_a_table_has_a_row_a_figure() -> None:
    found = table([bill(small(cost={"per_gigabyte": 1.0}), "webhook")])
    assert list(found.columns) == ["mechanism", "per", "item", "mean", "low", "high"]
    assert len(found) == 4
    assert set(found["per"]) == {"month", "million_events"}


def test_the_cheapest_interval_is_the_one_of_theory() -> None:
    """B1: T* = √(2c/(wλ)) with c a poll's price, w that of an event-second, λ the events a second.

    A million polls cost 10^6, an event-second 0.01, and 0.5 events happen a second: T* = 20 s. At each T the
    cost of an event is c/(λT) + wT/2; of each replication's costs the T that costs least is fitted by least
    squares, and the 99 % interval of its mean over 20 replications holds T*.
    """
    rate, poll, second = 0.5, 1.0, 0.01
    best_s = best_interval_s(rate, poll, second)
    assert best_s == pytest.approx(20.0)
    intervals = np.array([best_s * factor for factor in (0.5, 0.7, 1.0, 1.4, 2.0)])
    costs = []
    for interval_s in intervals:
        scenario = small(
            workload={"kind": "poisson", "rate_per_s": rate},
            network={"one_way": {"kind": "constant", "mean_s": 0.0}},
            receiver={"service": {"kind": "constant", "mean_s": 0.0}},
            provider_api={"service": {"kind": "constant", "mean_s": 0.0}},
            polling={"interval_s": float(interval_s)},
            cost={"per_million_requests": poll * MILLION, "per_late_event_second": second},
            run={"duration_s": 40_000.0, "drain_s": 100.0},
        )
        told = simulate(scenario, ["polling"], replications=20, seed=3, records=False).metrics["polling"]
        of_an_event = np.array(told["cost_per_million_events"]) / MILLION
        expected = poll / (rate * interval_s) + second * interval_s / 2
        e = estimate(list(of_an_event), confidence=0.999)
        assert e.low is not None
        assert e.high is not None
        assert e.low <= expected <= e.high, f"T = {interval_s:g}"
        costs.append(of_an_event)
    by_interval = np.array(costs)
    assert by_interval.mean(axis=1).argmin() == 2
    terms = np.stack([1 / intervals, intervals], axis=1)
    (a, b), *_ = np.linalg.lstsq(terms, by_interval, rcond=None)
    fitted = estimate(list(np.sqrt(a / b)), confidence=0.99)
    assert fitted.low is not None
    assert fitted.high is not None
    assert fitted.low <= best_s <= fitted.high
    assert fitted.high - fitted.low < 0.02 * best_s


# --- prices ------------------------------------------------------------------------------------------


def test_no_price_is_built_in() -> None:
    assert not has_prices(small().cost)
    with pytest.raises(InputError, match=r"states no price.*aws-us-east, example"):
        require_prices(small())
    with pytest.raises(InputError, match="states no price"):
        bills(small(), ["webhook"])


@pytest.mark.parametrize("name", price_names())
def test_a_price_file_says_of_each_price_where_it_is_from_or_that_it_is_invented(name: str) -> None:
    document = tomllib.loads((PRICES / f"{name}.toml").read_text(encoding="utf-8"))
    assert set(document["cost"]) <= set(COST_ITEMS)
    for price in document["cost"]:
        source = document["sources"].get(f"cost.{price}") or document["sources"]["cost"]
        if source.get("assumed", False):
            assert source["source"] == "invented"
        else:
            assert "https://" in source["source"]
            assert " read 20" in source["source"], "a price without a date is no price"
    found = priced(small(), name)
    assert {k: v for k, v in found.cost.model_dump().items() if v is not None} == document["cost"]


def test_the_later_price_stands_over_the_earlier(tmp_path: Path) -> None:
    own = small(cost={"per_gigabyte": 9.0, "per_lost_event": 8.0})
    assert priced(own) is own
    assert priced(own, None, ["per_gigabyte=0.5"]).cost.per_gigabyte == 0.5
    (tmp_path / "mine.toml").write_text("[cost]\nper_gigabyte = 3\n", encoding="utf-8")
    filed = priced(own, str(tmp_path / "mine.toml"), ["per_server_hour=1"])
    assert (filed.cost.per_gigabyte, filed.cost.per_lost_event, filed.cost.per_server_hour) == (
        3.0,
        None,
        1.0,
    )


@pytest.mark.parametrize(
    ("source", "prices", "why"),
    [
        ("nowhere", [], "No such file or directory; there are aws-us-east, example"),
        (None, ["per_gigabyte"], "expected NAME=AMOUNT"),
        (None, ["per_gigabite=1"], "did you mean 'per_gigabyte'"),
        (None, ["per_gigabyte=-1"], "a number from 0 on, got -1.0"),
        (None, ["per_gigabyte=nan"], "a number from 0 on"),
        (None, ["per_gigabyte=dear"], "a number from 0 on, got 'dear'"),
        ("{empty}", [], r"no \[cost\] table"),
        ("{broken}", [], "not a TOML file"),
        ("{wrong}", [], "no price is called 'per_smile'"),
        ("{words}", [], "a number from 0 on, got 'much'"),
    ],
)
def test_what_is_no_price_is_refused(source: str | None, prices: list[str], why: str, tmp_path: Path) -> None:
    files = {
        "empty": "",
        "broken": "[cost",
        "wrong": "[cost]\nper_smile = 1\n",
        "words": '[cost]\nper_gigabyte = "much"\n',
    }
    for name, content in files.items():
        (tmp_path / f"{name}.toml").write_text(content, encoding="utf-8")
    path = None if source is None else source.replace("{", f"{tmp_path}/").replace("}", ".toml")
    with pytest.raises(InputError, match=why):
        priced(small(), path, prices)
