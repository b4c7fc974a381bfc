"""Plots as SVG: one drawing that reads without scripts, in light and dark, in grey and in print.

Colours, dashes and type come from the page's style sheet by class, so a drawing holds geometry and text
only. The curves of a panel lie in an SVG of their own, whose viewBox a script may narrow to zoom.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from markupsafe import Markup, escape

from loadtest.report.plot import Curve, Panel, Plot
from loadtest.report.scales import FloatArray, Scale

LEFT, TOP, HEAD, GAP, FOOT = 62, 4, 24, 18, 44
LINE, LETTER = 15, 6.9
"""Height of a line of text, and the width of its average letter."""
RIGHTMOST = 20
LABEL_ROOM = (24, 190)


def draw(plot: Plot, name: str, described_by: str) -> Markup:
    """The plot as one SVG element.

    Args:
        plot: what to draw.
        name: its accessible name.
        described_by: ids of the elements that tell what it shows.
    """
    room = _label_room(plot)
    across = plot.width - LEFT - room
    parts: list[Markup] = []
    y = float(TOP)
    for panel in plot.panels:
        y += HEAD
        parts += _panel(plot, panel, y, across)
        y += panel.height + GAP
    bottom = y - GAP
    height = bottom + FOOT
    if plot.void:
        parts.append(_text(LEFT + across / 2, (TOP + HEAD + bottom) / 2 + 30, "VOID", "stamp", "middle"))
    first = TOP + HEAD
    parts += _marks(plot, first, across, bottom)
    ticks = _horizontal_ticks(plot, first, bottom, across)
    return Markup(
        '<svg class="plot" viewBox="0 0 {} {}" role="img" aria-label="{}" aria-describedby="{}" '
        'data-left="{}" data-across="{}" data-top="{}" data-bottom="{}">{}{}</svg>'
    ).format(
        plot.width, _n(height), name, described_by, LEFT, across, first, _n(bottom), ticks, _join(parts)
    )  # fmt: skip


def _panel(plot: Plot, panel: Panel, top: float, across: float) -> Iterable[Markup]:
    height = panel.height
    yield _text(LEFT, top - 9, panel.title, "panel-title")
    for tick, share in _ticks(panel.y, 6 if height > 150 else 3):
        y = top + height * (1 - share)
        yield _line(LEFT, y, LEFT + across, y, "grid")
        yield _text(LEFT - 7, y + 4, panel.y.written(tick), "tick", "end")
    yield Markup(
        '<svg class="view" x="{}" y="{}" width="{}" height="{}" viewBox="0 0 {} {}" '
        'preserveAspectRatio="none">'
    ).format(LEFT, _n(top), _n(across), height, _n(across), height)
    for start, end, words in plot.spans:
        x = across * _share(plot.x, start)
        wide = across * _share(plot.x, end) - x
        yield Markup(
            '<rect class="span" x="{}" y="0" width="{}" height="{}"><title>{}</title></rect>'
        ).format(_n(x), _n(max(wide, 1.0)), height, words)
    for curve in panel.curves:
        yield _curve(plot.x, panel, curve, across)
    yield Markup("</svg>")
    yield _line(LEFT, top + height, LEFT + across, top + height, "axis")
    for value, words in panel.lines:
        y = top + height * (1 - _share(panel.y, value))
        yield _line(LEFT, y, LEFT + across, y, "mark")
        yield _text(LEFT + 6, y - 5, words, "mark-label")
    place = {"along": _labels_along, "end": _labels_at_ends, "points": _labels_beside}[plot.labels]
    yield from place(plot, panel, top, across)


def _curve(x_scale: Scale, panel: Panel, curve: Curve, across: float) -> Markup:
    x = across * x_scale.place(curve.x)
    y = panel.height * (1 - panel.y.place(curve.y))
    if curve.shape == "dots":
        path = "".join(f"M{_n(a)} {_n(b)}h0" for a, b in _known(x, y))
    else:
        path = _path(x, y, step=curve.shape == "step")
    return Markup('<path class="curve {} {}" data-group="{}" d="{}"/>').format(
        curve.shape, curve.look, curve.group, path
    )


def _path(x: FloatArray, y: FloatArray, *, step: bool) -> str:
    parts: list[str] = []
    pen_down = False
    for a, b in zip(x, y, strict=True):
        if not np.isfinite(a + b):
            pen_down = False
        elif not pen_down:
            parts.append(f"M{_n(a)} {_n(b)}")
            pen_down = True
        else:
            parts.append(f"H{_n(a)}V{_n(b)}" if step else f"L{_n(a)} {_n(b)}")
    return "".join(parts)


def _labels_at_ends(plot: Plot, panel: Panel, top: float, across: float) -> Iterable[Markup]:
    """Each label right of the panel at the height where its curve ends, moved so that none covers another."""
    wanted = []
    for curve in panel.curves:
        known = np.flatnonzero(np.isfinite(curve.y))
        if curve.label and known.size:
            last = float(np.median(curve.y[known[-max(1, known.size // 8) :]]))
            wanted.append((top + panel.height * (1 - _share(panel.y, last)), curve))
    wanted.sort(key=lambda each: each[0])
    lowest = top - LINE / 2
    room_below = top + panel.height - LINE * (len(wanted) - 1)
    for place, (height, curve) in enumerate(wanted):
        y = max(lowest + LINE, min(height, room_below + LINE * place))
        lowest = y
        yield _label(LEFT + across + 7, y + 4, curve)


def _labels_along(plot: Plot, panel: Panel, top: float, across: float) -> Iterable[Markup]:
    """Each label beside its own curve, from top to bottom in the order in which the curves rise."""
    labelled = [curve for curve in panel.curves if curve.label and np.isfinite(curve.y).any()]
    labelled.sort(key=lambda curve: _first_above(curve, 0.5))
    few = len(labelled) <= 4
    highest, deepest = (0.66, 0.3) if few else (0.9, 0.1)
    for place, curve in enumerate(labelled):
        at = highest - (highest - deepest) * place / max(1, len(labelled) - 1)
        at = min(at, 0.92 * float(np.nanmax(curve.y)))
        x = LEFT + across * _share(plot.x, _first_above(curve, at))
        y = top + panel.height * (1 - _share(panel.y, at))
        wide = 8 + LETTER * len(curve.label)
        # The leftmost curve has room on its left, where no other runs.
        ends = x + wide > plot.width or (place == 0 < len(labelled) - 1 and x - wide > LEFT)
        yield _label(x - 8 if ends else x + 8, y + 4, curve, "end" if ends else "start")


def _labels_beside(plot: Plot, panel: Panel, top: float, across: float) -> Iterable[Markup]:
    """Each label beside its curve's only point: at the first place where it covers no point and no label."""
    points = [
        (
            LEFT + across * _share(plot.x, float(curve.x[0])),
            top + panel.height * (1 - _share(panel.y, float(curve.y[0]))),
            curve,
        )
        for curve in panel.curves
    ]
    taken = [(x - 6, x + 6, y - 6, y + 6) for x, y, _ in points]
    for x, y, curve in points:
        wide = LETTER * len(curve.label)
        # Nearest first: beside it, then a line higher or lower, and so on.
        places = [(side, y + LINE * lines) for lines in (0, -1, 1, -2, 2, -3, 3) for side in (1, -1)]
        boxes = [
            (x + 8 if side > 0 else x - 8 - wide, x + 8 + wide if side > 0 else x - 8, at - 7, at + 7)
            for side, at in places
        ]
        free = [
            place
            for place, (left, right, above, below) in enumerate(boxes)
            if left >= LEFT and right <= plot.width and above >= top and below <= top + panel.height
            if not any(left < end and start < right and above < b and a < below for start, end, a, b in taken)
        ]
        chosen = free[0] if free else 0
        taken.append(boxes[chosen])
        side, at = places[chosen]
        yield _label(x + 9 * side, at + 4, curve, "start" if side > 0 else "end")


