"""Protects the study of header overhead: the published column of polling, to the digits printed.

Nothing in it is random but phases, over whole seconds, so every figure is exact.
"""

from __future__ import annotations

import pytest

from sim.studies.findings import Verdict
from sim.studies.header_overhead import CLIENTS, as_printed, findings, measure, megabits_per_s


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_polling_costs_871_bytes_a_client_and_second(seed):
    assert megabits_per_s("polling", 1000, seed) == 871 * 8 * 1000 / 2**20


def test_the_published_column_of_polling_is_met():
    """6.645, 66.45 and 664.5 Mbit/s."""
    column = findings("polling", measure("polling", 1, 1, lambda done, total: None))
    assert [each.text() for each in column] == ["6.65 Mbit/s", "66.5 Mbit/s", "665 Mbit/s"]
    assert [each.published for each in column] == ["6.6 Mbit/s", "66 Mbit/s", "665 Mbit/s"]
    assert [each.verdict() for each in column] == [Verdict.HOLDS] * len(CLIENTS)


@pytest.mark.parametrize(
    ("printed", "low", "high"), [("6.6", 6.55, 6.65), ("66", 65.5, 66.5), ("0.015", 0.0145, 0.0155)]
)
def test_a_printed_figure_stands_for_what_rounds_to_it(printed, low, high):
    assert as_printed(printed) == pytest.approx((low, high))
