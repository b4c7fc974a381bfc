"""Run folders: what a run was asked, what it ran on and what it found, written once.

A run lives in ``<out>/<UTC>_<name>_<commit8>[-dirty]/``: `run.json` and its data files. `run.json`
exists, marked "incomplete", before the first figure does, so a run that is interrupted or killed can
never pass for a whole one. It becomes "complete" when the run ends normally, with the SHA-256 of each
data file; `read_run` refuses a run whose files have changed since.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from sim.errors import InputError
from sim.provenance import code_commit, machine, versions
from sim.scenario import Scenario, TraceWorkload, scenario_from

SCHEMA_VERSION = 1
DOCUMENT = "run.json"
DEFAULT_OUT = Path("results")
REFERENCE = Path(__file__).parents[1] / "results" / "reference"

RECORD_SCHEMA = pa.schema(
    [
        ("event", pa.int64()),
        ("subscriber", pa.int64()),
        ("created", pa.float64()),
        ("first_attempt", pa.float64()),
        ("visible", pa.float64()),
        ("attempts", pa.int32()),
        ("copies", pa.int32()),
        ("via", pa.dictionary(pa.int8(), pa.string())),
        ("status", pa.dictionary(pa.int8(), pa.string())),
    ]
)
"""The columns of every records file (`sim.records.RECORD_COLUMNS`). Times are seconds; NaN means never."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


class Figure(Protocol):
    """What `save_figure` needs of a figure; a matplotlib Figure has it."""

    def savefig(self, fname: Path, /, *, dpi: float, metadata: dict[str, Any]) -> None:
        """Write the figure to a path."""


