"""The inbox in PostgreSQL, shared by processes on any number of machines.

Leases are times of the database's clock; should that be set back, a lease that ends later than its own
length from now has lapsed. The statements are in `postgres_sql`.
"""

from __future__ import annotations

import re
import secrets
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal, LiteralString
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from loadtest.inbox import postgres_sql as sql
from loadtest.inbox.storage import (
    SCHEMA_VERSION,
    STATES,
    LedgerRow,
    Listed,
    Owned,
    Row,
    State,
    StorageError,
    StoredEvent,
    other_version,
    without_password,
)
from sim.errors import InputError

try:
    import psycopg
except ImportError:
    raise InputError("an inbox in PostgreSQL needs psycopg: pip install 'hookbench[postgres]'") from None

RECONNECT_S = (0.1, 2.0)  # the first and the longest pause between attempts to connect

# A server that is gone without a word is noticed within seconds (PostgreSQL documentation, "Parameter Key
# Words" of libpq). A lock or a statement that takes longer is an error, not a wait.
_CONNECT: dict[str, Any] = {
    "connect_timeout": 2, "keepalives_idle": 2, "keepalives_interval": 1, "keepalives_count": 3,
    "tcp_user_timeout": 5000, "application_name": "hookbench inbox",
}  # fmt: skip
_SESSION = "SET synchronous_commit = on; SET lock_timeout = '2s'; SET statement_timeout = '5s'"


