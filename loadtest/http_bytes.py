"""How many bytes an HTTP/1.1 exchange took: start lines, headers and bodies, without TCP and TLS."""

from __future__ import annotations

from collections.abc import Iterable

import aiohttp


def exchange_bytes(
    response: aiohttp.ClientResponse, request_body: int, response_body: int
) -> tuple[int, int]:
    """(request bytes, response bytes) of an answered request, given the sizes of both bodies."""
    request = response.request_info
    request_line = len(f"{request.method} {request.url.raw_path_qs} HTTP/1.1\r\n")
    sent = [(name.encode(), value.encode()) for name, value in request.headers.items()]
    status_line = len(f"HTTP/1.1 {response.status} {response.reason}\r\n")
    return (
        request_line + _header_bytes(sent) + request_body,
        status_line + _header_bytes(response.raw_headers) + response_body,
    )


def _header_bytes(headers: Iterable[tuple[bytes, bytes]]) -> int:
    return sum(len(name) + len(value) + len(": \r\n") for name, value in headers) + len("\r\n")
