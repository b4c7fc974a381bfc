"""Axes: where a value lies between the ends of its scale, and which values are written beside it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from sim.experiment import Estimate
from sim.tables import estimate_text, number_text

FloatArray = npt.NDArray[np.float64]
Kind = Literal["linear", "log", "percentile"]
Unit = Literal["time", "share", "number", "percentile"]

FEW_DECADES = 2.6
"""A logarithmic axis that spans less also writes twos and fives."""


@dataclass(frozen=True)
class Scale:
    """An axis.

    Attributes:
        kind: how values are laid out. On a ``percentile`` axis the share q lies at -log10(1 - q), the
            scale of HdrHistogram's plots (https://hdrhistogram.github.io/HdrHistogram/plotFiles.html).
        low, high: its ends, in data units; on a percentile axis shares below 1.
        unit: how values are written.
    """

    kind: Kind
    low: float
    high: float
    unit: Unit = "number"

    def place(self, values: FloatArray) -> FloatArray:
        """Where values lie, 0 at the low end and 1 at the high end; shape as given."""
        low, high = self.laid_out(np.array([self.low, self.high]))
        placed: FloatArray = (self.laid_out(values) - low) / (high - low)
        return placed

    def laid_out(self, values: FloatArray) -> FloatArray:
        """Values in the units in which the axis is even: themselves, logarithms, or nines."""
        laid_out = values
        if self.kind == "log":
            laid_out = np.log10(np.maximum(values, self.low))
        elif self.kind == "percentile":
            laid_out = -np.log10(1 - np.minimum(values, 1 - 1e-12))
        return laid_out

    def ticks(self, most: int = 7) -> list[float]:
        """Round values between the ends, about so many."""
        if self.kind == "percentile":
            fives = (0.95,) if self.high < 0.9999 else ()
            return [q for q in (0.0, 0.5, 0.75, 0.9, *fives, *_nines()) if self.low <= q <= self.high]
        if self.kind == "log":
            return self._log_ticks(most)
        step = _round_step((self.high - self.low) / most)
        first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
        return [number * step for number in range(first, last + 1)]

    def _log_ticks(self, most: int) -> list[float]:
        first, last = math.floor(math.log10(self.low)), math.ceil(math.log10(self.high))
        digits = (1, 2, 5) if math.log10(self.high / self.low) < FEW_DECADES else (1,)
        decades = range(first, last + 1, max(1, math.ceil((last - first) / (2 * most))))
        ticks = [digit * 10.0**decade for decade in decades for digit in digits]
        return [tick for tick in ticks if self.low * 0.999 <= tick <= self.high * 1.001]

    def written(self, value: float) -> str:
        """A value as text, with its unit."""
        return WRITTEN[self.unit](value)


def time_text(seconds: float) -> str:
    """Seconds in the unit that reads best: ``6.82 ms``."""
    if math.isinf(seconds):
        return "never"
    return estimate_text(Estimate(seconds, None, None), "latency_s")


def share_text(share: float) -> str:
    """A share of 1 in per cent; one that is nearly everything keeps the digits that say so."""
    percent = 100 * share
    if 99 < percent < 100:
        nines = math.ceil(-math.log10(100 - percent) - 1e-9)
        return f"{percent:.{min(nines + 1, 9)}f}".rstrip("0").rstrip(".") + " %"
    return f"{number_text(percent)} %"


def percentile_text(share: float) -> str:
    """A quantile's name: ``p99.9``."""
    return "p" + f"{100 * share:.6f}".rstrip("0").rstrip(".")


WRITTEN: dict[Unit, Callable[[float], str]] = {
    "time": time_text,
    "share": share_text,
    "number": number_text,
    "percentile": percentile_text,
}


def over(values: FloatArray, unit: Unit = "number", *, kind: Kind | None = None) -> Scale:
    """A scale that holds all finite values; by default logarithmic when they span more than a decade.

    A logarithmic one keeps a margin at both ends; a linear one begins at 0 unless values are negative.
    """
    finite = values[np.isfinite(values)]
    positive = finite[finite > 0]
    spans = positive.size > 0 and positive.size == finite.size and positive.max() > 10 * positive.min()
    if kind == "log" or (kind is None and spans):
        low, high = (float(positive.min()), float(positive.max())) if positive.size else (0.1, 1.0)
        return Scale("log", low / 1.25, max(high * 1.25, low * 2), unit)
    low = min(0.0, float(finite.min())) if finite.size else 0.0
    high = max(0.0, float(finite.max())) if finite.size else 1.0
    if high == low:
        high = low + 1.0
    margin = 0.06 * (high - low)
    return Scale("linear", low - margin if low < 0 else 0.0, high + margin if high > 0 else 0.0, unit)


def _nines() -> list[float]:
    return [1 - 10.0**-nines for nines in range(2, 8)]


def _round_step(least: float) -> float:
    """The smallest 1, 2 or 5 times a power of ten that is not below."""
    power = 10.0 ** math.floor(math.log10(least))
    return next((digit * power for digit in (1, 2, 5) if digit * power >= least * 0.999), 10 * power)
