"""The inbox in an SQLite file, shared by the processes of one machine.

WAL with synchronous=FULL: a commit has reached the disk when it returns (SQLite documentation,
"Write-Ahead Logging" and "PRAGMA synchronous"). Writers wait for each other, at most
`sqlite_file.BUSY_S`. Leases are
times of the machine's monotonic clock; it starts anew with the machine, so a lease that ends later than
its own length from now was written before that, and has lapsed.
"""

# ruff: noqa: S608 - statements are made of constants, never of what came from outside
from __future__ import annotations

import json
import secrets
import sqlite3
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Literal

import orjson

from loadtest.contract import now_us
from loadtest.inbox.sqlite_file import connect, last_seq, ledger, prepare, transaction, version
from loadtest.inbox.storage import (
    NOBODY,
    SCHEMA_VERSION,
    STATES,
    LedgerRow,
    Listed,
    Owned,
    Row,
    State,
    StorageError,
    StoredEvent,
)
from sim.errors import InputError

_FIELDS = 8  # of a `Row`
_INSERT = (
    "INSERT INTO inbox "
    "(source, event_id, event_index, event_type, via, payload, created_us, received_us, owner) "
    "SELECT *, ? FROM (VALUES {rows}) WHERE column1 IS NOT NULL ON CONFLICT (event_id, source) DO NOTHING"
)
_EVENT = "seq, source, event_id, event_index, event_type, via, payload, created_us, received_us, attempts"
_LIVE = "alive_until_us > :now AND alive_until_us <= :now + lease_us"
# The owners of unserved events are found by as many steps in the index as there are owners.
_CLAIM = f"""
WITH RECURSIVE owning (owner) AS (
  SELECT min(owner) FROM inbox WHERE finished_s IS NULL
  UNION ALL
  SELECT (SELECT min(i.owner) FROM inbox AS i WHERE i.finished_s IS NULL AND i.owner > owning.owner)
  FROM owning WHERE owning.owner IS NOT NULL)
UPDATE inbox SET owner = :owner WHERE seq IN (
  SELECT seq FROM inbox
  WHERE finished_s IS NULL AND owner IN (
    SELECT owner FROM owning WHERE owner NOT IN (SELECT owner FROM owners WHERE {_LIVE}))
  ORDER BY seq LIMIT :room)
"""
_STATE = f"""
CASE WHEN visible_us IS NOT NULL THEN 'visible' WHEN dead_reason IS NOT NULL THEN 'dead'
     WHEN owner IN (SELECT owner FROM owners WHERE {_LIVE}) THEN 'in-service' ELSE 'waiting' END
"""


