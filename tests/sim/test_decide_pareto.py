"""Protects the Pareto front: nothing on it is beaten, all off it is; ties, NaN and intervals as stated."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim.decide.pareto import Measured, dominates, pareto_front
from sim.experiment import Estimate

METRICS = ("late", "dear", "lost")
numbers = st.one_of(
    st.sampled_from([0.0, 1.0, 2.0]),
    st.floats(0, 10, allow_nan=False),
    st.just(math.nan),
    st.just(math.inf),
)
plain = st.fixed_dictionaries(dict.fromkeys(METRICS, numbers))


@st.composite
def intervals(draw: st.DrawFn) -> dict[str, Measured]:
    def one() -> Estimate:
        mean, half = draw(st.floats(0, 10)), draw(st.floats(0, 3))
        return Estimate(mean, mean - half, mean + half)

    return {metric: one() for metric in METRICS}


anything = st.lists(st.one_of(plain, intervals()), min_size=1, max_size=12)


@given(candidates=anything)
def test_nothing_on_the_front_is_dominated_and_everything_off_it_is(
    candidates: list[dict[str, Measured]],
) -> None:
    front = pareto_front(candidates, METRICS)
    assert any(front), "a front is never empty"
    for each, on_front in zip(candidates, front, strict=True):
        assert on_front is not any(dominates(other, each, METRICS) for other in candidates)


@given(candidates=st.lists(plain, min_size=1, max_size=12))
def test_of_plain_numbers_whatever_is_off_the_front_is_beaten_by_something_on_it(
    candidates: list[dict[str, float]],
) -> None:
    front = pareto_front(candidates, METRICS)
    best = [each for each, on_front in zip(candidates, front, strict=True) if on_front]
    for each, on_front in zip(candidates, front, strict=True):
        assert on_front or any(dominates(other, each, METRICS) for other in best)


@given(candidates=anything)
def test_the_order_does_not_matter(candidates: list[dict[str, Measured]]) -> None:
    front = pareto_front(candidates, METRICS)
    assert pareto_front(candidates[::-1], METRICS) == front[::-1]


@given(a=st.one_of(plain, intervals()), b=st.one_of(plain, intervals()))
def test_dominance_is_strict(a: dict[str, Measured], b: dict[str, Measured]) -> None:
    assert not dominates(a, a, METRICS)
    assert not (dominates(a, b, METRICS) and dominates(b, a, METRICS))


def test_equal_candidates_stay_both() -> None:
    same = {"late": 1.0, "dear": 2.0}
    assert pareto_front([same, dict(same)], ("late", "dear")) == [True, True]


def test_what_is_undefined_is_as_bad_as_it_gets_and_level_with_its_like() -> None:
    known, unknown = {"late": 5.0, "dear": 1.0}, {"late": math.nan, "dear": 1.0}
    assert pareto_front([known, unknown], ("late", "dear")) == [True, False]
    assert pareto_front([unknown, {"late": math.inf, "dear": 1.0}], ("late", "dear")) == [True, True]


def test_a_difference_that_the_intervals_cannot_tell_dominates_nobody() -> None:
    a = {"late": Estimate(1.0, 0.8, 1.2), "dear": 1.0}
    vague = {"late": Estimate(1.1, 0.9, 1.3), "dear": 1.0}
    clear = {"late": Estimate(1.5, 1.3, 1.7), "dear": 1.0}
    assert pareto_front([a, vague, clear], ("late", "dear")) == [True, True, False]


def test_what_is_level_in_one_and_surely_better_in_another_dominates() -> None:
    a = {"late": Estimate(1.0, 0.5, 1.5), "dear": 1.0}
    b = {"late": Estimate(1.1, 0.6, 1.6), "dear": 2.0}
    assert dominates(a, b, ("late", "dear"))
    better_on_average_in_one = {"late": Estimate(0.9, 0.4, 1.4), "dear": 2.0}
    assert not dominates(a, better_on_average_in_one, ("late", "dear"))


def test_what_cannot_be_compared_is_an_error() -> None:
    with pytest.raises(ValueError, match="at least one metric"):
        pareto_front([{"late": 1.0}], ())
    with pytest.raises(KeyError):
        pareto_front([{"late": 1.0}, {"dear": 1.0}], ("late",))
