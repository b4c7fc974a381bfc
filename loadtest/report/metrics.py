"""A run's metrics, ledger, thresholds and server load as tables of texts."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from loadtest.report.plot import Table
from sim.experiment import Estimate, Method
from sim.tables import estimate_text

if TYPE_CHECKING:
    import pandas as pd

Estimates = dict[str, dict[str, Estimate]]
"""Arm -> metric -> its mean, with an interval where there were repetitions."""

MEANING = {
    "scheduled": "requests the schedule holds",
    "sent": "of those, sent",
    "unsent": "of those, never sent before the run ended",
    "acknowledged": "of those sent, answered with a success",
    "failed": "of those sent, refused, timed out or broken",
    "visible": "of those acknowledged, served in the end",
    "lost": "of those acknowledged, never visible: must be 0",
    "duplicates": "further copies accepted",
    "unacknowledged_visible": "visible although their sender was told otherwise",
    "given_up": "published, but the sender gave up on them",
    "pending": "published, but still being tried at the end",
}

MOST_COLUMNS = 4
SERVERS = ("provider", "receiver")
COSTS = {
    "cpu_s_per_1k": "CPU-seconds per 1,000 delivered",
    "cpu_share": "CPU, share of a core",
    "rss_mb": "peak resident memory",
    "run_wait_s_per_1k": "ready but without a core, per 1,000 delivered",
    "switches_per_1k": "context switches per 1,000 delivered",
}


def estimates_of(summary: pd.DataFrame) -> Estimates:
    """`summary.csv` as estimates; its columns are arm, metric, mean, low, high, and of simulations method."""
    found: Estimates = {}
    for row in summary.to_dict("records"):
        low, high = (None if math.isnan(row[end]) else float(row[end]) for end in ("low", "high"))
        method = Method(row.get("method", Method.STUDENT))
        found.setdefault(str(row["arm"]), {})[str(row["metric"])] = Estimate(
            float(row["mean"]), low, high, method
        )
    return found


def text_of(estimates: Mapping[str, Estimate], metric: str) -> str:
    """A metric in a readable unit, with ± half its interval; a dash where it was not measured."""
    found = estimates.get(metric)
    return "–" if found is None else estimate_text(found, metric)


def mean_text(estimates: Mapping[str, Estimate], metric: str) -> str:
    """The same without the interval."""
    found = estimates.get(metric)
    return "–" if found is None else estimate_text(Estimate(found.mean, None, None), metric)


def every_metric(estimates: Estimates, repetitions: int) -> Table:
    """Each metric of each arm."""
    names = dict.fromkeys(name for of_arm in estimates.values() for name in of_arm)
    rows = tuple((name, *(text_of(of_arm, name) for of_arm in estimates.values())) for name in names)
    note = f"Means of {repetitions} repetitions ± half a 95 % interval." if repetitions > 1 else ""
    return Table(f"All {len(rows)} metrics", ("metric", *estimates), rows, note)


def headline(estimates: Estimates, wanted: Mapping[str, str]) -> Table:
    """The metrics a reader asks for first: a column an arm, or a row an arm when there are many.

    Args:
        estimates: of all arms.
        wanted: metric -> what to call it.
    """
    rows = tuple(
        (words, *(text_of(of_arm, metric) for of_arm in estimates.values()))
        for metric, words in wanted.items()
        if any(metric in of_arm for of_arm in estimates.values())
    )
    head = ("", *estimates)
    if len(estimates) > MOST_COLUMNS:
        head, *rest = zip(head, *rows, strict=True)
        rows = tuple(rest)
    return Table("In short", head, rows)


def server_costs(estimates: Estimates) -> Table | None:
    """What the servers used, per process and arm; None when no server was ours to watch."""
    rows = tuple(
        (f"{role}: {words}", *(text_of(of_arm, f"{role}_{name}") for of_arm in estimates.values()))
        for role in SERVERS
        for name, words in COSTS.items()
        if any(f"{role}_{name}" in of_arm for of_arm in estimates.values())
    )
    if not rows:
        return None
    note = "CPU used while idle is subtracted. In a polling arm the poller counts as the receiver."
    return Table("What the servers used", ("what", *estimates), rows, note)


def ledger_table(ledger: Mapping[str, Mapping[str, int | None]]) -> Table:
    """Where every scheduled request ended up."""
    names = dict.fromkeys(name for of_arm in ledger.values() for name in of_arm)
    rows = tuple(
        (
            name.replace("_", " "),
            *("–" if (count := of_arm.get(name)) is None else f"{count:,}" for of_arm in ledger.values()),
            MEANING.get(name, ""),
        )
        for name in names
        if any(of_arm.get(name) is not None for of_arm in ledger.values())
    )
    return Table("Where every scheduled request ended up", ("ledger", *ledger, "meaning"), rows)


def balance_text(ledger: Mapping[str, Mapping[str, int | None]]) -> tuple[str, ...]:
    """Whether the books balance, an arm a sentence, with the figures that say so."""
    from loadtest.verdict import Ledger  # noqa: PLC0415 - a small import that nothing else here needs

    told = []
    for arm, counts in ledger.items():
        known = {name: count for name, count in counts.items() if name in Ledger.__dataclass_fields__}
        mismatches = Ledger(**known).mismatches()  # type: ignore[arg-type]
        if mismatches:
            told.append(f"{arm}: does not balance: {'; '.join(mismatches)}.")
        else:
            refused = f"{counts['refused']:,} refused + " if counts.get("refused") else ""
            told.append(
                f"{arm}: balances. {counts['scheduled']:,} scheduled = {counts['sent']:,} sent + "
                f"{counts['unsent']:,} unsent; {counts['sent']:,} sent = {counts['acknowledged']:,} "
                f"acknowledged + {refused}{counts['failed']:,} failed."
            )
    return tuple(told)


def thresholds_table(thresholds: Sequence[Mapping[str, Any]]) -> Table | None:
    """Every threshold held against every arm; None when none was asked for."""
    if not thresholds:
        return None
    rows = tuple(
        (
            str(each["threshold"]),
            str(each["arm"]),
            _value(each),
            "met" if each["met"] else "MISSED",
        )
        for each in thresholds
    )
    note = "What failed, timed out or never came misses any bound on a latency."
    return Table("Each bound, and what was measured", ("threshold", "arm", "measured", "verdict"), rows, note)


def _value(threshold: Mapping[str, Any]) -> str:
    value = threshold["value"]
    if value is None:
        return "undefined"
    metric = str(threshold["threshold"]).split("<")[0].split(">")[0].strip()
    return estimate_text(Estimate(float(value), None, None), metric)
