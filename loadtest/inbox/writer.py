"""One thread that runs storage calls in order and reports each outcome to the event loop, in that order."""

from __future__ import annotations

import asyncio
import queue
import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")

Report = Callable[[Any, Exception | None], None]


class Writer:
    """Starts its thread at once; everything but that thread belongs to the event loop's.

    Attributes:
        calls: how many have been run. busy_s: how long they took. cpu_s: CPU time of the thread in them. All
            three are written by the thread alone, and read by whoever asks how it stands.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._calls: queue.SimpleQueue[tuple[Callable[[], Any], Report] | None] = queue.SimpleQueue()
        self.calls = 0
        self.busy_s = 0.0
        self.cpu_s = 0.0
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
            begun_s, begun_cpu_s = time.monotonic(), time.thread_time()
            try:
                outcome: tuple[Any, Exception | None] = (work(), None)
            except Exception as error:  # whatever it was, the callers must hear of it
                outcome = (None, error)
            self.calls += 1
            self.busy_s += time.monotonic() - begun_s
            self.cpu_s += time.thread_time() - begun_cpu_s
            self._loop.call_soon_threadsafe(report, *outcome)
