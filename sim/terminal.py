"""What every command shows alike: notes and progress on standard error, and only at a terminal."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from threading import Thread
from typing import TypeVar

Result = TypeVar("Result")


def note(text: str) -> None:
    """One line of what is going on, on standard error; silent when that is not a terminal."""
    if sys.stderr.isatty():
        warn(text)


def note_compilation(mechanisms: Sequence[str]) -> None:
    """Say so, if the fast engine is about to be compiled for the first time."""
    from sim.engine import is_compiled  # noqa: PLC0415 - loads the compiler

    if not is_compiled(mechanisms):
        note("compiling the fast engine: this happens once, and takes some seconds …")


def warn(text: str) -> None:
    """One line that must not be missed, on standard error; standard output stays clean."""
    print(text, file=sys.stderr, flush=True)  # noqa: T201 - this is where notes are printed


def interruptible(work: Callable[[], Result]) -> Result:
    """Run `work` so that Ctrl-C is heard at once, also while compiled code runs.

    Python looks at signals between two of its own instructions in the main thread; a kernel has none.
    So the work goes to another thread, which an interrupt leaves behind to die with the process.
    """
    done: Future[Result] = Future()

    def run() -> None:
        try:
            done.set_result(work())
        except BaseException as error:  # whatever it is, the caller gets it
            done.set_exception(error)

    Thread(target=run, daemon=True).start()
    while True:
        try:
            return done.result(timeout=0.2)
        except TimeoutError:
            if done.done():
                raise


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
