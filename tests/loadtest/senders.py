"""Senders that never give up, as providers do, and a book of what they were told: for durability tests."""

from __future__ import annotations

import array
import http.client
import itertools
import random
import threading
import time
from collections import Counter, deque
from pathlib import Path

from loadtest.inbox import read_ledger
from tests.loadtest.inboxes import query
from tests.loadtest.servers import SIGNER, event

SERVICE_S = 0.001
MAX_EVENTS = 1_000_000


def service_times(folder: Path) -> Path:
    """A table that makes each service take `SERVICE_S`, so that a kill meets some in progress."""
    path = folder / "service.f64"
    path.write_bytes(array.array("d", [SERVICE_S] * MAX_EVENTS).tobytes())
    return path


class Senders:
    """Threads that post events to any of `ports`, again and again until each is acknowledged.

    One in five requests repeats an event that was acknowledged already.

    Attributes:
        ports: of the receivers that live; a sender that finds none waits.
        sent, acknowledged: requests by event id. answers: responses by status.
        without_retry_after: 503s that did not say when to come back.
        slowest_refusal_s: the longest time a 503 took.
    """

    def __init__(self, threads: int = 4, seed: int = 1) -> None:
        self.ports: list[int] = []
        self.sent: Counter[str] = Counter()
        self.acknowledged: Counter[str] = Counter()
        self.answers: Counter[int] = Counter()
        self.without_retry_after = 0
        self.slowest_refusal_s = 0.0
        self._indices = itertools.count()
        self._again: deque[tuple[str, bytes]] = deque()
        self._known: deque[tuple[str, bytes]] = deque(maxlen=200)
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._threads = [
            threading.Thread(target=self._send, args=(random.Random(seed * 1000 + lane),), daemon=True)
            for lane in range(threads)
        ]
        for thread in self._threads:
            thread.start()

    def finish(self, within_s: float = 60.0) -> None:
        """Send no new events, and return when each is acknowledged."""
        self._over.set()
        for thread in self._threads:
            thread.join(within_s)
            assert not thread.is_alive(), "not everything was acknowledged in time"

    def _next(self, draw: random.Random) -> tuple[str, bytes] | None:
        with self._lock:
            if self._again:
                return self._again.popleft()
            if self._over.is_set():
                return None
            if self._known and draw.random() < 0.2:
                return draw.choice(self._known)
            index = next(self._indices)
            assert index < MAX_EVENTS
            return event("durable", index)

    def _send(self, draw: random.Random) -> None:
        connections: dict[int, http.client.HTTPConnection] = {}
        try:
            self._send_on(draw, connections)
        finally:
            for connection in connections.values():
                connection.close()

    def _send_on(self, draw: random.Random, connections: dict[int, http.client.HTTPConnection]) -> None:
        while (message := self._next(draw)) is not None:
            name, body = message
            ports = self.ports
            if not ports:
                with self._lock:
                    self._again.append(message)
                time.sleep(0.005)
                continue
            port = draw.choice(ports)
            connection = connections.pop(port, None)
            if connection is None:
                connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
            with self._lock:
                self.sent[name] += 1
            began = time.monotonic()
            try:
                headers = SIGNER.sign(name, int(time.time()), body)
                connection.request("POST", "/webhooks/standard", body, headers)
                response = connection.getresponse()
                response.read()
            except (OSError, http.client.HTTPException):  # killed before or amid its answer
                connection.close()
                with self._lock:
                    self._again.append(message)
                continue
            connections[port] = connection
            with self._lock:
                self.answers[response.status] += 1
                if response.status == 204:
                    self.acknowledged[name] += 1
                    self._known.append(message)
                else:
                    self._again.append(message)
                    self.slowest_refusal_s = max(self.slowest_refusal_s, time.monotonic() - began)
                    self.without_retry_after += response.getheader("retry-after") is None
            if response.status != 204:
                time.sleep(0.02)


def audit(url: str) -> None:
    """From now on the database itself notes each time an event becomes visible, or ceases to be."""
    query(url, "CREATE TABLE became (seq BIGINT)")
    if url.startswith("sqlite"):
        query(
            url,
            "CREATE TRIGGER audit AFTER UPDATE OF visible_us ON inbox "
            "WHEN OLD.visible_us IS NOT NEW.visible_us BEGIN INSERT INTO became VALUES (NEW.seq); END",
        )
        return
    query(
        url,
        "CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS "
        "'BEGIN EXECUTE format($q$INSERT INTO %I.became VALUES ($1)$q$, TG_TABLE_SCHEMA) USING NEW.seq; "
        "RETURN NULL; END'",
    )
    query(
        url,
        "CREATE TRIGGER audit AFTER UPDATE ON inbox FOR EACH ROW "
        "WHEN (OLD.visible_us IS DISTINCT FROM NEW.visible_us) EXECUTE FUNCTION note()",
    )


def unserved(url: str) -> int:
    """How many events are not visible."""
    return int(query(url, "SELECT count(*) FROM inbox WHERE visible_us IS NULL")[0][0])


def check(url: str, senders: Senders) -> None:
    """Every acknowledged event is there, none that nobody sent, each visible exactly once, copies counted."""
    rows = {row.event_id: row for row in read_ledger(url)}
    assert senders.acknowledged.keys() <= rows.keys() <= senders.sent.keys()
    for name, row in rows.items():
        assert senders.acknowledged[name] <= row.copies <= senders.sent[name], name
    times = Counter(seq for (seq,) in query(url, "SELECT seq FROM became"))
    assert set(times.values()) == {1}, "an event became visible more than once"
    assert times.keys() == {row.seq for row in rows.values()}, "an event never became visible"
