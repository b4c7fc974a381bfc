"""Protects the open loop's root: send times come from the event list alone and survive the plan folder."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtest.crowd import crowd_schedule
from loadtest.schedule import (
    DEFAULT_DURATION_S,
    Plan,
    event_schedule,
    event_times_s,
    intended_us,
    scheduled_scenario,
)
from sim.errors import InputError
from sim.scenario import load_scenario, scenario_from


@pytest.mark.parametrize(
    ("times_s", "expected"),
    [
        ([], []),
        ([0.0], [0]),
        ([0.0000004, 0.0000006], [0, 1]),
        ([1.5, 1.5, 2.25], [1_500_000, 1_500_000, 2_250_000]),
        ([86_399.999_999], [86_399_999_999]),
    ],
)
def test_seconds_become_whole_microseconds(times_s, expected):
    assert intended_us(np.array(times_s)).tolist() == expected


@pytest.mark.parametrize(
    ("times_s", "named"),
    [
        ([0.0, 2.0, 1.0], "send time 2 is 1.0"),
        ([-0.5], "send time 0 is -0.5"),
        ([0.0, np.nan], "send time 1 is nan"),
    ],
)
def test_a_time_that_cannot_be_scheduled_is_named(times_s, named):
    with pytest.raises(InputError, match=named):
        intended_us(np.array(times_s))


def test_a_rate_replaces_the_workload_by_poisson_and_keeps_the_payload():
    scenario = load_scenario("shop-orders")
    changed = scheduled_scenario(scenario, rate_per_s=200.0, duration_s=10.0)
    assert (changed.workload.kind, changed.workload.rate_per_s) == ("poisson", 200.0)
    assert changed.workload.payload_bytes == scenario.workload.payload_bytes
    offsets = event_schedule(changed, seed=3)
    # 2,000 events expected; four standard deviations are 179.
    assert abs(offsets.size - 2000) < 179
    assert offsets[0] >= 0
    assert offsets[-1] < 10_000_000


def test_the_schedule_is_the_simulations_event_list():
    from sim.workload import event_times

    scenario = scheduled_scenario(load_scenario("shop-orders"), rate_per_s=50.0, duration_s=4.0)
    assert event_schedule(scenario, 7).tolist() == np.rint(event_times(scenario, 7) * 1e6).tolist()


def test_a_simulated_day_is_not_loaded_for_a_day():
    scenario = load_scenario("shop-orders")
    assert scheduled_scenario(scenario).run.duration_s == DEFAULT_DURATION_S
    assert scheduled_scenario(scenario, duration_s=90.0).run.duration_s == 90.0


@pytest.mark.parametrize("value", [0.0, -1.0, float("nan"), float("inf")])
def test_an_impossible_rate_or_duration_is_refused(value):
    scenario = load_scenario("shop-orders")
    with pytest.raises(InputError, match=r"--rate must be a number above 0"):
        scheduled_scenario(scenario, rate_per_s=value)
    with pytest.raises(InputError, match=r"--duration must be a number above 0"):
        scheduled_scenario(scenario, duration_s=value)


def test_a_warm_up_longer_than_the_load_is_dropped():
    scenario = load_scenario("shop-orders").with_values(**{"run.warmup_s": 100.0})
    assert scheduled_scenario(scenario, duration_s=5.0).run.warmup_s == 0.0


def test_no_event_within_the_duration_is_said_before_anything_starts():
    scenario = scheduled_scenario(load_scenario("shop-orders"), rate_per_s=1e-6, duration_s=1.0)
    with pytest.raises(InputError, match=r"no event within 1 s; raise --rate or --duration"):
        event_schedule(scenario, 1)


def test_of_a_trace_only_what_falls_within_the_duration_is_sent(tmp_path):
    trace = tmp_path / "trace.csv"
    trace.write_text("created\n0\n1\n2.5\n7\n")
    scenario = scenario_from(
        {
            "name": "traced",
            "workload": {"kind": "trace", "path": str(trace)},
            "run": {"duration_s": 10.0},
        }
    )
    assert event_times_s(scheduled_scenario(scenario, duration_s=3.0), 1).tolist() == [0.0, 1.0, 2.5]


def test_a_crowds_polls_are_its_ticks_and_find_what_came_since_the_last():
    polls = crowd_schedule(
        phases_s=np.array([0.5, 0.25]),
        interval_s=1.0,
        duration_s=2.0,
        event_times_s=np.array([0.3, 0.4, 1.3, 1.31, 1.32]),
        page_size=2,
    )
    assert polls.offsets_us.tolist() == [250_000, 500_000, 1_250_000, 1_500_000]
    assert polls.poller.tolist() == [1, 0, 1, 0]
    # The last poll would find three events; a page holds two.
    assert polls.due.tolist() == [0, 2, 2, 2]


@given(
    phases=st.lists(st.floats(0, 5), min_size=1, max_size=8),
    events=st.lists(st.floats(0, 20), max_size=40),
    interval=st.floats(0.5, 7),
)
def test_each_event_is_found_once_by_each_poller(phases, events, interval):
    times = np.sort(np.array(events))
    horizon = 20.0 + 2 * interval  # so that a tick follows the last event
    polls = crowd_schedule(np.array(phases), interval, horizon, times, page_size=1000)
    for poller, phase in enumerate(phases):
        before = np.count_nonzero(times <= phase - interval)
        assert polls.due[polls.poller == poller].sum() == times.size - before


def test_a_plan_survives_its_folder(tmp_path):
    plan = Plan(
        run_id="ab12",
        arm="polling",
        path="/events",
        offsets_us=np.array([0, 10, 20]),
        due=np.array([0, 1, 0]),
        cursors=("2", "1"),
        lead_in_s=0.5,
    )
    plan.write(tmp_path)
    read = Plan.read(tmp_path)
    assert read.offsets_us.tolist() == [0, 10, 20]
    assert read.due.tolist() == [0, 1, 0]
    assert (read.run_id, read.arm, read.path, read.cursors, read.lead_in_s) == (
        "ab12",
        "polling",
        "/events",
        ("2", "1"),
        0.5,
    )


def test_a_folder_without_a_plan_is_an_input_error(tmp_path):
    with pytest.raises(InputError, match="no readable plan"):
        Plan.read(tmp_path)


@given(count=st.integers(0, 200), workers=st.integers(1, 7))
def test_workers_shares_cover_the_schedule_exactly_once(count, workers):
    plan = Plan("r", "webhook", "/", np.zeros(count, dtype=np.int64))
    shares = np.concatenate([plan.share(worker, workers) for worker in range(workers)])
    assert sorted(shares.tolist()) == list(range(count))
