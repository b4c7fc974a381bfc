"""One thread that runs storage calls in order and reports each outcome to the event loop, in that order."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")

Report = Callable[[Any, Exception | None], None]


class Writer:
    """Starts its thread at once; everything but that thread belongs to the event loop's."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._calls: queue.SimpleQueue[tuple[Callable[[], Any], Report] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="inbox-writer", daemon=True)
        self._thread.start()

    def call(self, work: Callable[[], Any], report: Report) -> None:
        """Run `work` after what was asked for before; `report` gets its result or its error."""
        self._calls.put((work, report))

    async def run(self, work: Callable[[], T]) -> T:
        """The same, to be awaited."""
        outcome: asyncio.Future[T] = self._loop.create_future()

        def settle(result: T, error: Exception | None) -> None:
            if outcome.done():
                return  # cancelled meanwhile
            if error is not None:
                outcome.set_exception(error)
            else:
                outcome.set_result(result)

        self.call(work, settle)
        return await outcome

    def stop(self) -> None:
        """Return when the thread has ended."""
        self._calls.put(None)
        self._thread.join()

    def _run(self) -> None:
        while (call := self._calls.get()) is not None:
            work, report = call
            try:
                outcome: tuple[Any, Exception | None] = (work(), None)
            except Exception as error:  # whatever it was, the callers must hear of it
                outcome = (None, error)
            self._loop.call_soon_threadsafe(report, *outcome)
