"""Prometheus metrics of a server: its counters read when they are scraped, in text format 0.0.4.

Nothing is kept here: what a request costs is the integers that /status shows too. Names are
``hookbench_<role>_<what>_<unit>``, counters end in ``_total`` (Prometheus, "Metric and label naming").
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from prometheus_client import CollectorRegistry, GCCollector, ProcessCollector, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
    UnknownMetricFamily,
)
from prometheus_client.registry import Collector

from loadtest.asgi import Application
from loadtest.connections import DURATION_BOUNDS_S, Connections

CONTENT_TYPE = b"text/plain; version=0.0.4; charset=utf-8"

COUNTERS = {
    "accepted": "Events newly stored",
    "acknowledged": "Deliveries that an endpoint acknowledged",
    "bad_requests": "Requests that were no good",
    "broker_confirmed": "Events that the broker has confirmed",
    "broker_connections_opened": "Connections opened to the broker",
    "broker_errors": "Publications and connections to the broker that failed",
    "broker_failed": "Events dropped for want of room, or not taken by the broker",
    "broker_published": "Events to be published to the broker",
    "broker_request_bytes": "Bytes sent to the broker",
    "broker_requests": "Publish commands sent to the broker",
    "broker_response_bytes": "Bytes received from the broker",
    "broker_retries": "Events sent to the broker again",
    "busy_s": "Time that service slots were busy",
    "claimed": "Messages taken over from consumers that died",
    "commits": "Acknowledgements or commits sent to the broker",
    "connection_errors": "Attempts that did not reach their endpoint",
    "connection_s": "Time that connections to the source were in use",
    "connections_opened": "Connections opened to endpoints, or to the source",
    "connections_reused": "Attempts on a connection that was open already",
    "dead": "Events that no attempt of a handler could process",
    "dead_letters": "Deliveries given up for good",
    "dispatched": "Attempts to deliver",
    "dropped": "Deliveries dropped with their subscription",
    "duplicates": "Copies of events known already",
    "empty_responses": "Polls without a new event",
    "errors": "Requests to the source, or streams, that failed",
    "events": "Events that the source's answers carried",
    "failed": "Deliveries given up",
    "fetches": "Requests for one event",
    "forbidden": "Attempts not made, because their address is not allowed",
    "given_up": "Events that could not be fetched",
    "groups": "Commits of the inbox",
    "handler_errors": "Requests that ended in an exception of the server",
    "hung_up": "Webhooks whose client left before the answer",
    "http_connections_opened": "Connections taken in",
    "http_requests": "Requests answered by the application",
    "known_events": "Events that the source's answers carried and the inbox had already",
    "loop_cpu_s": "CPU time of the event loop's thread",
    "malformed": "Messages of the broker that are no events",
    "missed_events": "Events that the source had forgotten before they were asked for",
    "not_modified": "Polls answered 304",
    "poll_response_bytes": "Bodies of the events API's pages",
    "polls": "Requests for a page of events",
    "polls_hung_up": "Polls whose client hung up while they waited",
    "published": "Events published",
    "queue_integral_s": "Waiting events, integrated over time",
    "rate_limited": "Requests refused by the rate limit",
    "recovered": "Events found unprocessed at the start",
    "redeliveries": "Deliveries begun again on request",
    "redelivered": "Messages that the broker had delivered before",
    "redirects": "Attempts answered by a redirect, which is not followed",
    "refusals": "Attempts that an endpoint refused",
    "refused_publications": "Publications refused for want of room",
    "rejected": "Requests refused by the application",
    "request_bytes": "Requests sent, headers and bodies",
    "requests": "Requests handled, or sent by a consumer",
    "response_bytes": "Responses received, headers and bodies",
    "retries": "Further attempts of a handler",
    "skipped_ticks": "Polls left out because the one before went on",
    "statement_cpu_s": "CPU time of the thread that stores, in its statements",
    "statement_s": "Time that storage was busy with a statement",
    "statements": "Statements of the inbox",
    "storage_errors": "Groups that could not be stored",
    "stream_bytes": "Bytes sent in streams",
    "stream_events": "Events sent in streams",
    "streams_hung_up": "Streams whose client hung up",
    "streams_opened": "Streams opened",
    "streams_stalled": "Streams closed because their client did not read",
    "superseded": "Services that did not count, because another process had taken the event over",
    "timeouts": "Requests sent that were not answered in time",
    "turned_away": "Polls and streams refused for want of room",
    "unsent": "Attempts that failed before a byte was sent",
    "visible": "Events processed",
    "without_service_time": "Events that no service time was given for",
}
GAUGES = {
    "backing_off": "Deliveries that wait for their next attempt",
    "connected": "1 while the connection to the broker holds",
    "connections_peak": "The most requests to the source under way at once so far",
    "consuming": "1 while the consumer runs",
    "broker_connected": "1 while the connection to the broker holds",
    "broker_in_flight": "Events on their way to the broker",
    "broker_waiting": "Events that wait to be sent to the broker",
    "body_bytes_held": "Request bodies in memory",
    "body_bytes_peak": "The most of request bodies in memory so far",
    "http_connections_idle": "Open connections that wait for a request",
    "http_connections_open": "Open connections",
    "http_connections_peak": "The most connections open at once so far",
    "deliveries": "Deliveries remembered",
    "disabled": "Endpoints disabled",
    "feed_bytes": "Memory that the feed takes",
    "feed_events": "Events in the feed",
    "in_flight": "Attempts under way",
    "loop_lag_s": "How late the event loop came to its last regular look at the connections",
    "in_service": "Events being processed",
    "pending": "Deliveries not yet decided",
    "queue_max": "The most events that waited so far",
    "http_requests_per_connection": "Mean requests of the connections to this server so far",
    "requests_per_connection": "Mean attempts of the connections to endpoints so far",
    "streams": "Streams open",
    "subscriptions": "Endpoints subscribed",
    "waiting": "Events or deliveries that wait",
    "waiting_polls": "Polls that wait for an event",
}
LABELLED = {
    "ended": ("connections_refused", "reason", "Connections and requests ended by a limit of the server"),
}
_REJECTED = "rejected_"
_BESIDE = ("reconcile_", "fetch_")
"""How the counts of consumers begin that run beside a receiver; what they count is called as elsewhere."""


class Exposition(Collector):
    """The metrics of one application and its listener; the process's and the garbage collector's too."""

    def __init__(self, app: Application, connections: Connections) -> None:
        self._app = app
        self._connections = connections
        self._prefix = f"hookbench_{app.role.replace('-', '_')}"
        self._registry = CollectorRegistry()
        self._registry.register(self)
        ProcessCollector(registry=self._registry)
        GCCollector(registry=self._registry)

    def render(self) -> bytes:
        """All metrics, as Prometheus reads them."""
        return generate_latest(self._registry)

    def describe(self) -> Iterator[Metric]:
        """Nothing: what there is shows when it is collected."""
        return iter(())

    def collect(self) -> Iterator[Metric]:
        """Read the counters."""
        status = self._app.status() | self._connections.status()
        status["handler_errors"] = self._app.handler_errors
        refused = CounterMetricFamily(
            f"{self._prefix}_requests_refused", "Requests refused by the application", labels=["reason"]
        )
        for reason, count in self._app.refused.items():
            refused.add_metric([reason], count)
        yield refused
        for key, value in status.items():
            if isinstance(value, Mapping):
                yield self._labelled(key, value)
            elif isinstance(value, int | float) and not key.startswith(_REJECTED):
                yield self._plain(key, value)
        ready = not self._app.draining and self._app.ready() is None
        yield GaugeMetricFamily(f"{self._prefix}_ready", "1 while new requests are welcome", ready)
        yield self._durations()

    def _plain(self, key: str, value: float) -> Metric:
        name, value = self._named(key, value)
        for prefix in _BESIDE:
            key = key.removeprefix(prefix)
        if key in COUNTERS:
            return CounterMetricFamily(name, COUNTERS[key], value)
        if key in GAUGES:
            return GaugeMetricFamily(name, GAUGES[key], value)
        return UnknownMetricFamily(name, f"{key} of /status", value)

    def _named(self, key: str, value: float) -> tuple[str, float]:
        """Name and value in base units (Prometheus, "Base units")."""
        for suffix, per_second in (("_us", 1e6), ("_ms", 1e3), ("_s", 1.0)):
            if key.endswith(suffix):
                return f"{self._prefix}_{key.removesuffix(suffix)}_seconds", value / per_second
        return f"{self._prefix}_{key}", value

    def _labelled(self, key: str, counts: Mapping[str, Any]) -> Metric:
        if key in LABELLED:
            name, label, text = LABELLED[key]
            family: Metric = CounterMetricFamily(f"{self._prefix}_{name}", text, labels=[label])
        else:
            family = UnknownMetricFamily(f"{self._prefix}_{key}", f"{key} of /status", labels=["name"])
        for name, count in counts.items():
            if isinstance(count, int | float):
                family.add_metric([name], count)  # type: ignore[attr-defined]
        return family

    def _durations(self) -> Metric:
        family = HistogramMetricFamily(
            f"{self._prefix}_request_duration_seconds",
            "From the last header to the answer's last byte, by class of status",
            labels=["status"],
        )
        for status_class, counts in enumerate(self._connections.answers):
            total, buckets = 0, []
            for bound, count in zip((*map(str, DURATION_BOUNDS_S), "+Inf"), counts, strict=True):
                total += count
                buckets.append((bound, total))
            if total:
                family.add_metric(
                    [f"{status_class}xx"], buckets, sum_value=self._connections.answer_s[status_class]
                )
        return family
