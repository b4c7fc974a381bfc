"""``hookbench studies``: list the published experiments, and run one."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from sim.studies import Study
    from sim.studies.findings import Results


def studies(
    name: Annotated[
        str | None, typer.Argument(help="Which study to run.  [default: list them]", metavar="NAME")
    ] = None,
    replications: Annotated[
        int | None,
        typer.Option(help="Independent runs.  [default: as many as the study asks for]", metavar="N"),
    ] = None,
    seed: Annotated[int, typer.Option(help="Fixes every draw.", metavar="N")] = 1,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON document instead of a table.")
    ] = False,
    out: Annotated[
        Path | None, typer.Option(help="Where the run folder is made.  [default: results]", metavar="DIR")
    ] = None,
) -> None:
    """Run a published experiment again, and hold its claims against what we find."""
    from sim.studies import STUDIES, find

    if name is None:
        for study in STUDIES.values():
            typer.echo(f"{study.name:<{max(map(len, STUDIES))}}  {study.question} ({study.authors})")
        return
    study = find(name)
    results, path = run_study(study, seed, replications, out)
    if as_json:
        document = {
            "schema_version": 1, "command": "studies", "study": study.name, "citation": study.citation,
            "seed": seed, "findings": findings_json(results), "run": str(path),
        }  # fmt: skip
        sys.stdout.write(json.dumps(document, allow_nan=False) + "\n")
        return
    show(study, results)
    typer.echo(f"run folder: {path}")


def run_study(study: Study, seed: int, replications: int | None, out: Path | None) -> tuple[Results, Path]:
    """Run a study with progress, and write the run folder; returns what came of it and where it is."""
    from sim.randomness import replication_seed
    from sim.results import RunFolder
    from sim.studies.figures import FIGURES
    from sim.terminal import interruptible, progress

    count = study.check(seed, replications)
    seeds = [int(replication_seed(seed, r)) for r in range(count)]
    command = shlex.join(["hookbench", *sys.argv[1:]])
    with RunFolder.create(study.name, command, out, seeds=seeds) as run:
        with progress(f"studying {study.name}") as advance:
            results = interruptible(lambda: study.run(seed, count, advance))
        run.save_table(results.frame(), "findings")
        for table, frame in results.tables.items():
            run.save_table(frame, table)
        if study.name in FIGURES:
            run.save_figure(FIGURES[study.name](results), study.name)
        run.note(
            study=study.name,
            citation=study.citation,
            seed=seed,
            replications=count,
            remarks=results.remarks,
            scenarios={
                name: scenario.model_dump(mode="json", exclude_none=True)
                for name, scenario in results.scenarios.items()
            },
        )
    return results, run.path


def show(study: Study, results: Results) -> None:
    """Print the study's claims, what we find, and what to bear in mind."""
    from rich.console import Console

    from sim.tables import plain_table

    table = plain_table()
    table.add_column("claim")
    table.add_column("published", justify="right")
    table.add_column("here", justify="right", no_wrap=True)
    table.add_column("verdict", no_wrap=True)
    for finding in results.findings:
        table.add_row(
            f"{finding.claim}\n[dim]{finding.measured}[/dim]",
            finding.published or "–",
            finding.text(),
            str(finding.verdict()),
        )
    console = Console()
    console.print(f"{study.name}: {study.question}", style="bold", highlight=False)
    console.print(study.citation, highlight=False, soft_wrap=True)
    console.print(table)
    console.print("Means ± half a 95 % interval. A claim holds if the whole interval agrees with it.")
    for remark in results.remarks:
        console.print(f"- {remark}", highlight=False)


def findings_json(results: Results) -> list[dict[str, object]]:
    """The findings as JSON: numbers that are not known are null."""
    document: list[dict[str, object]] = []
    for finding in results.findings:
        found = finding.estimate()
        document.append(
            {
                "key": finding.key, "claim": finding.claim, "published": finding.published or None,
                "measured": finding.measured, "unit": finding.unit,
                "mean": None if found.mean != found.mean else found.mean,
                "low": found.low, "high": found.high, "verdict": str(finding.verdict()),
            }
        )  # fmt: skip
    return document
