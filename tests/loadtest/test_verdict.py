"""Protects the verdict: unbalanced books, void figures and missed thresholds never pass for good."""

from __future__ import annotations

import contextlib
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

import sim
from loadtest.runner.figures_of_merit import KNOWN_METRICS
from loadtest.verdict import (
    LEDGER_COUNTS,
    RULES,
    Ledger,
    ThresholdResult,
    exit_code,
    judge,
    parse_threshold,
    void_reasons,
)
from sim.errors import InputError
from sim.scenario import load_scenario

SOUND = Ledger(
    scheduled=10,
    sent=10,
    unsent=0,
    acknowledged=9,
    failed=1,
    visible=9,
    lost=0,
    duplicates=2,
    unacknowledged_visible=1,
)
ARMS = ("webhook", "polling")
METRICS = ("latency_p99_s", "latency_p50_s", "lost_ratio", "achieved_rate_per_s")


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"scheduled": 11}, "11 scheduled, but 10 sent"),
        ({"unsent": 1}, "10 scheduled, but 10 sent"),
        ({"failed": 0}, "10 sent, but 9 acknowledged"),
        ({"visible": 8}, "9 acknowledged, but 8 visible"),
        ({"visible": 8, "lost": 1}, "1 acknowledged events never became visible"),
    ],
)
def test_each_identity_is_checked(change, word):
    assert SOUND.mismatches() == []
    assert any(word in mismatch for mismatch in replace(SOUND, **change).mismatches())


def test_in_a_race_given_up_and_pending_events_are_on_the_books():
    raced = replace(SOUND, acknowledged=9, visible=6, given_up=2, pending=1)
    assert raced.mismatches() == []
    assert "2 given up or pending" in replace(raced, pending=0).mismatches()[0]


def test_an_inbox_that_is_not_ours_is_not_held_against_the_run():
    assert replace(SOUND, visible=None, lost=None).mismatches() == []


@pytest.mark.parametrize(
    ("facts", "word"),
    [
        ({"interrupted": True}, "interrupted"),
        ({"loops": {"receiver": "asyncio"}}, "the receiver ran on asyncio, not on uvloop"),
        ({"generator_cpu": 0.93}, "93% of a core"),
        ({"lag_p99_s": 0.0123}, "sent late: 12.3 ms"),
        ({"lag_p99_s": 0.0123, "generator_wait_s": 1.5}, "it waited 1.50 s for a core"),
        ({"overflow": "a latency of 9 µs is outside"}, "outside"),
        ({"others": ["the poller came late"]}, "came late"),
    ],
)
def test_each_void_rule_speaks(facts, word):
    reasons = void_reasons(SOUND, **facts)
    assert len(reasons) == 1
    assert word in reasons[0]


def test_a_sound_run_has_no_reason_to_be_void():
    assert void_reasons(SOUND, loops={"receiver": "uvloop"}, generator_cpu=0.5, lag_p99_s=0.001) == []


def test_unsent_requests_and_total_failure_are_void_with_the_reason():
    unsent = replace(SOUND, scheduled=12, unsent=2)
    assert "2 of 12 requests could not be sent" in void_reasons(unsent)[0]
    dead = Ledger(scheduled=5, sent=5, unsent=0, acknowledged=0, failed=5)
    assert void_reasons(dead, failures={"HTTP 401": 5}) == ["all 5 requests failed (HTTP 401 ×5)"]


@pytest.mark.parametrize(
    ("text", "value", "met"),
    [
        ("latency_p99_s<0.25", 0.2, True),
        ("latency_p99_s<0.25", 0.25, False),
        ("latency_p99_s <= 0.25", 0.25, True),
        ("achieved_rate_per_s>100", 101.0, True),
        ("achieved_rate_per_s >= 1e2", 100.0, True),
        ("lost_ratio<0.1", float("nan"), False),
        ("lost_ratio<0.1", None, False),
        ("achieved_rate_per_s>1", float("inf"), False),
    ],
)
def test_thresholds_compare_as_written(text, value, met):
    assert parse_threshold(text, METRICS, ()).met_by(value) is met


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("latency_p99<0.2", "did you mean 'latency_p99_s'"),
        ("latency_p99_s", "expected [ARM.]METRIC<NUMBER"),
        ("latency_p99_s=0.2", "expected [ARM.]METRIC<NUMBER"),
        ("latency_p99_s<fast", "'fast' is not a number"),
        ("latency_p99_s<nan", "'nan' is not a number"),
        ("zzz<1", "known: latency_p99_s"),
        ("", "expected [ARM.]METRIC<NUMBER"),
        ("pigeon.lost<1", "no arm 'pigeon' in this run; it has webhook, polling"),
        ("webhook-pigeon.lost<1", "no arm 'pigeon'"),
        ("webhook-webhook.lost<1", "from itself is 0"),
        ("webhook.polling.lost<1", "expected [ARM.]METRIC<NUMBER"),
        ("webhook-.lost<1", "expected [ARM.]METRIC<NUMBER"),
        (".lost<1", "expected [ARM.]METRIC<NUMBER"),
    ],
)
def test_a_threshold_that_cannot_be_read_says_why(text, word):
    with pytest.raises(InputError, match="--threshold") as caught:
        parse_threshold(text, METRICS, ARMS)
    assert word in str(caught.value)


