"""Protects the axes of reports: values lie where they belong, ticks are round and within, words are right."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtest.report.scales import Scale, over, percentile_text, share_text, time_text
from loadtest.report.timelines import BINS, bin_width_s

POSITIVE = st.floats(1e-6, 1e6)


@given(st.lists(POSITIVE, min_size=1, max_size=30), st.sampled_from([None, "linear", "log"]))
def test_every_value_lies_on_its_scale_and_ticks_do_too(values, kind):
    scale = over(np.array(values), kind=kind)
    placed = scale.place(np.array(sorted(values)))
    assert ((placed >= 0) & (placed <= 1)).all()
    assert (np.diff(placed) >= 0).all()
    ticks = scale.ticks()
    assert 1 <= len(ticks) <= 24
    assert ((at := scale.place(np.array(ticks))) > -0.01).all()
    assert (at < 1.01).all()


def test_a_scale_of_nothing_or_of_one_value_still_has_two_ends():
    for values in ([], [0.0], [5.0], [math.nan, math.inf]):
        scale = over(np.array(values))
        assert scale.low < scale.high


def test_negative_differences_have_room_below_zero():
    scale = over(np.array([-2.0, 3.0]), kind="linear")
    assert scale.low < -2.0
    assert scale.high > 3.0
    assert 0.0 in scale.ticks()


def test_each_nine_has_as_much_room_as_the_one_before():
    scale = Scale("percentile", 0.0, 0.9999)
    placed = scale.place(np.array([0.0, 0.9, 0.99, 0.999, 0.9999]))
    assert placed == pytest.approx([0.0, 0.25, 0.5, 0.75, 1.0])
    assert scale.ticks() == [0.0, 0.5, 0.75, 0.9, 0.99, 0.999, 0.9999]


@pytest.mark.parametrize(
    ("share", "text"),
    [(0.0, "0 %"), (0.5, "50 %"), (1.0, "100 %"), (0.998918, "99.89 %"), (0.9999994, "99.99994 %")],
)
def test_nearly_everything_is_not_rounded_to_everything(share, text):
    assert share_text(share) == text


def test_percentiles_and_times_read_as_people_write_them():
    assert [percentile_text(q) for q in (0.5, 0.999)] == ["p50", "p99.9"]
    assert [time_text(s) for s in (0.0, 0.00068, 1.5, math.inf)] == ["0 s", "680 µs", "1.5 s", "never"]


@given(st.floats(0.001, 1e6), st.integers(1, 1_000_000))
def test_bins_are_round_and_not_too_many(end_s, count):
    width = bin_width_s(end_s, count)
    assert end_s / width <= BINS * 1.01
    digit = width / 10 ** math.floor(math.log10(width) + 1e-9)
    assert min(abs(digit - each) for each in (1, 2, 5, 10)) < 1e-6
