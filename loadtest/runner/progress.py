"""Progress on standard error, when that is a terminal; silence otherwise."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator

from rich.console import Console
from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress


class Bar:
    """One stage's bar; a stage of unknown length pulses."""

    def __init__(self, rich: RichProgress | None, task: int, seconds: float | None) -> None:
        self._rich = rich
        self._task = task
        self._seconds = seconds

    def at(self, seconds: float) -> None:
        """Move the bar to a time since the stage's beginning."""
        if self._rich is not None and self._seconds is not None:
            self._rich.update(
                self._rich.task_ids[self._task], completed=max(0.0, min(seconds, self._seconds))
            )


class Progress:
    """Says what is going on, one stage after another.

    Args:
        quiet: say nothing even on a terminal.
    """

    def __init__(self, *, quiet: bool = False) -> None:
        self._shown = not quiet and sys.stderr.isatty()

    @contextlib.contextmanager
    def stage(self, label: str, seconds: float | None = None) -> Iterator[Bar]:
        """Show a stage for as long as the block runs."""
        if not self._shown:
            yield Bar(None, 0, None)
            return
        columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
        with RichProgress(*columns, console=Console(stderr=True), transient=True) as rich:
            rich.add_task(label, total=seconds)
            yield Bar(rich, 0, seconds)
