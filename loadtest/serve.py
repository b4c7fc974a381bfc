"""``python -m loadtest.serve receiver|provider|poller``: the reference servers as processes.

Once it answers, a server prints one JSON line on standard output,
``{"ready": true, "role": ..., "port": ..., "pid": ..., "loop": ...}``; everything else goes to standard
error. SIGTERM and SIGINT stop it: no new requests, drain, exit 0. Bad input is one line and exit 2; a
server that fails while it runs ends with one line and exit 1.
Secrets come from the environment variable HOOKBENCH_WEBHOOK_SECRET (several, separated by blanks, while
one rotates) or from ``--secret-file``, never from an argument that other users could see.
"""

from __future__ import annotations

import argparse
import json
import logging
import math
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from loadtest.contract import SECRET_VARIABLE
from sim.errors import HookbenchError, InputError

if TYPE_CHECKING:
    from loadtest.asgi import Application
    from loadtest.inbox import Inbox


def main(argv: Sequence[str] | None = None) -> int:
    """Run one server until it is told to stop.

    Returns:
        the exit code: 0 after a drain, 1 when the server failed, 2 for bad input (both said in one line on
        standard error).
    """
    logging.basicConfig(
        stream=sys.stderr, level=logging.WARNING, format="%(asctime)s %(name)s %(levelname)s %(message)s"
    )
    options = _parser().parse_args(argv)
    try:
        _run(options)
    except HookbenchError as error:
        print(f"hookbench serve: {error}", file=sys.stderr)  # noqa: T201 - the command's own answer
        return error.exit_code
    except KeyboardInterrupt:
        return 0  # before the server took over the signals there is nothing to drain
    return 0


def _run(options: argparse.Namespace) -> None:
    from loadtest import hosting  # noqa: PLC0415 - so that --help does not wait for uvicorn

    hosting.loop_factory(options.loop)  # a missing uvloop should be said before anything is opened
    listener = hosting.listen(options.host, options.port)
    with listener:
        app: Application = options.build(options)
        hosting.serve(app, listener, options.loop, options.drain_s)


def _receiver(options: argparse.Namespace) -> Application:
    from loadtest.receiver import ReceiverApp  # noqa: PLC0415 - each role imports only what it needs

    secrets = read_secrets(options.secret_file)
    return ReceiverApp(_inbox(options), secrets, options.max_body_bytes, options.drain_s)


def _provider(options: argparse.Namespace) -> Application:
    from loadtest.contract import loopback_url  # noqa: PLC0415
    from loadtest.provider import ProviderApp, WebhookPolicy  # noqa: PLC0415

    policy = WebhookPolicy()
    if options.webhook_json is not None:
        policy = WebhookPolicy.from_table(_read_json(options.webhook_json))
    for url in options.subscribe:
        loopback_url(url, "--subscribe")
    if options.ledger is not None and not options.ledger.parent.is_dir():
        raise InputError(f"--ledger {options.ledger}: its folder does not exist")
    secrets = [secret for secret in read_secrets(options.secret_file) if secret.startswith("whsec_")]
    return ProviderApp(
        policy,
        secrets,
        subscribe=options.subscribe,
        page_limit=options.page_limit,
        ledger=options.ledger,
        drain_s=options.drain_s,
    )


def _poller(options: argparse.Namespace) -> Application:
    from loadtest.consumers import Poller, PollerApp  # noqa: PLC0415
    from loadtest.contract import loopback_url  # noqa: PLC0415

    source = loopback_url(options.source, "--source")
    inbox = _inbox(options)
    poller = Poller(
        source,
        inbox,
        interval_s=options.interval_s,
        phase_s=options.phase_s,
        page_size=options.page_size,
        timeout_s=options.timeout_s,
        conditional=options.conditional,
        origin_us=options.origin_us,
    )
    return PollerApp(poller, inbox, options.drain_s)


def _inbox(options: argparse.Namespace) -> Inbox:
    from loadtest.inbox import Inbox, ServiceTimes, inbox_path  # noqa: PLC0415

    service = ServiceTimes() if options.service_times is None else ServiceTimes.read(options.service_times)
    path = inbox_path(options.inbox)
    return Inbox(path, workers=options.workers, service=service, queue_limit=options.queue_limit)


