"""The broker's consumer: brings messages into the inbox, and lets the broker forget them only then.

    broker ── messages ──> inbox ── committed ──> acknowledge, or commit the position, at the broker

Whatever breaks in between, the broker delivers again: at least once. The inbox knows an event by its id, so
what comes twice is counted as a duplicate and becomes visible once. While storage fails, the batch in hand is
tried again, and the broker's own limit (prefetch, one batch) keeps more from coming. A message that is no
event is refused: RabbitMQ moves it to the dead letters, a log goes on behind it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from typing import Literal

from loadtest.brokers.ends import BrokerUnavailable, Intake, Message
from loadtest.brokers.settings import Reconnect
from loadtest.brokers.wire import Wire
from loadtest.consumers.app import ConsumerApp
from loadtest.contract import MalformedEvent, parse_envelope
from loadtest.inbox import MAX_SUBMISSION, Arrival, Inbox, InboxUnavailable
from sim.errors import InputError

log = logging.getLogger("hookbench.consumer")

STORAGE_PAUSE_S = 0.2
FINISH_S = 10.0


class BrokerConsumer:
    """Consumes one queue, stream or topic into one inbox.

    Args:
        intake: the broker's end.
        inbox: where events go.
        via: the word in the inbox for the way they came: "queue" or "log".
        reconnect: how long to wait before connecting again.

    Attributes:
        counts: events, redelivered (the broker says so), malformed, errors, connections_opened; beside them
            those of the intake.
        connected: whether the last connection holds, as far as the library tells.
    """

    def __init__(
        self, intake: Intake, inbox: Inbox, via: Literal["queue", "log"], reconnect: Reconnect
    ) -> None:
        self._intake = intake
        self._inbox = inbox
        self._via = via
        self._reconnect = reconnect
        self._stopping = False
        self._empty_handed = asyncio.Event()
        self._empty_handed.set()
        self._failures = 0
        self._wire = Wire()
        self.connected = False
        self.counts = dict.fromkeys(("events", "redelivered", "malformed", "errors", "connections_opened"), 0)

    async def connect(self) -> None:
        """Connect and begin to consume.

        Raises:
            BrokerUnavailable: the broker cannot be reached.
        """
        await self._intake.connect()
        self.connected = True
        self.counts["connections_opened"] += 1

    async def finish(self) -> None:
        """Receive nothing more; what is in hand is stored and acknowledged, if it can be in time."""
        self._stopping = True
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(FINISH_S):
                await self._empty_handed.wait()

    def status(self) -> dict[str, int]:
        """Counts; bytes as the kernel counts them, where it does."""
        counts = {**self.counts, **self._intake.counts, "connected": int(self.connected)}
        traffic = self._wire.read(self._intake.peer_ports())
        if traffic is not None:
            counts["request_bytes"], counts["response_bytes"] = traffic
        return counts

    async def run(self) -> None:
        """Consume until cancelled; connect first, unless it is done. Then hang up."""
        try:
            while not self._stopping:
                await self._one_connection()
        finally:
            await self._intake.close()

    async def _one_connection(self) -> None:
        try:
            if not self.connected:
                await self.connect()
                log.warning("connected to the broker again")
            self._failures = 0
            while not self._stopping:
                await self._one_batch()
        except BrokerUnavailable as error:
            self.connected = False
            self._failures += 1
            self.counts["errors"] += 1
            log.warning("%s", error)
            if not self._stopping:
                await asyncio.sleep(self._reconnect.delay_s(self._failures, random.random()))

    async def _one_batch(self) -> None:
        messages = await self._intake.receive()
        if not messages:
            return
        self._empty_handed.clear()
        try:
            arrivals, stored, refused = self._parsed(messages)
            await self._store(arrivals)
            await self._intake.acknowledge(stored, refused)
        finally:
            self._empty_handed.set()

    def _parsed(self, messages: list[Message]) -> tuple[list[Arrival], list[Message], list[Message]]:
        arrivals: list[Arrival] = []
        stored: list[Message] = []
        refused: list[Message] = []
        for message in messages:
            self.counts["redelivered"] += message.redelivered
            try:
                event = parse_envelope(message.body)
            except MalformedEvent:
                refused.append(message)  # what is wrong with it may quote it, and a log is no place for that
            else:
                arrivals.append(Arrival(event, message.body, self._via, message.received_us))
                stored.append(message)
        self.counts["events"] += len(stored)
        if refused:
            self.counts["malformed"] += len(refused)
            log.warning("%d messages are no events and were refused", len(refused))
        return arrivals, stored, refused

    async def _store(self, arrivals: list[Arrival]) -> None:
        """Store a batch, however long that takes; what was stored before a failure is then a duplicate."""
        for start in range(0, len(arrivals), MAX_SUBMISSION):
            while True:
                try:
                    await self._inbox.submit(arrivals[start : start + MAX_SUBMISSION], bounded=False)
                    break
                except InboxUnavailable:
                    self.counts["errors"] += 1
                    await asyncio.sleep(STORAGE_PAUSE_S)


class BrokerConsumerApp(ConsumerApp):
    """The consumer as a process, which needs its broker to be there when it starts.

    Args:
        consumer: started before the server answers.
        inbox: the consumer's inbox.
        advice: what to do when the broker does not answer at the start, in words.
        drain_s: how long stored events may be served after the last message.
    """

    def __init__(self, consumer: BrokerConsumer, inbox: Inbox, advice: str, drain_s: float) -> None:
        super().__init__("consumer", consumer, inbox, drain_s)
        self._broker = consumer
        self._advice = advice

    async def start(self) -> None:
        """Connect, open the inbox, and begin to consume.

        Raises:
            InputError: no broker answers there. One that goes away later is waited for.
        """
        try:
            await self._broker.connect()
        except BrokerUnavailable as error:
            raise InputError(f"{error}; {self._advice}") from None
        await super().start()

    async def stop(self) -> None:
        """Let go of what is in hand, hang up; serve what is stored, for at most `drain_s`."""
        await self._broker.finish()
        await super().stop()

    def ready(self) -> str | None:
        """Not without a broker."""
        return None if self._broker.connected else "the broker is away"
