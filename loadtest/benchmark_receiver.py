"""How much of the server's own speed the receiver keeps: receiver and no-op app, side by side.

Both run under the same uvicorn, uvloop and httptools, in a process of their own, and take the same
requests: about 1 kB each, every event different, signed beforehand. The client writes prepared bytes on
keep-alive connections, one request outstanding on each (a POST is not to be pipelined: RFC 9112, section
9.3.2), and counts status lines; so the server is the bottleneck. The two take turns several times and the
medians are compared, because a shared machine drifts.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from loadtest import hosting
from loadtest.asgi import Application, Receive, Scope, Send, reply_no_content
from loadtest.contract import envelope, event_id, now_us
from loadtest.inbox import read_ledger
from loadtest.signatures import StandardWebhooks
from sim.errors import HookbenchError, VoidRun

AIM = 0.5
REQUESTS = 15_000
ROUNDS = 3
CONNECTIONS = 256
PAYLOAD_BYTES = 1000
PATH = "/webhooks/standard"
_ACCEPTED = b"HTTP/1.1 204 "
_PATIENCE_S = 60
SECRET = "whsec_aG9va2JlbmNoLWJlbmNobWFyay1zZWNyZXQtMDE="  # noqa: S105 - of a benchmark on loopback


@dataclass(frozen=True, slots=True)
class Comparison:
    """Median rates (requests/s) of `rounds` alternating rounds, and the loop both servers ran on."""

    receiver_per_s: float
    noop_per_s: float
    loop: str
    rounds: int

    @property
    def ratio(self) -> float:
        """The receiver's rate as a share of the no-op's."""
        return self.receiver_per_s / self.noop_per_s


class NoopApp(Application):
    """Answers 204 to every POST without looking at it."""

    role = "noop"

    def __init__(self) -> None:
        super().__init__()
        self.routes[PATH] = {"POST": self._post}

    async def _post(self, scope: Scope, receive: Receive, send: Send) -> None:
        await reply_no_content(send)


def compare(requests: int = REQUESTS, rounds: int = ROUNDS) -> Comparison:
    """Measure both, `rounds` times each in turn, `requests` requests a time.

    Raises:
        VoidRun: a server does not run on uvloop, a request was refused, or the inbox does not hold
            exactly the events that were acknowledged.
    """
    uvloop_factory = hosting.loop_factory("uvloop")
    rates: dict[str, list[float]] = {"receiver": [], "noop": []}
    with tempfile.TemporaryDirectory(prefix="hookbench-bench-") as folder:
        for number in range(rounds):
            requests_of = _signed_requests(f"bench{number}", requests)
            inbox = Path(folder) / f"inbox{number}.db"
            receiver = [
                "-m",
                "loadtest.serve",
                "receiver",
                "--inbox",
                f"sqlite:///{inbox}",
                "--queue-limit",
                "100000",
            ]
            for role, command in (
                ("noop", ["-m", "loadtest.benchmark_receiver", "noop"]),
                ("receiver", receiver),
            ):
                with _server(command) as port, asyncio.Runner(loop_factory=uvloop_factory) as runner:
                    rates[role].append(requests / runner.run(_drive(port, requests_of)))
            stored = len(read_ledger(inbox))
            if stored != requests:
                raise VoidRun(f"{requests} events were acknowledged, but the inbox holds {stored}")
    return Comparison(
        statistics.median(rates["receiver"]), statistics.median(rates["noop"]), "uvloop", rounds
    )


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
def _server(command: list[str]) -> Iterator[int]:
    """Run a server process; yields its port, and drains it at the end."""
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
        yield int(ready["port"])
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
    verdict = "meets" if result.ratio >= AIM else "misses"
    print(  # noqa: T201
        f"receiver against a no-op ASGI app ({result.loop}, {PAYLOAD_BYTES} B, median of {result.rounds})\n"
        f"  no-op     {result.noop_per_s:10,.0f} requests/s\n"
        f"  receiver  {result.receiver_per_s:10,.0f} requests/s   durable before each answer\n"
        f"  ratio     {result.ratio:10.2f}   {verdict} the aim of {AIM}"
    )
    return 0


if __name__ == "__main__":
    if sys.argv[1:] == ["noop"]:
        hosting.serve(NoopApp(), hosting.listen("127.0.0.1", 0), "uvloop", 1.0)
    else:
        sys.exit(main())
