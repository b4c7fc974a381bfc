"""What providers ask before they send: answers to GET, HEAD and OPTIONS on a webhook's path."""

from __future__ import annotations

import time
from collections.abc import Sequence

from loadtest.asgi import Handler, Receive, Scope, Send, reply_bytes, reply_error, target_of
from loadtest.contract import MalformedEvent
from loadtest.form import one, query_of
from loadtest.signatures import SignatureRefused, SignatureScheme, SignedRequest

_TEXT = (b"content-type", b"text/plain; charset=utf-8")
_AS_TEXT_ONLY = (b"x-content-type-options", b"nosniff")  # the echo of a stranger's words is no page
_MAX_RATE_DIGITS = 9


def present() -> Handler:
    """Mandrill: a HEAD asks whether anybody is there ("Add a webhook: Mandrill sends a HEAD request")."""

    async def head(scope: Scope, receive: Receive, send: Send) -> None:
        await reply_bytes(send, 200, b"", _TEXT)

    return head


def present_with_secret(scheme: SignatureScheme) -> Handler:
    """Mailchimp: a GET when the webhook is saved; 200 only to a URL with our secret in it."""

    async def get(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            scheme.verify(SignedRequest(dict(scope["headers"]), b"", target_of(scope)), time.time())
        except SignatureRefused as error:
            await reply_error(send, 401, str(error))
        else:
            await reply_bytes(send, 200, b"", _TEXT)

    return get


def consent(origins: Sequence[str]) -> Handler:
    """CloudEvents, "Web Hooks for Event Delivery", 4: OPTIONS asks for consent; it is given to known origins.

    A callback URL in the request is not called: anybody could make us call anybody.

    Args:
        origins: DNS names that may deliver; ``*`` stands for all.
    """

    async def options(scope: Scope, receive: Receive, send: Send) -> None:
        headers = dict(scope["headers"])
        origin = headers.get(b"webhook-request-origin", b"").decode("latin-1").lower()
        if not origin:
            await reply_error(send, 400, "the WebHook-Request-Origin header is missing")
            return
        if origin not in origins and "*" not in origins:
            await reply_error(send, 403, "this origin may not deliver here")
            return
        allowed = [(b"webhook-allowed-origin", origin.encode("latin-1")), (b"allow", b"OPTIONS, POST")]
        rate = headers.get(b"webhook-request-rate", b"*")  # whoever asks for no rate may send at any
        if rate != b"*" and not (rate.isdigit() and len(rate) <= _MAX_RATE_DIGITS and int(rate) > 0):
            await reply_error(send, 400, "WebHook-Request-Rate is no number of requests a minute")
            return
        allowed.append((b"webhook-allowed-rate", rate))
        await reply_bytes(send, 200, b"", *allowed)

    return options


def verification_of_intent(topics: Sequence[str]) -> Handler:
    """W3C WebSub, 5.3: GET asks whether we want this subscription; 200 echoes the challenge, 404 says no.

    Args:
        topics: the topic URLs we subscribe to. Of others we confirm that we want to be rid.
    """

    async def get(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            query = query_of(target_of(scope))
            mode, topic, challenge, lease = (
                one(query, f"hub.{name}") for name in ("mode", "topic", "challenge", "lease_seconds")
            )
        except MalformedEvent as error:
            await reply_error(send, 400, str(error))
            return
        if mode == "denied":
            await reply_bytes(send, 200, b"", _TEXT)
        elif mode not in ("subscribe", "unsubscribe") or not topic or not challenge:
            await reply_error(send, 400, "hub.mode, hub.topic and hub.challenge are required")
        elif mode == "subscribe" and not (lease and lease.isascii() and lease.isdigit()):
            await reply_error(send, 400, "hub.lease_seconds, a number of seconds, is required to subscribe")
        elif (topic in topics) == (mode == "subscribe"):
            await reply_bytes(send, 200, challenge.encode(), _TEXT, _AS_TEXT_ONLY)
        else:
            await reply_error(send, 404, f"we did not ask to {mode}")

    return get
