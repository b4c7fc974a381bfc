"""What the provider has published, in order, and the pages its events API makes of it.

The feed lives in memory: the provider is the measured world's event source, not its archive.
A cursor names the feed's instance and the number of events read so far, ``<instance>-<number>``; clients
treat it as opaque. A provider that was restarted has another feed, at whose positions other events stand, so
it refuses the cursors of the former one (`CursorGone`) instead of skipping events in silence.
"""

from __future__ import annotations

import os
import re
from typing import NamedTuple

from loadtest.contract import Envelope, now_us
from sim.errors import HookbenchError

_CURSOR = re.compile(r"(?P<instance>[0-9a-f]{12})-(?P<position>[0-9]{1,15})")


class BadQuery(HookbenchError):
    """A cursor or limit that cannot be served; the message says what would be. Servers answer 400."""


class CursorGone(BadQuery):
    """A cursor of another feed, as a provider gave out before it was restarted. Servers answer 410.

    The client's way on is to start over without a cursor; deduplication makes that safe.
    """


class Published(NamedTuple):
    """An event in the feed; `published_us` is when the provider learned of it."""

    event: Envelope
    payload: bytes
    published_us: int


class Page(NamedTuple):
    """One answer of the events API: its JSON, a strong ETag, and how many events it carries."""

    body: bytes
    etag: str
    events: int


class Feed:
    """An append-only list of events, each id once.

    Attributes:
        events: all that was published, in order; not to be changed from outside.
    """

    def __init__(self, page_limit: int) -> None:
        self._page_limit = page_limit
        self.events: list[Published] = []
        self._ids: set[str] = set()
        # Another run has other events at the same positions: its cursors and ETags must differ.
        self._instance = os.urandom(6).hex()

    def __len__(self) -> int:
        return len(self.events)

    def publish(self, event: Envelope, payload: bytes) -> Published | None:
        """Append an event; None when its id is in the feed already (publishing again is harmless)."""
        if event.id in self._ids:
            return None
        self._ids.add(event.id)
        published = Published(event, payload, now_us())
        self.events.append(published)
        return published

    def page(self, after: str | None, limit: str | None) -> Page:
        """The events after cursor `after` (None: from the first), at most `limit` of them.

        Raises:
            CursorGone: a cursor of another instance.
            BadQuery: a cursor no feed ever gave out, or a limit outside 1 to the page limit.
        """
        start = self._position(after)
        end = min(len(self.events), start + self._size(limit))
        more = end < len(self.events)
        events = b",".join(published.payload for published in self.events[start:end])
        cursor = f"{self._instance}-{end}".encode()
        body = b'{"events":[%b],"cursor":"%b","more":%b}' % (events, cursor, b"true" if more else b"false")
        # The feed only grows, so these say all about the bytes.
        return Page(body, f'"{self._instance}-{start}-{end}-{int(more)}"', end - start)

    def _position(self, after: str | None) -> int:
        if after is None:
            return 0
        if (parts := _CURSOR.fullmatch(after)) is not None:
            if parts["instance"] != self._instance:
                raise CursorGone(
                    f"after={after!r} is a cursor of an earlier run of this provider; start over without one"
                )
            position = int(parts["position"])
            if position <= len(self.events):
                return position
        raise BadQuery(
            f"after={after!r:.80} is not a cursor of this feed; use the 'cursor' of a previous answer"
        )

    def _size(self, limit: str | None) -> int:
        if limit is None:
            return min(100, self._page_limit)
        if limit.isascii() and limit.isdigit() and len(limit) <= 9 and 1 <= int(limit) <= self._page_limit:
            return int(limit)
        raise BadQuery(f"limit={limit!r:.80} is not a whole number from 1 to {self._page_limit}")


def etag_matches(if_none_match: str | None, etag: str) -> bool:
    """Whether an If-None-Match header names `etag` (RFC 9110, section 13.1.2: weak comparison, or ``*``)."""
    if if_none_match is None:
        return False
    tags = [tag.strip().removeprefix("W/") for tag in if_none_match.split(",")]
    return etag in tags or tags == ["*"]
