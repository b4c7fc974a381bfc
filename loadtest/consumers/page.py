"""One answer of an events API, as its reader understands it."""

from __future__ import annotations

from typing import NamedTuple

from loadtest.contract import MalformedEvent, envelope_of, event_bytes, parse_json
from loadtest.inbox import Arrival


class Page(NamedTuple):
    """One answer: the cursor behind it, its events, whether there are more, how many are forgotten."""

    cursor: str
    arrivals: list[Arrival]
    more: bool
    missed: int


def parse_page(body: bytes, received_us: int) -> Page:
    """Read one answer; a source that says nothing of ``more`` or ``missed`` has none.

    Raises:
        MalformedEvent: it is not a page, or one of its events is malformed.
    """
    match parse_json(body):
        case {"events": list(events), "cursor": str(cursor), **rest}:
            arrivals = [
                Arrival(envelope_of(event), event_bytes(event), "poll", received_us) for event in events
            ]
            missed = rest.get("missed")
            return Page(cursor, arrivals, rest.get("more") is True, missed if type(missed) is int else 0)
    raise MalformedEvent('the answer is not {"events": [...], "cursor": "..."}')
