"""Metrics as tables a person reads: a row a metric, a column a mechanism or arm; or vice versa."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from sim.experiment import Estimate, Method, Pairing
from sim.experiment.pairs import times_text

_ROUNDING = 1e-12  # a half-width below this share of the mean is rounding, not uncertainty
_LOPSIDED = 1.5  # with one end so many times further off than the other, ± would mislead
_WIDTH = 100
_TIME_UNITS = ((1e-3, 1e6, "µs"), (1.0, 1e3, "ms"), (120.0, 1.0, "s"), (7200.0, 1 / 60, "min"))

_OVERVIEW = {
    "latency_p50_s": "latency\np50",
    "latency_p95_s": "\np95",
    "latency_p99_s": "\np99",
    "lost_ratio": "lost\n%",
    "pending_ratio": "pend.\n%",
    "duplicates_per_event": "dup.\neach",
    "requests_per_event": "req.\neach",
    "empty_ratio": "empty\n%",
    "bytes_per_event": "bytes\neach",
    "provider_utilisation": "API\n%",
    "receiver_utilisation": "recv.\n%",
    "cost_per_million_events": "cost\nper 1e6",
}
OVERVIEW_LEGEND = (
    "Duplicates, requests and bytes are per event; API and recv. are how busy the API's workers and the "
    "receivers' are."
)
MAIN_DIFFERENCES = ("latency_mean_s", "latency_p99_s", "requests_per_event", "lost_ratio")


def console() -> Console:
    """Standard output: as wide as the terminal, and wide enough for every table where there is none."""
    output = Console()
    if not output.is_terminal:
        output.width = max(output.width, _WIDTH)
    return output


def metrics_table(
    estimates: Mapping[str, Mapping[str, Estimate]], metrics: Iterable[str] | None = None
) -> Table:
    """A table of metrics by name, in readable units.

    Args:
        estimates: column -> metric -> estimate.
        metrics: which rows, in which order; by default every metric that any column has.
    """
    table = plain_table()
    table.add_column("metric", no_wrap=True)
    for column in estimates:
        table.add_column(column, justify="right", no_wrap=True)
    every = dict.fromkeys(metric for by_metric in estimates.values() for metric in by_metric)
    for metric in every if metrics is None else metrics:
        cells = [by_metric.get(metric) for by_metric in estimates.values()]
        table.add_row(metric, *(estimate_text(cell, metric) if cell else "–" for cell in cells))
    return table


def zero_throughout(estimates: Mapping[str, Mapping[str, Estimate]]) -> list[str]:
    """The metrics that are exactly 0, whatever the column, and can be told in one line.

    Not those that must stand beside a latency: how many events are lost, and pending.
    """
    every = dict.fromkeys(metric for by_metric in estimates.values() for metric in by_metric)
    return [
        metric
        for metric in every
        if metric not in {"lost_ratio", "pending_ratio"}
        and all(of_one[metric].mean == 0 for of_one in estimates.values() if metric in of_one)
    ]


def overview_table(
    estimates: Mapping[str, Mapping[str, Estimate]],
    *,
    what: str = "mechanism",
    more: Mapping[str, str] | None = None,
) -> Table:
    """The main metrics of many mechanisms, a row each: means in two digits, without intervals.

    A column of nothing but zeros is left out. `OVERVIEW_LEGEND` explains the heads.

    Args:
        estimates: mechanism -> metric -> estimate.
        what: the head of the mechanisms' column.
        more: further metrics, with the heads of their columns (two lines).
    """
    zeros = zero_throughout(estimates)
    known = {metric for of_one in estimates.values() for metric in of_one}.difference(zeros)
    heads = {**_OVERVIEW, **(more or {})}
    shown = [metric for metric in heads if metric in known]
    table = Table(box=SIMPLE_HEAD, padding=0, pad_edge=False, show_edge=False)
    table.add_column(f"\n{what}", no_wrap=True)
    for metric in shown:
        table.add_column(heads[metric], justify="right", no_wrap=True)
    for mechanism, of_one in estimates.items():
        cells = (_short_text(of_one[metric].mean, metric) if metric in of_one else "–" for metric in shown)
        table.add_row(mechanism, *cells)
    return table


def differences_table(paired: Sequence[tuple[str, str, str, Estimate]]) -> Table:
    """The main differences between mechanisms, a row a pair.

    Args:
        paired: (a, b, metric, a − b) each, as `Outcome.paired` has them.
    """
    by_pair: dict[tuple[str, str], dict[str, Estimate]] = {}
    for a, b, metric, difference in paired:
        by_pair.setdefault((a, b), {})[metric] = difference
    table = plain_table()
    table.add_column("", no_wrap=True)
    for metric in MAIN_DIFFERENCES:
        table.add_column(metric, justify="right", no_wrap=True)
    for (a, b), of_two in by_pair.items():
        cells = (estimate_text(of_two[m], m) if m in of_two else "–" for m in MAIN_DIFFERENCES)
        table.add_row(f"{a} − {b}", *cells)
    return table


def narrower_table(pairings: Sequence[tuple[str, str, str, Pairing]]) -> Table:
    """How many times narrower the intervals of the main differences are for being paired, a row a pair."""
    by_pair: dict[tuple[str, str], dict[str, Pairing]] = {}
    for a, b, metric, pairing in pairings:
        by_pair.setdefault((a, b), {})[metric] = pairing
    table = plain_table()
    table.add_column("", no_wrap=True)
    for metric in MAIN_DIFFERENCES:
        table.add_column(metric, justify="right", no_wrap=True)
    for (a, b), of_two in by_pair.items():
        cells = (times_text(of_two[m].narrower) if m in of_two else "–" for m in MAIN_DIFFERENCES)
        table.add_row(f"{a} − {b}", *cells)
    return table


def plain_table() -> Table:
    """The look of every table: a rule under the head, and nothing else."""
    return Table(box=SIMPLE_HEAD, pad_edge=False, collapse_padding=True)


def estimate_text(e: Estimate, metric: str) -> str:
    """A metric in a readable unit, with its interval if it has one.

    That is half its width after "±"; both ends where one lies much further off than the other; and the one
    that says something of what was never seen, always seen, or is not bounded above.
    """
    if math.isnan(e.mean):
        return "undefined"
    scale, unit = _unit(metric, e.mean)
    text = number_text(e.mean * scale) + _interval_text(e, scale)
    return f"{text} {unit}" if unit else text


def _interval_text(e: Estimate, scale: float) -> str:
    if e.low is None:
        return ""
    if e.high is None:
        return f" (> {_end_text(e.low * scale, (e.mean - e.low) * scale)})"
    if e.method is Method.SELDOM and e.mean == e.low == 0:
        return f" (< {number_text(e.high * scale, 2)})"
    if e.method is Method.SELDOM and e.mean == e.high == 1:
        return f" (> {_end_text(e.low * scale, (e.high - e.low) * scale)})"
    if e.high - e.low <= 2 * _ROUNDING * abs(e.mean):
        return ""
    shorter, longer = sorted((e.mean - e.low, e.high - e.mean))
    if longer <= _LOPSIDED * shorter:
        return f" ± {number_text((e.high - e.low) / 2 * scale, 2)}"
    ends = (_end_text(end * scale, (e.high - e.low) / 2 * scale) for end in (e.low, e.high))
    return f" ({' to '.join(ends)})"


def _end_text(value: float, off: float) -> str:
    """The end of an interval, in as many digits as tell it from the mean, which is so far off."""
    if not value or not off:
        return number_text(value)
    more = math.floor(math.log10(abs(value))) - math.floor(math.log10(off))
    return number_text(value, max(2, more + 2))


def intervals_note(estimates: Mapping[str, Mapping[str, Estimate]], replications: int) -> str:
    """What the intervals of a table are, in a sentence or two (`sim.experiment.intervals` has it in full)."""
    used = {e.method for of_one in estimates.values() for e in of_one.values() if e.low is not None}
    words = [f"Means over {replications} replications ± half a 95 % interval"]
    if Method.RATIO in used:
        words.append("of ratios, sum over sum")
    if Method.POOLED in used:
        words.append("of quantiles, that of all deliveries together")
    text = "; ".join(words) + "."
    if Method.SELDOM in used:
        text += " What was never or seldom seen is bounded as if such things struck independently."
    return text


def _short_text(value: float, metric: str) -> str:
    """A value in two digits and at most seven characters; shares in per cent, as the column's head says."""
    if math.isnan(value):
        return "–"
    scale, unit = _unit(metric, value)
    value *= scale
    if unit in {"%", ""} and 0 < value < 0.01:
        return "<0.01"
    text = f"{value:.1e}" if value >= 99_999.5 else number_text(value, 2)
    return text if unit in {"%", ""} or value == 0 else f"{text} {unit}"


def number_text(value: float, significant: int = 3) -> str:
    """A number with so many significant digits, all digits before the point, and no trailing zeros."""
    if value == 0:
        return "0"
    digits = significant - 1 - math.floor(math.log10(abs(value)))
    if digits <= 0:
        return f"{value:,.0f}"
    if digits > 6:
        return f"{value:.{significant - 1}e}"
    return f"{value:.{digits}f}".rstrip("0").rstrip(".")


def _unit(metric: str, value: float) -> tuple[float, str]:
    if metric.endswith("_per_s"):
        return 1.0, "/s"
    if metric.endswith("_mb"):
        return 1.0, "MB"
    if metric.endswith(("_ratio", "_utilisation", "_share")) or metric == "freshness":
        return 100.0, "%"
    if metric.endswith(("_s", "_s_per_1k")):
        for below, scale, unit in _TIME_UNITS:
            if abs(value) < below and value != 0:
                return scale, unit
        return (1.0, "s") if value == 0 else (1 / 3600, "h")
    return 1.0, ""
