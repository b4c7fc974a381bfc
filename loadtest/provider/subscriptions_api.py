"""The subscriptions API: which endpoints receive webhooks, how they stand, and what became of each event.

=======================================  ===============================================================
request                                  answer
=======================================  ===============================================================
POST   /subscriptions                    201 and the subscription: ``{"url": ...}`` and, where wanted,
                                         ``"secret"`` (the provider's own are used without),
                                         ``"format"`` (of `signing.FORMATS`, "standard" by default) and
                                         ``"policy"`` (a webhook table, or a provider preset's name)
GET    /subscriptions                    ``{"subscriptions": [...]}``, never secrets
GET    /subscriptions/{id}               one of them, with its policy
PATCH  /subscriptions/{id}               some of ``{"url", "enabled", "policy"}``; ``"enabled": true``
                                         also forgives what an endpoint was disabled for
DELETE /subscriptions/{id}               ``{"dropped": n}``: deliveries that were on their way
POST   /subscriptions/{id}/rotate        ``{"secret": new, "overlap_s": s}``: both sign for so long
POST   /subscriptions/{id}/redeliver     202: ``{"event_id": ...}`` whatever became of it, or what has
                                         failed, all or ``{"since_us", "until_us"}`` of its publication
GET    /subscriptions/{id}/deliveries    ``?state=failed&limit=100&after=NUMBER``: a page, and the next
=======================================  ===============================================================

What is redelivered keeps its id, is signed afresh and tried once, without retries. A subscription receives
the events that are published after it was made. 400 says what is wrong, 404 that there is no such
subscription, or no such delivery in memory, 409 that it cannot be done now.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import parse_qs

from yarl import URL

from loadtest.asgi import Handler, Receive, Scope, Send, read_body, reply_error, reply_json
from loadtest.contract import MalformedEvent, now_us, parse_json
from loadtest.provider.delivery import ACKNOWLEDGED, OUTCOMES
from loadtest.provider.dispatcher import Dispatcher, TooManySubscriptions
from loadtest.provider.endpoint import Endpoint
from loadtest.provider.policy import WebhookPolicy
from sim.errors import HookbenchError, InputError

MAX_BODY_BYTES = 64 * 1024
MAX_PAGE = 1000
_DEFAULT_PAGE = 100

Body = dict[str, Any]


class Refused(HookbenchError):
    """A request that cannot be fulfilled; servers answer `status` and the message."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class SubscriptionsApi:
    """What ``/subscriptions`` answers.

    Args:
        dispatcher: has the endpoints.

    Attributes:
        bad_requests: refused requests.
    """

    def __init__(self, dispatcher: Dispatcher) -> None:
        self._dispatcher = dispatcher
        self.bad_requests = 0

    @property
    def routes(self) -> dict[str, dict[str, Handler]]:
        """Handlers by path and method."""
        one = "/subscriptions/{id}"
        return {
            "/subscriptions": {"GET": self._handler(self._list), "POST": self._handler(self._subscribe)},
            one: {
                "GET": self._handler(self._show),
                "PATCH": self._handler(self._change),
                "DELETE": self._handler(self._delete),
            },
            f"{one}/rotate": {"POST": self._handler(self._rotate)},
            f"{one}/redeliver": {"POST": self._handler(self._redeliver)},
            f"{one}/deliveries": {"GET": self._handler(self._deliveries)},
        }

    def _handler(self, answer: Callable[[Scope, bytes], Awaitable[tuple[int, object]]]) -> Handler:
        async def handle(scope: Scope, receive: Receive, send: Send) -> None:
            body = await read_body(dict(scope["headers"]), receive, MAX_BODY_BYTES)
            try:
                status, document = await answer(scope, body)
            except (MalformedEvent, InputError) as error:
                self.bad_requests += 1
                await reply_error(send, 400, str(error))
            except TooManySubscriptions as error:
                await reply_error(send, 409, str(error))
            except Refused as error:
                await reply_error(send, error.status, str(error))
            else:
                await reply_json(send, status, document)

        return handle

    def _endpoint(self, scope: Scope) -> Endpoint:
        key = scope["path_params"]["id"]
        endpoint = self._dispatcher.find(key)
        if endpoint is None:
            raise Refused(404, f"there is no subscription {key!r:.80}")
        return endpoint

    async def _admit(self, url: object) -> URL:
        if not isinstance(url, str):
            raise InputError(f"url must be a string, got {url!r:.80}")
        return await asyncio.to_thread(self._dispatcher.outbound.admit, url)

    async def _list(self, scope: Scope, body: bytes) -> tuple[int, object]:
        del scope, body
        return 200, {"subscriptions": [endpoint.document() for endpoint in self._dispatcher.endpoints]}

    async def _subscribe(self, scope: Scope, body: bytes) -> tuple[int, object]:
        del scope
        told = parse_body(body, "url", "secret", "format", "policy")
        if "url" not in told:
            raise InputError(
                'a subscription is {"url": "http://...", "secret": "whsec_..."}; the url is missing'
            )
        signing = self._dispatcher.signing(_text(told, "format") or "standard", _text(told, "secret"))
        policy = WebhookPolicy.of(told["policy"]) if "policy" in told else None
        url = await self._admit(told["url"])
        return 201, self._dispatcher.subscribe(url, signing, policy).document()

    async def _show(self, scope: Scope, body: bytes) -> tuple[int, object]:
        del body
        endpoint = self._endpoint(scope)
        return 200, {**endpoint.document(), "policy": endpoint.policy.table()}

    async def _change(self, scope: Scope, body: bytes) -> tuple[int, object]:
        endpoint = self._endpoint(scope)
        told = parse_body(body, "url", "enabled", "policy")
        enabled = told.get("enabled")
        if enabled is not None and type(enabled) is not bool:
            raise InputError(f"enabled must be true or false, got {enabled!r:.80}")
        policy = WebhookPolicy.of(told["policy"]) if "policy" in told else None
        url = await self._admit(told["url"]) if "url" in told else endpoint.url
        endpoint.url = url  # nothing is changed before all of it is known to be right
        if policy is not None:
            endpoint.use(policy)
        if enabled:
            endpoint.enable()
        elif enabled is not None:
            endpoint.disable("owner")
        return 200, {**endpoint.document(), "policy": endpoint.policy.table()}

    async def _delete(self, scope: Scope, body: bytes) -> tuple[int, object]:
        del body
        return 200, {"dropped": await self._dispatcher.unsubscribe(self._endpoint(scope))}

    async def _rotate(self, scope: Scope, body: bytes) -> tuple[int, object]:
        endpoint = self._endpoint(scope)
        told = parse_body(body, "secret", "overlap_s")
        secret, overlap_s = _text(told, "secret"), told.get("overlap_s")
        if secret is None:
            raise InputError('a rotation is {"secret": new, "overlap_s": seconds}; the secret is missing')
        if overlap_s is not None and type(overlap_s) not in (int, float):
            raise InputError(f"overlap_s must be a number of seconds, got {overlap_s!r:.80}")
        return 200, {"overlap_s": endpoint.signing.rotate(secret, overlap_s, now_us())}

    async def _redeliver(self, scope: Scope, body: bytes) -> tuple[int, object]:
        endpoint = self._endpoint(scope)
        told = parse_body(body, "event_id", "since_us", "until_us") if body else {}
        if endpoint.standing.is_off(now_us()):
            raise Refused(409, "the subscription is disabled; enable it first")
        if "event_id" not in told:
            since_us, until_us = _microseconds(told, "since_us"), _microseconds(told, "until_us")
            failed = [
                delivery
                for delivery in endpoint.deliveries
                if endpoint.can_redeliver(delivery)
                and delivery.outcome != ACKNOWLEDGED
                and (since_us is None or delivery.published.published_us >= since_us)
                and (until_us is None or delivery.published.published_us <= until_us)
            ]
        elif len(told) > 1:
            raise InputError("state event_id, or since_us and until_us")
        else:
            delivery = endpoint.deliveries.of_event(_text(told, "event_id") or "")
            if delivery is None:
                raise Refused(404, f"no delivery of the event {told['event_id']!r:.80} is remembered")
            if not endpoint.can_redeliver(delivery):
                raise Refused(409, "that delivery is on its way already")
            failed = [delivery]
        redelivered = sum(endpoint.redeliver(delivery) for delivery in failed)
        return 202, {"redelivering": redelivered, "left_out": len(failed) - redelivered}

    async def _deliveries(self, scope: Scope, body: bytes) -> tuple[int, object]:
        del body
        endpoint = self._endpoint(scope)
        state, limit, after = parse_query(scope["query_string"])
        page = endpoint.deliveries.page(state, after, limit)
        return 200, {
            "deliveries": [delivery.document() for delivery in page],
            "next": page[-1].number if len(page) == limit else None,
        }


