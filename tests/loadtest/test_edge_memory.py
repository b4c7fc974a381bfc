"""Protects memory from connections that are gone: no reference cycle keeps them waiting for a collection."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable, Iterator

import pytest

from loadtest import hosting
from loadtest.asgi import Application
from loadtest.door import Door
from loadtest.limits import Limits
from loadtest.protocol import HttpProtocol
from tests.loadtest.raw import get


@pytest.fixture
def no_collection() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


async def fresh(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    pass


async def answered(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(get() * 2)
    await reader.readuntil(b"}")


async def refused(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"no http\r\n\r\n")
    await reader.read()


async def half_way(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(get()[:10])
    await asyncio.sleep(0.01)


async def too_much(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"POST /health HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n" + b"x" * 50)
    await reader.read()


@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
@pytest.mark.parametrize("visit", [fresh, answered, refused, half_way, too_much])
@pytest.mark.usefixtures("no_collection")
def test_a_connection_that_is_gone_is_gone(loop: str, visit: Callable[..., object]) -> None:
    async def run() -> int:
        door = Door(Application(), hosting.listen("127.0.0.1", 0), Limits())
        door.open()
        for _ in range(5):
            reader, writer = await asyncio.open_connection("127.0.0.1", door.port)
            await visit(reader, writer)  # type: ignore[misc]
            writer.close()
            await writer.wait_closed()
        while door.is_busy:  # noqa: ASYNC110 - the door tells nobody
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.01)
        kept = sum(isinstance(thing, HttpProtocol) for thing in gc.get_objects())
        door.close()
        return kept

    with asyncio.Runner(loop_factory=hosting.loop_factory(loop)) as runner:
        assert runner.run(run()) == 0
