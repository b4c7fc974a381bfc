"""Protects the search for capacity: right on servers whose capacity is known, sure to end on any other."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from loadtest.capacity.search import Answer, Limit, Outcome, Search

RESOLUTION = 0.05


def searched(
    respond: Callable[[float], Outcome],
    start: float = 10.0,
    least: float = 1e-3,
    most: float = 1e7,
    **options: int,
) -> Search:
    search = Search(start, least_per_s=least, most_per_s=most, resolution=RESOLUTION, **options)
    while search.probe is not None:
        assert least <= search.probe.rate_per_s <= most
        search.tell(respond(search.probe.rate_per_s))
    return search


def up_to(capacity: float) -> Callable[[float], Outcome]:
    return lambda rate: Outcome.MET if rate <= capacity else Outcome.MISSED


@given(st.floats(0.01, 1e6), st.floats(0.01, 1e6))
def test_a_sharp_capacity_is_found_within_the_resolution(capacity, start):
    search = searched(up_to(capacity), start)
    answer = search.answer
    assert answer is not None
    assert answer.limit is Limit.SERVER
    assert answer.rate_per_s <= capacity < answer.refuted_per_s <= answer.rate_per_s * (1 + RESOLUTION + 1e-9)
    # k of k confirm, and what is above fails at the first attempt.
    assert [probe.purpose for probe, _ in search.outcomes][-4:] == ["confirm"] * 3 + ["refute"]
    # Brackets by doubling, then halves of log 2 down to log 1.05.
    assert len(search.outcomes) <= abs(math.log2(capacity / start)) + 3 + math.ceil(math.log2(14.3)) + 4


@given(st.floats(1.0, 1e5), st.floats(1.0, 1e5), st.floats(1.0, 1e5))
def test_a_generator_that_gives_out_first_is_told_apart(capacity, ceiling, start):
    def respond(rate: float) -> Outcome:
        return Outcome.GENERATOR if rate > ceiling else up_to(capacity)(rate)

    answer = searched(respond, start).answer
    assert answer is not None
    least = min(capacity, ceiling)
    assert least / (1 + RESOLUTION) <= answer.rate_per_s <= least
    assert answer.limit is (Limit.SERVER if answer.refuted_per_s <= ceiling else Limit.GENERATOR)
    if capacity > ceiling * (1 + RESOLUTION):
        assert answer.limit is Limit.GENERATOR


def test_the_ends_of_the_range_end_the_search():
    assert searched(up_to(1e9), 10.0, most=500.0).answer == Answer(500.0, Limit.RANGE, None)
    none = searched(up_to(1e-9), 10.0, least=1.0).answer
    assert (none.rate_per_s, none.limit) == (None, Limit.RANGE)
    silent = searched(lambda _: Outcome.GENERATOR, 10.0, least=1.0).answer
    assert (silent.rate_per_s, silent.limit) == (None, Limit.GENERATOR)


@given(st.integers(0, 2**32), st.floats(0.05, 0.95), st.integers(1, 4))
def test_whatever_the_server_does_an_answer_has_been_confirmed_and_refuted(seed, chance, confirmations):
    rng = np.random.default_rng(seed)

    def respond(_rate: float) -> Outcome:
        return Outcome.MET if rng.random() < chance else Outcome.MISSED

    search = searched(respond, 50.0, least=1.0, most=1000.0, confirmations=confirmations, most_probes=200)
    answer, told = search.answer, search.outcomes
    assert answer is not None
    assert len(told) <= 200
    if answer.rate_per_s is not None:
        of_rate = [outcome for probe, outcome in told if probe.rate_per_s == answer.rate_per_s]
        assert of_rate[-confirmations:] == [Outcome.MET] * confirmations
    if answer.limit is Limit.SERVER:
        assert told[-1][0].rate_per_s == answer.refuted_per_s
        assert told[-1][1] is Outcome.MISSED
        assert answer.rate_per_s < answer.refuted_per_s <= answer.rate_per_s * (1 + RESOLUTION + 1e-9)


def test_a_dip_below_the_capacity_ends_at_one_of_its_edges_or_above_it():
    """Between 400 and 420 the server misses the bound, as if a batch just did not fill; else up to 900."""

    def respond(rate: float) -> Outcome:
        return Outcome.MISSED if 400 < rate < 420 or rate > 900 else Outcome.MET

    for start in (10.0, 90.0, 205.0, 300.0, 800.0):
        answer = searched(respond, start).answer
        assert answer.limit is Limit.SERVER
        rate, above = answer.rate_per_s, answer.refuted_per_s
        assert respond(rate) is Outcome.MET
        assert respond(above) is Outcome.MISSED
        assert 380 < rate <= 400 or 857 < rate <= 900


def mm1_passes(rate: float, service_rate: float, slo_s: float, noise: float) -> float:
    """The probability that a probe of an M/M/1 queue meets a bound on the p99.

    The time in system is exponential with rate μ − λ (Kleinrock, Queueing Systems I, 1975, §3.2), so its p99
    is ln 100 / (μ − λ); a probe measures it with log-normal error.
    """
    if rate >= service_rate:
        return 0.0
    p99_s = math.log(100) / (service_rate - rate)
    return float(stats.norm.cdf(math.log(slo_s / p99_s) / noise))


@pytest.mark.parametrize(("slo_s", "capacity"), [(0.05, 1000 - math.log(100) / 0.05), (0.00921034037, 500.0)])
def test_a_noisy_queue_is_found_with_the_stated_probability(slo_s, capacity):
    """The answer's rate met the bound three times running: of single probability p, that has p³ an attempt.

    Rates whose probes meet the bound with p < 0.1 are attempted a few times at most: their confirmation has
    a probability below 1 in 250 a search, so of 300 searches 6 or more would be so mistaken with
    probability below 0.002 (binomial). Rates with p > 0.99 survive: the answer is not far below either.
    """
    noise, searches = 0.1, 300
    too_high = too_low = 0
    for seed in range(searches):
        rng = np.random.default_rng(seed)

        def respond(rate: float, rng: np.random.Generator = rng) -> Outcome:
            met = rng.random() < mm1_passes(rate, 1000.0, slo_s, noise)
            return Outcome.MET if met else Outcome.MISSED

        rate = searched(respond, 37.0, most_probes=200).answer.rate_per_s
        too_high += mm1_passes(rate, 1000.0, slo_s, noise) < 0.1
        too_low += mm1_passes(rate * (1 + RESOLUTION) ** 2, 1000.0, slo_s, noise) > 0.99
        assert rate < capacity * 1.3
    assert stats.binom.sf(5, searches, 1 / 250) < 0.002
    assert too_high <= 5
    assert too_low <= 5


def test_a_search_that_does_not_settle_says_so():
    search = searched(up_to(900.0), 10.0, most_probes=5)
    assert search.answer == Answer(None, Limit.UNSETTLED, None)
    assert len(search.outcomes) == 5
