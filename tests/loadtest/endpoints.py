"""Webhook endpoints for the tests: real servers on a loop in a thread, which answer byte by byte as told."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple


class Got(NamedTuple):
    """A request as it came: when (monotonic s), on which of the server's connections, and what."""

    at_s: float
    connection: int
    start: str
    headers: dict[str, str]
    body: bytes

    @property
    def event_id(self) -> str:
        return self.headers["webhook-id"]


Behaviour = Callable[[int, Got], "bytes | tuple[bytes, float] | None"]
"""The answer to the n-th request (from 0), at once or after so many seconds; None never answers."""

STALL = b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n12345"
"""Half an answer; the connection stays open."""


def answer(status: int, *headers: str, body: bytes = b"") -> bytes:
    head = [f"HTTP/1.1 {status} X", *headers, f"content-length: {len(body)}"]
    return "\r\n".join(head).encode() + b"\r\n\r\n" + body


def always(reply: bytes | None) -> Behaviour:
    return lambda number, got: reply


def script(*replies: bytes | tuple[bytes, float] | None) -> Behaviour:
    """These, then 204."""
    return lambda number, got: replies[number] if number < len(replies) else answer(204)


class Endpoint:
    """A server; `got` grows with each request, `accepted` with each connection, `written` with each byte."""

    def __init__(self, behaviour: Behaviour) -> None:
        self.behaviour = behaviour
        self.got: list[Got] = []
        self.accepted = 0
        self.written = 0
        self.port = 0
        self.scheme = "http"

    @property
    def url(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.port}/hook"

    @property
    def event_ids(self) -> list[str]:
        return [got.event_id for got in self.got]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        try:
            with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError, ssl.SSLError):
                await self._answer_all(self.accepted, reader, writer)
        finally:
            writer.transport.abort()

    async def _answer_all(
        self, connection: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            start, *lines = head.removesuffix("\r\n\r\n").split("\r\n")
            headers = {name.lower(): value.strip() for name, _, value in (x.partition(":") for x in lines)}
            body = await reader.readexactly(int(headers.get("content-length", "0")))
            number, got = len(self.got), Got(time.monotonic(), connection, start, headers, body)
            self.got.append(got)
            reply = self.behaviour(number, got)
            if reply is None:
                await reader.read()  # until the sender hangs up
                break
            if isinstance(reply, tuple):
                await asyncio.sleep(reply[1])
                reply = reply[0]
            for offset in range(0, len(reply), 8192):
                writer.write(reply[offset : offset + 8192])
                await writer.drain()
                self.written += len(reply[offset : offset + 8192])


@contextmanager
def endpoints(
    *behaviours: Behaviour, tls: ssl.SSLContext | None = None, host: str = "127.0.0.1"
) -> Iterator[list[Endpoint]]:
    """One endpoint for each behaviour."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    served = [Endpoint(behaviour) for behaviour in behaviours]

    async def start() -> list[asyncio.Server]:
        servers = []
        for endpoint in served:
            server = await asyncio.start_server(endpoint.serve, host, 0, ssl=tls)
            endpoint.port = server.sockets[0].getsockname()[1]
            endpoint.scheme = "http" if tls is None else "https"
            servers.append(server)
        return servers

    async def stop() -> None:
        for server in servers:
            server.close()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        await asyncio.sleep(0.01)  # for the transports to close

    servers = asyncio.run_coroutine_threadsafe(start(), loop).result(10)
    try:
        yield served
    finally:
        asyncio.run_coroutine_threadsafe(stop(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
