"""Options of what surrounds every server: limits, TLS, the admin port, log lines."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from loadtest import logs
from loadtest.limits import Limits, room_for_connections
from loadtest.serve.options import integer, seconds
from sim.errors import InputError

if TYPE_CHECKING:
    from loadtest.tls import Certificate

_DEFAULT = Limits()
_LONGEST_S = 86_400.0


def edge_options(role: argparse.ArgumentParser) -> None:
    """Add them to the command line of a role."""
    sharing = role.add_argument_group("processes and ports")
    sharing.add_argument(
        "--reuse-port", action="store_true", help="let several processes of this user share --port"
    )
    sharing.add_argument(
        "--admin-port", type=integer(0, 65535), help="a loopback port that /status and /metrics move to"
    )
    sharing.add_argument(
        "--drain-delay-s", type=seconds(), default=0.0, help="how long /ready says no before a drain begins"
    )
    tls = role.add_argument_group("TLS")
    tls.add_argument("--tls-cert", type=Path, metavar="FILE", help="certificate chain (PEM); read on SIGHUP")
    tls.add_argument("--tls-key", type=Path, metavar="FILE", help="its private key (PEM, not encrypted)")
    lines = role.add_argument_group("log lines")
    lines.add_argument("--log-format", choices=logs.FORMATS, default="text")
    lines.add_argument("--log-level", choices=logs.LEVELS, default="warning")
    limits = role.add_argument_group("limits")
    limits.add_argument(
        "--max-connections", type=integer(1), help="open at once (default: 10000 or what fits)"
    )
    for name, value, text in (
        ("--max-url-bytes", _DEFAULT.url_bytes, "of a request's target"),
        ("--max-header-bytes", _DEFAULT.header_bytes, "of request line and headers"),
        ("--max-headers", _DEFAULT.header_count, "of one request"),
        ("--max-pipelined", _DEFAULT.pipelined, "requests behind one in progress"),
        ("--max-bodies-bytes", _DEFAULT.body_bytes, "of all bodies in memory at once"),
        ("--max-unsent-bytes", _DEFAULT.unsent_bytes, "of all answers that wait to be taken"),
        ("--min-bytes-per-s", _DEFAULT.min_bytes_per_s, "what lengthens the times for body and answer"),
    ):
        limits.add_argument(name, type=integer(1), default=value, help=f"{text} (default: {value})")
    for name, time_s, text in (
        ("--header-timeout-s", _DEFAULT.header_timeout_s, "for a TLS handshake, for a request's headers"),
        ("--body-timeout-s", _DEFAULT.body_timeout_s, "for a request's body"),
        ("--send-timeout-s", _DEFAULT.send_timeout_s, "for a client to take an answer"),
        ("--keep-alive-s", _DEFAULT.keep_alive_s, "between requests of a connection"),
    ):
        limits.add_argument(
            name,
            type=seconds(above=0.0, most=_LONGEST_S),
            default=time_s,
            help=f"{text} (default: {time_s:g})",
        )


def limits_of(options: argparse.Namespace) -> Limits:
    """The limits that the options describe, within what the system allows.

    Raises:
        InputError: the system does not allow so many connections.
    """
    return Limits(
        connections=room_for_connections(options.max_connections),
        url_bytes=options.max_url_bytes,
        header_bytes=options.max_header_bytes,
        header_count=options.max_headers,
        pipelined=options.max_pipelined,
        body_bytes=options.max_bodies_bytes,
        unsent_bytes=options.max_unsent_bytes,
        header_timeout_s=options.header_timeout_s,
        body_timeout_s=options.body_timeout_s,
        send_timeout_s=options.send_timeout_s,
        min_bytes_per_s=options.min_bytes_per_s,
        keep_alive_s=options.keep_alive_s,
    )


def certificate_of(options: argparse.Namespace) -> Certificate | None:
    """The server's certificate, where one is given.

    Raises:
        InputError: one file without the other, or files that are no good.
    """
    from loadtest.tls import Certificate  # noqa: PLC0415

    cert, key = options.tls_cert, options.tls_key
    if cert is None and key is None:
        return None
    if cert is None or key is None:
        missing = "--tls-key" if key is None else "--tls-cert"
        raise InputError(f"TLS needs certificate and key: {missing} is missing")
    return Certificate(cert, key)
