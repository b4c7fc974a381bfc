"""Protects the joining of samples, inbox and ledgers: each event counted once, under its heading."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from loadtest.inbox import LedgerRow
from loadtest.monitor import Monitor
from loadtest.recorder import HIGHEST_US, TIMED_OUT, Samples
from loadtest.runner.arms import RACE_ARMS
from loadtest.runner.arms.pull import next_tick_us
from loadtest.runner.comparison import differences, race_records
from loadtest.runner.figures_of_merit import (
    generator_metrics,
    judged_record_metrics,
    judged_sample_metrics,
    latency_metrics,
    server_metrics,
)
from loadtest.runner.fleet import CpuPlan
from loadtest.runner.incarnations import summed
from loadtest.runner.outcome import (
    Measured,
    count,
    count_race,
    deliveries,
    finish,
    last_visible_us,
    sender_counters,
    visible_us,
)
from loadtest.runner.processes import Crew
from loadtest.runner.progress import Progress
from loadtest.runner.results import ArmRun
from loadtest.runner.session import Session, Settings, difference, idle_span
from loadtest.traffic import COPY, FORGED, GENUINE
from sim.scenario import load_scenario

ORIGIN_US = 1_000_000


def row(
    index: int, visible: int | None, copies: int = 1, received: int = 5, via: str = "webhook"
) -> LedgerRow:
    return LedgerRow(index + 1, f"evt_r_{index}", index, "new_order", via, 0, received, visible, copies)


def five_requests() -> Samples:
    """Acknowledged and visible; acknowledged and lost; timed out but visible; refused 503; never sent."""
    samples = Samples.scheduled(np.arange(5), ORIGIN_US + np.arange(5) * 100_000)
    samples.sent_us[:4] = samples.intended_us[:4] + 10
    samples.done_us[:4] = samples.intended_us[:4] + 1000
    samples.status[:4] = [204, 204, TIMED_OUT, 503]
    samples.attempts[:4] = 1
    return samples


ROWS = [row(0, ORIGIN_US + 5_000, copies=3), row(1, None), row(2, ORIGIN_US + 250_000)]


def test_the_ledger_puts_every_request_under_one_heading():
    ledger = count(five_requests(), ROWS)
    assert ledger.as_dict() == {
        "scheduled": 5,
        "sent": 4,
        "unsent": 1,
        "acknowledged": 2,
        "failed": 2,
        "visible": 1,
        "lost": 1,
        "duplicates": 2,
        "unacknowledged_visible": 1,
        "given_up": None,
        "pending": None,
        "refused": None,
        "repeated": None,
        "retries": None,
        "forgeries_acknowledged": None,
    }
    assert ledger.mismatches() == ["1 acknowledged events never became visible"]


def stormy() -> Samples:
    """Event 0 by two requests, event 1 by one of three attempts; forgeries refused, taken and failed."""
    kinds = [GENUINE, COPY, GENUINE, FORGED, FORGED, FORGED]
    samples = Samples.scheduled(
        np.arange(6), ORIGIN_US + np.arange(6) * 100_000, np.array([0, 0, 1, 2, 3, 4]), np.array(kinds)
    )
    samples.sent_us[:] = samples.intended_us + 10
    samples.done_us[:] = samples.intended_us + 1000
    samples.status[:] = [204, 204, 204, 401, 204, 503]
    samples.attempts[:] = [1, 1, 3, 1, 1, 1]
    return samples


def test_the_ledger_is_exact_in_storms():
    rows = [row(0, ORIGIN_US + 5_000, copies=2), row(1, ORIGIN_US + 6_000)]
    ledger = count(stormy(), rows)
    assert (ledger.scheduled, ledger.sent, ledger.acknowledged, ledger.failed) == (6, 6, 3, 2)
    assert (ledger.refused, ledger.repeated, ledger.retries, ledger.duplicates) == (1, 1, 2, 1)
    assert (ledger.visible, ledger.lost, ledger.unacknowledged_visible) == (2, 0, 0)
    # A forgery that was taken is a hole in the server, and voids the run.
    assert ledger.mismatches() == ["1 forged requests were acknowledged"]
    # What a copy brought is as good as what the first request brought, and lost if neither did.
    assert count(stormy(), rows[1:]).lost == 1
    frame = deliveries(stormy(), rows, ORIGIN_US)
    assert frame["attempts"].tolist() == [2, 3]
    assert frame["status"].tolist() == ["delivered", "delivered"]


def test_in_storms_latency_is_that_of_genuine_requests():
    samples = stormy()
    assert samples.corrected_us.size == 3
    assert samples.refused_us.tolist() == [1000]
    assert samples.failures() == {"HTTP 204": 1, "HTTP 503": 1}


def test_a_races_ledger_tells_what_the_sender_gave_up_from_what_the_receiver_lost():
    samples = Samples.scheduled(np.arange(6), ORIGIN_US + np.arange(6))
    samples.sent_us[:] = samples.done_us[:] = samples.intended_us
    samples.status[:] = 202
    rows = [row(0, ORIGIN_US + 5), row(1, ORIGIN_US + 6), row(2, ORIGIN_US + 7)]
    # 1 was given up and 2 is still tried, though a copy of each was stored and became visible.
    outcomes = {0: "acknowledged", 1: "failed", 2: "pending", 3: "failed", 4: "pending", 5: "pending"}
    ledger = count_race(samples, rows, outcomes)
    assert (ledger.acknowledged, ledger.visible, ledger.lost) == (6, 3, 0)
    assert (ledger.given_up, ledger.pending, ledger.mismatches()) == (1, 2, [])
    lost = count_race(samples, rows, outcomes | {5: "acknowledged"})
    assert lost.mismatches() == ["1 acknowledged events never became visible"]
    # Polled events have no sender: what was published must be visible.
    assert count_race(samples, rows, {}).lost == 3


def test_foreign_events_in_an_inbox_are_not_ours():
    when, copies = visible_us([row(0, 7), row(99, 8)], 2)
    assert when.tolist() == [7, -1]
    assert copies.tolist() == [1, 0]


def test_the_counts_of_a_restarted_server_are_summed_and_what_is_of_now_is_not():
    before = {"accepted": 5, "queue_max": 9, "waiting": 3, "role": "receiver", "busy_s": 1.5}
    now = {"accepted": 2, "queue_max": 4, "waiting": 1, "role": "receiver", "busy_s": 0.25, "recovered": 3}
    total = {"accepted": 7, "queue_max": 9, "waiting": 1, "role": "receiver", "busy_s": 1.75, "recovered": 3}
    assert summed(before, now) == total
    assert summed({}, now) == now


def test_a_loads_records_follow_the_schema():
    frame = deliveries(five_requests(), ROWS, ORIGIN_US)
    assert frame["status"].tolist() == ["delivered", "lost", "delivered", "lost", "pending"]
    assert frame["created"].tolist() == pytest.approx([0.0, 0.1, 0.2, 0.3, 0.4])
    assert frame["visible"].iloc[0] == pytest.approx(0.005)
    assert frame["visible"].isna().tolist() == [False, True, False, True, True]
    assert frame["attempts"].tolist() == [1, 1, 1, 1, 0]


def test_counters_cover_the_window_only():
    counters = sender_counters(five_requests(), {"busy_s": 0.5}, start_us=ORIGIN_US + 250_000)
    assert (counters.requests, counters.rejected, counters.timeouts) == (1, 1, 0)
    assert counters.receiver_busy_s == 0.5
    assert counters.receiver_queue_max is None


def test_the_servers_work_ends_with_the_last_visible_event_or_the_run():
    assert last_visible_us(ROWS, 0) == ORIGIN_US + 250_000
    assert last_visible_us(ROWS, ORIGIN_US + 900_000) == ORIGIN_US + 900_000
    assert last_visible_us([], 3) == 3


def test_a_races_records_tell_delivered_lost_and_pending_apart():
    intended = ORIGIN_US + np.arange(4) * 100_000
    provider = [
        {"index": "0", "first_attempt_us": str(ORIGIN_US + 7), "attempts": "2", "outcome": "acknowledged"},
        {"index": "1", "first_attempt_us": str(ORIGIN_US + 8), "attempts": "6", "outcome": "failed"},
        {"index": "2", "first_attempt_us": "-1", "attempts": "0", "outcome": "pending"},
        # Given up by the sender, yet a copy was stored: it is delivered.
        {"index": "3", "first_attempt_us": str(ORIGIN_US + 9), "attempts": "6", "outcome": "failed"},
    ]
    rows = [row(0, ORIGIN_US + 20), row(3, ORIGIN_US + 400_000, copies=2)]
    webhook, polling = RACE_ARMS["webhook"], RACE_ARMS["polling"]
    tries = webhook.tries(4, rows, provider, {})
    frame = race_records(intended, rows, provider, tries, webhook.via, ORIGIN_US)
    assert frame["status"].tolist() == ["delivered", "lost", "pending", "delivered"]
    assert frame["attempts"].tolist() == [2, 6, 0, 6]
    assert math.isnan(frame["first_attempt"].iloc[2])
    rows = [row(1, ORIGIN_US + 50, received=ORIGIN_US + 40, via="poll")]
    polled = race_records(intended, rows, [], polling.tries(4, rows, [], {}), polling.via, ORIGIN_US)
    assert polled["status"].tolist() == ["pending", "delivered", "pending", "pending"]
    assert polled["first_attempt"].iloc[1] == pytest.approx(40e-6)
    assert polled["via"].tolist() == ["poll"] * 4
    # What is in the inbox says itself which way it came.
    mixed = race_records(intended, rows, provider, tries, webhook.via, ORIGIN_US)
    assert mixed["via"].tolist() == ["webhook", "poll", "webhook", "webhook"]


def test_window_counts_are_differences_and_peaks_stay():
    before = {"requests": 3, "busy_s": 0.5, "queue_max": 4, "role": "poller", "polling": True}
    after = {"requests": 10, "busy_s": 0.75, "queue_max": 6, "role": "poller", "polling": True, "errors": 1}
    assert difference(before, after) == {
        "requests": 7,
        "busy_s": 0.25,
        "queue_max": 6,
        "role": "poller",
        "polling": True,
        "errors": 1,
    }


def test_what_the_servers_do_not_count_stays_unknown():
    provider = {"dispatched": 9, "timeouts": 1, "connection_errors": 2}
    counters = RACE_ARMS["webhook"].counters(
        {"receiver": {"rejected_full": 3, "queue_max": 5}, "provider": provider}
    )
    assert (counters.requests, counters.timeouts, counters.errors, counters.rejected) == (9, 1, 2, 3)
    assert counters.request_bytes is None
    assert counters.connections_peak is None


@pytest.mark.parametrize(("after_s", "tick"), [(0.0, 0), (0.1, 1), (2.0, 1), (2.1, 2), (7.9, 4)])
def test_the_next_tick_is_the_models(after_s, tick, monkeypatch):
    monkeypatch.setattr("sim.engine.poll_phase_s", lambda scenario, seed: 0.05)
    scenario = load_scenario("shop-orders").with_values(**{"polling.interval_s": 2.0})
    got = next_tick_us(scenario, 1, ORIGIN_US, ORIGIN_US + round(after_s * 1e6))
    assert got == ORIGIN_US + 50_000 + tick * 2_000_000


def test_latency_names_and_nothing_of_nothing():
    metrics = latency_metrics(np.array([1000, 3000]), "uncorrected_latency")
    assert metrics["uncorrected_latency_p50_s"] == pytest.approx(0.002)
    assert metrics["uncorrected_latency_max_s"] == pytest.approx(0.003)
    assert all(math.isnan(value) for value in latency_metrics(np.array([], dtype=np.int64)).values())


def test_failures_count_as_infinitely_late_where_a_threshold_judges():
    # 100 requests answered after 1 … 100 ms, of which the quickest failed: p50 and p95 move, p99 is gone.
    samples = Samples.scheduled(np.arange(100), ORIGIN_US + np.arange(100))
    samples.sent_us[:] = samples.intended_us
    samples.done_us[:] = samples.intended_us + 1000 * np.arange(1, 101)
    samples.status[:] = 204
    samples.status[:2] = [500, TIMED_OUT]
    judged = judged_sample_metrics(samples)
    assert judged["latency_p50_s"] == pytest.approx(0.0525)
    assert judged["uncorrected_latency_p95_s"] == pytest.approx(0.09705)
    assert judged["latency_p99_s"] == judged["latency_max_s"] == judged["latency_mean_s"] == math.inf
    samples.status[:60] = 500
    assert judged_sample_metrics(samples)["latency_p50_s"] == math.inf
    assert latency_metrics(samples.corrected_us)["latency_p50_s"] < 0.1


def test_undelivered_events_count_as_infinitely_late_from_the_warm_up_on():
    frame = deliveries(five_requests(), ROWS, ORIGIN_US)
    assert judged_record_metrics(frame, 0.15, "visible_latency")["visible_latency_p50_s"] == math.inf
    assert judged_record_metrics(frame.iloc[[0, 2]], 0.15)["latency_max_s"] == pytest.approx(0.05)


def test_generator_ratios_share_one_denominator():
    metrics = generator_metrics(five_requests(), ORIGIN_US, duration_s=0.5)
    assert metrics["rejected_ratio"] == metrics["timeout_ratio"] == 0.25
    assert metrics["error_ratio"] == 0.0
    assert metrics["achieved_rate_per_s"] == pytest.approx(2 / 0.5)


def test_an_unread_server_has_no_figures():
    assert server_metrics({"receiver": None}, 100) == {}


def finished(samples: Samples) -> ArmRun:
    """The verdict on a load of nothing but these samples, with no server of ours and an idle monitor."""
    context = Session(Path(), Crew(Path(), {}, CpuPlan()), Monitor(), Progress(quiet=True), "r")
    measured = Measured("webhook", samples, {}, {}, count(samples, None), None, 0, ORIGIN_US, ORIGIN_US + 1)
    settings = Settings(seed=1, pool_size=10, lag_limit_s=0.010)
    return finish(context, measured, servers={}, settings=settings, notes={})


def answered(count: int = 100) -> Samples:
    samples = Samples.scheduled(np.arange(count), ORIGIN_US + np.arange(count) * 1000)
    samples.dispatched_us[:] = samples.sent_us[:] = samples.intended_us + 50
    samples.done_us[:] = samples.intended_us + 2000
    samples.status[:] = 204
    return samples


def test_a_punctual_generator_is_no_reason_to_void():
    assert finished(answered()).void == []


@pytest.mark.parametrize("queued", [0, 1])
def test_late_samples_void_the_run(queued):
    samples = answered()
    samples.queued[:5] = queued
    samples.dispatched_us[:5] += 20_000
    samples.sent_us[:5] += 20_000
    samples.done_us[:5] += 20_000
    (reason,) = finished(samples).void
    assert "the load generator sent late: 20." in reason


def test_a_wait_for_a_sender_is_not_the_generators_lag():
    samples = answered()
    samples.queued[:50] = 1
    samples.sent_us[:50] += 500_000
    samples.done_us[:50] += 500_000
    assert finished(samples).void == []


def test_a_latency_that_no_histogram_holds_voids_the_run():
    samples = answered()
    samples.done_us[7] = samples.intended_us[7] + HIGHEST_US + 1
    (reason,) = finished(samples).void
    assert f"a latency of {HIGHEST_US + 1} µs is outside" in reason


def test_a_loop_that_is_not_uvloop_voids_the_run():
    samples = answered()
    context = Session(Path(), Crew(Path(), {}, CpuPlan()), Monitor(), Progress(quiet=True), "r")
    measured = Measured("webhook", samples, {}, {}, count(samples, None), None, 0, ORIGIN_US, ORIGIN_US + 1)
    run = finish(
        context, measured, servers={}, settings=Settings(1, 10, 1.0), notes={}, loops={"receiver": "asyncio"}
    )
    assert run.void == ["the receiver ran on asyncio, not on uvloop"]


def test_the_idle_span_keeps_clear_of_start_and_first_request():
    assert idle_span(1_000_000, 1_300_000) == (1_050_000, 1_250_000)  # just long enough: 200 ms
    assert idle_span(1_000_000, 1_299_999) is None
    assert idle_span(1_000_000, 900_000) is None


def test_one_arm_has_no_differences():
    assert differences([], ["webhook"]) is None
