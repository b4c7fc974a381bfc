"""Protects what lessons call: figures that say what they show, small experiments, widgets, slides."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd
import pytest

from hookbench import run
from sim import theory
from sim.animation.storyboard import storyboard
from sim.engine import simulate
from sim.errors import HookbenchError, InputError
from sim.lessons import cli, widgets
from sim.lessons.experiments import compared, over_time, varied
from sim.lessons.figures import Scale, bars, curves
from sim.lessons.slides import slides, with_mathml
from sim.scenario import Scenario, load_scenario


def small() -> Scenario:
    return load_scenario("shop-orders").with_values(
        **{"receiver.outages": [], "run.duration_s": 2000.0, "run.drain_s": 60.0}
    )


# --- experiments -----------------------------------------------------------------------------------


def test_one_parameter_varied_is_the_engine_s_own_result() -> None:
    found = varied(
        small(), "polling.interval_s=5,30", "latency_mean_s", ["webhook", "polling"], replications=3
    )
    assert list(found.columns) == ["polling.interval_s", "mechanism", "value", "low", "high"]
    assert len(found) == 4
    direct = simulate(small().with_values(**{"polling.interval_s": 5.0}), ["polling"], replications=3)
    row = found[(found["mechanism"] == "polling") & (found["polling.interval_s"] == 5)].iloc[0]
    assert row["value"] == direct.estimates()["polling"]["latency_mean_s"].mean
    assert row["low"] < row["value"] < row["high"]


def test_cases_are_compared_on_the_same_draws() -> None:
    found = compared({"a": small(), "b": small()}, ["latency_mean_s", "missed_ratio"], ["polling"])
    assert found["case"].tolist() == ["a", "b"]
    assert found["latency_mean_s"].nunique() == 1
    assert found["missed_ratio"].isna().all(), "events are not last values: there is no such metric"


def test_cases_over_time_bear_their_names() -> None:
    series = over_time({"as it is": small(), "again": small()})
    assert list(dict.fromkeys(series["mechanism"])) == ["as it is", "again"]


# --- figures ---------------------------------------------------------------------------------------

TABLE = pd.DataFrame(
    {"x": [1.0, 2.0, 1.0, 2.0], "y": [0.1, 0.2, 0.5, 0.9], "what": ["one", "one", "two", "two"]}
)


def texts(figure: object) -> list[str]:
    return [text.get_text() for axes in figure.axes for text in axes.texts]  # type: ignore[attr-defined]


def test_curves_carry_their_names_and_the_finding() -> None:
    figure = curves(TABLE, Scale("x", "across"), Scale("y", "up", "share"), "what", title="What was found")
    assert {"one", "two"} <= set(texts(figure))
    (axes,) = figure.axes
    assert axes.get_title(loc="left") == "What was found"
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("across", "up")
    assert axes.get_ylim()[1] <= 1.03
    assert axes.get_legend() is None


def test_theory_s_line_stands_in_for_the_join_of_the_points() -> None:
    alone = curves(TABLE, Scale("x", "x"), Scale("y", "y"), "what", title="t")
    held = curves(
        TABLE, Scale("x", "x"), Scale("y", "y"), "what", title="t", theory={"one": lambda x: x / 10}
    )
    assert "points: simulated; lines: theory" in texts(held)
    assert "points: simulated; lines: theory" not in texts(alone)
    (line, *_) = held.axes[0].lines
    np.testing.assert_allclose(line.get_ydata(), np.asarray(line.get_xdata()) / 10)


def test_names_at_the_ends_do_not_cover_each_other() -> None:
    close = pd.DataFrame(
        {"x": [1.0] * 6, "y": [0.50, 0.501, 0.502, 0.503, 0.504, 0.505], "what": list("abcdef")}
    )
    figure = curves(close, Scale("x", "x"), Scale("y", "y"), "what", title="t")
    heights = sorted(text.xy[1] for text in figure.axes[0].texts if text.get_text() in "abcdef")
    assert min(np.diff(heights)) > 0.055


@pytest.mark.parametrize("log", [True, False])
def test_times_are_written_as_people_say_them(log: bool) -> None:
    table = pd.DataFrame({"x": [0.05, 600.0], "y": [1.0, 2.0], "what": ["a", "a"]})
    figure = curves(table, Scale("x", "x", "time", log=log), Scale("y", "y"), "what", title="t")
    figure.canvas.draw()
    low, high = figure.axes[0].get_xlim()
    labels = [
        label.get_text()
        for label in figure.axes[0].get_xticklabels()
        if low <= label.get_position()[0] <= high
    ]
    assert len(labels) >= 4
    assert all(re.fullmatch(r"0|[\d.]+ (ms|s|min|h)", label) for label in labels), labels
    if not log:
        assert {label.split()[-1] for label in labels} == {"0", "min"}, "one unit along one axis"


def test_bars_say_their_numbers_and_what_is_unknown() -> None:
    table = pd.DataFrame({"name": ["a", "b"], "value": [0.25, float("nan")]})
    figure = bars(table, "name", "value", title="t", label="share", kind="share")
    assert [text.strip() for text in texts(figure)] == ["25 %", "unknown"]


@pytest.mark.parametrize("table", [TABLE.drop(columns="y"), TABLE.iloc[:0]])
def test_a_figure_of_nothing_is_refused(table: pd.DataFrame) -> None:
    with pytest.raises(ValueError, match="the table lacks"):
        curves(table, Scale("x", "x"), Scale("y", "y"), "what", title="t")
    with pytest.raises(ValueError, match="the table lacks"):
        bars(table, "what", "y", title="t", label="l")


# --- widgets ---------------------------------------------------------------------------------------


def test_without_anybody_there_the_static_twin_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[object] = []
    monkeypatch.setattr("IPython.display.display", shown.append)
    assert not widgets.somebody_is_there()
    widgets.explore(lambda value: f"drawn {value}", "T", [1, 2, 3, 4, 5])
    assert [each for each in shown if isinstance(each, str)] == ["drawn 1", "drawn 3", "drawn 5"]
    assert [each.data for each in shown if hasattr(each, "data")] == ["**T = 1**", "**T = 3**", "**T = 5**"]


def test_with_somebody_there_a_slider_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[object] = []
    drawn: list[int] = []
    monkeypatch.setattr(widgets, "somebody_is_there", lambda: True)
    monkeypatch.setattr("IPython.display.display", lambda *each: shown.extend(each))
    widgets.explore(drawn.append, "T", [1, 2, 3])
    (slider,) = [each for each in shown if hasattr(each, "options")]
    slider.value = 3
    assert drawn == [2, 3]


def test_the_animated_picture_stands_in_a_frame_of_its_own() -> None:
    html = widgets.played(storyboard(load_scenario("doorbell"), ["webhook"], 2)).data
    assert html.count("<iframe") == 1
    assert 'sandbox="allow-scripts"' in html
    assert "<script>" not in html, "the page is quoted in an attribute"


# --- slides ----------------------------------------------------------------------------------------


def test_formulas_become_mathml_and_code_does_not() -> None:
    text = with_mathml("Late by $T/2$, or `$HOME`, or\n$$ T^* = \\sqrt{2c} $$\n, and 5 $ or 6 $ in coin")
    assert text.count("<math") == 2
    assert "`$HOME`" in text
    assert 'display="block"' in text
    assert "5 $ or 6 $" in text
    assert "*" not in re.sub(r"<[^>]*>", "", text)


def test_slides_are_one_file_without_code_or_solutions(tmp_path: Path) -> None:
    notebook = nbformat.v4.new_notebook()
    slide = {"slideshow": {"slide_type": "slide"}}
    question = nbformat.v4.new_markdown_cell("# A question: $x^2$?", metadata=slide)
    figure = nbformat.v4.new_code_cell("secret_code()", execution_count=1, metadata=slide)
    figure.outputs = [nbformat.v4.new_output("stream", text="what came of it")]
    solved = nbformat.v4.new_code_cell("42", execution_count=2, metadata={"tags": ["solution"]})
    solved.outputs = [nbformat.v4.new_output("stream", text="the solution")]
    notebook.cells = [question, figure, solved]
    path = tmp_path / "talk.ipynb"
    nbformat.write(notebook, path)
    page = slides(path)
    assert "A question" in page
    assert "what came of it" in page
    assert "secret_code" not in page
    assert "the solution" not in page
    assert not re.search(r"<(script|link|img)[^>]*(src|href)=[\"']?https?:", page)
    figure.execution_count = None
    nbformat.write(notebook, path)
    with pytest.raises(InputError, match=r"talk.ipynb was not executed: run `make notebooks`"):
        slides(path)


# --- hookbench notebooks -----------------------------------------------------------------------------


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    commands: list[list[str]] = []

    class Done:
        returncode = 0

    def start(command: list[str], *, check: bool) -> Done:
        commands.append(command)
        return Done()

    monkeypatch.setattr("sim.lessons.cli.subprocess.run", start)
    return commands


def test_lessons_open_in_this_interpreter(started: list[list[str]]) -> None:
    assert run(["notebooks", "2", "--no-browser"]) == 0
    (command,) = started
    assert command[:3] == [sys.executable, "-m", "jupyterlab"]
    assert Path(command[3]).name.startswith("02_")
    assert command[4:] == ["--no-browser"]


def test_lessons_are_listed_by_their_titles(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["notebooks", "--list"]) == 0
    assert "01  Doorbell or peephole?" in capsys.readouterr().out.splitlines()


def test_an_unknown_lesson_is_one_line(capsys: pytest.CaptureFixture[str], started: list[list[str]]) -> None:
    assert run(["notebooks", "99"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "no lesson is called '99'; lessons: 01_doorbell_or_peephole" in line
    assert started == []


def test_without_jupyter_one_line_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli, "find_spec", lambda name: None if name == "jupyterlab" else object())
    with pytest.raises(HookbenchError, match=r"need jupyterlab, .*pip install 'hookbench\[notebooks\]'"):
        cli.require_jupyter()


def test_outside_a_checkout_one_line_says_where_the_lessons_are(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(cli, "FOLDER", tmp_path / "nowhere")
    with pytest.raises(InputError, match="the lessons are in hookbench's repository"):
        cli.lessons()


def test_the_long_poll_of_lesson_five_is_the_theory_s() -> None:
    """The numbers of the first exercise."""
    chat = theory.LongPoll(rate_per_s=1 / 120, one_way_s=0.05, hold_s=60.0)
    assert round(50_000 * chat.requests_per_s, -1) == 1060
    assert round(chat.empty_ratio, 2) == 0.61
