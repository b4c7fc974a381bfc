"""Predicted against measured: errors with intervals, distances between distributions, verdicts.

An error is relative: predicted / measured − 1, one a replication, since prediction and measurement of a
replication share their schedule and their services. Its interval is Student's over replications, so the noise
of the machine shows as width and the model's own error as what the interval excludes. A verdict is reached by
the mean error alone: tolerances are stated beforehand and never widened.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

import numpy as np

from loadtest.resampling import Interval, block_length, intervals
from loadtest.runner.figures_of_merit import latency_metrics
from loadtest.schedule import FloatArray
from sim.experiment import CONFIDENCE, Estimate, estimate

GRID = 1024
"""Steps of the grid on which distribution functions are compared; it errs by less than 1 / GRID."""

MOST_COMPARED = 20_000
"""Values of either distribution at most, evenly taken: resampling more would take minutes."""


class Verdict(StrEnum):
    """What a comparison came to."""

    MET = "met"
    MISSED = "missed"
    FOUND = "as found"
    """No tolerance was stated."""


@dataclass(frozen=True)
class Comparison:
    """One metric at one load, predicted and measured.

    Attributes:
        part: of the validation, as "natural".
        load: which, as "50 %".
        metric: its name, as everywhere.
        predicted, measured: over replications.
        error: predicted / measured − 1.
        tolerance: of the mean error's size; None: none was stated.
    """

    part: str
    load: str
    metric: str
    predicted: Estimate
    measured: Estimate
    error: Estimate
    tolerance: float | None

    @property
    def verdict(self) -> Verdict:
        """Whether the mean error keeps within the tolerance; an undefined one does not."""
        if self.tolerance is None:
            return Verdict.FOUND
        return Verdict.MET if abs(self.error.mean) <= self.tolerance else Verdict.MISSED

    @property
    def is_sure(self) -> bool:
        """Whether the whole interval of the error is on the verdict's side of the tolerance."""
        if self.tolerance is None or self.error.low is None or self.error.high is None:
            return False
        largest = max(abs(self.error.low), abs(self.error.high))
        if self.verdict is Verdict.MET:
            return largest <= self.tolerance
        return self.error.low > self.tolerance or self.error.high < -self.tolerance

    def as_dict(self) -> dict[str, Any]:
        """For ``--json``: plain numbers, None where undefined."""
        return {
            "part": self.part,
            "load": self.load,
            "metric": self.metric,
            **{name: _plain(getattr(self, name)) for name in ("predicted", "measured", "error")},
            "tolerance": self.tolerance,
            "verdict": str(self.verdict),
        }


@dataclass(frozen=True)
class Distance:
    """How far two distributions of a latency are apart: Kolmogorov and Smirnov's largest difference.

    Attributes:
        part, load, metric: of what, as in `Comparison`; the metric is the prefix of its names.
        distance: with a block bootstrap interval, see `loadtest.resampling`.
    """

    part: str
    load: str
    metric: str
    distance: Interval

    def as_dict(self) -> dict[str, Any]:
        """For ``--json``."""
        return {"part": self.part, "load": self.load, "metric": self.metric, **asdict(self.distance)}


def compare(
    part: str,
    load: str,
    predicted: Sequence[Mapping[str, float]],
    measured: Sequence[Mapping[str, float]],
    tolerances: Mapping[str, float],
    others: Sequence[str] = (),
) -> list[Comparison]:
    """Compare replications pair by pair.

    Args:
        part: of the validation.
        load: which.
        predicted: each replication's metrics.
        measured: the same, in the same order.
        tolerances: of the metrics that are judged.
        others: metrics that are only reported.

    Raises:
        ValueError: there are not as many predictions as measurements, or none.
    """
    if len(predicted) != len(measured) or not measured:
        raise ValueError(f"{len(predicted)} predictions for {len(measured)} measurements")
    found = []
    for metric in (*tolerances, *(name for name in others if name not in tolerances)):
        theirs = [each.get(metric, math.nan) for each in measured]
        ours = [each.get(metric, math.nan) for each in predicted]
        errors = [relative_error(a, b) for a, b in zip(ours, theirs, strict=True)]
        found.append(
            Comparison(
                part, load, metric, estimate(ours), estimate(theirs), estimate(errors), tolerances.get(metric)
            )
        )
    return found


def relative_error(predicted: float, measured: float) -> float:
    """What a prediction is off by, as a share of what was measured; of nothing, 0 or infinite."""
    if measured == 0:
        return 0.0 if predicted == 0 else math.copysign(math.inf, predicted)
    return predicted / measured - 1


def latency_values(prefix: str, latency_s: FloatArray) -> dict[str, float]:
    """The latency metrics by their names, of seconds; what never came is left out."""
    came = latency_s[~np.isnan(latency_s)]
    return latency_metrics(np.rint(came * 1e6).astype(np.int64), prefix)


def kolmogorov_smirnov(
    predicted_s: FloatArray, measured_s: FloatArray, created_s: FloatArray, confidence: float = CONFIDENCE
) -> Interval:
    """The distance of two distributions with its bootstrap interval, blocks as long as in the measurement.

    Args:
        predicted_s: latencies in the order of creation; NaN never came, and counts as late.
        measured_s: the same, measured.
        created_s: of the measured ones.
        confidence: of the interval.
    """
    length = block_length(created_s)
    ours, theirs = _thinned(predicted_s), _thinned(measured_s)
    length = max(1, length * theirs.size // max(1, measured_s.size))
    edges = np.unique(np.nanquantile(np.concatenate([ours, theirs]), np.linspace(0, 1, GRID), method="lower"))
    bins = [np.searchsorted(edges, np.nan_to_num(each, nan=math.inf)) for each in (ours, theirs)]

    def statistic(first: np.ndarray, second: np.ndarray) -> FloatArray:
        shares = [
            np.cumsum(np.bincount(each[chosen], minlength=edges.size + 1))[:-1] / chosen.size
            for each, chosen in zip(bins, (first, second), strict=True)
        ]
        return np.array([np.abs(shares[0] - shares[1]).max()])

    (found,) = intervals(
        statistic, (ours.size, theirs.size), (length, length), paired=False, confidence=confidence
    )
    return found


def _thinned(values: FloatArray) -> FloatArray:
    if values.size <= MOST_COMPARED:
        return values
    return values[np.linspace(0, values.size - 1, MOST_COMPARED).astype(np.int64)]


def _plain(value: Estimate) -> dict[str, float | None]:
    numbers = {"mean": value.mean, "low": value.low, "high": value.high}
    return {name: x if x is not None and math.isfinite(x) else None for name, x in numbers.items()}
