"""What common random numbers won on each comparison, as a table and in words; where it was little, why."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from sim.experiment.estimates import Pairing

if TYPE_CHECKING:
    import pandas as pd

LITTLE = 1.5
"""An interval that is not even so many times narrower was not worth the pairing (`Pairing.helps`)."""

POLLS = ("polling", "conditional_polling", "adaptive_polling")
AGAINST = -0.3
_PHASED = ("latency_", "age_", "aoi_", "peak_aoi_", "freshness", "on_time_", "empty_", "not_modified_")

PAIRING_COLUMNS = (
    *("mean", "low", "high", "method", "unpaired_low", "unpaired_high", "narrower", "variance_ratio"),
)
"""What a table tells of a pairing; `narrower` is infinite where only the unpaired interval has a width."""


def pairing_row(pairing: Pairing) -> tuple[float | str | None, ...]:
    """The values of `PAIRING_COLUMNS`."""
    paired, unpaired = pairing.difference, pairing.unpaired
    return (
        *(paired.mean, paired.low, paired.high, str(paired.method)),
        *(unpaired.low, unpaired.high, pairing.narrower, pairing.variance_ratio),
    )


def pairing_json(pairing: Pairing) -> dict[str, float | None]:
    """What pairing won, as JSON has it: `narrower` is null where it is unknown or beyond all numbers."""
    return {
        name: value if math.isfinite(value) else None
        for name, value in (("narrower", pairing.narrower), ("variance_ratio", pairing.variance_ratio))
    }


def paired_table(pairings: Sequence[tuple[str, str, str, Pairing]]) -> pd.DataFrame:
    """A row a comparison: `a, b, metric` and `PAIRING_COLUMNS`."""
    import pandas as pd  # noqa: PLC0415

    lines = [(a, b, metric, *pairing_row(pairing)) for a, b, metric, pairing in pairings]
    return pd.DataFrame(lines, columns=["a", "b", "metric", *PAIRING_COLUMNS]).astype(
        {"low": "float64", "high": "float64", "unpaired_low": "float64", "unpaired_high": "float64"}
    )


def times_text(narrower: float) -> str:
    """How many times, in two digits at most."""
    if math.isnan(narrower):
        return "–"
    if narrower >= 999.5:
        return "> 1000"
    return f"{narrower:.0f}" if narrower >= 9.95 else f"{narrower:.1f}"


def why_little(metric: str, a: str, b: str, pairing: Pairing) -> str | None:
    """Why pairing did not help, in words; None where it did, or where that is not known.

    Args:
        metric: what is compared.
        a: one side: a mechanism, alone or with its design point.
        b: the other.
        pairing: what was found.
    """
    if math.isnan(pairing.narrower) or pairing.helps:
        return None
    phased, correlation = metric.startswith(_PHASED), pairing.correlation
    if pairing.narrower_at_best < LITTLE:
        share, own = max((pairing.share, a), (1 - pairing.share, b))
        told = f"{100 * share:.3g} % of the variance is {own}'s own"
        return told + (", most likely the phase of its polls" if phased and _polls(own) else "")
    how = "hardly move together" if correlation > AGAINST else "move against each other"
    told = f"the two {how} (correlation {correlation:.2f})"
    if correlation > AGAINST and phased and (_polls(a) or _polls(b)):
        return told + ", most likely for the phase of the polls, which falls differently on the same events"
    return told


def _polls(side: str) -> bool:
    return side.partition(" ")[0] in POLLS


def reasons(pairings: Iterable[tuple[str, str, str, Pairing]]) -> list[str]:
    """A line for each metric and reason for which pairing (a, b, metric, pairing) did not help."""
    told: dict[str, list[str]] = {}
    for a, b, metric, pairing in pairings:
        why = why_little(metric, a, b, pairing)
        if why is not None:
            told.setdefault(f"{a} − {b}: {why}", []).append(metric)
    return [f"Pairing cannot help {' or '.join(metrics)} of {why}." for why, metrics in told.items()]


def spans(narrower: Mapping[str, Sequence[float]]) -> str:
    """Of each metric from how many to how many times narrower, in words."""
    words = []
    for metric, values in narrower.items():
        known = sorted(value for value in values if not math.isnan(value))
        if known:
            ends = dict.fromkeys(times_text(value) for value in (known[0], known[-1]))
            words.append(f"{metric} {' to '.join(ends)}")
    return ", ".join(words)
