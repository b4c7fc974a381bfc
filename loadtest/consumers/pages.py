"""A reader of the events API's pages: one request at a time, conditional or held if it is told to."""

from __future__ import annotations

import ssl
from typing import NamedTuple
from urllib.parse import quote

import aiohttp

from loadtest.consumers.client import EventsReader, SourceRefused
from loadtest.consumers.page import parse_page
from loadtest.contract import now_us
from loadtest.inbox import Inbox


class Answer(NamedTuple):
    """How a request ended.

    Attributes:
        went_well: whether it was answered with what is new, be it nothing.
        found: the events it brought.
        newest_us: the creation of the last of them (µs of the run's clock), or None.
        asks_on: whether there is more to be had at once.
        not_before_us: no request sooner than this, says a Retry-After.
    """

    went_well: bool
    found: int = 0
    newest_us: int | None = None
    asks_on: bool = False
    not_before_us: int = 0


class PageReader(EventsReader):
    """Asks for pages, and stores each before it moves its cursor.

    Args:
        source, inbox, tls, skip_known: see `EventsReader`.
        page_size: the `limit` asked for.
        timeout_s: for one request, from send to the last byte.
        conditional: send If-None-Match with the last ETag.
        hold_s: ask the provider to hold a request for so long while there is nothing new (``wait=``).
    """

    def __init__(
        self,
        source: str,
        inbox: Inbox,
        *,
        page_size: int = 100,
        timeout_s: float = 30.0,
        conditional: bool = False,
        hold_s: float | None = None,
        tls: ssl.SSLContext | None = None,
        skip_known: bool = False,
    ) -> None:
        super().__init__(source, inbox, tls=tls, skip_known=skip_known)
        self._page_size = page_size
        # aiohttp would round a timeout above ceil_threshold up to a whole second.
        self._timeout = aiohttp.ClientTimeout(total=timeout_s, ceil_threshold=float("inf"))
        self._conditional = conditional
        self._wait = "" if hold_s is None else f"&wait={hold_s:.6f}"
        self._etag: str | None = None

    async def ask(self) -> Answer:
        """One request, its events stored; a failure is counted and told."""
        answer = Answer(False)
        with self._requesting():
            await self._resume()
            answer = await self._request()
        return answer._replace(not_before_us=self._not_before_us)

    async def _request(self) -> Answer:
        after = "" if self._cursor is None else f"after={quote(self._cursor)}&"
        headers = {"if-none-match": self._etag} if self._conditional and self._etag is not None else {}
        self.counts["requests"] += 1
        async with self._session.get(
            f"{self.source}/events?{after}limit={self._page_size}{self._wait}",
            headers=headers,
            timeout=self._timeout,
            allow_redirects=False,
        ) as response:
            body = await response.read()
        received_us = now_us()
        if response.status == 410:
            self._etag = None
        self._answered(response, len(body))
        if response.status == 304:
            self.counts["not_modified"] += 1
            self.counts["empty_responses"] += 1
            return Answer(True)
        if response.status == 429:
            self.counts["rejected"] += 1
            return Answer(False)
        if response.status != 200:
            raise SourceRefused(f"the source answered {response.status}")
        cursor, arrivals, more, missed = parse_page(body, received_us)
        self.counts["missed_events"] += missed
        await self._store(arrivals)
        self.counts["empty_responses"] += not arrivals
        moved = await self._move_to(cursor)
        self._etag = response.headers.get("etag")
        newest_us = max((arrival.event.created_us for arrival in arrivals), default=None)
        return Answer(True, len(arrivals), newest_us, len(arrivals) >= self._page_size or (more and moved))
