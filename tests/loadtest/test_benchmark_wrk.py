"""Protects the comparison with wrk: its verdicts, and that both tools measure what the server did."""

from __future__ import annotations

import os
import shutil

import numpy as np
import pytest

from loadtest.benchmark_waits import CYCLE, FLOOR_S, MEAN_EXCESS_S, waits_s
from loadtest.benchmark_wrk import QUANTILES, Agreement, compare
from sim.errors import InputError


def agreement(ours_s: list[float], theirs_s: list[float]) -> Agreement:
    by_quantile = dict.fromkeys(QUANTILES, ours_s), dict.fromkeys(QUANTILES, theirs_s)
    return Agreement(*by_quantile, [100.0] * len(ours_s), dict.fromkeys(QUANTILES, 0.0))


@pytest.mark.parametrize(
    ("ours_s", "verdict"),
    [
        ([1.01, 1.02, 1.01, 1.02], "agree"),
        ([1.21, 1.20, 1.22, 1.20], "differ"),
        ([0.79, 0.80, 0.78, 0.80], "differ"),
        ([0.7, 1.4, 0.9, 1.2], "open"),
        ([1.04, 1.06, 1.04, 1.06], "open"),
    ],
)
def test_tools_agree_only_where_the_whole_interval_is_small(ours_s, verdict):
    assert agreement(ours_s, [1.0] * 4).verdict(0.5) == verdict


def test_the_waits_are_those_of_the_distribution():
    waits = np.array(waits_s())
    assert waits.size == CYCLE
    assert waits.min() >= FLOOR_S
    assert np.median(waits) == pytest.approx(FLOOR_S + MEAN_EXCESS_S * np.log(2), rel=1e-3)


def test_without_wrk_it_says_how_to_get_it(monkeypatch):
    monkeypatch.setenv("PATH", "")
    with pytest.raises(InputError, match="apt-get install wrk"):
        compare()


def test_both_tools_find_the_servers_own_waits():
    """Neither can be faster than the server; how close they come is for `make bench` to say."""
    if shutil.which("wrk") is None:
        if os.environ.get("HOOKBENCH_REQUIRE_SERVICES"):
            pytest.fail("wrk is not installed")
        pytest.skip("wrk is not installed; apt-get install wrk")
    found = compare(rounds=2, seconds=2)
    for quantile in QUANTILES:
        assert min(found.ours_s[quantile]) > 0.9 * found.served_s[quantile]
        assert min(found.theirs_s[quantile]) > 0.9 * found.served_s[quantile]
    assert {row.verdict for row in found.rows()} <= {"agree", "differ", "open"}
