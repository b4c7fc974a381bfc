"""``serve stream-client``: its options and what they build."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from loadtest.serve.options import open_inbox, seconds
from loadtest.serve.source import consumer_options, origin_of, source_of

if TYPE_CHECKING:
    from loadtest.asgi import Application


def add(roles: argparse._SubParsersAction[Any]) -> None:
    """Add the role to the command line."""
    role = roles.add_parser("stream-client", help="read a provider's events as server-sent events")
    consumer_options(role, _build)
    for name, default, text in (
        ("--connect-timeout-s", 10.0, "for a connection and the head of the answer"),
        ("--silence-s", 45.0, "the longest a stream may be silent, heartbeats included"),
    ):
        role.add_argument(
            name, type=seconds(above=0.0), default=default, help=f"{text} (default: {default:g})"
        )
    back = role.add_argument_group("the way back, after the k-th failure in a row")
    back.add_argument(
        "--reconnect",
        choices=("fixed", "exponential"),
        default="exponential",
        help="after --base-s, or --base-s times --factor to the power k-1 (default: exponential)",
    )
    back.add_argument("--base-s", type=seconds(above=0.0), default=1.0, help="(default: 1)")
    back.add_argument("--factor", type=float, default=2.0, help="(default: 2)")
    back.add_argument("--cap-s", type=seconds(above=0.0), default=60.0, help="the longest (default: 60)")
    back.add_argument(
        "--jitter",
        choices=("none", "full", "equal"),
        default="full",
        help="draw it from all of the back-off, or from its second half (default: full)",
    )


def _build(options: argparse.Namespace) -> Application:
    from loadtest.consumers import ConsumerApp, StreamClient, Timing  # noqa: PLC0415
    from loadtest.retry import RetryPolicy  # noqa: PLC0415

    source, tls = source_of(options.source, "--source", options.tls_ca)
    reconnect = RetryPolicy(
        options.reconnect,
        options.base_s,
        options.factor,
        options.cap_s,
        max_attempts=1,  # it has none: a client never gives up
        jitter=options.jitter,
    )
    timing = Timing(options.connect_timeout_s, options.silence_s, reconnect, options.phase_s)
    origin = origin_of(options.origin_us, options.origin_file)
    inbox = open_inbox(options)
    client = StreamClient(source, inbox, timing, origin, tls=tls)
    return ConsumerApp("stream-client", client, inbox, options.drain_s)
