"""Protects the event list every mechanism shares: its law, its span, and that it is one list."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from sim.errors import ScenarioError
from sim.scenario import BurstyWorkload, Scenario, scenario_from
from sim.workload import event_times


def scenario_of(workload: dict[str, object], duration_s: float = 20_000.0) -> Scenario:
    return scenario_from({"name": "w", "workload": workload, "run": {"duration_s": duration_s}})


def test_poisson_events_are_poisson() -> None:
    """Gaps are exponential (Kolmogorov-Smirnov) and the count is Poisson, each at level 1e-6."""
    times = event_times(scenario_of({"kind": "poisson", "rate_per_s": 2.0}), seed=3)
    assert (np.diff(times) > 0).all()
    assert 0 <= times[0] <= times[-1] < 20_000.0
    assert stats.kstest(np.diff(times), "expon", args=(0, 0.5)).pvalue > 1e-6
    low, high = stats.poisson.interval(1 - 1e-6, 40_000)
    assert low <= len(times) <= high


KINDS: dict[str, dict[str, object]] = {
    "poisson": {"kind": "poisson", "rate_per_s": 9.0},
    "periodic": {"kind": "periodic", "rate_per_s": 9.0},
    "bursty": {"kind": "bursty", "rate_per_s": 9.0, "dispersion": 50.0, "on_share": 0.3},
    "diurnal": {"kind": "diurnal", "rate_per_s": 9.0, "period_s": 60.0, "peak_s": 20.0},
    "batch": {"kind": "batch", "rate_per_s": 9.0, "batch_mean": 4.0},
    "constant_batch": {"kind": "batch", "rate_per_s": 9.0, "batch_mean": 4.0, "batch_size": "constant"},
}
every_kind = pytest.mark.parametrize("kind", KINDS)


@every_kind
def test_a_longer_run_has_the_same_beginning(kind: str) -> None:
    """No event before the shorter run's end appears or vanishes, on whatever side of a spell it ends."""
    long = event_times(scenario_of(KINDS[kind], 2000.0), seed=3)
    for duration_s in (0.01, 1.0, 57.3, 100.0, 999.5):
        short = event_times(scenario_of(KINDS[kind], duration_s), seed=3)
        assert short.tolist() == long[long < duration_s].tolist()


@every_kind
def test_events_are_in_order_within_the_run_and_fixed_by_the_seed(kind: str) -> None:
    times = event_times(scenario_of(KINDS[kind], 500.0), seed=3)
    assert (np.diff(times) >= 0).all()
    assert 0 <= times[0] <= times[-1] < 500.0
    assert times.tolist() == event_times(scenario_of(KINDS[kind], 500.0), seed=3).tolist()
    assert times.tolist() != event_times(scenario_of(KINDS[kind], 500.0), seed=4).tolist()


# Bursts: on for 1/((1 − p)σ) = 1/(0.8·0.8) and off for 1/(pσ) = 1/(0.2·0.8) seconds on average, as they
# alternate at σ = 2λ(1 − p)/(p(I − 1)) = 2·2·0.8/(0.2·20) = 0.8 a second.

BURSTY: dict[str, object] = {"kind": "bursty", "rate_per_s": 2.0, "dispersion": 21.0, "on_share": 0.2}
ON_MEAN_S, OFF_MEAN_S, ON_RATE_PER_S = 1.5625, 6.25, 10.0


def test_the_spells_of_a_burst_follow_from_its_dispersion() -> None:
    workload = scenario_of(BURSTY).workload
    assert isinstance(workload, BurstyWorkload)
    assert (workload.on_mean_s, workload.off_mean_s) == pytest.approx((ON_MEAN_S, OFF_MEAN_S))


def dispersion_at(span_s: float) -> float:
    """Var N / E N of a switched Poisson process over a finite span, which tends to the dispersion.

    Its rate has covariance λ_on² p (1 − p) e^(−σ|u|); integrated twice over the span (Fischer &
    Meier-Hellstern 1993).
    """
    sigma, p, rate = 0.8, 0.2, 2.0
    variance_of_rate = ON_RATE_PER_S**2 * p * (1 - p)
    return 1 + 2 * variance_of_rate / (rate * sigma) * (
        1 - (1 - math.exp(-sigma * span_s)) / (sigma * span_s)
    )


