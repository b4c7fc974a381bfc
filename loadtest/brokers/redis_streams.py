"""Redis Streams: one stream, one consumer group, entries acknowledged once they are stored.

A consumer first reads what it was given and did not acknowledge, then what is new. It takes over what another
consumer of the group has held for longer than a commit and a rebalance take (XAUTOCLAIM): that one is dead.
A stream is a log: what is acknowledged stays in it until somebody trims or deletes it.

Sources: Redis documentation, "Redis Streams", and the commands XADD, XREADGROUP, XACK and XAUTOCLAIM.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import time
from collections.abc import Iterator, Sequence
from typing import Any

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError, RedisError, ResponseError

from loadtest.brokers.address import Address
from loadtest.brokers.ends import CONNECT_TIMEOUT_S, BrokerUnavailable, Message
from loadtest.brokers.settings import PullSettings
from loadtest.contract import now_us

GROUP = "hookbench"
FIELD = b"event"

_ANSWER_TIMEOUT_S = 10.0
_MOST_IN_BATCH = 100


class RedisStreams:
    """One stream at one Redis; see `loadtest.brokers.ends.Broker`."""

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
        """Its version, and whether it writes to disk before it confirms."""
        client = self.client()
        try:
            with failures("asking", self.address):
                about: dict[str, Any] = await client.info()
                written = "to an append-only file" if about.get("aof_enabled") else "to no append-only file"
                with contextlib.suppress(ResponseError):  # some providers forbid CONFIG
                    if about.get("aof_enabled"):
                        written += f", appendfsync {(await client.config_get('appendfsync'))['appendfsync']}"
            return {"product": "Redis", "version": str(about["redis_version"]), "persistence": written}
        finally:
            await hang_up(client)

    async def delete(self) -> None:
        """Delete the stream and with it its group."""
        client = self.client()
        try:
            with failures("deleting the stream", self.address):
                await client.delete(self.name)
        finally:
            await hang_up(client)

    def client(self) -> Redis:
        """A client of one connection, which does not try again by itself."""
        longest_s = self.settings.fetch_max_wait_s + _ANSWER_TIMEOUT_S
        return Redis.from_url(
            self.address.url,
            single_connection_client=True,
            socket_connect_timeout=CONNECT_TIMEOUT_S,
            socket_timeout=longest_s,
            retry=Retry(NoBackoff(), 0),
            decode_responses=False,
        )

    async def ensure(self, client: Redis) -> None:
        """Make sure that the stream and its group are there."""
        try:
            await client.xgroup_create(self.name, GROUP, id="0", mkstream=True)
        except ResponseError as error:
            if not str(error).startswith("BUSYGROUP"):
                raise


class _Outlet:
    """See `loadtest.brokers.ends.Outlet`: what waits is one pipeline of XADDs, one pipeline at a time."""

    overlap = 1
    most_in_batch = _MOST_IN_BATCH

    def __init__(self, broker: RedisStreams) -> None:
        self.counts = {"requests": 0}
        self._broker = broker
        self._client: Redis | None = None

    async def connect(self) -> None:
        await self.close()
        self._client = self._broker.client()
        with failures("connecting", self._broker.address):
            await self._broker.ensure(self._client)

    async def send(self, batch: Sequence[tuple[str, bytes]]) -> None:
        assert self._client is not None
        self.counts["requests"] += len(batch)
        with failures("publishing", self._broker.address):
            async with self._client.pipeline(transaction=False) as commands:
                for _, body in batch:
                    commands.xadd(self._broker.name, {FIELD: body})
                await commands.execute()

    def peer_ports(self) -> set[int]:
        return {port for _, port in self._broker.address.hosts}

    async def close(self) -> None:
        if self._client is not None:
            await hang_up(self._client)
            self._client = None


class _Intake:
    """See `loadtest.brokers.ends.Intake`."""

    def __init__(self, broker: RedisStreams) -> None:
        self.counts = {"requests": 0, "empty_responses": 0, "commits": 0, "claimed": 0}
        self._broker = broker
        self._settings = broker.settings
        self._consumer = f"{os.getpid()}-{secrets.token_hex(4)}"
        self._client: Redis | None = None
        self._own: bytes | None = b"0"  # where to go on with what we hold already; None: only what is new
        self._uncommitted: list[bytes] = []
        self._committed_s = 0.0
        # A consumer that is alive has acknowledged what it stored within so long.
        self._dead_after_s = self._settings.commit_interval_s + self._settings.rebalance_s
        self._claimed_s = 0.0

    async def connect(self) -> None:
        await self._hang_up()
        self._client = self._broker.client()
        with failures("connecting", self._broker.address):
            await self._broker.ensure(self._client)
        self._own = b"0"
        self._committed_s, self._claimed_s = time.monotonic(), 0.0

    async def receive(self) -> list[Message]:
        assert self._client is not None
        with failures("fetching", self._broker.address):
            if time.monotonic() - self._committed_s >= self._settings.commit_interval_s:
                await self._commit()
            if time.monotonic() - self._claimed_s >= self._dead_after_s / 2:
                self._claimed_s = time.monotonic()
                if claimed := await self._claim():
                    return claimed
            entries, own = await self._read(), self._own is not None
            if own:
                self._own = entries[-1][0] if entries else None
                held = set(self._uncommitted)
                entries = [entry for entry in entries if entry[0] not in held]
        if not entries:
            self.counts["empty_responses"] += not own
        return _messages(entries, redelivered=own)

    async def _read(self) -> list[tuple[bytes, dict[bytes, bytes] | None]]:
        assert self._client is not None
        settings = self._settings
        self.counts["requests"] += 1
        wait_s = settings.fetch_max_wait_s or settings.idle_s
        answer: Any = await self._client.xreadgroup(
            GROUP,
            self._consumer,
            {self._broker.name: b">" if self._own is None else self._own},
            count=settings.max_records,
            block=max(1, round(wait_s * 1000)) if self._own is None else None,
        )
        if isinstance(answer, dict):  # RESP3
            return [entry for lists in answer.values() for entries in lists for entry in entries]
        return [entry for _, entries in answer or () for entry in entries]

    async def _claim(self) -> list[Message]:
        """What consumers that are dead by now were given and did not acknowledge."""
        assert self._client is not None
        self.counts["requests"] += 1
        _, entries, *_ = await self._client.xautoclaim(
            self._broker.name,
            GROUP,
            self._consumer,
            min_idle_time=round(self._dead_after_s * 1000),
            count=self._settings.max_records,
        )
        held = set(self._uncommitted)
        entries = [entry for entry in entries if entry[0] not in held]
        self.counts["claimed"] += len(entries)
        if len(entries) == self._settings.max_records:
            self._claimed_s = 0.0  # there may be more
        return _messages(entries, redelivered=True)

    async def acknowledge(self, stored: Sequence[Message], refused: Sequence[Message]) -> None:
        self._uncommitted += [message.place for message in (*stored, *refused)]
        if self._settings.commit_interval_s == 0:
            with failures("acknowledging", self._broker.address):
                await self._commit()

    async def _commit(self) -> None:
        assert self._client is not None
        self._committed_s = time.monotonic()
        if self._uncommitted:
            self.counts["requests"] += 1
            self.counts["commits"] += 1
            await self._client.xack(self._broker.name, GROUP, *self._uncommitted)
            self._uncommitted.clear()

    def peer_ports(self) -> set[int]:
        return {port for _, port in self._broker.address.hosts}

    async def close(self) -> None:
        if self._client is not None:
            with contextlib.suppress(BrokerUnavailable), failures("acknowledging", self._broker.address):
                await self._commit()
                # What it holds would be lost with it, so only one that holds nothing leaves the group.
                pending: Any = await self._client.xpending_range(
                    self._broker.name, GROUP, "-", "+", 1, consumername=self._consumer
                )
                if not pending:
                    await self._client.xgroup_delconsumer(self._broker.name, GROUP, self._consumer)
            await self._hang_up()

    async def _hang_up(self) -> None:
        if self._client is not None:
            await hang_up(self._client)
            self._client = None


def _messages(entries: Sequence[tuple[bytes, dict[bytes, bytes] | None]], redelivered: bool) -> list[Message]:
    """Entries as messages; one that was deleted meanwhile, or is not ours, has an empty body."""
    received_us = now_us()
    return [
        Message((fields or {}).get(FIELD, b""), received_us, redelivered, place) for place, fields in entries
    ]


async def hang_up(client: Redis) -> None:
    """Close, also when Redis has gone."""
    with contextlib.suppress(RedisError, OSError, TimeoutError):
        await client.aclose()


@contextlib.contextmanager
def failures(doing: str, address: Address) -> Iterator[None]:
    """Turn the library's ways to fail into `BrokerUnavailable`."""
    try:
        yield
    except (RedisError, OSError, TimeoutError) as error:
        # A reply's first word is its kind (NOGROUP, NOAUTH, READONLY); the rest may quote what was sent.
        why = type(error).__name__
        if isinstance(error, ResponseError) and not isinstance(error, AuthenticationError):
            why += f" {str(error).partition(' ')[0]:.20}"
        raise BrokerUnavailable(f"{doing} failed: {address.title} at {address.shown}: {why}") from error
