"""``serve provider``: its options and what they build."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loadtest.serve.options import integer, read_json, seconds, server_options
from loadtest.serve.secrets import read_secrets
from sim.errors import InputError

if TYPE_CHECKING:
    from loadtest.asgi import Application
    from loadtest.provider.api_policy import ApiLimits, ApiPolicy


def add(roles: argparse._SubParsersAction[Any]) -> None:
    """Add the role to the command line."""
    role = roles.add_parser("provider", help="publish events, serve the events API, send webhooks")
    server_options(role, _build, drain_s=10)
    role.add_argument("--subscribe", action="append", default=[], metavar="URL")
    role.add_argument("--webhook-json", type=Path, help="the scenario's webhook table as JSON")
    role.add_argument("--ledger", type=Path, help="CSV written when the provider stops")
    role.add_argument("--secret-file", type=Path)
    _events_options(role)


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


def _build(options: argparse.Namespace) -> Application:
    from loadtest.contract import loopback_url  # noqa: PLC0415
    from loadtest.provider import ProviderApp, WebhookPolicy  # noqa: PLC0415

    policy = WebhookPolicy()
    if options.webhook_json is not None:
        policy = WebhookPolicy.from_table(read_json(options.webhook_json))
    for url in options.subscribe:
        loopback_url(url, "--subscribe")
    if options.ledger is not None and not options.ledger.parent.is_dir():
        raise InputError(f"--ledger {options.ledger}: its folder does not exist")
    secrets = [secret for secret in read_secrets(options.secret_file) if secret.startswith("whsec_")]
    return ProviderApp(
        policy,
        secrets,
        subscribe=options.subscribe,
        api=_api_policy(options),
        limits=_api_limits(options),
        ledger=options.ledger,
        drain_s=options.drain_s,
    )


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
