"""A figure as values: panels over one horizontal axis, and the curves in them. `drawing` draws it."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from loadtest.report.scales import FloatArray, Scale

Shape = Literal["line", "step", "dots", "band"]
LEAST_DIGITS = 4
_NUMBER = re.compile(r"[-−<]?\d[\d,.e+-]*( ± [^ ]+)?( (µs|ms|s|min|h|%|MB|/s))?$|–$|undefined$|never$")


@dataclass(frozen=True)
class Curve:
    """One curve of a panel.

    Attributes:
        group: what a reader may show or hide it by: the arm, mostly.
        name: which quantity it shows, for tables and readings: ``webhook, from the real send``.
        x, y: its points in data units, x ascending; y NaN where there is nothing.
        look: classes of the style sheet: a colour (``c0``…), a dash (``d0``…), ``thin`` or ``pale``.
        shape: line; step, whose value holds until the next point; dots; or band, a broad pale line.
        label: what is written beside it; empty for nothing.
        read: whether readings along the axis tell its value.
    """

    group: str
    name: str
    x: FloatArray
    y: FloatArray
    look: str
    shape: Shape = "line"
    label: str = ""
    read: bool = True


@dataclass(frozen=True)
class Panel:
    """Curves over one vertical axis.

    Attributes:
        title: what the vertical axis measures, and its unit if values do not say it.
        y: the vertical axis.
        curves: from back to front.
        lines: values to be marked across the panel, each with its words.
        height: of the plotted area, in the drawing's units.
    """

    title: str
    y: Scale
    curves: tuple[Curve, ...]
    lines: tuple[tuple[float, str], ...] = ()
    height: int = 300


@dataclass(frozen=True)
class Plot:
    """Panels over one horizontal axis.

    Attributes:
        x: the horizontal axis.
        x_title: what it measures.
        panels: from top to bottom.
        labels: whether curves are named at their right ends, along themselves, or beside single points.
        marks: values to be marked on the horizontal axis, each with its words.
        spans: stretches of the horizontal axis to be shaded, each with its words.
        zooms: whether a reader may look at a part of the horizontal axis: time.
        width: of the whole drawing, in its units.
        void: stamp it, its figures are not to be trusted.
    """

    x: Scale
    x_title: str
    panels: tuple[Panel, ...]
    labels: Literal["end", "along", "points"] = "end"
    marks: tuple[tuple[float, str], ...] = ()
    spans: tuple[tuple[float, float, str], ...] = ()
    zooms: bool = False
    width: int = 760
    void: bool = False

    @property
    def groups(self) -> list[str]:
        """Every group of curves, in order."""
        return list(dict.fromkeys(curve.group for panel in self.panels for curve in panel.curves))

    def readable(self) -> dict[str, Any]:
        """What readings need: the points, four significant digits each, horizontally as laid out."""
        return {
            "x": _axis(self.x),
            "zooms": self.zooms,
            "panels": [
                {
                    "title": panel.title,
                    "unit": panel.y.unit,
                    "curves": [
                        {
                            "group": curve.group,
                            "name": curve.name,
                            "step": curve.shape == "step",
                            "x": _plain(self.x.laid_out(curve.x)),
                            "y": _plain(curve.y),
                        }
                        for curve in panel.curves
                        if curve.read
                    ],
                }
                for panel in self.panels
            ],
        }


@dataclass(frozen=True)
class Table:
    """A table of texts.

    Attributes:
        caption: what it holds.
        head: the columns' names; the first column names the rows.
        rows: a text a column.
        note: said beneath it; empty for nothing.
    """

    caption: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""

    @property
    def wordy(self) -> list[bool]:
        """Of each column, whether it holds words, to be read from the left, and not numbers."""
        return [not all(_NUMBER.match(row[place]) for row in self.rows) for place in range(len(self.head))]


@dataclass(frozen=True)
class Figure:
    """A plot with its finding and the table of what it shows.

    Attributes:
        id: unique within the page.
        finding: what it shows, in one sentence: its caption.
        how: how to read it, and what was left out.
        plot: what is drawn.
        table: its values.
        heading: what it is called among its neighbours.
    """

    id: str
    finding: str
    how: str
    plot: Plot
    table: Table
    heading: str = ""


@dataclass
class Ids:
    """Hands out ids that are unique within a page."""

    taken: set[str] = field(default_factory=set)

    def new(self, words: str) -> str:
        """An id made of letters, digits and hyphens, like the words."""
        stem = "".join(letter if letter.isascii() and letter.isalnum() else "-" for letter in words.lower())
        number = 1
        while (name := f"{stem}-{number}" if number > 1 else stem) in self.taken:
            number += 1
        self.taken.add(name)
        return name


def rounded(value: float) -> float | None:
    """A value in as many digits as a drawing can show; None where there is none."""
    if not math.isfinite(value):
        return None
    return float(f"{value:.{LEAST_DIGITS}g}") if abs(value) < 10**LEAST_DIGITS else round(value)


def _plain(values: Iterable[float]) -> list[float | None]:
    return [rounded(float(value)) for value in np.asarray(list(values))]


def _axis(scale: Scale) -> dict[str, Any]:
    low, high = (rounded(float(end)) for end in scale.laid_out(np.array([scale.low, scale.high])))
    return {"low": low, "high": high, "log": scale.kind == "log", "unit": scale.unit}
