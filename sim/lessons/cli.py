"""``hookbench notebooks``: the lessons, opened where everything they need is installed."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from sim.errors import HookbenchError, InputError

FOLDER = Path(__file__).parents[2] / "notebooks"

_NEEDED = ("jupyterlab", "ipykernel", "ipywidgets")


def notebooks(
    lesson: Annotated[
        str | None,
        typer.Argument(help="A lesson's number or name; all of them if left out.", metavar="LESSON"),
    ] = None,
    browser: Annotated[
        bool, typer.Option("--browser/--no-browser", help="Open a browser, or only print the address.")
    ] = True,
    only_list: Annotated[bool, typer.Option("--list", help="List the lessons and leave.")] = False,
) -> None:
    """Open the lessons in JupyterLab, with this interpreter: what works here works there.

    In VS Code, open the folder `notebooks` and choose the same interpreter as the kernel.
    """
    if only_list:
        for each in lessons():
            typer.echo(f"{each.stem.partition('_')[0]}  {title_of(each)}")
        return
    place = find(lesson) if lesson is not None else folder()
    require_jupyter()
    command = [sys.executable, "-m", "jupyterlab", str(place)]
    try:
        status = subprocess.run(command if browser else [*command, "--no-browser"], check=False).returncode
    except KeyboardInterrupt:
        status = 0  # Ctrl-C is how one leaves JupyterLab
    raise typer.Exit(status)


def folder() -> Path:
    """Where the lessons are.

    Raises:
        InputError: not in this installation, which is no checkout.
    """
    if not FOLDER.is_dir():
        raise InputError(
            f"the lessons are in hookbench's repository, and {FOLDER} is not there: clone it, and install it "
            "with pip install --editable '.[notebooks]'"
        )
    return FOLDER


def lessons() -> list[Path]:
    """Every lesson's notebook, in the order in which they are taught."""
    return sorted(folder().glob("*.ipynb"))


def find(name: str) -> Path:
    """The lesson of this number or name.

    Raises:
        InputError: there is none; the message names those there are.
    """
    every = lessons()
    for each in every:
        number = each.stem.partition("_")[0]
        if name in (each.stem, each.name, number, number.lstrip("0")):
            return each
    raise InputError(f"no lesson is called {name!r}; lessons: {', '.join(each.stem for each in every)}")


def title_of(notebook: Path) -> str:
    """A lesson's title: the first heading of its source."""
    for line in notebook.with_suffix(".py").read_text(encoding="utf-8").splitlines():
        if line.startswith("# # "):
            return line.removeprefix("# # ")
    return notebook.stem


def require_jupyter() -> None:
    """Make sure that JupyterLab can run the lessons.

    Raises:
        HookbenchError: something is not installed; the message says what and how to get it.
    """
    missing = [name for name in _NEEDED if find_spec(name) is None]
    if missing:
        raise HookbenchError(
            f"the lessons need {', '.join(missing)}, which this Python ({sys.executable}) does not have: "
            "pip install 'hookbench[notebooks]'"
        )
