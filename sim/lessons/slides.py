"""``python -m sim.lessons.slides``: every lesson as a talk, one file each, which needs no network.

nbconvert makes the slides from what the notebooks say of their cells; reveal.js plays them, out of the wheel
`sphinx-revealjs` that carries it; formulas become MathML, which browsers draw themselves. Code and solutions
stay in the notebook: a slide shows the question, the prediction, the figure, the explanation.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from sim.errors import HookbenchError, InputError

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"
OUT = Path("build/slides")
CODE_SHOWN = "code"
"""The tag of a code cell whose source is on the slide too."""

_NO_CODE = "no-code"
_LEFT_OUT = ("solution", "not-on-slides")
_TEMPLATES = Path(__file__).parent / "templates"
_FORMULA = re.compile(
    r"\$\$(?P<display>.+?)\$\$|(?<![\\$\w])\$(?P<inline>[^$\n](?:[^$]*?[^$\s])?)\$(?!\w)", re.DOTALL
)
_CODE = re.compile(r"(```.*?```|`[^`]*`)", re.DOTALL)


def slides(notebook: Path) -> str:
    """A committed notebook as one HTML page of slides.

    Raises:
        InputError: it is not there, or was not executed.
        HookbenchError: what makes slides is not installed.
    """
    try:
        import nbformat  # noqa: PLC0415
        from nbconvert import SlidesExporter  # noqa: PLC0415
        from traitlets.config import Config  # noqa: PLC0415

        player = _player()
    except ModuleNotFoundError as error:
        raise HookbenchError(f"slides need {error.name}: pip install 'hookbench[dev]'") from None
    if not notebook.is_file():
        raise InputError(f"there is no notebook {notebook}")
    document = nbformat.read(notebook, as_version=4)  # type: ignore[no-untyped-call]
    document.cells = [cell for cell in document.cells if not _tags(cell) & set(_LEFT_OUT)]
    for cell in document.cells:
        if cell.cell_type == "markdown":
            cell.source = with_mathml(cell.source)
        elif cell.execution_count is None:
            raise InputError(f"{notebook.name} was not executed: run `make notebooks`")
        elif CODE_SHOWN not in _tags(cell):
            cell.metadata["tags"] = [*_tags(cell), _NO_CODE]
    config = Config({"TagRemovePreprocessor": {"enabled": True, "remove_input_tags": [_NO_CODE]}})
    exporter = SlidesExporter(config, template_name="slides", extra_template_basedirs=[str(_TEMPLATES)])  # type: ignore[no-untyped-call]
    title = document.cells[0].source.partition("\n")[0].lstrip("# ")
    page, _ = exporter.from_notebook_node(document, {"player": player | {"title": title}})
    return str(page)


def with_mathml(markdown: str) -> str:
    """Markdown with its LaTeX formulas as MathML, but for what is code."""
    parts = _CODE.split(markdown)
    return "".join(part if place % 2 else _FORMULA.sub(_mathml, part) for place, part in enumerate(parts))


def _mathml(found: re.Match[str]) -> str:
    from latex2mathml.converter import convert  # noqa: PLC0415

    display = found["display"]
    formula: str = convert(
        (display or found["inline"]).strip(), display="block" if display is not None else "inline"
    )
    # Nothing that Markdown would take for its own.
    return formula.replace("*", "&#x2217;").replace("_", "&#x5F;").replace("\n", " ")


def _tags(cell: Any) -> set[str]:
    return set(cell.metadata.get("tags", ()))


def _player() -> dict[str, str]:
    base = resources.files("sphinx_revealjs").joinpath("_static", "revealjs")

    def text(*path: str) -> str:
        return base.joinpath(*path).read_text(encoding="utf-8")

    return {
        "reveal_css": text("dist", "reveal.css"),
        "theme_css": re.sub(r"@import[^;]*;", "", text("dist", "theme", "white.css")),
        "reveal_js": text("dist", "reveal.js"),
        "notes_js": text("plugin", "notes", "notes.js"),
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Write the slides of every lesson; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m sim.lessons.slides", allow_abbrev=False)
    parser.add_argument("notebooks", nargs="*", type=Path, help="notebooks (default: all lessons)")
    parser.add_argument("--out", type=Path, default=OUT, help="where the pages go (default: build/slides)")
    asked = parser.parse_args(argv)
    try:
        asked.out.mkdir(parents=True, exist_ok=True)
        for notebook in asked.notebooks or sorted(NOTEBOOKS.glob("*.ipynb")):
            page = asked.out / f"{notebook.stem}.html"
            page.write_text(slides(notebook), encoding="utf-8")
            sys.stdout.write(f"{page} ({page.stat().st_size / 1e6:.1f} MB)\n")
    except HookbenchError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
