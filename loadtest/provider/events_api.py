"""The events API: publish events, and page through them.

``POST /events`` takes an envelope or a list of them (202); ``GET /events?after=CURSOR&limit=N`` answers
``{"events": [...], "cursor": "...", "more": bool}`` with an ETag, or 304, or 410 with
``{"error": ..., "code": "cursor_gone"}`` to a cursor of another run of the provider, whereupon a client
starts over without a cursor and deduplicates.
"""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import parse_qs

from loadtest.asgi import Handler, Receive, Scope, Send, read_body, reply_bytes, reply_error, reply_json
from loadtest.contract import MalformedEvent, envelope_of, event_bytes, parse_json
from loadtest.provider.feed import BadQuery, CursorGone, Feed, Published, etag_matches

CURSOR_GONE = "cursor_gone"
_JSON = (b"content-type", b"application/json")
NESTING_MARGIN = 100
_MAX_BODY_BYTES = 16 * 2**20


class EventsApi:
    """What ``/events`` answers.

    Args:
        feed: where events are published to and read from.
        published: called with each new event, as webhooks are.

    Attributes:
        counts: duplicates, polls, empty_responses, not_modified, bad_requests, poll_response_bytes.
    """

    def __init__(self, feed: Feed, published: Callable[[Published], None]) -> None:
        self._feed = feed
        self._published = published
        self.counts = dict.fromkeys(
            ("duplicates", "polls", "empty_responses", "not_modified", "bad_requests", "poll_response_bytes"),
            0,
        )

    @property
    def routes(self) -> dict[str, dict[str, Handler]]:
        """Handlers by path and method."""
        return {"/events": {"GET": self._page, "POST": self._publish}}

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
                batch = [(envelope_of(document), body)]
                if b"\\u" in body:
                    event_bytes(document)  # an event that no page could carry would stop every poller
        except MalformedEvent as error:
            await self._bad_request(send, str(error))
            return
        published = 0
        for event, payload in batch:
            entry = self._feed.publish(event, payload)
            if entry is None:
                self.counts["duplicates"] += 1
                continue
            published += 1
            self._published(entry)
        await reply_json(send, 202, {"published": published, "duplicates": len(batch) - published})

    async def _page(self, scope: Scope, receive: Receive, send: Send) -> None:
        query = parse_qs(scope["query_string"].decode("latin-1"), keep_blank_values=True)
        self.counts["polls"] += 1
        try:
            for name, values in query.items():
                if name not in ("after", "limit"):
                    raise BadQuery(f"unknown parameter {name!r:.80}; known: after, limit")
                if len(values) > 1:
                    raise BadQuery(f"{name} is given {len(values)} times")
            page = self._feed.page(*(query.get(name, [None])[0] for name in ("after", "limit")))
        except CursorGone as error:
            self.counts["bad_requests"] += 1
            await reply_json(send, 410, {"error": str(error), "code": CURSOR_GONE})
            return
        except BadQuery as error:
            await self._bad_request(send, str(error))
            return
        self.counts["empty_responses"] += page.events == 0
        etag = (b"etag", page.etag.encode())
        if etag_matches(dict(scope["headers"]).get(b"if-none-match", b"").decode("latin-1"), page.etag):
            self.counts["not_modified"] += 1
            await send({"type": "http.response.start", "status": 304, "headers": [etag]})
            await send({"type": "http.response.body", "body": b""})
        else:
            self.counts["poll_response_bytes"] += len(page.body)
            await reply_bytes(send, 200, page.body, _JSON, etag)

    async def _bad_request(self, send: Send, message: str) -> None:
        self.counts["bad_requests"] += 1
        await reply_error(send, 400, message)
