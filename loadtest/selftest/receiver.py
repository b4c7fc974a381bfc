"""``python -m loadtest.selftest.receiver receiver``: the reference receiver, misbehaving as ordered.

It takes the options of ``serve receiver`` and a few of its own. Event i suffers by its index alone, so the
self-test knows which ones did.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import MutableMapping, Sequence
from typing import Any

from loadtest.asgi import Application, Handler, Receive, Scope, Send, cut_off, read_body, reply_no_content
from loadtest.contract import now_us
from loadtest.serve import main as serve

PATH = "/webhooks/standard"
_MAX_BODY_BYTES = 1_000_000
_SPIN_US = 3000
"""uvloop's timers count milliseconds: the last of a delay is waited for on the clock itself."""


def main(argv: Sequence[str] | None = None) -> int:
    """Serve until told to stop; returns the exit code of ``loadtest.serve``."""
    parser = argparse.ArgumentParser(prog="python -m loadtest.selftest.receiver receiver", allow_abbrev=False)
    parser.add_argument("--delays-ms", type=float, nargs="+", default=[0.0], help="event i waits the i-th, …")
    parser.add_argument("--of", type=int, default=1, help="the faults below befall every so-manieth event")
    parser.add_argument("--hang-up", type=int, help="i mod OF: stored, then the connection is cut")
    parser.add_argument("--silent", type=int, help="i mod OF: stored, but never answered")
    parser.add_argument("--forget", type=int, nargs="*", default=[], help="i: acknowledged, never stored")
    faults, rest = parser.parse_known_args(argv)

    def misbehaving(app: Application) -> Application:
        app.routes[PATH]["POST"] = _faulty(app.routes[PATH]["POST"], faults)
        return app

    return serve(rest, wrap=misbehaving)


def _faulty(handler: Handler, faults: argparse.Namespace) -> Handler:
    async def post(scope: Scope, receive: Receive, send: Send) -> None:
        arrived_us = now_us()
        headers = dict(scope["headers"])
        index = int(headers[b"webhook-id"].rpartition(b"_")[2])
        if index in faults.forget:
            await read_body(headers, receive, _MAX_BODY_BYTES)
            await reply_no_content(send)
        elif index % faults.of == faults.hang_up:
            await handler(scope, receive, _nobody)
            await cut_off(scope, receive)
        elif index % faults.of == faults.silent:
            await handler(scope, receive, _nobody)
            while (await receive())["type"] != "http.disconnect":
                pass
        else:
            delay_us = round(1000 * faults.delays_ms[index % len(faults.delays_ms)])
            await _until(arrived_us + delay_us)
            await handler(scope, receive, send)

    return post


async def _until(instant_us: int) -> None:
    left_us = instant_us - now_us() - _SPIN_US
    if left_us > 0:
        await asyncio.sleep(left_us / 1e6)
    while now_us() < instant_us:
        pass


async def _nobody(_message: MutableMapping[str, Any]) -> None:
    """Where an answer goes that the sender is not to see."""


if __name__ == "__main__":
    sys.exit(main())
