"""Protects the raw samples: nothing is lost in saving, merging or histograms."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtest.recorder import (
    HIGHEST_US,
    REFUSED,
    TIMED_OUT,
    HistogramOverflow,
    Samples,
    histogram,
    merge,
)


def recorded() -> Samples:
    """Five requests: two answered (the second left late), one refused, one timed out, one unsent."""
    samples = Samples.scheduled(np.arange(5), np.array([0, 1000, 2000, 3000, 4000]))
    samples.dispatched_us[:4] = [5, 1030, 2005, 3005]
    samples.sent_us[:4] = [10, 5000, 2010, 3010]
    samples.done_us[:4] = [510, 5600, 2500, 9000]
    samples.status[:4] = [204, 200, 503, TIMED_OUT]
    samples.queued[1] = 1
    return samples


def test_corrected_runs_from_the_intended_time_and_uncorrected_from_the_real_one():
    samples = recorded()
    assert samples.corrected_us.tolist() == [510, 4600]
    assert samples.uncorrected_us.tolist() == [500, 600]
    assert samples.lag_us.tolist() == [10, 4000, 10, 10]
    # The second was dispatched 30 µs late and then waited for a sender, which is the server's doing.
    assert samples.generator_lag_us.tolist() == [10, 30, 10, 10]


def test_the_requests_of_a_window_are_those_due_in_it():
    windowed = recorded().due_from(1000)
    assert windowed.index.tolist() == [1, 2, 3, 4]
    assert windowed.corrected_us.tolist() == [4600]
    assert (windowed.dispatched_us[0], windowed.queued.tolist()) == (1030, [1, 0, 0, 0])


def test_304_is_an_answer_and_other_redirections_are_failures():
    samples = recorded()
    samples.status[:2] = [304, 302]
    assert samples.acknowledged.tolist() == [True, False, False, False, False]
    assert samples.failures()["HTTP 302"] == 1


def test_failures_are_counted_by_kind():
    samples = recorded()
    assert samples.failures() == {"timed out": 1, "HTTP 503": 1}
    samples.status[0] = REFUSED
    samples.status[1] = 0
    assert samples.failures() == {
        "connection refused": 1,
        "timed out": 1,
        "unanswered at the end": 1,
        "HTTP 503": 1,
    }


def test_samples_survive_their_file(tmp_path):
    samples = recorded()
    samples.save(tmp_path / "s.npz")
    read = Samples.load(tmp_path / "s.npz")
    for name in Samples.__dataclass_fields__:
        assert getattr(read, name).tolist() == getattr(samples, name).tolist()
    assert [path.name for path in tmp_path.iterdir()] == ["s.npz"]


@given(st.lists(st.integers(0, 3), max_size=60))
def test_merging_gives_back_every_request_once_in_order(owners):
    owner = np.array(owners, dtype=np.int64)
    index = np.arange(owner.size)
    whole = Samples.scheduled(index, index * 100)
    parts = []
    for worker in range(4):
        chosen = owner == worker
        part = Samples.scheduled(index[chosen], whole.intended_us[chosen])
        part.sent_us[:] = index[chosen] + 7
        parts.append(part)
    merged = merge(parts)
    assert merged.index.tolist() == index.tolist()
    assert merged.sent_us.tolist() == (index + 7).tolist()


def test_a_request_recorded_twice_is_an_error():
    with pytest.raises(ValueError, match="request 2 was recorded by two processes"):
        merge(
            [Samples.scheduled(np.array([1, 2]), np.zeros(2)), Samples.scheduled(np.array([2]), np.zeros(1))]
        )


@given(st.lists(st.integers(0, HIGHEST_US), min_size=1, max_size=200))
def test_a_histogram_holds_every_value_within_its_precision(values):
    counts = histogram(np.array(values, dtype=np.int64))
    assert counts.get_total_count() == len(values)
    assert counts.get_value_at_percentile(100) == pytest.approx(max(values), rel=2e-3, abs=1)


@pytest.mark.parametrize("value", [-1, HIGHEST_US + 1, 2**62])
def test_a_value_out_of_range_raises_instead_of_vanishing(value):
    with pytest.raises(HistogramOverflow, match=str(value)):
        histogram(np.array([5, value]))
