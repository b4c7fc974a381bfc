"""Reading an inbox from outside, after (or during) a run."""

from __future__ import annotations

from pathlib import Path

from loadtest.inbox.sqlite_file import read_sqlite
from loadtest.inbox.storage import LedgerRow, StorageError, open_storage
from sim.errors import InputError


def read_ledger(inbox: str | Path) -> list[LedgerRow]:
    """Every stored event, in the order in which they were stored.

    Args:
        inbox: an SQLite file, which need not be writable, or the URL of an inbox.

    Raises:
        InputError: it is missing or is no inbox.
    """
    if "://" not in str(inbox):
        return read_sqlite(Path(inbox))
    storage = open_storage(str(inbox), must_exist=True)
    try:
        return storage.ledger()
    except StorageError as error:
        raise InputError(f"{storage.url} cannot be read as an inbox: {error}") from None
    finally:
        storage.close()
