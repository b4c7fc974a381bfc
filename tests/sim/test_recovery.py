"""Protects the recovery time: its definition by hand and step by step, and the fluid law of a drain.

A server that stands still for D while λ arrive a second, and then works at cμ, has λD to work off at cμ − λ a
second: λD/(cμ − λ). With 80/s, 100/s and 60 s that is 240 s.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sim.audience import everybody
from sim.catalogue import MECHANISMS
from sim.engine import run_once, simulate
from sim.metrics import digest_records, recovery_metrics
from sim.records import Deliveries, Status, Via
from sim.scenario import Scenario, scenario_from
from sim.workload import event_times
from tests.sim.generated import scenarios


def world(*outages: tuple[float, float], api: tuple[tuple[float, float], ...] = (), **run: float) -> Scenario:
    def tables(spans: tuple[tuple[float, float], ...]) -> dict[str, Any]:
        return {"outages": [{"start_s": a, "duration_s": b - a} for a, b in spans]}

    return scenario_from(
        {
            "name": "recovering",
            "workload": {"kind": "poisson", "rate_per_s": 1.0},
            "receiver": tables(outages),
            "provider_api": tables(api),
            "run": {"duration_s": 100.0} | run,
        }
    )


def story(*spans: tuple[float, float]) -> Deliveries:
    """Events (created, visible); inf is pending, NaN lost."""
    deliveries = Deliveries.empty(everybody(np.array([created for created, _ in spans]), 1), Via.POLL)
    visible = np.array([visible for _, visible in spans])
    deliveries.status[0] = np.where(np.isnan(visible), Status.LOST, Status.DELIVERED)
    deliveries.status[0, np.isinf(visible)] = Status.PENDING
    deliveries.visible[0] = np.where(np.isinf(visible), np.nan, visible)
    return deliveries


def recovery_s(deliveries: Deliveries, scenario: Scenario) -> float:
    return recovery_metrics(digest_records(deliveries, scenario), scenario)["recovery_time_s"]


# Never more than 2 wait before 20; 5 do from 24 on, when the outage is over at 25.
TWO_WAIT = ((1.0, 4.0), (2.0, 4.0), (10.0, 11.0))
FIVE_WAIT = ((20.0, 30.0), (21.0, 33.0), (22.0, 35.0), (23.0, 40.0), (24.0, 41.0))


def test_recovery_ends_when_no_more_wait_than_ever_did_before() -> None:
    assert recovery_s(story(*TWO_WAIT, *FIVE_WAIT), world((20.0, 25.0))) == 10.0  # at 35 two are left


def test_an_arrival_at_that_instant_still_waits() -> None:
    assert recovery_s(story(*TWO_WAIT, *FIVE_WAIT, (35.0, 50.0)), world((20.0, 25.0))) == 15.0


def test_what_is_lost_is_nobodys_backlog() -> None:
    lost = [(created, math.nan) for created, _ in FIVE_WAIT]
    assert recovery_s(story(*TWO_WAIT, *lost), world((20.0, 25.0))) == 0.0


def test_a_backlog_that_lasts_to_the_end_has_no_recovery_time() -> None:
    pending = [(created, math.inf) for created, _ in FIVE_WAIT]
    assert math.isnan(recovery_s(story(*TWO_WAIT, *pending), world((20.0, 25.0))))


def test_several_outages_are_one_trouble() -> None:
    """Normal is what was before the first, and the clock starts when the last is over, whosever it is."""
    events = story(*TWO_WAIT, *FIVE_WAIT)
    assert recovery_s(events, world((20.0, 25.0), (26.0, 28.0))) == 7.0
    assert recovery_s(events, world((20.0, 25.0), api=((31.0, 32.0),))) == 3.0
    assert recovery_s(events, world(api=((20.0, 25.0),))) == 10.0
    assert recovery_s(events, world((20.0, 25.0), (99.0, 120.0), drain_s=50.0)) == 10.0  # not over in time


def test_without_an_outage_that_ends_in_the_window_there_is_nothing_to_tell() -> None:
    events = story(*TWO_WAIT, *FIVE_WAIT)
    for scenario in (world(), world((90.0, 100.0)), world((20.0, 25.0), warmup_s=25.0)):
        assert recovery_metrics(digest_records(events, scenario), scenario) == {}


def test_without_a_look_at_a_normal_backlog_recovery_is_undefined() -> None:
    assert math.isnan(recovery_s(story(*TWO_WAIT, *FIVE_WAIT), world((20.0, 25.0), warmup_s=20.0)))
    assert recovery_s(story(*TWO_WAIT, *FIVE_WAIT), world((20.0, 25.0), warmup_s=19.0)) == 16.0  # none waited


def literal_recovery_s(deliveries: Deliveries, scenario: Scenario, begins_s: float, ends_s: float) -> float:
    """The backlog counted anew at every time at which it can change."""
    kept = np.isfinite(deliveries.created) & (deliveries.status != Status.LOST)
    created = deliveries.created[kept]
    visible = np.where(np.isnan(deliveries.visible[kept]), math.inf, deliveries.visible[kept])

    def backlog(time_s: float) -> int:
        return int(((created <= time_s) & (visible > time_s)).sum())

    start_s = scenario.run.warmup_s
    changes = np.unique(np.concatenate([[start_s, ends_s], created, visible[np.isfinite(visible)]]))
    normal = max(backlog(t) for t in changes if start_s <= t < begins_s)
    return next((t - ends_s for t in changes if t >= ends_s and backlog(t) <= normal), math.nan)


@settings(max_examples=80, deadline=None, derandomize=True)
@given(
    scenario=scenarios(),
    mechanism=st.sampled_from(list(MECHANISMS)),
    seed=st.integers(0, 1000),
    begins_s=st.sampled_from([2.25, 3.0, 4.0]),
    lasts_s=st.sampled_from([0.25, 0.75]),
)
def test_recovery_is_what_its_definition_says(
    scenario: Scenario, mechanism: str, seed: int, begins_s: float, lasts_s: float
) -> None:
    outage = {"start_s": begins_s, "duration_s": lasts_s}
    scenario = scenario.with_values(
        **{
            "receiver.random_outages": None,
            "provider_api.random_outages": None,
            "provider_api.outages": (),
            "receiver.outages": (outage,),
        }
    )
    deliveries = run_once(scenario, mechanism, event_times(scenario, seed), seed).deliveries
    expected = literal_recovery_s(deliveries, scenario, begins_s, begins_s + lasts_s)
    assert recovery_s(deliveries, scenario) == pytest.approx(expected, nan_ok=True)


# The fluid law. An event every 12.5 ms; one worker takes 10 ms for each.

FLUID: dict[str, Any] = {
    "name": "drain",
    "workload": {"kind": "periodic", "rate_per_s": 80.0, "phase": "synchronised"},
    "network": {"one_way": {"kind": "constant", "mean_s": 0.0}},
    "polling": {"interval_s": 1.0, "phase": "synchronised", "page_size": 100_000},
    "receiver": {
        "workers": 1,
        "service": {"kind": "constant", "mean_s": 0.01},
        "queue_limit": 100_000,
        "acknowledge": "on_receipt",
    },
    "provider_api": {"service": {"kind": "constant", "mean_s": 0.0}},
    "run": {"duration_s": 600.0},
}


def fluid(mechanism: str, kind: str, **values: Any) -> float:
    outage = {"start_s": 100.0, "duration_s": 60.0, "kind": kind, "slowdown": 6000.0}
    scenario = scenario_from(FLUID).with_values(**{"receiver.outages": (outage,)} | values)
    return simulate(scenario, [mechanism], records=False).metrics[mechanism]["recovery_time_s"][0]


EVENT_MORE_S = 1 / (100 - 80)  # what an event more in the backlog adds


def test_a_pushed_backlog_drains_as_a_fluid() -> None:
    """The job that starts as the receiver slows down takes the 60 s of the outage: nothing else is served.

    One is in service on any day, and the drain ends where one is left: an event sooner.
    """
    assert fluid("webhook", "slow") == pytest.approx(240.0 - EVENT_MORE_S, abs=1.01 * EVENT_MORE_S)


def test_a_polled_backlog_drains_as_a_fluid_to_its_sawtooths_top() -> None:
    """80 events wait just before a tick on any day, and also when the outage begins: 4880 fall to 80."""
    assert fluid("polling", "refuse") == pytest.approx(240.0, abs=2.01 * EVENT_MORE_S)


def test_spare_capacity_shortens_the_drain() -> None:
    """At 160/s there are 80 to spare instead of 20."""
    faster = {"receiver.service": {"kind": "constant", "mean_s": 0.00625}}
    assert fluid("polling", "refuse", **faster) == pytest.approx(60.0, abs=2.01 / 80)


def test_a_run_without_outages_has_no_recovery_time() -> None:
    scenario = scenario_from(FLUID).with_values(**{"receiver.outages": ()})
    assert "recovery_time_s" not in simulate(scenario, ["polling"], records=False).metrics["polling"]
