"""Protects the study of back-off and jitter: its model in both engines, its rules, and Brooker's claims.

How sure. Claims are judged on seed 1 and 100 replications, as `hookbench studies` does, but at confidence
1 − 1e-4. The model is held against another one, told here with the standard library's heap and generator, by
Welch's test at 1e-5 a comparison: ten comparisons would fail a correct model once in ten thousand seeds.
"""

from __future__ import annotations

import heapq
import itertools
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from sim.kernels.contention import contend, hop_s
from sim.policies import compile_retry, retry_delay
from sim.randomness import replication_seed
from sim.scenario import Retry
from sim.studies import STUDIES
from sim.studies.backoff_and_jitter import CROWD, HOP_MEAN_S, HOP_SD_S, RETRIES, contend_in_simpy
from sim.studies.findings import Results, Verdict

LEVEL = 1e-4


def retry(**values: object) -> Retry:
    return Retry.model_validate({"kind": "exponential", "cap_s": 100.0, "max_attempts": 1000} | values)


@pytest.mark.parametrize("model", [contend, contend_in_simpy])
@pytest.mark.parametrize(
    ("clients", "rule", "expected"),
    [
        (1, RETRIES["none"], (1, 4.0)),
        # Both read at 1; at 3 client 0 writes and client 1 is refused, hears at 4, reads at 5, writes at 7.
        (2, RETRIES["none"], (3, 8.0)),
        # The same, but client 1 waits 2 s from 4, reads at 7, writes at 9 and hears at 10.
        (2, retry(base_s=2.0), (3, 10.0)),
        # Client 2 is refused at 3 and at 9, waits 2 s and then 4 s from 10, reads at 15, writes at 17.
        (3, retry(base_s=2.0), (6, 18.0)),
        # A cap of 3 s on that second wait.
        (3, retry(base_s=2.0, cap_s=3.0), (6, 17.0)),
    ],
)
def test_worlds_worked_by_hand(model, clients, rule, expected):
    """Every hop takes 1 s."""
    assert model(clients, compile_retry(rule), 1.0, 0.0, 1) == expected


@given(
    clients=st.integers(1, 9),
    rule=st.one_of(
        st.sampled_from(list(RETRIES.values())),
        st.builds(
            retry,
            base_s=st.sampled_from([0.0, 0.25, 1.0]),
            cap_s=st.sampled_from([0.5, 8.0]),
            jitter=st.sampled_from(["none", "full", "equal", "decorrelated"]),
        ),
    ),
    mean_s=st.sampled_from([0.0, 0.25, 1.0]),
    sd_s=st.sampled_from([0.0, 0.0, 0.25, 2.0]),
    seed=st.integers(0, 2**63 - 1),
)
def test_both_engines_agree_to_the_last_bit(clients, rule, mean_s, sd_s, seed):
    """Without spread every client is always at the same place at the same time: all ties."""
    policy = compile_retry(rule)
    assert contend(clients, policy, mean_s, sd_s, seed) == contend_in_simpy(
        clients, policy, mean_s, sd_s, seed
    )


def test_both_engines_agree_on_the_study_itself():
    for rule in RETRIES.values():
        policy = compile_retry(rule)
        assert contend(40, policy, HOP_MEAN_S, HOP_SD_S, 7) == contend_in_simpy(
            40, policy, HOP_MEAN_S, HOP_SD_S, 7
        )


def test_a_hop_is_the_size_of_a_normal_draw():
    hops = np.array([hop_s(0.5, 1.0, 3, client, 0) for client in range(20_000)])
    assert hops.min() >= 0
    assert stats.kstest(hops, stats.foldnorm(0.5).cdf).pvalue > 1e-6


