"""Reading an inbox file from outside, after (or during) a run."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from loadtest.contract import STANDARD
from sim.errors import InputError


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


def read_ledger(path: str | Path) -> list[LedgerRow]:
    """Every stored event, in the order in which they were stored.

    Raises:
        InputError: the file is missing or is no inbox.
    """
    if not Path(path).is_file():
        raise InputError(f"there is no inbox at {path}")
    columns = ", ".join(LedgerRow._fields)
    try:
        with closing(sqlite3.connect(f"{Path(path).resolve().as_uri()}?mode=ro", uri=True)) as db:
            rows = db.execute(f"SELECT {columns} FROM inbox ORDER BY seq")  # noqa: S608 - names from the class
            return [LedgerRow._make(row) for row in rows]
    except sqlite3.Error as error:
        raise InputError(f"{path} cannot be read as an inbox: {error}") from None
