"""``serve receiver``: its options and what they build."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loadtest.serve.options import inbox_options, integer, open_inbox, read_secrets, server_options

if TYPE_CHECKING:
    from loadtest.asgi import Application


def add(roles: argparse._SubParsersAction[Any]) -> None:
    """Add the role to the command line."""
    role = roles.add_parser("receiver", help="take webhooks: verify, store, acknowledge, process")
    server_options(role, _build, drain_s=30)
    inbox_options(role)
    role.add_argument("--max-body-bytes", type=integer(1), default=1_000_000)
    role.add_argument(
        "--queue-limit", type=integer(0), default=1000, help="events that may wait before a 503"
    )
    role.add_argument("--secret-file", type=Path)


def _build(options: argparse.Namespace) -> Application:
    from loadtest.receiver import ReceiverApp  # noqa: PLC0415 - each role imports only what it needs

    secrets = read_secrets(options.secret_file)
    return ReceiverApp(open_inbox(options), secrets, options.max_body_bytes, options.drain_s)
