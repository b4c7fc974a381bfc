"""The picture as a web page that plays it: one file, no network, nothing but what is in it.

The SVG in it is the whole picture, so it needs no script to be read or printed; the script hides what has not
happened yet.
"""

from __future__ import annotations

import base64
import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from importlib import resources

from jinja2 import Environment, PackageLoader, StrictUndefined

from sim.animation.shapes import Arrow, Band, Dot, Layout, layouts, legend
from sim.animation.storyboard import Storyboard

WIDTH, LEFT, RIGHT = 960.0, 84.0, 16.0
_LANE, _TOP, _BOTTOM = 78.0, 18.0, 22.0
_HALF_BAR, _RADIUS = 7.0, 7.5
_TICKS = 8


@dataclass(frozen=True)
class Mark:
    """One shape in SVG, and when it appears and is complete, seconds."""

    style: str
    from_s: float
    to_s: float
    svg: str


@dataclass(frozen=True)
class Drawing:
    """A panel ready for the page."""

    layout: Layout
    height: float
    lanes: tuple[tuple[str, float], ...]
    ticks: tuple[tuple[float, str], ...]
    marks: tuple[Mark, ...]


def page(board: Storyboard) -> str:
    """The page as text."""
    drawn = layouts(board)
    style, script = _asset("animation.css"), _asset("animation.js")
    environment = Environment(
        loader=PackageLoader("sim.animation"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    return environment.get_template("animation.html").render(
        board=board,
        title=board.scenario.title or board.scenario.name,
        drawings=[_drawing(board, layout) for layout in drawn],
        meanings=legend(drawn),
        story=[
            {"mechanism": panel.mechanism, "lines": [[line.time_s, line.text] for line in panel.lines]}
            for panel in board.panels
        ],
        style=style,
        script=script,
        policy=_policy(style, script),
        width=WIDTH,
        left=LEFT,
        right=WIDTH - RIGHT,
    )


def _drawing(board: Storyboard, layout: Layout) -> Drawing:
    span_s = board.end_s - board.start_s

    def x(time_s: float) -> float:
        inside = min(max(time_s, board.start_s), board.end_s)
        return LEFT + (WIDTH - LEFT - RIGHT) * (inside - board.start_s) / span_s

    def y(lane: float) -> float:
        return _TOP + _LANE * lane

    bottom = len(layout.lanes) - 1
    numbered = len(board.created_s) <= 20

    def ends(shape: Arrow | Band) -> tuple[float, float, float, float]:
        return x(shape.from_s), x(shape.to_s), y(shape.from_lane), y(shape.to_lane)

    marks = [_band(each, *ends(each)) for each in layout.bands]
    marks += [_arrow(each, *ends(each)) for each in layout.arrows]
    marks += [_dot(each, x(each.at_s), y(each.lane), numbered) for each in layout.dots]
    return Drawing(
        layout,
        y(bottom) + _BOTTOM + 14,
        tuple((name, y(lane)) for lane, name in enumerate(layout.lanes)),
        tuple((x(time_s), f"{time_s:,.6g} s") for time_s in _ticks(board.start_s, board.end_s)),
        tuple(marks),
    )


def _arrow(arrow: Arrow, x1: float, x2: float, y1: float, y2: float) -> Mark:
    if arrow.is_lost:
        x2, y2 = (x1 + x2) / 2, (y1 + y2) / 2
    svg = f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'
    if arrow.is_lost:
        svg += (
            f'<path class="cross" d="M{x2 - 5:.1f} {y2 - 5:.1f}l10 10m0-10l-10 10" '
            f'data-from="{arrow.to_s:.6f}"/>'
        )
    else:
        svg += _head(x1, x2, y1, y2)
    return Mark(arrow.style, arrow.from_s, arrow.to_s, svg + _title(arrow.told))


def _head(x1: float, x2: float, y1: float, y2: float) -> str:
    """The arrow's head, which points the way it goes."""
    length = max(((x2 - x1) ** 2 + (y2 - y1) ** 2) ** 0.5, 1e-9)
    ux, uy = (x2 - x1) / length, (y2 - y1) / length
    back_x, back_y = x2 - 8 * ux, y2 - 8 * uy
    corners = ((x2, y2), (back_x - 3 * uy, back_y + 3 * ux), (back_x + 3 * uy, back_y - 3 * ux))
    points = " ".join(f"{x:.1f},{y:.1f}" for x, y in corners)
    return f'<polygon class="head" points="{points}"/>'


def _band(band: Band, x1: float, x2: float, y1: float, y2: float) -> Mark:
    half = _HALF_BAR if y1 == y2 else 0.0
    svg = (
        f'<rect x="{x1:.1f}" y="{y1 - half:.1f}" width="{max(x2 - x1, 0.5):.1f}" '
        f'height="{y2 - y1 + 2 * half:.1f}"/>'
    )
    return Mark(band.style, band.from_s, band.to_s, svg + _title(band.told))


def _dot(dot: Dot, x: float, y: float, numbered: bool) -> Mark:
    if dot.style == "given_up":
        svg = f'<path d="M{x - 6:.1f} {y - 6:.1f}l12 12m0-12l-12 12"/>'
    else:
        svg = f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{_RADIUS}"/>'
    if numbered and dot.style in ("event", "visible"):
        svg += f'<text x="{x:.1f}" y="{y + 3.2:.1f}">{dot.event}</text>'
    return Mark(dot.style, dot.at_s, dot.at_s, svg + _title(dot.told))


def _title(told: str) -> str:
    return f"<title>{escape(told)}</title>" if told else ""


def _ticks(start_s: float, end_s: float) -> Sequence[float]:
    """Round times within the picture, about `_TICKS` of them."""
    rough = (end_s - start_s) / _TICKS
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough)
    first = int(start_s // step) + 1
    return [step * k for k in range(first, int(end_s // step) + 1)]


def _asset(name: str) -> str:
    return resources.files("sim.animation").joinpath("templates", name).read_text(encoding="utf-8")


def _policy(style: str, script: str) -> str:
    """A Content-Security-Policy that runs what is in this file and fetches nothing (W3C, CSP Level 3)."""
    hashes = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in (style, script)]
    return (
        f"default-src 'none'; style-src 'sha256-{hashes[0]}'; script-src 'sha256-{hashes[1]}'; "
        "base-uri 'none'; form-action 'none'"
    )
