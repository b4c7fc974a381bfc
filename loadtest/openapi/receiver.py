"""The receiver's document: webhooks in, each provider at its own path."""

from __future__ import annotations

from typing import Any

from loadtest.openapi import parts
from loadtest.openapi.parts import common_paths, status_schema
from loadtest.openapi.webhooks import SECURITY, WEBHOOKS

_STATUS = status_schema(
    counts=(
        *("requests", "acknowledged", "hung_up"),
        *("rejected", "rejected_signature", "rejected_malformed", "rejected_too_large"),
        *("rejected_full", "rejected_storage"),
        *("accepted", "duplicates", "recovered", "visible", "waiting", "in_service"),
        *("superseded", "dead", "retries"),
        *("groups", "statements", "storage_errors", "queue_max", "without_service_time"),
    ),
    seconds=("queue_integral_s", "busy_s", "statement_s", "statement_cpu_s", "loop_cpu_s"),
    beside=("reconcile", "fetch"),
)

RECEIVER: dict[str, Any] = {
    "openapi": "3.1.0",
    "info": {
        "title": "hookbench receiver",
        "version": "1",
        "description": (
            "Takes webhooks: verifies the raw body, stores, only then acknowledges; processes afterwards. "
            "A source without a secret is not served, and then not described either. "
            f"{parts.ALWAYS}"
        ),
    },
    "paths": {**WEBHOOKS, **common_paths(_STATUS)},
    "components": {"schemas": parts.SCHEMAS, "securitySchemes": SECURITY},
}
