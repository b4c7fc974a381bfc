"""``python -m loadtest.serve ROLE``: the reference servers as processes.

Receiver and provider; and poller, long-poller, stream-client and (over a broker) consumer, the other ways
from one to the other.

Once it answers, a server prints one JSON line on standard output,
``{"ready": true, "role": ..., "port": ..., "pid": ..., "loop": ..., "scheme": ...}``; everything else goes to
standard error. SIGTERM and SIGINT stop it: no new requests, drain, exit 0; a further one ends the step that
is under way. Bad input is one line and exit 2; a server that fails while it runs ends with one line and
exit 1. Several processes serve one port with ``--reuse-port``: whoever starts them also stops them, each by
its own signal, and ``--admin-port`` shows the counts of each.
Secrets come from the environment variable HOOKBENCH_WEBHOOK_SECRET (several, separated by blanks, while
one rotates) or from ``--secret-file``, never from an argument that other users could see.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from loadtest import logs
from loadtest.serve import consumer, long_poller, poller, provider, receiver, stream_client
from loadtest.serve.edge import certificate_of, edge_options, limits_of
from sim.errors import HookbenchError

if TYPE_CHECKING:
    from loadtest.asgi import Application


def main(
    argv: Sequence[str] | None = None, *, wrap: Callable[[Application], Application] = lambda app: app
) -> int:
    """Run one server until it is told to stop.

    Args:
        argv: the arguments, by default the process's own.
        wrap: from the application to what is served in its place, as the self-test needs it.

    Returns:
        the exit code: 0 after a drain, 1 when the server failed, 2 for bad input (both said in one line on
        standard error).
    """
    options = _parser().parse_args(argv)
    logs.configure(options.log_format, options.log_level)
    try:
        _run(options, wrap)
    except HookbenchError as error:
        print(f"hookbench serve: {error}", file=sys.stderr)  # noqa: T201 - the command's own answer
        return error.exit_code
    except KeyboardInterrupt:
        return 0  # before the server took over the signals there is nothing to drain
    return 0


def _run(options: argparse.Namespace, wrap: Callable[[Application], Application]) -> None:
    from loadtest import hosting  # noqa: PLC0415 - so that --help does not wait for uvicorn

    hosting.loop_factory(options.loop)  # a missing uvloop should be said before anything is opened
    limits, certificate = limits_of(options), certificate_of(options)
    with contextlib.ExitStack() as ports:
        listener = ports.enter_context(
            hosting.listen(options.host, options.port, reuse_port=options.reuse_port)
        )
        admin = None
        if options.admin_port is not None:
            admin = ports.enter_context(hosting.listen("127.0.0.1", options.admin_port))
        app: Application = wrap(options.build(options))
        hosting.serve(
            app, listener, options.loop, options.drain_s,
            limits=limits, certificate=certificate, admin=admin, drain_delay_s=options.drain_delay_s,
        )  # fmt: skip


class _Parser(argparse.ArgumentParser):
    """argparse that keeps to one line and exit 2, without the usage text."""

    def error(self, message: str) -> None:  # type: ignore[override]
        self.exit(2, f"hookbench serve: {message}\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="hookbench serve", description="Run one reference server on this machine.")
    roles = parser.add_subparsers(dest="role", required=True, metavar="ROLE")
    for role in (receiver, provider, poller, long_poller, stream_client, consumer):
        role.add(roles)
    for parser_of_role in roles.choices.values():
        edge_options(parser_of_role)
    return parser
