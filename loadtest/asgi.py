"""The few ASGI pieces all reference servers share: replies, bodies with a limit, lifespan, routing.

No framework: one would cost more than the servers' own work (ASGI specification 3.0, HTTP connection scope).
"""

from __future__ import annotations

import logging
import os
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any

from loadtest import logs
from loadtest.contract import compact_json
from sim.errors import HookbenchError

log = logging.getLogger("hookbench.asgi")

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Headers = Mapping[bytes, bytes]
"""Request headers with lower-case names; of a repeated header the last."""

Handler = Callable[[Scope, Receive, Send], Awaitable[None]]

_END = {"type": "http.response.body", "body": b""}
_NO_CONTENT = {"type": "http.response.start", "status": 204, "headers": []}


class BodyTooLarge(HookbenchError):
    """A request body above the limit; the message states the limit. Servers answer 413."""


class ClientGone(HookbenchError):
    """The client hung up before its request was complete; there is nobody to answer."""


class Application:
    """Routes by method and path, and lets the server start and stop what is behind it.

    Subclasses fill `routes` and may override `start`, `stop`, `quiesce`, `ready` and `status`. A path
    of `routes` may hold parameters, each a whole segment, as in ``/subscriptions/{id}/rotate``: a handler
    finds their values, percent-decoded and never empty, in ``scope["path_params"]``. Exact paths win, then
    the first that fits.

    Attributes:
        refused: requests refused, by reason; the server logs what grows.
        handler_errors: requests that ended in an exception of ours (500).
        draining: a stop was asked for: what is in progress is answered, nothing new begins.
        edge_status: counts of the server around the application, set by it.
    """

    role = "server"

    def __init__(self) -> None:
        self.loop_name = "unknown"
        self.failure: str | None = None
        self.shut_down: Callable[[], None] = lambda: None
        self.draining = False
        self.refused: dict[str, int] = {}
        self.handler_errors = 0
        self.edge_status: Callable[[], dict[str, Any]] = dict
        self.routes: dict[str, dict[str, Handler]] = {
            "/health": {"GET": self._health},
            "/ready": {"GET": self._ready},
            "/status": {"GET": self._status},
        }

    async def start(self) -> None:
        """Called once on the event loop, before the first request."""

    def quiesce(self) -> None:
        """Called once when the process is to end: let no request in progress wait any longer."""

    async def stop(self) -> None:
        """Called once after the last request was answered."""

    def ready(self) -> str | None:
        """Why new requests had better go elsewhere, in a few words; None when they are welcome."""
        return None

    def fail(self, reason: str) -> None:
        """End the process: drain, say `reason` in one line, and exit with an error."""
        self.failure = reason
        self.shut_down()

    def status(self) -> dict[str, Any]:
        """Counts shown at /status."""
        return {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The ASGI entry point."""
        if scope["type"] != "http":
            await self._lifespan(receive, send)
            return
        methods = self.routes.get(scope["path"])
        if methods is None or "{" in scope["path"]:  # a client may ask for the pattern itself
            methods = self._pattern_of(scope)
        if methods is None:
            await reply_error(send, 404, f"there is nothing at {scope['path']}")
            return
        handler = methods.get(scope["method"])
        if handler is None:
            allowed = ", ".join(methods)
            await reply_error(send, 405, f"{scope['path']} takes {allowed}", (b"allow", allowed.encode()))
            return
        try:
            await handler(scope, receive, send)
        except BodyTooLarge as error:
            # The rest of the body is still coming: it is cheaper to hang up than to read it.
            await reply_error(send, 413, str(error), (b"connection", b"close"))
        except ClientGone:
            log.debug("a client hung up before its request was complete")
        except Exception as error:
            # The message may quote what the client sent, so it is neither logged nor answered.
            self.handler_errors += 1
            logs.event(log, logging.ERROR, "a handler failed", **logs.whereabouts(error))
            await reply_error(send, 500, "internal error", (b"connection", b"close"))

    def _pattern_of(self, scope: Scope) -> dict[str, Handler] | None:
        """The methods of the first path with parameters that fits; their values go into the scope."""
        segments = scope["path"].split("/")
        for template, methods in self.routes.items():
            if "{" in template:
                parameters = path_parameters(template, segments)
                if parameters is not None:
                    scope["path_params"] = parameters
                    return methods
        return None

    async def _health(self, scope: Scope, receive: Receive, send: Send) -> None:
        await reply_json(send, 200, {"ok": True})

    async def _ready(self, scope: Scope, receive: Receive, send: Send) -> None:
        reason = "draining" if self.draining else self.ready()
        if reason is None:
            await reply_json(send, 200, {"ready": True})
        else:
            await reply_json(send, 503, {"ready": False, "reason": reason}, (b"retry-after", b"1"))

    async def _status(self, scope: Scope, receive: Receive, send: Send) -> None:
        head = {"role": self.role, "pid": os.getpid(), "loop": self.loop_name}
        tail = {"handler_errors": self.handler_errors} | self.edge_status()
        await reply_json(send, 200, head | self.status() | tail)

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        await receive()
        await self.start()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await self.stop()
        await send({"type": "lifespan.shutdown.complete"})


def path_parameters(template: str, segments: list[str]) -> dict[str, str] | None:
    """The parameters' values where a path, split at its slashes, fits `template`; else None."""
    parts = template.split("/")
    if len(parts) != len(segments):
        return None
    values = {}
    for part, segment in zip(parts, segments, strict=True):
        if part.startswith("{") and part.endswith("}"):
            if not segment:
                return None
            values[part[1:-1]] = segment
        elif part != segment:
            return None
    return values


def target_of(scope: Scope) -> bytes:
    """Path and query of a request as it was sent, percent-encoded."""
    path: bytes = scope["raw_path"]
    query: bytes = scope["query_string"]
    return path + b"?" + query if query else path


async def cut_off(scope: Scope, receive: Receive) -> None:
    """Close a client's connection at once, without waiting until it has taken what it was sent.

    Its request must have been read. A connection that is closed already has nothing left to abort.
    """
    if "hookbench.connection" in scope["extensions"]:
        scope["extensions"]["hookbench.connection"]["abort"]()
    while (await receive())["type"] != "http.disconnect":  # else the server would miss the answer's end
        pass


async def read_body(headers: Headers, receive: Receive, limit: int) -> bytes:
    """The whole request body.

    Raises:
        BodyTooLarge: as soon as it is known to exceed `limit` bytes; no more than that is kept.
        ClientGone: the client hung up first.
    """
    announced = headers.get(b"content-length")
    if announced is not None and int(announced) > limit:  # the HTTP parser lets only digits through
        raise BodyTooLarge(f"the body has {int(announced)} bytes; at most {limit} are taken")
    message = await receive()
    if message["type"] == "http.disconnect":
        raise ClientGone
    body: bytes = message.get("body", b"")
    if message.get("more_body", False) or len(body) > limit:
        body = await _read_on(bytearray(body), receive, limit)
    return body


async def _read_on(body: bytearray, receive: Receive, limit: int) -> bytes:
    more = True
    while more and len(body) <= limit:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        body += message.get("body", b"")
        more = message.get("more_body", False)
    if len(body) > limit:
        raise BodyTooLarge(f"the body has more than {limit} bytes")
    return bytes(body)


async def reply_no_content(send: Send) -> None:
    """204: done, and nothing to add."""
    await send(_NO_CONTENT)
    await send(_END)


async def reply_json(send: Send, status: int, document: object, *headers: tuple[bytes, bytes]) -> int:
    """Answer with a JSON document; returns the size of the body."""
    body = compact_json(document)
    await reply_bytes(send, status, body, (b"content-type", b"application/json"), *headers)
    return len(body)


async def reply_bytes(send: Send, status: int, body: bytes, *headers: tuple[bytes, bytes]) -> None:
    """Answer with a body that is ready."""
    length = (b"content-length", str(len(body)).encode())
    await send({"type": "http.response.start", "status": status, "headers": [length, *headers]})
    await send({"type": "http.response.body", "body": body})


async def reply_error(send: Send, status: int, message: str, *headers: tuple[bytes, bytes]) -> None:
    """Answer ``{"error": message}``."""
    await reply_json(send, status, {"error": message}, *headers)
