"""``hookbench selftest``: proves that the harness sees stalls, delays and losses, on this machine, now."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from loadtest.selftest import SelfTest


def selftest_command(
    quick: Annotated[bool, typer.Option("--quick", help="shorter runs: about half a minute of them")] = False,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="parent of the run folder (default: results)")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="one JSON document on standard output")] = False,
) -> None:
    """Prove that the harness sees what it must: a stall, small delays, lost answers and events, starvation.

    Real runs against a receiver that misbehaves in known ways. Exit code 0 when everything was seen, else 3.
    """
    from loadtest.selftest import selftest  # noqa: PLC0415 - heavy imports wait until a command runs

    result = selftest(quick=quick, out=out, command=shlex.join(["hookbench", *sys.argv[1:]]))
    if as_json:
        typer.echo(json.dumps(result.document(), allow_nan=False))
    else:
        show(result)
    for check in result.checks:
        if not check.passed:
            typer.echo(f"hookbench: not seen: {check.name}: {check.seen}, not {check.expected}", err=True)
    raise typer.Exit(result.exit_code)


def show(result: SelfTest) -> None:
    """Print the checks, one after another, and where the runs are."""
    from sim.tables import console, plain_table  # noqa: PLC0415

    table = plain_table()
    table.add_column("", no_wrap=True)
    for name, width in (("check", 12), ("done", 14), ("must be seen", 22), ("seen", 22)):
        table.add_column(name, min_width=width, overflow="fold")
    for check in result.checks:
        verdict = "passed" if check.passed else "FAILED"
        table.add_row(verdict, check.name, check.done, check.expected, check.seen, end_section=True)
    output = console()
    if not output.is_terminal:
        output.width = max(output.width, 110)
    output.print("self-test of the harness", style="bold", highlight=False)
    output.print(table)
    count = sum(check.passed for check in result.checks)
    output.print(f"{count} of {len(result.checks)} checks passed")
    output.print(f"run folder: {result.path}", soft_wrap=True, highlight=False)
