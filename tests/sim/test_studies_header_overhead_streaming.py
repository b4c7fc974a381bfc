"""Protects the other half of the study of header overhead: WebSocket frames, by the mechanism `streaming`."""

from __future__ import annotations

import pytest

from sim.studies import STUDIES
from sim.studies.findings import Verdict
from sim.studies.header_overhead import megabits_per_s


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_message_costs_two_bytes(seed):
    assert megabits_per_s("streaming", 1000, seed) == 2 * 8 * 1000 / 2**20


def test_both_columns_are_met_and_the_ratio_is_not_500():
    results = STUDIES["header-overhead"].run(seed=1, replications=2)
    *columns, ratio = results.findings
    assert len(columns) == 6
    assert [each.verdict() for each in columns] == [Verdict.HOLDS] * 6
    assert ratio.estimate().mean == pytest.approx(871 / 2)
    assert ratio.verdict() == Verdict.FAILS
