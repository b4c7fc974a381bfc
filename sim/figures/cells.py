"""Planes of cells: where they begin and end, and what lies between their middles."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def spaced_by_ratio(values: Floats) -> bool:
    """Whether values are spaced by ratio rather than evenly."""
    if values[0] <= 0 or len(values) < 3:
        return bool(values[0] > 0)
    ratios, steps = values[1:] / values[:-1], np.diff(values)
    return bool(ratios.max() / ratios.min() <= steps.max() / steps.min())


def cell_edges(values: Floats, *, by_ratio: bool) -> Floats:
    """Where cells around ascending values begin and end."""
    at = np.log(values) if by_ratio else values
    middle = (at[1:] + at[:-1]) / 2
    edges = np.concatenate([[at[0] - (middle[0] - at[0])], middle, [at[-1] + (at[-1] - middle[-1])]])
    return np.exp(edges) if by_ratio else edges


def refined(at: Floats, rows: Floats, *, by_ratio: bool) -> tuple[Floats, Floats]:
    """Each row between its defined places, as `Surface.curve` interpolates; NaN beyond them."""
    from scipy.interpolate import PchipInterpolator  # noqa: PLC0415 - slow to import

    places = np.log(at) if by_ratio else at
    fine = np.linspace(places[0], places[-1], 240)
    values = np.full((len(rows), len(fine)), np.nan)
    for number, row in enumerate(rows):
        known = ~np.isnan(row)
        if known.sum() > 1:
            values[number] = PchipInterpolator(places[known], row[known], extrapolate=False)(fine)
    return np.exp(fine) if by_ratio else fine, values
