"""Running one ASGI application under uvicorn with httptools, on the event loop that was asked for.

A server that silently ran on another loop would void every benchmark, so there is no fallback:
a missing uvloop is an error, and the loop's name is read from the loop that runs.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import json
import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from loadtest.asgi import Application
from sim.errors import HookbenchError, InputError

KEEP_ALIVE_S = 75  # longer than senders pause, so that a connection is not closed under a request


def listen(host: str, port: int) -> socket.socket:
    """A bound socket; `port` 0 takes a free one.

    Raises:
        InputError: the address is taken, not this machine's, or not allowed.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except (OSError, UnicodeError, OverflowError):
        raise InputError(f"--host {host!r} is not an address of this machine") from None
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(2048)
        listener.setblocking(False)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise InputError(
                f"port {port} on {host} is in use; choose another --port, or 0 for a free one"
            ) from None
        raise InputError(f"cannot listen on {host} port {port}: {error.strerror}") from None
    return listener


def loop_factory(name: str) -> Callable[[], asyncio.AbstractEventLoop]:
    """How to make the event loop called `name`.

    Raises:
        InputError: uvloop was asked for and is not installed.
    """
    if name == "asyncio":
        return asyncio.SelectorEventLoop
    try:
        import uvloop  # noqa: PLC0415 - optional on some systems, so only when asked for
    except ImportError:
        raise InputError("uvloop is not installed; install it, or say --loop asyncio and mean it") from None
    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory


def running_loop_name() -> str:
    """The package of the running event loop: "uvloop" or "asyncio"."""
    return type(asyncio.get_running_loop()).__module__.partition(".")[0]


def serve(app: Application, listener: socket.socket, loop: str, drain_s: float) -> None:
    """Serve until SIGTERM or SIGINT, then drain; prints the ready line once requests are answered.

    Args:
        app: what to serve.
        listener: from `listen`.
        loop: "uvloop" or "asyncio".
        drain_s: how long requests in progress may take after the signal.

    Raises:
        InputError: the loop that runs is not the one that was asked for.
        HookbenchError: the application failed while it served (`Application.fail`).
    """
    config = uvicorn.Config(
        app,
        loop="none",
        http=_Connection,
        ws="none",
        lifespan="on",
        interface="asgi3",
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=False,
        proxy_headers=False,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=max(1, round(drain_s)),
    )
    with asyncio.Runner(loop_factory=loop_factory(loop)) as runner:
        runner.run(_serve(_Server(config, app, listener), app, listener, loop))


async def _serve(server: _Server, app: Application, listener: socket.socket, loop: str) -> None:
    app.loop_name = running_loop_name()
    if app.loop_name != loop:
        raise InputError(f"--loop {loop} was asked for, but {app.loop_name} is running")
    app.shut_down = lambda: server.handle_exit(signal.SIGTERM, None)
    await server.serve(sockets=[listener])
    if app.failure is not None:
        raise HookbenchError(app.failure)


class _Connection(HttpToolsProtocol):
    """uvicorn's connection, which a handler may cut (`loadtest.asgi.cut_off`)."""

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope["extensions"] = {"hookbench.connection": {"abort": self.transport.abort}}


class _Server(uvicorn.Server):
    """uvicorn that says when it is ready, and for which a signal is a clean end (exit 0)."""

    def __init__(self, config: uvicorn.Config, app: Application, listener: socket.socket) -> None:
        super().__init__(config)
        self._app = app
        self._port = listener.getsockname()[1]

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        ready = {
            "ready": True,
            "role": self._app.role,
            "port": self._port,
            "pid": os.getpid(),
            "loop": self._app.loop_name,
        }
        sys.stdout.write(json.dumps(ready) + "\n")
        sys.stdout.flush()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._app.quiesce()
        await super().shutdown(sockets)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.handle_exit, number, None)
        yield
