"""What every reader of an events API shares: session, cursor, counts, and that it stores before it moves on.

A cursor moves once the events before it are stored, never sooner: a crash between the two costs a copy, which
the inbox knows for one, never an event. Only when the source says that the cursor is gone (410: it was
restarted) does a reader start over from the beginning.
"""

from __future__ import annotations

import contextlib
import logging
import ssl
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from types import SimpleNamespace
from typing import Any

import aiohttp

from loadtest.contract import MalformedEvent, now_us
from loadtest.http_bytes import exchange_bytes
from loadtest.inbox import MAX_SUBMISSION, Arrival, Inbox, InboxUnavailable
from loadtest.retry import retry_after_s
from sim.errors import HookbenchError

log = logging.getLogger("hookbench.poller")


class SourceRefused(HookbenchError):
    """The source answered, but not with events; the message says its status."""


class EventsClient:
    """A client of one source's events API that ends in one inbox; one request at a time.

    Args:
        source: the provider's base URL.
        inbox: where events go; it also keeps the cursor, so a restarted client goes on where it was.
        tls: for an https:// source; by default what the system trusts.
        skip_known: leave out events that the inbox has already, whichever way they came; else they count as
            copies.

    Attributes:
        counts: requests, empty_responses (a 304 is one too), not_modified, timeouts, errors, rejected (429),
            events, known_events (skipped), missed_events (the source says that it has forgotten them),
            request_bytes and response_bytes (HTTP headers and bodies), connections_opened.
    """

    keeps_connections = True

    def __init__(
        self, source: str, inbox: Inbox, *, tls: ssl.SSLContext | None = None, skip_known: bool = False
    ) -> None:
        self.source = source.rstrip("/")
        self._inbox = inbox
        self._tls = True if tls is None else tls
        self._skip_known = skip_known
        self._cursor: str | None = None
        self._resumed = False  # whether the inbox was asked for the cursor
        self._not_before_us = 0
        self._used_us = 0
        self._in_use_since_us: int | None = None
        self.counts = dict.fromkeys(
            (
                "requests", "empty_responses", "not_modified", "timeouts", "errors", "rejected", "events",
                "known_events", "missed_events", "request_bytes", "response_bytes", "connections_opened",
            ),
            0,
        )  # fmt: skip

    def status(self) -> dict[str, Any]:
        """The counts, and for how long a connection was in use until now."""
        since_us = self._in_use_since_us
        used_us = self._used_us + (0 if since_us is None else now_us() - since_us)
        return {**self.counts, "connection_s": used_us / 1e6}

    @contextlib.asynccontextmanager
    async def connected(self) -> AsyncIterator[None]:
        """Have a session for as long as the block runs."""
        trace = aiohttp.TraceConfig()
        trace.on_connection_create_end.append(self._count_connection)
        connector = (
            aiohttp.TCPConnector(limit=1, keepalive_timeout=60, ssl=self._tls)
            if self.keeps_connections
            else aiohttp.TCPConnector(limit=1, force_close=True, ssl=self._tls)
        )
        async with aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            trace_configs=[trace],
        ) as self._session:
            yield

    @contextlib.contextmanager
    def _in_use(self) -> Iterator[None]:
        self._in_use_since_us = now_us()
        try:
            yield
        finally:
            self._used_us += now_us() - self._in_use_since_us
            self._in_use_since_us = None

    async def _resume(self) -> None:
        """Ask the inbox, once, how far the source was read."""
        if not self._resumed:
            self._cursor = await self._inbox.cursor(self.source)
            self._resumed = True

    def _answered(self, response: aiohttp.ClientResponse, body: int) -> None:
        """Count an answer's bytes, and note how long it tells us to stay away.

        Raises:
            SourceRefused: it is a 410: the cursor is gone, and forgotten now.
        """
        request_bytes, response_bytes = exchange_bytes(response, 0, body)
        self.counts["request_bytes"] += request_bytes
        self.counts["response_bytes"] += response_bytes
        if response.status in (429, 503):
            asked_s = retry_after_s(response.headers.get("retry-after"), time.time())
            self._not_before_us = now_us() + round(asked_s * 1e6)
        if response.status == 410 and self._cursor is not None:
            self._cursor = None
            raise SourceRefused("the source has lost the cursor; starting over")

    async def _store(self, arrivals: Sequence[Arrival]) -> None:
        """Store what came, durably.

        Raises:
            InboxUnavailable: storage failed.
        """
        self.counts["events"] += len(arrivals)
        for start in range(0, len(arrivals), MAX_SUBMISSION):  # a source may send more than was asked for
            part = arrivals[start : start + MAX_SUBMISSION]
            if self._skip_known:
                known = await self._inbox.known([(each.source, each.event.id) for each in part])
                self.counts["known_events"] += len(known)
                part = [each for each in part if (each.source, each.event.id) not in known]
            if part:
                await self._inbox.submit(part, bounded=False)

    async def _move_to(self, cursor: str) -> bool:
        """Remember durably how far the source was read; returns whether that is further than before.

        Raises:
            InboxUnavailable: storage failed.
        """
        if cursor == self._cursor:
            return False
        await self._inbox.save_cursor(self.source, cursor)
        self._cursor = cursor
        return True

    @contextlib.contextmanager
    def _failing_softly(self) -> Iterator[None]:
        """Count what goes wrong in the block, and say it in a line; it is no reason to stop."""
        try:
            yield
        except TimeoutError:
            self.counts["timeouts"] += 1
        except (aiohttp.ClientError, OSError, MalformedEvent, SourceRefused, InboxUnavailable) as error:
            self.counts["errors"] += 1
            # The others' messages may quote what the source sent, and a log is no place for that.
            quotable = isinstance(error, SourceRefused | OSError | InboxUnavailable) and str(error)
            log.warning("a poll of %s failed: %s", self.source, quotable or type(error).__name__)

    async def _count_connection(
        self, _session: aiohttp.ClientSession, _context: SimpleNamespace, _params: object
    ) -> None:
        self.counts["connections_opened"] += 1