@pytest.mark.parametrize("k", [1, 2, 3, 8, 9, 20])
@pytest.mark.parametrize("u", [0.0625, 0.5, 0.875])
def test_the_rules_are_those_of_the_original(k, u):
    """After the k-th refusal the original waits v = min(2000, 5 · 2^k) ms, or v/2 + U(0, v/2), or U(0, v); or
    min(2000, U(5, 3 · the last wait)) ms, from 5 ms."""
    v = min(2.0, 0.005 * 2**k)

    def waits(rule: str, previous_s: float = 0.005) -> float:
        return retry_delay(compile_retry(RETRIES[rule]), k, previous_s, u)

    assert waits("none") == 0
    assert waits("exponential") == pytest.approx(v)
    assert waits("equal") == pytest.approx(v / 2 + u * v / 2)
    assert waits("full") == pytest.approx(u * v)
    assert waits("decorrelated") == pytest.approx(0.005 + u * 0.010)
    assert waits("decorrelated", 1.5) == pytest.approx(min(2.0, 0.005 + u * 4.495))
    assert compile_retry(RETRIES["decorrelated"]).base_s == 0.005, "what the first wait is drawn from"


def told_again(rule: str, rng: random.Random) -> tuple[int, float]:
    """The original's experiment in milliseconds, with nothing of ours: calls and time of `CROWD` clients."""
    base, cap, turn = 5.0, 2000.0, itertools.count()
    failures, last = [0] * CROWD, [base] * CROWD
    version, calls, end = 0, 0, 0.0
    agenda: list[tuple[float, int, int, int | None]] = []

    def hop() -> float:
        return abs(rng.normalvariate(10, 2))

    for client in range(CROWD):
        heapq.heappush(agenda, (hop(), next(turn), client, None))
    while agenda:
        now, _, client, seen = heapq.heappop(agenda)
        back = now + hop()
        if seen is None:
            heapq.heappush(agenda, (back + hop(), next(turn), client, version))
            continue
        calls += 1
        if seen == version:
            version += 1
            end = max(end, back)
            continue
        failures[client] += 1
        v = min(cap, base * 2 ** failures[client])
        if rule == "decorrelated":
            v = last[client] = min(cap, rng.uniform(base, 3 * last[client]))
        wait = {"none": 0.0, "equal": v / 2 + rng.uniform(0, v / 2), "full": rng.uniform(0, v)}.get(rule, v)
        heapq.heappush(agenda, (back + wait + hop(), next(turn), client, None))
    return calls, end / 1000


@pytest.mark.parametrize("rule", RETRIES)
def test_the_experiment_told_again_gives_the_same(rule):
    rng, policy = random.Random(2015), compile_retry(RETRIES[rule])
    theirs = np.array([told_again(rule, rng) for _ in range(30)])
    ours = np.array(
        [contend(CROWD, policy, HOP_MEAN_S, HOP_SD_S, replication_seed(2, r)) for r in range(300)]
    )
    for column in (0, 1):
        assert stats.ttest_ind(theirs[:, column], ours[:, column], equal_var=False).pvalue > 1e-5
    assert ours[:, 0].std() / ours[:, 0].mean() < 0.05, "too vague to tell a model from another"


@pytest.fixture(scope="module")
def results() -> Results:
    return STUDIES["backoff-and-jitter"].run(seed=1)


def test_every_published_claim_holds(results):
    verdicts = {each.key: each.verdict(1 - LEVEL) for each in results.findings if each.published}
    assert len(verdicts) == 8
    assert verdicts == dict.fromkeys(verdicts, Verdict.HOLDS)


def test_jitter_tames_the_growth_of_work(results):
    """The exponent is our finding: below 2 by a little, which the study says."""
    found = results.finding("work-grows").estimate(1 - LEVEL)
    assert found.low > 1.8
    assert found.high < 1.95


def test_in_a_larger_crowd_full_jitter_is_also_the_faster(results):
    found = results.finding("full-time-large").estimate(1 - LEVEL)
    assert found.high < 1
    assert results.finding("full-time-large").verdict() == Verdict.NEW


def test_ratios_are_ratios_of_means(results):
    runs = results.tables["runs"]
    mean = runs[runs["clients"] == CROWD].groupby("rule")["completion_s"].mean()
    found = results.finding("full-time").estimate()
    assert found.mean == pytest.approx(mean["full"] / mean["decorrelated"])
