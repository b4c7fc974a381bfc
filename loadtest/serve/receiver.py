"""``serve receiver``: its options and what they build."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loadtest.serve.options import inbox_options, integer, open_inbox, server_options
from loadtest.serve.reconcile import reconcile_options, reconciler
from loadtest.serve.secrets import secrets_of_sources
from loadtest.serve.source import tls_option
from loadtest.serve.thin import fetch_options, fetcher

if TYPE_CHECKING:
    from loadtest.asgi import Application

log = logging.getLogger("hookbench.receiver")


def add(roles: argparse._SubParsersAction[Any]) -> None:
    """Add the role to the command line."""
    role = roles.add_parser("receiver", help="take webhooks: verify, store, acknowledge, process")
    server_options(role, _build, drain_s=30)
    inbox_options(role)
    role.add_argument("--max-body-bytes", type=integer(1), default=1_000_000)
    role.add_argument(
        "--queue-limit", type=integer(0), default=1000, help="events that may wait before a 503"
    )
    role.add_argument("--secret-file", type=Path, help="secrets, of one source or (.toml) of several")
    role.add_argument("--public-url", metavar="URL", help="where providers call, for those who sign it")
    role.add_argument(
        "--accept-sha1", action="store_true", help="take SHA-1 signatures of GitHub and WebSub too"
    )
    role.add_argument(
        "--cloudevents-origin", action="append", default=[], metavar="NAME", help="who may deliver; * for all"
    )
    role.add_argument(
        "--websub-topic", action="append", default=[], metavar="URL", help="what we subscribe to"
    )
    reconcile_options(role)
    fetch_options(role)
    tls_option(role)


def _build(options: argparse.Namespace) -> Application:
    from loadtest.receiver import SOURCES, ReceiverApp, Settings, open_sources  # noqa: PLC0415

    settings = Settings(
        options.public_url,
        tuple(origin.lower() for origin in options.cloudevents_origin),
        tuple(options.websub_topic),
        options.accept_sha1,
    )
    sources = open_sources(secrets_of_sources(options.secret_file, tuple(SOURCES)), settings)
    log.info("open: %s", ", ".join(source.path for source in sources))
    inbox = open_inbox(options, fetcher(options))
    beside = {}
    if (poller := reconciler(options, inbox)) is not None:
        beside["reconcile"] = poller
    return ReceiverApp(inbox, sources, options.max_body_bytes, options.drain_s, beside)
