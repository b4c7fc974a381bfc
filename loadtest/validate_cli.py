"""``hookbench validate``: what the model predicts, what the load test measures, and the error."""

from __future__ import annotations

import json
import math
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sim.errors import InputError

if TYPE_CHECKING:
    from loadtest.validate import Validation
    from loadtest.validate.comparison import Comparison
    from loadtest.validate.what_if import WhatIf
    from sim.experiment import Estimate


def validate_command(
    scenario: Annotated[
        str | None,
        typer.Argument(help="a preset's name or a TOML file", metavar="SCENARIO", show_default=False),
    ] = None,
    parts: Annotated[
        list[str] | None,
        typer.Option(
            "--part",
            metavar="PART",
            help="known, natural, polling, long_polling, recovery or duplicates; may be repeated "
            "(default: all)",
        ),
    ] = None,
    source: Annotated[
        Path | None,
        typer.Option(
            "--from",
            metavar="RUN|CSV|LOG",
            help="instead, predict from a load or a validation of yours, from a CSV of service times, or "
            "from an access log that ends in durations",
        ),
    ] = None,
    rates: Annotated[
        list[float] | None,
        typer.Option(
            "--rate",
            metavar="R",
            help="with --from: predict at this rate; may be repeated (default: 1 to 3 "
            "times the measured one)",
        ),
    ] = None,
    workers: Annotated[
        int,
        typer.Option("--workers", min=1, metavar="N", help="with --from CSV or LOG: how many serve at once"),
    ] = 1,
    unit: Annotated[
        str, typer.Option("--unit", metavar="U", help="with --from CSV or LOG: durations are in s, ms or us")
    ] = "s",
    runs: Annotated[
        int, typer.Option("--runs", min=1, metavar="N", help="replications of each load; two give intervals")
    ] = 3,
    duration: Annotated[
        float, typer.Option("--duration", metavar="S", help="seconds of each load that count")
    ] = 10.0,
    seed: Annotated[int, typer.Option("--seed", min=0, metavar="N", help="fixes events and services")] = 1,
    pool: Annotated[int, typer.Option("--pool", min=1, metavar="N", help="requests in flight at most")] = 100,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="parent of the run folder (default: results)")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="one JSON document on standard output")] = False,
    figures: Annotated[
        bool, typer.Option("--figures/--no-figures", help="draw figures into the run folder")
    ] = True,
) -> None:
    """Calibrate the model at light load, predict other loads, run them for real, compare.

    Exit code 4 when a prediction misses its stated tolerance, 3 when the measurement is void.
    """
    command = shlex.join(["hookbench", *sys.argv[1:]])
    if source is not None:
        if scenario is not None or parts:
            raise InputError(
                "--from predicts from what was measured: give neither SCENARIO nor --part with it"
            )
        from loadtest.validate.sources import read_source  # noqa: PLC0415
        from loadtest.validate.what_if import what_if  # noqa: PLC0415

        forecasts = what_if(
            read_source(source, workers, unit), rates or (), replications=runs, seed=seed, out=out,
            command=command,
        )  # fmt: skip
        if as_json:
            typer.echo(json.dumps(forecasts.document(), allow_nan=False))
        else:
            show_forecasts(forecasts)
        return
    if scenario is None:
        raise InputError("give a SCENARIO, or --from RUN, CSV or LOG")
    if rates:
        raise InputError("--rate belongs to --from; a validation's loads are shares of a capacity")
    from loadtest.validate import PARTS, Plan, validate  # noqa: PLC0415 - heavy imports wait
    from sim.scenario import load_scenario  # noqa: PLC0415

    result = validate(
        load_scenario(scenario),
        tuple(parts or PARTS),
        plan=Plan(runs=runs, duration_s=duration, seed=seed),
        pool_size=pool,
        out=out,
        command=command,
        figures=figures,
    )
    if as_json:
        typer.echo(json.dumps(result.document(), allow_nan=False))
    else:
        show(result)
    for reason in result.void:
        typer.echo(f"hookbench: VOID: {reason}", err=True)
    if result.missed:
        from loadtest.validate.validation import off  # noqa: PLC0415

        for each in result.missed:
            typer.echo(f"hookbench: missed: {each.part}, {each.load}, {each.metric}: {off(each)}", err=True)
    raise typer.Exit(result.exit_code)


def show(result: Validation) -> None:
    """Print a table a part, then the sentence and where everything is."""
    from sim.tables import console, plain_table  # noqa: PLC0415

    output = console()
    for part in result.parts:
        table = plain_table()
        table.add_column(part.name, no_wrap=True)
        table.add_column("", no_wrap=True)
        for name in ("predicted", "measured", "error", "allowed"):
            table.add_column(name, justify="right", no_wrap=True)
        table.add_column("", no_wrap=True)
        before = None
        for each in part.comparisons:
            shown = each.load if each.load != before else ""
            before = each.load
            table.add_row(
                shown, each.metric, *_cells(each), style="bold red" if each in part.missed else None
            )
        output.print(table)
    output.print("error: predicted / measured − 1, ± half a 95 % interval over replications")
    output.print(result.sentence(), style="bold red" if result.missed else "bold", highlight=False)
    output.print(f"run folder, with figures: {result.path}", soft_wrap=True, highlight=False)
    output.print(f"report: hookbench report {shlex.quote(str(result.path))}", soft_wrap=True, highlight=False)


def _cells(each: Comparison) -> tuple[str, ...]:
    from sim.experiment import Estimate  # noqa: PLC0415
    from sim.tables import estimate_text  # noqa: PLC0415

    means = (
        estimate_text(Estimate(e.mean, None, None), each.metric) for e in (each.predicted, each.measured)
    )
    allowed = "" if each.tolerance is None else f"{100 * each.tolerance:g} %"
    verdict = str(each.verdict) if each.tolerance is None or each.is_sure else f"{each.verdict}, not surely"
    return (*means, _percent(each.error), allowed, verdict)


def _percent(error: Estimate) -> str:
    if error.mean != error.mean:
        return "–"
    width = "" if error.high is None else f" ± {100 * (error.high - error.mean):.1f}"
    return f"{100 * error.mean:+.1f}{width} %"


def show_forecasts(result: WhatIf) -> None:
    """Print a row a rate, then the sentence and what to bear in mind."""
    from sim.tables import console, estimate_text, plain_table  # noqa: PLC0415

    names = ("visible_latency_p50_s", "visible_latency_p95_s", "visible_latency_p99_s", "receiver_queue_mean")
    output = console()
    table = plain_table()
    for name in ("rate", "workers busy", "core busy", "p50", "p95", "p99", "waiting"):
        table.add_column(name, justify="right", no_wrap=True)
    for each in result.forecasts:
        busy = (_share(each.utilisation), _share(each.core_share))
        if each.grows_per_s:
            table.add_row(f"{each.rate_per_s:,.4g}/s", *busy, "grows", f"{each.grows_per_s:,.3g}/s", "", "")
        else:
            cells = (estimate_text(each.metrics[name], name) for name in names)
            table.add_row(f"{each.rate_per_s:,.4g}/s", *busy, *cells)
    output.print(f"from {result.source.told}", highlight=False)
    output.print(table)
    for remark in result.source.remarks:
        output.print(remark, highlight=False)
    output.print(result.sentence(), style="bold", highlight=False)
    output.print(f"run folder: {result.path}", soft_wrap=True, highlight=False)


def _share(share: float) -> str:
    return "–" if math.isnan(share) else f"{100 * share:.0f} %"
