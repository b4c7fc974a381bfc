"""Protects: queues and ages of information give their reference numbers, and agree where they meet.

The reference numbers were checked by short simulations that share no code with this one, or come from
the sources in the functions' docstrings.
"""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.optimize import minimize_scalar

from sim import theory
from sim.theory import DM1, MG1, MDc, MMc, MMcK
from tests.sim.test_theory import rounded


def test_mmc_erlang_c():
    queue = MMc(4, 3.2, 1.0)
    assert rounded(queue.wait_probability, 6) == 0.596432
    assert rounded(queue.wait_mean_s, 6) == 0.745541
    assert rounded(queue.wait_exceeds(0.5), 6) == 0.399801
    queue = MMc(16, 14.0, 1.0)
    assert rounded(queue.wait_probability, 6) == 0.508482
    assert rounded(queue.wait_mean_s, 6) == 0.254241


@given(rho=st.floats(0.01, 0.99), mu=st.floats(0.01, 100), p=st.floats(0.001, 0.9999))
def test_mm1_sojourns_are_exponential(rho, mu, p):
    queue = MMc(1, rho * mu, mu)
    assert queue.sojourn_quantile_s(p) == pytest.approx(-math.log1p(-p) / (mu - rho * mu), rel=1e-9)
    assert queue.sojourn_mean_s == pytest.approx(1 / (mu - rho * mu), rel=1e-9)


@given(workers=st.integers(1, 30), rho=st.floats(0.05, 0.95))
def test_sojourn_distribution_has_the_sojourn_s_mean(workers, rho):
    queue = MMc(workers, rho * workers, 1.0)
    horizon = 60 * queue.relaxation_s
    mean, _ = quad(queue.sojourn_exceeds, 0, horizon, limit=500)
    assert mean == pytest.approx(queue.sojourn_mean_s, rel=1e-6)


def test_sojourn_distribution_is_continuous_where_its_formula_is_not():
    """At c − 1 = a the general form is 0/0."""
    at, near = MMc(3, 2.0, 1.0), MMc(3, 2.0 + 1e-7, 1.0)
    for t_s in (0.1, 1.0, 5.0):
        assert at.sojourn_exceeds(t_s) == pytest.approx(near.sojourn_exceeds(t_s), rel=1e-6)


@pytest.mark.parametrize("parameters", [(2, 2.0, 1.0), (0, 1.0, 1.0), (1, 0.0, 1.0), (1, 1.0, -1.0)])
def test_a_queue_without_steady_state_is_refused(parameters):
    with pytest.raises(ValueError, match="MMc"):
        MMc(*parameters)


def test_mm1_sojourn_quantiles():
    assert MMc(1, 0.5, 1.0).sojourn_quantile_s(0.95) == pytest.approx(-math.log(0.05) / 0.5)


def test_pollaczek_khinchine():
    """Log-normal service, mean 1, cv² 4."""
    assert rounded(MG1(0.7, 1.0, 5.0).wait_mean_s, 5) == 5.8333


@given(rho=st.floats(0.05, 0.95))
def test_mg1_is_mm1_for_exponential_service(rho):
    assert MG1(rho, 1.0, 2.0).wait_mean_s == pytest.approx(MMc(1, rho, 1.0).wait_mean_s)
    assert MG1(rho, 1.0, 2.0).queue_mean == pytest.approx(MMc(1, rho, 1.0).queue_mean)


def test_p6_vacations():
    assert MG1(0.5, 1.0, 1.0).wait_with_vacations_mean_s(4.0, 16.0) == pytest.approx(2.5)


@given(rho=st.floats(0.05, 0.95))
def test_mdc_with_one_worker_is_pollaczek_khinchine(rho):
    assert MDc(1, rho, 1.0).wait_mean_s == pytest.approx(MG1(rho, 1.0, 1.0).wait_mean_s, rel=1e-9)
    assert MDc(1, rho, 1.0).wait_probability == pytest.approx(rho, rel=1e-9)


