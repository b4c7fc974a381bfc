"""RabbitMQ: a quorum queue, publisher confirms, and a consumer that acknowledges what is stored.

A quorum queue, because it counts deliveries: a message delivered `max_deliveries` times without being
acknowledged goes to the queue ``<name>.dead``, as does what the consumer refuses.

Sources: AMQP 0-9-1 specification, basic.qos, basic.ack, basic.reject; RabbitMQ documentation, "Consumer
Acknowledgements and Publisher Confirms", "Quorum Queues" (x-delivery-limit), "Dead Letter Exchanges",
"Detecting Dead TCP Connections with Heartbeats" (either side sends at half of the negotiated timeout).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from typing import Any

import aiormq
from aiormq.abc import AbstractChannel, AbstractConnection, DeliveredMessage
from aiormq.exceptions import AMQPError
from pamqp.commands import Basic
from yarl import URL

from loadtest.brokers.address import Address
from loadtest.brokers.ends import CONNECT_TIMEOUT_S, BrokerUnavailable, Message
from loadtest.brokers.settings import PushSettings
from loadtest.contract import now_us

_PERSISTENT = 2
_OVERLAP = 256
_CLOSE_TIMEOUT_S = 2.0
_FAILURES = (AMQPError, OSError, TimeoutError, RuntimeError, asyncio.CancelledError)


class RabbitMQ:
    """One queue at one RabbitMQ; see `loadtest.brokers.ends.Broker`."""

    def __init__(self, address: Address, name: str, settings: PushSettings) -> None:
        self.address = address
        self.name = name
        self.settings = settings

    def outlet(self) -> _Outlet:
        """A new publishing end."""
        return _Outlet(self)

    def intake(self) -> _Intake:
        """A new consuming end."""
        return _Intake(self)

    async def describe(self) -> dict[str, str]:
        """Its version and the kind of queue."""
        connection, _ = await self.connect()
        version = connection.server_properties.get("version", "unknown")
        await close(connection)
        if isinstance(version, bytes):
            version = version.decode()
        return {"product": "RabbitMQ", "version": str(version), "queue": "quorum, messages persistent"}

    async def delete(self) -> None:
        """Delete the queue and its dead letters."""
        connection, channel = await self.connect()
        async with failures("deleting the queue", self.address):
            for queue in (self.name, f"{self.name}.dead"):
                await channel.queue_delete(queue)
        await close(connection)

    async def connect(self) -> tuple[AbstractConnection, AbstractChannel]:
        """A connection, and a channel with publisher confirms."""
        url = URL(self.address.url).update_query(heartbeat=max(1, round(self.settings.heartbeat_timeout_s)))
        async with failures("connecting", self.address):
            connection = await asyncio.wait_for(aiormq.connect(url), CONNECT_TIMEOUT_S)
            return connection, await connection.channel(publisher_confirms=True)

    async def declare(self, channel: AbstractChannel) -> None:
        """Make sure that the queue is there, and the one for its dead letters."""
        async with failures("declaring the queue", self.address):
            dead = f"{self.name}.dead"
            await channel.queue_declare(dead, durable=True)
            await channel.queue_declare(
                self.name,
                durable=True,
                arguments={
                    "x-queue-type": "quorum",
                    # It counts returns to the queue, and the first delivery is none.
                    "x-delivery-limit": self.settings.max_deliveries - 1,
                    "x-dead-letter-exchange": "",
                    "x-dead-letter-routing-key": dead,
                },
            )


class _Outlet:
    """See `loadtest.brokers.ends.Outlet`: one persistent message an event, each confirmed."""

    overlap = _OVERLAP
    most_in_batch = 1

    def __init__(self, broker: RabbitMQ) -> None:
        self.counts = {"requests": 0}
        self._broker = broker
        self._connection: AbstractConnection | None = None

    async def connect(self) -> None:
        await self.close()
        self._connection, self._channel = await self._broker.connect()
        await self._broker.declare(self._channel)

    async def send(self, batch: Sequence[tuple[str, bytes]]) -> None:
        self.counts["requests"] += len(batch)
        async with failures("publishing", self._broker.address):
            confirmed = [await self._publish(name, body) for name, body in batch]
        if not all(isinstance(frame, Basic.Ack) for frame in confirmed):
            raise BrokerUnavailable(f"{self._broker.address.title} did not confirm a message")

    async def _publish(self, name: str, body: bytes) -> Any:
        properties = Basic.Properties(
            delivery_mode=_PERSISTENT, message_id=name, content_type="application/json"
        )
        return await self._channel.basic_publish(
            body, routing_key=self._broker.name, properties=properties, mandatory=True
        )

    def peer_ports(self) -> set[int]:
        return {port for _, port in self._broker.address.hosts}

    async def close(self) -> None:
        if self._connection is not None:
            connection, self._connection = self._connection, None
            await close(connection)


class _Intake:
    """See `loadtest.brokers.ends.Intake`: what arrives while one batch is being stored is the next."""

    def __init__(self, broker: RabbitMQ) -> None:
        self.counts = {"requests": 0, "empty_responses": 0, "commits": 0}
        self._broker = broker
        self._connection: AbstractConnection | None = None
        self._arrived: list[Message] = []
        self._news = asyncio.Event()
        self._lost = False

    async def connect(self) -> None:
        await self.close()
        self._arrived, self._news, self._lost = [], asyncio.Event(), False
        self._connection, self._channel = await self._broker.connect()
        await self._broker.declare(self._channel)
        arrived, news = self._arrived, self._news
        for ending in (self._connection.closing, self._channel.closing):
            ending.add_done_callback(lambda _: self._ended(news))
        self._channel.on_consumer_cancel_callbacks.add(lambda _: self._ended(news))

        async def deliver(message: DeliveredMessage) -> None:
            assert isinstance(message.delivery, Basic.Deliver)
            tag = message.delivery.delivery_tag
            arrived.append(Message(message.body, now_us(), bool(message.redelivered), tag))
            news.set()

        async with failures("consuming", self._broker.address):
            await self._channel.basic_qos(prefetch_count=self._broker.settings.prefetch)
            await self._channel.basic_consume(self._broker.name, deliver)

    def _ended(self, news: asyncio.Event) -> None:
        if news is self._news:  # and not an earlier connection's
            self._lost = True
            news.set()

    async def receive(self) -> list[Message]:
        await self._news.wait()
        self._news.clear()
        if self._lost:
            raise BrokerUnavailable(f"{self._broker.address.title} closed the connection")
        batch = self._arrived[:]
        self._arrived.clear()
        return batch

    async def acknowledge(self, stored: Sequence[Message], refused: Sequence[Message]) -> None:
        async with failures("acknowledging", self._broker.address):
            for message in refused:
                await self._channel.basic_reject(message.place, requeue=False)
            if stored:
                # All that came before it has been answered already: batches follow each other.
                await self._channel.basic_ack(max(message.place for message in stored), multiple=True)
                self.counts["commits"] += 1

    def peer_ports(self) -> set[int]:
        return {port for _, port in self._broker.address.hosts}

    async def close(self) -> None:
        if self._connection is not None:
            connection, self._connection = self._connection, None
            await close(connection)


async def close(connection: AbstractConnection) -> None:
    """Hang up, also on a broker that has gone."""
    with contextlib.suppress(AMQPError, OSError, TimeoutError, RuntimeError):
        await asyncio.wait_for(connection.close(), _CLOSE_TIMEOUT_S)


@contextlib.asynccontextmanager
async def failures(doing: str, address: Address) -> AsyncIterator[None]:
    """Turn the library's ways to fail into `BrokerUnavailable`.

    What waits on a connection that ends is cancelled by the library; who cancels us is told by `cancelling`.
    """
    try:
        yield
    except _FAILURES as error:
        task = asyncio.current_task()
        if isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling():
            raise
        raise BrokerUnavailable(
            f"{doing} failed: {address.title} at {address.shown}: {reason(error)}"
        ) from error


def reason(error: BaseException) -> str:
    """Why, in words that hold nothing of what was sent: the library's own reply texts or the system's."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return type(error).__name__
