"""The reference webhook receiver: verify the raw body, store, only then acknowledge; process afterwards.

=====================================  =========================================================
answer                                 when
=====================================  =========================================================
204                                    stored durably (now, or earlier: a duplicate)
400                                    the body is not an event
401                                    the signature is missing, malformed, stale or wrong
404, 405                               no such path; not a POST
413                                    the body is larger than `max_body_bytes`
503 and Retry-After                    `queue_limit` events wait, or storage failed
=====================================  =========================================================
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from typing import Any

from loadtest.asgi import (
    Application,
    BodyTooLarge,
    Receive,
    Scope,
    Send,
    read_body,
    reply_error,
    reply_no_content,
    target_of,
)
from loadtest.contract import (
    GITHUB,
    GITHUB_DELIVERY,
    GITHUB_EVENT,
    MISSING,
    STANDARD,
    WEBHOOK_ID,
    Envelope,
    MalformedEvent,
    envelope_of,
    now_us,
    parse_envelope,
    parse_json,
    require_name,
)
from loadtest.inbox import Arrival, Inbox, InboxFull, InboxUnavailable
from loadtest.openapi import RECEIVER, published
from loadtest.signatures import (
    GitHub,
    Headers,
    SignatureRefused,
    SignatureScheme,
    SignedRequest,
    StandardWebhooks,
)
from loadtest.signatures.standard import SECRET_PREFIX
from sim.errors import InputError

log = logging.getLogger("hookbench.receiver")

_RETRY_AFTER = (b"retry-after", b"1")
_WEBHOOK_ID, _GITHUB_DELIVERY, _GITHUB_EVENT = (
    name.encode() for name in (WEBHOOK_ID, GITHUB_DELIVERY, GITHUB_EVENT)
)


class ReceiverApp(Application):
    """ASGI application with an inbox behind it.

    Args:
        inbox: where events go.
        secrets: those beginning with ``whsec_`` open /webhooks/standard; every one opens /webhooks/github.
        max_body_bytes: larger bodies are refused while they stream in.
        drain_s: how long stored events may be served after the last request.

    Raises:
        InputError: no secret, or a malformed ``whsec_`` one.
    """

    role = "receiver"

    def __init__(self, inbox: Inbox, secrets: Sequence[str], max_body_bytes: int, drain_s: float) -> None:
        super().__init__()
        if not secrets:
            raise InputError("a receiver needs a secret: set HOOKBENCH_WEBHOOK_SECRET or give --secret-file")
        self._inbox = inbox
        self._max_body_bytes = max_body_bytes
        self._drain_s = drain_s
        self.requests = 0
        self.refused = dict.fromkeys(("signature", "malformed", "too_large", "full", "storage"), 0)
        standard = [secret for secret in secrets if secret.startswith(SECRET_PREFIX)]
        if standard:
            self._add_route("/webhooks/standard", StandardWebhooks(standard), STANDARD, standard_event)
        self._add_route("/webhooks/github", GitHub(secrets), GITHUB, github_event)
        self.routes |= published(RECEIVER, self.routes)

    async def start(self) -> None:
        """Open for business: whatever an earlier process stored and did not finish is served first."""
        await self._inbox.start()

    async def stop(self) -> None:
        """Serve what is stored, for at most `drain_s`."""
        left = await self._inbox.drain(self._drain_s)
        if left:
            log.warning("%d stored events are not processed yet; the next start takes them up", left)

    def status(self) -> dict[str, Any]:
        """Counts of this process: `accepted` events, `rejected` requests (and why), the worker's queue."""
        rejected = {f"rejected_{reason}": count for reason, count in self.refused.items()}
        total = sum(self.refused.values())
        return {"requests": self.requests, "rejected": total} | rejected | self._inbox.status()

    def _add_route(
        self,
        path: str,
        scheme: SignatureScheme,
        source: str,
        event_of: Callable[[Headers, bytes], Envelope | None],
    ) -> None:
        async def post(scope: Scope, receive: Receive, send: Send) -> None:
            self.requests += 1
            try:
                headers = dict(scope["headers"])
                body = await read_body(headers, receive, self._max_body_bytes)
                received_us = now_us()
                scheme.verify(SignedRequest(headers, body, target_of(scope)), time.time())
                event = event_of(headers, body)
                if event is not None:
                    await self._inbox.submit((Arrival(event, body, "webhook", received_us, source),))
            except SignatureRefused as error:
                self.refused["signature"] += 1
                await reply_error(send, 401, str(error))
            except MalformedEvent as error:
                self.refused["malformed"] += 1
                await reply_error(send, 400, str(error))
            except InboxFull as error:
                self.refused["full"] += 1
                await reply_error(send, 503, str(error), _RETRY_AFTER)
            except InboxUnavailable as error:
                self.refused["storage"] += 1
                await reply_error(send, 503, str(error), _RETRY_AFTER)
            except BodyTooLarge:
                self.refused["too_large"] += 1
                raise
            else:
                await reply_no_content(send)

        self.routes[path] = {"POST": post}


def standard_event(headers: Headers, body: bytes) -> Envelope:
    """The event in a Standard Webhooks request; its id must be the signed ``webhook-id``.

    Raises:
        MalformedEvent: not an event, or the two ids differ.
    """
    event = parse_envelope(body)
    if event.id.encode() != headers[_WEBHOOK_ID]:
        raise MalformedEvent(f"the event's id is {event.id!r}, but {WEBHOOK_ID} says otherwise")
    return event


def github_event(headers: Headers, body: bytes) -> Envelope | None:
    """The event in a GitHub delivery, or None for the ``ping`` that greets a new webhook.

    The id is the delivery's, which GitHub keeps when it delivers again; index and creation are known
    only when the body is one of our own envelopes.

    Raises:
        MalformedEvent: a header is missing, or the body is not a JSON object.
    """
    event_type = require_name(GITHUB_EVENT, headers.get(_GITHUB_EVENT, b"").decode("latin-1"))
    if event_type == "ping":
        return None
    delivery = require_name(GITHUB_DELIVERY, headers.get(_GITHUB_DELIVERY, b"").decode("latin-1"))
    document = parse_json(body)
    if not isinstance(document, dict):
        raise MalformedEvent(f"a delivery is a JSON object, not {type(document).__name__}")
    if document.keys() >= {"id", "type", "index", "created_us"}:
        own = envelope_of(document)
        return own._replace(id=delivery, type=event_type)
    return Envelope(delivery, event_type, MISSING, MISSING)
