"""A client that sends any bytes and hears the whole answer, and servers whose logs are read all the while."""

from __future__ import annotations

import asyncio
import contextlib
import re
import signal
import threading
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from tests.loadtest.servers import Server


class Talk(NamedTuple):
    """What to say on one connection.

    Attributes:
        data: all of it. pieces: how many writes it takes.
        hang_up: close at once, without waiting for an answer.
    """

    data: bytes
    pieces: int = 1
    hang_up: bool = False


class Heard(NamedTuple):
    """What a server said on one connection: its status codes in order, and all its bytes."""

    statuses: tuple[int, ...]
    data: bytes


QUIET_S = 0.15
"""A server that says nothing for so long waits for more; then we say that there is none."""


async def converse(port: int, talk: Talk, within_s: float = 20.0) -> Heard:
    """Say it all, hear it all, and see the server hang up.

    Raises:
        TimeoutError: it did not, even after it was told that nothing more will come.
    """
    async with asyncio.timeout(within_s):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        heard = bytearray()
        try:
            listening = asyncio.create_task(_listen(reader, heard))
            with contextlib.suppress(OSError):  # it may have heard enough before we were done
                size = max(1, -(-len(talk.data) // talk.pieces))
                for at in range(0, len(talk.data), size):
                    writer.write(talk.data[at : at + size])
                    await writer.drain()
                known = -1
                while not talk.hang_up and len(heard) > known and not listening.done():
                    known = len(heard)
                    await asyncio.wait((listening,), timeout=QUIET_S)
                writer.write_eof()
            await listening
        finally:
            listening.cancel()
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()
    return Heard(tuple(statuses(bytes(heard))), bytes(heard))


async def _listen(reader: asyncio.StreamReader, heard: bytearray) -> None:
    with contextlib.suppress(ConnectionError):
        while piece := await reader.read(65536):
            heard += piece


async def converse_all(port: int, talks: Iterable[Talk], at_once: int = 64) -> list[Heard]:
    """Many conversations, some at once; what was heard in the order of `talks`."""
    gate = asyncio.Semaphore(at_once)

    async def one(talk: Talk) -> Heard:
        async with gate:
            try:
                return await converse(port, talk)
            except (TimeoutError, AssertionError) as error:
                error.add_note(f"after {talk.data[:500]!r}")
                raise

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(one(talk)) for talk in talks]
    return [task.result() for task in tasks]


def statuses(data: bytes) -> Iterator[int]:
    """The status codes of the responses in `data`, walked by their framing.

    A response to HEAD announces a body that does not come: ours never begin with HTTP/1.
    """
    while data:
        head = re.match(rb"HTTP/1\.[01] ([0-9]{3})[ -~]*\r\n((?:[^\r\n]+\r\n)*)\r\n", data)
        assert head is not None, f"not a response: {data[:200]!r}"
        yield int(head[1])
        data = data[head.end() :]
        length = re.search(rb"(?im)^content-length: *([0-9]+)\r$", head[2])
        if data.startswith(b"HTTP/1."):
            continue
        if length is not None:
            data = data[int(length[1]) :]
        elif re.search(rb"(?im)^transfer-encoding: *chunked\r$", head[2]):
            _, end, data = data.partition(b"0\r\n\r\n")
            assert end or b"text/event-stream" in head[2], "a chunked response without an end"


class Watched(Server):
    """A server whose log is read all the while (a full pipe would stop it) and must not tell of a failure."""

    def __init__(self, *arguments: str) -> None:
        super().__init__(*arguments)
        self.log: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.log.append(line)

    def failures(self) -> list[str]:
        """What the log tells of unhandled exceptions since the last time, from the first on."""
        told, self.log = self.log, []
        for number, line in enumerate(told):
            if re.search(r"Traceback|Exception|ERROR|CRITICAL", line):
                return told[number : number + 40]
        return []

    def end(self) -> None:
        """Stop it, and insist on a clean end."""
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(timeout=20)
        self._reader.join(timeout=5)
        assert (code, self.failures()) == (0, [])


@contextlib.contextmanager
def watched(*arguments: str) -> Iterator[Watched]:
    server = Watched(*arguments)
    try:
        yield server
        server.end()
    finally:
        if server.process.poll() is None:
            server.process.kill()
            server.process.wait(timeout=20)
        server._reader.join(timeout=5)
        for stream in (server.process.stdout, server.process.stderr):
            assert stream is not None
            stream.close()
