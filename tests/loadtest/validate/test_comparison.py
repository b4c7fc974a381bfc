"""Protects the verdict on a prediction: errors, intervals and distances, and that nothing passes unseen."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import ks_2samp

from loadtest.validate.comparison import (
    Verdict,
    compare,
    kolmogorov_smirnov,
    latency_values,
    relative_error,
)


def test_errors_are_paired_by_replication() -> None:
    """A machine twice as slow in one replication is no error of a model that knew."""
    predicted = [{"latency_p50_s": 1.1}, {"latency_p50_s": 2.2}]
    measured = [{"latency_p50_s": 1.0}, {"latency_p50_s": 2.0}]
    (found,) = compare("natural", "50 %", predicted, measured, {"latency_p50_s": 0.15})
    assert found.error.mean == pytest.approx(0.1)
    assert found.error.low == pytest.approx(0.1)
    assert found.verdict is Verdict.MET
    assert found.is_sure


@pytest.mark.parametrize(
    ("predicted", "tolerance", "verdict"),
    [
        (1.09, 0.1, Verdict.MET),
        (0.89, 0.1, Verdict.MISSED),
        (1.11, 0.1, Verdict.MISSED),
        (5.0, None, Verdict.FOUND),
    ],
)
def test_the_verdict(predicted: float, tolerance: float | None, verdict: Verdict) -> None:
    tolerances = {} if tolerance is None else {"x": tolerance}
    (found,) = compare("p", "l", [{"x": predicted}], [{"x": 1.0}], tolerances, ("x",))
    assert found.verdict is verdict
    assert not found.is_sure  # one replication has no interval


def test_noise_makes_a_verdict_unsure() -> None:
    measured = [{"x": 1.0}, {"x": 1.3}, {"x": 0.8}]
    (found,) = compare("p", "l", [{"x": 1.0}] * 3, measured, {"x": 0.1})
    assert found.verdict is Verdict.MET
    assert not found.is_sure


def test_what_was_not_measured_misses() -> None:
    """A metric that nobody measured must not pass for a good prediction of it."""
    (found,) = compare("p", "l", [{"x": 1.0}], [{}], {"x": 0.5})
    assert found.verdict is Verdict.MISSED
    assert found.as_dict()["error"]["mean"] is None


@pytest.mark.parametrize(
    ("predicted", "measured", "error"), [(0.0, 0.0, 0.0), (1.0, 0.0, math.inf), (1.0, 2.0, -0.5)]
)
def test_relative_error(predicted: float, measured: float, error: float) -> None:
    assert relative_error(predicted, measured) == error


def test_latencies_are_those_of_every_other_command() -> None:
    values = latency_values("latency", np.array([0.001, 0.002, np.nan, 0.003]))
    assert values["latency_p50_s"] == 0.002
    assert values["latency_mean_s"] == pytest.approx(0.002)


def test_the_distance_is_that_of_scipy() -> None:
    rng = np.random.default_rng(1)
    a, b = rng.exponential(1.0, 3000), rng.exponential(1.3, 2000)
    found = kolmogorov_smirnov(a, b, np.arange(2000) / 100)
    assert found.value == pytest.approx(ks_2samp(a, b).statistic, abs=2 / 1024)
    assert found.low <= found.value <= found.high


def test_the_interval_of_a_distance_covers_it() -> None:
    """95 % intervals for two exponentials; a bootstrapped supremum is biased upwards, so 80 % must do.

    Of 40 trials at least 27 cover with probability 0.99 where each does with 0.8.
    """
    truth = float(np.max(np.abs(np.exp(-np.linspace(0, 9, 9001)) - np.exp(-np.linspace(0, 9, 9001) / 1.5))))
    covered = 0
    for seed in range(40):
        rng = np.random.default_rng(seed)
        found = kolmogorov_smirnov(rng.exponential(1.0, 800), rng.exponential(1.5, 800), np.arange(800) / 50)
        covered += found.low <= truth <= found.high
    assert covered >= 27


def test_what_never_came_is_late() -> None:
    never = np.full(100, np.nan)
    assert kolmogorov_smirnov(np.linspace(0, 1, 100), never, np.arange(100.0)).value == 1.0


def test_as_many_predictions_as_measurements() -> None:
    with pytest.raises(ValueError, match="1 predictions for 2 measurements"):
        compare("p", "l", [{}], [{}, {}], {})
