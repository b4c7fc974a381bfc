"""Protects every metric's definition: by hand on a small story, and against slow, literal definitions."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sim.audience import everybody, of_rows
from sim.catalogue import MECHANISMS
from sim.engine import run_once, simulate
from sim.errors import InputError
from sim.metrics import age_metrics, summarise, tally_of
from sim.metrics.directions import GOOD, check_metric
from sim.metrics.vocabulary import METRICS
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
    not_modified=1,
    unsent=3,
    redeliveries=2,
    dead_letters=1,
    connection_s=5.0,
    provider_queue_integral_s=20.0,
    provider_queue_max=9,
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
        "goodput_per_s": 3 / 10,
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
        "not_modified_ratio": 1 / 7,
        "unsent_per_event": 3 / 4,
        "redeliveries_per_event": 2 / 4,
        "dead_letter_ratio": 1 / 4,
        "connections_mean": 0.5,
        "provider_queue_mean": 2.0,
        "provider_queue_max": 9.0,
    }
    assert {name: metrics[name] for name in expected} == pytest.approx(expected)


def test_what_is_unknown_is_absent_and_what_is_undefined_is_nan() -> None:
    metrics = summarise(STORY, Counters.unknown(), SCENARIO)
    assert "requests_per_event" not in metrics
    assert "receiver_utilisation" not in metrics
    assert set(metrics) <= set(summarise(STORY, COUNTERS, SCENARIO))
    assert {"fairness", "missed_ratio", "recovery_time_s"} & set(metrics) == set()  # nothing to tell of
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
    twins.visible[:] = [6.0, 1.1, 7.0]
    assert summarise(twins, Counters(), SCENARIO)["out_of_order_ratio"] == 0.0


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


def delivered(created: list[float], *rows: list[float]) -> Deliveries:
    """Deliveries visible at the times given, a row a subscriber; NaN is lost."""
    deliveries = Deliveries.empty(everybody(np.array(created), len(rows)), Via.WEBHOOK)
    deliveries.visible[:] = rows
    deliveries.status[:] = np.where(np.isnan(deliveries.visible), Status.LOST, Status.DELIVERED)
    return deliveries


LAST_VALUE = SCENARIO.with_values(**{"workload.content": "last_value"})


@pytest.mark.parametrize(
    ("visible", "missed"),
    [
        ([1.5, 2.5, 3.5, 4.5], 0),
        ([2.5, 2.5, 4.5, 4.5], 2),  # with a newer one is not before it
        ([5.0, 2.5, 4.0, 4.5], 1),
        ([5.0, 6.0, 7.0, 4.5], 3),
        ([math.nan, 2.5, 3.5, 4.5], 1),
        ([1.5, 2.5, 3.5, math.nan], 1),
    ],
)
def test_an_update_is_missed_unless_it_was_once_the_newest_to_be_seen(
    visible: list[float], missed: int
) -> None:
    """Updates at 1, 2, 4 and 4: the second of an instant replaces the first."""
    story = delivered([1.0, 2.0, 4.0, 4.0], visible)
    assert summarise(story, Counters(), LAST_VALUE)["missed_ratio"] == missed / 4
    assert "missed_ratio" not in summarise(story, Counters(), SCENARIO)


def test_an_update_still_under_way_is_missed_only_once_something_newer_is_seen() -> None:
    story = delivered([1.0, 2.0, 3.0], [math.nan, 2.5, math.nan])
    story.status[0, [0, 2]] = Status.PENDING
    assert summarise(story, Counters(), LAST_VALUE)["missed_ratio"] == 1 / 3


def test_goodput_counts_what_becomes_visible_within_the_window_whenever_it_was_created() -> None:
    story = delivered([1.0, 3.0, 8.0, 9.5], [2.5, 3.5, 10.0, 10.5], [1.5, 4.0, 9.0, 9.75])
    scenario = SCENARIO.with_values(**{"run.warmup_s": 2.0, "subscribers.count": 2})
    assert summarise(story, Counters(), scenario)["goodput_per_s"] == 5 / 8


def test_fairness_is_jains_index() -> None:
    story = delivered([1.0, 5.0], [1.5, 6.5], [4.0, 8.0])  # mean latencies 1 and 3
    assert summarise(story, Counters(), SCENARIO)["fairness"] == pytest.approx(16 / (2 * 10))
    one_has_all = delivered([1.0], [1.0], [1.0], [1.0], [9.0])
    assert summarise(one_has_all, Counters(), SCENARIO)["fairness"] == pytest.approx(1 / 4)
    nobody_waits = delivered([1.0], [1.0], [1.0])
    assert summarise(nobody_waits, Counters(), SCENARIO)["fairness"] == 1.0


def test_no_fairness_is_claimed_where_somebody_got_nothing() -> None:
    got_nothing = delivered([1.0, 2.0], [1.5, 2.5], [math.nan, math.nan])
    assert math.isnan(summarise(got_nothing, Counters(), SCENARIO)["fairness"])
    wanted = of_rows([np.array([0]), np.array([], dtype=np.int64), np.array([1])],
                     [np.array([1.0]), np.array([]), np.array([2.0])])  # fmt: skip
    wanted_nothing = Deliveries.empty(wanted, Via.POLL)
    wanted_nothing.visible[[0, 2], 0] = [2.0, 5.0]
    assert summarise(wanted_nothing, Counters(), SCENARIO)["fairness"] == pytest.approx(16 / (2 * 10))


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
@given(scenario=scenarios(), mechanism=st.sampled_from(list(MECHANISMS)), seed=st.integers(0, 1000))
def test_ages_are_what_their_definitions_say(scenario: Scenario, mechanism: str, seed: int) -> None:
    run = run_once(scenario, mechanism, event_times(scenario, seed), seed)
    window = Window(scenario.run.warmup_s, scenario.run.duration_s)
    metrics = age_metrics(run.deliveries, window)
    ours = (metrics["freshness"], metrics["age_mean_s"], metrics["aoi_mean_s"])
    assert ours == pytest.approx(literal_ages(run.deliveries, window), rel=1e-9, abs=1e-9)
    peaks = literal_peaks(run.deliveries, window)
    assert metrics["peak_aoi_mean_s"] == pytest.approx(np.mean(peaks) if peaks else math.nan, nan_ok=True)


def literal_outcomes(deliveries: Deliveries, scenario: Scenario) -> dict[str, float]:
    """Out of order, missed, and late, event by event against every other."""
    overtaken, missed, late_s = 0, 0, 0.0
    for s, n in enumerate(deliveries.audience.count):
        created, status = deliveries.created[s, :n], deliveries.status[s, :n]
        visible = np.where(np.isnan(deliveries.visible[s, :n]), math.inf, deliveries.visible[s, :n])
        for e in range(n):
            if created[e] < scenario.run.warmup_s:
                continue
            later = created > created[e]
            overtaken += bool(status[e] == Status.DELIVERED and (visible[later] < visible[e]).any())
            seen = visible[e + 1 :][np.isfinite(visible[e + 1 :])]
            missed += bool(status[e] == Status.LOST or (seen <= visible[e]).any())
            late_s += min(visible[e], scenario.world_end_s) - created[e]
    return {"overtaken": overtaken, "missed": missed, "late_s": late_s}


@settings(max_examples=60, deadline=None, derandomize=True)
@given(scenario=scenarios(), mechanism=st.sampled_from(list(MECHANISMS)), seed=st.integers(0, 1000))
def test_outcomes_are_what_their_definitions_say(scenario: Scenario, mechanism: str, seed: int) -> None:
    run = run_once(scenario, mechanism, event_times(scenario, seed), seed)
    tally = tally_of(run.deliveries, scenario)
    windowed = run.deliveries.within(Window(scenario.run.warmup_s, scenario.run.duration_s))
    assert literal_outcomes(run.deliveries, scenario) == pytest.approx(
        {"overtaken": tally.overtaken, "missed": tally.missed, "late_s": tally.late_s}
    )
    assert tally.total == windowed.sum() == tally.delivered + tally.lost + tally.pending
    assert tally.attempts == run.deliveries.attempts[windowed].sum()
    copies = run.deliveries.copies[windowed & (run.deliveries.status == Status.DELIVERED)]
    assert tally.duplicates == (copies - 1).sum()


@settings(max_examples=30, deadline=None, derandomize=True)
@given(scenario=scenarios(), mechanism=st.sampled_from(list(MECHANISMS)), seed=st.integers(0, 1000))
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


def test_polls_of_a_last_value_miss_what_theory_says() -> None:
    """Of Poisson updates a poll each T sees the newest, if there is one: (1 - e^(-λT))/(λT) are seen.

    λT = 2, so 1 - 0.43233 are missed. 40 runs; 5 standard errors, of well under a hundredth.
    """
    scenario = scenario_from(
        {
            "name": "ticker",
            "workload": {"kind": "poisson", "rate_per_s": 0.2, "content": "last_value"},
            "network": {"one_way": {"kind": "constant", "mean_s": 0.0}},
            "polling": {"interval_s": 10.0},
            "receiver": {"workers": 1, "service": {"kind": "constant", "mean_s": 0.0}},
            "provider_api": {"service": {"kind": "constant", "mean_s": 0.0}},
            "run": {"duration_s": 20_000.0, "drain_s": 10.0},
        }
    )
    missed = simulate(scenario, ["polling"], replications=40, records=False).metrics["polling"][
        "missed_ratio"
    ]
    standard_error = float(np.std(missed, ddof=1)) / math.sqrt(len(missed))
    assert 5 * standard_error < 0.01
    assert np.mean(missed) == pytest.approx(1 - 0.43233, abs=5 * standard_error)


def test_every_metric_of_a_simulation_is_good_one_way_or_deliberately_neither() -> None:
    """A new metric needs a decision: verdicts, winners and fronts depend on it."""
    scenario = load_scenario("shop-orders").with_values(
        **{
            "run.duration_s": 1500.0, "cost.per_million_requests": 1.0, "workload.content": "last_value",
            "subscribers.count": 2,
        }
    )  # fmt: skip
    outcome = simulate(scenario, list(MECHANISMS), records=False)
    known = {metric for by_metric in outcome.metrics.values() for metric in by_metric}
    neither = {"provider_utilisation", "receiver_utilisation", "connections_mean", "connections_peak"}
    assert known == set(METRICS) == set(GOOD) | neither | {"not_modified_ratio"}
    with pytest.raises(InputError, match=r"'latency_men_s': no such metric; did you mean 'latency_mean_s'"):
        check_metric("latency_men_s")
