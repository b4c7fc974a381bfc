"""The two ends of a broker: what the provider publishes through, and what a consumer reads.

Both connect when told to and not by themselves: how long to wait after a failure is their owner's business.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

from loadtest.brokers.address import Address, address_of
from loadtest.brokers.settings import PullSettings, PushSettings
from sim.errors import HookbenchError, InputError

Settings = PushSettings | PullSettings

CONNECT_TIMEOUT_S = 5.0


class BrokerUnavailable(HookbenchError):
    """The broker does not answer, broke off or refused; the message says how, without what was sent."""


class MessageRefused(HookbenchError):
    """The broker takes others, but not this message: to send it again is in vain."""


class Message(NamedTuple):
    """One delivery by a broker.

    Attributes:
        body: the event's bytes.
        received_us: when it was completely here (µs, monotonic).
        redelivered: whether the broker says that it has delivered it before.
        place: what its own broker's module knows it by.
    """

    body: bytes
    received_us: int
    redelivered: bool
    place: Any


class Outlet(Protocol):
    """What the provider publishes through.

    Attributes:
        overlap: batches that may be on their way at the same time.
        most_in_batch: events in one of them.
        counts: `requests` (publish commands sent) and whatever else the module counts.
    """

    overlap: int
    most_in_batch: int
    counts: dict[str, int]

    async def connect(self) -> None:
        """Connect, and make sure that the queue, stream or topic is there.

        Raises:
            BrokerUnavailable: it failed.
        """

    async def send(self, batch: Sequence[tuple[str, bytes]]) -> None:
        """Publish events, given as id and bytes; returns when the broker has confirmed all of them.

        Raises:
            BrokerUnavailable: not all were confirmed; each may be at the broker all the same.
            MessageRefused: the broker does not take such messages.
        """

    def peer_ports(self) -> set[int]:
        """The ports of the servers that it talks to."""

    async def close(self) -> None:
        """Hang up; never raises for a connection that is broken already."""


class Intake(Protocol):
    """What a consumer reads.

    Attributes:
        counts: `requests` (fetches and commits, where those are requests), `empty_responses`, `commits`.
    """

    counts: dict[str, int]

    def peer_ports(self) -> set[int]:
        """The ports of the servers that it talks to."""

    async def connect(self) -> None:
        """Connect and begin to consume; what was not acknowledged before comes again.

        Raises:
            BrokerUnavailable: it failed.
        """

    async def receive(self) -> list[Message]:
        """Wait for messages; the list may be empty. Cancelling loses nothing that was not acknowledged.

        Raises:
            BrokerUnavailable: the connection broke.
        """

    async def acknowledge(self, stored: Sequence[Message], refused: Sequence[Message]) -> None:
        """Let go of what `receive` returned last.

        Args:
            stored: what is durable now.
            refused: what is no event and would not become one by coming again.

        Raises:
            BrokerUnavailable: the connection broke; the broker may deliver them again.
        """

    async def close(self) -> None:
        """Commit what is stored, as far as that is put off, and hang up; never raises."""


class Broker(Protocol):
    """One kind of broker at one address, and one queue, stream or topic there."""

    @property
    def address(self) -> Address:
        """Where it is."""

    @property
    def name(self) -> str:
        """Of the queue, stream or topic."""

    @property
    def settings(self) -> Settings:
        """What it was told of the scenario."""

    def outlet(self) -> Outlet:
        """A new publishing end."""

    def intake(self) -> Intake:
        """A new consuming end."""

    async def describe(self) -> dict[str, str]:
        """What answers there, for run.json: its version, how it persists.

        Raises:
            BrokerUnavailable: nothing does.
        """

    async def delete(self) -> None:
        """Delete the queue, stream or topic, with what belongs to it.

        Raises:
            BrokerUnavailable: it failed.
        """


def settings_of(kind: str, table: object) -> Settings:
    """The settings of a kind of broker from the scenario's table, as parsed from JSON.

    Raises:
        InputError: a table that is no good.
    """
    return PushSettings.from_table(table) if kind == "rabbitmq" else PullSettings.from_table(table)


def open_broker(source: str | Address, name: str, settings: Settings | None = None) -> Broker:
    """The broker at an address; nothing is connected yet.

    Args:
        source: a URL, or the word rabbitmq, redis or kafka for the one that the environment names.
        name: of the queue, stream or topic.
        settings: of the matching kind; by default the defaults.

    Raises:
        InputError: no such broker, or its client library is not installed.
    """
    address = address_of(source) if isinstance(source, str) else source
    settings = settings_of(address.kind, {}) if settings is None else settings
    for library in ("aiormq", "aiokafka"):  # their lines may show messages; ours say what is the matter
        logging.getLogger(library).setLevel(logging.CRITICAL)
    try:
        if isinstance(settings, PushSettings):
            from loadtest.brokers.rabbitmq import RabbitMQ  # noqa: PLC0415 - an optional dependency

            return RabbitMQ(address, name, settings)
        if address.kind == "redis":
            from loadtest.brokers.redis_streams import RedisStreams  # noqa: PLC0415

            return RedisStreams(address, name, settings)
        from loadtest.brokers.kafka import Kafka  # noqa: PLC0415

        return Kafka(address, name, settings)
    except ModuleNotFoundError as error:
        raise InputError(
            f"{address.title} needs the Python package {(error.name or '').partition('.')[0]}, which is not "
            "installed: pip install 'hookbench[brokers]'"
        ) from None
