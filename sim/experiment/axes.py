"""What varies in a sweep: axes of scenario values, and the design points they span.

An axis is written ``KEY=VALUES``, as on the command line after ``--vary``:

==============================================  ========================================================
``polling.interval_s=1,5,30``                   a list; numbers, ``true``, ``false`` or words
``workload.rate_per_s=0.01:10:log9``            nine values from 0.01 to 10, evenly spaced by ratio
``receiver.workers=1:8:lin8``                   eight values from 1 to 8, evenly spaced
``polling.interval_s=1,5&long_polling.hold_s=10,50``  two keys that move together (zipped)
==============================================  ========================================================

Several axes are crossed, the last one moving fastest.
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

from sim.errors import InputError
from sim.scenario import Scenario

Value = float | int | str | bool
Point = Mapping[str, Value]
"""One design point: scenario key -> value."""

MAX_POINTS = 1_000_000
_FORM = "expected KEY=1,5,30 or KEY=LOW:HIGH:lin9 or KEY=LOW:HIGH:log9; keys that move together joined by '&'"


@dataclass(frozen=True)
class Axis:
    """Keys that move together.

    Attributes:
        keys: dotted keys of the scenario.
        values: one tuple a step, with one value a key.
    """

    keys: tuple[str, ...]
    values: tuple[tuple[Value, ...], ...]

    @property
    def steps(self) -> list[Point]:
        """The axis as partial design points."""
        return [dict(zip(self.keys, values, strict=True)) for values in self.values]


def parse_axis(text: str, option: str = "--vary") -> Axis:
    """Read one axis, given to an `option` that errors name.

    Raises:
        InputError: not of the form above, an empty or endless range, or zipped keys of unequal length.
    """
    given = f"{option} {text!r}"
    keys: list[str] = []
    columns: list[list[Value]] = []
    for part in text.split("&"):
        key, equals, values = (piece.strip() for piece in part.partition("="))
        if not equals or not key or not values:
            raise InputError(f"{given}: {_FORM}")
        if key in keys:
            raise InputError(f"{given}: {key} is given twice")
        keys.append(key)
        words = values.split(",")
        columns.append(_range(given, values) if ":" in values else [_value(given, word) for word in words])
    lengths = {len(column) for column in columns}
    if len(lengths) > 1:
        told = ", ".join(f"{key} has {len(column)}" for key, column in zip(keys, columns, strict=True))
        raise InputError(f"{given}: keys that move together need as many values each; {told}")
    return Axis(tuple(keys), tuple(zip(*columns, strict=True)))


def axis(**values: Sequence[Value]) -> Axis:
    """The same from Python; dots are written as double underscores: ``axis(polling__interval_s=[1, 5])``.

    Raises:
        InputError: no values, or sequences of unequal length.
    """
    columns = [tuple(column) for column in values.values()]
    if not columns or not columns[0] or any(len(column) != len(columns[0]) for column in columns):
        raise InputError(f"an axis needs values, as many for each of its keys: {', '.join(values) or 'none'}")
    return Axis(tuple(key.replace("__", ".") for key in values), tuple(zip(*columns, strict=True)))


def _value(given: str, word: str) -> Value:
    word = word.strip()
    if not word:
        raise InputError(f"{given}: a value is empty; {_FORM}")
    try:
        read = tomllib.loads(f"value = {word}")["value"]
    except tomllib.TOMLDecodeError:
        return word
    if isinstance(read, float) and not math.isfinite(read):
        raise InputError(f"{given}: {word} is no finite number")
    if not isinstance(read, int | float | str | bool):
        raise InputError(f"{given}: {word} is neither a number, a word, true nor false")
    return read


def _range(given: str, values: str) -> list[Value]:
    try:
        low_text, high_text, how = values.split(":")
        low, high = float(low_text), float(high_text)
        spacing, count = how.strip()[:3], int(how.strip()[3:])
    except ValueError:
        raise InputError(f"{given}: {values!r} is no range; {_FORM}") from None
    if spacing not in ("lin", "log") or not (math.isfinite(low) and math.isfinite(high)):
        raise InputError(f"{given}: {values!r} is no range; {_FORM}")
    if count < 1 or count > MAX_POINTS or low > high or (count == 1) != (low == high):
        raise InputError(
            f"{given}: a range needs LOW < HIGH and from 2 to {MAX_POINTS:,} values, got {values}"
        )
    if spacing == "log" and low <= 0:
        raise InputError(f"{given}: a log range starts above 0, got {low:g}")
    spaced = (np.geomspace if spacing == "log" else np.linspace)(low, high, count)
    exact = [low, *(float(value) for value in spaced[1:-1]), high][:count]
    whole = all(each.lstrip("+-").isdigit() for each in (low_text.strip(), high_text.strip()))
    if whole and all(value == round(value) for value in exact):
        return [int(value) for value in exact]  # so that keys that take whole numbers take them
    return list(exact)


def design(scenario: Scenario, axes: Sequence[Axis]) -> list[Point]:
    """Every design point, the last axis moving fastest.

    Raises:
        InputError: no axis, a key on two axes, too many points, or a key or value the scenario refuses.
    """
    if not axes:
        raise InputError("a sweep varies something: give --vary KEY=VALUES")
    keys = [key for each in axes for key in each.keys]
    if repeated := {key for key in keys if keys.count(key) > 1}:
        raise InputError(f"--vary: {', '.join(sorted(repeated))} stands on more than one axis")
    count = math.prod(len(each.values) for each in axes)
    if count > MAX_POINTS:
        raise InputError(f"--vary: the axes span {count:,} design points; at most {MAX_POINTS:,} are run")
    first = {key: value for each in axes for key, value in each.steps[0].items()}
    for each in axes:  # every value once; combinations that do not go together show when they are run
        for step in each.steps:
            scenario.with_values(**{**first, **step})
    return [
        {key: value for step in steps for key, value in step.items()}
        for steps in product(*(each.steps for each in axes))
    ]
