"""A receiver's options for fetching what thin webhooks only tell of, and what they build."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from loadtest.serve.options import integer, seconds
from loadtest.serve.source import source_of

if TYPE_CHECKING:
    from loadtest.consumers import Fetcher


def fetch_options(role: argparse.ArgumentParser) -> None:
    """Add them to a role that takes webhooks."""
    group = role.add_argument_group("thin webhooks: what they tell of is fetched before it is processed")
    group.add_argument("--fetch-from", metavar="URL", help="the base URL of the webhooks' provider")
    group.add_argument("--fetch-timeout-s", type=seconds(above=0.0), default=10.0, help="(default: 10)")
    group.add_argument(
        "--fetch-retry-s", type=seconds(), default=1.0, help="from a failure to the next try (default: 1)"
    )
    group.add_argument(
        "--fetch-attempts", type=integer(1), default=5, help="before it is a dead letter (default: 5)"
    )


def fetcher(options: argparse.Namespace) -> Fetcher | None:
    """What fetches, if the options ask for it.

    Raises:
        InputError: the provider is not on this machine, or certificates are given for plain http.
    """
    if options.fetch_from is None:
        return None
    from loadtest.consumers import Fetcher  # noqa: PLC0415

    source, tls = source_of(options.fetch_from, "--fetch-from", options.tls_ca)
    return Fetcher(
        source,
        timeout_s=options.fetch_timeout_s,
        retry_s=options.fetch_retry_s,
        attempts=options.fetch_attempts,
        tls=tls,
    )
