"""``serve long-poller``: its options and what they build."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from loadtest.serve.options import open_inbox, seconds
from loadtest.serve.source import consumer_options, origin_of, page_options, source_of

if TYPE_CHECKING:
    from loadtest.asgi import Application


def add(roles: argparse._SubParsersAction[Any]) -> None:
    """Add the role to the command line."""
    role = roles.add_parser("long-poller", help="have a provider hold each request until there is news")
    consumer_options(role, _build)
    page_options(role, timeout_s=45.0)
    for name, default, text in (
        ("--hold-s", 30.0, "how long the provider is asked to hold a request"),
        ("--gap-s", 0.0, "from an answer to the next request"),
        ("--retry-s", 1.0, "from a failure to the next request"),
    ):
        role.add_argument(name, type=seconds(), default=default, help=f"{text} (default: {default:g})")


def _build(options: argparse.Namespace) -> Application:
    from loadtest.consumers import ConsumerApp, Holding, PageReader, Poller  # noqa: PLC0415

    source, tls = source_of(options.source, "--source", options.tls_ca)
    origin = origin_of(options.origin_us, options.origin_file)
    inbox = open_inbox(options)
    pages = PageReader(
        source,
        inbox,
        page_size=options.page_size,
        timeout_s=options.timeout_s,
        hold_s=options.hold_s,
        tls=tls,
    )
    rhythm = Holding(options.hold_s, options.gap_s, options.retry_s, options.phase_s)
    return ConsumerApp("long-poller", Poller(pages, rhythm, origin), inbox, options.drain_s)
