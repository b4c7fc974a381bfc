"""The reference webhook receiver: verify the raw body, store, only then acknowledge; process afterwards.

=====================================  =========================================================
answer to a POST                       when
=====================================  =========================================================
204                                    stored durably (now, or earlier: a duplicate), or a ping
200                                    the provider wants to read something, as Slack its challenge
400                                    verified, but no event; or a header of ours stands there twice
401                                    the signature is missing, malformed, stale or wrong
404, 405                               no such source, or none with a secret; not its method
413                                    the body is larger than `max_body_bytes`
415                                    verified, but in a format this receiver cannot read
503 and Retry-After                    `queue_limit` events wait, or storage failed
=====================================  =========================================================
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from typing import Any

from loadtest.asgi import (
    Application,
    BodyTooLarge,
    ClientGone,
    Handler,
    Receive,
    Scope,
    Send,
    read_body,
    reply_bytes,
    reply_error,
    reply_no_content,
    target_of,
)
from loadtest.background import Background, Consumer
from loadtest.contract import MalformedEvent, now_us
from loadtest.inbox import Arrival, Inbox, InboxFull, InboxUnavailable
from loadtest.openapi import RECEIVER, published
from loadtest.receiver.identities import UnknownFormat
from loadtest.receiver.sources import Source
from loadtest.signatures import Headers, SignatureRefused, SignedRequest

log = logging.getLogger("hookbench.receiver")

_RETRY_AFTER = (b"retry-after", b"1")
_TEXT = (b"content-type", b"text/plain; charset=utf-8")
_SINGLE = (
    *(b"webhook-", b"svix-", b"x-github-", b"x-hub-", b"stripe-", b"x-slack-", b"x-shopify-", b"x-twilio-"),
    *(b"i-twilio-", b"x-mandrill-", b"ce-", b"authorization", b"content-type"),
)
"""How the headers begin that say who sends what: two readers could understand a repeated one differently."""


class ReceiverApp(Application):
    """ASGI application with an inbox behind it.

    Args:
        inbox: where events go.
        sources: whose webhooks are taken, each at its own path.
        max_body_bytes: larger bodies are refused while they stream in.
        drain_s: how long stored events may be served after the last request.
        beside: consumers that run as long as the receiver and end in the same inbox, by the word that their
            counts begin with in /status.
    """

    role = "receiver"

    def __init__(
        self,
        inbox: Inbox,
        sources: Sequence[Source],
        max_body_bytes: int = 1_000_000,
        drain_s: float = 30.0,
        beside: Mapping[str, Consumer] | None = None,
    ) -> None:
        super().__init__()
        self._beside = dict(beside or {})
        self._tasks = [
            Background(consumer, f"{name} task", self.fail) for name, consumer in self._beside.items()
        ]
        self._inbox = inbox
        self._max_body_bytes = max_body_bytes
        self._drain_s = drain_s
        self.requests = 0
        self.acknowledged = 0
        self.hung_up = 0
        self.refused = dict.fromkeys(("signature", "malformed", "too_large", "full", "storage"), 0)
        for source in sources:
            self.routes[source.path] = {"POST": self._taking(source), **source.handshakes}
        self.routes |= published(RECEIVER, self.routes)

    async def start(self) -> None:
        """Open for business: whatever an earlier process stored and did not finish is served first."""
        await self._inbox.start()
        for task in self._tasks:
            task.start()

    async def stop(self) -> None:
        """Serve what is stored, for at most `drain_s`."""
        for task in self._tasks:
            await task.stop()
        left = await self._inbox.drain(self._drain_s)
        if left:
            log.warning("%d stored events are not processed yet; the next start takes them up", left)

    def ready(self) -> str | None:
        """Why events had better be sent later: storage fails, or too many wait."""
        ready, reason = self._inbox.ready()
        return None if ready else reason

    def status(self) -> dict[str, Any]:
        """Counts: requests, of which some were acknowledged, some rejected, and some hung up; events."""
        rejected = {f"rejected_{reason}": count for reason, count in self.refused.items()}
        requests = {
            "requests": self.requests,
            "acknowledged": self.acknowledged,
            "hung_up": self.hung_up,
            "rejected": sum(self.refused.values()),
        }
        others = {
            f"{name}_{count}": value
            for name, consumer in self._beside.items()
            for count, value in consumer.status().items()
        }
        return requests | rejected | others | self._inbox.status()

    def _taking(self, source: Source) -> Handler:
        name, scheme, events_of, answer_to = source.name, source.scheme, source.events, source.answer

        async def post(scope: Scope, receive: Receive, send: Send) -> None:
            self.requests += 1
            try:
                headers = headers_of(scope)
                body = await read_body(headers, receive, self._max_body_bytes)
                received_us = now_us()
                request = SignedRequest(headers, body, target_of(scope))
                scheme.verify(request, time.time())
                events = events_of(request)
                if events:
                    arrivals = [Arrival(event, kept, "webhook", received_us, name) for event, kept in events]
                    # A batch that no queue would hold is taken when nothing waits, else it could never come.
                    bounded = len(arrivals) == 1 or self._inbox.waiting > 0
                    await self._inbox.submit(arrivals, bounded=bounded)
                answer = answer_to(request) if answer_to is not None else None
            except SignatureRefused as error:
                self.refused["signature"] += 1
                await reply_error(send, 401, str(error))
            except MalformedEvent as error:
                self.refused["malformed"] += 1
                await reply_error(send, 415 if isinstance(error, UnknownFormat) else 400, str(error))
            except InboxFull as error:
                self.refused["full"] += 1
                await reply_error(send, 503, str(error), _RETRY_AFTER)
            except InboxUnavailable as error:
                self.refused["storage"] += 1
                await reply_error(send, 503, str(error), _RETRY_AFTER)
            except BodyTooLarge:
                self.refused["too_large"] += 1
                raise
            except ClientGone:
                self.hung_up += 1
                raise
            else:
                self.acknowledged += 1
                if answer is None:
                    await reply_no_content(send)
                else:
                    await reply_bytes(send, 200, answer, _TEXT)

        return post


def headers_of(scope: Scope) -> Headers:
    """The headers of a request; of a repeated one that does not matter here, the last.

    Raises:
        MalformedEvent: one of those that say who sends what is repeated.
    """
    headers = dict(scope["headers"])
    if len(headers) < len(scope["headers"]):
        names = [name for name, _ in scope["headers"] if name.startswith(_SINGLE)]
        for name in names:
            if names.count(name) > 1:
                raise MalformedEvent(
                    f"the {name.decode('latin-1')} header stands there {names.count(name)} times"
                )
    return headers
