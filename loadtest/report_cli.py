"""``hookbench report``: one or several run folders as one HTML file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

DEFAULT_NAME = "report.html"


def report_command(
    runs: Annotated[list[Path], typer.Argument(help="run folders", metavar="RUN...", show_default=False)],
    out: Annotated[
        Path,
        typer.Option("-o", "--out", metavar="FILE", help="the file to write; it is overwritten"),
    ] = Path(DEFAULT_NAME),
) -> None:
    """Write one self-contained HTML file about one or several runs; it needs no network."""
    from loadtest.report.page import write_report  # noqa: PLC0415 - heavy imports wait until a command runs

    path = write_report(runs, out)
    typer.echo(f"report: {path} ({path.stat().st_size / 1000:,.0f} kB)")
