"""Protects the intervals of ratios, rare shares and quantiles: they cover the truth as often as they say.

Coverage checks count over many experiments how often the interval holds the known truth. A method said to
cover at least a share c fails when the count falls below the 1-in-1000 quantile of Binomial(n, c); the seeds
are fixed, so the outcome is reproducible.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from scipy.stats import beta, binom

from sim import theory
from sim.engine import simulate
from sim.experiment import Estimate, Method, estimate
from sim.experiment.intervals import Sample, metric_estimate, metric_pairing
from sim.metrics.basis import Basis, basis_of
from sim.metrics.kinds import KINDS
from sim.scenario import Scenario, scenario_from

NOTHING = {"kind": "constant", "mean_s": 0.0}
LEVELS = {"latency_p50_s": 0.5, "latency_p95_s": 0.95, "latency_p99_s": 0.99}


def counted(events: list[int], requests: list[int] | None = None) -> list[Basis]:
    return [Basis(n, None if requests is None else requests[i], np.empty(0), 0) for i, n in enumerate(events)]


def holds(e: Estimate, truth: float) -> bool:
    assert e.low is not None
    return e.low <= truth <= (math.inf if e.high is None else e.high)


def assert_covers(held: list[bool], at_least: float) -> None:
    fewest = int(binom.ppf(1e-3, len(held), at_least))
    assert sum(held) >= fewest, f"{np.mean(held):.3f} of {len(held)}, {at_least} promised"


def test_a_ratio_is_the_sum_over_the_sum_with_the_delta_method_s_interval() -> None:
    """Requests 30, 10, 20 over events 10, 10, 20: 1.5; residuals y − 1.5 x: 15, −5, −10.

    Their variance is 175, so the standard error is √(175 / 3) / (40 / 3); t_2 = 4.3026527.
    """
    e = metric_estimate("requests_per_event", Sample([3.0, 1.0, 1.0], counted([10, 10, 20])))
    assert e.method is Method.RATIO
    assert e.mean == pytest.approx(1.5)
    assert e.half_width == pytest.approx(4.3026527 * math.sqrt(175 / 3) / (40 / 3), rel=1e-7)


def test_with_equal_denominators_a_ratio_is_the_mean() -> None:
    values = [10.0, 12.0, 14.0, 16.0, 18.0]
    e, plain = metric_estimate("bytes_per_event", Sample(values, counted([7] * 5))), estimate(values)
    assert (e.mean, e.low, e.high) == pytest.approx((plain.mean, plain.low, plain.high))


@pytest.mark.parametrize("metric", KINDS)
def test_one_replication_has_no_interval_and_one_undefined_value_makes_it_undefined(metric: str) -> None:
    basis = Basis(10, 20, np.arange(1.0, 11.0), 10)
    alone = metric_estimate(metric, Sample([5.0], [basis]))
    assert (alone.low, alone.high) == (None, None)
    assert math.isfinite(alone.mean)
    broken = metric_estimate(metric, Sample([0.5, math.nan], [basis, basis]))
    assert math.isnan(broken.mean)
    assert (broken.low, broken.high) == (None, None)
    difference = metric_pairing(metric, Sample([0.5, math.nan], [basis] * 2), Sample([0.5, 1.0], [basis] * 2))
    assert math.isnan(difference.difference.mean)


@pytest.mark.parametrize("metric", KINDS)
def test_without_a_basis_every_metric_is_taken_for_a_mean(metric: str) -> None:
    assert metric_estimate(metric, Sample([1.0, 2.0, 4.0])) == estimate([1.0, 2.0, 4.0])


def test_a_share_is_never_pretended_to_be_exactly_nothing_or_all() -> None:
    """None of 1000: Clopper and Pearson's upper end, 1 − 0.025^(1/1000); the rule of three says 0.003."""
    none = metric_estimate("lost_ratio", Sample([0.0, 0.0], counted([400, 600])))
    assert (none.mean, none.low, none.method) == (0.0, 0.0, Method.SELDOM)
    assert none.high == pytest.approx(1 - 0.025 ** (1 / 1000))
    every = metric_estimate("on_time_ratio", Sample([1.0, 1.0], counted([400, 600])))
    assert (every.mean, every.high) == (1.0, 1.0)
    assert every.low == pytest.approx(0.025 ** (1 / 1000))
    happened = metric_estimate("duplicates_per_event", Sample([0.0, 0.0], counted([400, 600])))
    assert happened.high == pytest.approx(-math.log(0.025) / 1000)  # Garwood's for a Poisson count of 0


