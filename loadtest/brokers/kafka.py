"""Kafka: one topic, a producer with acks=all, and consumers of one group that commit what is stored.

An event's key is its id, so the partition it goes to is as good as random, and within a partition the order
is that of publishing. Consumers commit explicit offsets, never beyond what is stored: at most every
`commit_interval_s` when they fetch, when their partitions are taken away, and at the end.

Sources: Apache Kafka documentation, "Producer Configs" (acks, linger.ms) and "Consumer Configs"
(fetch.min.bytes, fetch.max.wait.ms, max.poll.records, enable.auto.commit); aiokafka documentation.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import ssl
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.abc import ConsumerRebalanceListener
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import (
    CommitFailedError,
    IllegalStateError,
    KafkaError,
    MessageSizeTooLargeError,
    RecordTooLargeError,
    for_code,
)

from loadtest.brokers.address import Address
from loadtest.brokers.ends import CONNECT_TIMEOUT_S, BrokerUnavailable, Message, MessageRefused
from loadtest.brokers.settings import PullSettings
from loadtest.contract import now_us

log = logging.getLogger("hookbench.brokers")

GROUP_SUFFIX = "-consumers"

_OVERLAP = 256
_HEARTBEAT_MS = 500
_LEAST_SESSION_MS = 6000  # group.min.session.timeout.ms of brokers, unless told otherwise
_JOIN_TIMEOUT_S = 15.0
_LOOK_S = 0.05
_CLOSE_TIMEOUT_S = 5.0
_REQUEST_TIMEOUT_MS = 10_000
_TOPIC_EXISTS = 36


class Kafka:
    """One topic at one Kafka; see `loadtest.brokers.ends.Broker`."""

    def __init__(self, address: Address, name: str, settings: PullSettings) -> None:
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
        """How many brokers there are; the protocol does not tell their version."""
        async with self.admin() as admin:
            with failures("asking", self.address):
                cluster = await admin.describe_cluster()
        return {
            "product": "Kafka protocol",
            "brokers": str(len(cluster["brokers"])),
            "acks": "all, of one replica",
        }

    async def delete(self) -> None:
        """Delete the topic."""
        async with self.admin() as admin:
            with failures("deleting the topic", self.address):
                await admin.delete_topics([self.name])

    async def ensure(self) -> None:
        """Make sure that the topic is there, with the partitions that are asked for if it is new."""
        async with self.admin() as admin:
            with failures("creating the topic", self.address):
                answer = await admin.create_topics([NewTopic(self.name, self.settings.partitions, 1)])
                for _, code, *_ in answer.topic_errors:
                    if code not in (0, _TOPIC_EXISTS):
                        raise for_code(code)

    @contextlib.asynccontextmanager
    async def admin(self) -> AsyncIterator[Any]:
        """A client for such things, while the block lasts."""
        admin = AIOKafkaAdminClient(**self.connection())
        try:
            with failures("connecting", self.address):
                await asyncio.wait_for(admin.start(), CONNECT_TIMEOUT_S)
            yield admin
        finally:
            with contextlib.suppress(KafkaError, OSError, TimeoutError):
                await asyncio.wait_for(admin.close(), _CLOSE_TIMEOUT_S)

    def connection(self) -> dict[str, Any]:
        """What every client is told of how to connect."""
        options: dict[str, Any] = {
            "bootstrap_servers": [f"{host}:{port}" for host, port in self.address.hosts],
            "request_timeout_ms": _REQUEST_TIMEOUT_MS,
        }
        protocol = "SSL" if self.address.is_secure else "PLAINTEXT"
        if self.address.is_secure:
            options["ssl_context"] = ssl.create_default_context()
        if self.address.credentials is not None:
            protocol = f"SASL_{protocol}"
            user, password = self.address.credentials
            options |= {
                "sasl_mechanism": "PLAIN", "sasl_plain_username": user, "sasl_plain_password": password,
            }  # fmt: skip
        return options | {"security_protocol": protocol}


class _Outlet:
    """See `loadtest.brokers.ends.Outlet`; the producer gathers what waits for a broker into one request."""

    overlap = _OVERLAP
    most_in_batch = 1

    def __init__(self, broker: Kafka) -> None:
        self.counts = {"requests": 0}
        self._broker = broker
        self._producer: AIOKafkaProducer | None = None

    async def connect(self) -> None:
        await self.close()
        await self._broker.ensure()
        self._producer = AIOKafkaProducer(
            **self._broker.connection(), acks="all", linger_ms=0, enable_idempotence=False,
            max_request_size=64 * 2**20,
        )  # fmt: skip
        _watch(self._producer.client, self._sent)
        with failures("connecting", self._broker.address):
            await asyncio.wait_for(self._producer.start(), CONNECT_TIMEOUT_S)

    def _sent(self, kind: str, _answer: Any) -> None:
        self.counts["requests"] += kind == "ProduceRequest"

    async def send(self, batch: Sequence[tuple[str, bytes]]) -> None:
        producer = self._producer
        assert producer is not None
        with failures("publishing", self._broker.address), _refusals(self._broker.address):
            confirmed = [
                await producer.send(self._broker.name, body, key=name.encode()) for name, body in batch
            ]
            await asyncio.gather(*confirmed)

    def peer_ports(self) -> set[int]:
        return _ports(self._broker, [] if self._producer is None else [self._producer.client])

    async def close(self) -> None:
        if self._producer is not None:
            producer, self._producer = self._producer, None
            with contextlib.suppress(KafkaError, OSError, TimeoutError):
                await asyncio.wait_for(producer.stop(), _CLOSE_TIMEOUT_S)


class _Member:
    """One consumer of the group, which fetches again once its last batch is acknowledged.

    Attributes:
        batch: what it fetched last; empty once that is acknowledged.
    """

    def __init__(self, broker: Kafka, counts: dict[str, int]) -> None:
        settings = broker.settings
        self.batch: list[Message] = []
        self._acknowledged = asyncio.Event()
        self._settings = settings
        self._counts = counts
        self._stored: dict[TopicPartition, int] = {}
        self._committed_s = time.monotonic()
        self.consumer = AIOKafkaConsumer(
            **broker.connection(),
            group_id=broker.name + GROUP_SUFFIX,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            fetch_min_bytes=1 if settings.fetch_min == 1 else settings.fetch_min * settings.event_bytes,
            fetch_max_wait_ms=round(settings.fetch_max_wait_s * 1000),
            max_poll_records=settings.max_records,
            heartbeat_interval_ms=_HEARTBEAT_MS,
            session_timeout_ms=max(_LEAST_SESSION_MS, round(settings.rebalance_s * 1000)),
        )
        self.consumer.subscribe([broker.name], listener=_Revocation(self))
        _watch(self.consumer._client, self._sent)

    def _sent(self, kind: str, answer: Any) -> None:
        if kind == "FetchRequest":
            self._counts["requests"] += 1
            parts = [part for _, parts in getattr(answer, "topics", ()) for part in parts]
            self._counts["empty_responses"] += answer is not None and not any(part[-1] for part in parts)
        elif kind == "OffsetCommitRequest":
            self._counts["requests"] += 1
            self._counts["commits"] += 1

    async def fetch(self, news: asyncio.Event) -> None:
        """Fetch for ever."""
        settings = self._settings
        wait_ms = max(1, round(settings.fetch_max_wait_s * 1000))
        while True:
            if time.monotonic() - self._committed_s >= settings.commit_interval_s:
                await self.commit()
            fetched = await self.consumer.getmany(timeout_ms=wait_ms, max_records=settings.max_records)
            received_us = now_us()
            self.batch = [
                Message(record.value or b"", received_us, False, (self, partition, record.offset))
                for partition, records in fetched.items()
                for record in records
            ]
            if self.batch:
                self._acknowledged.clear()
                news.set()
                await self._acknowledged.wait()
            elif settings.idle_s:
                await asyncio.sleep(settings.idle_s)

    def acknowledge(self) -> None:
        """Its batch is stored."""
        for message in self.batch:
            _, partition, offset = message.place
            self._stored[partition] = offset + 1
        self.batch = []
        self._acknowledged.set()

    async def commit(self, among: Sequence[TopicPartition] | None = None) -> None:
        """Commit what is stored, of certain partitions or of all that it still has.

        A group that goes through a rebalance refuses: whoever gets the partition fetches those records again.
        """
        self._committed_s = time.monotonic()
        own = self.consumer.assignment() if among is None else among
        offsets = {partition: self._stored[partition] for partition in own if partition in self._stored}
        if offsets:
            with contextlib.suppress(CommitFailedError, IllegalStateError):
                await self.consumer.commit(offsets)


class _Revocation(ConsumerRebalanceListener):  # type: ignore[misc]  # the library is not typed
    """Commits what is stored of partitions that go to another consumer."""

    def __init__(self, member: _Member) -> None:
        self._member = member

    async def on_partitions_revoked(self, revoked: Sequence[TopicPartition]) -> None:
        """The library's call, before the group goes on."""
        with contextlib.suppress(KafkaError):
            await self._member.commit(list(revoked))

    def on_partitions_assigned(self, assigned: Sequence[TopicPartition]) -> None:
        """The library's call; it goes on from what is committed by itself."""


