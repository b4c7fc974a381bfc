"""The two axes of a surface: rows and columns, each of one key with ascending numbers."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from sim.errors import InputError
from sim.experiment.axes import Axis, design, parse_axis
from sim.metrics.directions import check_metric
from sim.scenario import Scenario

DEFAULT_KEYS = ("polling.interval_s", "workload.rate_per_s")
DEFAULT_FACTOR, DEFAULT_STEPS = 20.0, 9
"""Without axes the surface spans from a twentieth of the scenario's own values to twenty times as much."""


def check_surface(
    scenario: Scenario, axes: Sequence[Axis], metric: str, replications: int
) -> tuple[Axis, Axis]:
    """Refuse what can be no surface, before anything is computed; returns its rows and columns.

    Raises:
        InputError: axes or values that cannot be, no such metric, or too few replications for intervals.
    """
    check_metric(metric)
    if replications < 2:
        raise InputError(f"a surface needs 2 replications or more for its intervals, got {replications}")
    rows, columns = surface_axes(scenario, axes)
    design(scenario, [rows, columns])
    return rows, columns


def surface_axes(scenario: Scenario, axes: Sequence[Axis]) -> tuple[Axis, Axis]:
    """The axes of a surface: rows and columns, each of one key with ascending numbers.

    Raises:
        InputError: not two such axes; or none, where the scenario has no numbers to span the usual ones from.
    """
    if not axes:
        rows, columns = (_around(scenario, key) for key in DEFAULT_KEYS)
        return rows, columns
    if len(axes) != 2:
        raise InputError(
            f"--over: a surface has two axes, got {len(axes)}; give --over KEY=… twice, or never"
        )
    rows, columns = axes
    for each in axes:
        if len(each.keys) > 1:
            raise InputError(f"--over: an axis of a surface has one key, got {' & '.join(each.keys)}")
        numbers = [value for (value,) in each.values if isinstance(value, int | float)]
        is_plain = len(numbers) == len(each.values) and not any(isinstance(v, bool) for v in numbers)
        if not is_plain or len(numbers) < 2 or any(low >= high for low, high in pairwise(numbers)):
            told = ", ".join(str(value) for (value,) in each.values)
            raise InputError(f"--over {each.keys[0]}: expected two ascending numbers or more, got {told}")
    if rows.keys == columns.keys:
        raise InputError(f"--over: {rows.keys[0]} stands on both axes")
    return rows, columns


def _around(scenario: Scenario, key: str) -> Axis:
    value: Any = scenario.model_dump()
    for part in key.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    if not isinstance(value, int | float) or value <= 0:
        raise InputError(
            f"--over: the scenario's {key} is {value!r}, no number above 0 to start from; "
            "give both axes, as --over polling.interval_s=1:600:log9"
        )
    return parse_axis(f"{key}={value / DEFAULT_FACTOR!r}:{value * DEFAULT_FACTOR!r}:log{DEFAULT_STEPS}")


def numbers(axis: Axis) -> tuple[float, ...]:
    """The values of an axis of one key."""
    return tuple(float(value) for (value,) in axis.values)
