"""``serve provider``: its options and what they build."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loadtest.serve.options import integer, read_json, server_options
from loadtest.serve.secrets import secrets_of_sources

if TYPE_CHECKING:
    from loadtest.asgi import Application
    from loadtest.provider import WebhookPolicy


def add(roles: argparse._SubParsersAction[Any]) -> None:
    """Add the role to the command line."""
    role = roles.add_parser("provider", help="publish events, serve the events API, send webhooks")
    server_options(role, _build, drain_s=10)
    _webhook_options(role)
    role.add_argument(
        "--ledger", type=Path, help="CSV of every delivery, whole once the provider has stopped"
    )
    role.add_argument("--page-limit", type=integer(1, 4000), default=1000)
    role.add_argument("--secret-file", type=Path)


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
    return ProviderApp(
        dispatcher,
        subscribe=subscribe,
        page_limit=options.page_limit,
        ledger=ledger,
        drain_s=options.drain_s,
    )


def _policy(options: argparse.Namespace) -> WebhookPolicy:
    from loadtest.provider import WebhookPolicy  # noqa: PLC0415

    if options.provider_preset is not None:
        return WebhookPolicy.of(options.provider_preset)
    if options.webhook_json is not None:
        return WebhookPolicy.from_table(read_json(options.webhook_json))
    return WebhookPolicy()
