"""Notices in the inbox: stored and acknowledged at once, completed by what they tell of, only then served.

A notice is an event of the inbox like any other from the moment it is stored, so it is deduplicated, survives
its process and is taken over by others; what is not there yet is its payload. It is fetched by as many at a
time as there are, then recorded durably, and then the event queues for the worker as if it had come whole. A
notice that cannot be completed becomes a dead letter, which an operator may replay.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence, Set
from typing import Any, Protocol

from loadtest.inbox.handler import reason_of
from loadtest.inbox.storage import Owned, StoredEvent
from loadtest.inbox.worker import Worker
from sim.errors import HookbenchError

log = logging.getLogger("hookbench.inbox")

STORAGE_PAUSE_S = 0.2  # before what storage failed to do is tried again

Fill = Callable[[list[tuple[int, bytes]], Callable[[Any, Exception | None], None]], None]
Read = Callable[[list[int], Callable[[list[StoredEvent] | None, Exception | None], None]], None]


class CannotComplete(HookbenchError):
    """What a notice tells of cannot be had; the message says why, quoting nothing that came from outside."""


class Completer(Protocol):
    """Gets what a notice tells of."""

    async def open(self) -> None:
        """Called once, on the event loop, before anything is asked for."""

    async def complete(self, event: StoredEvent) -> bytes | None:
        """The whole event's bytes, or None where it is whole already.

        Raises:
            CannotComplete: it is given up.
        """

    async def close(self) -> None:
        """Called once, when nothing more is asked for."""

    def status(self) -> dict[str, Any]:
        """Counts."""


class CompletingWorker:
    """Stands before a worker, and lets events through once they are complete.

    Args:
        inner: the worker that serves them.
        completer: gets what is missing.
        read: reports the stored events of some seqs that are this process's to serve.
        fill: records payloads durably, and reports.
        buried: is told (seq, reason) of notices that are given up.

    Attributes:
        completing: events that are not complete yet.
    """

    def __init__(
        self,
        inner: Worker,
        completer: Completer,
        read: Read,
        fill: Fill,
        buried: Callable[[list[tuple[int, str]]], None],
    ) -> None:
        self._inner = inner
        self._completer = completer
        self._read = read
        self._fill = fill
        self._buried = buried
        self._owned: dict[int, Owned] = {}  # not complete yet, by seq
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._filled: list[tuple[int, bytes]] = []  # got, and not recorded yet
        self._filling = False
        self._done = asyncio.Event()
        self._done.set()
        self._given_up = 0

    def __getattr__(self, name: str) -> Any:
        """What the worker says of itself: in_service, visible, queue_max and the like."""
        return getattr(self._inner, name)

    @property
    def completing(self) -> int:
        """Events that are not complete yet."""
        return len(self._owned)

    @property
    def waiting(self) -> int:
        """Stored events that no slot has begun to serve, the incomplete among them."""
        return self._inner.waiting + len(self._owned)

    @property
    def dead(self) -> int:
        """Events given up, here or by the worker."""
        return self._inner.dead + self._given_up

    def offer(self, events: list[tuple[int, int]]) -> None:
        """Complete these, then queue them."""
        self._take([Owned(seq, index, 0) for seq, index in events])

    def take_over(self, events: Sequence[Owned]) -> None:
        """The same of events of another process, which may have been complete already."""
        self._take(events)

    def held(self) -> set[int]:
        """The seq of every event that is here."""
        return self._inner.held() | self._owned.keys()

    def drop(self, seqs: Set[int]) -> None:
        """Do nothing more for what belongs to another process now."""
        for seq in self._owned.keys() & seqs:
            self._leave(seq)
            if (task := self._tasks.pop(seq, None)) is not None:
                task.cancel()
        self._inner.drop(seqs)

    async def drain(self) -> None:
        """Return when all is complete and served."""
        await self._done.wait()
        await self._inner.drain()

    async def stop(self) -> None:
        """Complete no more; what is left stays stored for the next start."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._inner.stop()

    def _take(self, events: Sequence[Owned]) -> None:
        if events:
            self._owned |= {event.seq: event for event in events}
            self._done.clear()
            self._ask([event.seq for event in events])

    def _ask(self, seqs: list[int]) -> None:
        def read(events: list[StoredEvent] | None, error: Exception | None) -> None:
            if error is not None or events is None:
                asyncio.get_running_loop().call_later(STORAGE_PAUSE_S, self._ask, seqs)
                return
            ours = {event.seq: event for event in events}
            for seq in seqs:
                if seq not in self._owned:
                    continue  # dropped meanwhile
                if seq not in ours:  # it belongs to another process: the next beat tells
                    self._leave(seq)
                    continue
                task = asyncio.get_running_loop().create_task(self._complete(ours[seq]))
                self._tasks[seq] = task

        self._read(seqs, read)

    async def _complete(self, event: StoredEvent) -> None:
        try:
            payload = await self._completer.complete(event)
        except Exception as error:  # the completer is handed in: whatever it raises must not be the end
            reason = str(error) if isinstance(error, CannotComplete) else reason_of(error)
            log.error("event %s is a dead letter: %s", event.id, reason)
            self._given_up += 1
            self._buried([(event.seq, reason)])
            self._leave(event.seq)
        else:
            if payload is None:
                self._let_through([event.seq])
            else:
                self._filled.append((event.seq, payload))
                self._record()
        finally:
            self._tasks.pop(event.seq, None)

    def _record(self) -> None:
        """Record what was got; while that goes on, more gathers."""
        if self._filling or not self._filled:
            return
        group, self._filled = self._filled, []
        self._filling = True

        def recorded(_: Any, error: Exception | None) -> None:
            self._filling = False
            if error is not None:
                self._filled = group + self._filled
                asyncio.get_running_loop().call_later(STORAGE_PAUSE_S, self._record)
                return
            self._let_through([seq for seq, _ in group if seq in self._owned])
            self._record()

        self._fill(group, recorded)

    def _let_through(self, seqs: list[int]) -> None:
        events = [self._owned[seq] for seq in seqs]
        fresh = [(event.seq, event.event_index) for event in events if not event.attempts]
        begun = [event for event in events if event.attempts]
        if fresh:
            self._inner.offer(fresh)
        if begun:
            self._inner.take_over(begun)
        for seq in seqs:
            self._leave(seq)

    def _leave(self, seq: int) -> None:
        self._owned.pop(seq, None)
        if not self._owned:
            self._done.set()
