"""Protects confidence intervals: textbook Student-t numbers, and what pairing is for."""

from __future__ import annotations

import math

import numpy as np
import pytest

from sim.engine import simulate
from sim.experiment import CONFIDENCE, Estimate, estimate, paired_difference
from sim.scenario import scenario_from

FIVE = [10.0, 12.0, 14.0, 16.0, 18.0]  # mean 14, variance 40 / 4 = 10, standard error √(10 / 5) = √2


def half_width(e: Estimate) -> float:
    assert e.low is not None
    assert e.high is not None
    assert e.mean - e.low == pytest.approx(e.high - e.mean)
    return (e.high - e.low) / 2


@pytest.mark.parametrize(
    ("values", "confidence", "mean", "half_width_s"),
    [
        # Two-sided Student-t quantiles from printed tables: t_4 2.776 and 4.604, t_1 12.706, t_9 2.262.
        (FIVE, 0.95, 14.0, 2.7764451 * math.sqrt(2)),
        (FIVE, 0.99, 14.0, 4.6040949 * math.sqrt(2)),
        ([0.0, 2.0], 0.95, 1.0, 12.7062047),  # standard error 1
        ([1.0] * 5 + [3.0] * 5, 0.95, 2.0, 2.2621572 / 3.0),  # variance 10 / 9, standard error 1 / 3
        ([3.0, 3.0, 3.0], 0.95, 3.0, 0.0),
    ],
)
def test_a_textbook_interval(
    values: list[float], confidence: float, mean: float, half_width_s: float
) -> None:
    e = estimate(values, confidence)
    assert e.mean == pytest.approx(mean)
    assert half_width(e) == pytest.approx(half_width_s, rel=1e-7)


def test_95_percent_is_the_default() -> None:
    assert CONFIDENCE == 0.95
    assert estimate(FIVE) == estimate(FIVE, 0.95)
    assert paired_difference(FIVE, [0.0] * 5) == estimate(FIVE, 0.95)


def test_an_interval_covers_the_true_mean_as_often_as_it_says() -> None:
    """Of 4000 intervals over 5 normal values 95 % cover the mean: ± 1.4 points are four standard errors.

    With the normal quantile 1.96 instead of t it would be 88 %.
    """
    samples = np.random.default_rng(11).normal(3.0, 2.0, size=(4000, 5))
    intervals = [estimate([float(x) for x in row]) for row in samples]
    covered = [e.low is not None and e.high is not None and e.low <= 3.0 <= e.high for e in intervals]
    assert np.mean(covered) == pytest.approx(0.95, abs=0.014)


def test_one_replication_has_a_mean_and_no_interval() -> None:
    assert estimate([7.0]) == Estimate(7.0, None, None)
    assert paired_difference([7.0], [9.0]) == Estimate(-2.0, None, None)


@pytest.mark.parametrize("values", [[math.nan], [1.0, math.nan, 2.0], [math.nan, math.nan]])
def test_undefined_in_one_replication_is_undefined(values: list[float]) -> None:
    e = estimate(values)
    assert math.isnan(e.mean)
    assert (e.low, e.high) == (None, None)
    difference = paired_difference(values, [1.0] * len(values))
    assert math.isnan(difference.mean)
    assert (difference.low, difference.high) == (None, None)


def test_a_paired_difference_is_the_first_minus_the_second() -> None:
    """Differences 1, 2, 3: mean 2, variance 1, standard error √(1 / 3), t_2 = 4.3026527."""
    e = paired_difference([4.0, 6.0, 8.0], [3.0, 4.0, 5.0])
    assert e.mean == pytest.approx(2.0)
    assert half_width(e) == pytest.approx(4.3026527 / math.sqrt(3), rel=1e-7)
    assert paired_difference([3.0, 4.0, 5.0], [4.0, 6.0, 8.0]).mean == pytest.approx(-2.0)


def test_pairs_need_partners() -> None:
    with pytest.raises(ValueError, match="zip"):
        paired_difference([1.0, 2.0], [1.0])


def test_pairing_narrows_the_interval_of_correlated_values() -> None:
    """Values that move together: the differences 1, 2, 1, 2 vary far less than either series."""
    a, b = [10.0, 22.0, 31.0, 42.0], [9.0, 20.0, 30.0, 40.0]
    paired = paired_difference(a, b)
    assert paired.mean == pytest.approx(estimate(a).mean - estimate(b).mean)
    # Standard error of 1, 2, 1, 2: √(1 / 3) / 2; t_3 = 3.1824463.
    assert half_width(paired) == pytest.approx(3.1824463 * math.sqrt(1 / 3) / 2, rel=1e-7)
    assert half_width(paired) < half_width(estimate(a)) / 10
    assert half_width(paired) < half_width(estimate(b)) / 10


def test_simulated_differences_are_paired_by_replication() -> None:
    """Each replication's poller differs in phase and events: the estimate is over their differences."""
    scenario = scenario_from(
        {
            "name": "pairs",
            "workload": {"kind": "poisson", "rate_per_s": 1.0},
            "polling": {"interval_s": 10.0},
            "run": {"duration_s": 200.0},
        }
    )
    outcome = simulate(scenario, ["webhook", "polling"], replications=4)
    pushed, polled = (outcome.metrics[m]["age_mean_s"] for m in ("webhook", "polling"))
    [difference] = [e for a, b, metric, e in outcome.paired() if metric == "age_mean_s"]
    assert difference == paired_difference(pushed, polled)
    assert difference.mean == pytest.approx(np.mean(pushed) - np.mean(polled))
    assert difference.mean < -3.0
    assert outcome.estimates()["polling"]["age_mean_s"] == estimate(polled)
