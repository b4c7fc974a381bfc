"""How much of the server's own speed the receiver keeps, and how it stands beside the usual way to write one.

Three servers take turns: a no-op (`loadtest.benchmark_noop`), the reference receiver, and FastAPI with one
commit a request (`loadtest.benchmark_common`). All run under the same uvicorn, uvloop and httptools, in a
process of their own, and take the same requests: about 1 kB each, every event different, signed beforehand.
The client writes prepared bytes on keep-alive connections, one request outstanding on each (a POST is not
to be pipelined: RFC 9112, section 9.3.2), and counts status lines; so the server is the bottleneck. They take
turns several times and the medians are compared, because a shared machine drifts.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, cast

import psutil

from loadtest import hosting
from loadtest.benchmark_noop import PATH
from loadtest.contract import envelope, event_id, now_us
from loadtest.signatures import StandardWebhooks
from sim.errors import HookbenchError, VoidRun

NOOP_AIM = 0.5
COMMON_AIM = 3.0
_SERVERS = {
    "no-op": "answers 204 without looking",
    "receiver": "verified, parsed and durable before each answer",
    "common": "FastAPI, standardwebhooks, one commit a request",
}
REQUESTS = 15_000
ROUNDS = 5
CONNECTIONS = 256
PAYLOAD_BYTES = 1000
_ACCEPTED = b"HTTP/1.1 204 "
_PATIENCE_S = 60
SECRET = "whsec_aG9va2JlbmNoLWJlbmNobWFyay1zZWNyZXQtMDE="  # noqa: S105 - of a benchmark on loopback


class Round(NamedTuple):
    """One server's turn: requests a second, and its CPU time a request (µs, all threads, user and system)."""

    rate_per_s: float
    cpu_us: float


@dataclass(frozen=True, slots=True)
class Comparison:
    """Every server's rounds, in the order in which they were run, and the loop all ran on."""

    rounds: Mapping[str, Sequence[Round]]
    loop: str

    def median(self, server: str) -> Round:
        """The median rate and CPU time of one server."""
        rounds = self.rounds[server]
        return Round(*(statistics.median(values) for values in zip(*rounds, strict=True)))

    def ratio(self, other: str) -> float:
        """The receiver's rate as a multiple of another's, the median over rounds of the same turn."""
        pairs = zip(self.rounds["receiver"], self.rounds[other], strict=True)
        return statistics.median(ours.rate_per_s / theirs.rate_per_s for ours, theirs in pairs)


def compare(requests: int = REQUESTS, rounds: int = ROUNDS) -> Comparison:
    """Measure each server, `rounds` times in turn, `requests` requests a time.

    Raises:
        VoidRun: a server does not run on uvloop, a request was refused, or an inbox does not hold
            exactly the events that were acknowledged.
    """
    uvloop_factory = hosting.loop_factory("uvloop")
    measured: dict[str, list[Round]] = {"no-op": [], "receiver": [], "common": []}
    with tempfile.TemporaryDirectory(prefix="hookbench-bench-") as name:
        folder = Path(name)
        for number in range(rounds):
            prepared = _signed_requests(f"bench{number}", requests)
            ours, common = folder / f"ours{number}.db", folder / f"common{number}.db"
            commands = {
                "no-op": ["-m", "loadtest.benchmark_noop"],
                "receiver": [
                    *("-m", "loadtest.serve", "receiver"),
                    *("--inbox", f"sqlite:///{ours}", "--queue-limit", "100000"),
                ],
                "common": ["-m", "loadtest.benchmark_common", str(common)],
            }
            for server, command in commands.items():
                with (
                    _server(command) as (port, process),
                    asyncio.Runner(loop_factory=uvloop_factory) as runner,
                ):
                    before_s = _cpu_s(process)
                    seconds = runner.run(_drive(port, prepared))
                    cpu_us = (_cpu_s(process) - before_s) / requests * 1e6
                    measured[server].append(Round(requests / seconds, cpu_us))
            for inbox in (ours, common):
                with contextlib.closing(sqlite3.connect(inbox)) as database:
                    (stored,) = database.execute("SELECT count(*) FROM inbox").fetchone()
                if stored != requests:
                    raise VoidRun(f"{requests} events were acknowledged, but {inbox.name} holds {stored}")
    return Comparison(measured, "uvloop")


