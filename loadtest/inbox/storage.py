"""What a durable inbox asks of its database, and which database a URL means.

Who serves which event is settled by *ownership*. Every process that opens an inbox draws a number, its
`owner`, and keeps a lease under it in the table ``owners``: a time until which the others may take it for
alive. An event that is stored belongs to the process that stored it; the events of an owner without a lease
that lasts are anybody's, and `beat` takes some of them over. Whatever says that an event was served counts
only while the event still belongs to who says it. So however late a stopped process wakes up, each event
becomes visible once.

Every call is durable when it returns, and atomic. A call that raises may have happened all the same (the
connection broke amid the commit): the caller must not acknowledge, may call again, and `beat` tells it of
events that it owns without knowing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal, NamedTuple, Protocol
from urllib.parse import urlsplit

from loadtest.contract import STANDARD
from sim.errors import HookbenchError, InputError

Row = tuple[str, str, int, str, str, bytes, int, int]
"""source, event_id, event_index, event_type, via, payload, created_us, received_us"""

State = Literal["waiting", "in-service", "visible", "dead"]
STATES: tuple[State, ...] = ("waiting", "in-service", "visible", "dead")
"""waiting: no process alive has it in hand; in-service: one has; visible: served; dead: given up, see
`Storage.settle`."""

MAX_GROUP = 256  # rows gathered into one statement
MAX_SUBMISSION = 4000  # rows that belong together; SQLite binds at most 32766 values in a statement
SCHEMA_VERSION = 3
NOBODY = 0  # the owner of what a process gave back or an operator replayed; it has no lease


class StorageError(HookbenchError):
    """The database failed; the message says how. What was asked for may or may not have happened."""


class Owned(NamedTuple):
    """An unserved event that belongs to this process. `attempts` counts services begun, by anybody."""

    seq: int
    event_index: int
    attempts: int


class StoredEvent(NamedTuple):
    """An event as a handler gets it.

    Attributes:
        seq: its place in the order of storage.
        source, id: its identity; handlers that must not act twice key on these.
        type, index, created_us, via, received_us, payload: as they arrived, see `loadtest.inbox.Arrival`.
        attempt: 1 the first time, one more each time its service begins again.
    """

    seq: int
    source: str
    id: str
    index: int  # type: ignore[assignment]  # hides tuple.index, which nobody needs here
    type: str
    via: str
    payload: bytes
    created_us: int
    received_us: int
    attempt: int


class LedgerRow(NamedTuple):
    """One stored event; times in µs of the machine's monotonic clock, `visible_us` None until visible.

    `source` is whose ids `event_id` is unique among; see `loadtest.inbox.Arrival`.
    """

    seq: int
    event_id: str
    event_index: int
    event_type: str
    via: str
    created_us: int
    received_us: int
    visible_us: int | None
    copies: int
    source: str = STANDARD


class Listed(NamedTuple):
    """One event as an operator sees it; `finished_s` is Unix time, `purged` says that the payload is gone."""

    seq: int
    state: State
    source: str
    event_id: str
    event_type: str
    via: str
    copies: int
    attempts: int
    reason: str | None
    finished_s: int | None
    purged: bool


class Storage(Protocol):
    """An open inbox. Not thread-safe: after opening, one thread calls it.

    Attributes:
        owner: the number under which this process owns events.
        url: what was opened, for messages.

    Every method may raise `StorageError`; the next call opens the database again if need be.
    """

    owner: int
    url: str

    def insert(self, rows: Sequence[Row]) -> list[tuple[int, int]]:
        """Store up to `MAX_SUBMISSION` events as this process's own; a known one only counts more copies.

        Returns:
            (seq, event_index) of the events that are new, in their order of arrival.
        """

    def known(self, keys: Sequence[tuple[str, str]]) -> set[tuple[str, str]]:
        """Those of up to `MAX_SUBMISSION` (source, event_id) whose event is stored, whoever serves it."""

    def beat(self, lease_s: float, room: int) -> list[Owned]:
        """Prolong this process's lease to `lease_s` from now, and take over up to `room` abandoned events.

        Returns:
            every unserved event that belongs to this process now, oldest first. One it knew and does not
            find here was taken over; one it finds here and did not know is its own to serve.
        """

    def begin(self, seqs: Sequence[int]) -> list[StoredEvent]:
        """Count one attempt for each of these events that is still this process's to serve.

        Returns:
            those events; the others must not be served. None are, once the lease has lapsed.
        """

    def stored(self, seqs: Sequence[int]) -> list[StoredEvent]:
        """Those of these events that are still this process's to serve; no attempt is counted."""

    def fill(self, payloads: Sequence[tuple[int, bytes]]) -> None:
        """Replace the payloads of events, by seq, that are still this process's to serve."""

    def settle(self, visible: Sequence[tuple[int, int]], dead: Sequence[tuple[int, str]]) -> int:
        """Record (seq, visible_us) of served events and (seq, reason) of those given up: dead letters.

        Returns:
            how many of them counted: those that still belonged to this process. Repeating it is harmless.
        """

    def cursor(self, source: str) -> str | None:
        """How far `source` had been read by polling, or None when it never was."""

    def save_cursor(self, source: str, cursor: str) -> None:
        """Remember how far `source` has been read."""

    def purge(self, older_than_s: float, forget_after_s: float, *, dead: bool, limit: int) -> tuple[int, int]:
        """Drop payloads of events visible (or also dead) for `older_than_s`, then ids after `forget_after_s`.

        Up to `limit` of each. While the id is there, a copy of the event is known for a copy.

        Returns:
            the number of payloads dropped and of ids forgotten.
        """

    def purgeable(self, older_than_s: float, *, dead: bool) -> int:
        """How many payloads `purge` would drop."""

    def replay(self, states: Iterable[Literal["visible", "dead"]], event_id: str | None) -> int:
        """Let events in these states, or only those called `event_id`, wait again, with no attempt counted.

        Returns:
            how many; an event without payload stays as it is.
        """

    def counts(self) -> dict[State, int]:
        """The number of events in each state."""

    def events(self, state: State | None, limit: int) -> list[Listed]:
        """The latest `limit` events, or those of one state, newest first."""

    def ledger(self) -> list[LedgerRow]:
        """Every event, in the order of storage."""

    def close(self) -> None:
        """Give back what is not served, so that others need not wait for the lease; close the database."""


