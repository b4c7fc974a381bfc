"""What moves in a lesson: a slider over prepared values with its static twin, and the animated picture.

Whoever runs a notebook gets the slider. Whoever reads an executed one (on a web page, on paper, or as slides)
gets the twin: the same figure for each of the values. Which of the two it is, Jupyter says itself: a front
end with somebody at it allows a kernel to ask for input, an execution without anybody does not (Jupyter
messaging protocol, `execute_request`, `allow_stdin`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sim.animation.storyboard import Storyboard


def explore(
    draw: Callable[[Any], Any], parameter: str, values: Sequence[Any], *, twin: Sequence[Any] | None = None
) -> None:
    """Show what `draw` makes of a value: by a slider, or of some values one under the other.

    Args:
        draw: value -> a figure, or anything that a notebook can display.
        parameter: what the value is, as the slider is called.
        values: those that the slider has.
        twin: those that are drawn when nobody can move it; by default the first, the middle and the last.
    """
    if somebody_is_there():
        _slider(draw, parameter, values)
        return
    from IPython.display import Markdown, display  # noqa: PLC0415 - only notebooks have it

    chosen = twin if twin is not None else [values[0], values[len(values) // 2], values[-1]]
    for value in dict.fromkeys(chosen):
        display(Markdown(f"**{parameter} = {value}**"))  # type: ignore[no-untyped-call]
        display(draw(value))  # type: ignore[no-untyped-call]


def somebody_is_there() -> bool:
    """Whether a person could move a slider: the code runs in a kernel whose front end has one."""
    from IPython.core.getipython import get_ipython  # noqa: PLC0415

    kernel = getattr(get_ipython(), "kernel", None)
    return bool(getattr(kernel, "_allow_stdin", False))


def _slider(draw: Callable[[Any], Any], parameter: str, values: Sequence[Any]) -> None:
    from IPython.display import display  # noqa: PLC0415
    from ipywidgets import SelectionSlider, interactive_output  # noqa: PLC0415

    slider = SelectionSlider(
        options=values,
        value=values[len(values) // 2],
        description=parameter,
        continuous_update=False,
        style={"description_width": "initial"},
    )

    def show(value: Any) -> None:
        display(draw(value))  # type: ignore[no-untyped-call]

    display(slider, interactive_output(show, {"value": slider}))  # type: ignore[no-untyped-call]


def played(board: Storyboard, height_px: int = 620) -> Any:
    """The animated picture inside a notebook: the whole page of `sim.animation.page`, in a frame of its own.

    Args:
        board: what to play.
        height_px: of the frame.
    """
    from html import escape  # noqa: PLC0415

    from IPython.display import HTML  # noqa: PLC0415

    from sim.animation.page import page  # noqa: PLC0415 - jinja2 waits until there is something to draw

    ways = ", ".join(panel.mechanism for panel in board.panels)
    return HTML(  # type: ignore[no-untyped-call]
        f'<div><iframe title="Animated timeline of events by {ways}" width="100%" height="{height_px}" '
        f'style="border: 0" sandbox="allow-scripts" srcdoc="{escape(page(board))}"></iframe></div>'
    )
