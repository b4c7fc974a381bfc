"""Protects the disabling of endpoints: the rule of the simulation to the letter, and what is beyond it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtest.provider.policy import Redelivery
from loadtest.provider.standing import Disabling, Standing
from sim.policies import (
    after_failure,
    after_success,
    compile_disabling,
    compile_redelivery,
    is_off,
    new_standing,
    next_look,
)
from sim.scenario import Disabling as Modelled
from sim.scenario import Redelivery as ModelledRedelivery

S = 1_000_000
QUARTERS = st.integers(1, 40).map(lambda quarter: quarter / 4)


@given(
    rule=st.fixed_dictionaries(
        {
            "consecutive_failures": st.none() | st.integers(1, 6),
            "failing_for_s": st.none() | QUARTERS,
            "re_enable_after_s": st.none() | QUARTERS,
        }
    ).filter(lambda rule: rule["consecutive_failures"] or rule["failing_for_s"]),
    known=st.lists(st.tuples(st.integers(0, 8), st.booleans()), max_size=60),
)
def test_an_endpoint_is_off_exactly_when_the_model_s_is(
    rule: dict[str, float | None], known: list[tuple[int, bool]]
) -> None:
    modelled = compile_disabling(Modelled.model_validate(rule))
    theirs, ours = new_standing(), Standing(Disabling.from_table(rule))
    quarters = 0
    for later, acknowledged in known:
        quarters += later
        now_s, now_us = quarters / 4, quarters * S // 4
        assert ours.is_off(now_us) == is_off(theirs, now_s)
        if acknowledged:
            theirs = after_success(theirs)
            ours.succeeded(now_us)
        else:
            was_off = is_off(theirs, now_s)
            theirs = after_failure(modelled, theirs, now_s)
            assert ours.failed(now_us) == (is_off(theirs, now_s) and not was_off)
        assert ours.is_off(now_us) == is_off(theirs, now_s)


@given(every=st.integers(1, 400), now=st.integers(0, 4000), origin=st.integers(0, 4000))
def test_looks_are_when_the_model_s_are(every: int, now: int, origin: int) -> None:
    rule = compile_redelivery(ModelledRedelivery(every_s=every / 4))
    modelled_s = next_look(rule, now / 4)
    looked_us = Redelivery(every / 4, origin_us=origin).next_look_us(origin + now * S // 4)
    assert looked_us - origin == modelled_s * S


def test_without_a_rule_nothing_but_its_owner_and_410_switch_it_off() -> None:
    standing = Standing(None)
    for second in range(1000):
        assert not standing.failed(second * S)
    for reason in ("gone", "owner"):
        standing.switch_off(reason)
        assert standing.document(0) == {"state": "disabled", "reason": reason}
        standing.switch_on()
        assert standing.document(0) == {"state": "enabled"}


def test_a_share_of_failures_within_a_window() -> None:
    """Three in four, of at least eight within a minute; older ones do not count."""
    rule = Disabling(failing_share=0.75, share_window_s=60, share_attempts=8)
    standing = Standing(rule)
    for second in range(6):
        assert not standing.failed(second * S)
    standing.succeeded(6 * S)
    assert standing.failed(7 * S)  # 7 of 8
    standing.switch_on()
    for second in range(100, 107):
        assert not standing.failed(second * S)
    assert not standing.failed(300 * S)  # alone: the seven are more than a minute old
    for second in range(301, 304):
        standing.succeeded(second * S)
    for second in range(304, 311):
        assert not standing.failed(second * S)  # at most 8 of 11
    assert standing.failed(311 * S)


@pytest.mark.parametrize("window_s", [1e-3, 1.0, 86400.0 * 30])
def test_a_window_s_memory_is_bounded(window_s: float) -> None:
    standing = Standing(Disabling(failing_share=1.0, share_window_s=window_s, share_attempts=10**9))
    for number in range(2000):
        standing.failed(round(number * window_s * 1e6 / 700))
    assert len(standing._recent._slices) <= 61
