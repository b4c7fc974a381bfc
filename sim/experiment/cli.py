"""``hookbench sweep``, and what the other commands of experiments share with it."""

from __future__ import annotations

import json
import math
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sim.catalogue import EVERY, MECHANISMS, named

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    from rich.table import Table

    from sim.experiment import Estimate
    from sim.experiment.sweep import Sweep
    from sim.results import RunFolder
    from sim.scenario import Scenario

DEFAULT_METRICS = ("latency_p95_s", "requests_per_event")
MAX_SHOWN = 60
MAX_REASONS = 4
JOURNAL = "journal.jsonl"

MechanismOption = Annotated[
    list[str] | None,
    typer.Option(
        "-m",
        "--mechanism",
        help=f"{', '.join(MECHANISMS)}, or {EVERY}; repeat for several.  [default: webhook and polling]",
        metavar="MECH",
    ),
]
ExecutorOption = Annotated[
    str,
    typer.Option(
        help="processes, processes:N, threads, threads:N or dask://HOST:PORT (a Dask cluster).",
        metavar="WHERE",
    ),
]
OutOption = Annotated[
    Path | None, typer.Option(help="Where the run folder is made.  [default: results]", metavar="DIR")
]


def sweep(
    scenario: Annotated[
        str | None, typer.Argument(help="A preset's name, or the path of a TOML file.", metavar="SCENARIO")
    ] = None,
    vary: Annotated[
        list[str] | None,
        typer.Option(
            help="KEY=1,5,30 or KEY=LOW:HIGH:lin9 or KEY=LOW:HIGH:log9; several are crossed, "
            "and keys joined by '&' move together.",
            metavar="AXIS",
        ),
    ] = None,
    mechanism: MechanismOption = None,
    replications: Annotated[int, typer.Option(help="At each design point.", metavar="N")] = 10,
    seed: Annotated[int, typer.Option(help="Fixes every draw.", metavar="N")] = 1,
    executor: ExecutorOption = "processes",
    metric: Annotated[
        list[str] | None,
        typer.Option(
            help=f"What the table shows.  [default: {' and '.join(DEFAULT_METRICS)}]", metavar="METRIC"
        ),
    ] = None,
    resume: Annotated[
        Path | None,
        typer.Option(help="Go on with a sweep that was stopped, in its run folder.", metavar="RUN"),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON document instead of a table.")
    ] = False,
    out: OutOption = None,
) -> None:
    """Run a scenario at every combination of some of its values, replicated, under each mechanism.

    The run folder holds `sweep.parquet` and `sweep.csv` (a row a design point, replication, mechanism and
    metric), `summary.csv` (means with 95 % intervals), of the metrics shown `neighbours.csv` (each design
    point against the next along each axis) and `paired.csv` (mechanism against mechanism), both with what
    sharing the draws won, and over one or two axes of numbers a figure of each metric shown. A sweep that was
    stopped goes on with --resume.

    Example: hookbench sweep shop-orders --vary polling.interval_s=1:600:log9 --vary receiver.workers=1,4
    """
    from sim.engine import DEFAULT_MECHANISMS
    from sim.errors import InputError
    from sim.metrics.directions import check_metric

    drawn = metric or list(DEFAULT_METRICS)
    for name in drawn:
        check_metric(name)
    if resume is not None:
        if scenario is not None or vary:
            raise InputError("--resume takes scenario and axes from the run folder; give neither")
        result, path = _resumed(resume, executor, drawn)
    else:
        if scenario is None:
            raise InputError("a sweep needs a SCENARIO, or --resume RUN")
        mechanisms = named(mechanism or DEFAULT_MECHANISMS)
        result, path = run_sweep(scenario, vary or [], mechanisms, replications, seed, executor, out, drawn)
    metrics = _known(result, metric or [m for m in DEFAULT_METRICS if m in result.metrics])
    if as_json:
        sys.stdout.write(json.dumps(_sweep_document(result, metrics, path), allow_nan=False) + "\n")
        return
    show_sweep(result, metrics)
    typer.echo(f"run folder: {path}")


def run_sweep(
    scenario: str,
    vary: list[str],
    mechanisms: list[str],
    replications: int,
    seed: int,
    executor: str,
    out: Path | None,
    metrics: Sequence[str] = DEFAULT_METRICS,
) -> tuple[Sweep, Path]:
    """Sweep with progress into a new run folder; returns what came of it and where it is."""
    from sim.engine import check
    from sim.experiment.axes import design, parse_axis
    from sim.experiment.executors import check_executor
    from sim.randomness import replication_seed
    from sim.results import RunFolder
    from sim.scenario import load_scenario

    base = load_scenario(scenario)
    check(mechanisms, "fast", seed, replications)
    check_executor(executor)
    design(base, [parse_axis(text) for text in vary])  # refused before a folder is made
    seeds = [int(replication_seed(seed, r)) for r in range(replications)]
    with RunFolder.create(f"sweep-{base.name}", command_line(), out, scenario=base, seeds=seeds) as run:
        run.note(vary=vary, mechanisms=mechanisms, replications=replications, seed=seed)
        result = _swept(run, base, vary, mechanisms, replications, seed, executor, metrics)
    return result, run.path


def _resumed(path: Path, executor: str, metrics: Sequence[str]) -> tuple[Sweep, Path]:
    from sim.errors import InputError
    from sim.results import RunFolder, read_run

    before = read_run(path)
    notes, base = before.notes, before.scenario
    if base is None or "vary" not in notes:
        raise InputError(f"--resume {path}: that run is no sweep")
    with RunFolder.reopen(path, command_line()) as run:
        result = _swept(
            run, base, notes["vary"], notes["mechanisms"], notes["replications"], notes["seed"], executor,
            metrics,
        )  # fmt: skip
    return result, path


