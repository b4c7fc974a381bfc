"""The front door: one command line over both halves, and every error on one line."""

from __future__ import annotations

import os
import sys

import typer

from sim.cli import app
from sim.errors import HookbenchError

INTERRUPTED = 130


def main() -> None:
    """Run the command line; exit 0 good, 2 bad input, 3 void run, 4 threshold not met, 130 interrupted."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Run one command; returns its exit code. What goes wrong is one line on standard error."""
    try:
        code = app(arguments, prog_name="hookbench", standalone_mode=False)
    except HookbenchError as error:
        return _say(str(error), error.exit_code)
    except typer.TyperException as error:
        return _say(error.format_message(), 2)
    except typer.Abort:
        code = INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the reader left; nothing to say
        return 0
    if code == INTERRUPTED:
        return _say("interrupted", INTERRUPTED)
    return code if isinstance(code, int) else 0


def _say(message: str, code: int) -> int:
    print(f"hookbench: {' '.join(message.split())}", file=sys.stderr)  # noqa: T201
    return code


if __name__ == "__main__":
    main()
