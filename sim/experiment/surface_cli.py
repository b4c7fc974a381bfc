"""``hookbench surface``."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sim.experiment.cli import JOURNAL, MAX_SHOWN, ExecutorOption, OutOption, command_line, plain_rows, short

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sim.experiment.axes import Axis
    from sim.experiment.surface import Surface
    from sim.results import RunFolder
    from sim.scenario import Scenario

DEFAULT_PAIR = ("webhook", "polling")
DEFAULT_METRIC = "requests_per_event"
DEFAULT_REPLICATIONS = 10


def surface(
    scenario: Annotated[
        str | None, typer.Argument(help="A preset's name, or the path of a TOML file.", metavar="SCENARIO")
    ] = None,
    between: Annotated[
        tuple[str, str] | None,
        typer.Option(help="The two mechanisms.  [default: webhook polling]", metavar="MECH MECH"),
    ] = None,
    over: Annotated[
        list[str] | None,
        typer.Option(
            help="KEY=1,5,30 or KEY=LOW:HIGH:lin9 or KEY=LOW:HIGH:log9; given twice, rows first.  [default: "
            "polling.interval_s and workload.rate_per_s, around the scenario's own values]",
            metavar="AXIS",
        ),
    ] = None,
    metric: Annotated[
        str | None,
        typer.Option(help=f"On which they are compared.  [default: {DEFAULT_METRIC}]", metavar="METRIC"),
    ] = None,
    replications: Annotated[
        int | None,
        typer.Option(
            help=f"At each design point, two or more.  [default: {DEFAULT_REPLICATIONS}]", metavar="N"
        ),
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Fixes every draw.  [default: 1]", metavar="N")] = None,
    executor: ExecutorOption = "processes",
    resume: Annotated[
        Path | None,
        typer.Option(help="Go on with a surface that was stopped, in its run folder.", metavar="RUN"),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON document instead of tables.")
    ] = False,
    out: OutOption = None,
) -> None:
    """Find which of two mechanisms is better where, over two parameters, and the break-even line.

    The run folder holds `surface.csv` and `surface.parquet` (a row a cell: the difference, its 95 % interval,
    the winner), `break_even.csv` (the line, a row a column), `sweep.parquet` (every metric of every run) and
    a figure. A surface that was stopped goes on with --resume.

    Example: hookbench surface shop-orders --metric bytes_per_event
    """
    from sim.errors import InputError

    if resume is not None:
        if any(given is not None for given in (scenario, between, over, metric, replications, seed)):
            raise InputError("--resume takes everything but --executor from the run folder; give no more")
        found, path = _resumed(resume, executor)
    else:
        if scenario is None:
            raise InputError("a surface needs a SCENARIO, or --resume RUN")
        found, path = run_surface(
            scenario, between or DEFAULT_PAIR, over or [], metric or DEFAULT_METRIC,
            DEFAULT_REPLICATIONS if replications is None else replications, 1 if seed is None else seed,
            executor, out,
        )  # fmt: skip
    if as_json:
        sys.stdout.write(json.dumps(_document(found, path), allow_nan=False) + "\n")
        return
    show_surface(found)
    typer.echo(f"run folder: {path}")


def run_surface(
    scenario: str,
    between: tuple[str, str],
    over: Sequence[str],
    metric: str,
    replications: int,
    seed: int,
    executor: str,
    out: Path | None,
) -> tuple[Surface, Path]:
    """Compare with progress into a new run folder; returns what came of it and where it is."""
    from sim.engine import check
    from sim.experiment.axes import parse_axis
    from sim.experiment.executors import check_executor
    from sim.experiment.plane import check_surface
    from sim.randomness import replication_seed
    from sim.results import RunFolder
    from sim.scenario import load_scenario

    base = load_scenario(scenario)
    check(between, "fast", seed, replications)
    check_executor(executor)
    axes = check_surface(base, [parse_axis(text, "--over") for text in over], metric, replications)
    seeds = [int(replication_seed(seed, r)) for r in range(replications)]
    with RunFolder.create(f"surface-{base.name}", command_line(), out, scenario=base, seeds=seeds) as run:
        run.note(
            between=between,
            over=[{"key": axis.keys[0], "values": [value for (value,) in axis.values]} for axis in axes],
            metric=metric,
            replications=replications,
            seed=seed,
        )
        found = _found(run, base, between, axes, metric, replications, seed, executor)
    return found, run.path


def _resumed(path: Path, executor: str) -> tuple[Surface, Path]:
    from sim.errors import InputError
    from sim.experiment.axes import Axis
    from sim.results import RunFolder, read_run

    before = read_run(path)
    notes, base = before.notes, before.scenario
    if base is None or "over" not in notes or "between" not in notes:
        raise InputError(f"--resume {path}: that run is no surface")
    axes = [Axis((axis["key"],), tuple((value,) for value in axis["values"])) for axis in notes["over"]]
    first, second = notes["between"]
    with RunFolder.reopen(path, command_line()) as run:
        found = _found(
            run, base, (first, second), axes, notes["metric"], notes["replications"], notes["seed"], executor
        )
    return found, path


def _found(
    run: RunFolder,
    base: Scenario,
    between: tuple[str, str],
    axes: Sequence[Axis],
    metric: str,
    replications: int,
    seed: int,
    executor: str,
) -> Surface:
    from sim.experiment.surface import surface as compare
    from sim.figures import break_even_surface
    from sim.terminal import note_compilation, progress

    note_compilation(between)
    with progress(f"comparing on {base.name}") as advance:
        found = compare(
            base, *between, metric, axes, replications=replications, seed=seed, executor=executor,
            journal=run.path / JOURNAL, progress=advance,
        )  # fmt: skip
    run.save_rows(found.table(), "surface")
    run.save_table(found.table(), "surface")
    run.save_table(found.curve_table(), "break_even")
    run.save_rows(found.sweep.rows(), "sweep")
    run.save_figure(break_even_surface(found), "surface")
    run.note(finding=found.sentence())
    return found


def show_surface(found: Surface) -> None:
    """Print who is better where at a glance, and the break-even line."""
    from sim.tables import console, plain_table

    output = console()
    output.print(
        f"{found.sweep.scenario.name}: {found.sentence()}", style="bold", highlight=False,
        soft_wrap=True,
    )  # fmt: skip
    for line in _glance(found):
        output.print(line, highlight=False, markup=False, soft_wrap=True)
    curve = found.curve()
    if curve:
        table = plain_table()
        table.add_column(found.x, justify="right", no_wrap=True)
        table.add_column(f"break-even {found.y}", justify="right", no_wrap=True)
        table.add_column("95 % interval", justify="right", no_wrap=True)
        table.add_column("better below", no_wrap=True)
        for each in curve[:MAX_SHOWN]:
            low = "below the rows" if each.low is None else short(each.low)
            high = "above the rows" if each.high is None else short(each.high)
            table.add_row(short(each.x), short(each.y), f"{low} to {high}", each.better_below)
        output.print(table)
        if len(curve) > MAX_SHOWN:
            output.print(f"… and {len(curve) - MAX_SHOWN} more: break_even.csv in the run folder.")
    output.print(f"{found.sweep.replications} replications of each cell, on the same draws.")


def _glance(found: Surface) -> list[str]:
    """The grid with its axes: rows and columns with their values, or of many columns the ends."""
    letters = found.letters()
    rows = [f"{y:.3g}" for y in reversed(found.ys)]
    columns = [f"{x:.3g}" for x in found.xs]
    margin = max(map(len, rows))
    width = max(map(len, columns)) + 1
    if margin + 2 + width * len(columns) > 96:
        width = 2
        head = f"from {columns[0]} to {columns[-1]}"
    else:
        head = "".join(column.rjust(width) for column in columns)
    lines = [f"{found.y} (rows), {found.x} (columns)", f"{'':{margin}}  {head}"]
    for row, cells in zip(rows, found.grid(), strict=True):
        lines.append(f"{row:>{margin}}  {''.join(cell.rjust(width) for cell in cells.split())}")
    used = {cell for line in found.grid() for cell in line.split()}
    words = {
        "undecided": "cannot be told apart (the 95 % interval of the difference contains 0)",
        "level": "the same",
        "undefined": "undefined",
    }
    shown = [f"{letter} {words.get(name, name)}" for name, letter in letters.items() if letter in used]
    return [*lines, ", ".join(shown)]


def _document(found: Surface, path: Path) -> dict[str, Any]:
    rows = found.table().rename(columns={found.x: "x", found.y: "y"})
    curve = found.curve_table().rename(columns={found.x: "x", found.y: "y"})
    return {
        "schema_version": 1,
        "command": "surface",
        "scenario": found.sweep.scenario.model_dump(mode="json"),
        "seed": found.sweep.seed,
        "replications": found.sweep.replications,
        "a": found.a,
        "b": found.b,
        "metric": found.metric,
        "x": {"key": found.x, "values": list(found.xs)},
        "y": {"key": found.y, "values": list(found.ys)},
        "cells": plain_rows(rows),
        "break_even": plain_rows(curve),
        "finding": found.sentence(),
        "run": str(path),
    }
