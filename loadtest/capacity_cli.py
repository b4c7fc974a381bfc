"""``hookbench capacity``: the highest rate at which a server meets its objectives."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sim.errors import InputError

if TYPE_CHECKING:
    from loadtest.capacity import CapacityResult


def capacity_command(
    scenario: Annotated[
        str, typer.Argument(help="a preset's name or a TOML file", metavar="SCENARIO", show_default=False)
    ],
    arm: Annotated[
        str, typer.Option("-a", "--arm", metavar="ARM", help="which load, as of `hookbench load`")
    ] = "webhook",
    slo: Annotated[
        list[str] | None,
        typer.Option(
            "--slo", metavar="BOUND", help="what must hold, as 'latency_p99_s<0.05'; may be repeated"
        ),
    ] = None,
    start: Annotated[
        float | None, typer.Option("--start", metavar="R", help="the first rate (default: the scenario's)")
    ] = None,
    most: Annotated[float | None, typer.Option("--max-rate", metavar="R", help="try no higher rate")] = None,
    duration: Annotated[float, typer.Option("--duration", metavar="S", help="seconds of each probe")] = 10.0,
    warmup: Annotated[
        float, typer.Option("--warmup", metavar="S", help="seconds before them that do not count")
    ] = 2.0,
    resolution: Annotated[
        str, typer.Option("--resolution", metavar="SHARE", help="how close the step above is, as 5% or 0.05")
    ] = "5%",
    confirmations: Annotated[
        int, typer.Option("--confirmations", min=1, metavar="K", help="the answer must hold K of K times")
    ] = 3,
    host: Annotated[
        str | None, typer.Option("--host", metavar="URL", help="load a server that runs already")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, metavar="N", help="of all probes")] = 1,
    pool: Annotated[int, typer.Option("--pool", min=1, metavar="N", help="requests in flight at most")] = 100,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="parent of the run folder (default: results)")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="one JSON document on standard output")] = False,
    figures: Annotated[bool, typer.Option("--figures/--no-figures", help="draw latency against rate")] = True,
) -> None:
    """Find the highest rate at which ONE server meets its objectives (SLO).

    Rates double (or halve) until the objectives are missed (or met); the bracket is halved on a logarithmic
    scale down to the resolution; the rate found must meet them K of K times more, and the step above must
    miss them. Each probe is a fresh load with a warm-up. Where the load generator gives out before the
    server, the answer is "at least". Exit code 0 found, 4 no rate will do, 3 the generator was too slow.
    """
    from loadtest.capacity import capacity  # noqa: PLC0415 - heavy imports wait until a command runs
    from sim.scenario import load_scenario  # noqa: PLC0415

    result = capacity(
        load_scenario(scenario),
        arm,
        tuple(slo or ()),
        start_per_s=start,
        most_per_s=most,
        duration_s=duration,
        warmup_s=warmup,
        resolution=share("--resolution", resolution),
        confirmations=confirmations,
        host=host,
        seed=seed,
        pool_size=pool,
        out=out,
        command=shlex.join(["hookbench", *sys.argv[1:]]),
        figures=figures,
    )
    if as_json:
        typer.echo(json.dumps(result.document(), allow_nan=False))
    else:
        show(result)
    if result.exit_code:
        typer.echo(f"hookbench: capacity: {result.sentence()}", err=True)
    raise typer.Exit(result.exit_code)


def share(option: str, text: str) -> float:
    """``5%`` or ``0.05`` as a number above 0.

    Raises:
        InputError: something else.
    """
    try:
        value = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        value = 0.0
    if not 0 < value < 1000:
        raise InputError(f"{option} {text!r} is not a share such as 5% or 0.05")
    return value


def show(result: CapacityResult) -> None:
    """Print every probe, the answer, and where the runs are."""
    from sim.experiment import Estimate  # noqa: PLC0415
    from sim.tables import console, estimate_text, number_text, plain_table  # noqa: PLC0415

    output = console()
    output.print(f"capacity of {result.scenario.name}, {result.arm}", style="bold", highlight=False)
    table = plain_table()
    table.add_column("rate", justify="right", no_wrap=True)
    table.add_column("purpose", no_wrap=True)
    for objective in result.objectives:
        table.add_column(objective.text, justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    table.add_column("why not", max_width=50)
    for each in result.probes:
        values = [
            "undefined" if value is None else estimate_text(Estimate(value, None, None), objective.metric)
            for objective, value in zip(result.objectives, each.values, strict=True)
        ]
        again = f" ({each.attempt})" if each.attempt > 1 else ""
        undecided = each.reason if each.outcome == "generator" or None in each.values else ""
        table.add_row(
            f"{number_text(each.probe.rate_per_s, 4)}/s",
            f"{each.probe.purpose}{again}",
            *values,
            str(each.outcome),
            undecided,
        )
    output.print(table)
    output.print(f"capacity: {result.sentence()}", style="bold", highlight=False)
    output.print(
        f"each probe {result.duration_s:g} s after {result.warmup_s:g} s of warm-up; "
        f"resolution {result.resolution:.2g}"
    )
    output.print(f"run folder: {result.path}", soft_wrap=True, highlight=False)
