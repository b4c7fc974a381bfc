"""One listening socket and what comes through it: accepted, counted, turned away, closed.

It accepts by itself rather than through the loop's server, so that connections are counted from the moment
they exist - in a TLS handshake too -, one too many can be turned away or take another's place, and those
that wait in the kernel's queue when a stop is asked for are still served instead of reset.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import socket
from time import monotonic

import uvicorn
from uvicorn.server import ServerState

from loadtest import logs
from loadtest.asgi import Handler
from loadtest.connections import CROWDED, Connections
from loadtest.limits import Limits
from loadtest.protocol import HttpProtocol
from loadtest.tls import Certificate

log = logging.getLogger("hookbench.edge")

_BATCH = 64
_OUT_OF_FILES = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
_PAUSE_S = 0.1


class Door:
    """Serves an application on a listening socket.

    Args:
        app: an ASGI application.
        listener: listening, not blocking.
        limits: for its connections.
        certificate: for TLS, or None.

    Attributes:
        connections: the register of those that are open.
    """

    def __init__(
        self, app: Handler, listener: socket.socket, limits: Limits, certificate: Certificate | None = None
    ) -> None:
        self.connections = Connections(limits)
        self._listener = listener
        self._certificate = certificate
        self._state = ServerState()
        self._config = uvicorn.Config(
            app, loop="none", http="httptools", ws="none", lifespan="off", interface="asgi3",
            log_config=None, access_log=False, server_header=False, date_header=False, proxy_headers=False,
        )  # fmt: skip
        self._config.load()
        self._is_open = False
        self._opening: set[asyncio.Task[None]] = set()

    @property
    def scheme(self) -> str:
        """Either http or https."""
        return "http" if self._certificate is None else "https"

    @property
    def host(self) -> str:
        """The address it listens on."""
        return str(self._listener.getsockname()[0])

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self._listener.getsockname()[1])

    def open(self) -> None:
        """Begin to accept."""
        self._loop = asyncio.get_running_loop()
        self._is_open = True
        self._loop.add_reader(self._listener, self._accept)

    def close(self) -> None:
        """Take in whoever has connected already, then accept nobody any more."""
        if not self._is_open:
            return
        self._is_open = False
        self._loop.remove_reader(self._listener)
        while self._accept():
            pass
        self._listener.close()

    def begin_drain(self) -> None:
        """From now on a request is the last of its connection, and what waits for one is closed."""
        self.connections.draining = True
        for connection in list(self.connections.open):
            connection.shutdown()

    async def finish(self) -> int:
        """Cut what is still open; returns how many requests were still in progress."""
        tasks = list(self._state.tasks)
        for connection in list(self.connections.open):
            connection.cut()
        if tasks:
            _, pending = await asyncio.wait(tasks, timeout=1.0)  # they have heard of the disconnection
            for task in pending:
                task.cancel()
        return len(tasks)

    def _accept(self) -> bool:
        """Accept what waits; False when nothing is left."""
        for _ in range(_BATCH):
            try:
                sock, _ = self._listener.accept()
            except (BlockingIOError, InterruptedError):
                return False
            except ConnectionAbortedError:
                continue
            except OSError as error:
                if error.errno not in _OUT_OF_FILES:
                    raise
                logs.event(log, logging.ERROR, "cannot accept connections", reason=error.strerror)
                if self._is_open:
                    self._loop.remove_reader(self._listener)
                    self._loop.call_later(_PAUSE_S, self._resume)
                return False
            sock.setblocking(False)
            self._take_in(sock)
        return True

    def _resume(self) -> None:
        if self._is_open:
            self._loop.add_reader(self._listener, self._accept)

    def _take_in(self, sock: socket.socket) -> None:
        protocol = HttpProtocol(self._config, self._state, self.connections)
        if self.connections.admit(protocol, monotonic()):
            protocol.opening = sock
            task = self._loop.create_task(self._open(protocol, sock))
            self._opening.add(task)
            task.add_done_callback(self._opening.discard)
        else:
            self._turn_away(sock)

    async def _open(self, protocol: HttpProtocol, sock: socket.socket) -> None:
        try:
            if self._certificate is None:
                await self._loop.connect_accepted_socket(lambda: protocol, sock)
            else:
                await self._loop.connect_accepted_socket(
                    lambda: protocol,
                    sock,
                    ssl=self._certificate.context,
                    ssl_handshake_timeout=self.connections.limits.header_timeout_s,
                    ssl_shutdown_timeout=self.connections.limits.linger_s,
                )
        except (
            OSError
        ):  # no TLS, no common version, no answer in time (ssl.SSLError and TimeoutError are OSErrors)
            self.connections.ended["handshake"] += 1
        finally:
            if protocol.opening is not None:  # it never opened, and the loop has closed the socket
                self.connections.forget(protocol)

    def _turn_away(self, sock: socket.socket) -> None:
        """503, where it costs nothing: not after a handshake, and without waiting for anything."""
        with sock:
            if self._certificate is None:
                with contextlib.suppress(OSError):
                    sock.recv(65536)  # with unread bytes left, closing would reset the answer away
                with contextlib.suppress(OSError):
                    sock.send(CROWDED.answer)
