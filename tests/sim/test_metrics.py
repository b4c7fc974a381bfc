"""Protects every metric's definition: by hand on a small story, and against slow, literal definitions."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sim.audience import everybody
from sim.engine import run_once
from sim.metrics import age_metrics, summarise
from sim.records import Counters, Deliveries, Status, Via, Window
from sim.scenario import Scenario, load_scenario, scenario_from
from sim.workload import event_times
from tests.sim.generated import scenarios

STORY = Deliveries(
    audience=everybody(np.array([1.0, 2.0, 4.0, 9.0]), 1),
    first_attempt=np.array([[1.0, 2.0, 4.0, 9.0]]),
    visible=np.array([[1.5, 5.0, 4.5, np.nan]]),
    attempts=np.array([[1, 3, 1, 2]], dtype=np.int32),
    copies=np.array([[1, 2, 1, 0]], dtype=np.int32),
    via=np.full((1, 4), Via.WEBHOOK, dtype=np.int8),
    status=np.array([[Status.DELIVERED, Status.DELIVERED, Status.DELIVERED, Status.LOST]], dtype=np.int8),
)
SCENARIO = scenario_from(
    {
        "name": "story",
        "workload": {"kind": "poisson", "rate_per_s": 1.0},
        "receiver": {"workers": 2},
        "cost": {"per_million_requests": 0.5},
        "run": {"duration_s": 10.0, "on_time_s": 1.0},
    }
)
COUNTERS = Counters(
    requests=7,
    empty_responses=2,
    rejected=1,
    timeouts=1,
    request_bytes=70,
    response_bytes=30,
    receiver_busy_s=4.0,
)


def test_a_small_story_by_hand() -> None:
    metrics = summarise(STORY, COUNTERS, SCENARIO)
    expected = {
        "latency_mean_s": (0.5 + 3.0 + 0.5) / 3,
        "latency_p50_s": 0.5,
        "latency_p95_s": 0.5 + 0.9 * 2.5,
        "latency_max_s": 3.0,
        "attempts_per_event": 7 / 4,
        "duplicates_per_event": 1 / 4,
        "lost_ratio": 1 / 4,
        "pending_ratio": 0.0,
        "out_of_order_ratio": 1 / 3,  # event 1 is visible after event 2
        "on_time_ratio": 2 / 4,
        # Not fresh in [1, 1.5), [2, 5) and [9, 10).
        "freshness": 1 - 4.5 / 10,
        "age_mean_s": (0.5**2 / 2 + 3.0**2 / 2 + 1.0**2 / 2) / 10,
        # t on [0, 1.5), t - 1 on [1.5, 4.5), t - 4 on [4.5, 10): event 1 is old news at 5.
        "aoi_mean_s": (1.5**2 / 2 + (3.5**2 - 0.5**2) / 2 + (6.0**2 - 0.5**2) / 2) / 10,
        "peak_aoi_mean_s": (1.5 + 3.5) / 2,
        "requests_per_event": 7 / 4,
        "empty_ratio": 2 / 7,
        "rejected_ratio": 1 / 7,
        "timeout_ratio": 1 / 7,
        "bytes_per_event": 25.0,
        "receiver_utilisation": 0.2,
        "cost_per_million_events": 7 * 0.5 / 4,
    }
    assert {name: metrics[name] for name in expected} == pytest.approx(expected)


def test_what_is_unknown_is_absent_and_what_is_undefined_is_nan() -> None:
    metrics = summarise(STORY, Counters.unknown(), SCENARIO)
    assert "requests_per_event" not in metrics
    assert "receiver_utilisation" not in metrics
    nothing = Deliveries.empty(everybody(np.empty(0), 1), Via.POLL)
    metrics = summarise(nothing, Counters(), SCENARIO)
    assert math.isnan(metrics["latency_p99_s"])
    assert math.isnan(metrics["lost_ratio"])
    assert metrics["freshness"] == 1.0
    assert metrics["aoi_mean_s"] == pytest.approx(5.0)


def test_what_becomes_visible_at_one_instant_is_one_update() -> None:
    together = Deliveries.empty(everybody(np.array([1.0, 2.0, 3.0, 4.0]), 1), Via.POLL)
    together.visible[:] = 10.5
    assert age_metrics(together, Window(0.0, 20.0))["peak_aoi_mean_s"] == 10.5
    assert age_metrics(together, Window(11.0, 20.0))["aoi_mean_s"] == pytest.approx(15.5 - 4.0)


def test_events_created_at_one_instant_do_not_overtake_each_other() -> None:
    twins = Deliveries.empty(everybody(np.array([1.0, 1.0, 2.0]), 1), Via.WEBHOOK)
    twins.visible[:] = [6.0, 1.1, 3.0]
    twins.status[:] = Status.DELIVERED
    assert summarise(twins, Counters(), SCENARIO)["out_of_order_ratio"] == pytest.approx(1 / 3)


def test_two_subscribers_share_the_denominators() -> None:
    scenario = SCENARIO.with_values(
        **{"subscribers.count": 2, "provider_api.workers": 4, "run.warmup_s": 2.0}
    )
    both = Deliveries.empty(everybody(np.array([1.0, 3.0, 5.0]), 2), Via.POLL)
    both.visible[:] = [[4.0, 4.0, 6.0], [4.0, 6.0, 7.0]]
    both.status[:] = Status.DELIVERED
    counters = Counters(
        requests=8,
        receiver_busy_s=16.0,
        provider_busy_s=3.2,
        receiver_queue_integral_s=8.0,
        connections_peak=2,
    )
    metrics = summarise(both, counters, scenario)
    expected = {
        "latency_mean_s": (1.0 + 1.0 + 3.0 + 2.0) / 4,  # the event created in the warm-up does not count
        "requests_per_event": 8 / 4,
        "receiver_utilisation": 16.0 / (2 * 2 * 8.0),
        "provider_utilisation": 3.2 / (4 * 8.0),
        "receiver_queue_mean": 8.0 / (2 * 8.0),
        "connections_peak": 2.0,
        # but it makes both stale from 2 to 4; then the first is in [5, 6), the second in [4, 7).
        "freshness": 1 - (2.0 + 1.0 + 2.0 + 3.0) / (2 * 8.0),
    }
    assert {name: metrics[name] for name in expected} == pytest.approx(expected)


def test_on_time_includes_the_bound() -> None:
    exactly = Deliveries.empty(everybody(np.array([1.0, 2.0]), 1), Via.POLL)
    exactly.visible[:] = [2.0, 3.5]
    assert summarise(exactly, Counters(), SCENARIO)["on_time_ratio"] == 0.5


def test_a_frame_of_two_runs_is_refused() -> None:
    frame = STORY.frame(Window(0.0, 10.0))
    with pytest.raises(ValueError, match="one run of one mechanism"):
        Deliveries.from_frame(pd.concat([frame, frame]))


def literal_peaks(deliveries: Deliveries, window: Window) -> list[float]:
    """Age of information just before each instant at which it drops."""
    peaks = []
    for created, visible in zip(deliveries.created, deliveries.visible, strict=True):
        for instant in np.unique(visible[~np.isnan(visible)]):
            before = created[visible < instant].max(initial=0.0)
            after = created[visible <= instant].max(initial=0.0)
            if after > before and window.start_s <= instant < window.end_s:
                peaks.append(instant - before)
    return peaks


def literal_ages(deliveries: Deliveries, window: Window) -> tuple[float, float, float]:
    """Freshness, age and age of information, straight from their definitions.

    Between two changes all three are linear, so the midpoint rule over every change is exact.
    """
    changes = np.concatenate([deliveries.created.ravel(), deliveries.visible[~np.isnan(deliveries.visible)]])
    inside = changes[(changes > window.start_s) & (changes < window.end_s)]
    edges = np.unique(np.concatenate([inside, [window.start_s, window.end_s]]))
    fresh = age = aoi = 0.0
    for created, visible in zip(deliveries.created, deliveries.visible, strict=True):
        for low, high in pairwise(edges):
            now = (low + high) / 2
            seen = visible <= now
            unseen = created[(created <= now) & ~seen]
            newest = created[seen].max(initial=0.0)
            fresh += (high - low) * (unseen.size == 0)
            age += (high - low) * (now - unseen.min() if unseen.size else 0.0)
            aoi += (high - low) * (now - newest)
    total = window.length_s * len(deliveries.visible)
    return fresh / total, age / total, aoi / total


@settings(max_examples=60, deadline=None, derandomize=True)
@given(scenario=scenarios(), mechanism=st.sampled_from(["webhook", "polling"]), seed=st.integers(0, 1000))
def test_ages_are_what_their_definitions_say(scenario: Scenario, mechanism: str, seed: int) -> None:
    run = run_once(scenario, mechanism, event_times(scenario, seed), seed)
    window = Window(scenario.run.warmup_s, scenario.run.duration_s)
    metrics = age_metrics(run.deliveries, window)
    ours = (metrics["freshness"], metrics["age_mean_s"], metrics["aoi_mean_s"])
    assert ours == pytest.approx(literal_ages(run.deliveries, window), rel=1e-9, abs=1e-9)
    peaks = literal_peaks(run.deliveries, window)
    assert metrics["peak_aoi_mean_s"] == pytest.approx(np.mean(peaks) if peaks else math.nan, nan_ok=True)


@settings(max_examples=30, deadline=None, derandomize=True)
@given(scenario=scenarios(), mechanism=st.sampled_from(["webhook", "polling"]), seed=st.integers(0, 1000))
def test_ratios_share_out_the_events_and_a_frame_holds_all_there_is(
    scenario: Scenario, mechanism: str, seed: int
) -> None:
    run = run_once(scenario, mechanism, event_times(scenario, seed), seed)
    metrics = summarise(run.deliveries, run.counters, scenario)
    frame = run.deliveries.frame(Window(0.0, scenario.run.duration_s))
    if run.deliveries.audience.count.all():  # a frame does not tell of subscribers without events
        assert summarise(frame, run.counters, scenario) == pytest.approx(metrics, nan_ok=True)
    windowed = run.deliveries.within(Window(scenario.run.warmup_s, math.inf))
    if windowed.any():
        status = run.deliveries.status[windowed]
        delivered = float((status == Status.DELIVERED).mean())
        assert delivered + metrics["lost_ratio"] + metrics["pending_ratio"] == pytest.approx(1.0)


def test_latency_covers_events_created_after_the_warm_up() -> None:
    scenario = load_scenario("shop-orders").with_values(**{"run.warmup_s": 3.0, "run.duration_s": 10.0})
    assert summarise(STORY, COUNTERS, scenario)["latency_max_s"] == pytest.approx(0.5)
