"""A sender's kept-alive connection, which never waits by itself, and the answers that come over it.

Sockets, TLS and the parser are geventhttpclient's, as in every FastHttpUser; what differs is who waits. A
gevent socket puts its greenlet to sleep; here a call that would have to wait says so instead, and anybody may
send over a connection whose owner waits for the answer.
"""

from __future__ import annotations

import select
import ssl

from gevent import monkey
from geventhttpclient.client import HTTPClient
from geventhttpclient.response import HTTPConnectionClosed, HTTPParseError, HTTPResponse
from locust.contrib.fasthttp import FAILURE_EXCEPTIONS

FAILURES: tuple[type[Exception], ...] = tuple(
    kind for kind in FAILURE_EXCEPTIONS if issubclass(kind, Exception)
)
"""What Locust counts as a failed request; a gevent.Timeout is somebody else's."""

BLOCK_BYTES = 65_536

_NOT_YET = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)

_poll = monkey.get_original("select", "poll")
"""The kernel's own: gevent's would go through the event loop to answer that nothing is there."""


class Answer(HTTPResponse):
    """A response that is fed with what came, where geventhttpclient's own reads a socket."""

    @property
    def complete(self) -> bool:
        """Whether all of it is here; an interim response (1xx) is none."""
        return self.message_complete and self.get_code() >= 200

    def take(self, data: bytes) -> bool:
        """Read on; whether it is complete.

        Raises:
            HTTPConnectionClosed: the connection's end, before anything came.
            HTTPParseError: no HTTP, or an end in the midst of it.
        """
        if not data and not self.message_begun:
            raise HTTPConnectionClosed("connection closed.")
        self.feed(data)
        if self.complete:
            return True
        if not data:
            raise HTTPParseError("connection closed before the end of the answer")
        return False

    @property
    def body_bytes(self) -> int:
        """How much of the body has come and was not read, as it was sent."""
        return len(self._body_buffer)

    def read(self, length: int | None = None) -> bytes:
        """The body, once; for `FastResponse`, which decodes it."""
        body = bytes(self._body_buffer)
        self._body_buffer.clear()
        return body

    def release(self) -> None:
        """For `FastResponse`; the connection is its sender's."""


class Connection:
    """A connection to the server of a client; opening it blocks the greenlet.

    Attributes:
        fd: the socket's descriptor.
        used: whether an answer came over it already.

    Raises:
        OSError: there is none to be had.
    """

    def __init__(self, client: HTTPClient) -> None:
        self.used = False
        self._pool = client._connection_pool
        self._socket = self._pool.get_socket()
        self._socket.settimeout(0.0)
        self.fd: int = self._socket.fileno()
        self._readable = _poll()
        self._readable.register(self.fd, select.POLLIN)

    def quiet(self) -> bool:
        """Whether nothing has come, as it should be before a request: what comes then is mostly the end."""
        return not self._readable.poll(0)

    def send(self, content: bytes) -> int:
        """Send what can be sent at once; how many bytes that was.

        A connection that the server has cut takes everything: what it said last is still to be read.
        """
        try:
            sent: int = self._socket.send(content)
        except _NOT_YET:
            return 0
        except (BrokenPipeError, ConnectionResetError):
            return len(content)
        return sent

    def send_all(self, content: bytes | memoryview, timeout_s: float) -> None:
        """Send all of it; blocks the greenlet.

        Raises:
            OSError: it took longer than `timeout_s`, or broke.
        """
        self._socket.settimeout(timeout_s)
        try:
            self._socket.sendall(content)
        except (BrokenPipeError, ConnectionResetError):
            pass  # see `send`
        finally:
            self._socket.settimeout(0.0)

    def receive(self) -> bytes | None:
        """What has come, b"" for the connection's end; None where nothing has.

        Raises:
            OSError: it broke.
        """
        try:
            data: bytes = self._socket.recv(BLOCK_BYTES)
        except _NOT_YET:
            return None
        return data

    def close(self) -> None:
        """Close it."""
        self._pool.release_socket(self._socket)
