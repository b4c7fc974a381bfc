"""Protects what a person reads: units that fit, digits that mean something, nothing invented."""

from __future__ import annotations

import math

import pytest
from rich.console import Console

from sim.experiment import Estimate
from sim.tables import estimate_text, metrics_table, number_text


@pytest.mark.parametrize(
    ("metric", "estimate", "text"),
    [
        ("latency_p50_s", Estimate(0.003835, 0.003754, 0.003916), "3.83 ± 0.081 ms"),
        ("latency_p50_s", Estimate(0.0, None, None), "0 s"),
        ("latency_max_s", Estimate(150.0, None, None), "2.5 min"),
        ("age_mean_s", Estimate(8544.0, None, None), "2.37 h"),
        ("age_mean_s", Estimate(0.000495, None, None), "495 µs"),
        ("lost_ratio", Estimate(0.0251, 0.0231, 0.0271), "2.51 ± 0.2 %"),
        ("freshness", Estimate(1.0, 1.0, 1.0), "100 %"),
        ("provider_utilisation", Estimate(8.32e-06, 8.32e-06, 8.320000000000001e-06), "0.000832 %"),
        ("requests_per_event", Estimate(1.0053, None, None), "1.01"),
        ("bytes_per_event", Estimate(7939.6, None, None), "7,940"),
        ("receiver_rss_mb", Estimate(35.1, None, None), "35.1 MB"),
        ("achieved_rate_per_s", Estimate(190.2, None, None), "190 /s"),
        ("latency_p99_s", Estimate(math.nan, None, None), "undefined"),
    ],
)
def test_a_metric_in_a_readable_unit(metric: str, estimate: Estimate, text: str) -> None:
    assert estimate_text(estimate, metric) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0"), (1234.5, "1,234"), (-0.25, "-0.25"), (0.1, "0.1"), (1e-9, "1.00e-09"), (99.95, "100")],
)
def test_numbers(value: float, text: str) -> None:
    assert number_text(value) == text


def test_a_metric_that_one_column_lacks_is_a_dash() -> None:
    one = Estimate(1.0, None, None)
    table = metrics_table({"a": {"lost_ratio": one, "empty_ratio": one}, "b": {"lost_ratio": one}})
    console = Console(width=60)
    with console.capture() as capture:
        console.print(table)
    rows = {line.split()[0]: line for line in capture.get().splitlines() if line.strip()}
    assert rows["empty_ratio"].rstrip().endswith("–")
    assert rows["lost_ratio"].count("100 %") == 2
