"""Server-sent events: the feed as a stream that a reader takes at its own pace.

One block an event: ``id`` is the cursor behind it, ``event`` its type, ``data`` the envelope on one line. A
stream begins with ``retry`` and the cursor it starts from, so that a reader cut off before the first event
comes back to the same place; a comment with the cursor breaks the silence every `heartbeat_s`. Neither
dispatches an event: a block without data only sets the last event id.

There is no queue a reader: it has a position in the feed, and is sent what follows once it has taken what
came before. So a slow reader costs no more than a transport's buffer and one piece of `PIECE_BYTES` (or one
larger event), and one that takes up no piece within `stall_s` is cut off. It loses nothing by that: it comes
back with its last id. What retention takes away before a reader got to it is told in the stream as
``event: missed`` with ``{"missed": n}``.

When the provider stops, streams end; the browser's rule is to come back then, which 204 would forbid.

Sources: WHATWG HTML Living Standard, "Server-sent events" (event stream format, the Last-Event-ID header,
reconnection); nginx, ngx_http_proxy_module, "X-Accel-Buffering".
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Collection

from loadtest.asgi import Receive, Scope, Send, cut_off
from loadtest.provider.feed import Extract, Feed
from loadtest.provider.waiters import LAST_WORD_S, Waiter, WaitingRoom

PIECE_BYTES = 64 * 1024
MOST_IN_PIECE = 200
RETRY_MS = (1000, 3000)
"""Readers are told to come back after something between these, so that not all come back at once."""

_HEADERS = (
    (b"content-type", b"text/event-stream"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),
)


class EventStreams:
    """The open streams.

    Args:
        feed: what is streamed.
        room: the streams' places.
        heartbeat_s: the longest silence.
        stall_s: how long a reader may accept nothing.

    Attributes:
        counts: streams_opened, streams_stalled, stream_events, stream_bytes.
    """

    def __init__(self, feed: Feed, room: WaitingRoom, heartbeat_s: float, stall_s: float) -> None:
        self._feed = feed
        self._room = room
        self._heartbeat_s = heartbeat_s
        self._stall_s = stall_s
        self._last: tuple[tuple[int, int, frozenset[str]], bytes] | None = None
        self.counts = dict.fromkeys(("streams_opened", "streams_stalled", "stream_events", "stream_bytes"), 0)

    async def serve(
        self,
        scope: Scope,
        receive: Receive,
        send: Send,
        position: int,
        types: frozenset[str],
        headers: Collection[tuple[bytes, bytes]],
    ) -> None:
        """Stream from a position on; the request has been read, and there is a place to be taken at once."""
        self.counts["streams_opened"] += 1
        async with self._room.enter(receive) as reader:
            try:
                head = {"type": "http.response.start", "status": 200, "headers": [*_HEADERS, *headers]}
                await reader.send(send, head, self._stall_s)
                await self._send_on(reader, send, position, types)
                await reader.send(send, {"type": "http.response.body", "body": b""}, LAST_WORD_S)
                return
            except TimeoutError:
                self.counts["streams_stalled"] += not self._room.closed
        await cut_off(scope, receive)

    async def _send_on(self, reader: Waiter, send: Send, position: int, types: frozenset[str]) -> None:
        clock = asyncio.get_running_loop().time
        retry_ms = random.randint(*RETRY_MS)
        block = b"retry: %d\nid: %b\n\n" % (retry_ms, self._feed.cursor(position).encode())
        while True:
            if block:
                await reader.send(
                    send, {"type": "http.response.body", "body": block, "more_body": True}, self._stall_s
                )
                self.counts["stream_bytes"] += len(block)
                spoke_s = clock()
            await asyncio.sleep(0)  # a reader that keeps up must not keep the others from being served
            if reader.gone or self._room.closed:
                return
            part = self._feed.read(position, MOST_IN_PIECE, PIECE_BYTES, types)
            if part.end > position:
                block = self._blocks(part, types)
                position = part.end
                self.counts["stream_events"] += len(part.events)
            elif (silence_left_s := spoke_s + self._heartbeat_s - clock()) > 0:
                block = b""
                await reader.rest(silence_left_s)
            else:
                block = b":\nid: %b\n\n" % self._feed.cursor(position).encode()

    def _blocks(self, part: Extract, types: frozenset[str]) -> bytes:
        """The events as they are streamed; readers at the same place share the bytes."""
        key = (part.start, part.end, types)
        if self._last is None or self._last[0] != key:
            self._last = (
                key,
                b"".join(
                    event_block(self._feed.cursor(position + 1), entry.event.type, entry.payload)
                    for position, entry in zip(part.positions, part.events, strict=True)
                ),
            )
        return missed_block(self._feed.cursor(part.start), part.missed) + self._last[1]


def event_block(cursor: str, kind: str, payload: bytes) -> bytes:
    """One event. Line breaks in JSON are blanks between its tokens (RFC 8259, sections 2 and 7)."""
    line = payload.replace(b"\r", b" ").replace(b"\n", b" ")
    return b"id: %b\nevent: %b\ndata: %b\n\n" % (cursor.encode(), kind.encode(), line)


def missed_block(cursor: str, missed: int) -> bytes:
    """Tells a reader how many events before the cursor it will never see; nothing if none."""
    return b'id: %b\nevent: missed\ndata: {"missed":%d}\n\n' % (cursor.encode(), missed) if missed else b""
