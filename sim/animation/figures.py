"""The picture standing still, and as a GIF: for slides and paper.

Colours are Okabe and Ito's ("Color Universal Design", 2008); dashes, weights and marks tell the same in
black and white.
"""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter
from PIL import Image

from sim.animation.shapes import Arrow, Layout, layouts, legend
from sim.animation.storyboard import Storyboard

_INK, _GREY = "#333333", "#9a9a9a"
_LINES: dict[str, dict[str, Any]] = {
    "push": {"color": "#0072B2", "linewidth": 1.8},
    "retry": {"color": "#E69F00", "linewidth": 2.0, "linestyle": (0, (4, 1.5))},
    "ask": {"color": "#009E73", "linewidth": 1.2, "linestyle": (0, (1.5, 1))},
    "empty": {"color": _GREY, "linewidth": 0.9},
    "ok": {"color": "#56B4E9", "linewidth": 0.9, "linestyle": (0, (1, 1))},
    "bad": {"color": "#D55E00", "linewidth": 1.5, "linestyle": (0, (6, 1.5, 1, 1.5))},
}
_DOTS: dict[str, dict[str, Any]] = {
    "event": {"marker": "o", "color": _INK, "markersize": 9},
    "visible": {"marker": "o", "color": "#0072B2", "markersize": 10},
    "duplicate": {"marker": "o", "color": "#E69F00", "markersize": 11, "fillstyle": "none", "mew": 1.8},
    "given_up": {"marker": "X", "color": "#D55E00", "markersize": 10},
}
_BANDS: dict[str, dict[str, Any]] = {
    "session": {"facecolor": "#009E73", "alpha": 0.12},
    "held": {"facecolor": _GREY, "alpha": 0.8},
    "outage": {"facecolor": "white", "edgecolor": "#D55E00", "hatch": "////", "linewidth": 0.8},
}
_CROSS: dict[str, Any] = {"marker": "x", "color": "#D55E00", "markersize": 7, "mew": 1.8}
_HALF_BAR = 0.09


def picture(board: Storyboard, until_s: float | None = None) -> Figure:
    """The whole picture, or what has happened until a time.

    Args:
        board: what to draw.
        until_s: the instant at which to stop; by default the picture's end.
    """
    drawn = layouts(board)
    heights = [0.75 + 0.75 * (len(each.lanes) - 1) for each in drawn]
    figure = Figure(figsize=(9.6, 1.0 + sum(heights)), facecolor="white", layout="constrained")
    panels = figure.subplots(len(drawn), 1, sharex=True, squeeze=False, height_ratios=heights)[:, 0]
    now_s = board.end_s if until_s is None else until_s
    for axes, layout in zip(panels, drawn, strict=True):
        _panel(axes, layout, now_s, len(board.created_s))
        if until_s is not None:
            axes.axvline(now_s, color=_INK, linewidth=0.8)
        axes.set_xlim(board.start_s, board.end_s)
    panels[-1].spines["bottom"].set_visible(True)
    panels[-1].tick_params(axis="x", length=3)
    panels[-1].xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:,.6g} s"))
    figure.legend(
        handles=_handles(legend(drawn)), loc="outside lower left", ncols=3, fontsize=7.5, frameon=False
    )
    if board.cut_by:
        figure.supxlabel(f"(the picture ends here: {board.cut_by} has too much under way)", fontsize=8)
    return figure


def gif(board: Storyboard, frames: int = 80, frame_s: float = 0.12, rest_s: float = 2.5) -> bytes:
    """The picture as it comes about, an endless GIF that rests on the whole picture.

    Args:
        board: what to draw.
        frames: how many steps, at least 2.
        frame_s: how long each is shown, seconds.
        rest_s: how long the last is.
    """
    images = []
    for now_s in np.linspace(board.start_s, board.end_s, frames):
        drawn = io.BytesIO()
        picture(board, float(now_s)).savefig(drawn, format="png", dpi=100)
        with Image.open(drawn) as image:
            images.append(image.convert("RGB").quantize(64, dither=Image.Dither.NONE))
    buffer = io.BytesIO()
    shown_ms = [round(frame_s * 1e3)] * (frames - 1) + [round(rest_s * 1e3)]
    images[0].save(
        buffer, "GIF", save_all=True, append_images=images[1:], duration=shown_ms, loop=0, optimize=True
    )
    return buffer.getvalue()


def _panel(axes: Axes, layout: Layout, now_s: float, events: int) -> None:
    bottom = len(layout.lanes) - 1
    axes.set_ylim(bottom + 0.35, -0.35)
    axes.set_yticks(range(bottom + 1), layout.lanes, fontsize=8)
    axes.tick_params(length=0, labelsize=8)
    axes.spines[["top", "right", "left", "bottom"]].set_visible(False)
    axes.set_title(
        f"{layout.mechanism}: {layout.finding}", loc="left", fontsize=9.5, fontweight="bold", color=_INK
    )
    for lane in range(bottom + 1):
        axes.axhline(lane, color=_INK, linewidth=1.0, zorder=1)
    for band in layout.bands:
        if band.from_s <= now_s:
            low, high = band.from_lane, band.to_lane
            half = _HALF_BAR if low == high else 0.0
            width = min(band.to_s, now_s) - band.from_s
            axes.broken_barh([(band.from_s, width)], (low - half, high - low + 2 * half), zorder=0 if high > low else 2, **_BANDS[band.style])  # fmt: skip  # noqa: E501
    for arrow in layout.arrows:
        if arrow.from_s <= now_s:
            _arrow(axes, arrow, now_s)
    for dot in layout.dots:
        if dot.at_s <= now_s:
            axes.plot([dot.at_s], [dot.lane], linestyle="none", zorder=4, **_DOTS[dot.style])
            if events <= 20 and dot.style in ("event", "visible"):
                axes.annotate(
                    str(dot.event), (dot.at_s, dot.lane), ha="center", va="center_baseline", color="white",
                    fontsize=6, zorder=5,
                )  # fmt: skip


def _arrow(axes: Axes, arrow: Arrow, now_s: float) -> None:
    share = 1.0 if now_s >= arrow.to_s else (now_s - arrow.from_s) / (arrow.to_s - arrow.from_s)
    if arrow.is_lost:
        share *= 0.5
    x = arrow.from_s + share * (arrow.to_s - arrow.from_s)
    y = arrow.from_lane + share * (arrow.to_lane - arrow.from_lane)
    zorder = 2 if arrow.style in ("empty", "ok") else 3
    axes.plot([arrow.from_s, x], [arrow.from_lane, y], zorder=zorder, **_LINES[arrow.style])
    if arrow.is_lost:
        axes.plot([x], [y], linestyle="none", zorder=4, **_CROSS)


def _handles(meanings: dict[str, str]) -> list[Line2D | Patch]:
    handles: list[Line2D | Patch] = []
    for style, meaning in meanings.items():
        if style in _BANDS:
            handles.append(Patch(label=meaning, **_BANDS[style]))
        elif style in _LINES:
            handles.append(Line2D([], [], label=meaning, **_LINES[style]))
        else:
            mark = _CROSS if style == "lost" else _DOTS[style]
            handles.append(Line2D([], [], linestyle="none", label=meaning, **(mark | {"markersize": 6})))
    return handles
