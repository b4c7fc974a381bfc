"""Protects: closed forms give their reference numbers, and agree with each other where they meet.

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
from sim.scenario import Retry
from sim.theory import DM1, MG1, AtLeastOnce, LongPoll, MDc, MMc, MMcK, Reconciled

DOUBLING = Retry(kind="exponential", base_s=10.0, factor=2.0, max_attempts=6)


def rounded(value: float, digits: int) -> float:
    """`value` to as many significant digits as the reference states."""
    return float(f"{value:.{digits}g}")


def test_p1_fixed_rate_latency():
    assert theory.fixed_rate_latency_mean_s(10) == 5.0
    assert theory.fixed_rate_latency_quantile_s(0.95, 10) == 9.5
    assert theory.fixed_rate_latency_mean_s(10, 0.5) == 5.5


def test_p2_the_inspection_paradox():
    assert theory.exponential_cycle(10).wait_mean_s == 10.0
    assert theory.constant_cycle(10).wait_mean_s == 5.0


def test_p3_empty_polls():
    assert rounded(theory.constant_cycle(10).empty_ratio(0.1), 5) == 0.36788
    assert theory.exponential_cycle(10).empty_ratio(0.1) == 0.5
    assert theory.empty_ratio_periodic(40, 10) == 0.75
    assert theory.empty_ratio_periodic(5, 10) == 0


def test_p4_batches():
    assert rounded(theory.batch_nonempty_mean(0.1, 10), 6) == 1.58198
    cycle = theory.constant_cycle(10)
    assert cycle.batch_mean(0.1) / (1 - cycle.empty_ratio(0.1)) == pytest.approx(
        theory.batch_nonempty_mean(0.1, 10), rel=1e-14
    )


def test_p5_a_batch_served_one_after_another():
    assert theory.served_batch_latency_mean_s(0.3, 20, 0.2) == pytest.approx(10.8, rel=1e-15)


@given(interval_s=st.floats(0.1, 100), share=st.floats(0, 2), rate=st.floats(0.01, 10))
def test_exponential_polls_put_off_by_their_round_trip(interval_s, share, rate):
    """The three closed moments of max(X, r) against numerical integration of its density."""
    r = share * interval_s
    cycle = theory.exponential_cycle(interval_s, r)
    at_once = -math.expm1(-r / interval_s)

    def integral(f):
        tail, _ = quad(
            lambda y: f(r + y * interval_s) * math.exp(-y), 0, 60, limit=500, epsabs=0, epsrel=1e-8
        )
        return f(r) * at_once + tail * math.exp(-r / interval_s)

    assert cycle.mean_s == pytest.approx(integral(lambda x: x), rel=1e-6)
    assert cycle.second_moment_s2 == pytest.approx(integral(lambda x: x * x), rel=1e-6)
    assert cycle.laplace(rate) == pytest.approx(integral(lambda x: math.exp(-rate * x)), rel=1e-6)


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


def test_retry_schedule_through_an_outage():
    offsets = theory.retry_offsets_s(DOUBLING)
    assert offsets == [0, 10, 30, 70, 150, 310]
    assert theory.outage_lost_ratio(offsets, 300) == 0
    assert rounded(theory.outage_latency_mean_s(offsets, 300), 6) == 206.667
    assert rounded(theory.outage_lost_ratio(offsets, 900), 5) == 0.65556
    assert rounded(theory.outage_latency_mean_s(offsets, 900), 3) == 210


@pytest.mark.parametrize(
    ("retry", "known_s", "offsets"),
    [
        (Retry(kind="none"), 0, [0]),
        (Retry(kind="fixed", base_s=5.0, max_attempts=4), 0, [0, 5, 10, 15]),
        (Retry(kind="linear", base_s=5.0, max_attempts=4), 0, [0, 5, 15, 30]),
        (Retry(kind="linear", base_s=5.0, cap_s=8.0, max_attempts=4), 0, [0, 5, 13, 21]),
        (Retry(kind="schedule", gaps_s=(1.0, 60.0, 3600.0)), 0, [0, 1, 61, 3661]),
        (Retry(kind="schedule", gaps_s=(1.0, 60.0, 3600.0), max_attempts=3), 0, [0, 1, 61]),
        (DOUBLING, 2, [0, 12, 34, 76, 158, 320]),
        (Retry(kind="exponential", base_s=10.0, max_attempts=6, max_duration_s=70.0), 0, [0, 10, 30, 70]),
    ],
)
def test_retry_offsets(retry, known_s, offsets):
    assert theory.retry_offsets_s(retry, known_s) == offsets


def test_at_least_once():
    sender = AtLeastOnce(request_loss=0.1, response_loss=0.05, attempts_allowed=4)
    assert rounded(sender.attempts_mean, 7) == 1.169074
    assert rounded(sender.copies_mean, 7) == 1.052166
    assert sender.never_received == pytest.approx(1e-4, rel=1e-12)
    assert rounded(sender.gives_up, 5) == 4.4205e-4
    assert rounded(sender.duplicates_mean, 5) == 0.052266
    assert AtLeastOnce(1.0, 0.0, 3).attempts_mean == 3


def test_independent_failures_are_lost_requests():
    """p = 0.3, three tries: delivered 1 − p³, tries (1 − p³)/(1 − p)."""
    sender = AtLeastOnce(0.3, 0.0, 3)
    assert sender.never_received == pytest.approx(0.027)
    assert sender.attempts_mean == pytest.approx((1 - 0.027) / 0.7)
    assert sender.duplicates_mean == pytest.approx(0, abs=1e-15)


# --- cycles and freshness -----------------------------------------------------------------------------------


def integrated(density, low, high, *breaks):
    """A cycle's moments and transform at 0.7 from its density, by quadrature."""
    return [
        quad(lambda x, f=f: f(x) * density(x), low, high, points=breaks or None)[0]
        for f in (lambda x: x, lambda x: x * x, lambda x: math.exp(-0.7 * x))
    ]