def parse_body(body: bytes, *known: str) -> Body:
    """A JSON object with some of these keys.

    Raises:
        MalformedEvent: the body is not JSON.
        InputError: not an object, or an unknown key.
    """
    told = parse_json(body)
    if not isinstance(told, dict):
        raise InputError(f"the body must be an object with {', '.join(known)}, not {type(told).__name__}")
    for key in told:
        if key not in known:
            raise InputError(f"unknown key {key!r:.80}; known: {', '.join(known)}")
    return told


def parse_query(query: bytes) -> tuple[str | None, int, int]:
    """State (None: any), limit and the number to continue after, of a page of deliveries.

    Raises:
        InputError: an unknown parameter, one given twice, or a value out of its range.
    """
    given = parse_qs(query.decode("latin-1"), keep_blank_values=True)
    for name, values in given.items():
        if name not in ("state", "limit", "after"):
            raise InputError(f"unknown parameter {name!r:.80}; known: state, limit, after")
        if len(values) > 1:
            raise InputError(f"{name} is given {len(values)} times")
    state = given["state"][0] if "state" in given else None
    if state is not None and state not in OUTCOMES:
        raise InputError(f"state must be one of {', '.join(OUTCOMES)}, got {state!r:.80}")
    limit = _digits("limit", given["limit"][0], 1, MAX_PAGE) if "limit" in given else _DEFAULT_PAGE
    after = _digits("after", given["after"][0], 0, 10**15) if "after" in given else -1
    return state, limit, after


def _digits(name: str, text: str, least: int, most: int) -> int:
    if text.isascii() and text.isdigit() and len(text) <= 16 and least <= int(text) <= most:
        return int(text)
    raise InputError(f"{name} must be a whole number from {least} to {most}, got {text!r:.80}")


def _text(told: Body, key: str) -> str | None:
    value = told.get(key)
    if value is not None and not isinstance(value, str):
        raise InputError(f"{key} must be a string")  # not shown: it may be a secret
    return value


def _microseconds(told: Body, key: str) -> int | None:
    value = told.get(key)
    if value is not None and (type(value) is not int or value < 0):
        raise InputError(f"{key} must be a whole number of µs, as in published_us, got {value!r:.80}")
    return value
