"""Telling storage, a little later and many at once, which events were served and which were given up."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from loadtest.inbox.storage import Storage
from loadtest.inbox.writer import Writer

INTERVAL_S = 0.05


class Settler:
    """Gathers the outcomes of service, and repeats what storage failed to record.

    Nobody waits for it, while senders wait for every group of arrivals: so it goes to the writer right behind
    a group, when the next has only begun to gather.

    Args:
        writer: runs the calls.
        storage: is called.
        failed: is told of each call that failed.
        storing: whether a group is being stored or gathers.

    Attributes:
        superseded: outcomes that did not count, because another process had taken the event over.
    """

    def __init__(
        self,
        writer: Writer,
        storage: Storage,
        failed: Callable[[Exception | None], None],
        storing: Callable[[], bool],
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._writer = writer
        self._storage = storage
        self._failed = failed
        self._storing = storing
        self._is_due = False
        self._visible: list[tuple[int, int]] = []
        self._dead: list[tuple[int, str]] = []
        self._told: set[int] = set()  # what storage is being told of now
        self._timer: asyncio.TimerHandle | None = None
        self.superseded = 0

    def visible(self, done: list[tuple[int, int]]) -> None:
        """Record (seq, visible_us)."""
        self._visible += done
        self._tell_soon()

    def dead(self, done: list[tuple[int, str]]) -> None:
        """Record (seq, reason)."""
        self._dead += done
        self._tell_soon()

    def unsettled(self) -> set[int]:
        """The seq of every event whose outcome is not known to be recorded."""
        return self._told | {seq for seq, _ in self._visible} | {seq for seq, _ in self._dead}

    def tell_now(self) -> None:
        """Record what is known before whatever the writer is asked for next."""
        if self._timer is not None:
            self._timer.cancel()
            self._tell()

    def tell_if_due(self) -> None:
        """A group was stored; the next, if there is one, is with the writer: record what should have been."""
        if self._is_due:
            self._tell()

    async def flush(self, timeout_s: float) -> int:
        """Wait until all is recorded, at most `timeout_s`; returns how many outcomes are not."""
        give_up = self._loop.time() + timeout_s
        while self.unsettled() and self._loop.time() < give_up:  # noqa: ASYNC110 - once, at the end
            await asyncio.sleep(INTERVAL_S)
        return len(self.unsettled())

    def _tell_soon(self) -> None:
        if self._timer is None:
            self._timer = self._loop.call_later(INTERVAL_S, self._due)

    def _due(self) -> None:
        if self._storing():
            self._is_due = True
        else:
            self._tell()

    def _tell(self) -> None:
        self._timer = None
        self._is_due = False
        visible, self._visible = self._visible, []
        dead, self._dead = self._dead, []
        seqs = {seq for seq, _ in visible} | {seq for seq, _ in dead}
        self._told |= seqs

        def told(counted: int | None, error: Exception | None) -> None:
            self._told -= seqs
            if counted is None:
                self._failed(error)
                self._visible = visible + self._visible
                self._dead = dead + self._dead
                self._tell_soon()
            else:
                self.superseded += len(visible) + len(dead) - counted

        self._writer.call(lambda: self._storage.settle(visible, dead), told)
