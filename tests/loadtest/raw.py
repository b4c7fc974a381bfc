"""Raw connections to a server: bytes as the test says, answers read one by one."""

from __future__ import annotations

import contextlib
import http.client
import socket
import ssl
import time
from collections.abc import Iterator
from io import BufferedReader
from typing import Any

from tests.loadtest.servers import SIGNER, Answer


class Raw:
    """One connection."""

    def __init__(
        self, port: int, *, tls: ssl.SSLContext | None = None, receive_bytes: int | None = None
    ) -> None:
        self.socket: socket.socket = socket.socket()
        if receive_bytes is not None:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        self.socket.settimeout(15)
        try:
            self.socket.connect(("127.0.0.1", port))
            if tls is not None:
                self.socket = tls.wrap_socket(self.socket, server_hostname="localhost")
        except BaseException:
            self.socket.close()
            raise
        self._reader: BufferedReader = self.socket.makefile("rb")

    def send(self, data: bytes) -> Raw:
        self.socket.sendall(data)
        return self

    def answer(self, method: str = "GET") -> Answer:
        response = http.client.HTTPResponse(_Socket(self._reader), method=method)  # type: ignore[arg-type]
        response.begin()
        return Answer(
            response.status, {name.lower(): value for name, value in response.getheaders()}, response.read()
        )

    def closed(self) -> bool:
        """Wait for the end; True when the server ended the connection without another byte."""
        try:
            return self._reader.read(1) == b""
        except ConnectionResetError:
            return True

    def closed_after_s(self) -> float:
        start = time.monotonic()
        assert self.closed()
        return time.monotonic() - start

    def close(self) -> None:
        self._reader.close()
        self.socket.close()


class _Socket:
    """What http.client wants of a socket, without a reader of its own: the answers share one."""

    def __init__(self, reader: BufferedReader) -> None:
        self._reader = reader

    def makefile(self, *_: Any) -> Any:
        return _Unclosed(self._reader)


class _Unclosed:
    def __init__(self, reader: BufferedReader) -> None:
        self._reader = reader

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reader, name)

    def close(self) -> None:
        pass


@contextlib.contextmanager
def connected(port: int, **options: Any) -> Iterator[Raw]:
    raw = Raw(port, **options)
    try:
        yield raw
    finally:
        raw.close()


def get(path: str = "/health", *headers: str) -> bytes:
    lines = "".join(f"{header}\r\n" for header in headers)
    return f"GET {path} HTTP/1.1\r\nhost: x\r\n{lines}\r\n".encode()


def signature(name: str, body: bytes) -> bytes:
    """The headers of an event signed as Standard Webhooks has it."""
    return "".join(
        f"{key}: {value}\r\n" for key, value in SIGNER.sign(name, int(time.time()), body).items()
    ).encode()


def post(name: str, body: bytes) -> bytes:
    """A signed event for the receiver."""
    head = b"POST /webhooks/standard HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n" % len(body)
    return head + signature(name, body) + b"\r\n" + body
