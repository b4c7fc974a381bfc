"""Protects the clocks of several machines: the true offset always lies within the stated bound."""

from __future__ import annotations

import math
import os
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtest.clocks import Exchange, clock_id, estimate

DELAY_US = st.floats(0, 5e5)


@given(
    st.floats(-1e12, 1e12),
    st.lists(st.tuples(st.floats(0, 1e9), DELAY_US, st.floats(0, 1e4), DELAY_US), min_size=1, max_size=9),
)
def test_the_true_offset_is_within_the_bound_however_uneven_the_way(true_us, exchanges):
    # Clocks are read in whole µs, rounded down; there and back may take any time, each its own.
    offset = estimate(
        Exchange(
            math.floor(asked),
            math.floor(asked + there + true_us),
            math.floor(asked + there + thinking + true_us),
            math.floor(asked + there + thinking + back),
        )
        for asked, there, thinking, back in exchanges
    )
    slack = 1e-3  # float64 itself, near 1e12
    assert abs(offset.offset_us - true_us) <= offset.bound_us + slack
    quickest = min(there + back for _, there, _, back in exchanges)
    assert offset.bound_us <= quickest / 2 + 4


def test_an_answer_before_its_question_is_no_exchange():
    with pytest.raises(ValueError, match="misread"):
        estimate([Exchange(1000, 0, 500, 1200)])


def test_processes_of_one_machine_read_one_clock():
    if clock_id() is None:
        pytest.skip("only Linux names its clock")
    done = subprocess.run(
        [sys.executable, "-c", "from loadtest.clocks import clock_id; print(clock_id())"],
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
        env=dict(os.environ),
    )
    assert done.stdout.strip() == clock_id()
