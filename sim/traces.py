"""Recorded histories as workloads: one column of timestamps in a CSV or JSON-lines file.

What is accepted, in full:

- UTF-8 text, with or without a byte-order mark, with any line endings. A file whose name ends in
  .jsonl, .ndjson or .json, or whose first character is ``{``, holds one JSON object a line; any
  other is CSV with a header, delimited by comma, semicolon or tab, quoted as in RFC 4180.
- Timestamps that are all ISO 8601 (``2024-05-01T12:00:00.123456789+02:00``; the time of day, its
  fraction and the offset are optional; none of a file's offsets means UTC) or all numbers since the
  epoch, in one unit.
- Blank lines at the end. Elsewhere a blank line is an error, since in a file of one column it is a
  missing timestamp.

Nothing is skipped: whatever else a row holds is an error that names the line. Times are kept as integer
nanoseconds until the first has been subtracted, so differences are exact.
"""

from __future__ import annotations

import csv
import difflib
import io
import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal, NamedTuple, NoReturn, get_args

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sim.errors import TraceError

EpochUnit = Literal["s", "ms", "us", "ns"]
Order = Literal["strict", "sort"]
Duplicates = Literal["error", "keep"]

_ISO = re.compile(
    r"\d{4}-\d\d-\d\d(?:[T ]\d\d(?::\d\d(?::\d\d(?:\.\d{1,9})?)?)?(?P<offset> ?Z| ?[+-]\d\d(?::?\d\d)?)?)?",
    re.ASCII,
)
_EPOCH = re.compile(r"[+-]?\d{1,30}(?:\.\d{0,30})?(?:[eE][+-]?\d{1,2})?", re.ASCII)
_NS_PER: dict[str, int] = {"s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}
_UNITS: tuple[EpochUnit, ...] = ("s", "ms", "us", "ns")
_MAGNITUDES = (1e11, 1e14, 1e17)  # where one unit ends and the next begins
_NS_LIMIT = 2**63 - 1
_YEARS = "1678 to 2261"


@dataclass(frozen=True)
class Trace:
    """A recorded history.

    Attributes:
        times_s: float64, shape (rows,), ascending; seconds since the first row, which is at 0.
        origin: the first row's instant, UTC, rounded down to the microsecond.
        unit: how the column was read: "iso8601", or the unit of its epoch numbers.
        reordered: rows that stood after a later one and were sorted into place.
        repeated: rows at the same instant as another before them, kept.
    """

    times_s: NDArray[np.float64]
    origin: datetime
    unit: Literal["iso8601"] | EpochUnit
    reordered: int = 0
    repeated: int = 0

    @property
    def rows(self) -> int:
        """How many events there are."""
        return len(self.times_s)


class _Column(NamedTuple):
    """The cells of one column, and the physical line each one's row starts at."""

    path: Path
    name: str
    cells: list[str]
    lines: list[int]

    def fail(self, row: int, problem: str) -> NoReturn:
        cell = self.cells[row]
        shown = repr(cell if len(cell) <= 60 else cell[:57] + "...")
        raise TraceError(f"{self.path}:{self.lines[row]}: {self.name} {shown} {problem}")


def read_trace(
    path: str | Path,
    column: str,
    *,
    order: Order = "strict",
    duplicates: Duplicates = "error",
    unit: EpochUnit | None = None,
) -> Trace:
    """Read one column of timestamps; what is accepted stands at the top of this module.

    Args:
        path: the file.
        column: the CSV column's header, or the key in every JSON object.
        order: "strict" makes a row earlier than the one before it an error; "sort" sorts.
        duplicates: "error" makes two rows at the same instant an error; "keep" keeps both.
        unit: of epoch numbers. By default it follows from their magnitude, once for the whole file:
            seconds below 1e11 (the year 5138), then ms below 1e14, µs below 1e17, ns; a file whose
            rows disagree is an error.

    Raises:
        TraceError: the file or a row of it is not as stated; the message names path and line
            (counted from 1 in the file, whatever quoting does) and what would be accepted.
    """
    _check_choice("order", order, Order)
    _check_choice("duplicates", duplicates, Duplicates)
    if unit is not None:
        _check_choice("unit", unit, EpochUnit)
    path = Path(path)
    text = _read_text(path)
    is_json = path.suffix.lower() in {".jsonl", ".ndjson", ".json"} or text.startswith("{")
    cells = _json_column(path, text, column) if is_json else _csv_column(path, text, column)
    if not cells.cells:
        raise TraceError(f"{path}: there is a header but no row under it")
    times_ns, read_as = _parse(cells, unit)
    times_ns, reordered, repeated = _ordered(cells, times_ns, order, duplicates)
    whole_us, rest_ns = np.divmod(times_ns - times_ns[0], 1000)
    origin = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=int(times_ns[0]) // 1000)
    return Trace(whole_us / 1e6 + rest_ns / 1e9, origin, read_as, reordered, repeated)


def describe(trace: Trace) -> dict[str, float | int | str | None]:
    """A trace in figures; None where there are too few rows to tell.

    `gap_cv` is the gaps' coefficient of variation and `dispersion_of_counts` the variance of the
    counts in equal windows of `dispersion_window_s` (ten events each on average) over their mean:
    both are 1 for a Poisson process and larger for a bursty one (Cox & Lewis, The Statistical Analysis
    of Series of Events, 1966).
    """
    gaps, span_s = np.diff(trace.times_s), float(trace.times_s[-1])
    mean_gap_s = span_s / len(gaps) if len(gaps) else 0.0
    windows = trace.rows // 10
    dispersion = None
    if windows >= 2 and span_s > 0:
        counts, _ = np.histogram(trace.times_s, bins=windows, range=(0.0, span_s))
        dispersion = float(np.var(counts, ddof=1) / np.mean(counts))
    return {
        "rows": trace.rows,
        "first": trace.origin.isoformat(),
        "unit": trace.unit,
        "reordered": trace.reordered,
        "repeated": trace.repeated,
        "span_s": span_s,
        "mean_rate_per_s": 1 / mean_gap_s if mean_gap_s > 0 else None,
        "gap_cv": float(np.std(gaps, ddof=1)) / mean_gap_s if len(gaps) > 1 and mean_gap_s > 0 else None,
        "longest_gap_s": float(gaps.max()) if len(gaps) else None,
        "dispersion_of_counts": dispersion,
        "dispersion_window_s": None if dispersion is None else span_s / windows,
    }


def _check_choice(name: str, given: str, choices: object) -> None:
    if given not in get_args(choices):
        accepted = ", ".join(repr(choice) for choice in get_args(choices))
        raise TraceError(f"{name} must be one of {accepted}, got {given!r}")


def _read_text(path: Path) -> str:
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise TraceError(f"{path}: no such trace file") from None
    except OSError as error:
        raise TraceError(f"{path}: cannot be read: {error.strerror}") from None
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        _not_text(path, data, error.start)
    if "\0" in text:
        _not_text(path, data, data.index(b"\0"))
    if not text.strip():
        raise TraceError(f"{path}: is empty; a CSV file with a header or JSON lines are accepted")
    return text


def _not_text(path: Path, data: bytes, at: int) -> NoReturn:
    line = data.count(b"\n", 0, at) + 1
    raise TraceError(
        f"{path}:{line}: byte 0x{data[at]:02x} is no UTF-8 text; CSV and JSON lines are accepted, "
        "neither compressed nor binary"
    )


def _csv_column(path: Path, text: str, name: str) -> _Column:
    delimiter = _delimiter(text, name)
    reader = csv.reader(io.StringIO(text.rstrip("\r\n"), newline=""), delimiter=delimiter, strict=True)
    cells: list[str] = []
    lines: list[int] = []
    start = 1
    try:
        header = [cell.strip() for cell in next(reader)]
        at, width = _position(path, header, name), len(header)
        start = reader.line_num + 1
        for row in reader:
            if len(row) != width:
                _wrong_width(path, start, row, width)
            cells.append(row[at].strip())
            lines.append(start)
            start = reader.line_num + 1
    except csv.Error as error:
        raise TraceError(f"{path}:{start}: not CSV from here on: {error}") from None
    return _Column(path, name, cells, lines)


def _delimiter(text: str, name: str) -> str:
    """The delimiter under which the header holds the column, or else has the most columns."""
    header = re.split(r"[\r\n]", text, maxsplit=1)[0]
    split = {
        mark: [cell.strip() for cell in next(csv.reader([header], delimiter=mark), [])] for mark in ",;\t"
    }
    return max(split, key=lambda mark: (name in split[mark], len(split[mark])))


def _position(path: Path, header: list[str], name: str) -> int:
    if header.count(name) > 1:
        raise TraceError(f"{path}:1: {header.count(name)} columns are called {name!r}; rename all but one")
    if name in header:
        return header.index(name)
    if all(not cell or _ISO.fullmatch(cell) or _EPOCH.fullmatch(cell) for cell in header):
        raise TraceError(f"{path}:1: a header with the column {name!r} is needed before the first row")
    raise TraceError(f"{path}:1: no column {name!r}; {_nearest(name, header)}")


def _nearest(name: str, known: list[str]) -> str:
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    shown = ", ".join(known[:20]) + (f" and {len(known) - 20} more" if len(known) > 20 else "")
    hint = f"did you mean {' or '.join(map(repr, near))}? " if near else ""
    return f"{hint}(there are: {shown})"


def _wrong_width(path: Path, line: int, row: list[str], width: int) -> NoReturn:
    if not row:
        raise TraceError(f"{path}:{line}: a blank line; blank lines are accepted at the end only")
    raise TraceError(f"{path}:{line}: the row has {len(row)} columns where the header has {width}")


def _json_column(path: Path, text: str, name: str) -> _Column:
    if text.startswith("["):
        raise TraceError(
            f"{path}:1: a JSON array; one JSON object a line is accepted (jq -c '.[]' makes it so)"
        )
    # Numbers stay as they are written: a float64 would round nanoseconds away.
    decode = json.JSONDecoder(parse_float=str, parse_int=str, parse_constant=str).decode
    cells: list[str] = []
    for line, row in enumerate(text.rstrip("\r\n").split("\n"), start=1):
        if not row.strip():
            raise TraceError(f"{path}:{line}: a blank line; blank lines are accepted at the end only")
        try:
            cells.append(_cell(decode(row), name))
        except json.JSONDecodeError as error:
            raise TraceError(f"{path}:{line}: not JSON: {error.msg} at column {error.colno}") from None
        except (ValueError, RecursionError) as error:
            raise TraceError(f"{path}:{line}: {error}") from None
    return _Column(path, name, cells, list(range(1, len(cells) + 1)))


def _cell(row: Any, name: str) -> str:
    if not isinstance(row, dict):
        raise ValueError("not a JSON object; one object a line is accepted")
    if name not in row:
        raise ValueError(f"no key {name!r}; {_nearest(name, list(row))}")
    cell = row[name]
    if cell is None:
        return ""
    if not isinstance(cell, str):
        raise ValueError(f"{name} is {json.dumps(cell)[:60]}; a string or a number is accepted")
    return cell.strip()


def _parse(
    column: _Column, unit: EpochUnit | None
) -> tuple[NDArray[np.int64], Literal["iso8601"] | EpochUnit]:
    """The column as nanoseconds since the epoch; the first cell decides between ISO 8601 and numbers."""
    if _EPOCH.fullmatch(column.cells[0]):
        return _parse_epoch(column, unit)
    if unit is not None and _ISO.fullmatch(column.cells[0]):
        column.fail(0, f"is ISO 8601, though the unit is stated as {unit!r}")
    return _parse_iso(column), "iso8601"


def _parse_iso(column: _Column) -> NDArray[np.int64]:
    with_offset = None
    for row, cell in enumerate(column.cells):
        match = _ISO.fullmatch(cell)
        if match is None:
            column.fail(row, _why_not(cell, _EPOCH, "an epoch number among ISO 8601 times"))
        if with_offset is None:
            with_offset = match["offset"] is not None
        elif with_offset != (match["offset"] is not None):
            has, had = ("no offset", "one") if with_offset else ("an offset", "none")
            column.fail(row, f"has {has} where the rows before have {had}; give all rows one, or none (UTC)")
    parsed = pd.to_datetime(column.cells, format="ISO8601", utc=True, errors="coerce")
    scale = _NS_PER[parsed.unit]
    counts = parsed.asi8
    wrong = np.flatnonzero(parsed.isna() | (np.abs(counts) > _NS_LIMIT // scale))
    if len(wrong):
        column.fail(int(wrong[0]), f"is no instant of the calendar in the years {_YEARS}")
    return counts * scale


def _parse_epoch(column: _Column, unit: EpochUnit | None) -> tuple[NDArray[np.int64], EpochUnit]:
    for row, cell in enumerate(column.cells):
        if not _EPOCH.fullmatch(cell):
            column.fail(row, _why_not(cell, _ISO, "ISO 8601 among epoch numbers"))
    unit = unit or _infer_unit(column)
    scale = _NS_PER[unit]
    times = [int(cell) * scale if cell.isdecimal() else round(Decimal(cell) * scale) for cell in column.cells]
    try:
        return np.array(times, dtype=np.int64), unit
    except OverflowError:
        row = next(row for row, time in enumerate(times) if not -_NS_LIMIT <= time <= _NS_LIMIT)
        column.fail(row, f"read in {unit} lies outside the years {_YEARS}")


def _infer_unit(column: _Column) -> EpochUnit:
    sizes = np.abs(np.array(column.cells, dtype=np.float64))
    classes = np.searchsorted(_MAGNITUDES, sizes, side="right")
    other = np.flatnonzero(classes != classes[0])
    if len(other):
        row = int(other[0])
        column.fail(
            row,
            f"reads as {_UNITS[classes[row]]} by its magnitude, but line {column.lines[0]} as "
            f"{_UNITS[classes[0]]}; one unit a file is accepted, stated if its magnitude does not tell",
        )
    return _UNITS[int(classes[0])]


def _why_not(cell: str, other: re.Pattern[str], mixed: str) -> str:
    if not cell:
        return "is missing; every row needs a timestamp"
    if other.fullmatch(cell):
        return f"is {mixed}; one kind a file is accepted"
    return (
        "is not a timestamp; accepted are ISO 8601 (2024-05-01T12:00:00.5Z) or a number since the epoch "
        "(1714564800.5), one kind a file"
    )


def _ordered(
    column: _Column, times_ns: NDArray[np.int64], order: Order, duplicates: Duplicates
) -> tuple[NDArray[np.int64], int, int]:
    """The times ascending, how many rows moved, how many repeat one."""
    places = np.arange(len(times_ns))
    backwards = np.flatnonzero(times_ns[1:] < np.maximum.accumulate(times_ns)[:-1])
    if len(backwards):
        if order == "strict":
            row = int(backwards[0]) + 1
            column.fail(
                row, f'is earlier than line {column.lines[row - 1]} before it; order = "sort" accepts that'
            )
        places = np.argsort(times_ns, kind="stable")
        times_ns = times_ns[places]
    repeats = np.flatnonzero(times_ns[1:] == times_ns[:-1])
    if len(repeats) and duplicates == "error":
        at = int(repeats[0])
        first, second = int(places[at]), int(places[at + 1])
        column.fail(
            second, f'is the same instant as line {column.lines[first]}; duplicates = "keep" accepts that'
        )
    return times_ns, len(backwards), len(repeats)