def read_secrets(secret_file: Path | None) -> list[str]:
    """The webhook secrets, from the file when one is given, else from the environment; maybe none.

    Raises:
        InputError: the file cannot be read.
    """
    if secret_file is None:
        return os.environ.get(SECRET_VARIABLE, "").split()
    try:
        return secret_file.read_text(encoding="utf-8").split()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"--secret-file {secret_file} cannot be read: {error}") from None


def _read_json(path: Path) -> object:
    try:
        document: object = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise InputError(f"{path} is not JSON: {error}") from None
    return document


class _Parser(argparse.ArgumentParser):
    """argparse that keeps to one line and exit 2, without the usage text."""

    def error(self, message: str) -> None:  # type: ignore[override]
        self.exit(2, f"hookbench serve: {message}\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="hookbench serve", description="Run one reference server on this machine.")
    roles = parser.add_subparsers(dest="role", required=True, metavar="receiver|provider|poller")

    receiver = roles.add_parser("receiver", help="take webhooks: verify, store, acknowledge, process")
    _server_options(receiver, _receiver, drain_s=30)
    _inbox_options(receiver)
    receiver.add_argument("--max-body-bytes", type=_integer(1), default=1_000_000)
    receiver.add_argument(
        "--queue-limit", type=_integer(0), default=1000, help="events that may wait before a 503"
    )
    receiver.add_argument("--secret-file", type=Path)

    provider = roles.add_parser("provider", help="publish events, serve the events API, send webhooks")
    _server_options(provider, _provider, drain_s=10)
    provider.add_argument("--subscribe", action="append", default=[], metavar="URL")
    provider.add_argument("--webhook-json", type=Path, help="the scenario's webhook table as JSON")
    provider.add_argument("--ledger", type=Path, help="CSV written when the provider stops")
    provider.add_argument("--page-limit", type=_integer(1, 4000), default=1000)
    provider.add_argument("--secret-file", type=Path)

    poller = roles.add_parser("poller", help="ask a provider's events API at a fixed rate")
    _server_options(poller, _poller, drain_s=30)
    _inbox_options(poller)
    poller.add_argument("--source", required=True, metavar="URL", help="the provider's base URL")
    poller.add_argument("--interval-s", type=_seconds(above=0.0), default=30.0)
    poller.add_argument("--phase-s", type=_seconds(), default=0.0)
    poller.add_argument(
        "--origin-us", type=_integer(0), help="the monotonic µs ticks count from (default: the start)"
    )
    poller.add_argument("--page-size", type=_integer(1, 4000), default=100)
    poller.add_argument("--timeout-s", type=_seconds(above=0.0), default=30.0)
    poller.add_argument("--conditional", action="store_true", help="send If-None-Match")
    poller.set_defaults(queue_limit=1)  # polled events are never refused
    return parser


def _server_options(
    role: argparse.ArgumentParser, build: Callable[[argparse.Namespace], Application], drain_s: float
) -> None:
    role.set_defaults(build=build)
    role.add_argument("--host", default="127.0.0.1")
    role.add_argument("--port", type=_integer(0, 65535), default=0, help="0 takes a free port")
    role.add_argument("--loop", choices=("uvloop", "asyncio"), default="uvloop")
    role.add_argument("--drain-s", type=_seconds(), default=drain_s, help="how long a drain may take")


def _inbox_options(role: argparse.ArgumentParser) -> None:
    role.add_argument("--inbox", default="sqlite:///inbox.db", metavar="sqlite:///PATH")
    role.add_argument("--workers", type=_integer(1), default=4, help="service slots")
    role.add_argument("--service-times", type=Path, help="little-endian float64 seconds by event index")


def _integer(least: int, most: int | None = None) -> Callable[[str], int]:
    def parse(text: str) -> int:
        value = int(text)
        if value < least or (most is not None and value > most):
            upto = "" if most is None else f" to {most}"
            raise argparse.ArgumentTypeError(f"{value} is not a whole number from {least}{upto}")
        return value

    parse.__name__ = "whole number"
    return parse


def _seconds(above: float | None = None) -> Callable[[str], float]:
    def parse(text: str) -> float:
        value = float(text)
        if not math.isfinite(value) or value < 0 or (above is not None and value <= above):
            raise argparse.ArgumentTypeError(
                f"{text} is not a {'positive' if above is not None else ''} time"
            )
        return value

    parse.__name__ = "time in seconds"
    return parse


if __name__ == "__main__":
    sys.exit(main())
