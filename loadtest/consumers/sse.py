"""A reader of event streams: bytes in, as they come; messages out.

Source: WHATWG HTML Living Standard, "Server-sent events", sections "Parsing an event stream" and
"Interpreting an event stream". Lines end with LF, CR or CRLF; a blank line dispatches; what is behind the
last blank line is incomplete.
"""

from __future__ import annotations

from typing import NamedTuple

from loadtest.contract import MalformedEvent

MOST_BYTES = 64 * 2**20
"""Of one block: more than any page a provider of ours sends, and less than memory."""

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class Message(NamedTuple):
    """One block that has data: its type and the data."""

    type: str
    data: bytes


class StreamParser:
    """Reads one stream from its beginning.

    Attributes:
        last_event_id: the id in force behind the last complete block, None before the first; a block without
            data can set it too.
        retry_ms: the reconnection time that the stream last asked for, None if it did not.
    """

    def __init__(self) -> None:
        self._rest = bytearray()
        self._searched = 0
        self._begun = False
        self._data: list[bytes] = []
        self._size = 0
        self._type = ""
        self._id: str | None = None
        self.last_event_id: str | None = None
        self.retry_ms: int | None = None

    def feed(self, piece: bytes) -> list[Message]:
        """The messages that are complete by now.

        Raises:
            MalformedEvent: a block is larger than `MOST_BYTES`.
        """
        self._rest += piece
        if not self._begun:
            if len(self._rest) < len(_BYTE_ORDER_MARK) and _BYTE_ORDER_MARK.startswith(self._rest):
                return []
            self._begun = True
            if self._rest.startswith(_BYTE_ORDER_MARK):
                del self._rest[: len(_BYTE_ORDER_MARK)]
        messages = []
        for line in self._lines():
            if line:
                self._field(line)
            else:
                messages += self._dispatch()
        if self._size + len(self._rest) > MOST_BYTES:
            raise MalformedEvent(f"a block of the stream has more than {MOST_BYTES} bytes")
        return messages

    def _lines(self) -> list[bytes]:
        """The lines that have ended; a CR at the very end may yet be half of a CRLF."""
        rest = self._rest
        if b"\r" in rest:
            held_back = rest.endswith(b"\r")
            text = bytes(rest[:-1] if held_back else rest).replace(b"\r\n", b"\n").replace(b"\r", b"\n")
            *lines, left = text.split(b"\n")
            self._rest = bytearray(left + (b"\r" if held_back else b""))
            self._searched = 0
            return lines
        end = rest.rfind(b"\n", self._searched)
        if end < 0:
            self._searched = len(rest)
            return []
        lines = bytes(rest[:end]).split(b"\n")
        del rest[: end + 1]
        self._searched = len(rest)
        return lines

    def _field(self, line: bytes) -> None:
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        match name:
            case b"data":
                self._data.append(value)
                self._size += len(value) + 1
            case b"event":
                self._type = value.decode("utf-8", "replace")
            case b"id" if b"\0" not in value:
                self._id = value.decode("utf-8", "replace")
            case b"retry" if value.isdigit() and len(value) <= 9:
                self.retry_ms = int(value)
            case _:
                pass  # a comment, or a field the standard tells to ignore

    def _dispatch(self) -> list[Message]:
        if self._id is not None:
            self.last_event_id = self._id
        data, kind = self._data, self._type
        self._data, self._type, self._size = [], "", 0
        return [Message(kind or "message", b"\n".join(data))] if data else []