class _Intake:
    """See `loadtest.brokers.ends.Intake`; a batch is one consumer's."""

    def __init__(self, broker: Kafka) -> None:
        self.counts = {"requests": 0, "empty_responses": 0, "commits": 0}
        self._broker = broker
        self._members: list[_Member] = []
        self._fetching: list[asyncio.Task[None]] = []
        self._news = asyncio.Event()

    async def connect(self) -> None:
        await self.close()
        await self._broker.ensure()
        self._members = [_Member(self._broker, self.counts) for _ in range(self._broker.settings.consumers)]
        self._news = asyncio.Event()
        with failures("joining the group", self._broker.address):
            starts = [asyncio.ensure_future(member.consumer.start()) for member in self._members]
            try:
                async with asyncio.timeout(_JOIN_TIMEOUT_S):
                    await asyncio.gather(*starts)
                    await self._until_shared_out()
            except BaseException:
                await asyncio.gather(*starts, return_exceptions=True)
                await self._stop()
                raise
        self._fetching = [asyncio.ensure_future(member.fetch(self._news)) for member in self._members]
        for task in self._fetching:
            task.add_done_callback(lambda _: self._news.set())

    async def _until_shared_out(self) -> None:
        """Wait until each member has a partition, where there are enough: the last to join moves them all."""
        wanted = min(len(self._members), self._broker.settings.partitions)
        while sum(bool(member.consumer.assignment()) for member in self._members) < wanted:  # noqa: ASYNC110 - the library tells no event
            await asyncio.sleep(_LOOK_S)

    async def receive(self) -> list[Message]:
        while True:
            for task in self._fetching:
                if task.done():
                    with failures("fetching", self._broker.address):
                        task.result()
            for member in self._members:
                if member.batch:
                    return member.batch
            self._news.clear()
            await self._news.wait()

    async def acknowledge(self, stored: Sequence[Message], refused: Sequence[Message]) -> None:
        for message in (*stored, *refused)[:1]:
            message.place[0].acknowledge()

    def peer_ports(self) -> set[int]:
        return _ports(self._broker, [member.consumer._client for member in self._members])

    async def close(self) -> None:
        for task in self._fetching:
            task.cancel()
        await asyncio.gather(*self._fetching, return_exceptions=True)
        self._fetching = []
        for member in self._members:
            with contextlib.suppress(KafkaError, OSError, TimeoutError):
                await asyncio.wait_for(member.commit(), _CLOSE_TIMEOUT_S)
        await self._stop()

    async def _stop(self) -> None:
        members, self._members = self._members, []
        for member in members:
            with contextlib.suppress(KafkaError, OSError, TimeoutError):
                await asyncio.wait_for(member.consumer.stop(), _CLOSE_TIMEOUT_S)