class PostgresStorage:
    """A `Storage` in the database at `url`; its tables are made when missing.

    Raises:
        InputError: the database cannot be reached or written, or its tables are of another version; or
            the URL holds a password, which other users of this machine could see.
    """

    def __init__(self, url: str, *, must_exist: bool = False) -> None:
        self.owner = secrets.randbits(47) + 1
        self.url = without_password(url)
        self._conninfo, self._schema = _split(url)
        self._db: psycopg.Connection[tuple[Any, ...]] | None = None
        self._pause_s, self._retry_at = 0.0, 0.0
        try:
            self._db = self._connect()
            self._prepare(self._db, must_exist=must_exist)
        except psycopg.Error as error:
            self._disconnect()
            raise InputError(f"the inbox {self.url} cannot be opened: {_one_line(error)}") from None
        except InputError:
            self._disconnect()
            raise

    def insert(self, rows: Sequence[Row]) -> list[tuple[int, int]]:
        """See `Storage`. One statement, which cannot touch an event twice: copies are counted before."""
        copies = Counter((row[1], row[0]) for row in rows)
        first = {(row[1], row[0]): row for row in reversed(rows)}
        fields = zip(*(first[key] for key in copies), strict=True)  # a Counter keeps the order of arrival
        names = (
            "source",
            "event_id",
            "event_index",
            "event_type",
            "via",
            "payload",
            "created_us",
            "received_us",
        )
        with self._open() as db:
            return db.execute(
                self._sql(sql.INSERT),
                {name: list(values) for name, values in zip(names, fields, strict=True)}
                | {"copies": list(copies.values()), "owner": self.owner, "table": f"{self._schema}.inbox"},
            ).fetchall()

    def known(self, keys: Sequence[tuple[str, str]]) -> set[tuple[str, str]]:
        """See `Storage`."""
        asked = {"sources": [source for source, _ in keys], "ids": [event_id for _, event_id in keys]}
        with self._open() as db:
            return set(db.execute(self._sql(sql.KNOWN), asked).fetchall())

    def beat(self, lease_s: float, room: int) -> list[Owned]:
        """See `Storage`."""
        mine = {"owner": self.owner, "lease_us": round(lease_s * 1e6), "room": room}
        with self._open() as db, db.transaction():
            db.execute(self._sql(sql.RENEW), mine)
            if room > 0:
                db.execute(self._sql(sql.CLAIM), mine)
            db.execute(self._sql(sql.FORGET_OWNERS))
            return [Owned(*event) for event in db.execute(self._sql(sql.MINE), mine)]

    def begin(self, seqs: Sequence[int]) -> list[StoredEvent]:
        """See `Storage`."""
        with self._open() as db:
            events = db.execute(self._sql(sql.BEGIN), {"seqs": list(seqs), "owner": self.owner}).fetchall()
        return sorted(StoredEvent(*event) for event in events)

    def stored(self, seqs: Sequence[int]) -> list[StoredEvent]:
        """See `Storage`."""
        with self._open() as db:
            events = db.execute(self._sql(sql.STORED), {"seqs": list(seqs), "owner": self.owner}).fetchall()
        return [StoredEvent(*event) for event in events]

    def fill(self, payloads: Sequence[tuple[int, bytes]]) -> None:
        """See `Storage`."""
        filled = {
            "seqs": [seq for seq, _ in payloads],
            "payloads": [payload for _, payload in payloads],
            "owner": self.owner,
        }
        with self._open() as db:
            db.execute(self._sql(sql.FILL), filled)

    def settle(self, visible: Sequence[tuple[int, int]], dead: Sequence[tuple[int, str]]) -> int:
        """See `Storage`."""
        counted = 0
        for column, kind, done in (("visible_us", "bigint", visible), ("dead_reason", "text", dead)):
            if done:
                with self._open() as db:
                    counted += db.execute(
                        self._sql(sql.SETTLE, column=column, type=kind),
                        {
                            "seqs": [seq for seq, _ in done],
                            "values": [value for _, value in done],
                            "owner": self.owner,
                        },
                    ).rowcount
        return counted

    def cursor(self, source: str) -> str | None:
        """See `Storage`."""
        with self._open() as db:
            row = db.execute(self._sql(sql.CURSOR), (source,)).fetchone()
        return None if row is None else str(row[0])

    def save_cursor(self, source: str, cursor: str) -> None:
        """See `Storage`."""
        with self._open() as db:
            db.execute(self._sql(sql.SAVE_CURSOR), (source, cursor))

    def purge(self, older_than_s: float, forget_after_s: float, *, dead: bool, limit: int) -> tuple[int, int]:
        """See `Storage`."""
        which = {
            "older_than_s": older_than_s, "forget_after_s": max(older_than_s, forget_after_s), "dead": dead,
            "limit": limit,
        }  # fmt: skip
        with self._open() as db:
            dropped = db.execute(self._sql(sql.DROP_PAYLOADS), which).rowcount
            return dropped, db.execute(self._sql(sql.FORGET), which).rowcount

    def purgeable(self, older_than_s: float, *, dead: bool) -> int:
        """See `Storage`."""
        with self._patiently() as db:
            which = {"older_than_s": older_than_s, "dead": dead}
            return sum(count for (count,) in db.execute(self._sql(sql.COUNT_PURGEABLE), which))

    def replay(self, states: Iterable[Literal["visible", "dead"]], event_id: str | None) -> int:
        """See `Storage`."""
        wanted = set(states)
        which = {"visible": "visible" in wanted, "dead": "dead" in wanted, "id": event_id}
        with self._patiently() as db:
            return db.execute(self._sql(sql.REPLAY), which).rowcount

    def counts(self) -> dict[State, int]:
        """See `Storage`."""
        with self._patiently() as db:
            return dict.fromkeys(STATES, 0) | dict(db.execute(self._sql(sql.COUNT)).fetchall())

    def events(self, state: State | None, limit: int) -> list[Listed]:
        """See `Storage`."""
        with self._patiently() as db:
            listed = db.execute(self._sql(sql.LIST), {"state": state, "limit": limit})
            return [Listed._make(row) for row in listed]

    def ledger(self) -> list[LedgerRow]:
        """See `Storage`."""
        with self._patiently() as db:
            return [LedgerRow._make(row) for row in db.execute(self._sql(sql.LEDGER))]

    def close(self) -> None:
        """See `Storage`."""
        mine = {"owner": self.owner}
        try:
            with self._open() as db, db.transaction():
                db.execute(self._sql(sql.RELEASE), mine)
                db.execute(self._sql(sql.LEAVE), mine)
        finally:
            self._disconnect()

    def _sql(self, statement: str, **more: str) -> LiteralString:
        # A statement is made of constants and a schema's name that `_split` has let through.
        return statement.format(s=self._schema, **more)

    @contextmanager
    def _open(self) -> Iterator[psycopg.Connection[tuple[Any, ...]]]:
        """The connection; after it was lost another one, tried for at bounded intervals."""
        try:
            if self._db is None:
                left_s = self._retry_at - time.monotonic()
                if left_s > 0:
                    raise StorageError(f"PostgreSQL: there is no connection; next attempt in {left_s:.1f} s")
                self._db = self._connect()
            yield self._db
        except (psycopg.Error, OverflowError) as error:
            if self._db is None or self._db.broken or isinstance(error, psycopg.OperationalError):
                self._disconnect()
            raise StorageError(f"PostgreSQL: {_one_line(error)}") from error

    @contextmanager
    def _patiently(self) -> Iterator[psycopg.Connection[tuple[Any, ...]]]:
        """The connection, for what an operator asks and is willing to wait for."""
        with self._open() as db, db.transaction():
            db.execute("SET LOCAL statement_timeout = 0")
            yield db

    def _connect(self) -> psycopg.Connection[tuple[Any, ...]]:
        first_s, longest_s = RECONNECT_S
        try:
            db = psycopg.connect(self._conninfo, autocommit=True, **_CONNECT)
            db.execute(_SESSION)
        except psycopg.Error:
            self._pause_s = min(max(self._pause_s * 2, first_s), longest_s)
            self._retry_at = time.monotonic() + self._pause_s
            raise
        self._pause_s = 0.0
        return db

    def _disconnect(self) -> None:
        if self._db is not None:
            self._db.close()
            self._db = None

    def _prepare(self, db: psycopg.Connection[tuple[Any, ...]], *, must_exist: bool) -> None:
        """Make the tables, unless they are there; several processes may be at it at once."""
        with db.transaction():
            db.execute("SELECT pg_advisory_xact_lock(hashtext('hookbench inbox ' || %s))", (self._schema,))
            tables = db.execute(
                "SELECT table_name FROM information_schema.tables WHERE table_schema = %s", (self._schema,)
            )
            there = {name for (name,) in tables}
            if "inbox_version" in there:
                row = db.execute(self._sql(sql.VERSION)).fetchone()
                if row != (SCHEMA_VERSION,):
                    raise InputError(
                        f"the inbox {self.url} cannot be opened: "
                        + other_version(row[0] if row is not None else None)
                    )
            elif there & {"inbox", "owners", "cursors"}:
                raise InputError(
                    f"the inbox {self.url} cannot be opened: schema {self._schema} has other tables of its "
                    "names; choose another with ?schema=NAME"
                )
            elif must_exist:
                raise InputError(f"there is no inbox at {self.url}")
            else:
                if db.execute("SELECT to_regnamespace(%s)", (self._schema,)).fetchone() == (None,):
                    db.execute(self._sql("CREATE SCHEMA {s}"))
                db.execute(self._sql(sql.SCHEMA))
            db.execute(self._sql(sql.TOUCH))  # which also shows that the database can be written


def _split(url: str) -> tuple[str, str]:
    """What libpq is told, and the schema.

    Raises:
        InputError: a password, or a schema's name that would need quoting.
    """
    try:
        parts = urlsplit(url)
        query = parse_qsl(parts.query, keep_blank_values=True)
        has_password = parts.password is not None or any("password" in key for key, _ in query)
    except ValueError as error:
        raise InputError(f"--inbox {without_password(url)!r} is no URL: {error}") from None
    if has_password:
        raise InputError(
            "--inbox must not hold a password, which other users could see; "
            "put it into ~/.pgpass or the environment variable PGPASSWORD"
        )
    schemas = [value for key, value in query if key == "schema"] or ["public"]
    if len(schemas) != 1 or not re.fullmatch(r"[a-z_][a-z0-9_]{0,62}", schemas[0]):
        raise InputError(
            f"--inbox ...?schema={schemas[-1]} is not a schema's name: a-z, 0-9 and _, at most 63"
        )
    rest = urlencode([(key, value) for key, value in query if key != "schema"])
    return urlunsplit(parts._replace(query=rest)), schemas[0]


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
