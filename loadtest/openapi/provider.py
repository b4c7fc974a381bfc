"""The provider's document: events to publish and to read, endpoints to push them to."""

from __future__ import annotations

from typing import Any

from loadtest.openapi import parts, subscriptions
from loadtest.openapi.events import EVENTS
from loadtest.openapi.parts import common_paths, status_schema

_STATUS = status_schema(
    counts=(
        *("published", "duplicates", "refused_publications", "polls", "fetches"),
        *("empty_responses", "not_modified"),
        *("bad_requests", "rate_limited", "turned_away", "poll_response_bytes", "waiting_polls"),
        *("polls_hung_up", "streams", "streams_hung_up", "streams_opened", "streams_stalled"),
        *("stream_events", "stream_bytes", "feed_events", "feed_bytes"),
        *("subscriptions", "disabled", "pending", "acknowledged", "failed", "waiting", "in_flight"),
        *("backing_off", "deliveries", "dispatched", "timeouts", "connection_errors", "forbidden"),
        *("refusals", "unsent", "dead_letters", "redeliveries", "dropped", "redirects"),
        *("request_bytes", "response_bytes", "connections_opened", "connections_reused"),
    ),
    seconds=("requests_per_connection",),
)

PROVIDER: dict[str, Any] = {
    "openapi": "3.1.0",
    "info": {
        "title": "hookbench provider",
        "version": "1",
        "description": (
            "Publishes events, lets clients poll and stream them, and pushes them to subscribed endpoints. "
            f"{parts.ALWAYS}"
        ),
    },
    "paths": {**EVENTS, **subscriptions.SUBSCRIPTIONS, **common_paths(_STATUS)},
    "components": {"schemas": {**parts.SCHEMAS, **subscriptions.SCHEMAS}},
}
