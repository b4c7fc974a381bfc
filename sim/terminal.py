"""What every command shows alike: notes and progress on standard error, and only at a terminal."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager


def note(text: str) -> None:
    """One line of what is going on, on standard error; silent when that is not a terminal."""
    if sys.stderr.isatty():
        warn(text)


def warn(text: str) -> None:
    """One line that must not be missed, on standard error; standard output stays clean."""
    print(text, file=sys.stderr, flush=True)  # noqa: T201 - this is where notes are printed


@contextmanager
def progress(description: str) -> Iterator[Callable[[int, int], None]]:
    """A progress bar on standard error; calls take (done, total). Silent when that is not a terminal."""
    if not sys.stderr.isatty():
        yield lambda done, total: None
        return
    from rich.console import Console  # noqa: PLC0415 - a terminal can wait for it, a pipe need not
    from rich.progress import Progress  # noqa: PLC0415

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(description, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
