"""Protects what runs are put together from: every metric has a kind, a run's latencies in short suffice."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim.catalogue import MECHANISMS
from sim.engine import simulate
from sim.metrics import QUANTILE_METHOD
from sim.metrics.basis import KEPT_WHOLE, Basis, basis_of, kept_ranks, pooled_quantile
from sim.metrics.kinds import KINDS, Kind, nature_of
from sim.scenario import load_scenario


def drawn(sizes: list[int], seed: int = 1) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [np.sort(rng.exponential(size=size)) for size in sizes]


def based(latencies: list[np.ndarray]) -> list[Basis]:
    return [basis_of(latency_s, len(latency_s), None) for latency_s in latencies]


def test_every_metric_of_every_mechanism_has_a_kind() -> None:
    """A new metric without one would silently be taken for a mean."""
    priced = load_scenario("iot-alerts").with_values(
        **{"subscribers.count": 2, "cost.per_million_requests": 1.0, "run.on_time_s": 1.0,
           "run.duration_s": 900.0, "run.warmup_s": 0.0, "workload.content": "last_value",
           "receiver.outages": [{"start_s": 300.0, "duration_s": 10.0}]}
    )  # fmt: skip
    outcome = simulate(priced, list(MECHANISMS), records=False)
    known = {metric for of_one in outcome.metrics.values() for metric in of_one}
    assert known - KINDS.keys() == set()
    assert KINDS.keys() - known == set(), "the table names what no run reports"
    assert nature_of("never_heard_of").kind is Kind.MEAN


def test_a_ratio_says_what_it_is_per_and_a_quantile_which_one() -> None:
    for metric, nature in KINDS.items():
        assert (nature.base is not None) == (nature.kind in (Kind.RATIO, Kind.SHARE, Kind.COUNT)), metric
        assert (nature.level is not None) == (nature.kind is Kind.QUANTILE), metric


def test_a_basis_counts_what_the_run_had() -> None:
    scenario = load_scenario("shop-orders").with_values(**{"run.duration_s": 600.0, "run.warmup_s": 100.0})
    outcome = simulate(scenario, ["polling"], replications=2)
    records = outcome.records
    for replication, basis in enumerate(outcome.bases["polling"]):
        mine = records[records["replication"] == replication]
        assert basis.events == len(mine)
        assert basis.delivered == mine["visible"].notna().sum()
        assert basis.requests == outcome.counters["polling"][replication].requests
        assert basis.requests is not None
        ratio = outcome.metrics["polling"]["requests_per_event"][replication]
        assert basis.requests / basis.events == ratio


@given(st.lists(st.integers(0, KEPT_WHOLE), min_size=1, max_size=6), st.sampled_from([0.5, 0.95, 0.99]))
def test_few_latencies_are_kept_whole_and_their_joint_quantile_is_exact(
    sizes: list[int], level: float
) -> None:
    runs = drawn(sizes)
    bases = based(runs)
    if not sum(sizes):
        assert np.isnan(pooled_quantile(bases, level))
        return
    together = np.concatenate(runs)
    expected = np.quantile(together, level, method=QUANTILE_METHOD)
    assert pooled_quantile(bases, level) == pytest.approx(expected, rel=1e-12)
    for run, basis in zip(runs, bases, strict=True):
        assert basis.counter()(float(expected)) == np.sum(run <= expected)


def test_ties_count() -> None:
    basis = basis_of(np.array([1.0, 1.0, 1.0, 2.0]), 4, None)
    assert [basis.counter()(x) for x in (0.5, 1.0, 1.5, 2.0, 3.0)] == [0, 3, 3, 4, 4]
    same = basis_of(np.full(1000, 7.0), 1000, None)
    assert [same.counter()(x) for x in (6.9, 7.0)] == [0, 1000]
    assert pooled_quantile([same, same], 0.99) == 7.0


@pytest.mark.parametrize("level", [0.5, 0.95, 0.99])
def test_of_many_latencies_so_many_are_kept_that_the_joint_quantile_is_hardly_moved(level: float) -> None:
    """Off by less than half a standard deviation of the quantile itself, and on average by a tenth of that.

    The errors of 100 pools of ten runs have a deviation of about 0.13; a mean beyond 0.05 would be four of
    its standard errors.
    """
    off = []
    for seed in range(100):
        runs = drawn([int(n) for n in np.random.default_rng(seed).poisson(2000, 10)], seed)
        together = np.concatenate(runs)
        exact, found = np.quantile(together, level), pooled_quantile(based(runs), level)
        shares = [np.mean(together <= x) for x in (found, exact)]
        off.append((shares[0] - shares[1]) / np.sqrt(level * (1 - level) / len(together)))
    assert np.max(np.abs(off)) < 0.5
    assert abs(np.mean(off)) < 0.05


@pytest.mark.parametrize("size", [0, 1, 200, 201, 1000, 43_000, 10_000_000])
def test_the_ranks_kept_are_few_and_close_where_it_matters(size: int) -> None:
    ranks = kept_ranks(size)
    assert len(ranks) <= 200
    assert (np.diff(ranks) > 0).all()
    if size:
        assert (ranks[0], ranks[-1]) == (0, size - 1)
    if size > KEPT_WHOLE:
        left = size - ranks[1:]
        gaps = np.diff(ranks)
        assert (gaps <= np.maximum(1, np.maximum(0.12 * left, 0)) + 1).sum() >= 0.4 * len(gaps)
        assert gaps.max() <= 0.025 * size + 1
        assert (gaps[ranks[1:] > 0.99 * size] <= 0.0015 * size + 1).all()


@given(st.integers(0, 3000))
def test_a_basis_survives_json_bit_by_bit(size: int) -> None:
    basis = basis_of(drawn([size])[0] * np.pi, size + 3, None)
    again = Basis.read(json.loads(json.dumps(basis.plain())))
    assert np.array_equal(again.latencies_s, basis.latencies_s)
    assert (again.events, again.requests, again.delivered) == (size + 3, None, size)
