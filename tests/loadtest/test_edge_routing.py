"""Protects routing: exact paths first, then those with parameters; what fits nothing is a 404."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from loadtest.asgi import Application, Receive, Scope, Send, reply_json


class Shop(Application):
    def __init__(self) -> None:
        super().__init__()
        self.routes |= {
            "/orders/{id}": {"GET": self._show, "DELETE": self._show},
            "/orders/{id}/items/{item}": {"GET": self._show},
            "/orders/latest": {"GET": self._latest},
        }

    async def _show(self, scope: Scope, receive: Receive, send: Send) -> None:
        await reply_json(send, 200, scope["path_params"])

    async def _latest(self, scope: Scope, receive: Receive, send: Send) -> None:
        await reply_json(send, 200, "latest")


def ask(path: str, method: str = "GET") -> tuple[int, Any, dict[bytes, bytes]]:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        raise AssertionError("nobody reads a body here")

    asyncio.run(Shop()({"type": "http", "path": path, "method": method}, receive, send))
    start, body = sent
    return start["status"], json.loads(body["body"]), dict(start["headers"])


@pytest.mark.parametrize(
    ("path", "parameters"),
    [
        ("/orders/7", {"id": "7"}),
        ("/orders/a b", {"id": "a b"}),
        ("/orders/7/items/8", {"id": "7", "item": "8"}),
        ("/orders/{id}", {"id": "{id}"}),  # a client may well ask for the template itself
    ],
)
def test_parameters_reach_the_handler(path: str, parameters: dict[str, str]) -> None:
    assert ask(path)[:2] == (200, parameters)


def test_an_exact_path_wins() -> None:
    assert ask("/orders/latest")[:2] == (200, "latest")


@pytest.mark.parametrize(
    "path", ["/orders", "/orders/", "/orders/7/", "/orders/7/items/", "/orders//items/8"]
)
def test_what_does_not_fit_is_not_found(path: str) -> None:
    assert ask(path)[0] == 404


def test_another_method_is_told_which_fit() -> None:
    status, _, headers = ask("/orders/7", "POST")
    assert (status, headers[b"allow"]) == (405, b"GET, DELETE")
