"""Protects what a million events cost: each price by hand, their sum, and no cost of half the prices."""

from __future__ import annotations

import math

import numpy as np
import pytest

from sim.audience import everybody
from sim.metrics import summarise
from sim.records import Counters, Deliveries, Status, Via
from sim.scenario import scenario_from

# Four events: late by 2 s; by 6 s; lost at 8 and late to the world's end at 12, 4 s; pending, 3 s.
STORY = Deliveries.empty(everybody(np.array([1.0, 2.0, 8.0, 9.0]), 1), Via.WEBHOOK)
STORY.visible[:] = [3.0, 8.0, math.nan, math.nan]
STORY.status[:] = [Status.DELIVERED, Status.DELIVERED, Status.LOST, Status.PENDING]

COUNTERS = Counters(
    requests=8,
    request_bytes=3_000_000_000,
    response_bytes=1_000_000_000,
    receiver_busy_s=1800.0,
    provider_busy_s=5400.0,
    connection_s=1440.0,
)


def cost(counters: Counters = COUNTERS, deliveries: Deliveries = STORY, **prices: float) -> float | None:
    scenario = scenario_from(
        {
            "name": "priced",
            "workload": {"kind": "poisson", "rate_per_s": 1.0},
            "cost": prices,
            "run": {"duration_s": 10.0, "drain_s": 2.0},
        }
    )
    return summarise(deliveries, counters, scenario).get("cost_per_million_events")


BY_HAND = {
    "per_million_requests": (0.5, 8 * 0.5 / 1e6),
    "per_gigabyte": (0.09, 4 * 0.09),
    "per_server_hour": (0.2, 2.0 * 0.2),
    "per_connection_hour": (0.05, 0.4 * 0.05),
    "per_late_event_second": (0.001, 15.0 * 0.001),
    "per_lost_event": (3.0, 1 * 3.0),
}


@pytest.mark.parametrize("price", BY_HAND)
def test_each_price_by_hand(price: str) -> None:
    each, of_four = BY_HAND[price]
    assert cost(**{price: each}) == pytest.approx(of_four * 1e6 / 4)


def test_prices_add_up() -> None:
    prices = {price: each for price, (each, _) in BY_HAND.items()}
    assert cost(**prices) == pytest.approx(sum(total for _, total in BY_HAND.values()) * 1e6 / 4)


def test_nothing_is_priced_by_default_and_a_price_of_nothing_is_a_price() -> None:
    assert cost() is None
    assert cost(per_gigabyte=0.0) == 0.0


@pytest.mark.parametrize(
    ("unknown", "price"),
    [
        ("requests", "per_million_requests"),
        ("request_bytes", "per_gigabyte"),
        ("response_bytes", "per_gigabyte"),
        ("receiver_busy_s", "per_server_hour"),
        ("provider_busy_s", "per_server_hour"),
        ("connection_s", "per_connection_hour"),
    ],
)
def test_a_cost_of_which_a_part_is_unknown_is_not_told(unknown: str, price: str) -> None:
    counters = Counters(**{**vars(COUNTERS), unknown: None})
    assert cost(counters, **{price: 1.0, "per_lost_event": 1.0}) is None
    assert cost(counters, per_lost_event=1.0) == pytest.approx(1e6 / 4)


def test_the_cost_of_no_event_is_undefined() -> None:
    nothing = Deliveries.empty(everybody(np.empty(0), 1), Via.POLL)
    assert math.isnan(cost(deliveries=nothing, per_gigabyte=1.0) or 0.0)


def test_what_was_created_in_the_warm_up_costs_nothing_by_the_event() -> None:
    scenario = scenario_from(
        {
            "name": "warm",
            "workload": {"kind": "poisson", "rate_per_s": 1.0},
            "cost": {"per_late_event_second": 1.0, "per_lost_event": 100.0},
            "run": {"duration_s": 10.0, "warmup_s": 8.5, "drain_s": 2.0},
        }
    )
    assert summarise(STORY, COUNTERS, scenario)["cost_per_million_events"] == pytest.approx(3.0 * 1e6)
