"""Protects what a scenario says: a distribution has the mean and the spread it was given, to the tails."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import special, stats

from sim.distribution_specs import (
    Constant,
    DistributionSpec,
    Empirical,
    Exponential,
    Gamma,
    LogNormal,
    Pareto,
    Uniform,
)
from sim.distributions import compile_distribution, normal_quantile, quantile, sample, service_times
from sim.randomness import Stream
from sim.scenario import load_scenario

P = np.concatenate(
    [np.linspace(0.001, 0.999, 97), 10.0 ** -np.arange(4, 15), 1 - 10.0 ** -np.arange(4.0, 13.0)]
)


def quantiles(spec: DistributionSpec) -> np.ndarray:
    distribution = compile_distribution(spec)
    return np.array([quantile(distribution, p) for p in P])


def test_normal_quantile_agrees_with_scipy() -> None:
    ours = np.array([normal_quantile(p) for p in P])
    np.testing.assert_allclose(ours, special.ndtri(P), rtol=5e-15, atol=1e-15)


@pytest.mark.parametrize("cv", [0.05, 0.5, 1.0, 3.0, 10.0])
def test_gamma_table_is_within_its_stated_error(cv: float) -> None:
    exact = stats.gamma.ppf(P, 1 / cv**2, scale=2.0 * cv**2)
    ours = quantiles(Gamma(kind="gamma", mean_s=2.0, cv=cv))
    sound = exact > 1e-290  # below, scipy underflows
    np.testing.assert_allclose(ours[sound], exact[sound], rtol=2e-5)


def test_closed_quantiles_agree_with_scipy() -> None:
    sigma = np.sqrt(np.log1p(4.0))
    np.testing.assert_allclose(
        quantiles(LogNormal(kind="lognormal", mean_s=3.0, cv=2.0)),
        stats.lognorm.ppf(P, sigma, scale=3.0 * np.exp(-(sigma**2) / 2)),
        rtol=1e-12,
    )
    np.testing.assert_allclose(
        quantiles(Exponential(kind="exponential", mean_s=3.0)), stats.expon.ppf(P, scale=3.0), rtol=1e-12
    )
    index = 1 + np.sqrt(1 + 1 / 0.25)
    np.testing.assert_allclose(
        quantiles(Pareto(kind="pareto", mean_s=3.0, cv=0.5)),
        stats.pareto.ppf(P, index, scale=3.0 * (index - 1) / index),
        rtol=1e-10,
    )
    np.testing.assert_allclose(
        quantiles(Uniform(kind="uniform", low_s=1.0, high_s=4.0)), 1 + 3 * P, rtol=1e-14
    )
    assert set(quantiles(Constant(kind="constant", mean_s=0.25))) == {0.25}


@pytest.mark.parametrize(
    "spec",
    [
        Constant(kind="constant", mean_s=2.0),
        Uniform(kind="uniform", low_s=1.0, high_s=4.0),
        Exponential(kind="exponential", mean_s=2.0),
        LogNormal(kind="lognormal", mean_s=2.0, cv=1.0),
        Gamma(kind="gamma", mean_s=2.0, cv=0.7),
        Pareto(kind="pareto", mean_s=2.0, cv=0.3),
        Empirical(kind="empirical", values_s=(1.0, 2.0, 6.0)),
    ],
    ids=lambda spec: spec.kind,
)
def test_samples_have_the_stated_mean(spec: DistributionSpec) -> None:
    """The sample mean of n draws is within 4.9 standard errors (two-sided level 1e-6) of `mean_s`."""
    n, distribution = 40_000, compile_distribution(spec)
    values = [sample(distribution, 7, int(Stream.SERVICE), entity, 0) for entity in range(n)]
    assert abs(np.mean(values) - spec.mean_s) <= 4.9 * spec.cv * spec.mean_s / np.sqrt(n) + 1e-12


def test_a_larger_uniform_is_a_longer_duration() -> None:
    for spec in (Gamma(kind="gamma", mean_s=1.0, cv=2.0), Pareto(kind="pareto", mean_s=1.0, cv=2.0)):
        distribution = compile_distribution(spec)
        values = [quantile(distribution, p) for p in np.linspace(1e-9, 1 - 1e-9, 999)]
        assert (np.diff(values) > 0).all()


def test_service_times_are_the_models_own_first_copies() -> None:
    scenario = load_scenario("shop-orders")
    distribution = compile_distribution(scenario.receiver.service)
    expected = [sample(distribution, 5, int(Stream.SERVICE), event, 0) for event in range(10)]
    assert service_times(scenario, 5, 10).tolist() == expected