@given(st.text(max_size=40))
def test_no_text_breaks_the_threshold_parser(text):
    with contextlib.suppress(InputError):
        parse_threshold(text, METRICS, ARMS)


def test_thresholds_are_held_against_every_arm_that_measures_them():
    thresholds = [
        parse_threshold("latency_p99_s<1", METRICS, ARMS),
        parse_threshold("lost_ratio<1", METRICS, ARMS),
    ]
    results = judge(thresholds, {"webhook": {"latency_p99_s": 0.5}, "polling": {"latency_p99_s": 2.0}})
    assert results == [
        ThresholdResult("webhook", "latency_p99_s<1", 0.5, met=True),
        ThresholdResult("polling", "latency_p99_s<1", 2.0, met=False),
        ThresholdResult("none", "lost_ratio<1", None, met=False),
    ]


def test_a_threshold_may_name_an_arm_a_difference_or_a_count_of_the_ledger():
    measured = {"webhook": {"latency_p50_s": 0.5, "lost": 0.0}, "polling": {"latency_p50_s": 2.0}}
    texts = (
        "polling.latency_p50_s<1",
        "webhook-polling.latency_p50_s <= -1.5",
        "polling - webhook . latency_p50_s<1",
        "lost<=0",
        "polling.lost<=0",
        "webhook-polling.lost<1",
    )
    results = judge([parse_threshold(text, METRICS, ARMS) for text in texts], measured)
    assert [(each.arm, each.value, each.met) for each in results] == [
        ("polling", 2.0, False),
        ("webhook-polling", -1.5, True),
        ("polling-webhook", 1.5, False),
        ("webhook", 0.0, True),
        ("polling", None, False),
        ("webhook-polling", None, False),
    ]


@pytest.mark.parametrize("metric", [*KNOWN_METRICS, *LEDGER_COUNTS])
def test_every_metric_and_every_count_can_be_bounded(metric):
    threshold = parse_threshold(f"webhook.{metric}<=1", KNOWN_METRICS, ARMS)
    assert judge([threshold], {"webhook": {metric: 1.0}})[0].met
    assert not judge([threshold], {"webhook": {metric: 1.5}})[0].met


def test_every_metric_of_the_model_has_a_name_that_a_threshold_knows():
    """Race and load report what `sim.metrics` defines: none may be out of a threshold's reach."""
    from sim.catalogue import MECHANISMS

    scenario = load_scenario("shop-orders-rush").with_values(
        **{"subscribers.count": 2, "cost.per_million_requests": 0.2}
    )
    outcome = sim.simulate(scenario, mechanisms=list(MECHANISMS), records=False)
    named = {metric for metrics in outcome.metrics.values() for metric in metrics}
    assert named - set(KNOWN_METRICS) == set()


def test_every_reason_names_a_rule():
    facts = {
        "loops": {"receiver": "asyncio"},
        "generator_cpu": 0.95,
        "lag_p99_s": 1.0,
        "interrupted": True,
        "overflow": "too long",
        "others": ["silent"],
    }
    ledger = Ledger(scheduled=9, sent=5, unsent=1, acknowledged=0, failed=5)
    assert [reason.rule for reason in void_reasons(ledger, **facts)] == list(
        dict.fromkeys(rule for rule in RULES)
    )


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_threshold_on_an_undefined_metric_is_missed_and_has_no_value(value):
    threshold = parse_threshold("latency_p99_s<1", METRICS, ARMS)
    assert judge([threshold], {"webhook": {"latency_p99_s": value}}) == [
        ThresholdResult("webhook", "latency_p99_s<1", None, met=False)
    ]


@pytest.mark.parametrize(
    ("void", "met", "code"),
    [([], [True], 0), ([], [], 0), ([], [True, False], 4), (["reason"], [True], 3), (["reason"], [False], 3)],
)
def test_exit_codes(void, met, code):
    assert exit_code(void, [ThresholdResult("a", "t", 1.0, met=each) for each in met]) == code
