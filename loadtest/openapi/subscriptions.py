"""The subscriptions API: which endpoints receive webhooks, how they are served, what became of each event."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from loadtest.openapi.parts import (
    COUNT,
    NAME,
    SECONDS,
    TOO_LARGE,
    answer,
    body,
    or_null,
    parameter,
    ref,
    refusal,
    table,
)

_MICROSECONDS = {"type": "integer", "minimum": 0, "description": "µs of the machine's monotonic clock."}
_SPAN = {**SECONDS, "maximum": 10**9}
_ABOVE_ZERO = {"type": "number", "exclusiveMinimum": 0, "maximum": 10**9}
_PERIOD = {"type": "number", "minimum": 0.001, "maximum": 10**9}
_FROM_ONE = {"type": "integer", "minimum": 1}


def _retry(kinds: list[str], *required: str, **own: Any) -> dict[str, Any]:
    return table(
        {
            "kind": {"enum": kinds},
            "base_s": _SPAN,
            "factor": {"type": "number", "minimum": 1, "maximum": 10**9},
            "cap_s": _SPAN,
            "max_attempts": or_null(_FROM_ONE),
            "max_duration_s": or_null(_SPAN),
            "jitter": {"enum": ["none", "full", "equal", "proportional", "decorrelated"]},
            "spread": {"type": "number", "minimum": 0, "maximum": 1},
            **own,
        },
        *("kind", *required),
    )


RETRY = {
    "description": "When a failed attempt is tried again.",
    "oneOf": [
        _retry(["none"]),
        _retry(["fixed", "linear", "exponential"], "max_attempts", max_attempts=_FROM_ONE),
        _retry(["schedule"], "gaps_s", gaps_s={"type": "array", "items": _SPAN, "minItems": 1}),
    ],
}
_RULES = {
    "consecutive_failures": or_null(_FROM_ONE),
    "failing_for_s": or_null(_ABOVE_ZERO),
    "failing_share": or_null({**_ABOVE_ZERO, "maximum": 1}),
}
DISABLING = table(
    {
        **_RULES,
        "share_window_s": or_null(_PERIOD),
        "share_attempts": or_null(_FROM_ONE),
        "re_enable_after_s": or_null(_ABOVE_ZERO),
    },
    description="When the endpoint is switched off for failing.",
    anyOf=[{"required": [rule], "properties": {rule: {"not": {"type": "null"}}}} for rule in _RULES],
)
REDELIVERY = table(
    {
        "every_s": _PERIOD,
        "rounds": or_null(_FROM_ONE),
        "within_s": or_null(_ABOVE_ZERO),
        "origin_us": or_null({"type": "integer", "minimum": 1 - 2**63, "maximum": 2**63 - 1}),
    },
    "every_s",
    description="How often somebody looks at the dead letters.",
)
POLICY = table(
    {
        "preset": {"type": "string", "description": "A provider's; what the table leaves out is as there."},
        "timeout_s": _ABOVE_ZERO,
        "retry": ref("Retry"),
        "max_in_flight": _FROM_ONE,
        "disabling": or_null(ref("Disabling")),
        "redelivery": or_null(ref("Redelivery")),
        "max_redirects": {"type": "integer", "minimum": 0, "maximum": 2},
        "retry_after_limit_s": _SPAN,
        "notification_bytes": {
            "type": ["integer", "null"],
            "minimum": 0,
            "maximum": 1_000_000,
            "description": "Send a notice of at least so many bytes; the event is at `/events/{id}`.",
        },
    },
    description="How an endpoint is served; what it leaves out is the provider's default.",
)

_COUNTS = (
    *("pending", "acknowledged", "failed", "waiting", "in_flight", "backing_off", "deliveries"),
    *("dispatched", "timeouts", "connection_errors", "forbidden", "refusals", "unsent", "dead_letters"),
    *("redeliveries", "dropped", "redirects", "request_bytes", "response_bytes"),
    *("connections_opened", "connections_reused"),
)
_FORMATS = ["standard", "svix", "stripe", "slack", "github", "shopify"]
_OCTET = "(25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
_PORT = "[1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5]"
_URL = {
    "type": "string",
    "description": "Of a host that the provider may call: this machine, unless it was started otherwise.",
    "pattern": rf"^https?://(127(\.{_OCTET}){{3}}|localhost|\[::1\])(:({_PORT}))?([/?#][!-~]*)?$",
    "maxLength": 2000,
}
_BASE64 = "(?:[A-Za-z0-9+/]{4})"
_SECRET = {
    "type": "string",
    "description": "`whsec_` and base64 of 24 to 64 bytes (or `whsk_`, an ed25519 pair); other formats than "
    "standard and svix take any text.",
    "pattern": (
        f"^whsec_{_BASE64}{{8,21}}(?:[A-Za-z0-9+/]{{2}}==)?$|^whsec_{_BASE64}{{8,20}}[A-Za-z0-9+/]{{3}}=$"
    ),
}
_SHOWN = {
    "id": {"type": "string", "pattern": "^sub_[0-9a-f]{12}$"},
    "url": {"type": "string"},
    "format": {"enum": _FORMATS},
    "state": {"enum": ["enabled", "disabled"]},
    "reason": {"enum": ["failing", "gone", "owner"]},
    "enabled_again_in_s": SECONDS,
    **dict.fromkeys(_COUNTS, COUNT),
    "requests_per_connection": SECONDS,
}
_ALWAYS = [name for name in _SHOWN if name not in ("reason", "enabled_again_in_s")]
SUBSCRIPTION = table(_SHOWN, *_ALWAYS, description="As it stands; never with its secrets.")
SUBSCRIPTION_AND_POLICY = table({**_SHOWN, "policy": {"type": "object"}}, *_ALWAYS, "policy")
DELIVERY = table(
    {
        "number": COUNT,
        "event_id": NAME,
        "state": {"enum": ["pending", "acknowledged", "failed"]},
        "last": {"type": "string", "description": "What became of the last attempt."},
        "attempts": COUNT,
        "dead_letter": {"type": "boolean"},
        "published_us": _MICROSECONDS,
        "first_attempt_us": {"type": ["integer", "null"]},
        "acknowledged_us": {"type": ["integer", "null"]},
    },
    *("number", "event_id", "state", "last", "attempts", "dead_letter"),
    *("published_us", "first_attempt_us", "acknowledged_us"),
)
SCHEMAS = {
    "Retry": RETRY,
    "Disabling": DISABLING,
    "Redelivery": REDELIVERY,
    "Policy": POLICY,
    "Subscription": SUBSCRIPTION,
    "SubscriptionAndPolicy": SUBSCRIPTION_AND_POLICY,
    "Delivery": DELIVERY,
}

_NOBODY = "sub_000000000000"
_ID = parameter("path", "id", "The subscription's.", {"type": "string", "minLength": 1}, required=True)
_ID_OF_NOBODY = parameter(
    "path", "id", "The subscription's.", {"type": "string", "minLength": 1}, required=True, of_nobody=_NOBODY
)


def _refused(malformed: Mapping[str, str] | None = None) -> dict[str, Any]:
    return {"400": refusal("It cannot be understood, or is not allowed.", malformed), "413": TOO_LARGE}


_NONE_SUCH = refusal("There is no such subscription.")
_NOBODY_THERE = refusal(
    "There is no such subscription.", {"of_nobody": f"there is no subscription '{_NOBODY}'"}
)
_A_POLICY = {"oneOf": [ref("Policy"), {"type": "string", "description": "A preset's name."}]}

_LIST = {
    "operationId": "subscriptions",
    "summary": "All subscriptions, in the order in which they were made",
    "responses": {
        "200": answer(
            "The subscriptions.",
            table({"subscriptions": {"type": "array", "items": ref("Subscription")}}, "subscriptions"),
        ),
        "413": TOO_LARGE,
    },
}
_SUBSCRIBE = {
    "operationId": "subscribe",
    "summary": "Push what is published from now on to an endpoint",
    "requestBody": body(
        table(
            {
                "url": _URL,
                "secret": or_null(_SECRET),
                "format": {"enum": [*_FORMATS, None], "default": "standard"},
                "policy": _A_POLICY,
            },
            "url",
        ),
        a_receiver={"url": "http://127.0.0.1:8080/webhooks/standard"},
        as_github_sends={
            "url": "http://127.0.0.1:8080/webhooks/github",
            "format": "github",
            "policy": "github",
        },
        elsewhere={"url": "http://198.51.100.7/hook"},
    ),
    "responses": {
        "201": answer("The subscription.", ref("Subscription")),
        "409": refusal("There are as many as may be."),
        **_refused(
            {"elsewhere": "the url 'http://198.51.100.7/hook' is not allowed; allowed: 127.0.0.0/8, ::1/128"}
        ),
    },
}
_SHOW = {
    "operationId": "subscription",
    "summary": "One subscription, and how it is served",
    "parameters": [_ID_OF_NOBODY],
    "responses": {
        "200": answer("The subscription.", ref("SubscriptionAndPolicy")),
        "404": _NOBODY_THERE,
        "413": TOO_LARGE,
    },
}
_CHANGE = {
    "operationId": "change",
    "summary": "Change where it goes and how it is served; switch it on and off",
    "description": "Switching on forgives what the endpoint was switched off for. All is changed or nothing.",
    "parameters": [_ID],
    "requestBody": body(
        table({"url": _URL, "enabled": {"type": ["boolean", "null"]}, "policy": _A_POLICY}),
        a_pause={"enabled": False},
        another_policy={"policy": {"preset": "stripe", "timeout_s": 5}},
        no_policy={"policy": {"timeout_s": 0}},
    ),
    "responses": {
        "200": answer("The subscription now.", ref("SubscriptionAndPolicy")),
        "404": _NONE_SUCH,
        **_refused({"no_policy": "webhook.timeout_s must be above 0, got 0"}),
    },
}
_DELETE = {
    "operationId": "unsubscribe",
    "summary": "End it; what is on its way is dropped",
    "parameters": [_ID],
    "responses": {
        "200": answer("How many deliveries were on their way.", table({"dropped": COUNT}, "dropped")),
        "404": _NONE_SUCH,
        "413": TOO_LARGE,
    },
}
_ROTATE = {
    "operationId": "rotate",
    "summary": "Sign with a new secret, and for a while with the present one as well",
    "parameters": [_ID],
    "requestBody": body(
        table(
            {"secret": _SECRET, "overlap_s": or_null({"type": "number", "minimum": 0, "maximum": 604800})},
            "secret",
        ),
        a_day={"secret": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "overlap_s": 86400},
        no_secret={"overlap_s": 86400},
    ),
    "responses": {
        "200": answer("For how long both sign.", table({"overlap_s": SECONDS}, "overlap_s")),
        "404": _NONE_SUCH,
        **_refused(
            {"no_secret": 'a rotation is {"secret": new, "overlap_s": seconds}; the secret is missing'}
        ),
    },
}
_REDELIVER = {
    "operationId": "redeliver",
    "summary": "Try once more: one event whatever became of it, or what has failed",
    "parameters": [_ID],
    "requestBody": {
        **body(
            {
                "oneOf": [
                    table({"event_id": {"type": "string"}}, "event_id"),
                    table({"since_us": or_null(_MICROSECONDS), "until_us": or_null(_MICROSECONDS)}),
                ]
            },
            all_failed={},
            one_event={"event_id": "evt_never_seen"},
        ),
        "required": False,
    },
    "responses": {
        "202": answer(
            "How many are on their way again, and for how many there was no room.",
            table({"redelivering": COUNT, "left_out": COUNT}, "redelivering", "left_out"),
        ),
        "404": refusal(
            "There is no such subscription, or it remembers no such event.",
            {"one_event": "no delivery of the event 'evt_never_seen' is remembered"},
        ),
        "409": refusal("It is switched off, or that delivery is on its way."),
        **_refused(),
    },
}
_DELIVERIES = {
    "operationId": "deliveries",
    "summary": "What became of each event, oldest first, as far as it is remembered",
    "parameters": [
        _ID,
        parameter("query", "state", "Only these.", {"enum": ["pending", "acknowledged", "failed"]}),
        parameter("query", "limit", "At most so many.", {"type": "integer", "minimum": 1, "maximum": 1000}),
        parameter(
            "query",
            "after",
            "The `next` of an earlier answer.",
            {"type": "integer", "minimum": 0, "maximum": 10**15},
        ),
    ],
    "responses": {
        "200": answer(
            "A page, and where the next begins.",
            table(
                {
                    "deliveries": {"type": "array", "items": ref("Delivery")},
                    "next": {"type": ["integer", "null"]},
                },
                *("deliveries", "next"),
            ),
        ),
        "404": _NONE_SUCH,
        **_refused(),
    },
}

SUBSCRIPTIONS: dict[str, Any] = {
    "/subscriptions": {"get": _LIST, "post": _SUBSCRIBE},
    "/subscriptions/{id}": {"get": _SHOW, "patch": _CHANGE, "delete": _DELETE},
    "/subscriptions/{id}/rotate": {"post": _ROTATE},
    "/subscriptions/{id}/redeliver": {"post": _REDELIVER},
    "/subscriptions/{id}/deliveries": {"get": _DELIVERIES},
}
