"""The inbox's table in SQLite, used by one thread of one process at a time.

WAL with synchronous=FULL: a commit has reached the disk when it returns (SQLite documentation,
"Write-Ahead Logging" and "PRAGMA synchronous"). Every statement commits by itself, so storing a group
is one call into SQLite: a thread that takes the GIL again for every row waits for it every time.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from sim.errors import InputError

Row = tuple[str, str, int, str, str, bytes, int, int]
"""source, event_id, event_index, event_type, via, payload, created_us, received_us"""

MAX_GROUP = 256  # rows gathered into one statement
MAX_SUBMISSION = 4000  # rows that belong together; SQLite binds at most 32766 values in a statement

_SCHEMA_VERSION = 2
_SCHEMA = f"""
CREATE TABLE inbox (
  seq INTEGER PRIMARY KEY,
  source TEXT NOT NULL,
  event_id TEXT NOT NULL,
  event_index INTEGER NOT NULL,
  event_type TEXT NOT NULL,
  via TEXT NOT NULL,
  payload BLOB NOT NULL,
  created_us INTEGER NOT NULL,
  received_us INTEGER NOT NULL,
  visible_us INTEGER,
  copies INTEGER NOT NULL DEFAULT 1,
  UNIQUE (event_id, source)
) STRICT;
CREATE INDEX unprocessed ON inbox (seq) WHERE visible_us IS NULL;
CREATE TABLE cursors (source TEXT PRIMARY KEY, cursor TEXT NOT NULL) STRICT, WITHOUT ROWID;
PRAGMA user_version = {_SCHEMA_VERSION};
"""
_INSERT = (
    "INSERT INTO inbox "
    "(source, event_id, event_index, event_type, via, payload, created_us, received_us) VALUES "
)
_ON_DUPLICATE = " ON CONFLICT (event_id, source) DO UPDATE SET copies = copies + 1"


def inbox_path(url: str) -> Path:
    """The file behind an inbox URL: ``sqlite:///relative.db`` or ``sqlite:////absolute.db``.

    Raises:
        InputError: another kind of URL, or no path.
    """
    path = url.removeprefix("sqlite:///")
    if path == url or not path:
        raise InputError(f"--inbox {url!r} is not supported; give sqlite:///PATH")
    return Path(path)


class Storage:
    """The open inbox file. Not thread-safe: after opening, one thread calls it.

    Raises:
        InputError: the file cannot be opened, is no inbox, or another process has it open.
    """

    def __init__(self, path: Path) -> None:
        self._lock = _lock(path)
        try:
            # Autocommit: each statement is its own transaction, durable when it returns.
            self._db = sqlite3.connect(
                path, isolation_level=None, check_same_thread=False, cached_statements=MAX_GROUP + 16
            )
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = FULL")
            (version,) = self._db.execute("PRAGMA user_version").fetchone()
            (tables,) = self._db.execute("SELECT count(*) FROM sqlite_master").fetchone()
            if version == 0 and tables == 0:
                self._db.executescript(f"BEGIN IMMEDIATE; {_SCHEMA} COMMIT;")
            elif version != _SCHEMA_VERSION:
                raise sqlite3.DatabaseError("it is a database, but not an inbox of this version")
            self._last_seq: int = self._db.execute("SELECT coalesce(max(seq), 0) FROM inbox").fetchone()[0]
        except sqlite3.Error as error:
            self._lock.close()
            raise InputError(f"the inbox {path} cannot be opened: {error}") from None

    def insert(self, rows: Sequence[Row]) -> list[tuple[int, int]]:
        """Store up to `MAX_SUBMISSION` events durably; a known (source, event id) only counts one more copy.

        Returns:
            (seq, event_index) of the events that are new, in their order of arrival.

        Raises:
            sqlite3.Error: nothing of the group may be acknowledged. Usually nothing was stored; where only
                telling the new from the known failed, the next start finds the new ones unprocessed.
        """
        before = self._last_seq
        values = ",".join(["(?,?,?,?,?,?,?,?)"] * len(rows))
        flat = [field for row in rows for field in row]
        cursor = self._db.execute(f"{_INSERT}{values}{_ON_DUPLICATE}", flat)
        # A row id is one more than the largest, so this one number tells the usual case: all were new.
        if cursor.lastrowid == before + len(rows):
            self._last_seq = cursor.lastrowid
            return [(before + position, row[2]) for position, row in enumerate(rows, start=1)]
        fresh = self._db.execute(
            "SELECT seq, event_index FROM inbox WHERE seq > ? ORDER BY seq", (before,)
        ).fetchall()
        self._last_seq = fresh[-1][0] if fresh else before
        return fresh

    def mark_visible(self, marks: Sequence[tuple[int, int]]) -> None:
        """Record (seq, visible_us) of finished events, in one statement whatever their number.

        Raises:
            sqlite3.Error: none of them was recorded.
        """
        self._db.execute(
            "UPDATE inbox SET visible_us = json_extract(mark.value, '$[1]') FROM json_each(?) AS mark "
            "WHERE seq = json_extract(mark.value, '$[0]') AND visible_us IS NULL",
            (json.dumps(marks),),
        )

    def unprocessed(self) -> list[tuple[int, int]]:
        """(seq, event_index) of the stored events that are not visible yet, oldest first."""
        return self._db.execute(
            "SELECT seq, event_index FROM inbox WHERE visible_us IS NULL ORDER BY seq"
        ).fetchall()

    def cursor(self, source: str) -> str | None:
        """How far `source` had been read by polling, or None when it never was."""
        row = self._db.execute("SELECT cursor FROM cursors WHERE source = ?", (source,)).fetchone()
        return None if row is None else str(row[0])

    def save_cursor(self, source: str, cursor: str) -> None:
        """Remember durably how far `source` has been read.

        Raises:
            sqlite3.Error: it was not remembered.
        """
        self._db.execute(
            "INSERT INTO cursors VALUES (?, ?) ON CONFLICT (source) DO UPDATE SET cursor = excluded.cursor",
            (source, cursor),
        )

    def close(self) -> None:
        """Close the file and give up the lock."""
        self._db.close()
        self._lock.close()


def _lock(path: Path) -> IO[str]:
    """Hold the file beside the inbox that keeps a second process out; the lock dies with its holder."""
    with contextlib.ExitStack() as undo:
        try:
            lock = undo.enter_context(Path(f"{path}.lock").open("a"))
        except OSError as error:
            raise InputError(f"the inbox {path} cannot be opened: {error.strerror}") from None
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InputError(f"the inbox {path} is in use by another process") from None
        undo.pop_all()
        return lock
