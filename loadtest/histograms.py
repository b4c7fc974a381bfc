"""Latency histograms for other tools: HdrHistogram's percentile text and its interval log.

Both are of the format that every HdrHistogram library and plotter reads (http://hdrhistogram.org,
https://github.com/HdrHistogram/HdrHistogram: "HistogramLogWriter", "outputPercentileDistribution").
*Corrected* runs from the intended send and *uncorrected* from the real one; they stand side by side.
Histograms merge exactly: that of several parts together is the sum of theirs, count by count.
Metrics are never taken from them, but from the raw samples.
"""

from __future__ import annotations

import io
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path

from hdrh.histogram import HdrHistogram

from loadtest.recorder import HIGHEST_US, HistogramOverflow, Samples, histogram
from loadtest.schedule import IntArray

LOG_FORMAT = "1.3"
"""The version of the interval log that knows tags."""

MOST_INTERVALS = 300
"""A longer run's intervals are longer than a second, so that its log stays small."""

SCHEMA = (
    "latency in whole microseconds; 1 µs to 1 h with 3 significant figures",
    "timestamps in seconds since the run's origin: when the requests were due",
    "of acknowledged requests; Tag=corrected: intended send to answer; Tag=uncorrected: real send to answer",
    "each histogram: HdrHistogram V2 encoding, zlib, base64",
)


def merged(parts: Iterable[HdrHistogram]) -> HdrHistogram:
    """One histogram of everything that several hold."""
    total = HdrHistogram(1, HIGHEST_US, 3)
    for part in parts:
        total.add(part)
    return total


def percentile_text(counts: HdrHistogram) -> bytes:
    """The ``.hgrm`` text that HdrHistogram's plotter reads; values in µs."""
    text = io.BytesIO()
    counts.output_percentile_distribution(text, 1.0)
    return text.getvalue()


def interval_log(samples: Samples, origin_us: int) -> str:
    """The ``.hlog`` text: corrected and uncorrected histograms of each second, or of longer intervals."""
    lines = [f"#[Histogram log format version {LOG_FORMAT}]", *(f"#{line}" for line in SCHEMA)]
    lines.append('"StartTimestamp","Interval_Length","Interval_Max","Interval_Compressed_Histogram"')
    due_s = (samples.intended_us - origin_us) / 1e6
    if due_s.size == 0:
        return "\n".join(lines) + "\n"
    length_s = max(1, -(-int(due_s.max() + 1) // MOST_INTERVALS))
    interval = (due_s // length_s).astype(int)
    order = interval.argsort(kind="stable")
    starts = interval[order].searchsorted(range(int(interval.max()) + 2))
    for number, (first, end) in enumerate(pairwise(starts)):
        within = samples.chosen(order[first:end])
        for tag, values_us in (("corrected", within.corrected_us), ("uncorrected", within.uncorrected_us)):
            if values_us.size:
                lines.append(_line(tag, number * length_s, length_s, values_us))
    return "\n".join(lines) + "\n"


def _line(tag: str, start_s: int, length_s: int, values_us: IntArray) -> str:
    try:
        encoded = histogram(values_us).encode().decode()
    except HistogramOverflow as error:
        return f"#Tag={tag},{start_s}: {error}"
    return f"Tag={tag},{start_s:.3f},{length_s:.3f},{int(values_us.max())},{encoded}"


def export(folder: Path, name: str, samples: Samples, origin_us: int) -> None:
    """Write ``latency_<name>.hlog`` and, of the whole run, ``latency_<name>_(un)corrected.hgrm``.

    What no histogram can hold has a comment in the log and no percentile text; it voids the run.
    """
    for tag, values_us in (("corrected", samples.corrected_us), ("uncorrected", samples.uncorrected_us)):
        try:
            text = percentile_text(histogram(values_us)) if values_us.size else None
        except HistogramOverflow:
            continue
        if text is not None:
            (folder / f"latency_{name}_{tag}.hgrm").write_bytes(text)
    (folder / f"latency_{name}.hlog").write_text(interval_log(samples, origin_us), encoding="utf-8")
