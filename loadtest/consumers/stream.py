"""A client of the provider's event stream, which has one open nearly always.

It connects with the last id it has stored (`Last-Event-ID`), stores what comes before it moves on, and counts
a stream as lost when it ends, breaks, or stays silent for longer than heartbeats would let it. Then it
connects again after a back-off, which a stream that was up resets, and not before a Retry-After. The back-off
is the scenario's (`sim.scenario` table ``streaming.reconnect``), so the stream's own ``retry`` is not heeded.

Source: WHATWG HTML Living Standard, "Server-sent events" (Last-Event-ID, reconnection).
"""

from __future__ import annotations

import asyncio
import random
import ssl
from dataclasses import dataclass

import aiohttp

from loadtest.consumers.client import EventsReader, SourceRefused
from loadtest.consumers.rhythm import LEAST_PAUSE_S, Origin, sleep_until
from loadtest.consumers.sse import Message, StreamParser
from loadtest.contract import MalformedEvent, now_us, parse_envelope, parse_json
from loadtest.inbox import Arrival, Inbox
from loadtest.retry import RetryPolicy, retry_delay_s

# With no limit on attempts; the policy insists on one, and the delays do not depend on it.
RECONNECT = RetryPolicy("exponential", 1.0, 2.0, 60.0, max_attempts=1, jitter="full")


@dataclass(frozen=True, slots=True)
class Timing:
    """When a stream client connects, and when it gives up waiting.

    Args:
        connect_timeout_s: for a connection and the head of the answer.
        silence_s: the longest a stream may be silent, heartbeats included.
        reconnect: the back-off after the k-th failure in a row; its limits on attempts do not apply.
        phase_s: when it first connects, after the origin.
    """

    connect_timeout_s: float = 10.0
    silence_s: float = 45.0
    reconnect: RetryPolicy = RECONNECT
    phase_s: float = 0.0


class StreamClient(EventsReader):
    """Streams one source into one inbox.

    Args:
        source, inbox, tls: see `EventsReader`.
        timing: when it connects and gives up.
        origin: where its phase counts from; by default the start.
    """

    def __init__(
        self,
        source: str,
        inbox: Inbox,
        timing: Timing | None = None,
        origin: Origin | None = None,
        *,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        super().__init__(source, inbox, tls=tls, keep_alive=False)
        self._timing = timing or Timing()
        self._origin = origin or Origin()
        self._failures = 0  # streams lost, or not come about, since one was last up: that one included

    async def run(self) -> None:
        """Connect, listen and connect again until cancelled."""
        timing = self._timing
        async with self.connected():
            await sleep_until(await self._origin.known(now_us()) + timing.phase_s * 1e6)
            while True:
                self._failures += 1
                with self._requesting():
                    await self._resume()
                    await self._listen()
                delay_s = retry_delay_s(timing.reconnect, self._failures, 0.0, random.random())
                await sleep_until(max(now_us() + max(delay_s, LEAST_PAUSE_S) * 1e6, self._not_before_us))

    async def _listen(self) -> None:
        """One stream, from its opening to its end; a clean end is no error."""
        headers = {"accept": "text/event-stream"}
        if self._cursor is not None:
            headers["last-event-id"] = self._cursor
        self.counts["requests"] += 1
        async with asyncio.timeout(self._timing.connect_timeout_s):
            response = await self._session.get(
                f"{self.source}/events/stream",
                headers=headers,
                timeout=aiohttp.ClientTimeout(total=None, sock_read=self._timing.silence_s),
                allow_redirects=False,
            )
        async with response:
            self._answered(response, 0)
            if response.status == 429:
                self.counts["rejected"] += 1
                return
            if response.status != 200 or response.content_type != "text/event-stream":
                raise SourceRefused(f"the source answered {response.status}, not a stream")
            self._failures = 1
            parser = StreamParser()
            async for piece in response.content.iter_any():
                self.counts["response_bytes"] += len(piece)
                await self._take_in(parser.feed(piece), now_us())
                if parser.last_event_id:
                    await self._move_to(parser.last_event_id)

    async def _take_in(self, messages: list[Message], received_us: int) -> None:
        arrivals = []
        for message in messages:
            if message.type == "missed":
                self.counts["missed_events"] += _missed(message.data)
            else:
                event = parse_envelope(message.data)
                arrivals.append(Arrival(event, message.data, "stream", received_us))
        await self._store(arrivals)


def _missed(data: bytes) -> int:
    match parse_json(data):
        case {"missed": int(count)} if count >= 0:
            return count
    raise MalformedEvent('a "missed" of the stream is not {"missed": n}')
