"""Load shapes: how a rate of arrivals changes over a run, in one line of text, and the times it makes.

A shape is written ``KIND:NAME=VALUE,NAME=VALUE``; a list of values is separated by slashes::

    constant:rate=200                      poisson:rate=200
    steps:rates=100/200/400,each=10        ramp:from=10,to=300
    spike:rate=50,peak=500,at=10,for=2     sine:rate=100,amplitude=0.8,period=20
    soak:rate=50

It is a rate λ(t), and with it the expected number of arrivals by t, Λ(t), both in closed form. Arrivals are
the images under Λ⁻¹ of points of unit rate: of 0, 1, 2, … with ``spacing=even``, of a Poisson process with
``spacing=poisson`` (time rescaling: E. Çinlar, "Introduction to Stochastic Processes", Prentice-Hall 1975,
section 4.7). So the k-th arrival depends on k and the seed alone, and no error adds up.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from sim.errors import InputError
from sim.notation import Form, read_number, read_parameters

FloatArray = NDArray[np.float64]

SOAK_S = 1800.0
"""How long a soak takes unless told otherwise: half an hour."""

_BISECTIONS = 60
_ROUNDING = 1e-9


_RUN = "run"
"""As the value of a time: the run's length."""


def _form(parameters: Mapping[str, str | None], spacing: str, example: str) -> Form:
    return Form({**parameters, "spacing": spacing}, example)


KINDS: Mapping[str, Form] = {
    "constant": _form({"rate": None}, "even", "constant:rate=200"),
    "poisson": _form({"rate": None}, "poisson", "poisson:rate=200"),
    "steps": _form({"rates": None, "each": _RUN}, "poisson", "steps:rates=100/200/400,each=10"),
    "ramp": _form({"from": None, "to": None, "over": _RUN}, "poisson", "ramp:from=10,to=300"),
    "spike": _form(
        {"rate": None, "peak": None, "at": None, "for": None}, "poisson", "spike:rate=50,peak=500,at=10,for=2"
    ),
    "sine": _form(
        {"rate": None, "amplitude": "0.8", "period": _RUN}, "poisson", "sine:rate=100,amplitude=0.8,period=20"
    ),
    "soak": _form({"rate": None}, "even", "soak:rate=50"),
}
_SPACINGS = ("even", "poisson")
_POSITIVE = ("each", "over", "for", "period")


