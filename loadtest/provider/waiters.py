"""Clients that wait for news: how many may, what wakes them, and that nobody waits who has hung up."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, MutableMapping
from typing import Any

from loadtest.asgi import Receive, Send

_LEAST_REST_S = 0.001  # uvloop rounds timers to whole ms: a shorter rest would be none
LAST_WORD_S = 1.0
"""How long a client that does not read may hold up the end."""


class Waiter:
    """One client with a place in a waiting room.

    Attributes:
        gone: whether it has hung up.
    """

    def __init__(self) -> None:
        self.gone = False
        self._bell: asyncio.Future[None] | None = None
        self._patience: asyncio.Timeout | None = None

    async def rest(self, limit_s: float) -> None:
        """Until there may be news, the client has hung up, the room closes, or `limit_s` has passed.

        Whoever looks for news and then rests, with no await between, misses none.
        """
        if self.gone:
            return
        loop = asyncio.get_running_loop()
        self._bell = loop.create_future()
        timer = loop.call_later(max(limit_s, _LEAST_REST_S), self.ring)
        try:
            await self._bell
        finally:
            timer.cancel()
            self._bell = None

    async def send(self, send: Send, message: MutableMapping[str, Any], limit_s: float) -> None:
        """Send, as soon as the client has made room by taking what it was sent before.

        Raises:
            TimeoutError: it has not within `limit_s`.
        """
        try:
            async with asyncio.timeout(limit_s) as self._patience:
                await send(message)
        finally:
            self._patience = None

    def ring(self) -> None:
        """End the rest, if it rests."""
        if self._bell is not None and not self._bell.done():
            self._bell.set_result(None)

    def hurry(self) -> None:
        """The room closes: rest no more, and do not wait for long for a client that does not read."""
        self.ring()
        if self._patience is not None:
            soon = asyncio.get_running_loop().time() + LAST_WORD_S
            self._patience.reschedule(min(self._patience.when() or soon, soon))

    async def watch(self, receive: Receive) -> None:
        """Notice when the client hangs up; its request must have been read."""
        while (await receive())["type"] != "http.disconnect":
            pass
        self.gone = True
        self.ring()


class WaitingRoom:
    """So many places for waiters.

    Attributes:
        closed: whether the process is about to end; then nobody should wait any longer.
        hung_up: how many clients left before they were answered.
    """

    def __init__(self, places: int) -> None:
        self._places = places
        self._waiters: set[Waiter] = set()
        self.closed = False
        self.hung_up = 0

    def __len__(self) -> int:
        """How many wait."""
        return len(self._waiters)

    @property
    def full(self) -> bool:
        """Whether there is no place left."""
        return len(self._waiters) >= self._places

    @contextlib.asynccontextmanager
    async def enter(self, receive: Receive) -> AsyncIterator[Waiter]:
        """Take a place, which must be free now, and keep it to the end of the block.

        The request's body must have been read, for from now on `receive` is asked for the end only.
        """
        waiter = Waiter()
        self._waiters.add(waiter)
        watch = asyncio.get_running_loop().create_task(waiter.watch(receive))
        try:
            yield waiter
        finally:
            self._waiters.discard(waiter)
            watch.cancel()
            self.hung_up += waiter.gone

    def wake(self) -> None:
        """There may be news."""
        for waiter in self._waiters:
            waiter.ring()

    def close(self) -> None:
        """Let everybody go."""
        self.closed = True
        for waiter in self._waiters:
            waiter.hurry()
