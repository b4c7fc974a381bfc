"""The provider's document: events to publish and to page through, endpoints to push them to."""

from __future__ import annotations

from typing import Any

from loadtest.openapi.parts import (
    COUNT,
    NEW_ORDER,
    SCHEMAS,
    TOO_LARGE,
    answer,
    body,
    common_paths,
    parameter,
    ref,
    refusal,
    status_schema,
)

_STATUS = status_schema(
    counts=(
        *("published", "duplicates", "polls", "empty_responses", "not_modified", "bad_requests"),
        *("poll_response_bytes", "subscriptions", "dispatched", "acknowledged", "failed", "waiting"),
        *("in_flight", "backing_off", "timeouts", "connection_errors", "refusals"),
        *("request_bytes", "response_bytes"),
    ),
)

_ETAG = {
    "ETag": {
        "description": "Of this page; strong.",
        "required": True,
        "schema": {"type": "string", "pattern": '^"[0-9a-f]{12}-[0-9]+-[0-9]+-[01]"$'},
    }
}
_CURSOR = {"type": "string", "pattern": "^[0-9a-f]{12}-[0-9]{1,15}$"}
_BASE64 = "(?:[A-Za-z0-9+/]{4})"
_SECRET = f"^whsec_{_BASE64}{{8,21}}(?:[A-Za-z0-9+/]{{2}}==)?$|^whsec_{_BASE64}{{8,20}}[A-Za-z0-9+/]{{3}}=$"
_URL = {"type": "string", "description": "http:// and a host of this machine."}

_PUBLISH = {
    "operationId": "publish",
    "summary": "Publish one event, or several in order",
    "description": "An id that was published before is counted as a duplicate, and is otherwise ignored.",
    "requestBody": body(
        {"oneOf": [ref("Event"), {"type": "array", "items": ref("Event")}]},
        a_new_order=NEW_ORDER,
        two_orders=[NEW_ORDER, {**NEW_ORDER, "id": "evt_spring_1", "index": 1}],
        no_event={"id": "evt_spring_0"},
    ),
    "responses": {
        "202": answer(
            "In the feed, and on the way to every endpoint.",
            {
                "type": "object",
                "required": ["published", "duplicates"],
                "properties": {"published": COUNT, "duplicates": COUNT},
                "additionalProperties": False,
            },
            examples={
                "a_new_order": {"published": 1, "duplicates": 0},
                "two_orders": {"published": 1, "duplicates": 1},
            },
        ),
        "400": refusal("Not an event, or not a list of them.", no_event="the event has no 'type'"),
        "413": TOO_LARGE,
    },
}

_PAGE = {
    "operationId": "page",
    "summary": "The events after a cursor, oldest first",
    "parameters": [
        parameter(
            "query",
            "after",
            "The `cursor` of an earlier answer; without one the feed begins at its first event.",
            _CURSOR,
            of_another_run="0123456789ab-17",
            no_cursor="yesterday",
        ),
        parameter(
            "query",
            "limit",
            "At most so many events; the server may have been started with a smaller limit.",
            {"type": "integer", "minimum": 1, "maximum": 1000},
            first_page=10,
            too_many=5000,
        ),
        parameter("header", "If-None-Match", "The ETag of an earlier answer, or `*`.", {"type": "string"}),
    ],
    "responses": {
        "200": answer(
            "A page; empty when there is nothing new.",
            {
                "type": "object",
                "required": ["events", "cursor", "more"],
                "properties": {
                    "events": {"type": "array", "items": ref("Event")},
                    "cursor": {**_CURSOR, "description": "Opaque; ask for what comes `after` it."},
                    "more": {"type": "boolean", "description": "Whether another page is there already."},
                },
                "additionalProperties": False,
            },
            headers=_ETAG,
        ),
        "304": answer("The page is the one whose ETag was sent.", headers=_ETAG),
        "400": refusal(
            "A cursor that this provider never gave out, a limit out of its range, or an unknown parameter.",
            no_cursor="after='yesterday' is not a cursor of this feed; use the 'cursor' of a previous answer",
            too_many="limit='5000' is not a whole number from 1 to 1000",
        ),
        "410": answer(
            "A cursor of an earlier run of this provider: start over without one, and deduplicate.",
            {
                "type": "object",
                "required": ["error", "code"],
                "properties": {"error": {"type": "string"}, "code": {"const": "cursor_gone"}},
                "additionalProperties": False,
            },
            examples={
                "of_another_run": {
                    "error": "after='0123456789ab-17' is a cursor of an earlier run of this provider; "
                    "start over without one",
                    "code": "cursor_gone",
                }
            },
        ),
    },
}

_SUBSCRIBE = {
    "operationId": "subscribe",
    "summary": "Push what is published from now on to an endpoint",
    "requestBody": body(
        {
            "type": "object",
            "required": ["url"],
            "properties": {
                "url": _URL,
                "secret": {
                    "type": "string",
                    "pattern": _SECRET,
                    "description": "`whsec_` and base64 of 24 to 64 bytes; else the provider's own sign.",
                },
            },
            "additionalProperties": False,
        },
        a_receiver={"url": "http://127.0.0.1:8080/webhooks/standard"},
        elsewhere={"url": "http://198.51.100.7/hook"},
    ),
    "responses": {
        "201": answer(
            "The endpoint receives the events that are published after this.",
            {
                "type": "object",
                "required": ["url"],
                "properties": {"url": _URL},
                "additionalProperties": False,
            },
            examples={"a_receiver": {"url": "http://127.0.0.1:8080/webhooks/standard"}},
        ),
        "400": refusal(
            "Not a subscription, or not to this machine.",
            elsewhere="the subscription's url 'http://198.51.100.7/hook' is not on this machine: "
            "use localhost, 127.0.0.0/8 or [::1]",
        ),
        "413": TOO_LARGE,
    },
}

PROVIDER: dict[str, Any] = {
    "openapi": "3.1.0",
    "info": {
        "title": "hookbench provider",
        "version": "1",
        "description": (
            "Publishes events, lets clients poll them, and pushes them to subscribed endpoints. "
            "Other paths answer 404, other methods 405 with `Allow`; what is not HTTP, 400 as plain text."
        ),
    },
    "paths": {
        "/events": {"get": _PAGE, "post": _PUBLISH},
        "/subscriptions": {"post": _SUBSCRIBE},
        **common_paths(_STATUS),
    },
    "components": {"schemas": SCHEMAS},
}