def _first_above(curve: Curve, height: float) -> float:
    return float(curve.x[min(int(np.searchsorted(curve.y, height)), curve.x.size - 1)])


def _label(x: float, y: float, curve: Curve, anchor: str = "start") -> Markup:
    return Markup(
        '<text class="label {}" data-group="{}" x="{}" y="{}" text-anchor="{}">{}</text>'
    ).format(curve.look, curve.group, _n(x), _n(y), anchor, curve.label)  # fmt: skip


def _label_room(plot: Plot) -> int:
    if plot.labels != "end":
        return RIGHTMOST
    longest = max((len(curve.label) for panel in plot.panels for curve in panel.curves), default=0)
    return int(min(max(RIGHTMOST + LETTER * longest, LABEL_ROOM[0]), LABEL_ROOM[1]))


def _horizontal_ticks(plot: Plot, top: float, bottom: float, across: float) -> Markup:
    parts = []
    most = max(3, int(across / 90))
    for tick, share in _ticks(plot.x, most):
        x = LEFT + across * share
        parts.append(_line(x, top, x, bottom, "grid"))
        parts.append(_text(x, bottom + 17, plot.x.written(tick), "tick", "middle"))
    group = Markup('<g class="xticks">{}</g>').format(_join(parts))
    return _join([group, _text(LEFT + across, bottom + 37, plot.x_title, "axis-title", "end")])


def _marks(plot: Plot, top: float, across: float, bottom: float) -> Iterable[Markup]:
    """Lines across all panels, their words above the first one, beside its title."""
    least = LEFT + LETTER * (len(plot.panels[0].title) + 2)
    for value, words in plot.marks:
        x = LEFT + across * _share(plot.x, value)
        yield _line(x, top, x, bottom, "mark")
        yield _text(max(x - LETTER * len(words) / 2, least), top - 9, words, "mark-label")


def _ticks(scale: Scale, most: int) -> list[tuple[float, float]]:
    return [(tick, _share(scale, tick)) for tick in scale.ticks(most)]


def _share(scale: Scale, value: float) -> float:
    return float(np.clip(scale.place(np.array([value]))[0], 0, 1))


def _text(x: float, y: float, text: str, look: str, anchor: str = "start") -> Markup:
    return Markup('<text class="{}" x="{}" y="{}" text-anchor="{}">{}</text>').format(
        look, _n(x), _n(y), anchor, text
    )


def _line(x1: float, y1: float, x2: float, y2: float, look: str) -> Markup:
    return Markup('<line class="{}" x1="{}" y1="{}" x2="{}" y2="{}"/>').format(
        look, _n(x1), _n(y1), _n(x2), _n(y2)
    )


def _known(x: FloatArray, y: FloatArray) -> Iterable[tuple[float, float]]:
    known = np.isfinite(x + y)
    return zip(x[known], y[known], strict=True)


def _join(parts: Sequence[Markup]) -> Markup:
    return Markup("").join(escape(part) for part in parts)


def _n(value: float) -> str:
    """A coordinate to a tenth of a unit, which is finer than a screen's dots."""
    return f"{value:.1f}".removesuffix(".0")
