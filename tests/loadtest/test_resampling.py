"""Protects the intervals of differences: they cover the truth as often as they say, also where neighbours
are alike."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import signal, stats

from loadtest.resampling import (
    LEAST_BLOCKS,
    block_length,
    cliffs_delta,
    intervals,
    replicates,
    resample,
)


def autoregressive(rng: np.random.Generator, count: int, memory: float) -> np.ndarray:
    """A series with mean 0 and variance 1, each value `memory` times the one before, and noise."""
    noise = rng.standard_normal(count + 100) * np.sqrt(1 - memory**2)
    return np.asarray(signal.lfilter([1.0], [1.0, -memory], noise))[100:]


@given(st.integers(1, 500), st.integers(1, 60), st.integers(0, 2**32))
def test_a_resample_is_made_of_whole_blocks_of_neighbours(count, length, seed):
    length = min(length, count)
    drawn = resample(count, length, np.random.default_rng(seed))
    assert drawn.shape == (count,)
    assert drawn.min() >= 0
    assert drawn.max() < count
    steps = np.diff(drawn) % count
    inside = np.arange(1, count) % length != 0
    assert (steps[inside] == 1 % count).all()


def test_every_element_is_as_likely_as_any_other():
    rng = np.random.default_rng(1)
    counts = np.bincount(np.concatenate([resample(50, 7, rng) for _ in range(4000)]), minlength=50)
    # Blocks share their fate, which only widens the spread: a mean of 4000 with a sd below 7 * sqrt(4000/7).
    assert abs(counts - 4000).max() < 5 * 7 * np.sqrt(4000 / 7)


@pytest.mark.parametrize(
    ("count", "span_s", "length"),
    [
        (1000, 100.0, 10),  # ten a second, as many as n^(1/3)
        (1000, 1000.0, 10),  # one a second: n^(1/3)
        (10_000, 100.0, 100),  # a hundred a second
        (1000, 2.0, 1000 // LEAST_BLOCKS),  # two seconds: never fewer than twenty blocks
        (10, 1.0, 1),
        (1, 0.0, 1),
    ],
)
def test_a_block_covers_a_second_where_there_are_blocks_enough(count, span_s, length):
    assert block_length(np.linspace(0.0, span_s, count)) == length


def test_long_series_get_fewer_resamples():
    assert (replicates(100), replicates(400_000), replicates(10**9)) == (999, 500, 199)


def coverage(memory: float, length: int, *, trials: int = 200, count: int = 1000) -> float:
    """How often the 90 % interval of a difference of means of two like series covers 0."""
    rng = np.random.default_rng(7)
    covered = 0
    for trial in range(trials):
        a, b = autoregressive(rng, count, memory), autoregressive(rng, count, memory)
        (found,) = intervals(
            lambda i, j, a=a, b=b: np.array([b[j].mean() - a[i].mean()]),
            (count, count),
            (length, length),
            paired=False,
            confidence=0.9,
            seed=trial,
        )
        covered += found.low <= 0 <= found.high
    return covered / trials


def test_blocks_cover_the_truth_where_single_draws_do_not(monkeypatch):
    """A block bootstrap of 40 blocks covers a little less than it says: 0.87 rather than 0.9.

    Of 200 trials that shows as 0.79 or less with a probability below 0.002 (binomial).
    """
    monkeypatch.setattr("loadtest.resampling.MOST_REPLICATES", 99)
    monkeypatch.setattr("loadtest.resampling.LEAST_REPLICATES", 99)
    assert stats.binom.cdf(158, 200, 0.87) < 0.002
    assert coverage(0.8, 25) > 0.79
    # A memory of 0.8 makes the variance of a mean nine times that of independent values.
    assert coverage(0.8, 1) < 0.6


def test_pairing_takes_out_what_both_runs_share():
    rng = np.random.default_rng(3)
    shared = rng.exponential(1.0, 500)
    a, b = shared, shared + 0.01

    def difference(i: np.ndarray, j: np.ndarray) -> np.ndarray:
        return np.array([b[j].mean() - a[i].mean()])

    (paired,) = intervals(difference, (500, 500), (10, 10), paired=True, confidence=0.95)
    (apart,) = intervals(difference, (500, 500), (10, 10), paired=False, confidence=0.95)
    assert paired.low == pytest.approx(0.01)
    assert paired.high == pytest.approx(0.01)
    assert apart.low < 0 < apart.high


def test_what_is_infinite_or_undefined_stays_so():
    a, b = np.full(40, 1.0), np.full(40, 1.0)
    b[:20] = np.inf

    def statistics(i: np.ndarray, j: np.ndarray) -> np.ndarray:
        quantile = np.quantile(b[j], 0.99, method="inverted_cdf")
        return np.array([quantile - a[i].mean(), np.nan])

    infinite, undefined = intervals(statistics, (40, 40), (2, 2), paired=False, confidence=0.95)
    assert infinite.high == np.inf
    assert np.isnan([undefined.value, undefined.low, undefined.high]).all()


@given(
    st.lists(st.integers(0, 9), min_size=1, max_size=30), st.lists(st.integers(0, 9), min_size=1, max_size=30)
)
def test_cliffs_delta_is_the_count_over_all_pairs(a, b):
    expected = sum((y > x) - (x > y) for x in a for y in b) / (len(a) * len(b))
    assert cliffs_delta(np.array(a, float), np.array(b, float)) == pytest.approx(expected)


def test_cliffs_delta_of_nothing_is_undefined():
    assert np.isnan(cliffs_delta(np.empty(0), np.ones(1)))