@pytest.mark.parametrize("span_s", [0.5, 2.0, 400.0])
def test_counts_of_bursts_are_as_dispersed_as_stated(span_s: float) -> None:
    """Over 400 s within 1 % of the limit, 21. Means over 60 runs, tolerance 5 standard errors."""
    duration_s = 40_000.0
    means, dispersions = [], []
    for seed in range(60):
        times = event_times(scenario_of(BURSTY, duration_s), seed)
        counts = np.bincount((times / span_s).astype(int), minlength=round(duration_s / span_s))
        means.append(counts.mean() / span_s)
        dispersions.append(((counts - 2.0 * span_s) ** 2).mean() / (2.0 * span_s))
    assert np.mean(means) == pytest.approx(2.0, abs=5 * stats.sem(means))
    assert np.mean(dispersions) == pytest.approx(dispersion_at(span_s), abs=5 * stats.sem(dispersions))
    assert dispersion_at(400.0) == pytest.approx(21.0, rel=0.01)
    assert 5 * stats.sem(dispersions) < 0.25 * dispersion_at(span_s)  # a tolerance that tells something


def test_spells_last_as_long_as_stated() -> None:
    """At 10,000 events a second a gap of 20 ms is silence (odds e^-200), so the spells can be seen.

    Both lengths are exponential: their means within 5 standard errors, their law by Kolmogorov-Smirnov at
    1e-6 over what is longer than can be mistaken (an exponential is memoryless).
    """
    workload = {"kind": "bursty", "rate_per_s": 2000.0, "dispersion": 20_001.0, "on_share": 0.2}
    times = event_times(scenario_of(workload, 4000.0), seed=5)
    gaps = np.diff(times)
    silent = np.flatnonzero(gaps > 0.02)
    off = gaps[silent]
    on = times[silent[1:]] - times[silent[:-1] + 1]
    for spells, mean_s, shortest_s in ((off, OFF_MEAN_S, 0.1), (on, ON_MEAN_S, 0.1)):
        beyond = spells[spells > shortest_s] - shortest_s
        assert beyond.size > 300
        assert beyond.mean() == pytest.approx(mean_s, abs=5 * mean_s / math.sqrt(beyond.size))
        assert stats.kstest(beyond, "expon", args=(0, mean_s)).pvalue > 1e-6


def test_bursts_are_stationary_from_the_start() -> None:
    """The first second has the rate of any other: 20,000 seeds, 5 standard errors (burst counts, so wide)."""
    firsts = [event_times(scenario_of(BURSTY, 1.0), seed).size for seed in range(20_000)]
    assert np.mean(firsts) == pytest.approx(2.0, abs=5 * stats.sem(firsts))
    assert np.var(firsts) / 2.0 == pytest.approx(dispersion_at(1.0), rel=0.1)
    with_an_event_at_once = np.mean(
        [event_times(scenario_of(BURSTY, 0.01), seed).size > 0 for seed in range(20_000)]
    )
    assert with_an_event_at_once == pytest.approx(
        0.2 * (1 - math.exp(-0.1)), abs=5 * math.sqrt(0.019 / 20_000)
    )


# Day and night.


def test_a_day_has_its_events_where_its_rate_is() -> None:
    """Counts in each twenty-fourth of 200 days against the integral of the rate: chi-square at 1e-6."""
    rate, amplitude, period_s, peak_s, days = 5.0, 0.8, 240.0, 60.0, 200
    workload = {
        "kind": "diurnal", "rate_per_s": rate, "amplitude": amplitude, "period_s": period_s, "peak_s": peak_s,
    }  # fmt: skip
    times = event_times(scenario_of(workload, days * period_s), seed=11)
    observed = np.bincount((times % period_s / 10.0).astype(int), minlength=24)

    def integral(t: float) -> float:
        swing_s = amplitude * period_s / (2 * math.pi)
        return rate * (t + swing_s * math.sin(2 * math.pi * (t - peak_s) / period_s))

    expected = np.array([days * (integral(10.0 * (h + 1)) - integral(10.0 * h)) for h in range(24)])
    assert expected.sum() == pytest.approx(rate * days * period_s)
    assert ((observed - expected) ** 2 / expected).sum() < stats.chi2.isf(1e-6, 24)
    assert observed.argmax() in {5, 6}  # the peak is at 60 s, where hour 5 meets hour 6
    assert observed.argmin() in {17, 18}
    by_day = np.bincount((times / period_s).astype(int), minlength=days)
    assert ((by_day - rate * period_s) ** 2 / (rate * period_s)).sum() < stats.chi2.isf(1e-6, days)


