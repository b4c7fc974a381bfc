"""What a reader of the events API asks for: the query string and the headers, read strictly."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from urllib.parse import parse_qs

from loadtest.asgi import Scope
from loadtest.contract import MalformedEvent, require_name
from loadtest.provider.page import BadQuery

MOST_TYPES = 20
_MOST_FIELDS = 50
_SECONDS = re.compile(r"[0-9]{1,6}(\.[0-9]{1,6})?")


@dataclass(frozen=True, slots=True)
class Question:
    """A parsed query: cursor, page limit, both as text, the types wanted (none: all), the time to wait."""

    after: str | None
    limit: str | None
    types: frozenset[str]
    wait_s: float


def parse_question(scope: Scope, known: Collection[str], max_wait_s: float) -> Question:
    """Read the query string, which may name each of `known` once, and ``type`` several times.

    Raises:
        BadQuery: an unknown or repeated parameter, or a value that is not allowed; cursor and limit are for
            the feed to judge.
    """
    try:
        query = parse_qs(
            scope["query_string"].decode("latin-1"), keep_blank_values=True, max_num_fields=_MOST_FIELDS
        )
    except ValueError:
        raise BadQuery(f"the query has more than {_MOST_FIELDS} parameters") from None
    for name, values in query.items():
        if name not in known:
            raise BadQuery(f"unknown parameter {name!r:.80}; known: {', '.join(known)}")
        if len(values) > 1 and name != "type":
            raise BadQuery(f"{name} is given {len(values)} times")
    after, limit, wait = (query.get(name, [None])[0] for name in ("after", "limit", "wait"))
    return Question(after, limit, _types(query.get("type", [])), _wait_s(wait, max_wait_s))


def _types(names: list[str]) -> frozenset[str]:
    if len(names) > MOST_TYPES:
        raise BadQuery(f"type is given {len(names)} times, at most {MOST_TYPES} are taken")
    try:
        return frozenset(require_name("type", name) for name in names)
    except MalformedEvent as error:
        raise BadQuery(str(error)) from None


def _wait_s(wait: str | None, most_s: float) -> float:
    if wait is None:
        return 0.0
    if _SECONDS.fullmatch(wait) is None or float(wait) > most_s:
        raise BadQuery(f"wait={wait!r:.80} is not a number of seconds from 0 to {most_s:g}")
    return float(wait)


def if_none_match(scope: Scope) -> str | None:
    """The entity tags the client has; of several such headers all (RFC 9110, section 5.3)."""
    values = [value.decode("latin-1") for name, value in scope["headers"] if name == b"if-none-match"]
    return ", ".join(values) if values else None


def accepts_event_stream(accept: bytes | None) -> bool:
    """Whether an Accept header allows ``text/event-stream`` (RFC 9110, section 12.5.1); absent, it does.

    The most specific range decides; a range with weight 0 is not accepted.
    """
    if accept is None:
        return True
    weights = {}
    for part in accept.decode("latin-1").split(","):
        media, *parameters = (word.strip().lower() for word in part.split(";"))
        weights[media] = not any(re.fullmatch(r"q\s*=\s*0(\.0*)?", word) for word in parameters)
    for media in ("text/event-stream", "text/*", "*/*"):
        if media in weights:
            return weights[media]
    return False
