"""Protects: closed forms give their reference numbers, and agree with each other where they meet.

The reference numbers were checked by short simulations that share no code with this one, or come from
the sources in the functions' docstrings.
"""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import quad

from sim import theory
from sim.scenario import Retry
from sim.theory import AtLeastOnce, LongPoll, Reconciled

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
