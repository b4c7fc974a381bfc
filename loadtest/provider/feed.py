"""The provider's feed: what was published, in order, as far as it is shown and retained.

The feed lives in memory: the provider is the measured world's event source, not its archive. Events have
positions, counted from 0 and never reused; nothing is reordered or inserted, so what lies behind a cursor
only grows at its end, or is forgotten at its start.

    forgotten │ retained and shown            │ published, not shown yet (feed lag)
    ──────────┼───────────────────────────────┼─────────────────────>  positions
            oldest      ^ cursor            shown

A cursor names the feed's instance and a position, ``<instance>-<number>``: the place between two events.
Clients treat it as opaque. It is good for as long as the provider runs. A provider that was restarted has
another feed, at whose positions other events stand, so it refuses the cursors of the former one
(`CursorGone`) instead of skipping events in silence. A cursor that retention has overtaken goes on at the
oldest event still shown, as in the simulation, and the reader is told how many it missed.

An id is published once: as long as its event is held, and among the last `DEDUPLICATION_WINDOW` ids,
publishing it again changes nothing.
"""

from __future__ import annotations

import math
import os
import re
import sys
from array import array
from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Collection, Sequence
from typing import NamedTuple

from loadtest.contract import Envelope, now_us
from loadtest.provider.api_policy import Retention
from loadtest.provider.page import BadQuery, Page
from sim.errors import HookbenchError, InputError

DEDUPLICATION_WINDOW = 100_000
MOST_SCANNED = 10_000
"""Events one read looks at, so that a rare type does not hold up everybody else."""

_OVERHEAD_BYTES = 500  # what Python takes for an event besides its payload: measured, rounded up
_LEAST_FORGOTTEN = 64
_FULL_RETRY_AFTER_S = 60
_CURSOR = re.compile(r"(?P<instance>[0-9a-f]{12})-(?P<position>[0-9]{1,15})")


class CursorGone(BadQuery):
    """A cursor of another feed, as a provider gave out before it was restarted. Servers answer 410.

    The client's way on is to start over without a cursor; deduplication makes that safe.
    """


class FeedFull(HookbenchError):
    """There is no room for what is to be published. Servers answer 503, with `retry_after_s`."""

    def __init__(self, message: str, retry_after_s: int) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class Published(NamedTuple):
    """An event in the feed; `published_us` is when the provider learned of it."""

    event: Envelope
    payload: bytes
    published_us: int


class Extract(NamedTuple):
    """Part of the feed: all that is wanted of the positions from `start` to before `end`.

    Attributes:
        positions: of the events, one by one.
        more: whether the feed shows anything from `end` on.
        missed: how many events between the place asked for and `start` are forgotten.
    """

    start: int
    end: int
    positions: Sequence[int]
    events: Sequence[Published]
    more: bool
    missed: int