@pytest.mark.parametrize(
    ("cycle", "moments"),
    [
        (theory.constant_cycle(5.0), [5.0, 25.0, math.exp(-3.5)]),
        (
            theory.jittered_cycle(5.0, 2.0),  # triangular on [3, 7]
            integrated(lambda x: (1 - abs(x - 5) / 2) / 2, 3, 7, 5),
        ),
        (theory.jittered_cycle(2.0, 2.0), integrated(lambda x: (1 - abs(x - 2) / 2) / 2, 0, 4, 2)),
        (theory.delayed_cycle(5.0, 2.0), integrated(lambda x: 0.5, 5, 7)),
        (theory.exponential_cycle(5.0), integrated(lambda x: math.exp(-x / 5) / 5, 0, 300)),
    ],
)
def test_cycles_moments_and_transforms(cycle, moments):
    assert [cycle.mean_s, cycle.second_moment_s2, cycle.laplace(0.7)] == pytest.approx(moments, rel=1e-7)


def test_p7_updates_seen():
    assert rounded(theory.constant_cycle(2).seen_ratio(1), 5) == 0.43233
    assert theory.exponential_cycle(2).seen_ratio(1) == pytest.approx(1 / 3)


@pytest.mark.parametrize(
    ("cycle", "fresh", "age_s"),
    [
        (theory.constant_cycle(2), 0.632121, 0.264241),
        (theory.jittered_cycle(2, 2), 0.600424, 0.367514),
        (theory.exponential_cycle(2), 0.5, 1.0),
    ],
)
def test_the_three_orders_of_cho_and_garcia_molina(cycle, fresh, age_s):
    """r = 1, T = 2."""
    assert rounded(theory.freshness(cycle, 0.5), 6) == pytest.approx(fresh, rel=1e-12)
    assert rounded(theory.age_mean_s(cycle, 0.5), 6) == pytest.approx(age_s, rel=1e-12)


@given(rate=st.floats(0.01, 10), delay_s=st.floats(0, 5))
def test_freshness_of_ever_more_frequent_looks_is_that_of_pushing(rate, delay_s):
    often = theory.constant_cycle(1e-7)
    assert theory.freshness(often, rate, delay_s) == pytest.approx(
        theory.pushed_freshness(rate, delay_s), rel=1e-5
    )
    assert theory.age_mean_s(often, rate, delay_s) == pytest.approx(
        theory.pushed_age_mean_s(rate, delay_s), abs=1e-5
    )


