"""Fetches by its id what a thin webhook told of: the completer of a receiver's inbox.

One that fails is tried again after `retry_s`, or the longer Retry-After, `attempts` times in all; then the
event is given up. Whatever came whole, or from another provider, is left as it is.

Source: Stripe Docs, "Thin events"; CloudEvents specification, ``dataref`` extension ("claim check").
"""

from __future__ import annotations

import contextlib
import ssl
from urllib.parse import quote

import aiohttp

from loadtest.consumers.client import SourceClient, SourceRefused
from loadtest.consumers.rhythm import sleep_until
from loadtest.contract import STANDARD, MalformedEvent, is_notification, now_us, parse_envelope
from loadtest.inbox import CannotComplete, StoredEvent

MOST_CONNECTIONS = 100


class Fetcher(SourceClient):
    """A `Completer` over the events API of the provider that sends the notices.

    Args:
        source, tls: see `SourceClient`.
        timeout_s: for one request, from send to the last byte.
        retry_s: from a failure to the next request.
        attempts: requests for one event at the most.

    Attributes:
        counts: those of `SourceClient`, events (fetched) and given_up.
    """

    def __init__(
        self,
        source: str,
        *,
        timeout_s: float = 10.0,
        retry_s: float = 1.0,
        attempts: int = 5,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        super().__init__(source, tls=tls, connections=MOST_CONNECTIONS)
        self._timeout = aiohttp.ClientTimeout(total=timeout_s, ceil_threshold=float("inf"))
        self._retry_us = retry_s * 1e6
        self._attempts = attempts
        self._closing = contextlib.AsyncExitStack()
        self.counts |= dict.fromkeys(("events", "given_up"), 0)

    async def open(self) -> None:
        """See `Completer`."""
        await self._closing.enter_async_context(self.connected())

    async def close(self) -> None:
        """See `Completer`."""
        await self._closing.aclose()

    async def complete(self, event: StoredEvent) -> bytes | None:
        """See `Completer`."""
        if event.source != STANDARD or not is_notification(event.payload):
            return None
        for attempt in range(1, self._attempts + 1):
            payload, not_before_us = None, 0
            with self._requesting():
                payload, not_before_us = await self._fetch(event.id)
            if payload is not None:
                self.counts["events"] += 1
                return payload
            if attempt < self._attempts:
                await sleep_until(max(now_us() + self._retry_us, not_before_us))
        self.counts["given_up"] += 1
        raise CannotComplete(f"it could not be fetched in {self._attempts} attempts")

    async def _fetch(self, event_id: str) -> tuple[bytes | None, int]:
        """The event's bytes, or until when to stay away (µs)."""
        self.counts["requests"] += 1
        async with self._session.get(
            f"{self.source}/events/{quote(event_id, safe='')}",
            timeout=self._timeout,
            allow_redirects=False,
        ) as response:
            body = await response.read()
        not_before_us = self._answered(response, len(body))
        if response.status == 429:
            self.counts["rejected"] += 1
            return None, not_before_us
        if response.status == 503:
            self.counts["errors"] += 1
            return None, not_before_us
        if response.status != 200:
            raise SourceRefused(f"the source answered {response.status}")
        if parse_envelope(body).id != event_id:
            raise MalformedEvent("it is another event than the one asked for")
        return body, 0
