"""An application that does what the edge has to cope with, served as the reference servers are.

``python -m tests.loadtest.edge_app OPTIONS``: the options of `serve`, and a few of its own.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import sys
from typing import Any

from loadtest import hosting, logs
from loadtest.asgi import Application, Receive, Scope, Send, read_body, reply_bytes, reply_json
from loadtest.serve.edge import certificate_of, edge_options, limits_of
from loadtest.serve.options import server_options
from sim.errors import InputError


class EdgeApp(Application):
    role = "edge_app"

    def __init__(self, options: argparse.Namespace) -> None:
        super().__init__()
        self._options = options
        self.counts = dict.fromkeys(("begun", "answered", "disconnects", "stopped_waiting"), 0)
        self._quiet = asyncio.Event()
        self.routes |= {
            "/slow/{ms}": {"GET": self._slow, "POST": self._slow},
            "/wait": {"GET": self._wait},
            "/stream": {"GET": self._stream},
            "/boom": {"POST": self._boom},
            "/boom-late": {"GET": self._boom_late},
            "/large/{size}": {"GET": self._large},
        }

    async def start(self) -> None:
        if self._options.broken_start:
            raise InputError("it does not start")

    async def stop(self) -> None:
        await asyncio.sleep(self._options.stop_s)
        sys.stderr.write(f"stopped {self.counts}\n")

    def quiesce(self) -> None:
        self._quiet.set()

    def ready(self) -> str | None:
        return "told to be unready" if self._options.unready else None

    def status(self) -> dict[str, Any]:
        return self.counts

    async def _slow(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.counts["begun"] += 1
        await read_body(dict(scope["headers"]), receive, 10**6)
        await asyncio.sleep(int(scope["path_params"]["ms"]) / 1000)
        await reply_json(send, 200, {"done": True})
        self.counts["answered"] += 1

    async def _wait(self, scope: Scope, receive: Receive, send: Send) -> None:
        """A long poll that only a hang-up or the end of the server ends."""
        self.counts["begun"] += 1
        await receive()
        gone = asyncio.ensure_future(receive())
        quiet = asyncio.ensure_future(self._quiet.wait())
        await asyncio.wait((gone, quiet), return_when=asyncio.FIRST_COMPLETED)
        if gone.done():
            assert gone.result() == {"type": "http.disconnect"}
            self.counts["disconnects"] += 1
        else:
            self.counts["stopped_waiting"] += 1
            await reply_json(send, 200, [])
        gone.cancel()
        quiet.cancel()

    async def _stream(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Silent for long, then a word: an idle stream."""
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for _ in range(3):
            await asyncio.sleep(1.5)
            await send({"type": "http.response.body", "body": b"still here\n", "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    async def _boom(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = await read_body(dict(scope["headers"]), receive, 10**6)
        raise ValueError(f"what a handler might say of {body!r} and {scope['query_string']!r}")

    async def _boom_late(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"half", "more_body": True})
        raise ValueError(f"half way through {scope['query_string']!r}")

    async def _large(self, scope: Scope, receive: Receive, send: Send) -> None:
        await reply_bytes(send, 200, b"x" * int(scope["path_params"]["size"]))


def main() -> int:
    parser = argparse.ArgumentParser()
    server_options(parser, EdgeApp, drain_s=5)
    edge_options(parser)
    parser.add_argument("--unready", action="store_true")
    parser.add_argument("--broken-start", action="store_true")
    parser.add_argument("--stop-s", type=float, default=0.0)
    options = parser.parse_args()
    logs.configure(options.log_format, options.log_level)
    with contextlib.ExitStack() as ports:
        listener = ports.enter_context(
            hosting.listen(options.host, options.port, reuse_port=options.reuse_port)
        )
        admin = None
        if options.admin_port is not None:
            admin = ports.enter_context(hosting.listen("127.0.0.1", options.admin_port))
        try:
            hosting.serve(
                EdgeApp(options), listener, options.loop, options.drain_s,
                limits=limits_of(options), certificate=certificate_of(options), admin=admin,
                drain_delay_s=options.drain_delay_s,
            )  # fmt: skip
        except InputError as error:
            sys.stderr.write(f"{error}\n")
            return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
