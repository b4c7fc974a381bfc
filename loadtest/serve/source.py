"""Options of what reads a provider's events API, and what they mean."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loadtest.serve.options import inbox_options, integer, seconds, server_options
from sim.errors import InputError

if TYPE_CHECKING:
    from loadtest.consumers import Origin


def consumer_options(role: argparse.ArgumentParser, build: Any) -> None:
    """Those of every process that consumes a source into an inbox."""
    server_options(role, build, drain_s=30)
    inbox_options(role)
    role.add_argument("--source", required=True, metavar="URL", help="the provider's base URL")
    role.add_argument("--phase-s", type=seconds(), default=0.0, help="when it first asks, after the origin")
    origin_options(role)
    tls_option(role)
    role.set_defaults(queue_limit=1)  # what was asked for is never refused


def origin_options(role: argparse.ArgumentParser | argparse._ArgumentGroup, prefix: str = "--") -> None:
    """Where a consumer's times count from: `origin_of` their values."""
    role.add_argument(
        f"{prefix}origin-us", type=integer(0), metavar="N", help="times count from this monotonic µs"
    )
    role.add_argument(
        f"{prefix}origin-file",
        type=Path,
        metavar="FILE",
        help="wait for this file, which says the same (default: from the start)",
    )


def origin_of(at_us: int | None, file: Path | None) -> Origin:
    """Where times count from.

    Raises:
        InputError: it is said twice.
    """
    from loadtest.consumers import Origin  # noqa: PLC0415

    if at_us is not None and file is not None:
        raise InputError(f"the origin is {at_us} or what {file} says: give one of them")
    return Origin(at_us, file)


def page_options(role: argparse.ArgumentParser, timeout_s: float) -> None:
    """Those of what asks for pages."""
    role.add_argument(
        "--page-size", type=integer(1, 4000), default=100, help="events asked for (default: 100)"
    )
    role.add_argument(
        "--timeout-s",
        type=seconds(above=0.0),
        default=timeout_s,
        help=f"for a request, to its last byte (default: {timeout_s:g})",
    )


def tls_option(role: argparse.ArgumentParser) -> None:
    """What an https:// source is verified by."""
    role.add_argument(
        "--tls-ca", type=Path, metavar="FILE", help="certificates (PEM) to trust instead of the system's"
    )


def source_of(url: str, flag: str, authorities: Path | None) -> tuple[str, Any]:
    """The source's URL, and what it is verified by where it is https.

    Raises:
        InputError: it is not on this machine, or certificates are given for plain http.
    """
    from loadtest.contract import loopback_url  # noqa: PLC0415
    from loadtest.tls import client_context  # noqa: PLC0415

    source = loopback_url(url, flag, ("http", "https"))
    secure = source.startswith("https:")
    if authorities is not None and not secure:
        raise InputError(f"--tls-ca is for an https:// source, not for {source!r}")
    return source, client_context(authorities) if secure else None