def _ports(broker: Kafka, clients: Sequence[Any]) -> set[int]:
    """Of the servers that were named, and of those that they told of."""
    told = {server.port for client in clients for server in client.cluster.brokers()}
    return told | {port for _, port in broker.address.hosts}


def _watch(client: Any, seen: Callable[[str, Any], None]) -> None:
    """Have each request of a client told by its kind, with the answer, or None where none came."""
    send = client.send

    async def told(node_id: int, request: Any, **options: Any) -> Any:
        kind, answer = type(request).__name__, None
        try:
            answer = await send(node_id, request, **options)
        except KafkaError as error:
            log.warning("Kafka: a %s failed: %s", kind, type(error).__name__)  # the library tries again
            raise
        finally:
            seen(kind, answer)
        return answer

    client.send = told


@contextlib.contextmanager
def _refusals(address: Address) -> Iterator[None]:
    try:
        yield
    except (MessageSizeTooLargeError, RecordTooLargeError) as error:
        raise MessageRefused(f"{address.title} does not take a message: {type(error).__name__}") from error


@contextlib.contextmanager
def failures(doing: str, address: Address) -> Iterator[None]:
    """Turn the library's ways to fail into `BrokerUnavailable`."""
    try:
        yield
    except (KafkaError, OSError, TimeoutError) as error:
        raise BrokerUnavailable(
            f"{doing} failed: {address.title} at {address.shown}: {type(error).__name__}"
        ) from error
