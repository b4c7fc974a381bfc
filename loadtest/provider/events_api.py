"""The events API: publish events, page through them, wait for them, or have them streamed.

``POST /events`` takes an envelope or a list of them (202); 503 with Retry-After when the feed is full.

``GET /events?after=CURSOR&limit=N&type=T&wait=SECONDS`` answers ``{"events": [...], "cursor": "...",
"more": bool}``, with ``"missed": n`` when retention took n events away before they were asked for. The events
behind a cursor stay the same and in the same order; a reader follows ``cursor``, or the Link header with
``rel="next"`` while there is ``more``. A page may be short of `limit`, even empty, and have ``more``: it is
bounded in bytes, and in how many events are searched for a type. With ``wait`` a request for which there is
nothing new is held until there is, or the time is over. A strong ETag makes polls conditional (304).

``GET /events/ID`` answers the event of that id, in the bytes that were published, or 404: what a webhook only
told of is fetched so (`WebhookPolicy.notification_bytes`).

``GET /events/stream?after=CURSOR&type=T`` is the same as server-sent events; see `loadtest.provider.stream`.

A cursor of another run of the provider is answered 410 with ``{"error": ..., "code": "cursor_gone"}``,
whereupon a client starts over without a cursor and deduplicates. 429 and 503 come with Retry-After. (A
browser's EventSource does not come back after any of these by itself.)

Compared with the simulation (`sim.mechanisms.provider_api`, `long_polling`, `streaming`): lag, retention,
pages, the hold and what ends it are the same. Different are these. Rate-limit windows are aligned with the
machine's clock, not with the run's start, and Retry-After is in whole seconds. A client that hangs up frees
its place at once; the model holds its request to the end. A conditional request may be held too, and ends in
304. A request that is not understood costs no quota. An open stream whose reader falls behind the retention
goes on with what is left; the model's never falls behind.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from loadtest.asgi import Handler, Receive, Scope, Send, read_body, reply_bytes, reply_error, reply_json
from loadtest.contract import MalformedEvent, envelope_of, event_bytes, now_us, parse_envelope, parse_json
from loadtest.provider.api_policy import ApiLimits, ApiPolicy
from loadtest.provider.feed import CursorGone, Feed, FeedFull, Published
from loadtest.provider.page import BadQuery, Page, etag_matches
from loadtest.provider.question import Question, accepts_event_stream, if_none_match, parse_question
from loadtest.provider.quota import RateLimiter, client_of
from loadtest.provider.stream import EventStreams
from loadtest.provider.waiters import WaitingRoom
from sim.errors import HookbenchError

CURSOR_GONE = "cursor_gone"
NESTING_MARGIN = 100
_MAX_BODY_BYTES = 16 * 2**20
_FULL_RETRY_AFTER = (b"retry-after", b"5")
_JSON = (b"content-type", b"application/json")
_REVALIDATE = (b"cache-control", b"private, no-cache")
"""A client's own cache may keep a page and ask whether it is still right, which is what the ETag is for."""


class Refused(HookbenchError):
    """A reader who is not served now: the answer's status and headers. The message says why."""

    def __init__(self, status: int, message: str, *headers: tuple[bytes, bytes]) -> None:
        super().__init__(message)
        self.status = status
        self.headers = headers