@dataclass(frozen=True)
class Shape:
    """A shape as parsed.

    Attributes:
        text: as it was written.
        kind: of `KINDS`.
        spacing: "even" or "poisson".
        values: parameters by name, rates in events a second, times in seconds; NaN: the run's length.
        rates_per_s: of steps, in order.
    """

    text: str
    kind: str
    spacing: str
    values: Mapping[str, float] = field(default_factory=dict)
    rates_per_s: tuple[float, ...] = ()

    @property
    def duration_s(self) -> float | None:
        """How long the shape itself lasts, where it says so."""
        match self.kind:
            case "soak":
                return SOAK_S
            case "steps":
                length_s = self.values["each"] * len(self.rates_per_s)
            case "ramp":
                length_s = self.values["over"]
            case _:
                return None
        return None if math.isnan(length_s) else length_s

    def rate_per_s(self, time_s: FloatArray, duration_s: float) -> FloatArray:
        """λ(t) at some times within a run of `duration_s`; at a jump what follows it."""
        time_s = np.asarray(time_s, dtype=np.float64)
        if self.kind == "sine":
            mean, swing, period_s = self._sine(duration_s)
            wave: FloatArray = mean * (1.0 - swing * np.cos(2.0 * math.pi * time_s / period_s))
            return wave
        edges_s, left, right = self._pieces(duration_s)
        piece = np.clip(np.searchsorted(edges_s, time_s, side="right") - 1, 0, left.size - 1)
        share = (time_s - edges_s[piece]) / np.diff(edges_s)[piece]
        rate: FloatArray = left[piece] + share * (right[piece] - left[piece])
        return rate

    def expected(self, duration_s: float) -> float:
        """Λ(`duration_s`): how many arrivals there are, on average; evenly spaced exactly, rounded up."""
        if self.kind == "sine":
            return float(self._sine_total(np.array([duration_s]), duration_s)[0])
        edges_s, left, right = self._pieces(duration_s)
        return float(np.sum(np.diff(edges_s) * (left + right)) / 2.0)

    def even_units(self, duration_s: float) -> FloatArray:
        """The points 0, 1, 2, … below Λ(`duration_s`)."""
        return np.arange(max(0, math.ceil(self.expected(duration_s) - _ROUNDING)), dtype=np.float64)

    def times_s(self, units: FloatArray, duration_s: float) -> FloatArray:
        """Λ⁻¹ of sorted points in [0, Λ(`duration_s`)): arrival times in [0, `duration_s`), sorted."""
        times = (
            self._sine_inverse(units, duration_s) if self.kind == "sine" else self._inverse(units, duration_s)
        )
        return np.minimum(times, np.nextafter(duration_s, 0.0))

    def _pieces(self, duration_s: float) -> tuple[FloatArray, FloatArray, FloatArray]:
        """λ as linear pieces over the run: edges (n + 1), and the rates at each piece's two ends (n)."""
        values = {name: duration_s if math.isnan(value) else value for name, value in self.values.items()}
        match self.kind:
            case "steps":
                count = len(self.rates_per_s)
                each_s = duration_s / count if math.isnan(self.values["each"]) else values["each"]
                starts = [each_s * position for position in range(count)]
                left = right = list(self.rates_per_s)
            case "ramp":
                starts, left = [0.0, values["over"]], [values["from"], values["to"]]
                right = [values["to"], values["to"]]
            case "spike":
                starts = [0.0, values["at"], values["at"] + values["for"]]
                left = right = [values["rate"], values["peak"], values["rate"]]
            case _:
                starts, left = [0.0], [values["rate"]]
                right = left
        edges = np.array([*starts, max(duration_s, starts[-1])], dtype=np.float64)
        return _cut(edges, np.array(left, dtype=np.float64), np.array(right, dtype=np.float64), duration_s)

    def _inverse(self, units: FloatArray, duration_s: float) -> FloatArray:
        edges_s, left, right = self._pieces(duration_s)
        lengths_s = np.diff(edges_s)
        totals = np.concatenate([[0.0], np.cumsum(lengths_s * (left + right) / 2.0)])
        # Of pieces without arrivals, which share their total with their neighbour, none is ever chosen.
        piece = np.clip(np.searchsorted(totals, units, side="right") - 1, 0, left.size - 1)
        within = units - totals[piece]
        slope = (right - left)[piece] / lengths_s[piece]
        # The root of left·s + slope·s²/2 = within, in the form that survives a slope or a rate of 0.
        root = np.sqrt(np.maximum(left[piece] ** 2 + 2.0 * slope * within, 0.0))
        divisor = left[piece] + root
        passed_s = np.divide(2.0 * within, divisor, out=np.zeros_like(within), where=divisor > 0)
        times: FloatArray = edges_s[piece] + np.minimum(passed_s, lengths_s[piece])
        return times

    def _sine(self, duration_s: float) -> tuple[float, float, float]:
        period_s = self.values["period"]
        whole = duration_s if math.isnan(period_s) else period_s
        return self.values["rate"], self.values["amplitude"], whole

    def _sine_total(self, time_s: FloatArray, duration_s: float) -> FloatArray:
        mean, swing, period_s = self._sine(duration_s)
        turn = 2.0 * math.pi / period_s
        total: FloatArray = mean * (time_s - swing * np.sin(turn * time_s) / turn)
        return total

    def _sine_inverse(self, units: FloatArray, duration_s: float) -> FloatArray:
        """By bisection, to the last bit: it is Kepler's equation, which has no closed form."""
        low, high = np.zeros_like(units), np.full_like(units, duration_s)
        for _ in range(_BISECTIONS):
            middle = (low + high) / 2.0
            beyond = self._sine_total(middle, duration_s) > units
            high = np.where(beyond, middle, high)
            low = np.where(beyond, low, middle)
        return low


def _cut(
    edges_s: FloatArray, left: FloatArray, right: FloatArray, duration_s: float
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Only what lies within the run, without pieces of no length."""
    kept_s, kept_left, kept_right = [0.0], [], []
    for start_s, end_s, first, last in zip(edges_s[:-1], edges_s[1:], left, right, strict=True):
        inside_s = min(end_s, duration_s)
        if inside_s <= start_s:
            continue
        share = (inside_s - start_s) / (end_s - start_s)
        kept_s.append(inside_s)
        kept_left.append(first)
        kept_right.append(first + share * (last - first))
    return np.array(kept_s), np.array(kept_left), np.array(kept_right)


def parse_shape(text: str) -> Shape:
    """Read a shape.

    Raises:
        InputError: an unknown kind or parameter (the nearest known one is named), one that is missing or
            given twice, or a value out of its range.
    """
    kind, words = read_parameters(text, "shape", KINDS)
    spacing = words.pop("spacing")
    if spacing not in _SPACINGS:
        raise InputError(f"shape {text!r}: spacing must be even or poisson, got {spacing!r}")
    rates = tuple(
        read_number(text, "shape", "rates", one) for one in words.pop("rates", "").split("/") if one
    )
    values = {
        name: math.nan if word == _RUN else read_number(text, "shape", name, word, positive=name in _POSITIVE)
        for name, word in words.items()
    }
    if values.get("amplitude", 0.0) > 1.0:
        raise InputError(f"shape {text!r}: amplitude must be from 0 to 1, got {values['amplitude']:g}")
    given = [values[name] for name in ("rate", "peak", "from", "to") if name in values]
    if not any((*given, *rates)):
        raise InputError(f"shape {text!r}: some rate must be above 0")
    return Shape(text.strip(), kind, spacing, values, rates)
