"""What the reference servers publish about themselves: OpenAPI 3.1 at ``GET /openapi.json``.

The documents are written by hand, as data, in `receiver` and `provider`; `parts` holds what both say.
A server publishes the paths it really serves: without a provider's secret, for one, it has no route for it.
Source: OpenAPI Specification 3.1.0.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from loadtest.asgi import Handler, Receive, Scope, Send, reply_bytes
from loadtest.contract import compact_json
from loadtest.openapi.parts import Document
from loadtest.openapi.provider import PROVIDER
from loadtest.openapi.receiver import RECEIVER

__all__ = ["PROVIDER", "RECEIVER", "published", "served"]

_JSON = (b"content-type", b"application/json")


def served(document: Document, routes: Mapping[str, Mapping[str, Handler]]) -> Document:
    """`document` with only the paths and methods that `routes` has."""
    paths: dict[str, Any] = {}
    for path, item in document["paths"].items():
        methods = routes.get(path, {})
        operations = {method: says for method, says in item.items() if method.upper() in methods}
        if operations:
            paths[path] = operations
    return {**document, "paths": paths}


def published(
    document: Document, routes: Mapping[str, Mapping[str, Handler]]
) -> dict[str, dict[str, Handler]]:
    """The route that serves what `document` says of `routes`, itself included."""
    body = b""

    async def get(scope: Scope, receive: Receive, send: Send) -> None:
        nonlocal body
        body = body or compact_json(served(document, {**routes, **route}))
        await reply_bytes(send, 200, body, _JSON)

    route: dict[str, dict[str, Handler]] = {"/openapi.json": {"GET": get}}
    return route
