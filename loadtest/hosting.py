"""Running one application on the event loop that was asked for: ready, serving, draining, stopped.

A server that silently ran on another loop would void every benchmark, so there is no fallback:
a missing uvloop is an error, and the loop's name is read from the loop that runs.
"""

from __future__ import annotations

import asyncio
import errno
import gc
import ipaddress
import json
import logging
import math
import os
import signal
import socket
import sys
from collections.abc import Callable, Coroutine
from time import monotonic
from typing import Any

from loadtest import logs
from loadtest.asgi import Application, Receive, Scope, Send, reply_bytes
from loadtest.door import BACKLOG, Door
from loadtest.exposition import CONTENT_TYPE, Exposition
from loadtest.limits import Limits
from loadtest.tls import Certificate
from loadtest.watch import Watch
from sim.errors import HookbenchError, InputError

log = logging.getLogger("hookbench.edge")

ADMIN_PATHS = ("/status", "/metrics")
_ADMIN_CONNECTIONS = 64
_SETTLE_S = 0.05
_GC_THRESHOLD = 10_000  # a burst of requests is no garbage: with Python's 700 it is searched in vain
_SWITCH_S = 0.0005
"""How long a thread waits before it asks for the GIL. An inbox's writer needs it several times a group, for
some microseconds each time; with Python's 5 ms it would wait longer for the event loop than for the disk."""

_LOOK_S = 0.01


