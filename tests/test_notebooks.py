"""Protects the lessons: each runs from top to bottom, and what is committed is what its source says.

Each is made as a lesson should be: one question, a prediction before each figure, folded solutions, a static
twin for its slider, and slides that need no network.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import jupytext
import nbformat
import pytest

from sim.lessons.slides import slides
from tests.loadtest.browsers import chromium

NOTEBOOKS = Path(__file__).parents[1] / "notebooks"
LESSONS = sorted(NOTEBOOKS.glob("*.py"))


def test_there_are_lessons() -> None:
    assert LESSONS
    assert {path.stem for path in LESSONS} == {path.stem for path in NOTEBOOKS.glob("*.ipynb")}


@pytest.mark.parametrize("lesson", LESSONS, ids=lambda path: path.stem)
def test_the_committed_notebook_is_its_source_executed(lesson: Path) -> None:
    source = jupytext.read(lesson)
    committed = nbformat.read(lesson.with_suffix(".ipynb"), as_version=4)
    pairs = [[(cell.cell_type, cell.source) for cell in notebook.cells] for notebook in (source, committed)]
    assert pairs[0] == pairs[1], f"run `make notebooks`: {lesson.name} has changed since"
    for cell in committed.cells:
        if cell.cell_type == "code":
            assert cell.execution_count is not None
            assert [output for output in cell.outputs if output.output_type == "error"] == []


@pytest.mark.parametrize("lesson", LESSONS, ids=lambda path: path.stem)
def test_a_lesson_runs(lesson: Path, tmp_path: Path) -> None:
    """In a process of its own: a kernel brings its own event loop and warnings."""
    executed = tmp_path / "executed.ipynb"
    command = ["jupytext", "--to", "ipynb", "--execute", "--output", str(executed), str(lesson)]
    answer = subprocess.run(
        [sys.executable, "-m", *command], capture_output=True, text=True, timeout=600, check=False
    )
    assert answer.returncode == 0, answer.stderr
    pictures = [
        output
        for cell in nbformat.read(executed, as_version=4).cells
        if cell.cell_type == "code"
        for output in cell.outputs
        if "image/png" in output.get("data", {})
    ]
    assert pictures, "a lesson shows pictures"


@pytest.mark.parametrize("lesson", LESSONS, ids=lambda path: path.stem)
def test_a_lesson_holds_no_model_and_no_plotting(lesson: Path) -> None:
    text = lesson.read_text(encoding="utf-8")
    assert not re.search(r"^(import|from) (matplotlib|simpy|scipy|numba)", text, re.MULTILINE)
    assert "plt." not in text


def committed(lesson: Path) -> list[nbformat.NotebookNode]:
    return list(nbformat.read(lesson.with_suffix(".ipynb"), as_version=4).cells)


def has_picture(cell: nbformat.NotebookNode) -> bool:
    return cell.cell_type == "code" and any(
        "image/png" in output.get("data", {}) for output in cell.get("outputs", ())
    )


@pytest.mark.parametrize("lesson", LESSONS, ids=lambda path: path.stem)
def test_a_lesson_asks_one_question_and_ends_with_a_parameter_to_change(lesson: Path) -> None:
    cells = committed(lesson)
    words = [cell.source for cell in cells if cell.cell_type == "markdown"]
    assert words[0].startswith("# ")
    assert words[0].count("**One question:**") == 1
    assert sum(bool(re.search(r"^# ", text, re.MULTILINE)) for text in words) == 1, "one title"
    assert "## Change this parameter" in words[-1]
    assert cells[-1].cell_type == "code"


@pytest.mark.parametrize("lesson", LESSONS, ids=lambda path: path.stem)
def test_a_prediction_is_asked_before_each_figure(lesson: Path) -> None:
    """Each figure has a prediction of its own, but for those to be made with one's own parameter."""
    asked = False
    for cell in committed(lesson):
        if cell.cell_type == "markdown":
            if "## Change this parameter" in cell.source:
                return
            asked = asked or "**Predict first.**" in cell.source
            if re.search(r"^## ", cell.source, re.MULTILINE) and "**Predict first.**" not in cell.source:
                asked = False
        elif has_picture(cell) and "solution" not in cell.metadata.get("tags", ()):
            assert asked, f"nothing was asked before the figure of: {cell.source[:80]}"


@pytest.mark.parametrize("lesson", LESSONS, ids=lambda path: path.stem)
def test_exercises_have_folded_solutions(lesson: Path) -> None:
    (exercises,) = [
        cell.source
        for cell in committed(lesson)
        if cell.cell_type == "markdown" and "## Exercises" in cell.source
    ]
    questions = re.findall(r"^\*\*(\d)\.\*\*", exercises, re.MULTILINE)
    assert len(questions) >= 3
    folded = re.findall(r"<details><summary>Solution</summary>\n.+?\n</details>", exercises, re.DOTALL)
    assert len(folded) == len(questions)
    assert not any("\n\n" in each for each in folded), "a blank line ends the fold in some viewers"
    for cell in committed(lesson):
        if "solution" in cell.metadata.get("tags", ()):
            assert cell.metadata["jupyter"]["source_hidden"] is True


@pytest.mark.parametrize("lesson", LESSONS, ids=lambda path: path.stem)
def test_a_slider_has_its_static_twin(lesson: Path) -> None:
    (slider,) = [
        cell for cell in committed(lesson) if cell.cell_type == "code" and "\nexplore(" in cell.source
    ]
    assert sum("image/png" in output.get("data", {}) for output in slider.outputs) >= 3


@pytest.mark.parametrize("lesson", LESSONS, ids=lambda path: path.stem)
def test_every_cell_has_its_place_on_the_slides(lesson: Path) -> None:
    for cell in committed(lesson):
        kind = cell.metadata.get("slideshow", {}).get("slide_type")
        assert kind in {"slide", "subslide", "fragment", "skip"}, cell.source[:80]


def test_slides_fit_and_ask_for_nothing(tmp_path: Path) -> None:
    """Every lesson's talk, in a real browser: no request, no error, and no slide beyond its frame."""
    with chromium() as browser:
        for lesson in LESSONS:
            path = tmp_path / f"{lesson.stem}.html"
            path.write_text(slides(lesson.with_suffix(".ipynb")), encoding="utf-8")
            page = browser.new_page(viewport={"width": 1100, "height": 720})
            wrong: list[str] = []
            page.on("pageerror", lambda error, wrong=wrong: wrong.append(str(error)))
            page.on(
                "request",
                lambda asked, wrong=wrong: (
                    None if asked.url.startswith(("file:", "data:", "about:")) else wrong.append(asked.url)
                ),
            )
            page.goto(path.as_uri())
            page.wait_for_function("window.Reveal && Reveal.isReady()")
            heights = page.evaluate(
                "Reveal.getSlides().map(slide => { const at = Reveal.getIndices(slide);"
                " Reveal.slide(at.h, at.v, 99); return [at.h, at.v, slide.scrollHeight] })"
            )
            page.close()
            assert wrong == []
            assert len(heights) > 10
            assert [place for place in heights if place[2] > 720] == [], lesson.stem
