"""The provider's API: publish events, page through them, subscribe endpoints.

``POST /events`` takes an envelope or a list of them (202); ``GET /events?after=CURSOR&limit=N`` answers
``{"events": [...], "cursor": "...", "more": bool}`` with an ETag, or 304, or 410 with
``{"error": ..., "code": "cursor_gone"}`` to a cursor of another run of the provider, whereupon a client
starts over without a cursor and deduplicates; ``POST /subscriptions`` takes
``{"url": ..., "secret": ...}`` (201; without a secret the provider's own are used). A subscription
receives the events that are published after it was made.
"""

from __future__ import annotations

import csv
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import aiohttp

from loadtest.asgi import Application, Receive, Scope, Send, read_body, reply_bytes, reply_error, reply_json
from loadtest.contract import MalformedEvent, envelope_of, event_bytes, now_us, parse_json
from loadtest.provider.dispatcher import Endpoint, WebhookPolicy, ledger_rows
from loadtest.provider.feed import BadQuery, CursorGone, Feed, etag_matches
from loadtest.signatures import StandardWebhooks
from sim.errors import InputError

log = logging.getLogger("hookbench.provider")

LEDGER_COLUMNS = (
    *("index", "event_id", "published_us"),
    *("first_attempt_us", "attempts", "acknowledged_us", "outcome", "endpoint"),
)
CURSOR_GONE = "cursor_gone"
_JSON = (b"content-type", b"application/json")
NESTING_MARGIN = 100
_MAX_BODY_BYTES = 16 * 2**20


class ProviderApp(Application):
    """ASGI application: the feed, its API, and one dispatcher per subscribed endpoint.

    Args:
        policy: timeout, retries and in-flight limit of every endpoint.
        secrets: ``whsec_`` secrets that sign; several while one rotates.
        subscribe: URLs subscribed from the start.
        page_limit: the largest page the events API serves.
        ledger: where to write the ledger (CSV) when stopping, or None.
        drain_s: how long deliveries may go on after the last request.

    Raises:
        InputError: a URL outside this machine, or a subscription without a secret.
    """

    role = "provider"

    def __init__(
        self,
        policy: WebhookPolicy,
        secrets: Sequence[str],
        *,
        subscribe: Sequence[str] = (),
        page_limit: int = 1000,
        ledger: Path | None = None,
        drain_s: float = 10.0,
    ) -> None:
        super().__init__()
        self._policy = policy
        self._secrets = secrets
        self._feed = Feed(page_limit)
        self._ledger = ledger
        self._drain_s = drain_s
        self._initial = [(url, self._signer(None)) for url in subscribe]
        self._endpoints: list[Endpoint] = []
        self.counts = dict.fromkeys(
            ("duplicates", "polls", "empty_responses", "not_modified", "bad_requests", "poll_response_bytes"),
            0,
        )
        self.routes["/events"] = {"GET": self._page, "POST": self._publish}
        self.routes["/subscriptions"] = {"POST": self._subscribe}

    async def start(self) -> None:
        """Open the client session and the initial subscriptions."""
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=60),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
        )
        for url, signer in self._initial:
            self._endpoints.append(Endpoint(url, signer, self._policy, self._session))

    async def stop(self) -> None:
        """Deliver what can be delivered within `drain_s`, then write the ledger."""
        until_us = now_us() + round(self._drain_s * 1e6)
        for endpoint in self._endpoints:
            await endpoint.drain(until_us)
        await self._session.close()
        pending = sum(delivery.outcome == "pending" for e in self._endpoints for delivery in e.deliveries)
        if pending:
            log.warning("%d deliveries were still pending after %g s", pending, self._drain_s)
        if self._ledger is not None:
            with self._ledger.open("w", newline="", encoding="utf-8") as file:
                writer = csv.DictWriter(file, LEDGER_COLUMNS)
                writer.writeheader()
                writer.writerows(ledger_rows(self._feed.events, self._endpoints))

    def status(self) -> dict[str, Any]:
        """Counts of this process; `dispatched` counts attempts, `waiting` those without a slot."""
        endpoints = self._endpoints
        return {
            "published": len(self._feed),
            **self.counts,
            "subscriptions": len(endpoints),
            "dispatched": sum(e.attempts for e in endpoints),
            "acknowledged": sum(e.acknowledged for e in endpoints),
            "failed": sum(e.failed for e in endpoints),
            "waiting": sum(e.waiting for e in endpoints),
            "in_flight": sum(e.in_flight for e in endpoints),
            "backing_off": sum(e.backing_off for e in endpoints),
            "timeouts": sum(e.timeouts for e in endpoints),
            "connection_errors": sum(e.connection_errors for e in endpoints),
            "refusals": sum(e.refusals for e in endpoints),
            "request_bytes": sum(e.request_bytes for e in endpoints),
            "response_bytes": sum(e.response_bytes for e in endpoints),
        }

    def _signer(self, secret: str | None) -> StandardWebhooks:
        secrets = [secret] if secret is not None else self._secrets
        if not secrets:
            raise InputError(
                "a subscription needs a secret: set HOOKBENCH_WEBHOOK_SECRET or give --secret-file"
            )
        return StandardWebhooks(secrets)

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
            for endpoint in self._endpoints:
                endpoint.deliver(entry)
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

    async def _subscribe(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            url, secret = parse_subscription(
                await read_body(dict(scope["headers"]), receive, _MAX_BODY_BYTES)
            )
            endpoint = Endpoint(url, self._signer(secret), self._policy, self._session)
        except (MalformedEvent, InputError) as error:
            await self._bad_request(send, str(error))
            return
        self._endpoints.append(endpoint)
        await reply_json(send, 201, {"url": endpoint.url})

    async def _bad_request(self, send: Send, message: str) -> None:
        self.counts["bad_requests"] += 1
        await reply_error(send, 400, message)


def parse_subscription(body: bytes) -> tuple[str, str | None]:
    """The URL and, where one is given, the secret of a subscription.

    Raises:
        MalformedEvent: the body is something else.
    """
    match parse_json(body):
        case {"url": str(url), "secret": str(secret), **rest} if not rest:
            return url, secret
        case {"url": str(url), **rest} if not rest:
            return url, None
    raise MalformedEvent('a subscription is {"url": "http://...", "secret": "whsec_..."}')
