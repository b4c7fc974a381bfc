"""Protects what a person reads: units that fit, digits that mean something, nothing invented."""

from __future__ import annotations

import math

import pytest
from rich.console import Console

from sim.experiment import Estimate, Method
from sim.tables import (
    console,
    differences_table,
    estimate_text,
    intervals_note,
    metrics_table,
    number_text,
    overview_table,
    zero_throughout,
)


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
        ("lost_ratio", Estimate(0.0, 0.0, 8.54e-6, Method.SELDOM), "0 (< 0.00085) %"),
        ("on_time_ratio", Estimate(1.0, 0.99991, 1.0, Method.SELDOM), "100 (> 99.991) %"),
        ("lost_ratio", Estimate(0.0, -8.54e-6, 8.54e-6, Method.SELDOM), "0 ± 0.00085 %"),
        ("latency_p99_s", Estimate(10.0, 9.0, 14.0, Method.POOLED), "10 (9 to 14) s"),
        ("latency_p99_s", Estimate(29.8, 29.79, 29.816, Method.POOLED), "29.8 (29.79 to 29.816) s"),
        ("latency_p99_s", Estimate(10.0, 8.5, None, Method.POOLED), "10 (> 8.5) s"),
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


LONGEST = [
    "webhook",
    "polling",
    "conditional_polling",
    "adaptive_polling",
    "long_polling",
    "streaming",
    "broker_push",
    "broker_pull",
    "webhook_reconciled",
    "thin_webhook",
]
WIDE = {
    "latency_p50_s": 506.0,
    "latency_p95_s": 5060.0,
    "latency_p99_s": 99_000.0,
    "lost_ratio": 1e-7,
    "pending_ratio": 0.999,
    "duplicates_per_event": 0.00123,
    "requests_per_event": 1234.0,
    "empty_ratio": 1e-7,
    "bytes_per_event": 98_765.0,
    "provider_utilisation": 1e-7,
    "receiver_utilisation": 0.123,
    "cost_per_million_events": 1.23e9,
}


def printed(*tables: object, width: int = 100) -> list[str]:
    output = Console(width=width)
    with output.capture() as capture:
        for table in tables:
            output.print(table)
    return capture.get().splitlines()


def test_ten_mechanisms_fit_into_a_hundred_columns_with_nothing_cut_off() -> None:
    estimates = {name: {m: Estimate(value, 0.0, 1.0) for m, value in WIDE.items()} for name in LONGEST}
    lines = printed(overview_table(estimates))
    assert not any("…" in line for line in lines)
    (row,) = (line for line in lines if line.startswith("conditional_polling"))
    assert row.split()[1:] == [
        *("8.4", "min", "84", "min", "28", "h", "<0.01", "100", "<0.01", "1,234", "<0.01", "98,765"),
        *("<0.01", "12", "1.2e+09"),
    ]


def test_an_overview_leaves_out_columns_of_zeros_and_marks_what_is_unknown_or_undefined() -> None:
    zero, some = Estimate(0.0, None, None), Estimate(0.25, None, None)
    lines = printed(
        overview_table(
            {
                "a": {
                    "lost_ratio": zero,
                    "pending_ratio": zero,
                    "empty_ratio": zero,
                    "requests_per_event": some,
                },
                "b": {
                    "lost_ratio": zero,
                    "latency_p50_s": Estimate(math.nan, None, None),
                    "empty_ratio": zero,
                },
            }
        )
    )
    head = " ".join(lines[:2])
    assert "empty" not in head
    assert ("lost" in head, "pend." in head, "req." in head) == (True, True, True)
    rows = {line.split()[0]: line.split()[1:] for line in lines[3:]}
    assert rows == {"a": ["–", "0", "0", "0.25"], "b": ["–", "0", "–", "–"]}


def test_what_is_zero_throughout_is_told_but_what_is_lost_keeps_its_row() -> None:
    zero, some = Estimate(0.0, 0.0, 0.0), Estimate(1.0, None, None)
    assert zero_throughout(
        {"a": {"lost_ratio": zero, "empty_ratio": zero, "error_ratio": zero}, "b": {"error_ratio": some}}
    ) == ["empty_ratio"]
    assert zero_throughout({"a": {"latency_p50_s": Estimate(math.nan, None, None)}}) == []


def test_differences_are_a_row_for_each_pair() -> None:
    less = Estimate(-1.5, -1.75, -1.25)
    lines = printed(
        differences_table(
            [
                ("webhook", other, metric, less)
                for other in LONGEST[1:]
                for metric in WIDE | {"latency_mean_s": 0}
            ]
        )
    )
    assert not any("…" in line for line in lines)
    (row,) = (line.split() for line in lines if "conditional_polling" in line)
    assert row[:7] == ["webhook", "−", "conditional_polling", "-1.5", "±", "0.25", "s"]
    assert sum(" − " in line for line in lines) == 9


def test_a_pipe_is_wide_enough_for_every_table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    assert console().width >= 100


def test_a_note_tells_how_the_intervals_in_sight_were_made() -> None:
    plain, one = Estimate(1.0, 0.5, 1.5), Estimate(1.0, None, None, Method.POOLED)
    assert (
        intervals_note({"a": {"x": plain, "y": one}}, 7)
        == "Means over 7 replications ± half a 95 % interval."
    )
    every = {str(method): Estimate(1.0, 0.5, 1.5, method) for method in Method}
    note = intervals_note({"a": every}, 7)
    assert "of ratios, sum over sum; of quantiles, that of all deliveries together." in note
    assert "never or seldom seen is bounded as if such things struck independently" in note
