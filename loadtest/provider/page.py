"""One answer of the events API: its JSON, its entity tag, and the link to what follows."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from functools import cached_property
from urllib.parse import urlencode

from sim.errors import HookbenchError


class BadQuery(HookbenchError):
    """A cursor or limit that cannot be served; the message says what would be. Servers answer 400."""


@dataclass(frozen=True)
class Page:
    """The events of some types (none given: of all) from position `start` to before `end` of a feed.

    Attributes:
        instance: of the feed.
        more: whether the feed shows anything behind the page; the page may be empty all the same, when it is
            events of other types that it left out.
        missed: how many events before `start` the reader had not seen, and retention has taken away.
        types: asked for.
        size: the most events asked for.
        payloads: of its events.
    """

    instance: str
    start: int
    end: int
    more: bool
    missed: int
    types: frozenset[str]
    size: int
    payloads: tuple[bytes, ...]

    @property
    def cursor(self) -> str:
        """Where the next page begins."""
        return f"{self.instance}-{self.end}"

    @cached_property
    def etag(self) -> str:
        """A strong entity tag (RFC 9110, section 8.8.3): the same tag, the same bytes.

        A feed only grows, and a page leaves out nothing that it was asked for, so these say all about them.
        """
        kind = f"-{zlib.crc32(repr(sorted(self.types)).encode()):x}" if self.types else ""
        return f'"{self.cursor}-{self.start}-{self.missed}-{int(self.more)}{kind}"'

    @cached_property
    def body(self) -> bytes:
        """``{"events": [...], "cursor": "...", "more": bool}``, and ``"missed": n`` where n is not 0."""
        missed = b',"missed":%d' % self.missed if self.missed else b""
        return b'{"events":[%b],"cursor":"%b","more":%b%b}' % (
            *(b",".join(self.payloads), self.cursor.encode()),
            *(b"true" if self.more else b"false", missed),
        )

    @property
    def next_link(self) -> str | None:
        """The Link header to the next page (RFC 8288), when there is one by now."""
        if not self.more:
            return None
        query = [
            ("after", self.cursor),
            ("limit", str(self.size)),
            *(("type", t) for t in sorted(self.types)),
        ]
        return f'</events?{urlencode(query)}>; rel="next"'


def etag_matches(if_none_match: str | None, etag: str) -> bool:
    """Whether an If-None-Match header names `etag` (RFC 9110, section 13.1.2: weak comparison, or ``*``)."""
    if if_none_match is None:
        return False
    tags = [tag.strip().removeprefix("W/") for tag in if_none_match.split(",")]
    return etag in tags or tags == ["*"]
