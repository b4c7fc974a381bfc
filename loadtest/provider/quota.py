"""The rate limit of the events API: fixed windows, counted per client when a request arrives.

Windows are aligned at 0 of the monotonic clock, for all clients alike, so that counts of a former window can
be dropped at once and memory is bounded by the clients of one window. A refused request uses up nothing.

Who is who: the credentials a request carries in Authorization, or else its address. Nobody checks these
credentials here; in front of a public API something must, or a client that changes them at each request is
never refused.

Sources: RFC 6585, section 4 (429); IETF draft-ietf-httpapi-ratelimit-headers-10 (RateLimit and
RateLimit-Policy); GitHub REST API, "Rate limits for the REST API" (x-ratelimit-limit, x-ratelimit-remaining,
x-ratelimit-reset in Unix seconds).
"""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable
from dataclasses import dataclass

from loadtest.asgi import Headers, Scope
from loadtest.contract import now_us
from loadtest.provider.api_policy import RateLimit

MOST_CLIENTS = 100_000
"""Clients of one window that are told apart; any beyond them count as one."""

_EVERYBODY_ELSE = b""


@dataclass(frozen=True, slots=True)
class Quota:
    """What a client has left: `remaining` requests until the window ends, in `left_s` seconds."""

    limit: RateLimit
    exceeded: bool
    remaining: int
    left_s: float

    @property
    def retry_after_s(self) -> int:
        """Seconds until the window has ended, rounded up: Retry-After takes whole ones only."""
        return max(1, math.ceil(self.left_s))

    def headers(self) -> list[tuple[bytes, bytes]]:
        """What every answer of a limited API says."""
        limit = self.limit.requests
        # The draft's window is in whole seconds.
        policy = b'"default";q=%d;w=%d' % (limit, max(1, round(self.limit.per_s)))
        headers = [
            (b"ratelimit-policy", policy),
            (b"ratelimit", b'"default";r=%d;t=%d' % (self.remaining, self.retry_after_s)),
            (b"x-ratelimit-limit", b"%d" % limit),
            (b"x-ratelimit-remaining", b"%d" % self.remaining),
            (b"x-ratelimit-reset", b"%d" % math.ceil(time.time() + self.left_s)),
        ]
        if self.exceeded:
            headers.append((b"retry-after", b"%d" % self.retry_after_s))
        return headers


class RateLimiter:
    """Counts requests.

    Args:
        limit: what is allowed.
        clock: microseconds that never go back.
    """

    def __init__(self, limit: RateLimit, clock: Callable[[], int] = now_us) -> None:
        self._limit = limit
        self._clock = clock
        self._window_us = max(1, round(limit.per_s * 1e6))
        self._window = -1
        self._used: dict[bytes, int] = {}

    def arrives(self, client: bytes, *, free: bool = False) -> Quota:
        """Count a request, unless it is `free`, and say how its client stands."""
        instant_us = self._clock()
        window = instant_us // self._window_us
        if window != self._window:
            self._window, self._used = window, {}
        if client not in self._used and len(self._used) >= MOST_CLIENTS:
            client = _EVERYBODY_ELSE
        used = self._used.get(client, 0)
        exceeded = used >= self._limit.requests and not free
        if not exceeded and not free:
            used += 1
            self._used[client] = used
        left_s = ((window + 1) * self._window_us - instant_us) / 1e6
        return Quota(self._limit, exceeded, self._limit.requests - used, left_s)


def client_of(scope: Scope, headers: Headers) -> bytes:
    """Whose request this is: a digest of its credentials, which are not kept, or its address."""
    credentials = headers.get(b"authorization")
    if credentials is not None:
        return hashlib.sha256(credentials).digest()
    address = scope.get("client")
    return b"" if address is None else str(address[0]).encode()
