"""The subscriptions API: which endpoints receive webhooks.

``POST /subscriptions`` takes ``{"url": ..., "secret": ...}`` (201; without a secret the provider's own are
used). A subscription receives the events that are published after it was made.
"""

from __future__ import annotations

from collections.abc import Sequence

import aiohttp

from loadtest.asgi import Handler, Receive, Scope, Send, read_body, reply_error, reply_json
from loadtest.contract import MalformedEvent, parse_json
from loadtest.provider.dispatcher import Endpoint, WebhookPolicy
from loadtest.provider.feed import Published
from loadtest.signatures import StandardWebhooks
from sim.errors import InputError

_MAX_BODY_BYTES = 64 * 1024


class SubscriptionsApi:
    """The endpoints, and what ``/subscriptions`` answers.

    Args:
        policy: timeout, retries and in-flight limit of every endpoint.
        secrets: ``whsec_`` secrets that sign; several while one rotates.
        subscribe: URLs subscribed from the start.

    Attributes:
        endpoints: all there are, in the order in which they were made.
        bad_requests: refused requests.

    Raises:
        InputError: a URL outside this machine, or a subscription without a secret.
    """

    def __init__(self, policy: WebhookPolicy, secrets: Sequence[str], subscribe: Sequence[str]) -> None:
        self._policy = policy
        self._secrets = secrets
        self._initial = [(url, self._signer(None)) for url in subscribe]
        self.endpoints: list[Endpoint] = []
        self.bad_requests = 0

    @property
    def routes(self) -> dict[str, dict[str, Handler]]:
        """Handlers by path and method."""
        return {"/subscriptions": {"POST": self._subscribe}}

    async def start(self) -> None:
        """Open the client session and the initial subscriptions."""
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=60),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
        )
        for url, signer in self._initial:
            self.endpoints.append(Endpoint(url, signer, self._policy, self._session))

    async def drain(self, until_us: int) -> int:
        """Deliver what can be delivered before `until_us`; returns how many deliveries are left pending."""
        for endpoint in self.endpoints:
            await endpoint.drain(until_us)
        await self._session.close()
        return sum(delivery.outcome == "pending" for e in self.endpoints for delivery in e.deliveries)

    def deliver(self, published: Published) -> None:
        """Begin to deliver an event to every endpoint."""
        for endpoint in self.endpoints:
            endpoint.deliver(published)

    def status(self) -> dict[str, int]:
        """Counts; `dispatched` counts attempts, `waiting` those without a slot."""
        endpoints = self.endpoints
        return {
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

    async def _subscribe(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            url, secret = parse_subscription(
                await read_body(dict(scope["headers"]), receive, _MAX_BODY_BYTES)
            )
            endpoint = Endpoint(url, self._signer(secret), self._policy, self._session)
        except (MalformedEvent, InputError) as error:
            self.bad_requests += 1
            await reply_error(send, 400, str(error))
            return
        self.endpoints.append(endpoint)
        await reply_json(send, 201, {"url": endpoint.url})


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
