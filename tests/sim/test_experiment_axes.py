"""Protects what a sweep is asked for: axes are read as written, what cannot be meant is refused by name."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim.errors import InputError
from sim.experiment.axes import Axis, axis, design, parse_axis
from sim.scenario import Scenario, load_scenario


@pytest.fixture(scope="module")
def shop() -> Scenario:
    return load_scenario("shop-orders")


@pytest.mark.parametrize(
    ("text", "keys", "values"),
    [
        ("polling.interval_s=1,5,30", ("polling.interval_s",), ((1,), (5,), (30,))),
        ("a=0.5, 1e3 ,-2", ("a",), ((0.5,), (1e3,), (-2,))),
        ("a=full,none", ("a",), (("full",), ("none",))),
        ("a=true,false", ("a",), ((True,), (False,))),
        ("a=1:3:lin3", ("a",), ((1,), (2,), (3,))),
        ("a=1:2:lin3", ("a",), ((1.0,), (1.5,), (2.0,))),
        ("a=0.01:10:log4", ("a",), ((0.01,), (0.1,), (1.0,), (10.0,))),
        ("a=7:7:log1", ("a",), ((7,),)),
        ("a=1,2&b=x,y", ("a", "b"), ((1, "x"), (2, "y"))),
        ("a=1:2:lin2 & b=5,6", ("a", "b"), ((1, 5), (2, 6))),
    ],
)
def test_an_axis_is_read_as_written(text: str, keys: tuple[str, ...], values: tuple[object, ...]) -> None:
    read = parse_axis(text)
    assert read.keys == keys
    assert [[type(v) for v in step] for step in read.values] == [
        [type(v) for v in step]
        for step in values  # type: ignore[attr-defined]
    ]
    for step, expected in zip(read.values, values, strict=True):
        assert step == pytest.approx(expected) if isinstance(step[0], float) else step == expected


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "expected KEY=1,5,30"),
        ("polling.interval_s", "expected KEY=1,5,30"),
        ("=1,2", "expected KEY=1,5,30"),
        ("a=", "expected KEY=1,5,30"),
        ("a=1,,2", "a value is empty"),
        ("a=1:2", "is no range"),
        ("a=1:2:lin", "is no range"),
        ("a=1:2:exp5", "is no range"),
        ("a=x:2:lin5", "is no range"),
        ("a=1:inf:lin5", "is no range"),
        ("a=1:2:lin0", "needs LOW < HIGH and from 2"),
        ("a=2:1:lin5", "needs LOW < HIGH"),
        ("a=1:1:lin5", "needs LOW < HIGH"),
        ("a=1:2:lin1", "needs LOW < HIGH"),
        ("a=0:1:log5", "starts above 0, got 0"),
        ("a=nan,1", "nan is no finite number"),
        ("a=[1],2", "[1] is neither a number, a word"),
        ("a=1,2&b=1", "a has 2, b has 1"),
        ("a=1,2&a=3,4", "a is given twice"),
    ],
)
def test_what_is_no_axis_is_refused_and_named(text: str, why: str) -> None:
    with pytest.raises(InputError) as refused:
        parse_axis(text)
    assert why in str(refused.value)
    assert repr(text) in str(refused.value)


@given(
    st.floats(1e-6, 1e6, allow_nan=False),
    st.floats(1.0001, 1e4),
    st.integers(2, 50),
    st.sampled_from(["lin", "log"]),
)
def test_a_range_begins_and_ends_where_it_says_and_ascends(
    low: float, factor: float, count: int, spacing: str
) -> None:
    high = low * factor
    values = [v for (v,) in parse_axis(f"a={low!r}:{high!r}:{spacing}{count}").values]
    assert len(values) == count
    assert (values[0], values[-1]) == (low, high)
    assert all(a <= b for a, b in pairwise(values))


def test_axes_are_crossed_the_last_fastest_and_zipped_keys_move_together(shop: Scenario) -> None:
    axes = [
        parse_axis("polling.interval_s=1,2&long_polling.hold_s=10,20"),
        parse_axis("receiver.workers=1,4"),
    ]
    assert design(shop, axes) == [
        {"polling.interval_s": i, "long_polling.hold_s": h, "receiver.workers": w}
        for i, h in ((1, 10), (2, 20))
        for w in (1, 4)
    ]


def test_python_spells_the_same_axis() -> None:
    assert axis(polling__interval_s=[1, 5]) == Axis(("polling.interval_s",), ((1,), (5,)))
    with pytest.raises(InputError, match="as many for each"):
        axis(a=[1], b=[1, 2])
    with pytest.raises(InputError, match="needs values"):
        axis(a=[])


@pytest.mark.parametrize(
    ("texts", "why"),
    [
        ([], "give --vary"),
        (["polling.intervall_s=1,2"], "interval_s"),
        (["polling.interval_s=1,-2"], "interval_s"),
        (["polling.interval_s=1,fast"], "interval_s"),
        (["polling.interval_s=1,2", "polling.interval_s=3"], "more than one axis"),
        (["polling.interval_s=1:2:lin2000", "workload.rate_per_s=1:2:lin2000"], "4,000,000 design points"),
    ],
)
def test_a_design_that_cannot_be_run_is_refused_before_anything_runs(
    shop: Scenario, texts: list[str], why: str
) -> None:
    with pytest.raises(InputError, match=why):
        design(shop, [parse_axis(text) for text in texts])


def test_a_range_of_whole_numbers_stays_whole_only_when_all_are() -> None:
    assert all(isinstance(v, int) for (v,) in parse_axis("a=1:9:lin9").values)
    halves = [v for (v,) in parse_axis("a=1:4:lin7").values]
    assert math.isclose(halves[1], 1.5)
