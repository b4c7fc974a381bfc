"""What every client of an events API shares: session and counts; and every reader: cursor and storing.

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


class SourceClient:
    """A client of one source's events API.

    Args:
        source: the provider's base URL.
        tls: for an https:// source; by default what the system trusts.
        connections: the most it opens at a time.
        keep_alive: whether a connection is used again.

    Attributes:
        counts: requests, timeouts, errors, rejected (429), request_bytes and response_bytes (HTTP headers and
            bodies), connections_opened, connections_peak (requests under way at once).
    """

    def __init__(
        self,
        source: str,
        *,
        tls: ssl.SSLContext | None = None,
        connections: int = 1,
        keep_alive: bool = True,
    ) -> None:
        self.source = source.rstrip("/")
        self._tls = True if tls is None else tls
        self._most = connections
        self._keep_alive = keep_alive
        self._in_use = 0
        self._used_us = 0
        self._changed_us = 0
        self.counts = dict.fromkeys(
            (
                "requests", "timeouts", "errors", "rejected", "request_bytes", "response_bytes",
                "connections_opened", "connections_peak",
            ),
            0,
        )  # fmt: skip

    def status(self) -> dict[str, Any]:
        """The counts, and for how long connections were in use until now, added up."""
        used_us = self._used_us + self._in_use * (now_us() - self._changed_us)
        return {**self.counts, "connection_s": used_us / 1e6}

    @contextlib.asynccontextmanager
    async def connected(self) -> AsyncIterator[None]:
        """Have a session for as long as the block runs."""
        trace = aiohttp.TraceConfig()
        trace.on_connection_create_end.append(self._count_connection)
        kept: dict[str, Any] = {"keepalive_timeout": 60} if self._keep_alive else {"force_close": True}
        async with aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=self._most, ssl=self._tls, **kept),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            trace_configs=[trace],
        ) as self._session:
            yield

    @contextlib.contextmanager
    def _requesting(self) -> Iterator[None]:
        """One request in the block; its failure is counted and said in a line, and is no reason to stop."""
        self._change(1)
        try:
            yield
        except TimeoutError:
            self.counts["timeouts"] += 1
        except (aiohttp.ClientError, OSError, MalformedEvent, SourceRefused, InboxUnavailable) as error:
            self.counts["errors"] += 1
            # The others' messages may quote what the source sent, and a log is no place for that.
            quotable = isinstance(error, SourceRefused | OSError | InboxUnavailable) and str(error)
            log.warning("a request to %s failed: %s", self.source, quotable or type(error).__name__)
        finally:
            self._change(-1)

    def _change(self, in_use: int) -> None:
        now = now_us()
        self._used_us += self._in_use * (now - self._changed_us)
        self._changed_us = now
        self._in_use += in_use
        self.counts["connections_peak"] = max(self.counts["connections_peak"], self._in_use)

    def _answered(self, response: aiohttp.ClientResponse, body: int) -> int:
        """Count an answer's bytes; returns until when it tells us to stay away (µs), 0 if it does not."""
        request_bytes, response_bytes = exchange_bytes(response, 0, body)
        self.counts["request_bytes"] += request_bytes
        self.counts["response_bytes"] += response_bytes
        if response.status not in (429, 503):
            return 0
        asked_s = retry_after_s(response.headers.get("retry-after"), time.time())
        return now_us() + round(asked_s * 1e6)

    async def _count_connection(
        self, _session: aiohttp.ClientSession, _context: SimpleNamespace, _params: object
    ) -> None:
        self.counts["connections_opened"] += 1


class EventsReader(SourceClient):
    """Reads one source into one inbox, in order; one request at a time.

    Args:
        source, tls, keep_alive: see `SourceClient`.
        inbox: where events go; it also keeps the cursor, so a restarted reader goes on where it was.
        skip_known: leave out events that the inbox has already, whichever way they came; else they count as
            copies.

    Attributes:
        counts: those of `SourceClient`; empty_responses (a 304 is one too), not_modified, events,
            known_events (left out), missed_events (the source says that it has forgotten them).
    """

    def __init__(
        self,
        source: str,
        inbox: Inbox,
        *,
        tls: ssl.SSLContext | None = None,
        keep_alive: bool = True,
        skip_known: bool = False,
    ) -> None:
        super().__init__(source, tls=tls, keep_alive=keep_alive)
        self._inbox = inbox
        self._skip_known = skip_known
        self._cursor: str | None = None
        self._resumed = False  # whether the inbox was asked for the cursor
        self._not_before_us = 0
        more = ("empty_responses", "not_modified", "events", "known_events", "missed_events")
        self.counts |= dict.fromkeys(more, 0)

    async def _resume(self) -> None:
        """Ask the inbox, once, how far the source was read."""
        if not self._resumed:
            self._cursor = await self._inbox.cursor(self.source)
            self._resumed = True

    def _answered(self, response: aiohttp.ClientResponse, body: int) -> int:
        """See `SourceClient`; it is remembered.

        Raises:
            SourceRefused: it is a 410: the cursor is gone, and forgotten now.
        """
        self._not_before_us = max(self._not_before_us, super()._answered(response, body))
        if response.status == 410 and self._cursor is not None:
            self._cursor = None
            raise SourceRefused("the source has lost the cursor; starting over")
        return self._not_before_us

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
