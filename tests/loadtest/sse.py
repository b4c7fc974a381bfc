"""A strict reader of event streams, for the tests: HTTP over a socket, and the WHATWG grammar.

Written from the HTML Living Standard, "Server-sent events", sections "Parsing an event stream" and
"Interpreting an event stream", and knowing nothing of the server. Where the standard tells a browser to
ignore something, this reader fails, for a server should not have sent it.
"""

from __future__ import annotations

import contextlib
import http.client
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

from tests.loadtest.servers import Server


class Message(NamedTuple):
    """An event as a browser would dispatch it."""

    type: str
    data: str
    last_event_id: str


class StreamParser:
    """Bytes in, as they come; messages out. What is behind the last blank line is incomplete."""

    def __init__(self) -> None:
        self._rest = b""
        self._fields: list[tuple[str, str]] = []
        self.last_event_id = ""
        self.retry_ms: int | None = None
        self.comments = 0

    def feed(self, piece: bytes) -> list[Message]:
        """The messages that are complete by now."""
        assert b"\r" not in piece, "this server ends its lines with LF"
        *lines, self._rest = (self._rest + piece).split(b"\n")
        messages = []
        for line in lines:
            if line:
                self._line(line.decode("utf-8"))
            else:
                messages += self._dispatch()
        return messages

    def _line(self, line: str) -> None:
        name, colon, value = line.partition(":")
        if not name:
            self.comments += 1
            return
        assert colon, f"a field without a colon: {line!r}"
        assert name in ("id", "event", "data", "retry"), f"an unknown field: {line!r}"
        assert name not in (known for known, _ in self._fields), f"{name} twice in one block"
        self._fields.append((name, value.removeprefix(" ")))

    def _dispatch(self) -> list[Message]:
        fields, self._fields = dict(self._fields), []
        if "id" in fields:
            assert "\0" not in fields["id"]
            self.last_event_id = fields["id"]
        if "retry" in fields:
            assert fields["retry"].isascii()
            assert fields["retry"].isdigit()
            self.retry_ms = int(fields["retry"])
        if "data" not in fields:
            assert "event" not in fields, "an event type without data dispatches nothing"
            return []
        return [Message(fields.get("event", "message"), fields["data"], self.last_event_id)]


class Reader:
    """A client of a stream: it reads when told to, and can be cut off at any byte."""

    def __init__(
        self,
        server: Server,
        query: str = "",
        headers: Mapping[str, str] | None = None,
        receive_buffer: int | None = None,
    ) -> None:
        self.socket = socket.socket()
        if receive_buffer is not None:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.settimeout(20)
        self.socket.connect(("127.0.0.1", server.port))
        lines = [f"GET /events/stream{query} HTTP/1.1", "host: test", "accept: text/event-stream"]
        lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
        self.socket.sendall("\r\n".join([*lines, "", ""]).encode())
        self.parser = StreamParser()
        self.messages: list[Message] = []
        self.ended = False

    def open(self) -> http.client.HTTPResponse:
        """Read the head of the answer."""
        self.response = http.client.HTTPResponse(self.socket)
        self.response.begin()
        return self.response

    def read(self, most: int = 65536) -> bool:
        """Read some bytes, at least one; False at the end of the stream, which must be a clean one."""
        piece = self.response.read1(most)
        self.ended = not piece
        self.messages += self.parser.feed(piece)
        return not self.ended

    def until(self, condition: Callable[[], bool]) -> None:
        """Read until something is so."""
        while not condition():
            assert self.read(), "the stream ended too early"

    def take(self, count: int) -> list[Message]:
        """The first messages, so many exactly."""
        self.until(lambda: len(self.messages) >= count)
        assert len(self.messages) == count, self.messages
        return self.messages

    def close(self) -> None:
        """Hang up."""
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()


@contextlib.contextmanager
def reading(
    server: Server,
    query: str = "",
    headers: Mapping[str, str] | None = None,
    receive_buffer: int | None = None,
) -> Iterator[Reader]:
    """A reader whose stream is open."""
    reader = Reader(server, query, headers, receive_buffer)
    try:
        assert reader.open().status == 200, reader.response.read()
        yield reader
    finally:
        reader.close()


@contextlib.contextmanager
def asking(server: Server, *targets: str, headers: str = "") -> Iterator[list[socket.socket]]:
    """Connections on each of which a GET was sent; nobody reads yet."""
    sockets = []
    try:
        for target in targets:
            connection = socket.create_connection(("127.0.0.1", server.port), timeout=20)
            sockets.append(connection)
            connection.sendall(f"GET {target} HTTP/1.1\r\nhost: test\r\n{headers}\r\n".encode())
        yield sockets
    finally:
        for connection in sockets:
            connection.close()


def answer_on(connection: socket.socket) -> tuple[int, dict[str, str], bytes]:
    """Read the whole answer that comes on a connection."""
    response = http.client.HTTPResponse(connection)
    response.begin()
    return response.status, {name.lower(): value for name, value in response.getheaders()}, response.read()


@contextlib.contextmanager
def in_a_thread(work: Callable[[], None]) -> Iterator[None]:
    """Let something be done meanwhile; an error there is an error here."""
    failures: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield
    finally:
        thread.join(30)
    assert not thread.is_alive()
    if failures:
        raise failures[0]