class RunFolder:
    """A run being written. Use it as a context manager; see `create`."""

    def __init__(self, path: Path, document: dict[str, Any]) -> None:
        self.path = path
        self._document = document
        self._started = time.monotonic()
        self._unfinished: set[str] = set()  # files from before it was taken up again

    @classmethod
    def create(
        cls,
        name: str,
        command: str | Sequence[str],
        out: str | Path | None = None,
        *,
        scenario: Scenario | None = None,
        seeds: Sequence[int] = (1,),
        extra: Mapping[str, Any] | None = None,
    ) -> RunFolder:
        """Make a new folder under `out` (default ./results) and write its `run.json`, "incomplete".

        An existing folder is never reused: a second run within the same second gets "-2" added.

        Args:
            name: letters, digits, ``.``, ``_`` and ``-``; becomes part of the folder's name.
            command: what was asked, as a line or as its words.
            out: the parent directory, made when missing.
            scenario: recorded in full, with its digest and that of its trace file.
            seeds: of all replications.
            extra: the first notes, as by `note`.

        Raises:
            InputError: the name cannot be part of a path, or the folder cannot be made.
        """
        _check_name(name, "a run's name")
        start = datetime.now(UTC)
        commit = code_commit()
        path = _new_folder(Path(out or DEFAULT_OUT), f"{start:%Y%m%dT%H%M%SZ}_{name}_{commit.label}")
        document: dict[str, Any] = {
            "schema_version": SCHEMA_VERSION,
            "name": name,
            "command": command if isinstance(command, str) else " ".join(command),
            "status": "incomplete",
            "reason": "still running, or killed before it could say why",
            "start": start.isoformat(timespec="milliseconds"),
            "duration_s": None,
            "commit": commit.sha,
            "dirty": commit.dirty,
            "scenario": None if scenario is None else _describe_scenario(scenario),
            "seeds": list(seeds),
            "versions": versions(),
            "machine": machine(),
            "notes": _plain(dict(extra or {})),
            "files": {},
        }
        run = cls(path, document)
        run._write()
        return run

    @classmethod
    def reopen(cls, path: str | Path, command: str) -> RunFolder:
        """Go on with a run that was interrupted or killed; the command is added to the notes.

        Files that it had written already may be written once more, for nothing vouches for them.

        Raises:
            InputError: it is no run folder, or the run is complete, which is never written again.
        """
        folder = Path(path)
        document = _read_document(folder)
        if document["status"] == "complete":
            raise InputError(f"{folder} is complete; a run is written once")
        run = cls(folder, document)
        run._unfinished = {file.name for file in folder.iterdir() if file.is_file()}
        run.note(resumed=[*document["notes"].get("resumed", []), command])
        return run

    def save_records(self, frame: pd.DataFrame, name: str = "records") -> Path:
        """Write delivery records as Parquet with `RECORD_SCHEMA`; further columns keep their own type.

        Raises:
            ValueError: a column of the schema is missing, or the file exists.
        """
        missing = [column for column in RECORD_SCHEMA.names if column not in frame.columns]
        if missing:
            raise ValueError(f"records lack {', '.join(missing)}")
        path = self._new_file(f"{name}.parquet")
        extra = [str(column) for column in frame.columns if column not in RECORD_SCHEMA.names]
        table = pa.table({column: _arrow(frame[column]) for column in [*RECORD_SCHEMA.names, *extra]})
        pq.write_table(table, path, compression="zstd")
        return path

    def save_table(self, frame: pd.DataFrame, name: str) -> Path:
        """Write a table as CSV, every digit kept, without its index.

        Raises:
            ValueError: the file exists.
        """
        path = self._new_file(f"{name}.csv")
        frame.to_csv(path, index=False, lineterminator="\n")
        return path

    def save_rows(self, frame: pd.DataFrame, name: str) -> Path:
        """Write a table as Parquet, each column with its own type.

        Raises:
            ValueError: the file exists.
        """
        path = self._new_file(f"{name}.parquet")
        table = pa.Table.from_pandas(frame, preserve_index=False)
        pq.write_table(table, path, compression="zstd")
        return path

    def save_text(self, text: str, name: str) -> Path:
        """Write a text under a name with its ending, as ``advice.md``.

        Raises:
            ValueError: the file exists.
        """
        path = self._new_file(name)
        path.write_text(text, encoding="utf-8", newline="\n")
        return path

    def save_figure(self, figure: Figure, name: str, dpi: float = 150) -> Path:
        """Write a figure as PNG, which is returned, and as SVG beside it.

        Raises:
            ValueError: one of the files exists.
        """
        svg, png = self._new_file(f"{name}.svg"), self._new_file(f"{name}.png")
        figure.savefig(svg, dpi=dpi, metadata={"Date": None})
        figure.savefig(png, dpi=dpi, metadata={})
        return png

    def note(self, **notes: object) -> None:
        """Merge facts into run.json's "notes", on disk at once: what is known survives a kill."""
        self._document["notes"].update(_plain(notes))
        self._write()

    def note_seeds(self, seeds: Sequence[int]) -> None:
        """State the seeds of all replications, where their number was found on the way."""
        self._document["seeds"] = list(seeds)
        self._write()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self._document.update(status="complete", reason=None)
        elif issubclass(kind, KeyboardInterrupt):
            self._document["reason"] = "interrupted"
        else:
            self._document["reason"] = f"{kind.__name__}: {error}"
        self._document["duration_s"] = round(time.monotonic() - self._started, 3)
        self._document["files"] = {
            path.relative_to(self.path).as_posix(): {
                "sha256": _sha256(path),
                "bytes": path.stat().st_size,
            }
            for path in sorted(self.path.rglob("*"))
            if path.is_file() and path != self.path / DOCUMENT
        }
        self._write()

    def _new_file(self, name: str) -> Path:
        _check_name(name, "a file's name")
        path = self.path / name
        if name in self._unfinished:
            self._unfinished.remove(name)
            path.unlink(missing_ok=True)
        if path.exists():
            raise ValueError(f"{path} exists; a run is written once")
        return path

    def _write(self) -> None:
        temporary = self.path / f".{DOCUMENT}.new"
        with temporary.open("w", encoding="utf-8") as file:
            json.dump(self._document, file, indent=2, ensure_ascii=False, allow_nan=False)
            file.write("\n")
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(self.path / DOCUMENT)


@dataclass(frozen=True)
class Run:
    """A run read back, its files unchanged since it was written.

    Attributes:
        path: its folder.
        document: run.json.
    """

    path: Path
    document: dict[str, Any]

    @property
    def complete(self) -> bool:
        """Whether the run ended normally."""
        return bool(self.document["status"] == "complete")

    @property
    def reason(self) -> str | None:
        """Why the run is incomplete; None when it is complete."""
        return None if self.complete else str(self.document["reason"])

    @property
    def notes(self) -> dict[str, Any]:
        """The facts the run noted."""
        return dict(self.document["notes"])

    @property
    def scenario(self) -> Scenario | None:
        """The scenario that ran, defaults included; None when there was none."""
        described = self.document["scenario"]
        return None if described is None else scenario_from(described["values"], source=str(self.path))

    def records(self, name: str = "records") -> pd.DataFrame:
        """The delivery records; columns as in `RECORD_SCHEMA`, then any further ones.

        Raises:
            InputError: the run has no such file.
        """
        frame: pd.DataFrame = pq.read_table(self._file(f"{name}.parquet")).to_pandas()
        return frame

    def table(self, name: str) -> pd.DataFrame:
        """A table as it was written.

        Raises:
            InputError: the run has no such file.
        """
        return pd.read_csv(self._file(f"{name}.csv"))

    def _file(self, name: str) -> Path:
        path = self.path / name
        if not path.is_file():
            present = sorted(each.name for each in self.path.glob(f"*{path.suffix}"))
            raise InputError(f"{self.path} has no {name}; it has {', '.join(present) or 'no such files'}")
        return path


