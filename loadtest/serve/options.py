"""Options that several servers share, and what they mean."""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from sim.errors import InputError

if TYPE_CHECKING:
    from loadtest.asgi import Application
    from loadtest.inbox import Completer, Inbox


def open_inbox(options: argparse.Namespace, completer: Completer | None = None) -> Inbox:
    """The inbox that the options describe; `completer` gets what events told of that came as notices.

    Raises:
        InputError: it cannot be opened, or its service times cannot be read.
    """
    from loadtest.inbox import (  # noqa: PLC0415
        Handling,
        Inbox,
        Retention,
        ServiceTimes,
        load_handler,
        open_storage,
    )

    service: ServiceTimes | Handling = ServiceTimes()
    if options.handler is not None:
        if options.service_times is not None:
            raise InputError("--handler and --service-times exclude each other: give one of them")
        service = Handling(load_handler(options.handler), options.handler_attempts, options.handler_timeout_s)
    elif options.service_times is not None:
        service = ServiceTimes.read(options.service_times)
    retention = None
    if options.retain_s is not None:
        retention = Retention(options.retain_s, options.forget_after_s)
    return Inbox(
        open_storage(options.inbox),
        workers=options.workers,
        service=service,
        queue_limit=options.queue_limit,
        lease_s=options.lease_s,
        retention=retention,
        completer=completer,
    )


def read_json(path: Path) -> object:
    """A JSON file's document.

    Raises:
        InputError: it cannot be read, or is not JSON.
    """
    try:
        document: object = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise InputError(f"{path} is not JSON: {error}") from None
    return document


def server_options(
    role: argparse.ArgumentParser, build: Callable[[argparse.Namespace], Application], drain_s: float
) -> None:
    """Where and how to listen, on which loop; `build` makes the application of the parsed options."""
    role.set_defaults(build=build)
    role.add_argument("--host", default="127.0.0.1")
    role.add_argument("--port", type=integer(0, 65535), default=0, help="0 takes a free port")
    role.add_argument("--loop", choices=("uvloop", "asyncio"), default="uvloop")
    role.add_argument("--drain-s", type=seconds(), default=drain_s, help="how long a drain may take")


def inbox_options(role: argparse.ArgumentParser) -> None:
    """Which inbox, and how it is served."""
    role.add_argument(
        "--inbox",
        default="sqlite:///inbox.db",
        metavar="URL",
        help="sqlite:///PATH or postgresql://USER@HOST/DB[?schema=NAME]; several processes may share it",
    )
    role.add_argument("--workers", type=integer(1), default=4, help="service slots")
    role.add_argument("--service-times", type=Path, help="little-endian float64 seconds by event index")
    role.add_argument("--handler", metavar="MODULE:FUNCTION", help="async def to call for each event")
    role.add_argument(
        "--handler-attempts", type=integer(1), default=5, help="before an event becomes a dead letter"
    )
    role.add_argument("--handler-timeout-s", type=seconds(above=0.0), default=30.0)
    role.add_argument(
        "--lease-s",
        type=seconds(above=0.0),
        default=5.0,
        help="how long other processes leave the events of one that is silent",
    )
    role.add_argument(
        "--retain-s", type=seconds(), help="drop payloads so long after service (default: never)"
    )
    role.add_argument(
        "--forget-after-s",
        type=seconds(),
        default=30 * 86_400.0,
        help="with --retain-s: after that, drop ids too; copies that come later count as new events",
    )


def integer(least: int, most: int | None = None) -> Callable[[str], int]:
    """A parser of whole numbers from `least` to `most`."""

    def parse(text: str) -> int:
        value = int(text)
        if value < least or (most is not None and value > most):
            upto = "" if most is None else f" to {most}"
            raise argparse.ArgumentTypeError(f"{value} is not a whole number from {least}{upto}")
        return value

    parse.__name__ = "whole number"
    return parse


def seconds(above: float | None = None, most: float = math.inf) -> Callable[[str], float]:
    """A parser of times in seconds, finite and not negative, perhaps more than `above`, `most` at most."""

    def parse(text: str) -> float:
        value = float(text)
        if not math.isfinite(value) or value < 0 or (above is not None and value <= above):
            raise argparse.ArgumentTypeError(
                f"{text} is not a {'positive' if above is not None else ''} time"
            )
        if value > most:
            raise argparse.ArgumentTypeError(f"{text} is more than {most:g} seconds")
        return value

    parse.__name__ = "time in seconds"
    return parse
