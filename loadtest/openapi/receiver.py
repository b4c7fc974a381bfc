"""The receiver's document: webhooks in, one signed request each."""

from __future__ import annotations

from typing import Any

from loadtest.openapi.parts import (
    NAME,
    NEW_ORDER,
    RETRY_AFTER,
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
        "requests",
        *("rejected", "rejected_signature", "rejected_malformed", "rejected_too_large"),
        *("rejected_full", "rejected_storage"),
        *("accepted", "duplicates", "recovered", "visible", "waiting", "in_service"),
        *("groups", "storage_errors", "queue_max", "without_service_time"),
    ),
    seconds=("queue_integral_s", "busy_s"),
)

_WEBHOOK_ANSWERS = {
    "204": answer("The event is stored durably: now, or earlier, and this is a duplicate."),
    "401": refusal("The signature is missing, malformed, stale or wrong. Nothing was parsed."),
    "413": TOO_LARGE,
    "503": refusal("Too many events wait, or storage failed: nothing was stored.", headers=RETRY_AFTER),
}

_STANDARD = {
    "operationId": "standardWebhook",
    "summary": "An event, signed as Standard Webhooks says",
    "description": (
        "`webhook-signature` holds one or more `v1,<base64>` tokens, separated by blanks: HMAC-SHA256 over "
        "`{webhook-id}.{webhook-timestamp}.{raw body}`. The event's id must be the `webhook-id`."
    ),
    "security": [{"standardWebhooks": []}],
    "parameters": [
        parameter("header", "webhook-id", "The event's id.", NAME, required=True),
        parameter(
            "header",
            "webhook-timestamp",
            "When this attempt was made: Unix seconds, at most 300 from now either way.",
            {"type": "string", "pattern": "^[0-9]{1,12}$"},
            required=True,
        ),
    ],
    "requestBody": body(
        ref("Event"), a_new_order=NEW_ORDER, no_index={"id": "evt_spring_0", "type": "new_order"}
    ),
    "responses": {
        **_WEBHOOK_ANSWERS,
        "400": refusal("The body is not an event.", no_index="the event has no 'index'"),
    },
}

_GITHUB = {
    "operationId": "githubWebhook",
    "summary": "A delivery, signed as GitHub does",
    "description": (
        "`X-Hub-Signature-256` holds `sha256=<hex>`: HMAC-SHA256 over the raw body. A `ping` is answered and "
        "not stored. Deliveries are deduplicated on `X-GitHub-Delivery`, which a redelivery keeps."
    ),
    "security": [{"github": []}],
    "parameters": [
        parameter("header", "X-GitHub-Event", "What happened.", NAME, required=True, a_push="push"),
        parameter(
            "header",
            "X-GitHub-Delivery",
            "The delivery's id; only a `ping` may lack it.",
            NAME,
            required=True,
            a_push="72d3162e-cc78-11e3-81ab-4c9367dc0958",
        ),
    ],
    "requestBody": body(
        {
            "type": "object",
            "description": "Any JSON object; what has the members of an event must be one.",
            "if": {"required": ["id", "type", "index", "created_us"]},
            "then": ref("Event"),
        },
        a_push={"ref": "refs/heads/main"},
        no_object=["refs/heads/main"],
    ),
    "responses": {
        **_WEBHOOK_ANSWERS,
        "400": refusal(
            "A header is missing, or the body is not a JSON object.",
            no_object="a delivery is a JSON object, not list",
        ),
    },
}

RECEIVER: dict[str, Any] = {
    "openapi": "3.1.0",
    "info": {
        "title": "hookbench receiver",
        "version": "1",
        "description": (
            "Takes webhooks: verifies the raw body, stores, only then acknowledges; processes afterwards. "
            "Other paths answer 404, other methods 405 with `Allow`; what is not HTTP, 400 as plain text."
        ),
    },
    "paths": {
        "/webhooks/standard": {"post": _STANDARD},
        "/webhooks/github": {"post": _GITHUB},
        **common_paths(_STATUS),
    },
    "components": {
        "schemas": SCHEMAS,
        "securitySchemes": {
            "standardWebhooks": {"type": "apiKey", "in": "header", "name": "webhook-signature"},
            "github": {"type": "apiKey", "in": "header", "name": "X-Hub-Signature-256"},
        },
    },
}
