"""Protects the retry rule: each kind and jitter against its definition, and every bad table by name."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtest.provider import RetryPolicy, WebhookPolicy, retry_delay_s
from loadtest.retry import retry_after_s
from sim.errors import InputError
from sim.scenario import Webhook


def nominal(retry: RetryPolicy, attempts: int) -> list[float]:
    return [retry_delay_s(retry, attempt, retry.base_s, 0.5) for attempt in range(1, attempts + 1)]


def test_the_kinds() -> None:
    assert nominal(RetryPolicy("fixed", base_s=3, max_attempts=9), 3) == [3, 3, 3]
    assert nominal(RetryPolicy("linear", base_s=3, cap_s=8, max_attempts=9), 4) == [3, 6, 8, 8]
    exponential = RetryPolicy("exponential", base_s=1, factor=3, cap_s=20, max_attempts=9)
    assert nominal(exponential, 5) == [1, 3, 9, 20, 20]
    standard = RetryPolicy("schedule", gaps_s=(5, 300, 1800))  # Standard Webhooks' first gaps
    assert nominal(standard, 3) == [5, 300, 1800]
    assert standard.attempts_allowed == 4
    assert RetryPolicy("none").attempts_allowed == 1
    assert RetryPolicy("schedule", gaps_s=(1, 2), max_attempts=2).attempts_allowed == 2


def test_a_huge_power_is_capped_and_not_an_overflow() -> None:
    retry = RetryPolicy("exponential", base_s=1, factor=1e9, cap_s=60, max_attempts=1000)
    assert retry_delay_s(retry, 999, 1.0, 0.0) == 60


U = st.floats(0, 1, exclude_max=True)


@given(attempt=st.integers(1, 20), u=U)
def test_full_and_equal_jitter_stay_in_their_ranges(attempt: int, u: float) -> None:
    none, full, equal = (
        retry_delay_s(RetryPolicy("exponential", max_attempts=30, jitter=jitter), attempt, 10.0, u)
        for jitter in ("none", "full", "equal")
    )
    assert full == pytest.approx(u * none)
    assert equal == pytest.approx(none / 2 + u * none / 2)


@given(st.lists(U, min_size=1, max_size=30))
def test_decorrelated_jitter_follows_its_recurrence(draws: list[float]) -> None:
    retry = RetryPolicy("exponential", base_s=2, cap_s=100, max_attempts=99, jitter="decorrelated")
    previous = retry.base_s
    for attempt, u in enumerate(draws, start=1):
        delay = retry_delay_s(retry, attempt, previous, u)
        assert delay == pytest.approx(min(100, 2 + u * (3 * previous - 2)))
        assert 2 <= delay <= 100
        previous = delay


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, 0),
        ("7", 7),
        (" 120 ", 120),
        ("Tue, 14 Nov 2023 22:14:20 GMT", 60),
        ("Tue, 14 Nov 2023 22:00:00 GMT", 0),
        ("-5", 0),
        ("soon", 0),
        ("9" * 400, 0),
        ("1.5", 0),
    ],
)
def test_retry_after(value: str | None, seconds: float) -> None:
    assert retry_after_s(value, 1_700_000_000) == seconds


@given(st.text(max_size=40))
def test_no_retry_after_is_an_error(value: str) -> None:
    assert retry_after_s(value, 0) >= 0


def test_the_scenario_s_own_table_is_understood() -> None:
    for table in (
        {},
        {"timeout_s": 2.5, "max_in_flight": 3},
        {"retry": {"kind": "schedule", "gaps_s": [1, 2.5]}},
        {"retry": {"kind": "exponential", "max_attempts": 4, "jitter": "decorrelated", "max_duration_s": 9}},
        {"retry": {"kind": "fixed", "max_attempts": 4, "jitter": "proportional", "spread": 0.1}},
        {"disabling": {"consecutive_failures": 3}},
        {
            "disabling": {"failing_for_s": 60, "re_enable_after_s": 5},
            "redelivery": {"every_s": 9, "rounds": 2},
        },
    ):
        scenario = Webhook.model_validate(table)
        ours = WebhookPolicy.from_table(scenario.model_dump(mode="json"))
        assert (ours.timeout_s, ours.max_in_flight) == (scenario.timeout_s, scenario.max_in_flight)
        assert ours.retry.attempts_allowed == scenario.retry.attempts_allowed
        for field in ("kind", "base_s", "factor", "cap_s", "gaps_s", "max_duration_s", "jitter", "spread"):
            assert getattr(ours.retry, field) == getattr(scenario.retry, field)
        for name in ("disabling", "redelivery"):
            theirs, told = getattr(scenario, name), getattr(ours, name)
            assert (theirs is None) == (told is None)
            for field in () if theirs is None else type(theirs).model_fields:
                assert getattr(told, field) == getattr(theirs, field)
        assert WebhookPolicy.from_table(ours.table()) == ours


@pytest.mark.parametrize(
    ("table", "says"),
    [
        ([], "webhook must be a table"),
        ({"retries": 3}, "unknown key 'retries'"),
        ({"timeout_s": "5"}, "timeout_s must be a finite number"),
        ({"timeout_s": float("nan")}, "timeout_s must be a finite number"),
        ({"timeout_s": 0}, "timeout_s must be above 0"),
        ({"max_in_flight": 0}, "max_in_flight"),
        ({"retry": 5}, "retry must be a table"),
        ({"retry": {}}, "retry.kind is missing"),
        ({"retry": {"kind": "sometimes"}}, "'sometimes'"),
        ({"retry": {"kind": "fixed"}}, "max_attempts"),
        ({"retry": {"kind": "fixed", "max_attempts": True}}, "max_attempts"),
        ({"retry": {"kind": "schedule"}}, "gaps_s"),
        ({"retry": {"kind": "schedule", "gaps_s": [-1]}}, "gaps_s"),
        ({"retry": {"kind": "schedule", "gaps_s": "1,2"}}, "gaps_s"),
        ({"retry": {"kind": "none", "jitter": "some"}}, "'some'"),
        ({"retry": {"kind": "none", "backoff": 1}}, "unknown key 'backoff'"),
        ({"timeout_s": 10**400}, "timeout_s must be a finite number"),
        ({"disabling": {}}, "state consecutive_failures"),
        ({"disabling": {"consecutive_failures": 0}}, "consecutive_failures must be a whole number"),
        ({"disabling": {"failing_for_s": 0}}, "failing_for_s must be above 0"),
        ({"disabling": {"failing_share": 1.5}}, "failing_share is at most 1"),
        ({"disabling": {"failing_share": 0.5, "share_attempts": 0}}, "share_attempts"),
        ({"disabling": {"failures": 3}}, "unknown key 'failures'"),
        ({"redelivery": {"rounds": 2}}, "every_s is missing"),
        ({"redelivery": {"every_s": -1}}, "every_s must be"),
        ({"redelivery": {"every_s": 1, "rounds": 1.5}}, "rounds must be a whole number"),
        ({"redelivery": {"every_s": 1, "origin_us": "now"}}, "origin_us"),
        ({"max_redirects": 3}, "max_redirects must be 0 to 2"),
        ({"max_redirects": True}, "max_redirects"),
        ({"retry_after_limit_s": -1}, "retry_after_limit_s"),
        ({"preset": "svixx"}, "did you mean 'svix'"),
        ({"preset": 5}, "preset is a provider's name"),
    ],
)
def test_a_bad_table_is_refused_by_name(table: object, says: str) -> None:
    with pytest.raises(InputError, match=says):
        WebhookPolicy.from_table(table)
