"""Requests as the bytes that a FastHttpUser would send, made before they are due.

`FastHttpSession.request` writes a request's head, splits its URL and looks for cookies while the clock runs.
All of that is known beforehand; when a request is due its bytes only have to leave.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

from geventhttpclient.client import HTTPClient
from geventhttpclient.header import Headers
from geventhttpclient.url import URL
from locust.contrib.fasthttp import FastHttpSession


class Prepared(NamedTuple):
    """A request as an arm makes it."""

    method: str
    path: str
    body: bytes | None
    headers: dict[str, str]


Builder = Callable[[int, int], Prepared]
"""From a request's index and its intended time (µs on the run's clock) to the request."""


class Outgoing(NamedTuple):
    """A request ready to leave: its method and its URL, for Locust, and all of its bytes."""

    method: str
    url: str
    content: bytes


def client_of(session: FastHttpSession) -> HTTPClient:
    """What a session's connections are made by."""
    client: HTTPClient = session.client.clientpool.get_client(URL(session.base_url or ""))
    return client


class Wire:
    """How the requests of one Locust session look.

    Args:
        session: any user's: all have one host.
    """

    def __init__(self, session: FastHttpSession) -> None:
        base_url = session.base_url or ""
        self._client = client_of(session)
        # What `FastHttpSession.request` and `UserAgent.urlopen` put before an arm's own.
        self._headers = Headers(session.client.default_headers)
        self._headers["Accept-Encoding"] = "gzip, deflate, br"
        if session.auth_header:
            self._headers["Authorization"] = session.auth_header

        @lru_cache(maxsize=4096)
        def located(path: str) -> tuple[str, str]:
            url = base_url + path
            return url, URL(url).quoted_uri

        self._located = located

    def outgoing(self, request: Prepared) -> Outgoing:
        """The request as bytes; geventhttpclient refuses a head that HTTP does not allow (ValueError)."""
        url, target = self._located(request.path)
        headers = self._headers.copy()
        headers.update(request.headers)
        body = request.body or b""
        head = self._client._build_request(request.method, target, body=body, headers=headers)
        return Outgoing(request.method, url, head.encode("latin-1") + body)