def open_storage(url: str, *, must_exist: bool = False) -> Storage:
    """Open ``sqlite:///relative.db``, ``sqlite:////absolute.db`` or ``postgresql://user@host/db``.

    Args:
        url: which; after PostgreSQL's, ``?schema=NAME`` says where its tables are (default: public).
        must_exist: refuse to make an inbox where there is none.

    Raises:
        InputError: another kind of URL, one with a password in it, or the inbox cannot be opened.
    """
    kind, separator, path = url.partition("://")
    if separator and kind in ("postgresql", "postgres"):
        from loadtest.inbox.postgres import PostgresStorage  # noqa: PLC0415 - psycopg is an extra

        return PostgresStorage(url, must_exist=must_exist)
    if separator and kind == "sqlite" and path.startswith("/") and path != "/":
        from loadtest.inbox.sqlite import SqliteStorage  # noqa: PLC0415

        return SqliteStorage(Path(path[1:]), must_exist=must_exist)
    raise InputError(
        f"--inbox {without_password(url)!r} is not supported; give sqlite:///PATH or postgresql://USER@HOST/DB"
    )


def other_version(version: object) -> str:
    """Why an inbox of another schema is refused. There is no migration: an inbox is worked off, not kept."""
    return (
        f"it is an inbox of version {version} and this is version {SCHEMA_VERSION}; "
        "let the hookbench that made it serve what waits, then begin a new one"
    )


def without_password(url: str) -> str:
    """The URL with nothing in it that must not be shown."""
    try:
        parts = urlsplit(url)
        hidden = parts.password is not None or "password" in parts.query
    except ValueError:
        return url.partition("://")[0] + "://…"
    if not hidden:
        return url
    return f"{parts.scheme}://{parts.hostname or ''}{parts.path}"
