"""Protects the exported histograms: exact merging, and files that HdrHistogram's own reader takes."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hdrh.histogram import HdrHistogram
from hdrh.log import HistogramLogReader
from hypothesis import given, settings
from hypothesis import strategies as st

from loadtest.histograms import MOST_INTERVALS, export, interval_log, merged, percentile_text
from loadtest.recorder import HIGHEST_US, Samples, histogram

ORIGIN_US = 5_000_000
VALUES = st.lists(st.integers(0, HIGHEST_US), max_size=80)


def answered(latencies_us: list[int], every_us: int = 10_000, late_us: int = 300) -> Samples:
    """Requests due at a constant rate, each sent late and answered."""
    count = len(latencies_us)
    samples = Samples.scheduled(np.arange(count), ORIGIN_US + np.arange(count) * every_us)
    samples.sent_us[:] = samples.intended_us + late_us
    samples.done_us[:] = samples.intended_us + np.array(latencies_us)
    samples.status[:] = 204
    return samples


def counts_of(histogram: HdrHistogram) -> list[int]:
    return np.ctypeslib.as_array(histogram.counts).tolist()


@settings(max_examples=30)
@given(st.lists(VALUES, max_size=5))
def test_the_histogram_of_the_whole_is_the_merge_of_the_parts(parts):
    whole = histogram(np.array([value for part in parts for value in part], dtype=np.int64))
    total = merged(histogram(np.array(part, dtype=np.int64)) for part in parts)
    assert counts_of(total) == counts_of(whole)
    assert total.get_total_count() == whole.get_total_count() == sum(len(part) for part in parts)
    for percentile in (0, 50, 90, 99, 99.9, 100):
        assert total.get_value_at_percentile(percentile) == whole.get_value_at_percentile(percentile)


def read(path, tag: str) -> HdrHistogram:
    """Everything of one tag, as HdrHistogram's own reader finds it."""
    total = HdrHistogram(1, HIGHEST_US, 3)
    reader = HistogramLogReader(str(path), total)
    while (interval := reader.get_next_interval_histogram()) is not None:
        if interval.get_tag() == tag:
            total.add(interval)
    reader.close()
    return total


def test_the_log_and_the_text_hold_what_the_samples_hold(tmp_path):
    rng = np.random.default_rng(7)
    latencies = rng.lognormal(8, 1, 450).astype(int) + 301
    samples = answered(latencies.tolist())
    samples.status[3] = 503  # a failure has no latency
    export(tmp_path, "webhook_0", samples, ORIGIN_US)
    for tag, values in (("corrected", samples.corrected_us), ("uncorrected", samples.uncorrected_us)):
        assert counts_of(read(tmp_path / "latency_webhook_0.hlog", tag)) == counts_of(histogram(values))
        text = (tmp_path / f"latency_webhook_0_{tag}.hgrm").read_text()
        rows = [line.split() for line in text.splitlines() if re.match(r"\s*[\d.]+ [01]\.\d+", line)]
        assert len(rows) > 20
        for value, percentile, count, *_ in rows:
            # The value at a percentile, within the three figures of the histogram, and how many reach it.
            assert float(value) == pytest.approx(
                np.quantile(values, float(percentile), method="inverted_cdf"), rel=2e-3
            )
            assert int(count) == (values <= float(value)).sum()
        assert int(rows[-1][2]) == 449


def test_a_second_has_a_line_of_its_own_and_a_long_run_longer_intervals():
    def starts(log: str) -> list[float]:
        return [float(line.split(",")[1]) for line in log.splitlines() if line.startswith("Tag=corrected")]

    assert starts(interval_log(answered([500] * 300), ORIGIN_US)) == [0.0, 1.0, 2.0]
    long = starts(interval_log(answered([500] * 3600, every_us=1_000_000), ORIGIN_US))
    assert len(long) <= MOST_INTERVALS
    assert np.unique(np.diff(long)).tolist() == [12.0]


def test_what_no_histogram_can_hold_is_said_in_the_log(tmp_path):
    export(tmp_path, "webhook_0", answered([500, HIGHEST_US + 301]), ORIGIN_US)
    log = (tmp_path / "latency_webhook_0.hlog").read_text()
    assert f"#Tag=uncorrected,0: a latency of {HIGHEST_US + 1} µs is outside" in log
    assert not list(tmp_path.glob("*.hgrm"))


def test_nothing_answered_has_an_empty_log(tmp_path):
    export(tmp_path, "webhook_0", Samples.scheduled(np.arange(0), np.arange(0)), ORIGIN_US)
    assert [path.name for path in tmp_path.iterdir()] == ["latency_webhook_0.hlog"]


def test_the_text_is_in_microseconds():
    assert percentile_text(histogram(np.array([1500]))).split()[4] == b"1500.000"