def test_a_few_cases_get_clopper_and_pearson_s_interval_over_an_effective_number() -> None:
    """Five of 1000 over ten replications, clustered no more than chance: cut by (1.96 / 2.262)² alone."""
    values = [0.0, 0.02, 0.0, 0.01, 0.0, 0.0, 0.01, 0.0, 0.01, 0.0]
    e = metric_estimate("lost_ratio", Sample(values, counted([100] * 10)))
    effect = np.var(values, ddof=1) / 10 / (0.005 * 0.995 / 1000)
    number = 1000 / max(effect, 1) * (1.959964 / 2.262157) ** 2
    seen = 0.005 * number
    assert e.method is Method.SELDOM
    assert (e.low, e.high) == pytest.approx(
        (beta.ppf(0.025, seen, number - seen + 1), beta.ppf(0.975, seen + 1, number - seen)), rel=1e-5
    )
    clustered = metric_estimate("lost_ratio", Sample([0.05] + [0.0] * 9, counted([100] * 10)))
    assert clustered.mean == pytest.approx(0.005)
    assert clustered.high is not None
    assert e.high is not None
    assert clustered.high > 2 * e.high, "five in one burst say less than five on their own"


def test_a_difference_of_what_was_never_seen_has_an_interval() -> None:
    samples = [Sample([0.0, 0.0], counted([500, 500])) for _ in range(2)]
    found = metric_pairing("lost_ratio", *samples)
    bound = 1 - 0.025 ** (1 / 1000)
    assert (found.difference.mean, found.difference.method) == (0.0, Method.SELDOM)
    assert (found.difference.low, found.difference.high) == pytest.approx((-bound, bound))
    assert math.isnan(found.narrower)


def test_a_difference_is_that_of_the_two_estimates() -> None:
    rng = np.random.default_rng(2)
    runs = [[np.sort(rng.exponential(size=n)) for n in rng.poisson(50, 8)] for _ in range(2)]
    samples = [
        Sample([float(np.quantile(run, 0.95)) for run in of_one], [basis_of(run, 60, 90) for run in of_one])
        for of_one in runs
    ]
    for metric in ("latency_p95_s", "requests_per_event", "latency_mean_s", "age_mean_s"):
        paired = metric_pairing(metric, *samples).difference
        means = [metric_estimate(metric, sample).mean for sample in samples]
        assert paired.mean == pytest.approx(means[0] - means[1])


@pytest.mark.parametrize(("share", "burst"), [(0.001, 1), (0.01, 1), (0.3, 1), (0.01, 10), (0.3, 10)])
def test_shares_are_covered_also_when_they_come_in_bursts(share: float, burst: int) -> None:
    """600 experiments of ten replications of about 600 events, losses in independent bursts.

    With so many that hardly an experiment sees none: the bound that then supposes single losses would be too
    low, as `sim.experiment.intervals` says.
    """
    rng = np.random.default_rng(7)
    held = []
    for _ in range(600):
        events = rng.poisson(600, 10)
        lost = np.minimum(burst * rng.poisson(events * share / burst), events)
        sample = Sample([float(x) for x in lost / events], counted([int(n) for n in events]))
        held.append(holds(metric_estimate("lost_ratio", sample), share))
    assert_covers(held, 0.94)


def test_the_old_way_would_not_have_covered() -> None:
    """The t interval over per-replication quantiles, on 30 runs of 100 exponential latencies: p99."""
    rng = np.random.default_rng(3)
    old, new = [], []
    for _ in range(200):
        runs = [np.sort(rng.exponential(size=100)) for _ in range(30)]
        values = [float(np.quantile(run, 0.99)) for run in runs]
        old.append(holds(estimate(values), -math.log(0.01)))
        pooled = Sample(values, [basis_of(run, 100, None) for run in runs])
        new.append(holds(metric_estimate("latency_p99_s", pooled), -math.log(0.01)))
    assert np.mean(old) < 0.5
    assert_covers(new, 0.94)


