"""The options ``--junit`` and ``--markdown``: a measurement's verdict in files, for CI and for people."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ParamSpec

import typer

from sim.errors import InputError, VoidRun

if TYPE_CHECKING:
    from loadtest.runner import LoadResult

Arguments = ParamSpec("Arguments")

JunitOption = Annotated[
    Path | None,
    typer.Option(
        "--junit", metavar="PATH", help="write JUnit XML: a test case a threshold and a rule that voids a run"
    ),
]
MarkdownOption = Annotated[
    Path | None,
    typer.Option(
        "--markdown",
        metavar="PATH",
        help='write a Markdown summary for a pull request; "$GITHUB_STEP_SUMMARY" is added to, not replaced',
    ),
]


def summarised(
    measure: Callable[Arguments, LoadResult], junit: Path | None, markdown: Path | None
) -> Callable[Arguments, LoadResult]:
    """`load` or `race`, writing its result into the files that were asked for.

    A run that came to nothing leaves a JUnit file that says why.

    Raises:
        InputError: at once, where a file cannot be written.
    """
    for option, path in (("--junit", junit), ("--markdown", markdown)):
        if path is not None:
            require_writable(option, path)

    def measured(*arguments: Arguments.args, **options: Arguments.kwargs) -> LoadResult:
        try:
            result = measure(*arguments, **options)
        except VoidRun as error:
            if junit is not None:
                from loadtest.junit import write_failure  # noqa: PLC0415 - heavy imports wait

                write_failure(junit, measure.__name__, str(error))
            raise
        _write(result, junit, markdown)
        return result

    return measured


def _write(result: LoadResult, junit: Path | None, markdown: Path | None) -> None:
    if junit is None and markdown is None:
        return
    from loadtest import junit as xml  # noqa: PLC0415
    from loadtest import markdown as summary  # noqa: PLC0415
    from sim.results import read_run  # noqa: PLC0415

    document = read_run(result.path).document
    if junit is not None:
        xml.write(junit, result, document)
    if markdown is not None:
        summary.write(markdown, summary.load_summary(result, document))


def require_writable(option: str, path: Path) -> None:
    """Check that a file can be written, which is not to turn out after half a minute of load.

    Raises:
        InputError: names the option, the path and why not.
    """
    try:
        with path.open("a", encoding="utf-8"):
            pass
    except OSError as error:
        raise InputError(f"{option} {path}: cannot be written: {error.strerror}") from None
