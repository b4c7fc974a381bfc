"""``hookbench compare``: two run folders, metric by metric."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from loadtest.capacity_cli import share

if TYPE_CHECKING:
    from loadtest.compare import Comparison


WIDTH = 110


def compare_command(
    a: Annotated[
        Path, typer.Argument(metavar="RUN_A", help="the folder of the run before", show_default=False)
    ],
    b: Annotated[
        Path, typer.Argument(metavar="RUN_B", help="the folder of the run after", show_default=False)
    ],
    force: Annotated[
        bool, typer.Option("--force", help="also other machines, other scenarios, void runs")
    ] = False,
    fail_if_worse: Annotated[
        str | None,
        typer.Option(
            "--fail-if-worse",
            metavar="SHARE",
            help="exit with 4 if a metric is shown to be worse by more, as 5%",
        ),
    ] = None,
    confidence: Annotated[
        float, typer.Option("--confidence", metavar="C", help="of each metric's interval")
    ] = 0.99,
    markdown: Annotated[
        Path | None,
        typer.Option("--markdown", metavar="PATH", help="write a Markdown summary, as `hookbench load` does"),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="one JSON document on standard output")] = False,
) -> None:
    """Compare two runs of load, race or simulate, with effect sizes and intervals.

    Of latencies whose raw samples were kept: ratios of mean and quantiles, and Cliff's delta, by a bootstrap
    of blocks of neighbouring requests, paired event by event where both runs share their schedule. Of every
    metric with three repetitions or more on either side (`race --runs 3`): the ratio over them, and only this
    counts what differs between two runs of the same thing, as a gate in CI should. Runs of different machines
    or scenarios, and void ones, are refused.
    """
    from loadtest.compare import compare  # noqa: PLC0415 - heavy imports wait until a command runs
    from loadtest.summary_cli import require_writable  # noqa: PLC0415

    if markdown is not None:
        require_writable("--markdown", markdown)
    tolerance = None if fail_if_worse is None else share("--fail-if-worse", fail_if_worse)
    result = compare(a, b, force=force, tolerance=tolerance, confidence=confidence)
    if markdown is not None:
        from loadtest import markdown as summary  # noqa: PLC0415

        summary.write(markdown, result.markdown())
    if as_json:
        typer.echo(json.dumps(result.document(), allow_nan=False))
    else:
        show(result)
    for each in result.failures:
        typer.echo(f"hookbench: worse by more than {fail_if_worse}: {each.arm}.{each.metric}", err=True)
    raise typer.Exit(result.exit_code)


def show(result: Comparison) -> None:
    """Print what was compared, the judged metrics, and which were not judged."""
    from loadtest.compare.comparison import cells  # noqa: PLC0415
    from loadtest.compare.effects import Verdict  # noqa: PLC0415
    from sim.tables import console, plain_table  # noqa: PLC0415

    output = console()
    if not output.is_terminal:
        output.width = max(output.width, WIDTH)
    for letter, run in (("A", result.a), ("B", result.b)):
        output.print(f"{letter}: {run.path}", soft_wrap=True, highlight=False)
    for each in result.obstacles:
        output.print(f"forced although {each}", style="bold red", highlight=False)
    for each in result.remarks:
        output.print(each, highlight=False)
    for arm, basis in dict.fromkeys((effect.arm, effect.basis) for effect in result.told):
        table = plain_table()
        table.add_column(f"{arm}, from {basis}", no_wrap=True)
        for name in ("A", "B", "change", f"{result.confidence:.0%} interval"):
            table.add_column(name, justify="right", no_wrap=True)
        table.add_column("", no_wrap=True)
        for effect in result.told:
            if (effect.arm, effect.basis) == (arm, basis):
                table.add_row(effect.metric, *cells(effect), str(effect.verdict))
        output.print(table)
    same = dict.fromkeys(each.metric for each in result.judged if each.is_nothing)
    if same:
        output.print(f"the same in both: {', '.join(same)}", highlight=False)
    silent = dict.fromkeys(each.metric for each in result.effects if each.verdict is Verdict.NOT_JUDGED)
    if silent:
        output.print(
            f"not judged, for want of repetitions on both sides (three or more): {', '.join(silent)}",
            highlight=False,
        )
    if any(effect.basis == "blocks" for effect in result.told):
        output.print("from blocks: within the runs; what differs between two runs of the same is not in it")
    output.print(result.sentence(), style="bold", highlight=False)