def test_a_flat_day_is_poisson_and_a_full_swing_falls_silent() -> None:
    flat = event_times(scenario_of({"kind": "diurnal", "rate_per_s": 2.0, "amplitude": 0.0}), seed=3)
    assert flat.tolist() == event_times(scenario_of({"kind": "poisson", "rate_per_s": 2.0}), seed=3).tolist()
    full = event_times(
        scenario_of(
            {"kind": "diurnal", "rate_per_s": 50.0, "amplitude": 1.0, "period_s": 100.0, "peak_s": 0.0}
        ),
        seed=3,
    )
    # Within 1 s of the trough the rate integrates to 50 · 2 · (π/100)²/3 / 2 = 0.033 events a day, 200 days.
    in_the_trough = np.count_nonzero(np.abs(full % 100.0 - 50.0) < 1.0)
    assert in_the_trough <= stats.poisson.isf(1e-6, 200 * 0.033)


# Batches.


def batch_sizes(workload: dict[str, object], seed: int = 3) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    instants, sizes = np.unique(event_times(scenario_of(workload), seed), return_counts=True)
    return instants, sizes


@pytest.mark.parametrize("batch_mean", [1.5, 4.0, 40.0])
def test_batches_are_poisson_with_geometric_sizes(batch_mean: float) -> None:
    """Gaps by Kolmogorov-Smirnov, sizes by chi-square over classes of at least 20, each at 1e-6."""
    instants, sizes = batch_sizes({"kind": "batch", "rate_per_s": 2.0, "batch_mean": batch_mean})
    assert stats.kstest(np.diff(instants), "expon", args=(0, batch_mean / 2.0)).pvalue > 1e-6
    n, p = sizes.size, 1 / batch_mean
    low, high = stats.poisson.interval(1 - 1e-6, 20_000.0 * 2.0 / batch_mean)
    assert low <= n <= high
    assert sizes.mean() == pytest.approx(batch_mean, abs=5 * math.sqrt(1 - p) / p / math.sqrt(n) + 1e-12)
    largest = 1
    while n * stats.geom.sf(largest, p) >= 20:
        largest += 1
    observed = np.bincount(np.minimum(sizes, largest), minlength=largest + 1)[1:]
    expected = n * np.append(stats.geom.pmf(np.arange(1, largest), p), stats.geom.sf(largest - 1, p))
    assert ((observed - expected) ** 2 / expected).sum() <= stats.chi2.isf(1e-6, max(1, largest - 1))


def test_constant_batches_are_all_of_one_size() -> None:
    workload = {"kind": "batch", "rate_per_s": 2.0, "batch_mean": 7, "batch_size": "constant"}
    instants, sizes = batch_sizes(workload)
    assert set(sizes) == {7}
    assert set(batch_sizes({"kind": "batch", "rate_per_s": 2.0, "batch_mean": 1.0})[1]) == {1}
    low, high = stats.poisson.interval(1 - 1e-6, 20_000.0 * 2.0 / 7)
    assert low <= instants.size <= high
    with pytest.raises(ScenarioError, match=r"batch_mean must be a whole number .* got 2\.5"):
        scenario_of(workload | {"batch_mean": 2.5})


# What would never end.


def test_an_event_list_nobody_could_hold_is_refused_however_few_want_it() -> None:
    crowd = scenario_of({"kind": "poisson", "rate_per_s": 1e6}, 1e6).with_values(
        **{"subscribers.interest": 1e-6}
    )
    with pytest.raises(ScenarioError, match=r"1e\+12 deliveries; at most 50,000,000"):
        event_times(crowd, 1)


def test_spells_that_flicker_without_end_are_refused() -> None:
    flicker = {"kind": "bursty", "rate_per_s": 1.0, "dispersion": 1.000001}
    with pytest.raises(ScenarioError, match=r"workload\.dispersion = 1\.000001 makes .* at most 50,000,000"):
        event_times(scenario_of(flicker), 1)


def test_periodic_events_have_a_phase() -> None:
    fixed = event_times(
        scenario_of({"kind": "periodic", "rate_per_s": 0.5, "phase": "synchronised"}, 10.0), 1
    )
    assert fixed.tolist() == [0.0, 2.0, 4.0, 6.0, 8.0]
    phases = [
        event_times(scenario_of({"kind": "periodic", "rate_per_s": 0.5}, 10.0), s)[0] for s in range(500)
    ]
    assert stats.kstest(phases, "uniform", args=(0, 2)).pvalue > 1e-6


def test_a_trace_is_replayed_from_zero_and_faster(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("created\n2024-01-01T00:00:10Z\n2024-01-01T00:00:20Z\n2024-01-01T00:01:10Z\n")
    workload = {"kind": "trace", "path": str(path), "speedup": 10.0}
    assert event_times(scenario_of(workload), 1).tolist() == [0.0, 1.0, 6.0]
    with pytest.raises(ScenarioError, match=r"1 of 3 events fall at or after run\.duration_s = 5"):
        event_times(scenario_of(workload, 5.0), 1)