@pytest.mark.parametrize(("workers", "rho"), [(2, 0.5), (4, 0.8), (8, 0.9)])
def test_mdc_is_the_chain_embedded_at_services_length(workers, rho):
    """Whoever is in service at t has left at t + s: N(t + s) = (N(t) − c)⁺ + A, A Poisson of mean λs."""
    size = 400
    mean = workers * rho
    arrivals = np.exp(
        np.arange(size) * math.log(mean) - mean - np.array([math.lgamma(k + 1) for k in range(size)])
    )
    transition = np.zeros((size, size))
    for n in range(size):
        left = max(n - workers, 0)
        transition[n, left:] = arrivals[: size - left]
    occupancy = np.full(size, 1 / size)
    for _ in range(3000):
        occupancy = occupancy @ transition
        occupancy /= occupancy.sum()
    waiting = np.maximum(np.arange(size) - workers, 0) @ occupancy
    queue = MDc(workers, mean, 1.0)
    assert queue.queue_mean == pytest.approx(waiting, rel=1e-8)
    assert queue.wait_probability == pytest.approx(occupancy[workers:].sum(), rel=1e-8)


def test_dm1():
    queue = DM1(0.5, 1.0)
    assert queue.found_busy == pytest.approx(math.exp(-(1 - queue.found_busy) / 0.5), rel=1e-12)
    assert rounded(queue.sojourn_mean_s + 1, 7) == 2.255001
    assert queue.sojourn_quantile_s(0.5) == pytest.approx(math.log(2) * queue.sojourn_mean_s)


def test_mm1k_losses():
    """ρ = 0.9, K = 5."""
    assert rounded(MMcK(1, 5, 0.9, 1.0).lost_ratio, 6) == 0.126023


@given(workers=st.integers(1, 8), load=st.floats(0.1, 0.9))
def test_a_large_finite_queue_is_an_unlimited_one(workers, load):
    finite, unlimited = MMcK(workers, 400, workers * load, 1.0), MMc(workers, workers * load, 1.0)
    assert finite.wait_mean_s == pytest.approx(unlimited.wait_mean_s, rel=1e-6)
    assert finite.utilisation == pytest.approx(load)
    assert sum(finite.occupancy[workers:]) == pytest.approx(unlimited.wait_probability, rel=1e-6)


def test_a_finite_queue_under_overload_loses_what_it_cannot_serve():
    queue = MMcK(2, 50, 20.0, 1.0)
    assert queue.accepted_per_s == pytest.approx(2.0, rel=1e-6)
    assert queue.utilisation == pytest.approx(1.0)
    assert sum(queue.occupancy) == pytest.approx(1.0)


@pytest.mark.parametrize(
    "impossible",
    [
        lambda: MG1(1.0, 1.0, 1.0),
        lambda: MG1(0.5, 1.0, 0.9),
        lambda: MG1(0.0, 1.0, 1.0),
        lambda: DM1(1.0, 1.0),
        lambda: DM1(-1.0, 1.0),
        lambda: MDc(2, 2.0, 1.0),
        lambda: MDc(0, 1.0, 1.0),
        lambda: MMcK(3, 2, 1.0, 1.0),
        lambda: MMcK(1, 1, 0.0, 1.0),
        lambda: theory.drain_s(2.0, 10.0, 2.0),
    ],
)
def test_impossible_queues_are_refused(impossible):
    with pytest.raises(ValueError, match=r"must|needs|vanishes"):
        impossible()


# --- age of information -------------------------------------------------------------------------------------


def mm1_aoi(rho: float) -> float:
    return theory.fcfs_poisson_aoi_mean_s(MG1(rho, 1.0, 2.0), 1 / (1 + rho))


def md1_aoi(rho: float) -> float:
    return theory.fcfs_poisson_aoi_mean_s(MG1(rho, 1.0, 1.0), math.exp(-rho))


