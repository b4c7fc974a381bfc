"""Inboxes for the tests: each in a file or a PostgreSQL schema of its own, and ways to look behind them."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import psycopg
import pytest

from loadtest.contract import Envelope, now_us
from loadtest.inbox import Arrival, Storage, StorageError

POSTGRES = os.environ.get("HOOKBENCH_TEST_POSTGRES", "postgresql://postgres@127.0.0.1:5432/test")
BACKENDS = ("sqlite", "postgres")


def missing(reason: str) -> None:
    """Skip the test, or fail it where every service has to be there (CI)."""
    if os.environ.get("HOOKBENCH_REQUIRE_SERVICES") == "1":
        pytest.fail(f"HOOKBENCH_REQUIRE_SERVICES=1, but {reason}")
    pytest.skip(reason)


@contextmanager
def fresh_inbox(backend: str, folder: Path) -> Iterator[str]:
    """The URL of an inbox that nobody else uses; gone afterwards."""
    if backend == "sqlite":
        yield f"sqlite:///{folder / 'inbox.db'}"
        return
    schema = f"hookbench_{uuid.uuid4().hex[:16]}"
    try:
        db = psycopg.connect(POSTGRES, autocommit=True, connect_timeout=3)
    except psycopg.OperationalError as error:
        missing(f"there is no PostgreSQL at {POSTGRES}: {' '.join(str(error).split())}")
    with db:
        try:
            yield f"{POSTGRES}?schema={schema}"
        finally:
            db.execute(f'DROP SCHEMA IF EXISTS "{schema}" CASCADE')


def query(url: str, statement: str) -> list[tuple[Any, ...]]:
    """Run a statement on the inbox's tables behind the inbox's back."""
    if url.startswith("sqlite:///"):
        with closing(sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None, timeout=10)) as db:
            return db.execute(statement).fetchall()
    schema = dict(parse_qsl(urlsplit(url).query))["schema"]
    with psycopg.connect(url.partition("?")[0], autocommit=True) as db:
        db.execute(f'SET search_path = "{schema}"')
        cursor = db.execute(statement)
        return cursor.fetchall() if cursor.description else []


def lapse(url: str, owner: int | None = None) -> None:
    """Let the lease of one owner, or of all, be over."""
    where = "" if owner is None else f" WHERE owner = {owner}"
    query(url, f"UPDATE owners SET alive_until_us = 0{where}")


def arrival(index: int, name: str = "evt", payload: bytes = b"{}") -> Arrival:
    return Arrival(
        Envelope(f"{name}_{index}", "new_order", index, 1000 + index), payload, "webhook", now_us()
    )


async def happens(condition: Callable[[], bool], within_s: float = 10.0) -> None:
    """Let the loop run until it does."""
    give_up = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < give_up, "it did not happen in time"
        await asyncio.sleep(0.01)


def row(index: int, name: str = "evt", source: str = "standard") -> tuple[Any, ...]:
    """The same as storage takes it."""
    return (source, f"{name}_{index}", index, "new_order", "webhook", b"{}", 1000 + index, now_us())


class Faulty:
    """A storage whose calls fail on demand: before they happen, or after, when only the answer is lost."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self.before: set[str] = set()
        self.after: set[str] = set()

    def __getattr__(self, name: str) -> Any:
        call = getattr(self._storage, name)
        if not callable(call):
            return call

        def guarded(*arguments: Any, **options: Any) -> Any:
            if name in self.before:
                raise StorageError(f"{name} failed")
            result = call(*arguments, **options)
            if name in self.after:
                raise StorageError(f"the answer of {name} was lost")
            return result

        return guarded