class SqliteStorage:
    """A `Storage` in the file at `path`, made when missing.

    Raises:
        InputError: the file cannot be opened for writing, or is no inbox of this version.
    """

    def __init__(self, path: Path, *, must_exist: bool = False) -> None:
        self.owner = secrets.randbits(47) + 1
        self.url = f"sqlite:///{path}"
        self._path = path
        if must_exist and not path.is_file():
            raise InputError(f"there is no inbox at {path}")
        self._db: sqlite3.Connection | None = None
        try:
            self._db = connect(path, "rwc")
            prepare(self._db)
            self._last_seq = last_seq(self._db)
        except sqlite3.Error as error:
            self._disconnect()
            raise InputError(f"the inbox {path} cannot be opened: {error}") from None

    def insert(self, rows: Sequence[Row]) -> list[tuple[int, int]]:
        """See `Storage`. One statement when all are new, three when not, whatever their number.

        A thread that takes the GIL again for every row waits for it every time. To prepare a statement takes
        half as long as to run it, so there are few: what is left of their places stays empty.
        """
        with self._open() as db:
            places = _places(len(rows))
            done = db.execute(
                _insert(places),
                (self.owner, *chain.from_iterable(rows), *[None] * (_FIELDS * (places - len(rows)))),
            )
            if done.rowcount == len(rows) and done.lastrowid is not None:
                # Nobody else writes within a statement, so the row ids are the last ones, in a row.
                before, self._last_seq = done.lastrowid - len(rows), done.lastrowid
                return [(before + position, row[2]) for position, row in enumerate(rows, start=1)]
            # Not one transaction: who dies in between has not acknowledged the copies it did not count.
            fresh = db.execute(
                "SELECT seq, event_index, event_id, source FROM inbox "
                "WHERE finished_s IS NULL AND owner = ? AND seq > ? ORDER BY seq",
                (self.owner, self._last_seq),
            ).fetchall() if done.rowcount else []  # fmt: skip
            first = {(event_id, source) for _, _, event_id, source in fresh}
            again = []
            for row in rows:
                if (key := (row[1], row[0])) in first:
                    first.remove(key)
                else:
                    again.append(key)
            db.execute(
                "UPDATE inbox SET copies = copies + more.n FROM ("
                "SELECT json_extract(value, '$[0]') AS event_id, json_extract(value, '$[1]') AS source, "
                "count(*) AS n FROM json_each(?) GROUP BY 1, 2) AS more "
                "WHERE inbox.event_id = more.event_id AND inbox.source = more.source",
                (json.dumps(again),),
            )
            if fresh:
                self._last_seq = fresh[-1][0]
            return [(seq, index) for seq, index, _, _ in fresh]

    def known(self, keys: Sequence[tuple[str, str]]) -> set[tuple[str, str]]:
        """See `Storage`. One value, however many keys: see `insert`."""
        with self._open() as db:
            found = db.execute(
                "SELECT source, event_id FROM json_each(?) AS asked JOIN inbox "
                "ON event_id = json_extract(asked.value, '$[1]') "
                "AND source = json_extract(asked.value, '$[0]')",
                (json.dumps(list(keys)),),
            )
            return set(found.fetchall())

    def beat(self, lease_s: float, room: int) -> list[Owned]:
        """See `Storage`."""
        now, lease = now_us(), round(lease_s * 1e6)
        at = {"owner": self.owner, "now": now, "lease": lease, "until": now + lease, "room": room}
        with self._open() as db, transaction(db):
            db.execute(
                "INSERT INTO owners VALUES (:owner, :until, :lease) ON CONFLICT (owner) DO UPDATE "
                "SET alive_until_us = excluded.alive_until_us, lease_us = excluded.lease_us",
                at,
            )
            if room > 0:
                db.execute(_CLAIM, at)
            db.execute(f"DELETE FROM owners WHERE NOT ({_LIVE})", at)
            # One value, however many events: see `insert`.
            (mine,) = db.execute(
                "SELECT json_group_array(json_array(seq, event_index, attempts)) FROM (SELECT * FROM inbox "
                "WHERE finished_s IS NULL AND owner = :owner ORDER BY seq)",
                at,
            ).fetchone()
            self._last_seq = last_seq(db)  # what was taken over is not new to `insert`
        return [Owned(*event) for event in json.loads(mine)]

    def begin(self, seqs: Sequence[int]) -> list[StoredEvent]:
        """See `Storage`."""
        with self._open() as db:
            events = db.execute(
                "UPDATE inbox SET attempts = attempts + 1 WHERE seq IN (SELECT value FROM json_each(:seqs)) "
                "AND finished_s IS NULL AND owner = :owner "
                f"AND EXISTS (SELECT 1 FROM owners WHERE owner = :owner AND {_LIVE}) "
                f"RETURNING {_EVENT}",
                {"seqs": json.dumps(list(seqs)), "owner": self.owner, "now": now_us()},
            ).fetchall()
        return sorted(StoredEvent(*event) for event in events)

    def stored(self, seqs: Sequence[int]) -> list[StoredEvent]:
        """See `Storage`."""
        with self._open() as db:
            events = db.execute(
                f"SELECT {_EVENT} FROM inbox WHERE seq IN (SELECT value FROM json_each(?)) "
                "AND finished_s IS NULL AND owner = ? ORDER BY seq",
                (json.dumps(list(seqs)), self.owner),
            ).fetchall()
        return [StoredEvent(*event) for event in events]

    def fill(self, payloads: Sequence[tuple[int, bytes]]) -> None:
        """See `Storage`."""
        with self._open() as db, transaction(db):
            db.executemany(
                "UPDATE inbox SET payload = ? WHERE seq = ? AND finished_s IS NULL AND owner = ?",
                [(payload, seq, self.owner) for seq, payload in payloads],
            )

    def settle(self, visible: Sequence[tuple[int, int]], dead: Sequence[tuple[int, str]]) -> int:
        """See `Storage`."""
        counted = 0
        for column, done in (("visible_us", visible), ("dead_reason", dead)):
            if done:
                with self._open() as db:
                    # The unary + keeps the search on seq.
                    counted += db.execute(
                        f"UPDATE inbox SET {column} = json_extract(done.value, '$[1]'), finished_s = ? "
                        "FROM json_each(?) AS done WHERE seq = json_extract(done.value, '$[0]') "
                        "AND +owner = ? "
                        f"AND (finished_s IS NULL OR {column} = json_extract(done.value, '$[1]'))",
                        (int(time.time()), orjson.dumps(done).decode(), self.owner),
                    ).rowcount
        return counted

    def cursor(self, source: str) -> str | None:
        """See `Storage`."""
        with self._open() as db:
            row = db.execute("SELECT cursor FROM cursors WHERE source = ?", (source,)).fetchone()
        return None if row is None else str(row[0])

    def save_cursor(self, source: str, cursor: str) -> None:
        """See `Storage`."""
        with self._open() as db:
            db.execute(
                "INSERT INTO cursors VALUES (?, ?) "
                "ON CONFLICT (source) DO UPDATE SET cursor = excluded.cursor",
                (source, cursor),
            )

    def purge(self, older_than_s: float, forget_after_s: float, *, dead: bool, limit: int) -> tuple[int, int]:
        """See `Storage`."""
        now = time.time()
        with self._open() as db:
            dropped = db.execute(
                "UPDATE inbox SET payload = NULL WHERE seq IN ("
                f"SELECT seq FROM inbox WHERE {_PURGEABLE} LIMIT ?)",
                (now - older_than_s, dead, limit),
            ).rowcount
            forgotten = db.execute(
                "DELETE FROM inbox WHERE seq IN (SELECT seq FROM inbox WHERE payload IS NULL "
                "AND finished_s <= ? LIMIT ?)",
                (now - max(older_than_s, forget_after_s), limit),
            ).rowcount
        return dropped, forgotten

    def purgeable(self, older_than_s: float, *, dead: bool) -> int:
        """See `Storage`."""
        with self._open() as db:
            (count,) = db.execute(
                f"SELECT count(*) FROM inbox WHERE {_PURGEABLE}", (time.time() - older_than_s, dead)
            ).fetchone()
        return int(count)

    def replay(self, states: Iterable[Literal["visible", "dead"]], event_id: str | None) -> int:
        """See `Storage`."""
        wanted = set(states)
        with self._open() as db:
            return db.execute(
                f"UPDATE inbox SET owner = {NOBODY}, attempts = 0, visible_us = NULL, dead_reason = NULL, "
                "finished_s = NULL WHERE finished_s IS NOT NULL AND payload IS NOT NULL "
                "AND ((? AND visible_us IS NOT NULL) OR (? AND dead_reason IS NOT NULL)) "
                "AND (?3 IS NULL OR event_id = ?3)",
                ("visible" in wanted, "dead" in wanted, event_id),
            ).rowcount

    def counts(self) -> dict[State, int]:
        """See `Storage`."""
        with self._open() as db:
            found = db.execute(f"SELECT {_STATE} AS state, count(*) FROM inbox GROUP BY 1", {"now": now_us()})
            return dict.fromkeys(STATES, 0) | dict(found.fetchall())

    def events(self, state: State | None, limit: int) -> list[Listed]:
        """See `Storage`."""
        with self._open() as db:
            found = db.execute(
                f"SELECT * FROM (SELECT seq, {_STATE} AS state, source, event_id, event_type, via, copies, "
                "attempts, dead_reason, finished_s, payload IS NULL FROM inbox) "
                "WHERE :state IS NULL OR state = :state ORDER BY seq DESC LIMIT :limit",
                {"now": now_us(), "state": state, "limit": limit},
            ).fetchall()
        return [Listed._make(row)._replace(purged=bool(row[-1])) for row in found]

    def ledger(self) -> list[LedgerRow]:
        """See `Storage`."""
        with self._open() as db:
            return ledger(db)

    def close(self) -> None:
        """See `Storage`."""
        try:
            with self._open() as db, transaction(db):
                db.execute(
                    f"UPDATE inbox SET owner = {NOBODY} WHERE finished_s IS NULL AND owner = ?", (self.owner,)
                )
                db.execute("DELETE FROM owners WHERE owner = ?", (self.owner,))
        finally:
            self._disconnect()

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        """The connection; after a failure another one, for SQLite does not survive every mishap of a file."""
        try:
            if self._db is None:
                self._db = connect(self._path, "rw")
                if version(self._db) != SCHEMA_VERSION:
                    raise sqlite3.DatabaseError("it is no inbox any more")
                self._last_seq = last_seq(self._db)
            yield self._db
        except (sqlite3.Error, OverflowError) as error:
            self._disconnect()
            raise StorageError(f"SQLite: {error}") from error

    def _disconnect(self) -> None:
        if self._db is not None:
            self._db.close()
            self._db = None


def _places(rows: int) -> int:
    """The size of the statement that stores so many rows: a power of two, or from 16 on a multiple of it."""
    return 1 << (rows - 1).bit_length() if rows < 16 else -(-rows // 16) * 16


@cache
def _insert(places: int) -> str:
    row = f"({','.join('?' * _FIELDS)})"
    return _INSERT.format(rows=",".join([row] * places))


_PURGEABLE = "payload IS NOT NULL AND finished_s <= ? AND (visible_us IS NOT NULL OR ?)"
