"""What a sweep has finished, on disk as it goes: a line of JSON a run, appended and never rewritten.

The first line says which sweep it is. A line that was not written whole, as when the process was killed, does
not end in a newline: it is no result, and is cut off before anything is added.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import IO, Any, NamedTuple, Self

from sim.errors import InputError
from sim.metrics.basis import Basis

SCHEMA_VERSION = 2

Metrics = Mapping[str, Mapping[str, float]]
"""Mechanism -> metric -> value."""

Bases = Mapping[str, Basis]
"""Mechanism -> what its metrics rest on."""


class Finished(NamedTuple):
    """One replication at one design point, every mechanism."""

    point: int
    replication: int
    metrics: Metrics
    bases: Bases


class Journal:
    """The journal at `path`, begun when missing. Use as a context manager, from one process at a time.

    Args:
        path: the file.
        sweep: what identifies the sweep; a journal of another one is refused.

    Attributes:
        finished: what it held when it was opened.

    Raises:
        InputError: it is no journal of this version, or of another sweep, or cannot be written.
    """

    def __init__(self, path: Path, sweep: Mapping[str, Any]) -> None:
        head = {"schema_version": SCHEMA_VERSION} | json.loads(json.dumps(dict(sweep)))
        self.finished: list[Finished] = []
        with ExitStack() as on_failure:
            try:
                self._file = on_failure.enter_context(path.open("ab+"))
                _lock(self._file, path)
                self._file.seek(0)
                content = self._file.read()
                whole = content[: content.rfind(b"\n") + 1]
                if whole:
                    first, *lines = whole.splitlines()
                    self.finished = list(_read(path, first, lines, head))
                self._file.truncate(len(whole))
                if not whole:
                    self._file.write(json.dumps(head).encode() + b"\n")
                self._file.flush()
            except OSError as error:
                raise InputError(f"the sweep's journal {path} cannot be written: {error.strerror}") from None
            on_failure.pop_all()

    def add(self, results: Iterable[Finished]) -> None:
        """Append what is finished; it is in the file when this returns, though a power cut may take it.

        Raises:
            InputError: it cannot be written.
        """
        lines = [
            json.dumps([each.point, each.replication, _finite(each.metrics), _plain(each.bases)]) + "\n"
            for each in results
        ]
        try:
            self._file.write("".join(lines).encode())
            self._file.flush()
        except OSError as error:
            raise InputError(f"the sweep's journal cannot be written: {error.strerror}") from None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.fsync(self._file.fileno())
        self._file.close()


def _lock(file: IO[bytes], path: Path) -> None:
    """Let no other process write the journal meanwhile; the system unlocks it when the process ends."""
    try:
        import fcntl  # noqa: PLC0415 - Windows has none
    except ImportError:
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise InputError(f"{path} is being written by another process") from None


def _read(path: Path, first: bytes, lines: list[bytes], head: Mapping[str, Any]) -> Iterator[Finished]:
    try:
        found = json.loads(first)
        results = [json.loads(line) for line in lines]
    except ValueError:
        raise InputError(f"{path} is not a sweep's journal") from None
    if not isinstance(found, dict) or found.get("schema_version") != SCHEMA_VERSION:
        raise InputError(f"{path} is not a sweep's journal of schema_version {SCHEMA_VERSION}")
    if found != head:
        differ = sorted(key for key in found.keys() | head.keys() if found.get(key) != head.get(key))
        raise InputError(f"{path} belongs to another sweep: {', '.join(differ)} differ")
    for point, replication, metrics, bases in results:
        yield Finished(
            point,
            replication,
            {
                mechanism: {name: math.nan if value is None else value for name, value in of_one.items()}
                for mechanism, of_one in metrics.items()
            },
            {mechanism: Basis.read(basis) for mechanism, basis in bases.items()},
        )


def _finite(metrics: Metrics) -> dict[str, dict[str, float | None]]:
    """NaN, which JSON has not, becomes null; floats keep every digit."""
    return {
        mechanism: {name: value if math.isfinite(value) else None for name, value in of_one.items()}
        for mechanism, of_one in metrics.items()
    }


def _plain(bases: Bases) -> dict[str, dict[str, Any]]:
    return {mechanism: basis.plain() for mechanism, basis in bases.items()}