def dm1_aoi(rho: float) -> float:
    return theory.periodic_aoi_mean_s(1 / rho, DM1(rho, 1.0).sojourn_mean_s)


@pytest.mark.parametrize(
    ("aoi", "at_half", "best_rho", "best"),
    [
        (mm1_aoi, 3.5, 0.5310, 3.4844),
        (md1_aoi, 3.148721, 0.6291, 2.9541),
        (dm1_aoi, 2.255001, 0.5169, 2.2526),
    ],
)
def test_age_of_information_through_one_worker(aoi, at_half, best_rho, best):
    assert rounded(aoi(0.5), 7) == pytest.approx(at_half, rel=1e-12)
    found = minimize_scalar(aoi, bounds=(0.1, 0.9), method="bounded", options={"xatol": 1e-9})
    assert found.x == pytest.approx(best_rho, abs=5e-5)
    assert found.fun == pytest.approx(best, abs=5e-5)


@given(rho=st.floats(0.05, 0.95))
def test_mm1_age_in_its_usual_form(rho):
    assert mm1_aoi(rho) == pytest.approx(1 + 1 / rho + rho**2 / (1 - rho), rel=1e-9)


def test_peaks_in_order():
    """M/M/1 at ρ = ½: a gap of 2 and a sojourn of 2."""
    assert theory.in_order_peak_aoi_mean_s(2.0, MMc(1, 0.5, 1.0).sojourn_mean_s) == 4.0


def test_dropping_updates():
    assert theory.preemptive_aoi_mean_s(0.5, 1.0) == 3.0
    assert theory.preemptive_peak_aoi_mean_s(0.5, 1.0) == pytest.approx(3 + 2 / 3)
    assert theory.blocking_aoi_mean_s(0.5, 1.0) == pytest.approx(2 + 2 - 2 / 3)
    assert theory.blocking_peak_aoi_mean_s(0.5, 1.0) == 4.0


def test_zero_wait():
    """Exponential service of mean 1: 1 + 2/2; constant: 1 + ½."""
    assert theory.zero_wait_aoi_mean_s(1.0, 2.0) == 2.0
    assert theory.zero_wait_aoi_mean_s(1.0, 1.0) == 1.5
    # Waiting 1 s after each constant second: a look every 2 s, shown 1 s later, at an age of 1 to 3.
    assert theory.zero_wait_aoi_mean_s(1.0, 1.0, wait_s=1.0, update_age_s=0.5) == 2.5


def test_periodic_sampling_with_a_constant_delay():
    assert theory.delayed_aoi_mean_s(10.0, 100.0, 0.5) == theory.periodic_aoi_mean_s(10.0, 0.5) == 5.5
    assert theory.in_order_peak_aoi_mean_s(10.0, 0.5) == 10.5


def blocked(created, service):
    shown, made, free_s = [], [], 0.0
    for created_s, service_s in zip(created, service, strict=True):
        if created_s >= free_s:
            free_s = created_s + service_s
            shown.append(free_s)
            made.append(created_s)
    return np.array(shown), np.array(made)


def preempted(created, service):
    served = created[:-1] + service[:-1] <= created[1:]
    return (created[:-1] + service[:-1])[served], created[:-1][served]


@pytest.mark.parametrize(
    ("expected", "simulated"),
    [
        (theory.blocking_aoi_mean_s(0.5, 1.0), blocked),
        (theory.preemptive_aoi_mean_s(0.5, 1.0), preempted),
    ],
)
def test_dropping_updates_by_an_independent_simulation(expected, simulated):
    draw = np.random.default_rng(11)
    created = np.cumsum(draw.exponential(2.0, 200_000))
    shown, made = simulated(created, draw.exponential(1.0, len(created)))
    gaps = np.diff(shown)
    age_s2 = gaps * (shown[:-1] - made[:-1]) + gaps**2 / 2
    assert age_s2.sum() / gaps.sum() == pytest.approx(expected, rel=0.01)