def polled() -> tuple[Scenario, str, Callable[[float], float]]:
    """A poll every 10 s, a constant way back of 1.25 s: latency is uniform on [1.25, 11.25)."""
    scenario = scenario_from(
        {
            "name": "polled",
            "network": {"one_way": {"kind": "constant", "mean_s": 1.25}},
            "receiver": {"service": NOTHING},
            "provider_api": {"service": NOTHING},
            "workload": {"kind": "poisson", "rate_per_s": 0.8},
            "polling": {"interval_s": 10.0, "page_size": 1000},
            "run": {"warmup_s": 40.0, "duration_s": 120.0, "drain_s": 30.0},
        }
    )
    return scenario, "polling", lambda p: theory.fixed_rate_latency_quantile_s(p, 10.0, 1.25)


def queued() -> tuple[Scenario, str, Callable[[float], float]]:
    """M/M/1 at ρ = 0.7: the sojourn is exponential at rate μ − λ = 0.3."""
    scenario = scenario_from(
        {
            "name": "queued",
            "network": {"one_way": NOTHING},
            "workload": {"kind": "poisson", "rate_per_s": 0.7},
            "receiver": {
                "workers": 1,
                "service": {"kind": "exponential", "mean_s": 1.0},
                "queue_limit": 10_000,
                "acknowledge": "on_receipt",
            },
            "run": {"warmup_s": 300.0, "duration_s": 1500.0, "drain_s": 300.0},
        }
    )
    return scenario, "webhook", lambda p: -math.log(1 - p) / 0.3


@pytest.mark.parametrize(
    ("case", "experiments"),
    [
        pytest.param(polled, 100, id="polling"),
        pytest.param(queued, 200, id="M/M/1", marks=pytest.mark.slow),
    ],
)
def test_quantiles_of_short_runs_are_covered(
    case: Callable[[], tuple[Scenario, str, Callable[[float], float]]], experiments: int
) -> None:
    """Experiments of ten replications each, of 64 polled events or 840 queued ones.

    A queue's latencies cluster, so that few replications hold most of the tail: 91 % is promised there.
    """
    scenario, mechanism, quantile = case()
    held: dict[str, list[bool]] = {metric: [] for metric in LEVELS}
    means: dict[str, list[float]] = {metric: [] for metric in LEVELS}
    for seed in range(experiments):
        outcome = simulate(scenario, [mechanism], seed=seed, replications=10, records=False)
        for metric, level in LEVELS.items():
            e = metric_estimate(metric, outcome.sample(mechanism, metric))
            held[metric].append(holds(e, quantile(level)))
            means[metric].append(e.mean)
    for metric, level in LEVELS.items():
        assert_covers(held[metric], 0.95 if mechanism == "polling" else 0.91)
        # The joint quantile itself is hardly biased, a twentieth of what the runs' own would be.
        error = np.std(means[metric], ddof=1) / math.sqrt(experiments)
        assert np.mean(means[metric]) == pytest.approx(
            quantile(level), abs=4 * error + 0.004 * quantile(level)
        )


def test_too_few_deliveries_do_not_bound_a_quantile_above() -> None:
    rng = np.random.default_rng(4)
    runs = [np.sort(rng.exponential(size=20)) for _ in range(3)]
    e = metric_estimate(
        "latency_p99_s",
        Sample([float(np.quantile(run, 0.99)) for run in runs], [basis_of(run, 20, None) for run in runs]),
    )
    assert e.high is None
    assert e.low is not None
    assert e.low < e.mean
    assert e.half_width is None


def test_ratios_of_few_events_are_covered() -> None:
    """Requests come at a constant rate whatever the events: Σ over Σ, 10 replications of about 20 events."""
    rng = np.random.default_rng(9)
    held = []
    for _ in range(600):
        events = rng.poisson(20, 10) + 1
        requests = rng.poisson(40, 10)
        e = metric_estimate(
            "requests_per_event",
            Sample([float(x) for x in requests / events], counted([int(n) for n in events])),
        )
        held.append(holds(e, 40 / 21))
    assert_covers(held, 0.94)
