"""HTTP/1.1 on one connection: uvicorn's protocol, within limits.

What it adds to uvicorn: every stage of a request has a size and a time (`loadtest.limits`), what exceeds one
is refused with an error document and counted, an answer is not lost to a reset while its client still sends
(RFC 9112, section 9.6), a hang-up reaches every request of the connection as ``http.disconnect``, and a
request that offers HTTP/2 keeps its body. Where a request comes whole, as nearly all do, that costs a few
comparisons; it sets no timer.

The overridden methods are those of uvicorn 0.54; the tests of the edge say when another version differs.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import socket
import sys
import termios
from collections import deque
from time import monotonic
from typing import Any, NoReturn

import httptools
from uvicorn.config import Config
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from loadtest.connections import (
    BODIES_FULL,
    FRAMING,
    LARGE_HEADERS,
    LONG_URL,
    MALFORMED,
    Connections,
    Refusal,
    Stalled,
)

_FRAMING_PER_BYTE = 8  # chunks of one byte have five: "1\r\nx\r\n"
_FRAMING_BYTES = 2**20  # and some for head and trailers, and what was read with them


class _Refused(Exception):
    """Stops the parser; the refusal is on its way."""


class HttpProtocol(HttpToolsProtocol):
    """One connection.

    Args:
        config, state: uvicorn's.
        connections: the register of the listener, which holds the limits.

    Attributes:
        opening: the socket, until the connection is open; a TLS handshake may go on meanwhile.
    """

    def __init__(self, config: Config, state: ServerState, connections: Connections) -> None:
        super().__init__(config=config, server_state=state, app_state={}, _loop=asyncio.get_running_loop())
        self._register = connections
        self._limits = connections.limits
        self._crowded = connections.limits.body_bytes // 2  # from here on announced bodies are looked at
        self.opening: socket.socket | None = None
        self._deaf = False  # what still comes is thrown away
        self._closing = False
        self._gone = False
        self._headed: object = None  # the scope of the last request whose head is here
        self._whole: object = None  # and of the last that came whole
        self._chunk = 0  # bytes that are being parsed
        self._slow = 0  # bytes of an unfinished head or message so far
        self._bodies: deque[int] = deque()  # bytes of the bodies of requests that have not ended, in order
        self._running = 0  # requests that have not ended
        self._started = 0.0
        self._answering: RequestResponseCycle | None = None

    @property
    def received(self) -> int:
        """Bytes of the body that is coming."""
        return self._bodies[-1]

    @property
    def held_back(self) -> bool:
        """The application has not taken what came, so no more is read."""
        return self.flow.read_paused

    @property
    def unsent(self) -> int:
        """Bytes of its answers that the client has not taken, here and in the system's buffer."""
        if self.opening is not None:
            return 0
        return self.transport.get_write_buffer_size() + _in_system(self.transport)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """The connection is open; with TLS, after its handshake."""
        super().connection_made(transport)
        self._outlet = _Outlet(self, transport)
        self._extensions: dict[str, Any] = {"hookbench.connection": {"abort": self.cut}}
        self.opening = None
        if self._deaf:  # it was given up meanwhile
            transport.abort()
        elif self in self._register.fresh:
            self._register.fresh[self] = monotonic()
            self._register.fresh.move_to_end(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """The client hung up, or we did."""
        super().connection_lost(exc)
        self._register.forget(self)
        self._deaf = self._gone = True
        self._extensions.clear()  # it holds what holds it
        self.pipeline.clear()
        if self._answering is not None:
            _disconnect(self._answering)
        if not self._running:
            self._outlet.let_go()

    def data_received(self, data: bytes) -> None:
        """Bytes came."""
        if self._deaf:
            return
        self._chunk = len(data)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as offer:
            self._decline(data[offer.args[0] :])
            return
        except httptools.HttpParserError:
            if not self._deaf:
                self.refuse(MALFORMED)
            return
        if self.scope is not self._whole and not self._deaf:
            self._look_at_unfinished()

    def on_headers_complete(self) -> None:
        """The head of a request is here: hand it to the application, or refuse it."""
        limits, register = self._limits, self._register
        if self.parser.should_upgrade():
            return  # the parser stops here, and takes the body for another protocol's
        if len(self.url) > limits.url_bytes:
            self._stop_with(LONG_URL)
        if len(self.headers) > limits.header_count or (
            self._slow + self._chunk > limits.header_bytes and self._head_bytes() > limits.header_bytes
        ):
            self._stop_with(LARGE_HEADERS)
        if (
            register.body_bytes > self._crowded
            and register.body_bytes + self._announced() > limits.body_bytes
        ):
            self._stop_with(BODIES_FULL)
        if len(self.pipeline) >= limits.pipelined:
            register.ended["pipelining"] += 1
            self._read_no_more()
            raise _Refused
        if self._answering is None:
            (register.idle if self in register.idle else register.fresh).pop(self, None)
        if register.heads:
            register.heads.pop(self, None)
        super().on_headers_complete()
        self._headed = self.scope
        self._bodies.append(0)
        if self.pipeline:
            self.flow.resume_reading()  # else nobody would notice that a client hangs up
        cycle = self.cycle
        cycle.transport = self._outlet  # type: ignore[assignment]
        cycle.scope["extensions"] = self._extensions
        if register.draining:
            cycle.keep_alive = False
        self.headers = []  # trailers go here, not among the headers (RFC 9110, section 6.5.1)
        self._slow = 0

    def on_body(self, body: bytes) -> None:
        """Bytes of a body came."""
        cycle = self.cycle
        if cycle.response_complete:
            return
        size = len(body)
        register = self._register
        self._bodies[-1] += size
        register.body_bytes += size
        if register.body_bytes > self._limits.body_bytes:
            self._stop_with(BODIES_FULL)
        if register.body_bytes > register.body_bytes_peak:  # noqa: PLR1730 - cheaper than a call
            register.body_bytes_peak = register.body_bytes
        cycle.body += body
        if len(cycle.body) > HIGH_WATER_LIMIT:
            self.flow.pause_reading()
        cycle.message_event.set()

    def on_message_complete(self) -> None:
        """A request is wholly here."""
        if self._headed is not self.scope:
            return  # it offers another protocol, and is to be read again
        self._whole = self.scope
        cycle = self.cycle
        cycle.more_body = False
        cycle.message_event.set()
        if self._register.reading:
            self._register.reading.pop(self, None)

    def on_response_complete(self) -> None:
        """An answer is wholly written: go on with the next request, or wait for one."""
        register, outlet, cycle, now = self._register, self._outlet, self._answering, monotonic()
        register.answered(outlet.status_class, now - self._started)
        outlet.status_class = 0
        self._answering = None
        if self._closing:
            return
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
        elif cycle is not None and cycle.more_body:
            self.hang_up()  # the rest of the body is still coming, and nobody wants it
        else:
            if self.flow.read_paused:
                self.flow.resume_reading()
            register.idle[self] = now

    def shutdown(self) -> None:
        """Begin no further request; answer those in progress."""
        if self._answering is None and not self._in_message:
            self.hang_up()
        elif self.cycle is not None:
            self.cycle.keep_alive = False

    def pause_writing(self) -> None:
        """The client is slow to take its answer."""
        super().pause_writing()
        self._register.stalled[self] = Stalled(monotonic(), self.unsent)
        self._register.bound_unsent()

    def resume_writing(self) -> None:
        """The client has taken most of its answer."""
        super().resume_writing()
        self._register.stalled.pop(self, None)

    @property
    def _in_message(self) -> bool:
        """A request has begun and is not wholly here."""
        return self.scope is not self._whole  # uvicorn makes a new scope when a request begins

    @property
    def _in_head(self) -> bool:
        return self.scope is not self._headed

    def refuse(self, refusal: Refusal) -> None:
        """Answer so and hang up; behind requests in progress, hang up once they are answered."""
        self._register.ended[refusal.reason] += 1
        answering = self._answering
        in_body = self._in_message and not self._in_head
        if answering is None or (in_body and self.cycle is answering):
            if answering is not None:
                _disconnect(answering)
            if answering is None or not answering.response_started:
                self.transport.write(refusal.answer)
            self.hang_up(linger=True)
        else:
            if in_body:
                self.pipeline.popleft()
                self._register.body_bytes -= self._bodies.pop()
            self._read_no_more()

    def hang_up(self, *, linger: bool = False) -> None:
        """Close; where the client still sends, or may (`linger`), the answer gets time to reach it first."""
        if self._closing:
            return
        self._deaf = self._closing = True
        self._register.close(self, monotonic())
        if self.opening is not None:
            _shut_down(self.opening)
        elif (linger or self._in_message) and self.transport.can_write_eof():
            self.transport.write_eof()
        else:
            self.transport.close()

    def cut(self) -> None:
        """Close at once, whatever is under way."""
        self._deaf = self._closing = True
        if self.opening is not None:
            _shut_down(self.opening)
        else:
            self.transport.abort()

    def _decline(self, rest: bytes) -> None:
        """Read a request again as if it did not offer another protocol (RFC 9110, section 7.8)."""
        method, version = self.parser.get_method(), self.parser.get_http_version().encode()
        if method == b"CONNECT":  # which asks for a tunnel
            self.refuse(MALFORMED)
            return
        lines = [b"%b %b HTTP/%b" % (method, self.url, version)]
        lines += [b"%b: %b" % header for header in self.headers if header[0] != b"upgrade"]
        self.parser = httptools.HttpRequestParser(self)
        self.data_received(b"\r\n".join((*lines, b"", rest)))

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._answering = cycle
        self._running += 1
        self._started = monotonic()
        task = self.loop.create_task(cycle.run_asgi(app))
        self.tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self.tasks.discard(task)
        self._running -= 1
        if self._running:
            self._register.body_bytes -= self._bodies.popleft()
        else:  # with those of requests that nobody will answer
            self._register.body_bytes -= sum(self._bodies)
            self._bodies.clear()
            if self._gone:
                self._outlet.let_go()

    def _look_at_unfinished(self) -> None:
        """A request came in part: it is timed from now on, and its bytes are counted."""
        register, limits = self._register, self._limits
        if self._in_head:
            if self not in register.heads:
                register.heads[self] = monotonic()
                self._slow = self._head_bytes()
            else:
                self._slow += self._chunk
            if len(self.url) > limits.url_bytes:
                self.refuse(LONG_URL)
            elif self._slow > limits.header_bytes or len(self.headers) > limits.header_count:
                self.refuse(LARGE_HEADERS)
            return
        if self not in register.reading:
            register.reading[self] = monotonic()
        self._slow += self._chunk
        if self._slow > self._bodies[-1] * (1 + _FRAMING_PER_BYTE) + _FRAMING_BYTES:
            self.refuse(FRAMING)

    def _head_bytes(self) -> int:
        return len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)

    def _announced(self) -> int:
        """The length of the body that the headers announce, 0 where none is."""
        return next((int(value) for name, value in self.headers if name == b"content-length"), 0)

    def _stop_with(self, refusal: Refusal) -> NoReturn:
        self.refuse(refusal)
        raise _Refused

    def _read_no_more(self) -> None:
        """Let the last request that came whole be the last of the connection."""
        self._deaf = True
        self._register.heads.pop(self, None)
        self._register.reading.pop(self, None)
        last = self.pipeline[0][0] if self.pipeline else self._answering
        if last is not None:
            last.keep_alive = False


