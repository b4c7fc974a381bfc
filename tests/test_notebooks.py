"""Protects the lessons: each runs from top to bottom, and what is committed is what its source says."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import jupytext
import nbformat
import pytest

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
        [sys.executable, "-m", *command], capture_output=True, text=True, timeout=120, check=False
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
    assert not {"import matplotlib", "import simpy", "from matplotlib", "from simpy"} & set(text.splitlines())
    assert "plt." not in text
