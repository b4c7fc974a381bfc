"""Real server processes for the tests: started on a free port, spoken to over raw HTTP, always stopped."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from loadtest.contract import envelope, event_id, now_us
from loadtest.signatures import StandardWebhooks

ROOT = Path(__file__).parents[2]
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
SIGNER = StandardWebhooks([SECRET])


class Answer(NamedTuple):
    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


class Server:
    """A server process that has said it is ready."""

    def __init__(self, *arguments: str, secret: str = SECRET, module: str = "loadtest.serve") -> None:
        self.process = start(*arguments, secret=secret, module=module)
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, f"not ready: {self.process.communicate(timeout=10)[1]}"
        self.ready = json.loads(line)
        self.port = self.ready["port"]
        self.url = f"http://127.0.0.1:{self.port}"

    def request(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request(method, path, body, dict(headers or {}))
            response = connection.getresponse()
            return Answer(response.status, dict(response.headers), response.read())
        finally:
            connection.close()

    def status(self) -> Any:
        return self.request("GET", "/status").json()

    def post_event(self, body: bytes, message_id: str) -> Answer:
        return self.request(
            "POST", "/webhooks/standard", body, SIGNER.sign(message_id, int(time.time()), body)
        )

    def stop(self, number: int = signal.SIGTERM) -> tuple[int, str, str]:
        """Signal it and wait: the exit code and what was still said on standard output and error."""
        self.process.send_signal(number)
        out, err = self.process.communicate(timeout=20)
        return self.process.returncode, out, err


def start(*arguments: str, secret: str = SECRET, module: str = "loadtest.serve") -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", module, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**os.environ, "HOOKBENCH_WEBHOOK_SECRET": secret},
    )


def refused(*arguments: str, secret: str = SECRET) -> str:
    """Start a server that must refuse to: exit 2, one line on standard error, which is returned."""
    process = start(*arguments, secret=secret)
    out, err = process.communicate(timeout=20)
    assert (process.returncode, out) == (2, ""), err
    assert len(err.splitlines()) == 1, err
    return err


@contextmanager
def running(*arguments: str, secret: str = SECRET, module: str = "loadtest.serve") -> Iterator[Server]:
    server = Server(*arguments, secret=secret, module=module)
    try:
        yield server
    finally:
        if server.process.poll() is None:
            server.process.kill()
        server.process.communicate(timeout=20)


def event(run_id: str, index: int, payload_bytes: int = 300) -> tuple[str, bytes]:
    """An event's id and bytes."""
    return event_id(run_id, index), envelope(run_id, index, now_us(), payload_bytes)


def eventually(condition: Callable[[], bool], within_s: float = 10.0) -> None:
    give_up = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < give_up, "it did not happen in time"
        time.sleep(0.02)
