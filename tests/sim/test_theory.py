"""Protects: closed forms give their reference numbers, and refuse scenarios that break their conditions.

The reference numbers were checked by short simulations that share no code with this one, or come from
the sources in the functions' docstrings.
"""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import quad

from sim import theory
from sim.errors import ConditionsViolated, InputError
from sim.scenario import Retry, Scenario, scenario_from
from sim.theory import AtLeastOnce, MMc

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
