"""``serve poller``: its options and what they build."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loadtest.serve.options import inbox_options, integer, open_inbox, seconds, server_options
from sim.errors import InputError

if TYPE_CHECKING:
    from loadtest.asgi import Application


def add(roles: argparse._SubParsersAction[Any]) -> None:
    """Add the role to the command line."""
    role = roles.add_parser("poller", help="ask a provider's events API at a fixed rate")
    server_options(role, _build, drain_s=30)
    inbox_options(role)
    role.add_argument("--source", required=True, metavar="URL", help="the provider's base URL")
    role.add_argument("--interval-s", type=seconds(above=0.0), default=30.0)
    role.add_argument("--phase-s", type=seconds(), default=0.0)
    role.add_argument(
        "--origin-us", type=integer(0), help="the monotonic µs ticks count from (default: the start)"
    )
    role.add_argument("--page-size", type=integer(1, 4000), default=100)
    role.add_argument("--timeout-s", type=seconds(above=0.0), default=30.0)
    role.add_argument("--conditional", action="store_true", help="send If-None-Match")
    role.add_argument(
        "--tls-ca", type=Path, metavar="FILE", help="certificates (PEM) to trust instead of the system's"
    )
    role.set_defaults(queue_limit=1)  # polled events are never refused


def _build(options: argparse.Namespace) -> Application:
    from loadtest.consumers import Poller, PollerApp  # noqa: PLC0415
    from loadtest.contract import loopback_url  # noqa: PLC0415
    from loadtest.tls import client_context  # noqa: PLC0415

    source = loopback_url(options.source, "--source", ("http", "https"))
    secure = source.startswith("https:")
    if options.tls_ca is not None and not secure:
        raise InputError(f"--tls-ca is for an https:// source, not for {source!r}")
    inbox = open_inbox(options)
    poller = Poller(
        source,
        inbox,
        interval_s=options.interval_s,
        phase_s=options.phase_s,
        page_size=options.page_size,
        timeout_s=options.timeout_s,
        conditional=options.conditional,
        origin_us=options.origin_us,
        tls=client_context(options.tls_ca) if secure else None,
    )
    return PollerApp(poller, inbox, options.drain_s)
