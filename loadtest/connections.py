"""All connections of one listener: how many, what each waits for, and which must go.

A connection costs the sweep nothing while it behaves: those that wait for a request stand in the order in
which they began to wait, so only the overdue are looked at; those in the middle of a slow request or answer
are few and stand in tables of their own. So there is no timer for a connection, and none for a request.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple, Protocol

from loadtest.contract import compact_json
from loadtest.limits import Limits

DURATION_BOUNDS_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 30.0)


class Refusal(NamedTuple):
    """An answer that the server gives before the application is asked, and then hangs up.

    Attributes:
        reason: what it is counted under.
        answer: the whole response.
    """

    reason: str
    answer: bytes


def _refusal(reason: str, status: str, message: str, headers: str = "") -> Refusal:
    body = compact_json({"error": message})
    head = (
        f"HTTP/1.1 {status}\r\ncontent-length: {len(body)}\r\ncontent-type: application/json\r\n"
        f"{headers}connection: close\r\n\r\n"
    )
    return Refusal(reason, head.encode() + body)


_LATER = "retry-after: 1\r\n"
MALFORMED = _refusal("malformed_http", "400 Bad Request", "this is not an HTTP/1.1 request")
FRAMING = _refusal("framing", "400 Bad Request", "the body has far more framing than content")
SLOW_HEADERS = _refusal("slow_headers", "408 Request Timeout", "the headers took too long")
SLOW_BODY = _refusal("slow_body", "408 Request Timeout", "the body took too long")
LONG_URL = _refusal("long_url", "414 URI Too Long", "the URL is too long")
LARGE_HEADERS = _refusal(
    "large_headers", "431 Request Header Fields Too Large", "the headers are too large or too many"
)
BODIES_FULL = _refusal("body_bytes", "503 Service Unavailable", "too many bodies are being read", _LATER)
CROWDED = _refusal("connections", "503 Service Unavailable", "too many connections are open", _LATER)
REFUSALS = (MALFORMED, FRAMING, SLOW_HEADERS, SLOW_BODY, LONG_URL, LARGE_HEADERS, BODIES_FULL, CROWDED)

SILENT_ENDS = ("handshake", "pipelining", "slow_reader", "unsent_bytes", "evicted", "idle", "stuck")
"""Connections that were closed without an answer: why."""

_ORDINARY = ("idle", "stuck")


class Connection(Protocol):
    """What the sweep needs of a connection."""

    @property
    def received(self) -> int:
        """Bytes of the body that is coming."""

    @property
    def held_back(self) -> bool:
        """The application has not taken what came, so no more is read."""

    @property
    def unsent(self) -> int:
        """Bytes of its answers that the client has not taken."""

    def refuse(self, refusal: Refusal) -> None:
        """Answer so and hang up, as soon as earlier answers are complete."""

    def hang_up(self) -> None:
        """Close in order."""

    def cut(self) -> None:
        """Close at once, whatever is under way."""

    def shutdown(self) -> None:
        """Begin no further request; answer those in progress."""


class Stalled(NamedTuple):
    """A client that does not take its answer: since when, and how much was unsent then."""

    since: float
    unsent: int


class Connections:
    """The register of one listener's connections; times are those of `time.monotonic`.

    Args:
        limits: of this listener.

    Attributes:
        fresh, idle: connections that wait for their first or for a further request, longest first.
        heads: those of them that have begun to send one.
        reading: requests whose body is still coming. stalled: answers that are not taken.
        closing: connections that were closed on our side.
        body_bytes: held at the moment, of all requests.
        ended: refusals and silent ends by reason.
        loop_lag_s: how late the event loop came to the last sweep.
        draining: answer what is in progress, begin nothing new.
    """

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.open: set[Connection] = set()
        self.fresh: OrderedDict[Connection, float] = OrderedDict()
        self.idle: OrderedDict[Connection, float] = OrderedDict()
        self.heads: dict[Connection, float] = {}
        self.reading: OrderedDict[Connection, float] = OrderedDict()
        self.stalled: OrderedDict[Connection, Stalled] = OrderedDict()
        self.closing: OrderedDict[Connection, float] = OrderedDict()
        self.draining = False
        self.opened = 0
        self.peak = 0
        self.body_bytes = 0
        self.body_bytes_peak = 0
        self.loop_lag_s = 0.0
        self.ended = dict.fromkeys((*(refusal.reason for refusal in REFUSALS), *SILENT_ENDS), 0)
        self.answers = [[0] * (len(DURATION_BOUNDS_S) + 1) for _ in range(6)]
        self.answer_s = [0.0] * 6

    def admit(self, connection: Connection, now: float) -> bool:
        """Take in a new connection, at the limit in place of another; False where none can go for it.

        What goes is the longest idle of those that never asked anything or of those between two requests,
        whichever are more, so that a crowd that only connects drives out itself; else the request whose body
        has been coming longest, if it has not only begun. None of them loses an answer.
        """
        if len(self.open) >= self.limits.connections and not self.make_room(now):
            self.ended[CROWDED.reason] += 1
            return False
        self.open.add(connection)
        self.fresh[connection] = now
        self.opened += 1
        self.peak = max(self.peak, len(self.open))
        return True

    def forget(self, connection: Connection) -> None:
        """The connection is gone."""
        self.open.discard(connection)
        for register in (self.fresh, self.idle, self.heads, self.reading, self.stalled, self.closing):
            register.pop(connection, None)

    def close(self, connection: Connection, now: float) -> None:
        """We are closing it: it waits for nothing but its end."""
        for register in (self.fresh, self.idle, self.heads, self.reading):
            register.pop(connection, None)
        self.closing[connection] = now

    def answered(self, status_class: int, duration_s: float) -> None:
        """Count an answer: 2 for 2xx and so on."""
        self.answers[status_class][bisect_left(DURATION_BOUNDS_S, duration_s)] += 1
        self.answer_s[status_class] += duration_s

    @property
    def refused(self) -> dict[str, int]:
        """What ended for a reason worth a word in the log."""
        return {reason: count for reason, count in self.ended.items() if reason not in _ORDINARY}

    @property
    def requests(self) -> int:
        """Requests that the application answered."""
        return sum(map(sum, self.answers))

    def sweep(self, now: float) -> None:
        """Refuse and close what is overdue."""
        limits = self.limits
        for connection in list(_before(self.fresh, now - limits.header_timeout_s)):
            if connection in self.heads:
                connection.refuse(SLOW_HEADERS)
            else:
                self._end("idle", connection)
        for connection in list(_before(self.idle, now - limits.keep_alive_s)):
            if connection not in self.heads:
                self._end("idle", connection)
        for connection in list(_before(self.heads, now - limits.header_timeout_s)):
            connection.refuse(SLOW_HEADERS)
        for connection, since in list(self.reading.items()):
            if connection.held_back:
                self.reading[connection] = now
            elif now - since > limits.body_timeout_s + connection.received / limits.min_bytes_per_s:
                connection.refuse(SLOW_BODY)
        for connection, stalled in list(self.stalled.items()):
            taken = stalled.unsent - connection.unsent
            if now - stalled.since > limits.send_timeout_s + taken / limits.min_bytes_per_s:
                self._cut("slow_reader", connection)
        for connection in list(_before(self.closing, now - limits.linger_s)):
            if not connection.unsent or now - self.closing[connection] > limits.send_timeout_s:
                self._cut("stuck", connection)

    def bound_unsent(self) -> None:
        """Cut off who has kept an answer waiting longest, until the others' fit; one alone always does."""
        unsent = sum(connection.unsent for connection in self.stalled)
        while unsent > self.limits.unsent_bytes and len(self.stalled) > 1:
            connection = next(iter(self.stalled))
            unsent -= connection.unsent
            self._cut("unsent_bytes", connection)

    def status(self) -> dict[str, Any]:
        """Counts for /status."""
        requests = self.requests
        return {
            "http_connections_opened": self.opened,
            "http_connections_open": len(self.open),
            "http_connections_idle": len(self.fresh) + len(self.idle),
            "http_connections_peak": self.peak,
            "http_requests": requests,
            "loop_lag_s": self.loop_lag_s,
            "http_requests_per_connection": requests / self.opened if self.opened else 0.0,
            "body_bytes_held": self.body_bytes,
            "body_bytes_peak": self.body_bytes_peak,
            "ended": {reason: count for reason, count in self.ended.items() if count},
        }

    def make_room(self, now: float) -> bool:
        """Close the connection that can best be spared; False where none can."""
        crowd = max(self.fresh, self.idle, key=len)
        if crowd:
            self._cut("evicted", next(iter(crowd)))
            return True
        for connection in _before(self.reading, now - self.limits.sweep_s):
            self._cut("evicted", connection)
            return True
        for connection in _before(self.closing, now - self.limits.sweep_s):
            self._cut("evicted", connection)
            return True
        return False

    def _end(self, reason: str, connection: Connection) -> None:
        self.ended[reason] += 1
        connection.hang_up()

    def _cut(self, reason: str, connection: Connection) -> None:
        self.ended[reason] += 1
        self.forget(connection)
        connection.cut()


def _before(register: Mapping[Connection, float], instant: float) -> Iterator[Connection]:
    """The connections of a register, oldest first, that entered it before `instant`."""
    for connection, since in register.items():
        if since >= instant:
            break
        yield connection
