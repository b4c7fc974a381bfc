"""The senders of a process: a greenlet each, which is a Locust user's, and a connection each.

A request is sent by whoever finds it due, over the connection of a sender that rests; that sender's greenlet
then only reads the answer. So between the instant and the sending nobody has to be woken, unless there is no
connection yet or it does not take all the bytes at once. The last used sender is the next, so that few idle
connections grow old enough for the server to close.
"""

from __future__ import annotations

from collections import deque
from typing import Any, Protocol

from gevent import get_hub, getcurrent
from geventhttpclient.client import IDEMPOTENT_METHODS, HTTPClient
from geventhttpclient.response import HTTPConnectionClosed

from loadtest.scenarios.connection import FAILURES, Answer, Connection
from loadtest.scenarios.wire import Outgoing

_READABLE = 1


class Exchange(Protocol):
    """Where senders get their requests from and bring the answers to."""

    def launch(self, position: int) -> Outgoing:
        """The request at a position, which is sent now."""

    def settle(self, position: int, request: Outgoing, outcome: Answer | Exception) -> None:
        """What became of it."""


class Pool:
    """The senders that rest, and the requests in line for one.

    Attributes:
        exchange: set before the first request is submitted.
        line: positions of requests that were due while every sender was busy.
    """

    exchange: Exchange

    def __init__(self) -> None:
        self.line: deque[int] = deque()
        self._resting: list[Sender] = []

    def submit(self, position: int) -> bool:
        """Send a request, or put it in line; whether a sender was free. Never blocks."""
        if not self._resting:
            self.line.append(position)
            return False
        self._resting.pop().give(position)
        return True

    def rest(self, sender: Sender) -> None:
        """The sender is free, and the next to be busy."""
        self._resting.append(sender)

    def demote(self, sender: Sender) -> None:
        """The sender has lost its connection: those that have one come before it."""
        self._resting.remove(sender)
        self._resting.insert(0, sender)

    def leave(self, sender: Sender) -> None:
        """The sender ends."""
        if sender in self._resting:
            self._resting.remove(sender)


class Sender:
    """One request at a time, in the greenlet that makes it.

    Args:
        pool: of its process.
        client: what its connections are made by.
        timeout_s: for connecting, for sending what does not go at once, and from there to the answer's end.
    """

    def __init__(self, pool: Pool, client: HTTPClient, timeout_s: float) -> None:
        self._pool, self._client, self._timeout_s = pool, client, timeout_s
        self._hub, self._greenlet = get_hub(), getcurrent()
        self._timer = self._hub.loop.timer(0.0, repeat=timeout_s)
        self._connection: Connection | None = None
        self._watcher: Any = None
        self._parked = self._expired = False
        self._position = -1
        self._request: Outgoing | None = None
        self._unsent: bytes | None = None

    def give(self, position: int) -> None:
        """Take a request while resting: send it, or have the greenlet do it. Never blocks."""
        if not self._begin(position):
            self._hub.loop.run_callback(self._wake)

    def serve(self) -> None:
        """Read answers, and send what is in line, until the greenlet is killed."""
        pool = self._pool
        try:
            while True:
                if pool.line:
                    self._begin(pool.line.popleft())
                else:
                    pool.rest(self)
                    self._park()
                    while self._request is None:
                        if self._connection is not None and not self._still_open():
                            self._disconnect()
                            pool.demote(self)
                        self._park()
                request = self._request
                assert request is not None
                outcome = self._carry(request)
                self._request = None
                pool.exchange.settle(self._position, request, outcome)
        finally:
            pool.leave(self)
            self._disconnect()
            self._timer.close()

    def _begin(self, position: int) -> bool:
        """Send a request as far as that does not block; whether all of it has left."""
        request = self._pool.exchange.launch(position)
        self._position, self._request, self._unsent = position, request, request.content
        connection = self._connection
        if connection is None or not connection.quiet():
            return False
        sent = connection.send(request.content)
        if sent < len(request.content):
            self._unsent = request.content[sent:]
            return False
        self._sent()
        return True

    def _sent(self) -> None:
        self._unsent, self._expired = None, False
        self._timer.again(self._expire, update=False)

    def _carry(self, request: Outgoing) -> Answer | Exception:
        try:
            return self._converse(request)
        except FAILURES as error:
            self._disconnect()
            return error
        finally:
            self._timer.stop()

    def _converse(self, request: Outgoing) -> Answer:
        """Send what has not left, and read the answer."""
        while True:
            if self._unsent is not None:
                self._send_rest(request)
            connection = self._connection
            assert connection is not None
            answer = Answer(request.method)
            try:
                self._read(connection, answer)
            except (HTTPConnectionClosed, ConnectionResetError):
                # RFC 9110, section 9.2.2: a kept connection may have been closed while the request was on
                # its way; what may be sent twice is, over a new one.
                if answer.message_begun or not connection.used or request.method not in IDEMPOTENT_METHODS:
                    raise
                self._timer.stop()
                self._disconnect()
                self._unsent = request.content
                continue
            connection.used = True
            if answer.should_close():
                self._disconnect()
            return answer

    def _send_rest(self, request: Outgoing) -> None:
        """What did not go at once, all of it over a new connection where the old one has ended."""
        rest = self._unsent
        assert rest is not None
        if self._connection is not None and len(rest) == len(request.content) and not self._still_open():
            self._disconnect()
        if self._connection is None:
            self._connect()
        assert self._connection is not None
        self._connection.send_all(rest, self._timeout_s)
        self._sent()

    def _read(self, connection: Connection, answer: Answer) -> None:
        while True:
            data = connection.receive()
            if data is None:
                self._park()
                if self._expired:
                    raise TimeoutError("timed out")
            elif answer.take(data):
                return

    # -- the connection ------------------------------------------------------------------------

    def _connect(self) -> None:
        self._connection = Connection(self._client)
        self._watcher = self._hub.loop.io(self._connection.fd, _READABLE)

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._watcher.close()
            self._connection.close()
            self._watcher = self._connection = None

    def _still_open(self) -> bool:
        """Whether nothing came but what TLS keeps to itself."""
        assert self._connection is not None
        try:
            return self._connection.receive() is None
        except FAILURES:
            return False

    # -- the greenlet --------------------------------------------------------------------------

    def _park(self) -> None:
        """Let others run until something came over the connection, time is up, or a request is given."""
        if self._watcher is not None and not self._watcher.active:
            self._watcher.start(self._wake)
        self._parked = True
        try:
            self._hub.switch()
        finally:
            self._parked = False

    def _wake(self) -> None:
        if self._parked:
            self._greenlet.switch()
        elif self._watcher is not None:
            self._watcher.stop()  # the greenlet waits for something else; it will look when it parks again

    def _expire(self) -> None:
        self._expired = True
        self._wake()
