"""Log lines: as text or JSON, each kind at a bounded rate, and never with a value of an exception in them.

A line has ts, level, logger, message and the fields its author names; of an exception its type and where it
arose, because its message may quote what a client sent. What a client sends - URL, headers, body - is in
no field and no message; whoever adds a line keeps to that, and tests/loadtest/test_edge_logs.py holds every
server to it.
"""

from __future__ import annotations

import json
import logging
import sys
import traceback
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic
from typing import Any, TextIO

LEVELS = ("debug", "info", "warning", "error")
FORMATS = ("text", "json")

BURST = 5
WINDOW_S = 10.0
_MOST_KINDS = 1000
_FRAMES = 6


def configure(form: str = "text", level: str = "warning", stream: TextIO | None = None) -> Handler:
    """Send every logger's lines, uvicorn's and asyncio's too, to standard error in one format."""
    handler = Handler(sys.stderr if stream is None else stream)
    handler.setFormatter(JsonFormatter() if form == "json" else TextFormatter())
    root = logging.getLogger()
    for old in [old for old in root.handlers if isinstance(old, Handler)]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(level.upper())
    return handler


def catch_up(*, at_once: bool = False) -> None:
    """Tell of the lines that were left out in windows that are over, or so far."""
    for handler in logging.getLogger().handlers:
        if isinstance(handler, Handler):
            handler.catch_up(at_once=at_once)


def event(log: logging.Logger, level: int, message: str, /, **fields: Any) -> None:
    """Log a line with structured fields."""
    log.log(level, message, extra={"fields": fields})


def whereabouts(error: BaseException) -> dict[str, str]:
    """The type of an exception and where it arose, innermost first; no message, no source, no values."""
    frames = traceback.extract_tb(error.__traceback__)[-_FRAMES:]
    where = " < ".join(
        f"{'/'.join(Path(frame.filename).parts[-2:])}:{frame.lineno} {frame.name}"
        for frame in reversed(frames)
    )
    return {"exception": type(error).__name__, "where": where}


def fields_of(record: logging.LogRecord) -> dict[str, Any]:
    """A record's fields, with those of its exception."""
    fields = dict(getattr(record, "fields", {}))
    if record.exc_info and record.exc_info[1] is not None:
        fields |= whereabouts(record.exc_info[1])
    return fields


class JsonFormatter(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        line = {
            "ts": _ts(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage().strip(),
        }
        return json.dumps(line | fields_of(record), default=str)


class TextFormatter(logging.Formatter):
    """A line for people: time, level, logger, message, fields as ``name=value``."""

    def format(self, record: logging.LogRecord) -> str:
        """The line; whatever would end it, or forge another, is escaped."""
        fields = "".join(f" {name}={_value(value)}" for name, value in fields_of(record).items())
        line = f"{_ts(record)} {record.levelname} {record.name} {record.getMessage().strip()}{fields}"
        return line if line.isprintable() else _escaped(line)


class Handler(logging.StreamHandler[TextIO]):
    """Writes at most `BURST` lines of a kind in `WINDOW_S` seconds, and says how many it left out.

    A kind is a logger with an unformatted message, so a flood of hostile requests is one kind, whatever it
    contains.
    """

    def __init__(self, stream: TextIO) -> None:
        super().__init__(stream)
        self._kinds: dict[tuple[str, str], _Kind] = {}

    def emit(self, record: logging.LogRecord) -> None:
        """Write the line, or count it."""
        now = monotonic()
        key = (record.name, str(record.msg))
        kind = self._kinds.get(key)
        if kind is None or now - kind.since > WINDOW_S:
            if kind is not None:
                self._tell(key, kind)
            elif len(self._kinds) >= _MOST_KINDS:
                self._kinds.clear()
            kind = self._kinds[key] = _Kind(now, record.levelno)
        kind.count += 1
        if kind.count <= BURST:
            super().emit(record)

    def catch_up(self, *, at_once: bool = False) -> None:
        """Tell of the lines that were left out in windows that are over, or so far."""
        now = monotonic()
        with self.lock:  # type: ignore[union-attr]
            for key, kind in list(self._kinds.items()):
                if at_once or now - kind.since > WINDOW_S:
                    self._tell(key, kind)
                    del self._kinds[key]

    def _tell(self, key: tuple[str, str], kind: _Kind) -> None:
        left_out = kind.count - BURST
        if left_out > 0:
            name, message = key
            record = logging.LogRecord(
                name, kind.level, "", 0, "more lines of a kind were left out", (), None
            )
            record.fields = {"suppressed": left_out, "kind": message}
            super().emit(record)


class _Kind:
    __slots__ = ("count", "level", "since")

    def __init__(self, since: float, level: int) -> None:
        self.since = since
        self.level = level
        self.count = 0


def _ts(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")


def _value(value: Any) -> str:
    text = str(value)
    return json.dumps(text) if any(c in text for c in ' "=') else text


def _escaped(text: str) -> str:
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
