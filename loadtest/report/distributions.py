"""Latency distributions: how much is done within each latency, and percentiles on HdrHistogram's scale."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from loadtest.report.plot import Curve, Figure, Ids, Panel, Plot, Table
from loadtest.report.scales import FloatArray, Scale, over, percentile_text, share_text, time_text
from sim.metrics import QUANTILE_METHOD

POINTS = 400
"""Drawn of a curve: half a unit of the drawing apart, and more than that towards its tail."""

TABLED = (0.5, 0.75, 0.9, 0.95, 0.99, 0.999, 0.9999)
DRAWN = f"Curves are drawn through at most {POINTS} of their points, more than can be seen apart."
LEAST_S = 1e-6
FINE = 60
"""With more points the steps are too small to be seen, and would blur dashes."""

_METHOD: Any = QUANTILE_METHOD


@dataclass(frozen=True)
class Distribution:
    """One latency of one arm.

    Attributes:
        name: what it is called in tables and readings.
        latency_s: of every event or request, all repetitions together; `inf` for what never came.
        look: see `Curve`.
        label: see `Curve`.
        shape: a line, or the band of a prediction that a line lies upon.
    """

    name: str
    latency_s: FloatArray
    look: str
    label: str
    shape: Literal["line", "band"] = "line"

    @property
    def done(self) -> float:
        """The share that came at all."""
        return float(np.isfinite(self.latency_s).mean()) if self.latency_s.size else 0.0

    def quantile(self, share: float) -> float:
        """A quantile in seconds, `inf` where it reaches into what never came; NaN of nothing."""
        if self.latency_s.size == 0:
            return float("nan")
        with np.errstate(invalid="ignore"):  # between a latency and never lies no number
            value = float(np.quantile(self.latency_s, share, method=_METHOD))
        return float("inf") if np.isnan(value) else value


def cumulative(
    shown: list[Distribution], ids: Ids, finding: str, what: str, *, void: bool = False, note: str = ""
) -> Figure:
    """The share done within each latency; a curve that stays below 100 % lost or failed the rest."""
    x = over(_all_finite(shown), "time")
    curves = []
    for each in shown:
        ordered = np.sort(each.latency_s[np.isfinite(each.latency_s)])
        chosen = _spread(ordered.size)
        values = np.maximum(ordered[chosen], LEAST_S)
        share = (chosen + 1) / each.latency_s.size
        curves.append(
            Curve(
                each.name,
                each.name,
                np.concatenate([values[:1], values]),
                np.concatenate([[0.0], share]),
                each.look,
                each.shape if chosen.size > FINE else "step",
                each.label,
            )
        )
    panel = Panel(f"share of {what}", Scale("linear", 0, 1.03, "share"), tuple(curves))
    plot = Plot(x, "latency", (panel,), labels="along", void=void)
    limits = [tick for tick in x.ticks(8) if tick > 0]
    rows = [
        (
            time_text(limit),
            *(
                share_text(float((each.latency_s <= limit).mean())) if each.latency_s.size else "–"
                for each in shown
            ),
        )
        for limit in limits
    ]
    rows.append(("ever", *(share_text(each.done) for each in shown)))
    table = Table(
        f"share of {what} done within each latency", ("within", *(d.name for d in shown)), tuple(rows)
    )
    how = f"Up and left is better. {note}{DRAWN}"
    return Figure(ids.new("cdf"), finding, how, plot, table, "Distribution")


def percentiles(
    shown: list[Distribution],
    ids: Ids,
    finding: str,
    what: str,
    *,
    marks: Mapping[str, float] | None = None,
    void: bool = False,
    note: str = "",
) -> Figure:
    """Latency against the percentile, tail magnified: each step to the right is one more nine.

    Args:
        shown: from back to front.
        ids: of the page.
        finding: the caption.
        what: events or requests.
        marks: bounds to draw, by their words, seconds.
        void: stamp it.
        note: said in the explanation.
    """
    most = max((d.latency_s.size for d in shown), default=1)
    x = Scale("percentile", 0.0, 1 - 1 / max(most, 20), "percentile")
    values = _all_finite(shown)
    lines = tuple((limit, words) for words, limit in (marks or {}).items())
    y = over(np.concatenate([values, [limit for limit, _ in lines]]), "time")
    curves = []
    for each in shown:
        if each.latency_s.size == 0:
            continue
        shares = 1 - 10 ** -np.linspace(0, np.log10(max(each.latency_s.size, 2)), POINTS)
        with np.errstate(invalid="ignore"):
            heights = np.quantile(each.latency_s, shares, method=_METHOD)
        heights = np.where(np.isfinite(heights), np.maximum(heights, LEAST_S), np.nan)
        curves.append(Curve(each.name, each.name, shares, heights, each.look, each.shape, each.label))
    plot = Plot(x, "percentile", (Panel("latency", y, tuple(curves), lines),), void=void)
    rows = [
        (percentile_text(q), *(_quantile_text(each, q) for each in shown))
        for q in TABLED
        if (1 - q) * most >= 1
    ]
    rows.append(("largest", *(_largest(each) for each in shown)))
    rows.append(("never came", *(share_text(1 - each.done) for each in shown)))
    rows.append((f"number of {what}", *(f"{each.latency_s.size:,}" for each in shown)))
    table = Table("latency at each percentile", ("percentile", *(d.name for d in shown)), tuple(rows))
    how = f"Lower is better; every further nine has as much room as the one before. {note}{DRAWN}"
    return Figure(ids.new("percentiles"), finding, how, plot, table, "Percentiles")


def _quantile_text(each: Distribution, share: float) -> str:
    enough = each.latency_s.size * (1 - share) >= 1
    return time_text(each.quantile(share)) if enough else "–"


def _largest(each: Distribution) -> str:
    known = each.latency_s[np.isfinite(each.latency_s)]
    return time_text(float(known.max())) if known.size else "–"


def _all_finite(shown: list[Distribution]) -> FloatArray:
    every = np.concatenate([np.zeros(0), *(each.latency_s for each in shown)])
    finite: FloatArray = np.maximum(every[np.isfinite(every)], LEAST_S)
    return finite


def _spread(size: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Places in an ordered array to draw: evenly, and denser towards the upper end."""
    if size <= POINTS:
        return np.arange(size)
    even = np.linspace(0, size - 1, POINTS // 2)
    tail = size - np.geomspace(1, size, POINTS // 2)
    return np.unique(np.concatenate([even, tail]).astype(np.int64))
