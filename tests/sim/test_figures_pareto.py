"""Protects the Pareto figure: the front is joined rightly, marks say what they mean, names are apart."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Annotation

from sim.figures import pareto_scatter

X, Y = "latency_p95_s", "cost_per_million_events"


def table(**more: list[object]) -> pd.DataFrame:
    columns = {
        "label": ["push", "poll 5 s", "poll 60 s", "stream"],
        "mechanism": ["webhook", "polling", "polling", "streaming"],
        X: [0.05, 4.8, 57.0, 0.06],
        Y: [9.0, 5.0, 1.0, 9.5],
        "on_front": [True, True, True, False],
        "meets": [True, True, False, True],
    }
    return pd.DataFrame({**columns, **more})


def names(figure: Figure) -> list[Annotation]:
    return [
        text for text in figure.axes[0].texts
        if isinstance(text, Annotation) and text.get_text() and not text.get_text().endswith("for a name")
    ]  # fmt: skip


def front(figure: Figure) -> np.ndarray:
    return next(line for line in figure.axes[0].lines if line.get_drawstyle() != "default").get_xydata()


def test_the_front_is_joined_in_order_and_the_rest_is_pale() -> None:
    figure = pareto_scatter(table(), X, Y)
    assert front(figure).tolist() == [[0.05, 9.0], [4.8, 5.0], [57.0, 1.0]]
    marks = {
        tuple(line.get_xydata()[0]): line for line in figure.axes[0].lines if len(line.get_xydata()) == 1
    }
    assert len(marks) == 4
    assert {at: line.get_alpha() for at, line in marks.items() if line.get_alpha() != 1} == {
        (0.06, 9.5): 0.45
    }
    opened = [at for at, line in marks.items() if line.get_markerfacecolor() == "white"]
    assert opened == [(57.0, 1.0)]
    assert len({(line.get_marker(), line.get_color()) for line in marks.values()}) == 3, "one a mechanism"
    assert figure.axes[0].get_title(loc="left").replace("\n", " ") == (
        f"Nothing beats 3 of 4 alternatives on both {X} and {Y}; of these 2 meet what was asked"
    )


@pytest.mark.parametrize(
    ("x", "style"), [("latency_p95_s", "steps-post"), ("freshness", "steps-pre"), ("mine", "steps-post")]
)
def test_the_steps_bound_what_the_front_beats(x: str, style: str) -> None:
    figure = pareto_scatter(table().rename(columns={X: x}), x, Y)
    assert [line.get_drawstyle() for line in figure.axes[0].lines if len(line.get_xydata()) == 3] == [style]


@pytest.mark.parametrize("count", [12, 60])
def test_names_cover_neither_each_other_nor_a_mark(count: int) -> None:
    draw = np.random.default_rng(count)
    crowd = pd.DataFrame(
        {
            "label": [f"alternative {i}" for i in range(count)], "mechanism": "polling",
            "a": 1 + draw.random(count), "b": 1 + draw.random(count), "on_front": draw.random(count) < 0.1,
            "meets": True,
        }
    )  # fmt: skip
    figure = pareto_scatter(crowd, "a", "b")
    figure.draw_without_rendering()
    shown = names(figure)
    boxes = [text.get_window_extent() for text in shown]
    assert not any(a.overlaps(b) for a, b in combinations(boxes, 2))
    marks = figure.axes[0].transData.transform(crowd[["a", "b"]].to_numpy())
    assert not any(box.contains(*mark) for box in boxes for mark in marks)
    notes = [text.get_text() for text in figure.axes[0].texts if text.get_text().endswith("for a name")]
    left_out = int(notes[0].split()[0]) if notes else 0
    assert len(shown) + left_out == count
    assert {f"alternative {i}" for i in np.flatnonzero(crowd["on_front"])} <= {t.get_text() for t in shown}


def test_intervals_are_drawn_where_they_are_known() -> None:
    bare = len(pareto_scatter(table(), X, Y).axes[0].collections)
    known = table(**{f"{X}_low": [0.04, 4.0, 50.0, np.nan], f"{X}_high": [0.06, 5.0, 60.0, np.nan]})
    assert len(pareto_scatter(known, X, Y).axes[0].collections) == bare + 3


def test_what_cannot_be_drawn_is_an_error() -> None:
    with pytest.raises(ValueError, match="lacks meets, on_front"):
        pareto_scatter(table().drop(columns=["meets", "on_front"]), X, Y)
    with pytest.raises(ValueError, match="lacks rows"):
        pareto_scatter(table().iloc[:0], X, Y)
    with pytest.raises(ValueError, match=f"no alternative has both {X}"):
        pareto_scatter(table(**{X: [np.nan] * 4}), X, Y)
