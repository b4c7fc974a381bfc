"""The reference poller: asks at a fixed rate, page by page, and stores before it moves its cursor.

Tick k falls at origin + phase + k·interval, computed and never accumulated. Ticks that fall while a cycle
is outstanding are skipped; a full page, or one behind which there is more, asks for the next at once; a
timeout or error abandons the cycle, and the cursor stays where it was. After a 429 or 503 the next request is
on the first tick that its Retry-After allows. Only when the source says that the cursor is gone (410: it was
restarted) does the poller start over from the beginning; the inbox counts what it knows as duplicates.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
import time
from typing import Any, NamedTuple
from urllib.parse import quote

import aiohttp

from loadtest.asgi import Application
from loadtest.contract import MalformedEvent, envelope_of, event_bytes, now_us, parse_json
from loadtest.http_bytes import exchange_bytes
from loadtest.inbox import MAX_SUBMISSION, Arrival, Inbox, InboxUnavailable
from loadtest.provider.retry import retry_after_s
from sim.errors import HookbenchError

log = logging.getLogger("hookbench.poller")


class SourceRefused(HookbenchError):
    """The source answered, but not with a page; the message says its status."""


class Poller:
    """Polls one source into one inbox.

    Args:
        source: the provider's base URL.
        inbox: where events go; it also keeps the cursor, so a restarted poller goes on where it was.
        interval_s, phase_s: the ticks, counted from `origin_us`.
        page_size: the `limit` asked for.
        timeout_s: for one request, from send to the last byte.
        conditional: send If-None-Match with the last ETag.
        origin_us: on the monotonic clock (µs); by default the poller's start.
        tls: for an https:// source; by default what the system trusts.

    Attributes:
        counts: requests, empty_responses (a 304 is one too), not_modified, timeouts, errors,
            rejected (429), skipped_ticks, events, missed_events (the source says that it has forgotten
            them), request_bytes and response_bytes (HTTP headers and bodies).
    """

    def __init__(
        self,
        source: str,
        inbox: Inbox,
        *,
        interval_s: float,
        phase_s: float = 0.0,
        page_size: int = 100,
        timeout_s: float = 30.0,
        conditional: bool = False,
        origin_us: int | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._source = source.rstrip("/")
        self._inbox = inbox
        self._interval_us = interval_s * 1e6
        self._phase_us = phase_s * 1e6
        self._page_size = page_size
        # aiohttp would round a timeout above ceil_threshold up to a whole second.
        self._timeout = aiohttp.ClientTimeout(total=timeout_s, ceil_threshold=float("inf"))
        self._conditional = conditional
        self._origin_us = origin_us
        self._tls = True if tls is None else tls
        self._cursor: str | None = None
        self._resumed = False  # whether the inbox was asked for the cursor
        self._etag: str | None = None
        self._not_before_us = 0
        self.counts = dict.fromkeys(
            (
                "requests", "empty_responses", "not_modified", "timeouts", "errors", "rejected",
                "skipped_ticks", "events", "missed_events", "request_bytes", "response_bytes",
            ),
            0,
        )  # fmt: skip

    async def run(self) -> None:
        """Poll until cancelled."""
        connector = aiohttp.TCPConnector(limit=1, keepalive_timeout=60, ssl=self._tls)
        async with aiohttp.ClientSession(
            connector=connector, cookie_jar=aiohttp.DummyCookieJar(), auto_decompress=False
        ) as session:
            start_us = now_us()
            first_us = (start_us if self._origin_us is None else self._origin_us) + self._phase_us
            tick = next_tick(start_us, first_us, self._interval_us, -1)
            while True:
                await sleep_until(first_us + tick * self._interval_us)
                await self._cycle(session)
                following = next_tick(max(now_us(), self._not_before_us), first_us, self._interval_us, tick)
                self.counts["skipped_ticks"] += following - tick - 1
                tick = following

    async def _cycle(self, session: aiohttp.ClientSession) -> None:
        try:
            if not self._resumed:
                self._cursor = await self._inbox.cursor(self._source)
                self._resumed = True
            while await self._request(session):
                pass
        except TimeoutError:
            self.counts["timeouts"] += 1
        except (aiohttp.ClientError, OSError, MalformedEvent, SourceRefused, InboxUnavailable) as error:
            self.counts["errors"] += 1
            # The others' messages may quote what the source sent, and a log is no place for that.
            quotable = isinstance(error, SourceRefused | OSError | InboxUnavailable) and str(error)
            log.warning("a poll of %s failed: %s", self._source, quotable or type(error).__name__)

    async def _request(self, session: aiohttp.ClientSession) -> bool:
        """One request, stored; returns whether to ask for the next page at once."""
        after = "" if self._cursor is None else f"after={quote(self._cursor)}&"
        headers = {"if-none-match": self._etag} if self._conditional and self._etag is not None else {}
        self.counts["requests"] += 1
        async with session.get(
            f"{self._source}/events?{after}limit={self._page_size}",
            headers=headers,
            timeout=self._timeout,
            allow_redirects=False,
        ) as response:
            body = await response.read()
        received_us = now_us()
        request_bytes, response_bytes = exchange_bytes(response, 0, len(body))
        self.counts["request_bytes"] += request_bytes
        self.counts["response_bytes"] += response_bytes
        if response.status == 304:
            self.counts["not_modified"] += 1
            self.counts["empty_responses"] += 1
            return False
        if response.status in (429, 503):
            asked_s = retry_after_s(response.headers.get("retry-after"), time.time())
            self._not_before_us = received_us + round(asked_s * 1e6)
        if response.status == 429:
            self.counts["rejected"] += 1
            return False
        if response.status == 410 and self._cursor is not None:
            self._cursor = self._etag = None
            raise SourceRefused("the source has lost the cursor; starting over")
        if response.status != 200:
            raise SourceRefused(f"the source answered {response.status}")
        cursor, arrivals, more, missed = parse_page(body, received_us)
        self.counts["missed_events"] += missed
        self.counts["events"] += len(arrivals)
        for start in range(0, len(arrivals), MAX_SUBMISSION):  # a source may send more than was asked for
            await self._inbox.submit(arrivals[start : start + MAX_SUBMISSION], bounded=False)
        if not arrivals:
            self.counts["empty_responses"] += 1
        moved = cursor != self._cursor
        if moved:
            await self._inbox.save_cursor(self._source, cursor)
            self._cursor = cursor
        self._etag = response.headers.get("etag")
        return len(arrivals) >= self._page_size or (more and moved)


class PollerApp(Application):
    """The poller as a process: its status over HTTP, its start and stop with the server's.

    Args:
        poller: started once the server answers.
        inbox: the poller's inbox.
        drain_s: how long stored events may be served after the last poll.
    """

    role = "poller"

    def __init__(self, poller: Poller, inbox: Inbox, drain_s: float) -> None:
        super().__init__()
        self._poller = poller
        self._inbox = inbox
        self._drain_s = drain_s

    async def start(self) -> None:
        """Open the inbox and begin to poll."""
        await self._inbox.start()
        self._task = asyncio.get_running_loop().create_task(self._poller.run())
        self._task.add_done_callback(self._crashed)

    async def stop(self) -> None:
        """Stop polling at once; serve what is stored, for at most `drain_s`."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        left = await self._inbox.drain(self._drain_s)
        if left:
            log.warning("%d stored events are not processed yet; the next start takes them up", left)

    def status(self) -> dict[str, Any]:
        """The poller's counts and the inbox's; `polling` is false once it is over."""
        return {"polling": not self._task.done(), **self._poller.counts, **self._inbox.status()}

    def _crashed(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self.fail(f"the poller died: {type(error).__name__}: {error}")


def next_tick(now: int, first_us: float, interval_us: float, last: int) -> int:
    """The number of the first tick after `last` that is not before `now`."""
    tick = max(last + 1, int((now - first_us) // interval_us), 0)
    while first_us + tick * interval_us < now:
        tick += 1
    return tick


async def sleep_until(instant_us: float) -> None:
    """Sleep to an instant of the monotonic clock: never short, up to about 1 ms long on uvloop."""
    while (left_s := (instant_us - now_us()) / 1e6) > 0:  # noqa: ASYNC110 - it waits for time, not a flag
        await asyncio.sleep(max(left_s, 0.001))


class Page(NamedTuple):
    """One answer: the cursor behind it, its events, whether there are more, how many are forgotten."""

    cursor: str
    arrivals: list[Arrival]
    more: bool
    missed: int


def parse_page(body: bytes, received_us: int) -> Page:
    """Read one answer; a source that says nothing of ``more`` or ``missed`` has none.

    Raises:
        MalformedEvent: it is not a page, or one of its events is malformed.
    """
    match parse_json(body):
        case {"events": list(events), "cursor": str(cursor), **rest}:
            arrivals = [
                Arrival(envelope_of(event), event_bytes(event), "poll", received_us) for event in events
            ]
            missed = rest.get("missed")
            return Page(cursor, arrivals, rest.get("more") is True, missed if type(missed) is int else 0)
    raise MalformedEvent('the answer is not {"events": [...], "cursor": "..."}')
