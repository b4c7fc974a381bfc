"""``hookbench warmup``."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sim.catalogue import named
from sim.experiment.cli import MechanismOption, OutOption, command_line

if TYPE_CHECKING:
    from sim.experiment.warmup import WarmUp


def warmup(
    scenario: Annotated[
        str, typer.Argument(help="A preset's name, or the path of a TOML file.", metavar="SCENARIO")
    ],
    mechanism: MechanismOption = None,
    metric: Annotated[
        str, typer.Option(help="Where it is looked for: latency or backlog.", metavar="METRIC")
    ] = "latency",
    replications: Annotated[
        int, typer.Option(help="Averaged, so that the beginning stands out.", metavar="N")
    ] = 10,
    seed: Annotated[int, typer.Option(help="Fixes every draw.", metavar="N")] = 1,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON document instead of a table.")
    ] = False,
    out: OutOption = None,
) -> None:
    """Say how much of a run's beginning to cut: `run.warmup_s` by the rule MSER-5, with Welch's plot.

    The run folder holds `warmup.csv` (each mechanism's series) and `warmup.png`.

    Example: hookbench warmup shop-orders --metric backlog
    """
    from sim.engine import DEFAULT_MECHANISMS

    mechanisms = named(mechanism or DEFAULT_MECHANISMS)
    found, path = run_warmup(scenario, mechanisms, metric, replications, seed, out)
    if as_json:
        sys.stdout.write(json.dumps(_document(found, path), allow_nan=False) + "\n")
        return
    show(found)
    typer.echo(f"run folder: {path}")


def run_warmup(
    scenario: str, mechanisms: list[str], metric: str, replications: int, seed: int, out: Path | None
) -> tuple[WarmUp, Path]:
    """Look for the warm-up with progress, and write the run folder; returns the finding and where it is."""
    from sim.engine import check
    from sim.experiment.figures import settling
    from sim.experiment.warmup import metric_called, warm_up
    from sim.randomness import replication_seed
    from sim.results import RunFolder
    from sim.scenario import load_scenario
    from sim.terminal import interruptible, note_compilation, progress

    base, chosen = load_scenario(scenario), metric_called(metric)
    check(mechanisms, "fast", seed, replications)
    note_compilation(mechanisms)
    seeds = [int(replication_seed(seed, r)) for r in range(replications)]
    with RunFolder.create(f"warmup-{base.name}", command_line(), out, scenario=base, seeds=seeds) as run:
        with progress(f"warming up {base.name}") as advance:
            found = interruptible(
                lambda: warm_up(
                    base, mechanisms, metric=chosen, replications=replications, seed=seed, progress=advance
                )
            )
        run.save_table(found.series(), "warmup")
        run.save_figure(settling(found), "warmup")
        run.note(warmup=_document(found, run.path), replications=replications, seed=seed)
    return found, run.path


def show(found: WarmUp) -> None:
    """Print what to cut for each mechanism, and what that does to the mean."""
    from sim.experiment.estimates import Estimate
    from sim.tables import console, estimate_text, plain_table

    unit = "latency_mean_s" if found.metric == "latency" else "backlog"
    end_s = found.scenario.run.duration_s
    output, table = console(), plain_table()
    output.print(f"{found.scenario.name}: how it warms up, by {found.metric}", style="bold", highlight=False)
    table.add_column("mechanism", no_wrap=True)
    for head in ("run.warmup_s", "of the run", "mean with it", "without"):
        table.add_column(head, justify="right", no_wrap=True)
    for each in found.settlings:
        means = [
            "–" if mean is None else estimate_text(Estimate(mean, None, None), unit)
            for mean in (each.mean, each.mean_after)
        ]
        cut_s = each.warmup_s
        told = ("none", "") if cut_s is None else (f"{cut_s:.6g}", f"{100 * cut_s / end_s:.2g} %")
        table.add_row(each.mechanism, *told, *means)
    output.print(table)
    for sentence in [each.sentence() for each in found.settlings if each.warmup_s is None] + [*found.remarks]:
        output.print(f"- {sentence}", highlight=False)
    output.print(
        f"MSER-5 over the means of {found.replications} replications; noise alone cuts up to 3 % of a run. "
        "The figure shows whether to believe it.",
        highlight=False,
    )


def _document(found: WarmUp, path: Path) -> dict[str, Any]:
    return {
        "schema_version": 1,
        "command": "warmup",
        "scenario": found.scenario.model_dump(mode="json"),
        "seed": found.seed,
        "replications": found.replications,
        "metric": found.metric,
        "results": [
            {
                "mechanism": each.mechanism,
                "warmup_s": each.warmup_s,
                "mean": each.mean,
                "mean_after": each.mean_after,
                "finding": each.sentence(),
            }
            for each in found.settlings
        ],
        "warmup_s": found.warmup_s,
        "remarks": list(found.remarks),
        "run": str(path),
    }
