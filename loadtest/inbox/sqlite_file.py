"""An inbox's SQLite file: its tables, and opening, making and reading it."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from loadtest.inbox.storage import SCHEMA_VERSION, LedgerRow, other_version
from sim.errors import InputError

BUSY_S = 2.0  # how long writers wait for each other

# A seq is never used twice (AUTOINCREMENT), so that a late mark cannot hit another event.
_SCHEMA = f"""
CREATE TABLE inbox (
  seq INTEGER PRIMARY KEY AUTOINCREMENT,
  source TEXT NOT NULL,
  event_id TEXT NOT NULL,
  event_index INTEGER NOT NULL,
  event_type TEXT NOT NULL,
  via TEXT NOT NULL,
  payload BLOB,
  created_us INTEGER NOT NULL,
  received_us INTEGER NOT NULL,
  owner INTEGER NOT NULL,
  attempts INTEGER NOT NULL DEFAULT 0,
  visible_us INTEGER,
  dead_reason TEXT,
  finished_s INTEGER,
  copies INTEGER NOT NULL DEFAULT 1,
  UNIQUE (event_id, source)
) STRICT;
CREATE INDEX unserved ON inbox (owner, seq) WHERE finished_s IS NULL;
CREATE INDEX finished ON inbox (finished_s) WHERE finished_s IS NOT NULL AND payload IS NOT NULL;
CREATE INDEX purged ON inbox (finished_s) WHERE payload IS NULL;
CREATE TABLE owners (
  owner INTEGER PRIMARY KEY, alive_until_us INTEGER NOT NULL, lease_us INTEGER NOT NULL
) STRICT;
CREATE TABLE cursors (source TEXT PRIMARY KEY, cursor TEXT NOT NULL) STRICT, WITHOUT ROWID;
PRAGMA user_version = {SCHEMA_VERSION};
"""


def read_sqlite(path: Path) -> list[LedgerRow]:
    """Every event of an inbox that need not be writable.

    Raises:
        InputError: the file is missing or is no inbox.
    """
    if not path.is_file():
        raise InputError(f"there is no inbox at {path}")
    db = None
    try:
        db = connect(path, "ro")
        return ledger(db)
    except sqlite3.Error as error:
        raise InputError(f"{path} cannot be read as an inbox: {error}") from None
    finally:
        if db is not None:
            db.close()


def connect(path: Path, mode: str) -> sqlite3.Connection:
    """Open the file on autocommit: each statement is its own transaction, durable when it returns."""
    db = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode={mode}",
        uri=True,
        timeout=BUSY_S,
        isolation_level=None,
        check_same_thread=False,
        cached_statements=64,
    )
    db.execute("PRAGMA synchronous = FULL")
    return db


def prepare(db: sqlite3.Connection) -> None:
    """Make the tables, unless they are there; several processes may be at it at once."""
    _while_busy(lambda: db.execute("PRAGMA journal_mode = WAL"))
    with transaction(db):  # which also shows that the file can be written
        found = version(db)
        (tables,) = db.execute("SELECT count(*) FROM sqlite_master").fetchone()
        if found == 0 and tables == 0:
            for statement in _SCHEMA.split(";\n"):
                db.execute(statement)
        elif 0 < found < SCHEMA_VERSION:
            raise sqlite3.DatabaseError(other_version(found))
        elif found != SCHEMA_VERSION:
            raise sqlite3.DatabaseError("it is a database, but not an inbox of this version")
        db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")  # writes, which is the proof


def _while_busy(work: Callable[[], Any]) -> None:
    """SQLite does not wait by itself for a change of the journal's mode."""
    give_up = time.monotonic() + BUSY_S
    while True:
        try:
            work()
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > give_up:
                raise
            time.sleep(0.01)
        else:
            return


@contextmanager
def transaction(db: sqlite3.Connection) -> Iterator[None]:
    """One transaction that writes; it is undone when its body raises."""
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise


def version(db: sqlite3.Connection) -> int:
    """The schema's version; 0 when there is none."""
    return int(db.execute("PRAGMA user_version").fetchone()[0])


def last_seq(db: sqlite3.Connection) -> int:
    """The largest seq ever given to an event."""
    return int(db.execute("SELECT coalesce(max(seq), 0) FROM sqlite_sequence").fetchone()[0])


def ledger(db: sqlite3.Connection) -> list[LedgerRow]:
    """Every event, in the order of storage."""
    columns = ", ".join(LedgerRow._fields)
    rows = db.execute(f"SELECT {columns} FROM inbox ORDER BY seq")  # noqa: S608 - names from the class
    return [LedgerRow._make(row) for row in rows]
