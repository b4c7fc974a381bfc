"""The pages of the site that the program writes itself: commands, scenario files, mechanisms, presets."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import click
import typer

import hookbench
from sim.catalogue import MECHANISMS
from sim.scenario.listing import overview
from sim.scenario.reference import scenario_reference

SHOW = "`hookbench scenarios show NAME` prints one, with the source of each of its values."


def write_reference(folder: Path) -> None:
    """Write every page into `folder`, leaving those alone that have not changed."""
    folder.mkdir(exist_ok=True)
    pages = {
        "commands.md": "\n".join(_commands()),
        "scenario.md": scenario_reference(),
        "mechanisms.md": "\n".join(_mechanisms()),
        "presets.md": f"# Presets\n\n{SHOW}\n\n```text\n{overview()}\n```\n",
    }
    for name, text in pages.items():
        path = folder / name
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")


def _commands() -> Iterator[str]:
    yield "# Commands\n"
    yield "Exit codes: 0 good, 2 bad input, 3 void run, 4 threshold not met, 130 interrupted.\n"
    group: Any = typer.main.get_command(hookbench.app)
    context = click.Context(group, info_name="hookbench")
    yield from _of_group(group, context, "hookbench")


def _of_group(group: Any, context: Any, path: str) -> Iterator[str]:
    for name in sorted(group.list_commands(context)):
        command = group.get_command(context, name)
        if hasattr(command, "list_commands"):
            yield from _of_group(command, context, f"{path} {name}")
        else:
            yield from _command(command, f"{path} {name}")


def _command(command: Any, path: str) -> Iterator[str]:
    arguments = [p for p in command.params if p.param_type_name == "argument"]
    options = [p for p in command.params if p.param_type_name == "option" and p.name != "help"]
    words = " ".join(p.metavar or (p.name or "").upper() for p in arguments)
    yield f"## {path}\n"
    yield f"```text\n{' '.join(filter(None, (path, words, '[OPTIONS]' if options else '')))}\n```\n"
    yield inspect.cleandoc(command.help or "") + "\n"
    if not options:
        return
    yield "| option | |"
    yield "|---|---|"
    for option in options:
        names = ", ".join(f"`{name}`" for name in option.opts)
        value = "" if option.is_flag else f" {option.metavar or 'VALUE'}"
        yield f"| {names}{value} | {_cell(option.help or '')} |"
    yield ""


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")


def _mechanisms() -> Iterator[str]:
    """Each model's own docstring, which is written to be read in class."""
    yield "# Mechanisms\n"
    for name, mechanism in MECHANISMS.items():
        module = mechanism.model.partition(":")[0]
        yield f"## {name}\n"
        yield f"*{mechanism.title}* — `{module.replace('.', '/')}.py`\n"
        yield f"```text\n{inspect.getdoc(import_module(module))}\n```\n"