def read_run(path: str | Path) -> Run:
    """Read a run folder and verify its data files against the hashes in run.json.

    An incomplete run can be read: its `complete` is False and its `reason` says why. One that was
    killed lists no files, so nothing vouches for them.

    Raises:
        InputError: not a run folder, another schema version, or a file that is missing or changed;
            the message names it.
    """
    folder = Path(path)
    document = _read_document(folder)
    for name, listed in document["files"].items():
        file = folder / name
        if not file.is_file():
            raise InputError(f"{folder}: {name} is missing, though run.json lists it")
        if _sha256(file) != listed["sha256"]:
            raise InputError(
                f"{folder}: {name} has changed since the run (its SHA-256 differs from run.json's)"
            )
    return Run(folder, document)


def reference_run(name: str) -> Run:
    """The newest run called `name` that is committed under results/reference/, verified.

    Raises:
        InputError: there is none, or a file of it has changed.
    """
    runs = [read_run(path.parent) for path in sorted(REFERENCE.glob(f"*/{DOCUMENT}"))]
    named = [run for run in runs if run.document["name"] == name]
    if not named:
        known = ", ".join(sorted({str(run.document["name"]) for run in runs}))
        raise InputError(f"{REFERENCE} has no run called {name!r}; it has {known or 'none'}")
    return named[-1]


def _read_document(folder: Path) -> dict[str, Any]:
    file = folder / DOCUMENT
    if not file.is_file():
        raise InputError(f"{folder} is not a run folder: it has no {DOCUMENT}")
    try:
        document = json.loads(file.read_text(encoding="utf-8"))
        version, _ = document["schema_version"], document["files"].items()
    except (ValueError, KeyError, TypeError, AttributeError, OSError) as error:
        raise InputError(f"{file} cannot be read as a run's document: {error}") from None
    if version != SCHEMA_VERSION:
        raise InputError(f"{file} has schema_version {version!r}; this hookbench reads {SCHEMA_VERSION}")
    return dict(document)


def _arrow(column: pd.Series[Any]) -> pa.Array:
    if column.name not in RECORD_SCHEMA.names:
        return pa.array(column)
    type_ = RECORD_SCHEMA.field(column.name).type
    if pa.types.is_dictionary(type_):
        return pa.array(column.astype("category")).cast(type_)
    return pa.array(column.to_numpy(), type=type_)  # from NumPy NaN stays NaN, from pandas it becomes null


def _new_folder(out: Path, stem: str) -> Path:
    attempt = 1
    while True:
        path = out / (stem if attempt == 1 else f"{stem}-{attempt}")
        try:
            out.mkdir(parents=True, exist_ok=True)
            path.mkdir()
        except OSError as error:
            if not path.is_dir():
                raise InputError(f"cannot make the run folder {path}: {error.strerror}") from None
            attempt += 1
        else:
            return path


def _describe_scenario(scenario: Scenario) -> dict[str, Any]:
    described: dict[str, Any] = {
        "values": scenario.model_dump(mode="json"),
        "digest": scenario.digest(),
    }
    if isinstance(scenario.workload, TraceWorkload):
        path = Path(scenario.workload.path)
        try:
            described["trace_sha256"] = _sha256(path)
        except OSError as error:
            raise InputError(f"trace {path}: cannot be read: {error.strerror}") from None
    return described


def _check_name(name: str, what: str) -> None:
    if not _NAME.fullmatch(name):
        raise InputError(f"{what} must be letters, digits, '.', '_' and '-', got {name!r}")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _plain(value: object) -> object:
    """`value` in JSON's own types; a number that is not finite becomes null."""
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        return _plain(value.tolist())
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, str | int | bool):
        return value
    if isinstance(value, Path | datetime):
        return str(value)
    raise TypeError(f"run.json cannot hold a {type(value).__name__}: {value!r}")
