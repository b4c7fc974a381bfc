"""``serve provider``: its options and what they build."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loadtest.serve.options import integer, read_json, server_options
from loadtest.serve.secrets import read_secrets
from sim.errors import InputError

if TYPE_CHECKING:
    from loadtest.asgi import Application


def add(roles: argparse._SubParsersAction[Any]) -> None:
    """Add the role to the command line."""
    role = roles.add_parser("provider", help="publish events, serve the events API, send webhooks")
    server_options(role, _build, drain_s=10)
    role.add_argument("--subscribe", action="append", default=[], metavar="URL")
    role.add_argument("--webhook-json", type=Path, help="the scenario's webhook table as JSON")
    role.add_argument("--ledger", type=Path, help="CSV written when the provider stops")
    role.add_argument("--page-limit", type=integer(1, 4000), default=1000)
    role.add_argument("--secret-file", type=Path)


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
        page_limit=options.page_limit,
        ledger=options.ledger,
        drain_s=options.drain_s,
    )