class EventsApi:
    """What ``/events`` and ``/events/stream`` answer.

    Args:
        published: called with each new event, as webhooks are.
        policy: the rate limit, the feed's lag and its retention.
        limits: what is taken on at most.

    Raises:
        InputError: a retention above what the feed may hold.
    """

    def __init__(self, published: Callable[[Published], None], policy: ApiPolicy, limits: ApiLimits) -> None:
        self._feed = Feed(
            limits.page_limit,
            max_page_bytes=limits.max_page_bytes,
            max_events=limits.max_events,
            max_bytes=limits.max_feed_bytes,
            lag_s=policy.feed_lag_s,
            retention=policy.retention,
        )
        self._published = published
        self._policy = policy
        self._limits = limits
        self._limiter = None if policy.rate_limit is None else RateLimiter(policy.rate_limit)
        self._held = WaitingRoom(limits.max_waiting)
        self._open = WaitingRoom(limits.max_streams)
        self._streams = EventStreams(self._feed, self._open, limits.heartbeat_s, limits.stall_s)
        self._announcement: asyncio.TimerHandle | None = None
        self._counts = dict.fromkeys(
            (
                "duplicates", "refused_publications", "polls", "fetches", "empty_responses", "not_modified",
                "bad_requests", "rate_limited", "turned_away", "poll_response_bytes",
            ),
            0,
        )  # fmt: skip

    @property
    def routes(self) -> dict[str, dict[str, Handler]]:
        """Handlers by path and method."""
        page, stream, one = map(self._refusing, (self._page, self._stream, self._one))
        return {
            "/events": {"GET": page, "HEAD": page, "POST": self._publish},
            "/events/stream": {"GET": stream},
            "/events/{id}": {"GET": one},
        }

    def status(self) -> dict[str, int]:
        """Counts; `waiting_polls`, `streams`, `feed_events` and `feed_bytes` are as of now."""
        return {
            "published": len(self._feed),
            **self._counts,
            "waiting_polls": len(self._held),
            "polls_hung_up": self._held.hung_up,
            "streams": len(self._open),
            "streams_hung_up": self._open.hung_up,
            **self._streams.counts,
            "feed_events": self._feed.held,
            "feed_bytes": self._feed.held_bytes,
        }

    def close(self) -> None:
        """Answer those who wait and end the streams, so that the process can."""
        self._held.close()
        self._open.close()

    def _refusing(self, handler: Handler) -> Handler:
        async def answer(scope: Scope, receive: Receive, send: Send) -> None:
            try:
                await handler(scope, receive, send)
            except CursorGone as error:
                self._counts["bad_requests"] += 1
                await reply_json(send, 410, {"error": str(error), "code": CURSOR_GONE})
            except BadQuery as error:
                await self._bad_request(send, str(error))
            except Refused as refused:
                await reply_error(send, refused.status, str(refused), *refused.headers)

        return answer

    async def _publish(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = await read_body(dict(scope["headers"]), receive, _MAX_BODY_BYTES)
        try:
            document = parse_json(body)
            if body.count(b"[") + body.count(b"{") > NESTING_MARGIN:
                # A page nests its events deeper than they came: what just fits here would not fit there.
                parse_json(b"[" * NESTING_MARGIN + body + b"]" * NESTING_MARGIN)
            if isinstance(document, list):
                batch = [(envelope_of(item), event_bytes(item)) for item in document]
            else:
                # Read again, strictly: an event that no page could carry would stop every poller.
                batch = [(parse_envelope(body), body)]
        except MalformedEvent as error:
            await self._bad_request(send, str(error))
            return
        most = self._limits.max_events
        if len(batch) > most:
            await reply_error(send, 413, f"the batch has {len(batch)} events; the feed holds at most {most}")
            return
        try:
            published = self._feed.publish_all(batch)
        except FeedFull as full:
            self._counts["refused_publications"] += 1
            retry_after = (b"retry-after", str(full.retry_after_s).encode())
            await reply_error(send, 503, str(full), retry_after)
            return
        for entry in published:
            self._published(entry)
        duplicates = len(batch) - len(published)
        self._counts["duplicates"] += duplicates
        if published:
            self._announce()
        await reply_json(send, 202, {"published": len(published), "duplicates": duplicates})

    def _announce(self) -> None:
        """Wake who waits for what the feed shows now, and be back when it shows the rest."""
        if self._policy.feed_lag_s == 0:
            self._wake()
        elif self._announcement is None and (shown_us := self._feed.next_shown_us()) is not None:
            left_s = max((shown_us - now_us()) / 1e6, 0.001)
            self._announcement = asyncio.get_running_loop().call_later(left_s, self._shown)

    def _shown(self) -> None:
        self._announcement = None
        self._wake()
        self._announce()

    def _wake(self) -> None:
        self._held.wake()
        self._open.wake()

    async def _page(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._counts["polls"] += 1
        headers, known = dict(scope["headers"]), if_none_match(scope)
        question = parse_question(scope, ("after", "limit", "type", "wait"), self._limits.max_wait_s)
        page = self._feed.page(question.after, question.limit, question.types)
        extra = self._within_quota(client_of(scope, headers), free=etag_matches(known, page.etag))
        if question.wait_s > 0 and not _has_news(page, known) and not self._held.closed:
            await read_body(headers, receive, 0)
            if self._held.full:
                raise self._full("requests are held", self._limits.max_waiting)
            held = await self._hold(receive, page, known, question)
            if held is None:
                return
            page = held
        await self._answer(scope, send, page, known, extra)

    async def _hold(self, receive: Receive, page: Page, known: str | None, question: Question) -> Page | None:
        """The page once there is news, the time is over or the provider stops; None: the client left."""
        until_us = now_us() + round(question.wait_s * 1e6)
        async with self._held.enter(receive) as waiter:
            while (
                not _has_news(page, known) and not self._held.closed and (left_us := until_us - now_us()) > 0
            ):
                await waiter.rest(0.0 if page.more and not page.payloads else left_us / 1e6)
                if waiter.gone:
                    return None
                page = self._feed.page_now(page)
        return page

    async def _answer(
        self, scope: Scope, send: Send, page: Page, known: str | None, extra: list[tuple[bytes, bytes]]
    ) -> None:
        self._counts["empty_responses"] += not page.payloads
        extra += [(b"etag", page.etag.encode()), _REVALIDATE]
        if page.next_link is not None:
            extra.append((b"link", page.next_link.encode()))
        if etag_matches(known, page.etag):
            self._counts["not_modified"] += 1
            await send({"type": "http.response.start", "status": 304, "headers": extra})
            await send({"type": "http.response.body", "body": b""})
            return
        self._counts["poll_response_bytes"] += len(page.body) if scope["method"] == "GET" else 0
        await reply_bytes(send, 200, page.body, _JSON, *extra)

    async def _one(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._counts["fetches"] += 1
        extra = self._within_quota(client_of(scope, dict(scope["headers"])))
        found = self._feed.find(scope["path_params"]["id"])
        if found is None:
            raise Refused(404, "there is no event of this id, or not any more", *extra)
        await reply_bytes(send, 200, found.payload, _JSON, *extra)

    async def _stream(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = dict(scope["headers"])
        if not accepts_event_stream(headers.get(b"accept")):
            raise Refused(406, "this is a stream of server-sent events: accept text/event-stream")
        question = parse_question(scope, ("after", "type"), self._limits.max_wait_s)
        # A browser repeats the query when it comes back: what it has heard since counts more.
        last_id = headers.get(b"last-event-id", b"").decode("latin-1")
        position = self._feed.position(last_id or question.after)
        extra = self._within_quota(client_of(scope, headers))
        await read_body(headers, receive, 0)
        if self._open.closed:
            raise Refused(503, "the provider is stopping", _FULL_RETRY_AFTER)
        if self._open.full:
            raise self._full("streams are open", self._limits.max_streams)
        await self._streams.serve(scope, receive, send, position, question.types, extra)

    def _within_quota(self, client: bytes, *, free: bool = False) -> list[tuple[bytes, bytes]]:
        """Count a request; returns the headers that tell of the limit, if there is one."""
        if self._limiter is None or self._policy.rate_limit is None:
            return []
        quota = self._limiter.arrives(client, free=free and self._policy.rate_limit.not_modified_free)
        if quota.exceeded:
            self._counts["rate_limited"] += 1
            limit = self._policy.rate_limit
            raise Refused(429, f"more than {limit.requests} requests in {limit.per_s:g} s", *quota.headers())
        return quota.headers()

    def _full(self, what: str, most: int) -> Refused:
        self._counts["turned_away"] += 1
        return Refused(503, f"{most} {what} already, the most there may be", _FULL_RETRY_AFTER)

    async def _bad_request(self, send: Send, message: str) -> None:
        self._counts["bad_requests"] += 1
        await reply_error(send, 400, message)


def _has_news(page: Page, known: str | None) -> bool:
    """Whether a page holds events that its reader did not have when it last asked for them."""
    return bool(page.payloads) and not etag_matches(known, page.etag)