class Feed:
    """An append-only list of events, each id once, of which the oldest may be forgotten.

    Args:
        page_limit: events in one page.
        max_page_bytes: bytes of a page's events, unless the first alone has more.
        max_events, max_bytes: what it may hold; the bytes include what Python needs for each event.
        lag_s: how much later than published it shows an event.
        retention: what it still shows; None: all.
        clock: microseconds that never go back.

    Raises:
        InputError: a retention above what may be held.
    """

    def __init__(
        self,
        page_limit: int = 1000,
        *,
        max_page_bytes: int = 16 * 2**20,
        max_events: int = 1_000_000,
        max_bytes: int = 2**30,
        lag_s: float = 0.0,
        retention: Retention | None = None,
        clock: Callable[[], int] = now_us,
    ) -> None:
        self._page_limit = page_limit
        self._max_page_bytes = max_page_bytes
        self._max_events = max_events
        self._max_bytes = max_bytes
        self._lag_us = round(lag_s * 1e6)
        seconds = None if retention is None else retention.seconds
        self._retained_events = None if retention is None else retention.events
        self._retained_us = None if seconds is None else round(seconds * 1e6)
        if self._retained_events is not None and self._retained_events > max_events:
            raise InputError(
                f"a retention of {self._retained_events} events is more than the {max_events} that the feed "
                "may hold (--max-events)"
            )
        self._clock = clock
        self._held: list[Published] = []
        self._ends = array("Q")  # of each event held: the bytes of all payloads up to it, commas included
        self._first = 0  # the position of the first event held
        self._forgotten_bytes = 0
        self._oldest = 0
        self._shown = 0
        self._positions: dict[str, int] = {}  # by id, those of forgotten events too for a while
        self._remembered: deque[str] = deque()
        # Another run has other events at the same positions: its cursors and ETags must differ.
        self._instance = os.urandom(6).hex()
        self._last_page: tuple[tuple[int, int, bool, int, frozenset[str], int], Page] | None = None

    def __len__(self) -> int:
        """How many events were ever published."""
        return self._first + len(self._held)

    @property
    def held(self) -> int:
        """How many events are in memory."""
        return len(self._held)

    @property
    def held_bytes(self) -> int:
        """The memory they take, nearly."""
        return self._bytes_before(len(self._held)) + _OVERHEAD_BYTES * len(self._held)

    def publish(self, event: Envelope, payload: bytes) -> Published | None:
        """Append one event; see `publish_all`. None when its id is in the feed already."""
        published = self.publish_all([(event, payload)])
        return published[0] if published else None

    def publish_all(self, batch: Sequence[tuple[Envelope, bytes]]) -> list[Published]:
        """Append those events of a batch whose id is new; all of them or, when they do not fit, none.

        Raises:
            FeedFull: it would hold more events or bytes than it may.
        """
        fresh: dict[str, tuple[Envelope, bytes]] = {}
        for event, payload in batch:
            if event.id not in self._positions:
                fresh.setdefault(event.id, (event, payload))
        self._make_room(len(fresh), sum(len(payload) for _, payload in fresh.values()))
        instant_us = self._clock()
        end = self._ends[-1] if self._ends else self._forgotten_bytes
        published = []
        for event, payload in fresh.values():
            entry = Published(event._replace(type=sys.intern(event.type)), payload, instant_us)
            end += len(payload) + 1
            self._positions[event.id] = len(self)
            self._held.append(entry)
            self._ends.append(end)
            self._remembered.append(event.id)
            published.append(entry)
        self._forget()
        return published

    def find(self, event_id: str) -> Published | None:
        """The event of this id, while it is in memory, whether or not the feed shows it (yet, or still)."""
        position = self._positions.get(event_id, -1)
        return self._at(position) if position >= self._first else None

    def next_shown_us(self) -> int | None:
        """When the feed will show what it does not show yet; None when it shows everything."""
        self._advance()
        if self._shown == len(self):
            return None
        return self._held[self._shown - self._first].published_us + self._lag_us

    def cursor(self, position: int) -> str:
        """The cursor of the place before the event at `position`."""
        return f"{self._instance}-{position}"

    def position(self, cursor: str | None) -> int:
        """The position that a cursor names; without one it is 0, before the first event of all.

        Raises:
            CursorGone: a cursor of another instance.
            BadQuery: a cursor no feed ever gave out.
        """
        self._advance()
        if cursor is None:
            return 0
        if (parts := _CURSOR.fullmatch(cursor)) is not None:
            if parts["instance"] != self._instance:
                raise CursorGone(
                    f"after={cursor!r} is a cursor of an earlier run of this provider; start over without one"
                )
            position = int(parts["position"])
            if position <= self._shown:
                return position
        raise BadQuery(
            f"after={cursor!r:.80} is not a cursor of this feed; use the 'cursor' of a previous answer"
        )

    def page(self, after: str | None, limit: str | None, types: Collection[str] = ()) -> Page:
        """The events after cursor `after` (None: from the first of all), at most `limit` of them.

        Raises:
            CursorGone: a cursor of another instance.
            BadQuery: a cursor no feed ever gave out, or a limit outside 1 to the page limit.
        """
        return self.page_from(self.position(after), self._size(limit), types)

    def page_now(self, page: Page) -> Page:
        """The answer to the same question now, given the last one; perhaps the same page.

        What was looked through in vain is not looked through again.
        """
        position = page.start if page.payloads else page.end
        return self.page_from(position, page.size, page.types, page.missed)

    def page_from(self, position: int, size: int, types: Collection[str] = (), missed: int = 0) -> Page:
        """The page of at most `size` events from a position on; `missed` are forgotten before it."""
        part = self.read(position, size, self._max_page_bytes, types)
        asked = (part.start, part.end, part.more, missed + part.missed, frozenset(types), size)
        # Whoever asks for the same page shares its bytes: one publication may be awaited by thousands.
        if self._last_page is None or self._last_page[0] != asked:
            page = Page(self._instance, *asked, tuple(entry.payload for entry in part.events))
            self._last_page = asked, page
        return self._last_page[1]

    def read(self, position: int, most_events: int, most_bytes: int, types: Collection[str] = ()) -> Extract:
        """The events from a position on, of certain types if any are given.

        The first event comes however large it is; after that `most_bytes` are not exceeded. Of a feed with
        few events of those types no more than `MOST_SCANNED` are looked at: there may be none, and `more`.
        """
        self._advance()
        start = max(position, self._oldest)
        first, shown = start - self._first, self._shown - self._first
        if not types:
            fitting = bisect_right(self._ends, self._bytes_before(first) + self._forgotten_bytes + most_bytes)
            end = max(min(shown, first + most_events, max(fitting, first + 1)), first)
            positions: Sequence[int] = range(start, self._first + end)
            events = self._held[first:end]
        else:
            end, found = self._scan(first, shown, most_events, most_bytes, types)
            positions = [self._first + index for index in found]
            events = [self._held[index] for index in found]
        return Extract(start, self._first + end, positions, events, end < shown, start - position)

    def _scan(
        self, first: int, shown: int, most_events: int, most_bytes: int, types: Collection[str]
    ) -> tuple[int, list[int]]:
        """Where the search ended, and what it found."""
        found: list[int] = []
        room = most_bytes
        until = max(min(shown, first + MOST_SCANNED), first)
        for index in range(first, until):
            entry = self._held[index]
            if entry.event.type not in types:
                continue
            room -= len(entry.payload) + 1
            if found and room < 0:
                return index, found
            found.append(index)
            if len(found) == most_events:
                return index + 1, found
        return until, found

    def _advance(self) -> None:
        """Bring `_shown` and `_oldest` to now."""
        if self._lag_us == 0:
            self._shown = len(self)
        else:
            shown_us = self._clock() - self._lag_us
            while self._shown < len(self) and self._at(self._shown).published_us <= shown_us:
                self._shown += 1
        if self._retained_events is not None:
            self._oldest = max(self._shown - self._retained_events, self._oldest)
        elif self._retained_us is not None:
            retained_us = self._clock() - self._retained_us
            while self._oldest < len(self) and self._at(self._oldest).published_us < retained_us:
                self._oldest += 1
        self._shown = max(self._shown, self._oldest)  # what is too old before it is shown never will be

    def _at(self, position: int) -> Published:
        return self._held[position - self._first]

    def _bytes_before(self, index: int) -> int:
        """The bytes of the first `index` events held, a comma for each."""
        return self._ends[index - 1] - self._forgotten_bytes if index > 0 else 0

    def _make_room(self, events: int, payload_bytes: int) -> None:
        self._advance()
        leaving = self._oldest - self._first
        if self._retained_events is not None and self._lag_us == 0:
            leaving = max(leaving, min(len(self) + events - self._retained_events - self._first, self.held))
        held = self.held - leaving + events
        held_bytes = (
            self.held_bytes - self._bytes_before(leaving) - _OVERHEAD_BYTES * leaving
            + payload_bytes + (_OVERHEAD_BYTES + 1) * events
        )  # fmt: skip
        if events and (held > self._max_events or held_bytes > self._max_bytes):
            raise FeedFull(
                f"the feed is full: it holds {self.held} events of at most {self._max_events}, about "
                f"{self.held_bytes} bytes of at most {self._max_bytes}; "
                + ("try again later" if self._forgets else "it forgets none, for no retention is set"),
                self._room_in_s(),
            )

    @property
    def _forgets(self) -> bool:
        return self._retained_events is not None or self._retained_us is not None

    def _room_in_s(self) -> int:
        """In how many seconds something will be forgotten, rounded up."""
        if self._retained_us is None or not self._held:
            return _FULL_RETRY_AFTER_S
        leaves_us = self._at(max(self._oldest, self._first)).published_us + self._retained_us
        return max(1, math.ceil((leaves_us - self._clock()) / 1e6))

    def _forget(self) -> None:
        """Free the memory of what is shown no more: an eighth of the feed at a time, for that is cheaper."""
        self._advance()
        leaving = self._oldest - self._first
        full = self.held > self._max_events or self.held_bytes > self._max_bytes
        if leaving > max(_LEAST_FORGOTTEN, self.held // 8) or (full and leaving):
            self._forgotten_bytes = self._ends[leaving - 1]
            del self._held[:leaving]
            del self._ends[:leaving]
            self._first += leaving
        while len(self._remembered) > max(DEDUPLICATION_WINDOW, self.held):
            self._positions.pop(self._remembered.popleft(), None)

    def _size(self, limit: str | None) -> int:
        most = self._page_limit
        if limit is None:
            return min(100, most)
        if limit.isascii() and limit.isdigit() and len(limit) <= 9 and 1 <= int(limit) <= most:
            return int(limit)
        raise BadQuery(f"limit={limit!r:.80} is not a whole number from 1 to {most}")