def listen(host: str, port: int, *, reuse_port: bool = False) -> socket.socket:
    """A bound socket; `port` 0 takes a free one.

    With `reuse_port`, several processes of one user may listen on the same port, and the kernel spreads new
    connections over them (SO_REUSEPORT).

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
        if reuse_port:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listener.bind(address)
        listener.listen(BACKLOG)
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


def serve(
    app: Application,
    listener: socket.socket,
    loop: str,
    drain_s: float,
    *,
    limits: Limits | None = None,
    certificate: Certificate | None = None,
    admin: socket.socket | None = None,
    drain_delay_s: float = 0.0,
) -> None:
    """Serve until SIGTERM or SIGINT, then drain; prints the ready line once requests are answered.

    Each further signal ends the step that is under way: the delay, the requests, the application's own end.

    Args:
        app: what to serve.
        listener: from `listen`.
        loop: "uvloop" or "asyncio".
        drain_s: how long requests in progress may take after the signal.
        limits: what clients may take; by default `Limits()`.
        certificate: for TLS; reloaded on SIGHUP.
        admin: another listener, to which /status and /metrics then move; plain HTTP.
        drain_delay_s: how long /ready says no before connections are refused, for load balancers to notice.

    Raises:
        InputError: the loop that runs is not the one that was asked for.
        HookbenchError: the application could not start, or failed while it served (`Application.fail`).
    """
    with asyncio.Runner(loop_factory=loop_factory(loop)) as runner:
        server = _Server(app, Door(app, listener, limits or Limits(), certificate), admin)
        runner.run(server.run(loop, drain_s, drain_delay_s, certificate))


class _Server:
    """The life of one server process."""

    def __init__(self, app: Application, door: Door, admin: socket.socket | None) -> None:
        self._app = app
        self._door = door
        self._doors = [door]
        self._signals = asyncio.Semaphore(0)
        self._stopping = False
        self._exposition = Exposition(app, door.connections)
        self._watch = Watch(
            lambda: app.refused | door.connections.refused,
            lambda: None if app.draining else app.ready(),  # a drain is told of by itself
        )
        app.routes["/metrics"] = {"GET": self._metrics}
        app.edge_status = door.connections.status
        app.shut_down = self._stop
        if admin is not None:
            inside = _Admin(app)
            for path in ADMIN_PATHS:
                inside.routes[path] = app.routes.pop(path)
            self._doors.append(Door(inside, admin, Limits(connections=_ADMIN_CONNECTIONS)))

    async def run(
        self, loop_name: str, drain_s: float, drain_delay_s: float, certificate: Certificate | None
    ) -> None:
        app, loop = self._app, asyncio.get_running_loop()
        app.loop_name = running_loop_name()
        if app.loop_name != loop_name:
            raise InputError(f"--loop {loop_name} was asked for, but {app.loop_name} is running")
        loop.set_exception_handler(_say_without_values)
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._signals.release)
        if certificate is not None:
            loop.add_signal_handler(signal.SIGHUP, _reload, certificate)
        await app.start()
        gc.collect()
        gc.freeze()  # what is loaded by now stays: no collection needs to look at it again
        sys.setswitchinterval(_SWITCH_S)
        gc.set_threshold(_GC_THRESHOLD, *gc.get_threshold()[1:])
        for door in self._doors:
            door.open()
        watching = loop.create_task(self._sweep())
        watching.add_done_callback(self._sweep_ended)
        self._say_ready()
        await self._signals.acquire()
        self._stopping = True
        await self._drain(drain_s, drain_delay_s)
        await self._until_signalled(app.stop())
        for door in self._doors[1:]:
            door.close()
            await door.finish()
        watching.cancel()
        self._watch.look(math.inf)
        logs.catch_up(at_once=True)
        logs.event(log, logging.INFO, "stopped")
        if app.failure is not None:
            raise HookbenchError(app.failure)

    async def _drain(self, drain_s: float, drain_delay_s: float) -> None:
        """Answer what has begun; close the rest."""
        app, door = self._app, self._door
        app.draining = True
        logs.event(log, logging.INFO, "draining", connections=len(door.connections.open), drain_s=drain_s)
        if drain_delay_s:
            await self._until_signalled(asyncio.sleep(drain_delay_s))
        door.close()
        await asyncio.sleep(_SETTLE_S)  # what reached us before the signal is read now, and so in progress
        door.begin_drain()
        app.quiesce()
        await self._until_signalled(asyncio.wait_for(self._quiet(), drain_s))
        cut = await door.finish()
        if cut:
            logs.event(log, logging.WARNING, "requests were cut off by the end of the drain", count=cut)

    async def _quiet(self) -> None:
        while self._door.is_busy:  # noqa: ASYNC110 - once, at the very end
            await asyncio.sleep(_LOOK_S)

    async def _until_signalled(self, step: Coroutine[Any, Any, None]) -> None:
        """Run a step of the end until it is done, its time is over, or another signal comes."""
        work = asyncio.ensure_future(step)
        signalled = asyncio.ensure_future(self._signals.acquire())
        await asyncio.wait((work, signalled), return_when=asyncio.FIRST_COMPLETED)
        signalled.cancel()
        if not work.done():
            logs.event(log, logging.WARNING, "hastened by a signal")
            work.cancel()
            await asyncio.wait((work,))
        elif not isinstance(work.exception(), TimeoutError | None):
            work.result()

    async def _sweep(self) -> None:
        """Sweep the connections, and log what is worth a line."""
        door = self._door
        while True:
            due = monotonic() + door.connections.limits.sweep_s
            await asyncio.sleep(door.connections.limits.sweep_s)
            now = monotonic()
            door.connections.loop_lag_s = max(0.0, now - due)
            for each in self._doors:
                each.connections.sweep(now)
            self._watch.look(now)
            logs.catch_up()

    def _sweep_ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self._app.fail(f"the sweep over connections died: {logs.whereabouts(error)}")

    def _stop(self) -> None:
        """What a first signal does, from within."""
        if not self._stopping:
            self._stopping = True
            self._signals.release()

    def _say_ready(self) -> None:
        door = self._door
        ready = {
            "ready": True,
            "role": self._app.role,
            "port": door.port,
            "pid": os.getpid(),
            "loop": self._app.loop_name,
            "scheme": door.scheme,
        }
        for other in self._doors[1:]:
            ready["admin_port"] = other.port
        sys.stdout.write(json.dumps(ready) + "\n")
        sys.stdout.flush()
        if not ipaddress.ip_address(door.host).is_loopback:
            logs.event(log, logging.WARNING, "other machines can reach this server", host=door.host)
        logs.event(
            log, logging.INFO, "serving", **{key: value for key, value in ready.items() if key != "ready"},
            host=door.host, connections=door.connections.limits.connections,
        )  # fmt: skip

    async def _metrics(self, scope: Scope, receive: Receive, send: Send) -> None:
        await reply_bytes(send, 200, self._exposition.render(), (b"content-type", CONTENT_TYPE))


class _Admin(Application):
    """What operators ask, on a port of its own: /status, /metrics, /health and /ready."""

    role = "admin"

    def __init__(self, app: Application) -> None:
        super().__init__()
        self.routes = {path: app.routes[path] for path in ("/health", "/ready")}


def _reload(certificate: Certificate) -> None:
    try:
        certificate.reload()
    except InputError as error:
        logs.event(log, logging.ERROR, "the certificate is not reloaded", reason=str(error))
    else:
        logs.event(log, logging.INFO, "the certificate is reloaded")


def _say_without_values(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """The loop's exception handler: asyncio's own would print what was in the exception."""
    error = context.get("exception")
    where = {} if error is None else logs.whereabouts(error)
    logs.event(log, logging.ERROR, "the event loop met an exception", **where)
