"""A consumer as a process: its status over HTTP, its start and stop with the server's."""

from __future__ import annotations

import logging
from typing import Any

from loadtest.asgi import Application
from loadtest.background import Background, Consumer
from loadtest.inbox import Inbox

log = logging.getLogger("hookbench.consumer")


class ConsumerApp(Application):
    """ASGI application around a consumer and the inbox it ends in.

    Args:
        role: what it is called.
        consumer: started once the server answers.
        inbox: the consumer's inbox.
        drain_s: how long stored events may be served after the last that came.
    """

    def __init__(self, role: str, consumer: Consumer, inbox: Inbox, drain_s: float) -> None:
        super().__init__()
        self.role = role
        self._consumer = consumer
        self._inbox = inbox
        self._drain_s = drain_s
        self._task = Background(consumer, role, self.fail)

    async def start(self) -> None:
        """Open the inbox and begin to consume."""
        await self._inbox.start()
        self._task.start()

    async def stop(self) -> None:
        """Stop consuming at once; serve what is stored, for at most `drain_s`."""
        await self._task.stop()
        left = await self._inbox.drain(self._drain_s)
        if left:
            log.warning("%d stored events are not processed yet; the next start takes them up", left)

    def status(self) -> dict[str, Any]:
        """The consumer's counts and the inbox's; `consuming` is false once it is over."""
        return {"consuming": self._task.runs, **self._consumer.status(), **self._inbox.status()}
