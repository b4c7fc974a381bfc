"""What both documents say: the event, the error, and the answers that every server gives.

Examples pair by name, as in Microcks: the request example `a_new_order` is answered by the response that has
an example of that name, else by the operation's 2xx. The tests send them all.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Document = Mapping[str, Any]

NAME = {"type": "string", "pattern": "^[ -~]+$", "minLength": 1, "maxLength": 200}
"""Printable ASCII: what can name an event everywhere."""

COUNT = {"type": "integer", "minimum": 0}
SECONDS = {"type": "number", "minimum": 0}

EVENT = {
    "type": "object",
    "description": "An event: its identity, and whatever else its publisher puts in.",
    "required": ["id", "type", "index", "created_us"],
    "properties": {
        "id": {**NAME, "description": "Unique over all time; receivers deduplicate on it."},
        "type": {**NAME, "description": "What happened."},
        "index": {
            "type": "integer",
            "minimum": 0,
            "maximum": 2**63 - 1,
            "description": "Its position in the scenario's event list.",
        },
        "created_us": {
            "type": "integer",
            "minimum": 0,
            "maximum": 2**63 - 1,
            "description": "When it was to happen: µs of the machine's monotonic clock.",
        },
        "data": {"description": "What happened, in full."},
        "padding": {"description": "Nothing, at length: brings an event to the size of the study."},
    },
}

ERROR = {
    "type": "object",
    "required": ["error"],
    "properties": {"error": {"type": "string", "description": "What is wrong, in one sentence."}},
    "additionalProperties": False,
}

SCHEMAS: dict[str, Any] = {"Event": EVENT, "Error": ERROR}
"""Of the documents' components."""

ALWAYS = (
    "Whatever is asked: other paths answer 404, other methods 405 with `Allow`, what is not HTTP 400; a URL "
    "that is too long 414, headers that are too large 431, a request that comes too slowly 408; 503 with "
    "`Retry-After` when too many connections are open or too many bytes held."
)
"""What no operation says again."""

RETRY_AFTER = {
    "Retry-After": {
        "description": "Seconds to wait before the next attempt (RFC 9110, section 10.2.3).",
        "required": True,
        "schema": {"type": "integer", "minimum": 0},
    }
}

NEW_ORDER = {
    "id": "evt_spring_0",
    "type": "new_order",
    "index": 0,
    "created_us": 81234567,
    "data": {
        "event_type": "new_order",
        "order_id": "ORD-2024-001",
        "customer_email": "jane.doe@example.com",
        "total_amount": 49.99,
    },
}
"""The order that the examples tell of."""


def ref(schema: str) -> dict[str, str]:
    """A reference to one of the document's schemas."""
    return {"$ref": f"#/components/schemas/{schema}"}


def or_null(schema: Mapping[str, Any]) -> dict[str, Any]:
    """`schema`, or null, which is as good as leaving it out."""
    return {"anyOf": [schema, {"type": "null"}]}


def table(properties: Mapping[str, Any], *required: str, **more: Any) -> dict[str, Any]:
    """An object with these properties and no others."""
    table: dict[str, Any] = {
        "type": "object",
        "properties": properties,
        "additionalProperties": False,
        **more,
    }
    if required:
        table["required"] = list(required)
    return table


def json_content(schema: Mapping[str, Any], examples: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """A JSON body of that schema, with examples by name."""
    content: dict[str, Any] = {"schema": schema}
    if examples:
        content["examples"] = {name: {"value": value} for name, value in examples.items()}
    return {"application/json": content}


def answer(
    description: str,
    schema: Mapping[str, Any] | None = None,
    *,
    headers: Mapping[str, Any] | None = None,
    examples: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """One response: with a JSON body where a schema is given, else without a body."""
    response: dict[str, Any] = {"description": description}
    if headers:
        response["headers"] = headers
    if schema is not None:
        response["content"] = json_content(schema, examples)
    return response


def refusal(
    description: str,
    messages: Mapping[str, str] | None = None,
    *,
    headers: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """A response that says no; `messages` are the errors by the name of the request's example."""
    errors = {name: {"error": message} for name, message in (messages or {}).items()}
    return answer(description, ref("Error"), headers=headers, examples=errors)


def body(schema: Mapping[str, Any], **examples: Any) -> dict[str, Any]:
    """A JSON request body that cannot be left out."""
    return {"required": True, "content": json_content(schema, examples)}


def parameter(
    place: str,
    name: str,
    description: str,
    schema: Mapping[str, Any],
    *,
    required: bool = False,
    **examples: Any,
) -> dict[str, Any]:
    """A parameter in ``query``, ``header`` or ``path``; examples by name."""
    described: dict[str, Any] = {"name": name, "in": place, "description": description, "schema": schema}
    if required:
        described["required"] = True
    if examples:
        described["examples"] = {example: {"value": value} for example, value in examples.items()}
    return described


TOO_LARGE = refusal("The body is larger than the server takes; the connection is closed.")


_OF_EVERY_SERVER = (
    *("handler_errors", "http_connections_opened", "http_connections_open", "http_connections_idle"),
    *("http_connections_peak", "http_requests", "body_bytes_held", "body_bytes_peak"),
)


def status_schema(
    *, counts: tuple[str, ...], seconds: tuple[str, ...] = (), beside: tuple[str, ...] = ()
) -> dict[str, Any]:
    """The schema of ``/status``: who answers, counts, and times in seconds.

    What a consumer counts that may run beside the server begins with a word of `beside`.
    """
    properties: dict[str, Any] = {
        "role": {"type": "string"},
        "pid": {"type": "integer"},
        "loop": {"enum": ["uvloop", "asyncio"]},
        **dict.fromkeys((*counts, *_OF_EVERY_SERVER), COUNT),
        **dict.fromkeys((*seconds, "http_requests_per_connection", "loop_lag_s"), SECONDS),
        "ended": {
            "type": "object",
            "description": "Connections refused or closed by the server, by reason.",
            "additionalProperties": COUNT,
        },
    }
    optional = {"patternProperties": {f"^({'|'.join(beside)})_": SECONDS}} if beside else {}
    return table(properties, *properties, **optional)


def common_paths(status: Mapping[str, Any]) -> dict[str, Any]:
    """The paths that every server has."""
    return {
        "/health": {
            "get": {
                "operationId": "health",
                "summary": "Whether the process answers",
                "responses": {"200": answer("It does.", table({"ok": {"const": True}}, "ok"))},
            }
        },
        "/ready": {
            "get": {
                "operationId": "ready",
                "summary": "Whether new requests are welcome",
                "responses": {
                    "200": answer("They are.", table({"ready": {"const": True}}, "ready")),
                    "503": answer(
                        "They had better go elsewhere.",
                        table({"ready": {"const": False}, "reason": {"type": "string"}}, "ready", "reason"),
                        headers=RETRY_AFTER,
                    ),
                },
            }
        },
        "/metrics": {
            "get": {
                "operationId": "metrics",
                "summary": "The counts as Prometheus reads them",
                "responses": {
                    "200": {
                        "description": "Text format 0.0.4.",
                        "content": {"text/plain": {"schema": {"type": "string"}}},
                    }
                },
            }
        },
        "/status": {
            "get": {
                "operationId": "status",
                "summary": "Counts of this process since it started",
                "responses": {"200": answer("The counts.", status)},
            }
        },
        "/openapi.json": {
            "get": {
                "operationId": "openapi",
                "summary": "This document",
                "responses": {"200": answer("OpenAPI 3.1.", {"type": "object", "required": ["openapi"]})},
            }
        },
    }
