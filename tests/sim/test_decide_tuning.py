"""Protects tuning: the longest interval that meets, what bounds the search, and remedies that matter."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim.decide.evaluation import Evaluation
from sim.decide.reasons import Reason
from sim.decide.remedies import fewest_workers, remedied
from sim.decide.spans import LADDER_S, hold_span, polling_span, reconciling_span
from sim.decide.tuning import Candidate, longest, settings_at, tuned, unmet
from tests.sim.deciding import bounds, evaluating, made_up, small

MISS = bounds("latency_p95_s<5")


def polled(interval_s: float) -> Evaluation:
    """A p95 of 0.95 T, 1/T requests, and losses beyond an hour."""
    return made_up(
        "polling",
        {"polling.interval_s": interval_s},
        latency_p95_s=0.95 * interval_s,
        requests_per_event=1 / interval_s,
        lost_ratio=0.1 if interval_s > 3600 else 0.0,
    )


def kinds(reasons: tuple[Reason, ...] | list[Reason]) -> list[str]:
    return [reason.kind for reason in reasons]


# --- the search --------------------------------------------------------------------------------------


@given(limit=st.floats(0.2, 80_000), first=st.integers(0, 10), count=st.integers(1, 35))
def test_the_longest_rung_that_meets_is_found(limit: float, first: int, count: int) -> None:
    rungs = LADDER_S[first : first + count]
    asked = bounds(f"latency_p95_s<{limit}")
    looked: set[float] = set()

    def look(rung: float) -> Evaluation:
        looked.add(rung)
        return polled(rung)

    place, found, reasons = longest(rungs, look, asked)
    good = [number for number, rung in enumerate(rungs) if 0.95 * rung < limit]
    assert place == (good[-1] if good else None)
    assert len(looked) <= 3 + math.ceil(math.log2(len(rungs) + 1)), "bisection, not a walk"
    if place is not None:
        assert found.settings["polling.interval_s"] == rungs[place]
        assert kinds(reasons) == ([] if place == len(rungs) - 1 else ["longest"])
    if place is not None and reasons:
        assert (reasons[0].value, reasons[0].bound) == (rungs[place], rungs[place + 1])


def test_two_requirements_that_no_interval_keeps_together_are_told() -> None:
    asked = bounds("latency_p95_s<5", "requests_per_event<0.1")
    place, found, reasons = longest(LADDER_S, polled, asked)
    assert place is None
    assert kinds(reasons) == ["conflict"]
    assert found.settings["polling.interval_s"] == 5.0
    assert [each.metric for each in unmet(found, asked)] == ["requests_per_event"]


def test_what_no_interval_cures_is_shown_where_it_is_nearest() -> None:
    asked = bounds("latency_p95_s<0.01", "lost_ratio<=0")
    place, found, _ = longest(LADDER_S, polled, asked)
    assert place is None
    assert found.settings["polling.interval_s"] == LADDER_S[0], "the shortest misses least"


def test_the_ladder_is_fine_and_human() -> None:
    ratios = [b / a for a, b in pairwise(LADDER_S)]
    assert min(ratios) > 1.1
    assert max(ratios) <= 2.0
    assert {1.0, 5.0, 12.0, 30.0, 60.0, 300.0, 3600.0, 86_400.0} <= set(LADDER_S)


# --- what bounds it -----------------------------------------------------------------------------------


def test_polls_keep_the_rate_limit() -> None:
    limited = small(provider_api={"rate_limit": {"requests": 50, "per_s": 600.0}})
    span = polling_span(limited, "polling", MISS, 1)
    assert span.rungs_s[0] == 12.0
    assert span.low is not None
    assert (span.low.kind, span.low.value) == ("rate_limit", 12.0)
    free = {"requests": 50, "per_s": 600.0, "not_modified_free": True}
    conditional = polling_span(small(provider_api={"rate_limit": free}), "conditional_polling", MISS, 1)
    assert conditional.rungs_s[0] < 12.0


def test_polls_are_no_more_frequent_than_a_provider_publishes() -> None:
    span = polling_span(small(provider="github"), "polling", MISS, 1)
    assert span.rungs_s[0] == 60.0
    assert span.low is not None
    assert span.low.kind == "provider_interval"
    faster = small(provider="github", polling={"interval_s": 5.0})
    assert polling_span(faster, "polling", MISS, 1).rungs_s[0] == 60.0, "one's own wish changes no rule"
    assert polling_span(small(provider="slack"), "polling", MISS, 1).rungs_s[0] == 1.2, "Tier 3"


def test_polls_are_no_more_frequent_than_the_api_can_serve() -> None:
    crowd = small(
        subscribers={"count": 10_000},
        provider_api={"workers": 8, "service": {"kind": "constant", "mean_s": 0.002}},
    )
    span = polling_span(crowd, "polling", MISS, 10)
    assert span.low is not None
    assert (span.low.kind, span.low.value, span.rungs_s[0]) == ("api_capacity", 2.5, 2.5)


def test_a_poller_with_a_plan_asks_when_it_asks() -> None:
    span = polling_span(small(poller="zapier"), "polling", MISS, 1)
    assert span.rungs_s == (900.0,)
    assert span.low is not None
    assert span.low.kind == "poller_interval"


def test_a_search_is_no_longer_than_the_run_and_no_shorter_than_makes_sense() -> None:
    span = polling_span(small(), "polling", MISS, 1)
    assert span.rungs_s[0] == 0.25, "a twentieth of what is asked"
    assert span.rungs_s[-1] == 600.0, "at least four polls a run"
    long = small(run={"duration_s": 400_000.0})
    span = polling_span(long, "polling", bounds("latency_p95_s<0.1"), 1)
    assert span.low is not None
    assert (span.low.kind, span.rungs_s[0]) == ("effort", 1.0)


def test_reconciling_less_often_than_saves_anything_is_not_tried() -> None:
    span = reconciling_span(small(), MISS, 1, 0.2)
    assert span.rungs_s[-1] == 480.0, "a hundredth of the requests: 100 / 0.2 per second = 500 s"
    assert span.high is not None
    assert span.high.kind == "diminishing"
    rare = reconciling_span(small(), MISS, 1, 0.001)
    assert rare.high is not None
    assert (rare.high.kind, rare.rungs_s[-1]) == ("horizon", 2700.0)


def test_a_hold_ends_where_the_scenario_says() -> None:
    assert hold_span(small(long_polling={"hold_s": 17.0})).rungs_s[-1] == 17.0


@pytest.mark.parametrize(
    ("mechanism", "tables", "expected"),
    [
        ("polling", {}, {"polling.interval_s": 4.0}),
        ("polling", {"polling": {"jitter_s": 20.0}}, {"polling.interval_s": 4.0, "polling.jitter_s": 4.0}),
        ("webhook_reconciled", {}, {"reconciliation.interval_s": 4.0}),
        ("long_polling", {}, {"long_polling.hold_s": 4.0, "long_polling.timeout_s": 19.0}),
        (
            "adaptive_polling",
            {"provider_api": {"rate_limit": {"requests": 1, "per_s": 3.0}}},
            {
                "adaptive_polling.min_interval_s": 3.0,
                "adaptive_polling.max_interval_s": 4.0,
                "polling.interval_s": 4.0,
            },
        ),
    ],
)
def test_what_goes_with_an_interval_goes_with_it(
    mechanism: str, tables: dict[str, Any], expected: dict[str, float]
) -> None:
    scenario = small(**tables)
    settings = settings_at(scenario, mechanism, 4.0)
    assert settings == expected
    scenario.with_values(**settings)


def test_polling_is_tuned_to_what_theory_says() -> None:
    """P1: the p95 of fixed-rate polling is 0.95 T and a return: 10 s allow an interval of 10 s, not of 12."""
    asked = bounds("latency_p95_s<10")
    with evaluating(small()) as evaluator:
        span = polling_span(small(), "polling", asked, 1)
        found = tuned("polling", evaluator, asked, {}, span)
        assert found.settings == {"polling.interval_s": 10.0}
        assert kinds(found.reasons) == ["longest"]
        assert [each["polling.interval_s"] for each in found.shorter[:3]] == [8.0, 6.0, 5.0]
        assert len(evaluator.done) < len(span.rungs_s)
        again = len(evaluator.done)
        tuned("polling", evaluator, asked, {}, span)
        assert len(evaluator.done) == again, "what was run is not run again"


# --- remedies -----------------------------------------------------------------------------------------

NO_LOSS = bounds("lost_ratio<=0")
OUTAGE: dict[str, Any] = {"outages": [{"start_s": 500.0, "duration_s": 600.0}]}
RECEIVER: dict[str, Any] = {"service": {"kind": "constant", "mean_s": 0.01}}


def remedy(asked: Any, **tables: Any) -> Candidate:
    with evaluating(small(**tables)) as evaluator:
        return remedied("webhook", evaluator, asked, {})


def test_a_policy_of_ones_own_is_given_the_attempts_that_an_outage_takes() -> None:
    """With 600 s down, gaps of 10 s doubling reach 630 s at the seventh attempt: 10 + 20 + … + 320."""
    retry = {"kind": "exponential", "base_s": 10.0, "factor": 2.0, "max_attempts": 3, "jitter": "none"}
    found = remedy(NO_LOSS, receiver=RECEIVER | OUTAGE, webhook={"retry": retry})
    assert found.settings["webhook.retry.max_attempts"] == 7
    assert not unmet(found.evaluation, NO_LOSS)
    assert kinds(found.reasons) == ["remedy"]


def test_a_sender_that_never_retries_is_given_a_policy() -> None:
    found = remedy(NO_LOSS, receiver=RECEIVER | OUTAGE, webhook={"retry": {"kind": "none"}})
    assert found.settings["webhook.retry.kind"] == "exponential"
    assert not unmet(found.evaluation, NO_LOSS)


def test_a_providers_policy_is_left_alone() -> None:
    found = remedy(NO_LOSS, receiver=RECEIVER | OUTAGE, provider="github", webhook={"redelivery": False})
    assert unmet(found.evaluation, NO_LOSS)
    assert not [key for key in found.settings if key.startswith("webhook.")]
    (fixed,) = [reason for reason in found.reasons if reason.kind == "policy_fixed"]
    assert fixed.value == "github"


def test_a_policy_that_suffices_is_left_alone_and_said_to() -> None:
    found = remedy(NO_LOSS)
    assert found.settings == {}
    assert kinds(found.reasons) == ["policy_suffices"]


def test_a_slow_receiver_that_makes_its_sender_wait_acknowledges_on_receipt() -> None:
    """Every delivery takes 12 s and the sender waits 10: each attempt times out, and comes again."""
    slow = {"service": {"kind": "constant", "mean_s": 12.0}, "workers": 16}
    found = remedy(bounds("duplicates_per_event<0.01"), receiver=slow)
    assert found.settings == {"receiver.acknowledge": "on_receipt"}


def test_an_overloaded_receiver_is_given_the_fewest_workers_that_do() -> None:
    """0.2 events a second of 8 s each want 1.6 workers: one has none to spare, two wait long, a few do."""
    busy = {"service": {"kind": "constant", "mean_s": 8.0}, "workers": 1, "acknowledge": "on_receipt"}
    asked = bounds("latency_p95_s<9")
    found = remedy(asked, receiver=busy)
    workers = found.settings["receiver.workers"]
    assert 3 <= workers <= 8
    fewer = small(receiver=busy | {"workers": workers - 1})
    with evaluating(fewer) as evaluator:
        assert unmet(evaluator("webhook", {}), asked)


def test_a_remedy_that_helps_nothing_is_not_taken() -> None:
    """Nobody's retries outlast an outage at the end of the world, and acknowledging early changes nothing."""
    found = remedy(NO_LOSS, receiver=RECEIVER | OUTAGE, provider="slack")
    assert "receiver.acknowledge" not in found.settings


def test_the_fewest_workers_are_the_fewest() -> None:
    scenario = small(receiver={"service": {"kind": "constant", "mean_s": 8.0}, "workers": 12})
    asked = bounds("latency_p95_s<9")
    with evaluating(scenario) as evaluator:
        reason = fewest_workers(Candidate("webhook", evaluator("webhook", {})), evaluator, asked)
        assert reason is not None
        assert reason.bound == 12.0
        fewest = int(float(str(reason.value)))
        assert 1 < fewest < 12
        assert not unmet(evaluator("webhook", {"receiver.workers": fewest}), asked)
        assert unmet(evaluator("webhook", {"receiver.workers": fewest - 1}), asked)