def _cpu_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def _signed_requests(run_id: str, count: int) -> list[list[bytes]]:
    """For each connection, its requests; every event once."""
    scheme = StandardWebhooks([SECRET])
    created_us, timestamp_s = now_us(), int(time.time())
    requests = []
    for index in range(count):
        body = envelope(run_id, index, created_us, PAYLOAD_BYTES)
        head = "".join(
            f"{name}: {value}\r\n"
            for name, value in scheme.sign(event_id(run_id, index), timestamp_s, body).items()
        )
        requests.append(
            f"POST {PATH} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n"
            f"content-length: {len(body)}\r\n{head}\r\n".encode()
            + body
        )
    return [requests[first::CONNECTIONS] for first in range(CONNECTIONS)]


async def _drive(port: int, connections: list[list[bytes]]) -> float:
    """Send every request, the next on a connection when the one before is answered; returns seconds."""
    if hosting.running_loop_name() != "uvloop":
        raise VoidRun("the client does not run on uvloop")
    loop = asyncio.get_running_loop()
    clients: list[_Client] = []
    try:
        for requests in connections:
            clients.append(_Client(requests))
            await loop.create_connection(lambda: clients[-1], "127.0.0.1", port)
        start = time.perf_counter()
        for client in clients:
            client.send()
        await asyncio.wait_for(asyncio.gather(*(client.done for client in clients)), _PATIENCE_S)
        return time.perf_counter() - start
    except TimeoutError:
        raise VoidRun(f"not every request was answered within {_PATIENCE_S} s") from None
    finally:
        for client in clients:
            client.close()
        await asyncio.sleep(0)  # closing takes the loop one more turn


class _Client(asyncio.Protocol):
    """One connection that keeps one request outstanding."""

    def __init__(self, requests: list[bytes]) -> None:
        self._requests = iter(requests)
        self._answer = b""
        self._transport: asyncio.Transport | None = None
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is one in all but ancestry

    def send(self) -> None:
        request = next(self._requests, None)
        if request is None:
            self.done.set_result(None)
        elif self._transport is not None:
            self._transport.write(request)

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def data_received(self, data: bytes) -> None:
        self._answer += data
        if not self._answer.startswith(_ACCEPTED[: len(self._answer)]):
            self._fail(f"a request was not accepted: {self._answer[:300]!r}")
        elif self._answer.endswith(b"\r\n\r\n"):
            self._answer = b""
            self.send()

    def connection_lost(self, exc: Exception | None) -> None:
        self._fail("the server closed a connection")

    def _fail(self, reason: str) -> None:
        if not self.done.done():
            self.done.set_exception(VoidRun(reason))


@contextlib.contextmanager
def _server(command: list[str]) -> Iterator[tuple[int, psutil.Process]]:
    """Run a server process; yields its port and itself, and drains it at the end."""
    environment = {**os.environ, "HOOKBENCH_WEBHOOK_SECRET": SECRET}
    process = subprocess.Popen([sys.executable, *command], stdout=subprocess.PIPE, env=environment)
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        if not line:
            raise VoidRun(f"the server ended with exit code {process.wait()} before it was ready")
        ready = json.loads(line)
        if ready["loop"] != "uvloop":
            raise VoidRun(f"the {ready['role']} runs on {ready['loop']}, not on uvloop")
        yield int(ready["port"]), psutil.Process(process.pid)
    finally:
        process.terminate()
        process.wait(30)
        process.stdout.close()


def main() -> int:
    """Print the comparison; exit code 0, or 3 when it is void."""
    try:
        result = compare()
    except HookbenchError as error:
        print(f"receiver benchmark void: {error}", file=sys.stderr)  # noqa: T201
        return error.exit_code
    print(  # noqa: T201
        f"webhook receivers ({result.loop}, {PAYLOAD_BYTES} B, {CONNECTIONS} connections, "
        f"median of {len(result.rounds['receiver'])} rounds)"
    )
    for server, what in _SERVERS.items():
        rate_per_s, cpu_us = result.median(server)
        print(f"  {server:9} {rate_per_s:8,.0f} requests/s  {cpu_us:5.0f} µs CPU a request   {what}")  # noqa: T201
    for other, aim in (("no-op", NOOP_AIM), ("common", COMMON_AIM)):
        ratio = result.ratio(other)
        verdict = "meets" if ratio >= aim else "misses"
        print(f"  receiver / {other:8} {ratio:6.2f}   {verdict} the aim of {aim:g}")  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main())
