"""``serve poller``: its options and what they build."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from loadtest.serve.options import open_inbox, seconds
from loadtest.serve.source import consumer_options, origin_of, page_options, source_of
from sim.errors import InputError

if TYPE_CHECKING:
    from loadtest.asgi import Application
    from loadtest.consumers import AdaptiveRule


def add(roles: argparse._SubParsersAction[Any]) -> None:
    """Add the role to the command line."""
    role = roles.add_parser("poller", help="ask a provider's events API at intervals")
    consumer_options(role, _build)
    role.add_argument(
        "--interval-s", type=seconds(above=0.0), default=30.0, help="between ticks (default: 30)"
    )
    page_options(role, timeout_s=30.0)
    role.add_argument("--conditional", action="store_true", help="send If-None-Match: nothing new is a 304")
    adaptive = role.add_argument_group("an interval that follows what is found")
    adaptive.add_argument(
        "--adaptive",
        choices=("aimd", "age"),
        help="aimd: shorter after a find, longer after none; age: a share of the newest event's age. "
        "--interval-s is the first, counted from the last answer",
    )
    for name, kind, default, text in (
        ("--share", _number(above=0.0, most=100.0), 0.2, "age: of the age"),
        ("--increase-s", seconds(), 5.0, "aimd: added when nothing was found"),
        ("--decrease", _number(above=0.0, most=1.0), 0.5, "aimd: multiplied with when something was"),
        ("--min-interval-s", seconds(above=0.0), 1.0, "the shortest"),
        ("--max-interval-s", seconds(above=0.0), 3600.0, "the longest"),
    ):
        adaptive.add_argument(name, type=kind, default=default, help=f"{text} (default: {default:g})")


def _build(options: argparse.Namespace) -> Application:
    from loadtest.consumers import (  # noqa: PLC0415
        Adaptive,
        ConsumerApp,
        FixedRate,
        PageReader,
        Poller,
    )

    source, tls = source_of(options.source, "--source", options.tls_ca)
    rule = _rule(options)
    when = (options.interval_s, options.phase_s)
    origin = origin_of(options.origin_us, options.origin_file)
    inbox = open_inbox(options)
    pages = PageReader(
        source,
        inbox,
        page_size=options.page_size,
        timeout_s=options.timeout_s,
        conditional=options.conditional,
        tls=tls,
    )
    poller = Poller(pages, FixedRate(*when) if rule is None else Adaptive(rule, *when), origin)
    return ConsumerApp("poller", poller, inbox, options.drain_s)


def _rule(options: argparse.Namespace) -> AdaptiveRule | None:
    """How the interval adapts, if it does.

    Raises:
        InputError: the bounds are the wrong way round.
    """
    from loadtest.consumers import AdaptiveRule  # noqa: PLC0415

    if options.adaptive is None:
        return None
    least_s, most_s = options.min_interval_s, options.max_interval_s
    if most_s < least_s:
        raise InputError(f"--max-interval-s {most_s:g} is less than --min-interval-s {least_s:g}")
    return AdaptiveRule(
        options.adaptive, options.share, options.increase_s, options.decrease, least_s, most_s
    )


def _number(above: float, most: float) -> Callable[[str], float]:
    def parse(text: str) -> float:
        value = float(text)
        if not (math.isfinite(value) and above < value <= most):
            raise argparse.ArgumentTypeError(f"{text} is not above {above:g} and at most {most:g}")
        return value

    parse.__name__ = "number"
    return parse
