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
    from loadtest.inbox import Inbox


def open_inbox(options: argparse.Namespace) -> Inbox:
    """The inbox that the options describe.

    Raises:
        InputError: it cannot be opened, or its service times cannot be read.
    """
    from loadtest.inbox import Inbox, ServiceTimes, inbox_path  # noqa: PLC0415

    service = ServiceTimes() if options.service_times is None else ServiceTimes.read(options.service_times)
    path = inbox_path(options.inbox)
    return Inbox(path, workers=options.workers, service=service, queue_limit=options.queue_limit)


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
    role.add_argument("--inbox", default="sqlite:///inbox.db", metavar="sqlite:///PATH")
    role.add_argument("--workers", type=integer(1), default=4, help="service slots")
    role.add_argument("--service-times", type=Path, help="little-endian float64 seconds by event index")


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


def seconds(above: float | None = None) -> Callable[[str], float]:
    """A parser of times in seconds, finite and not negative, perhaps more than `above`."""

    def parse(text: str) -> float:
        value = float(text)
        if not math.isfinite(value) or value < 0 or (above is not None and value <= above):
            raise argparse.ArgumentTypeError(
                f"{text} is not a {'positive' if above is not None else ''} time"
            )
        return value

    parse.__name__ = "time in seconds"
    return parse