# --- queues -------------------------------------------------------------------------------------------------


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


# --- sessions, costs, herds ---------------------------------------------------------------------------------


def test_l1_long_polling():
    busy = LongPoll(5.0, 0.05, 30.0)
    assert rounded(busy.latency_mean_s, 4) == 0.07259
    assert rounded(busy.requests_per_s, 5) == 4.5186
    quiet = LongPoll(0.02, 0.05, 30.0)
    assert rounded(quiet.latency_mean_s, 5) == 0.050221
    assert rounded(quiet.requests_per_s, 5) == 0.044220
    assert rounded(quiet.empty_ratio, 5) == 0.54772
    assert quiet.latency_max_s == pytest.approx(0.15)


def test_l1_without_a_hold_is_polling_at_once():
    poll, cycle = LongPoll(0.5, 0.25, 0.0, pause_s=1.5), theory.constant_cycle(2.0)
    assert poll.cycle_mean_s == cycle.mean_s
    assert poll.latency_mean_s == cycle.wait_mean_s + 0.25
    assert poll.empty_ratio == cycle.empty_ratio(0.5)


def test_h1_reconciled_webhooks():
    reconciled = Reconciled(0.05, 600.0, 0.25, 0.25)
    assert reconciled.latency_mean_s == pytest.approx(0.95 * 0.25 + 0.05 * 300.25)
    assert Reconciled(0.05, 600.0).latency_exceeds(300.0) == pytest.approx(0.025)
    assert reconciled.latency_exceeds(300.25) == pytest.approx(0.025)
    assert reconciled.latency_exceeds(0.1) == 1.0
    assert reconciled.latency_exceeds(601.0) == 0.0
    mean, _ = quad(reconciled.latency_exceeds, 0, 601, points=[0.25, 600.25])
    assert mean == pytest.approx(reconciled.latency_mean_s)


def test_b1_break_even():
    assert theory.break_even_rate_per_s(10.0) == 0.1
    assert theory.break_even_rate_per_s(10.0, poll_cost=2.0, webhook_cost=3.0, event_cost=1.0) == 0.1
    assert theory.break_even_rate_per_s(10.0, webhook_cost=1.0, event_cost=1.0) == math.inf


@given(rate=st.floats(0.01, 10), poll=st.floats(0.01, 10), late=st.floats(0.01, 10))
def test_b1_the_best_interval_costs_least(rate, poll, late):
    def cost_per_s(interval_s):
        return poll / interval_s + late * rate * theory.fixed_rate_latency_mean_s(interval_s)

    best = theory.best_interval_s(rate, poll, late)
    assert cost_per_s(best) < min(cost_per_s(best * 0.99), cost_per_s(best * 1.01))


def test_herds_after_recovery():
    """D = 3600 s, b = 10 s: 360 λ against 8 λ."""
    assert theory.fixed_gap_herd_per_s(1.0, 3600.0, 10.0) == 360
    assert theory.doubling_herd_per_s(1.0, 3600.0, 10.0) == 8
    assert theory.doubling_herd_per_s(2.0, 5.0, 10.0) == 0


def test_backlogs_and_bursts():
    assert theory.drain_s(80.0, 60.0, 100.0) == 240
    assert theory.burst_end_s(20, 3, 0.5) == 3.5
    assert theory.burst_end_s(21, 3, 0.5) == 3.5
    assert theory.burst_end_s(22, 3, 0.5) == 4.0


def test_retry_storms_as_published():
    """A database good for 300 a second, one retry: 280 a second stay at 560, below 150 it is safe."""
    assert theory.retry_storm_is_possible(280.0, 1, 300.0)
    assert theory.retry_storm_is_possible(151.0, 1, 300.0)
    assert not theory.retry_storm_is_possible(149.0, 1, 300.0)
    assert not theory.retry_storm_is_possible(280.0, 0, 300.0)