class _Outlet:
    """What a request sees of its transport: it notes the status of the answer, and closes in order."""

    __slots__ = ("_protocol", "_write", "is_closing", "status_class")

    def __init__(self, protocol: HttpProtocol, transport: asyncio.Transport) -> None:
        self._protocol = protocol
        self._write = transport.write
        self.is_closing = transport.is_closing
        self.status_class = 0

    def write(self, data: bytes) -> None:
        """Write to the client; an answer begins ``HTTP/1.1 200``, maybe after a 100 in the same way."""
        if self.status_class < 2:
            self.status_class = data[9] - 48
        self._write(data)

    def close(self) -> None:
        """The answer was the connection's last."""
        self._protocol.hang_up()

    def let_go(self) -> None:
        """All is over: hold no longer what holds this, so that memory is free at once."""
        del self._protocol


def _shut_down(sock: socket.socket) -> None:
    """End a connection that the loop is opening: it meets the end by itself, and closes the socket."""
    with contextlib.suppress(OSError):  # the client was quicker
        sock.shutdown(socket.SHUT_RDWR)


def _in_system(transport: asyncio.Transport) -> int:
    """What the client has not acknowledged of a socket's send buffer, which may hold megabytes (tcp(7))."""
    descriptor = transport.get_extra_info("socket").fileno()
    if descriptor < 0 or sys.platform != "linux":
        return 0
    return int.from_bytes(fcntl.ioctl(descriptor, termios.TIOCOUTQ, bytes(4)), sys.byteorder)


def _disconnect(cycle: RequestResponseCycle) -> None:
    """Tell a request that its client is gone."""
    if not cycle.response_complete:
        cycle.disconnected = True
        cycle.message_event.set()
