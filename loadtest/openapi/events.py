"""The events API: publish, page, wait, stream."""

from __future__ import annotations

from typing import Any

from loadtest.openapi.parts import (
    COUNT,
    NAME,
    NEW_ORDER,
    RETRY_AFTER,
    TOO_LARGE,
    answer,
    body,
    parameter,
    ref,
    refusal,
    table,
)

_CURSOR = {"type": "string", "pattern": "^[0-9a-f]{12}-[0-9]{1,15}$"}
_GONE = "0123456789ab-17"
_NO_CURSOR = "after='yesterday' is not a cursor of this feed; use the 'cursor' of a previous answer"
_PAGE_HEADERS = {
    "ETag": {
        "description": "Of this page; strong.",
        "required": True,
        "schema": {"type": "string", "pattern": '^"[0-9a-f]{12}(-[0-9]+){3}-[01](-[0-9a-f]{1,8})?"$'},
    },
    "Cache-Control": {"required": True, "schema": {"const": "private, no-cache"}},
    "Link": {"description": 'The next page (`rel="next"`), when there is one.', "schema": {"type": "string"}},
}
_LIMITED = {
    **RETRY_AFTER,
    "RateLimit": {"required": True, "schema": {"type": "string"}},
    "RateLimit-Policy": {"required": True, "schema": {"type": "string"}},
}

_PUBLISH: dict[str, Any] = {
    "operationId": "publish",
    "summary": "Publish one event, or several in order: all or none",
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
            table({"published": COUNT, "duplicates": COUNT}, "published", "duplicates"),
            examples={
                "a_new_order": {"published": 1, "duplicates": 0},
                "two_orders": {"published": 1, "duplicates": 1},
            },
        ),
        "400": refusal("Not an event, or not a list of them.", {"no_event": "the event has no 'type'"}),
        "413": TOO_LARGE,
        "503": refusal("The feed is full.", headers=RETRY_AFTER),
    },
}

_AFTER = parameter(
    "query",
    "after",
    "The cursor of an earlier answer; without one the feed begins at the oldest event it retains.",
    _CURSOR,
    of_another_run=_GONE,
    no_cursor="yesterday",
)
_TYPES = parameter(
    "query",
    "type",
    "Only events of these types.",
    {"type": "array", "items": NAME, "maxItems": 20},
)
_REFUSED = {
    "400": refusal(
        "A cursor that this provider never gave out, a value out of its range, or an unknown parameter.",
        {
            "no_cursor": _NO_CURSOR,
            "too_many": "limit='5000' is not a whole number from 1 to 1000",
        },
    ),
    "410": answer(
        "A cursor of an earlier run of this provider: start over without one, and deduplicate.",
        table({"error": {"type": "string"}, "code": {"const": "cursor_gone"}}, "error", "code"),
        examples={
            "of_another_run": {
                "error": f"after='{_GONE}' is a cursor of an earlier run of this provider; "
                "start over without one",
                "code": "cursor_gone",
            }
        },
    ),
    "413": TOO_LARGE,
    "429": refusal("More requests than the rate limit allows.", headers=_LIMITED),
    "503": refusal("Too many wait already, or the provider stops.", headers=RETRY_AFTER),
}

_PAGE: dict[str, Any] = {
    "operationId": "page",
    "summary": "The events after a cursor, oldest first; at once, or as soon as there are any",
    "parameters": [
        _AFTER,
        parameter(
            "query",
            "limit",
            "At most so many events; the server may have been started with another limit.",
            {"type": "integer", "minimum": 1, "maximum": 1000},
            first_page=10,
            too_many=5000,
        ),
        _TYPES,
        parameter(
            "query",
            "wait",
            "Seconds to hold a request for which there is nothing new, at most 60 or what the server allows.",
            {"type": "string", "pattern": r"^0{0,4}([0-5]?[0-9](\.[0-9]{1,6})?|60(\.0{1,6})?)$"},
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
                    "more": {"type": "boolean", "description": "Whether the feed goes on by now."},
                    "missed": {
                        "type": "integer",
                        "minimum": 1,
                        "description": "Events that retention took away before they were asked for.",
                    },
                },
                "additionalProperties": False,
            },
            headers=_PAGE_HEADERS,
        ),
        "304": answer("The page is the one whose ETag was sent.", headers=_PAGE_HEADERS),
        **_REFUSED,
    },
}

_PAGE_HEAD = {
    **_PAGE,
    "operationId": "pageHead",
    "summary": "The headers of the same page",
    "parameters": [{k: v for k, v in p.items() if k != "examples"} for p in _PAGE["parameters"]],
    "responses": {
        status: {k: v for k, v in response.items() if k != "content"}
        for status, response in _PAGE["responses"].items()
    },
}

_STREAM = {
    "operationId": "stream",
    "summary": "The events after a cursor, and those to come, as server-sent events",
    "description": (
        "One block an event: `id` the cursor behind it, `event` its type, `data` the envelope. `Accept` must "
        "allow `text/event-stream`. `event: missed` tells how many events retention took away before."
    ),
    "parameters": [
        _AFTER,
        _TYPES,
        parameter(
            "header",
            "Last-Event-ID",
            "The last `id` that came; it counts more than `after`. Empty: none came.",
            {"type": "string", "pattern": "^([0-9a-f]{12}-[0-9]{1,15})?$"},
            of_another_run=_GONE,
        ),
    ],
    "responses": {
        "200": {
            "description": "A stream without end.",
            "content": {"text/event-stream": {}},
        },
        **{status: {**response} for status, response in _REFUSED.items() if status != "400"},
        "400": refusal(
            "A cursor that this provider never gave out, or an unknown parameter.",
            {"no_cursor": _NO_CURSOR},
        ),
        "406": refusal("The client does not accept a stream."),
    },
}

_ONE: dict[str, Any] = {
    "operationId": "one",
    "summary": "One event, by its id",
    "parameters": [
        parameter(
            "path",
            "id",
            "As it was published; one with a slash cannot be asked for.",
            {**NAME, "pattern": "^[!-.0-~]+$"},
            required=True,
            never_published="evt_autumn_0",
        )
    ],
    "responses": {
        "200": answer("The event, in the bytes that were published.", ref("Event")),
        "404": refusal(
            "There is none in memory.",
            {"never_published": "there is no event of this id, or not any more"},
        ),
        "429": refusal("More requests than the rate limit allows.", headers=_LIMITED),
    },
}

EVENTS: dict[str, Any] = {
    "/events": {"get": _PAGE, "head": _PAGE_HEAD, "post": _PUBLISH},
    "/events/stream": {"get": _STREAM},
    "/events/{id}": {"get": _ONE},
}