def _swept(
    run: RunFolder,
    base: Scenario,
    vary: list[str],
    mechanisms: list[str],
    replications: int,
    seed: int,
    executor: str,
    metrics: Sequence[str],
) -> Sweep:
    from sim.experiment.axes import parse_axis
    from sim.experiment.sweep import sweep as carry_out
    from sim.figures.chosen import sweep_figures
    from sim.terminal import note_compilation, progress

    note_compilation(mechanisms)
    with progress(f"sweeping {base.name}") as advance:
        result = carry_out(
            base,
            [parse_axis(text) for text in vary],
            mechanisms,
            replications=replications,
            seed=seed,
            executor=executor,
            journal=run.path / JOURNAL,
            progress=advance,
        )
    rows = result.rows()
    run.save_table(rows, "sweep")
    run.save_rows(rows, "sweep")
    run.save_table(result.summary(), "summary")
    if replications > 1:
        shown = [metric for metric in metrics if metric in result.metrics]
        run.save_table(result.neighbours(shown), "neighbours")
        if len(mechanisms) > 1:
            run.save_table(result.paired(shown), "paired")
    for name, figure in sweep_figures(result, metrics).items():
        run.save_figure(figure, name)
    return result


def command_line() -> str:
    """What was typed, for a run's record."""
    return shlex.join(["hookbench", *sys.argv[1:]])


def _known(result: Sweep, metrics: list[str]) -> list[str]:
    from sim.errors import InputError

    for metric in metrics:
        if metric not in result.metrics:
            raise InputError(f"--metric {metric!r}: known here: {', '.join(result.metrics)}")
    return metrics


def show_sweep(result: Sweep, metrics: list[str]) -> None:
    """Print a table a metric: a row a design point, a column a mechanism."""
    from sim.tables import console, estimate_text, intervals_note, plain_table

    output = console()
    shown: dict[str, dict[str, Estimate]] = {}
    keys = [key for axis in result.axes for key in axis.keys]
    output.print(f"{result.scenario.name}: {len(result.points)} design points", style="bold", highlight=False)
    for metric in metrics:
        table: Table = plain_table()
        for key in keys:
            table.add_column(key.replace(".", ".\n"), justify="right", no_wrap=True)
        for mechanism in result.mechanisms:
            table.add_column(f"{metric}\n{mechanism}", justify="right", no_wrap=True)
        for number, point in enumerate(result.points[:MAX_SHOWN]):
            estimates = [result.estimate(number, mechanism, metric) for mechanism in result.mechanisms]
            shown[f"{metric} at {number}"] = dict(zip(result.mechanisms, estimates, strict=True))
            cells = [estimate_text(e, metric) for e in estimates]
            table.add_row(*(short(point[key]) for key in keys), *cells)
        output.print(table)
    if len(result.points) > MAX_SHOWN:
        output.print(f"… and {len(result.points) - MAX_SHOWN} more: summary.csv in the run folder.")
    if result.replications > 1:
        output.print(f"{intervals_note(shown, result.replications)} All on the same draws.", highlight=False)
        for line in neighbours_told(result, metrics):
            output.print(line, highlight=False)


def short(value: object) -> str:
    """A value of an axis, in four digits at most."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _sweep_document(result: Sweep, metrics: list[str], path: Path) -> dict[str, Any]:
    summary: pd.DataFrame = result.summary()
    return {
        "schema_version": 1,
        "command": "sweep",
        "scenario": result.scenario.model_dump(mode="json"),
        "seed": result.seed,
        "replications": result.replications,
        "axes": [{"keys": list(axis.keys), "values": [list(v) for v in axis.values]} for axis in result.axes],
        "results": plain_rows(summary[summary.metric.isin(metrics)]),
        "neighbours": plain_rows(result.neighbours(metrics)) if result.replications > 1 else [],
        "paired": plain_rows(result.paired(metrics)) if result.replications > 1 else [],
        "run": str(path),
    }


def neighbours_told(result: Sweep, metrics: list[str]) -> list[str]:
    """What sharing the draws won between neighbours, a line a mechanism; where it is little, why."""
    from sim.experiment.pairs import spans, why_little

    pairs = list(result.neighbouring(metrics))
    lines, little = [], []
    for mechanism in result.mechanisms:
        of_it = {metric: [each for each in pairs if each.is_of(mechanism, metric)] for metric in metrics}
        if told := spans({m: [each.pairing.narrower for each in those] for m, those in of_it.items()}):
            lines.append(f"Times narrower than unpaired, between neighbours, {mechanism}: {told}.")
        for metric, those in of_it.items():
            whys = [(each, why_little(metric, each.a, each.b, each.pairing)) for each in those]
            if found := [(each, why) for each, why in whys if why is not None]:
                each, why = found[0]
                little.append(
                    f"Pairing cannot help {mechanism}'s {metric} in {len(found)} of {len(those)} such pairs, "
                    f"as from {each.first} to {each.second}: {why}."
                )
    return lines + little[:MAX_REASONS]


def plain_rows(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows in JSON's own types; NaN and infinity, which it has not, become null."""
    return [
        {
            str(key): None if isinstance(value, float) and not math.isfinite(value) else value
            for key, value in row.items()
        }
        for row in frame.to_dict("records")
    ]
