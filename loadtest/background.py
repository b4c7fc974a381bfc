"""A consumer as a task of a server process: started and stopped with it, and never dead in silence."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Protocol

from loadtest import logs


class Consumer(Protocol):
    """What runs until it is cancelled, and says how it stands."""

    def run(self) -> Coroutine[Any, Any, None]:
        """Consume until cancelled."""

    def status(self) -> dict[str, Any]:
        """Counts for /status."""


class Background:
    """A consumer's task.

    Args:
        consumer: what runs.
        name: what it is called when it dies.
        died: is told why, in a line that quotes nothing of what came from outside.
    """

    def __init__(self, consumer: Consumer, name: str, died: Callable[[str], None]) -> None:
        self._consumer = consumer
        self._name = name
        self._died = died
        self._task: asyncio.Task[None] | None = None

    @property
    def runs(self) -> bool:
        """Whether it was started and has not ended."""
        return self._task is not None and not self._task.done()

    def start(self) -> None:
        """Begin."""
        self._task = asyncio.get_running_loop().create_task(self._consumer.run())
        self._task.add_done_callback(self._over)

    async def stop(self) -> None:
        """End at once."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def _over(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            # Its message may quote what a server sent.
            found = logs.whereabouts(error)
            self._died(f"the {self._name} died: {found['exception']} at {found['where']}")
