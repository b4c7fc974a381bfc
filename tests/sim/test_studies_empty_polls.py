"""Protects the study of empty polls: shares against e^(−λT), and which published ones do not fit.

How sure. Seed 1, 40 replications, confidence 1 − 1e-4.
"""

from __future__ import annotations

import math

import pytest

from sim.studies import STUDIES
from sim.studies.findings import Results, Verdict

LEVEL = 1e-4


@pytest.fixture(scope="module")
def results() -> Results:
    return STUDIES["empty-polls"].run(seed=1)


@pytest.mark.parametrize(
    ("key", "expected_events"),
    [("zapier", 0.0151), ("overall", 3.5 / 168), ("short", 3.5 / 336), ("weekly", 3.5)],
)
def test_poisson_events_leave_polls_empty_as_they_must(results, key, expected_events):
    found = results.finding(key).estimate(1 - LEVEL)
    assert found.low <= 100 * math.exp(-expected_events) <= found.high
    assert found.high - found.low < 1.5


def test_which_claims_hold(results):
    verdicts = {each.key: each.verdict(1 - LEVEL) for each in results.findings if each.published}
    assert verdicts == {
        "zapier": Verdict.HOLDS,
        "overall": Verdict.HOLDS,
        "short": Verdict.FAILS,
        "weekly": Verdict.FAILS,
    }


def test_bursts_explain_one_end_and_not_the_other(results):
    """At least 1 − λT of the polls are empty, whatever the arrivals."""
    weekly = results.finding("weekly-bursts").estimate(1 - LEVEL)
    assert weekly.low > 15
    assert weekly.high < 25
    assert results.finding("short-bursts").estimate(1 - LEVEL).high > 100 * (1 - 3.5 / 336)
    assert results.finding("short-bursts").estimate(1 - LEVEL).low > 95
