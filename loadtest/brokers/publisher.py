"""The provider's way to a broker: each event is published when it happens, until the broker has confirmed it.

    waiting ──> on its way (`outlet.overlap` batches at most) ──> confirmed
       ^                          │ the connection broke
       └── in its old order ──────┘ connect again, after a back-off

At least once: what was not confirmed is sent again, although the broker may have it. What waits is bounded;
an event for which there is no room is dropped, and counted as failed.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from loadtest import logs
from loadtest.brokers.ends import BrokerUnavailable, MessageRefused, Outlet
from loadtest.brokers.settings import Reconnect
from loadtest.brokers.wire import Wire
from loadtest.contract import now_us
from loadtest.provider.delivery import ACKNOWLEDGED, FAILED, Delivery
from sim.errors import InputError

if TYPE_CHECKING:
    from loadtest.provider.feed import Published
    from loadtest.provider.ledger import Ledger

log = logging.getLogger("hookbench.publisher")

CONFIRM_TIMEOUT_S = 15.0
"""A broker that is silent for so long is given up, and connected to anew."""

RECONNECT = Reconnect(base_s=0.1, cap_s=5.0)


class BrokerPublisher:
    """Publishes what happens through one outlet.

    Args:
        outlet: where to.
        shown: the broker and the queue as the ledger names them; no password.
        advice: what to do when the broker does not answer at the start, in words.
        queue_limit: events that may wait for a confirmation.
        ledger: is told of every event, or None.
        reconnect: how long to wait before connecting again.

    Attributes:
        crashed: called with the reason should it ever stop by itself.
    """

    def __init__(
        self,
        outlet: Outlet,
        shown: str,
        *,
        advice: str = "",
        queue_limit: int = 100_000,
        ledger: Ledger | None = None,
        reconnect: Reconnect = RECONNECT,
    ) -> None:
        self._outlet = outlet
        self._shown = shown
        self._advice = advice
        self._queue_limit = queue_limit
        self._ledger = ledger
        self._reconnect = reconnect
        self._waiting: deque[Delivery] = deque()
        self._returned: list[Delivery] = []
        self._flights: set[asyncio.Task[None]] = set()
        self._in_flight = 0
        self._mending: asyncio.Task[None] | None = None
        self._up = False
        self._next = 0
        self._wire = Wire()
        self._told_of_drops = False
        self.crashed: Callable[[str], None] = lambda reason: None
        self._counts = dict.fromkeys(
            ("published", "confirmed", "failed", "retries", "errors", "connections_opened"), 0
        )

    async def start(self) -> None:
        """Connect.

        Raises:
            InputError: the broker cannot be reached. One that goes away later is waited for.
        """
        try:
            await self._connect()
        except BrokerUnavailable as error:
            await self._outlet.close()
            raise InputError(f"{error}; {self._advice}") from None

    @property
    def pending(self) -> int:
        """Events that are not confirmed yet."""
        return len(self._waiting) + len(self._returned) + self._in_flight

    def publish(self, published: Published) -> None:
        """Begin to publish an event, or drop it when there is no room."""
        delivery = Delivery(self._next, published)
        self._next += 1
        self._counts["published"] += 1
        if self.pending >= self._queue_limit:
            if not self._told_of_drops:
                self._told_of_drops = True
                log.warning(
                    "%d events wait for the broker; further ones are dropped and counted", self._queue_limit
                )
            self._end(delivery, FAILED)
            return
        self._waiting.append(delivery)
        self._pump()

    async def drain(self, until_us: int) -> int:
        """Publish what can be published before `until_us`, then hang up; returns what is left unconfirmed."""
        while self.pending and now_us() < until_us:  # noqa: ASYNC110 - at the very end
            await asyncio.sleep(0.01)
        self._up = False  # what lands from now on makes room for nothing
        tasks = [*self._flights, *([] if self._mending is None else [self._mending])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._outlet.close()
        left = sorted([*self._returned, *self._waiting], key=_number)
        for delivery in left:
            self._note(delivery)
        return len(left)

    def status(self) -> dict[str, int]:
        """Counts, each named ``broker_<what>``; bytes as the kernel counts them, where it does."""
        counts = {**self._counts, **self._outlet.counts}
        counts |= {"waiting": len(self._waiting) + len(self._returned), "in_flight": self._in_flight}
        counts["connected"] = int(self._up)
        traffic = self._wire.read(self._outlet.peer_ports())
        if traffic is not None:
            counts["request_bytes"], counts["response_bytes"] = traffic
        return {f"broker_{name}": count for name, count in counts.items()}

    async def _connect(self) -> None:
        await self._outlet.connect()
        self._counts["connections_opened"] += 1
        self._up = True

    def _pump(self) -> None:
        outlet = self._outlet
        while self._up and self._waiting and len(self._flights) < outlet.overlap:
            size = min(len(self._waiting), outlet.most_in_batch)
            batch = [self._waiting.popleft() for _ in range(size)]
            self._in_flight += size
            task = asyncio.get_running_loop().create_task(self._fly(batch))
            self._flights.add(task)
            task.add_done_callback(self._landed)

    async def _fly(self, batch: list[Delivery]) -> None:
        sent_us = now_us()
        for delivery in batch:
            self._counts["retries"] += delivery.attempts > 0
            delivery.attempts += 1
            if delivery.first_attempt_us is None:
                delivery.first_attempt_us = sent_us
        events = [(each.published.event.id, each.published.payload) for each in batch]
        kept = batch
        try:
            async with asyncio.timeout(CONFIRM_TIMEOUT_S):
                await self._outlet.send(events)
            kept = []
        except MessageRefused as error:
            self._counts["errors"] += 1
            log.warning("%s", error)
            kept = []
            for delivery in batch:
                self._end(delivery, FAILED)
        except (BrokerUnavailable, TimeoutError) as error:
            self._counts["errors"] += 1
            self._broken(error)
        else:
            confirmed_us = now_us()
            for delivery in batch:
                delivery.acknowledged_us = confirmed_us
                self._end(delivery, ACKNOWLEDGED)
        finally:
            self._in_flight -= len(batch)
            self._returned += kept

    def _landed(self, task: asyncio.Task[None]) -> None:
        self._flights.discard(task)
        self._check(task)
        self._pump()

    def _broken(self, error: Exception) -> None:
        if self._up:
            self._up = False
            # Said once: the others that are on their way fail for the same reason.
            log.warning("%s; connecting again", str(error) or "the broker does not confirm")
            self._mending = asyncio.get_running_loop().create_task(self._mend())
            self._mending.add_done_callback(self._check)

    async def _mend(self) -> None:
        """Connect again; before anything is sent, all that was on its way is back in its order."""
        await self._outlet.close()
        failures = 0
        while True:
            while self._flights:
                await asyncio.wait(set(self._flights))
            failures += 1
            await asyncio.sleep(self._reconnect.delay_s(failures, random.random()))
            try:
                await self._connect()
                break
            except BrokerUnavailable:
                self._counts["errors"] += 1
        self._waiting = deque(sorted([*self._returned, *self._waiting], key=_number))
        self._returned = []
        log.warning("connected to the broker again; %d events wait", len(self._waiting))
        self._pump()

    def _check(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            found = logs.whereabouts(error)
            self.crashed(f"the publisher died: {found['exception']} at {found['where']}")

    def _end(self, delivery: Delivery, outcome: str) -> None:
        delivery.outcome = outcome
        self._counts["confirmed" if outcome == ACKNOWLEDGED else "failed"] += 1
        self._note(delivery)

    def _note(self, delivery: Delivery) -> None:
        if self._ledger is not None:
            self._ledger.delivery(delivery, self._shown)


def _number(delivery: Delivery) -> int:
    return delivery.number
