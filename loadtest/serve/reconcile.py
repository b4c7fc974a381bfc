"""A receiver's options for fetching what its webhooks failed to bring, and what they build."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from loadtest.serve.options import integer, seconds
from loadtest.serve.source import origin_of, origin_options, source_of

if TYPE_CHECKING:
    from loadtest.consumers import Poller
    from loadtest.inbox import Inbox


def reconcile_options(role: argparse.ArgumentParser) -> None:
    """Add them to a role that takes webhooks."""
    group = role.add_argument_group("reconciliation: a poll, now and then, for what webhooks failed to bring")
    group.add_argument("--reconcile-from", metavar="URL", help="the base URL of the webhooks' provider")
    group.add_argument(
        "--reconcile-interval-s", type=seconds(above=0.0), default=600.0, help="between polls (default: 600)"
    )
    group.add_argument("--reconcile-phase-s", type=seconds(), default=0.0, help="the first, after the origin")
    origin_options(group, "--reconcile-")
    group.add_argument("--reconcile-page-size", type=integer(1, 4000), default=100, help="(default: 100)")
    group.add_argument("--reconcile-timeout-s", type=seconds(above=0.0), default=30.0, help="(default: 30)")


def reconciler(options: argparse.Namespace, inbox: Inbox) -> Poller | None:
    """The poller that the options ask for, which ends in the receiver's own inbox; None without one.

    Raises:
        InputError: the provider is not on this machine, or certificates are given for plain http.
    """
    if options.reconcile_from is None:
        return None
    from loadtest.consumers import FixedRate, PageReader, Poller  # noqa: PLC0415

    source, tls = source_of(options.reconcile_from, "--reconcile-from", options.tls_ca)
    pages = PageReader(
        source,
        inbox,
        page_size=options.reconcile_page_size,
        timeout_s=options.reconcile_timeout_s,
        tls=tls,
        skip_known=True,
    )
    rhythm = FixedRate(options.reconcile_interval_s, options.reconcile_phase_s)
    return Poller(pages, rhythm, origin_of(options.reconcile_origin_us, options.reconcile_origin_file))
