"""One signed request to one endpoint: over connections that are kept, within its time, its answer bounded.

An attempt succeeds on 2xx, when its answer has come whole or has filled `MAX_ANSWER_BYTES`, and its time is
not over. A redirect is a failure (Standard Webhooks specification, "Deliverability and reliability") unless
the policy follows some, and then only 307 and 308, which keep method and body: after 301, 302 and 303 clients
may or must go on with a GET (RFC 9110, sections 15.4.2 to 15.4.4), which would bring nothing and look like
success. A redirect never leads from https to http.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

import aiohttp
from yarl import URL

from loadtest.http_bytes import exchange_bytes
from loadtest.provider.outbound import AddressForbidden, CheckedResolver, Outbound
from loadtest.provider.policy import WebhookPolicy
from loadtest.retry import retry_after_s
from sim.errors import InputError

MAX_ANSWER_BYTES = 16 * 1024
_KEPT_METHOD = (307, 308)
GONE = 410


@dataclass(slots=True)
class Counts:
    """What was done for an endpoint; only ever growing.

    `deliveries` begun; `dispatched` attempts; of those `timeouts`, `connection_errors` (no HTTP answer),
    `forbidden` (the address is not allowed, so nothing was sent there) and `refusals` (answers other than
    2xx); `unsent` attempts due while the endpoint was disabled; `dead_letters`; `redeliveries`, by a look or
    by the owner; `dropped` deliveries (full queue, deleted subscription); `redirects` followed; bytes of
    answered requests, headers and bodies; connections opened, and requests over one that was open already.
    """

    deliveries: int = 0
    dispatched: int = 0
    timeouts: int = 0
    connection_errors: int = 0
    forbidden: int = 0
    refusals: int = 0
    unsent: int = 0
    dead_letters: int = 0
    redeliveries: int = 0
    dropped: int = 0
    redirects: int = 0
    request_bytes: int = 0
    response_bytes: int = 0
    connections_opened: int = 0
    connections_reused: int = 0

    def __iadd__(self, other: Counts) -> Counts:
        for field in fields(self):
            setattr(self, field.name, getattr(self, field.name) + getattr(other, field.name))
        return self

    @property
    def requests_per_connection(self) -> float:
        """How many requests a connection has carried on average; 0 before the first."""
        requests = self.connections_opened + self.connections_reused
        return requests / self.connections_opened if self.connections_opened else 0.0


class Answer(NamedTuple):
    """How an attempt ended: `kind` is "ok", "timeout", "connection", "forbidden" or "status".

    `retry_after_s` is the delay that a status asked for; `words` are for people.
    """

    kind: str
    words: str
    status: int = 0
    retry_after_s: float = 0.0


class Sender:
    """The client session of all endpoints; to be made on the event loop.

    Args:
        outbound: where requests may go.
        tls: what https:// endpoints are verified by.
    """

    def __init__(self, outbound: Outbound, tls: ssl.SSLContext) -> None:
        self._outbound = outbound
        self._resolver = CheckedResolver(outbound)
        trace = aiohttp.TraceConfig()
        trace.on_connection_create_end.append(_count_opened)
        trace.on_connection_reuseconn.append(_count_reused)
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=0,
                keepalive_timeout=60,
                resolver=self._resolver,
                socket_factory=outbound.socket,
                ssl=tls,
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            trust_env=False,
            trace_configs=[trace],
            # One clock for all hops, in `post`. (aiohttp would also round it up to a whole second.)
            timeout=aiohttp.ClientTimeout(total=None),
        )

    async def close(self) -> None:
        """Close every connection."""
        await self._session.close()
        await self._resolver.close()

    async def post(
        self, url: URL, body: bytes, headers: Mapping[str, str], policy: WebhookPolicy, counts: Counts
    ) -> Answer:
        """Send, and say what became of it; bytes, connections and redirects are counted here.

        `url` comes from `Outbound.url`.
        """
        try:
            async with asyncio.timeout(policy.timeout_s):
                return await self._follow(url, body, headers, policy, counts)
        except TimeoutError:
            return Answer("timeout", f"no answer within {policy.timeout_s:g} s")
        except (InputError, AddressForbidden) as error:
            return Answer("forbidden", str(error))
        except (aiohttp.ClientError, OSError) as error:
            reason = getattr(error, "os_error", None)
            if isinstance(reason, AddressForbidden):
                return Answer("forbidden", str(reason))
            return Answer("connection", f"no HTTP answer: {type(error).__name__}")

    async def _follow(
        self, hop: URL, body: bytes, headers: Mapping[str, str], policy: WebhookPolicy, counts: Counts
    ) -> Answer:
        for left in range(policy.max_redirects, -1, -1):
            async with self._session.post(
                hop,
                data=body,
                headers=headers,
                allow_redirects=False,
                trace_request_ctx={"counts": counts},
            ) as response:
                size = await _read(response)
                request_bytes, response_bytes = exchange_bytes(response, len(body), size)
                counts.request_bytes += request_bytes
                counts.response_bytes += response_bytes
                if 200 <= response.status < 300:
                    return Answer("ok", f"answered {response.status}", response.status)
                location = response.headers.get("location")
                if response.status not in _KEPT_METHOD or location is None or not left:
                    asked_s = retry_after_s(response.headers.get("retry-after"), time.time())
                    return Answer("status", f"answered {response.status}", response.status, asked_s)
            hop = self._outbound.next_hop(hop, location)
            counts.redirects += 1
        raise AssertionError("the last hop returns")


def client_tls(authorities: Path | None) -> ssl.SSLContext:
    """How servers are verified: by these certificate authorities alone, or by the system's; names always.

    Raises:
        InputError: the file holds no certificates.
    """
    try:
        return ssl.create_default_context(cafile=authorities)
    except (OSError, ValueError) as error:
        raise InputError(f"--tls-ca {authorities} holds no certificates that can be read: {error}") from None


async def _read(response: aiohttp.ClientResponse) -> int:
    """Read an answer to its end, or hang up when it is too long; returns how many bytes were read."""
    size = 0
    async for chunk in response.content.iter_any():
        size += len(chunk)
        if size > MAX_ANSWER_BYTES:
            response.close()
            break
    return size


async def _count_opened(_session: aiohttp.ClientSession, context: SimpleNamespace, _: object) -> None:
    context.trace_request_ctx["counts"].connections_opened += 1


async def _count_reused(_session: aiohttp.ClientSession, context: SimpleNamespace, _: object) -> None:
    context.trace_request_ctx["counts"].connections_reused += 1
