"""The front door: one command line over both halves, and every error on one line."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from loadtest.cli import app as loadtest_commands
from sim.cli import app
from sim.errors import HookbenchError, VoidRun

app.add_typer(loadtest_commands)


@app.command()
def demo(
    out: Annotated[
        Path | None, typer.Option(help="Where the run folder is made.  [default: results]", metavar="DIR")
    ] = None,
) -> None:
    """Start here: simulate a flash sale, load real servers with it, and compare. About a minute."""
    from loadtest.demo import demo as run_demo
    from loadtest.demo import show

    result = run_demo(out)
    show(result)
    if result.void:
        raise VoidRun("the measured figures are not to be trusted: " + "; ".join(result.void))


INTERRUPTED = 130


def main() -> None:
    """Run the command line; exit 0 good, 2 bad input, 3 void run, 4 threshold not met, 130 interrupted."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Run one command; returns its exit code. What goes wrong is one line on standard error."""
    try:
        code = app(arguments or ["--help"], prog_name="hookbench", standalone_mode=False)
    except HookbenchError as error:
        return _say(str(error), error.exit_code)
    except typer.TyperException as error:
        return _say(error.format_message(), 2)
    except typer.Abort:
        code = INTERRUPTED
    except SystemExit as stop:
        # `serve` leaves with the code of its own parser. Typer leaves with 1 when whoever read our output
        # has left (`hookbench … | head`), which is nobody's mistake.
        return stop.code if isinstance(stop.code, int) and stop.code != 1 else 0
    except (OSError, MemoryError, RecursionError) as error:
        return _say(f"{type(error).__name__}: {error}" if str(error) else type(error).__name__, 2)
    if code == INTERRUPTED:
        return _say("interrupted", INTERRUPTED)
    return code if isinstance(code, int) else 0


def _say(message: str, code: int) -> int:
    print(f"hookbench: {' '.join(message.split())}", file=sys.stderr)  # noqa: T201
    return code


if __name__ == "__main__":
    main()
