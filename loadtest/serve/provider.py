"""``serve provider``: its options and what they build."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loadtest.serve.consumer import broker_of, broker_options
from loadtest.serve.options import integer, read_json, seconds, server_options
from loadtest.serve.secrets import secrets_of_sources

if TYPE_CHECKING:
    from loadtest.asgi import Application
    from loadtest.brokers.publisher import BrokerPublisher
    from loadtest.provider import WebhookPolicy
    from loadtest.provider.api_policy import ApiLimits, ApiPolicy
    from loadtest.provider.ledger import Ledger


def add(roles: argparse._SubParsersAction[Any]) -> None:
    """Add the role to the command line."""
    role = roles.add_parser("provider", help="publish events, serve the events API, send webhooks")
    server_options(role, _build, drain_s=10)
    _webhook_options(role)
    role.add_argument(
        "--ledger", type=Path, help="CSV of every delivery, whole once the provider has stopped"
    )
    role.add_argument("--secret-file", type=Path)
    _events_options(role)
    broker_options(role, "--publish", required=False, text="publish every event to a broker")


def _events_options(role: argparse.ArgumentParser) -> None:
    """What the events API does and takes on."""
    role.add_argument("--api-json", type=Path, help="the scenario's provider_api table as JSON")
    role.add_argument("--rate-limit", metavar="N/SECONDS", help="requests a client in each window")
    role.add_argument("--feed-lag-s", type=seconds(), help="how late the feed shows an event")
    retention = role.add_mutually_exclusive_group()
    retention.add_argument("--retention-events", type=integer(1), help="how many events the feed shows")
    retention.add_argument("--retention-s", type=seconds(above=0.0), help="for how long it shows an event")
    role.add_argument("--page-limit", type=integer(1, 4000), default=1000, help="events in a page")
    role.add_argument("--max-page-mb", type=integer(1, 64), default=16, help="one larger event is a page")
    role.add_argument("--max-events", type=integer(1), default=1_000_000, help="events the feed holds")
    role.add_argument("--max-feed-mb", type=integer(32), default=1024, help="memory it may take for them")
    role.add_argument("--max-wait-s", type=seconds(), default=60, help="the longest ?wait=")
    role.add_argument("--max-waiting", type=integer(0), default=10_000, help="requests held at a time")
    role.add_argument("--max-streams", type=integer(0), default=2_000, help="streams open at a time")
    role.add_argument("--heartbeat-s", type=seconds(above=0.0), default=15, help="a stream's longest silence")
    role.add_argument("--stall-s", type=seconds(above=0.0), default=30, help="how long a reader may not read")


def _webhook_options(role: argparse.ArgumentParser) -> None:
    """Whom webhooks go to, how they are sent, and what is the most."""
    role.add_argument("--subscribe", action="append", default=[], metavar="URL")
    policy = role.add_mutually_exclusive_group()
    policy.add_argument("--webhook-json", type=Path, help="the scenario's webhook table as JSON")
    policy.add_argument("--provider-preset", metavar="NAME", help="send as this provider does, e.g. svix")
    role.add_argument(
        "--allow-host",
        action="append",
        default=[],
        metavar="HOST|CIDR",
        help="where webhooks may go, and nowhere else; this machine only, unless given",
    )
    role.add_argument("--tls-ca", type=Path, help="trust these authorities (PEM), not the system's")
    role.add_argument("--max-subscriptions", type=integer(1, 100_000), default=100)
    role.add_argument(
        "--max-in-flight", type=integer(1, 1_000_000), default=1000, help="requests, over all endpoints"
    )
    role.add_argument(
        "--queue-limit", type=integer(1), default=100_000, help="deliveries on their way to an endpoint"
    )
    role.add_argument(
        "--history", type=integer(1), default=10_000, help="remembered of an endpoint's deliveries, each way"
    )


def _build(options: argparse.Namespace) -> Application:
    from loadtest.provider import Bounds, Defaults, Dispatcher, Outbound, ProviderApp  # noqa: PLC0415
    from loadtest.provider.endpoint import Memory  # noqa: PLC0415
    from loadtest.provider.ledger import Ledger  # noqa: PLC0415
    from loadtest.provider.sender import client_tls  # noqa: PLC0415
    from loadtest.provider.signing import FORMATS  # noqa: PLC0415

    outbound = Outbound(options.allow_host)
    subscribe = [outbound.admit(url) for url in options.subscribe]
    defaults = Defaults(_policy(options), secrets_of_sources(options.secret_file, tuple(FORMATS)))
    memory = Memory(options.queue_limit, options.history)
    bounds = Bounds(options.max_subscriptions, options.max_in_flight, memory)
    tls = client_tls(options.tls_ca)
    ledger = None if options.ledger is None else Ledger(options.ledger)
    dispatcher = Dispatcher(defaults, outbound, tls, bounds, ledger)
    publisher = None if options.broker is None else _publisher(options, ledger)
    return ProviderApp(
        dispatcher,
        subscribe=subscribe,
        api=_api_policy(options),
        limits=_api_limits(options),
        ledger=ledger,
        publisher=publisher,
        drain_s=options.drain_s,
    )


def _publisher(options: argparse.Namespace, ledger: Ledger | None) -> BrokerPublisher:
    from loadtest.brokers.publisher import BrokerPublisher  # noqa: PLC0415

    broker = broker_of(options)
    return BrokerPublisher(
        broker.outlet(),
        f"{broker.address.shown} {options.broker_name}",
        advice=broker.address.how_to_start,
        queue_limit=options.queue_limit,
        ledger=ledger,
    )


def _policy(options: argparse.Namespace) -> WebhookPolicy:
    from loadtest.provider import WebhookPolicy  # noqa: PLC0415

    if options.provider_preset is not None:
        return WebhookPolicy.of(options.provider_preset)
    if options.webhook_json is not None:
        return WebhookPolicy.from_table(read_json(options.webhook_json))
    return WebhookPolicy()


def _api_policy(options: argparse.Namespace) -> ApiPolicy:
    """The table of ``--api-json``, and over it what was said option by option."""
    from loadtest.provider.api_policy import ApiPolicy, RateLimit, Retention  # noqa: PLC0415

    policy = ApiPolicy()
    if options.api_json is not None:
        policy = ApiPolicy.from_table(read_json(options.api_json))
    if options.rate_limit is not None:
        policy = replace(policy, rate_limit=RateLimit.from_words(options.rate_limit))
    if options.feed_lag_s is not None:
        policy = replace(policy, feed_lag_s=options.feed_lag_s)
    if options.retention_events is not None or options.retention_s is not None:
        retention = Retention(events=options.retention_events, seconds=options.retention_s)
        policy = replace(policy, retention=retention)
    return policy


def _api_limits(options: argparse.Namespace) -> ApiLimits:
    from loadtest.provider.api_policy import ApiLimits  # noqa: PLC0415

    return ApiLimits(
        page_limit=options.page_limit,
        max_page_bytes=options.max_page_mb * 2**20,
        max_wait_s=options.max_wait_s,
        max_waiting=options.max_waiting,
        max_streams=options.max_streams,
        heartbeat_s=options.heartbeat_s,
        stall_s=options.stall_s,
        max_events=options.max_events,
        max_feed_bytes=options.max_feed_mb * 2**20,
    )
