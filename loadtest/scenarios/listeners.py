"""Held connections: users who wait for events, while the open loop of the same file publishes them.

A waiting client has no schedule of its own, so its latency runs from what has one: the event's intended
creation. Every arrival is recorded as (connection, event, time); what never arrived shows by its absence.
"""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Callable
from typing import Any

import gevent
import numpy as np
from gevent.event import Event
from geventhttpclient.client import HTTPClientPool
from locust import FastHttpUser, task
from locust.env import Environment

from loadtest.contract import now_us
from loadtest.recorder import Samples
from loadtest.scenarios.options import trusting
from loadtest.schedule import Plan

CONNECT_TIMEOUT_S = 60.0
ARRIVAL_GRACE_S = 5.0
AGAIN_S = 0.5
"""After a failure, so that a server that is down is not asked in a tight loop."""

logger = logging.getLogger(__name__)


class Listeners:
    """The held connections of this process.

    Args:
        user: the name of their Locust user class.
        listen: what each connection does for the whole run.
    """

    def __init__(self, user: str, listen: Callable[[Connection, Plan], None]) -> None:
        self.user = user
        self._listen = listen
        self.begin_anew()

    def begin_anew(self) -> None:
        """Forget the last test; in the web page another may follow."""
        self.plan: Plan | None = None
        self._begun = 0
        self._connected: set[int] = set()
        self._all_connected, self._planned, self._news = Event(), Event(), Event()
        self._seen: set[tuple[int, int]] = set()
        self._arrivals: list[tuple[int, int, int]] = []
        self.counts = dict.fromkeys(("requests", "empty", "failures", "response_bytes", "duplicates"), 0)

    def expect(self, clients: int, environment: Environment) -> None:
        """Tell Locust how many of its users hold connections."""
        for user_class in environment.user_classes:
            if user_class.__name__ == self.user:
                user_class.fixed_count = clients

    def await_connected(self, plan: Plan) -> None:
        """Let the connections begin, and wait until all have."""
        self.plan = plan
        self._planned.set()
        if not self._all_connected.wait(timeout=CONNECT_TIMEOUT_S):
            raise TimeoutError(
                f"only {len(self._connected)} of {self._begun} connections began within "
                f"{CONNECT_TIMEOUT_S:g} s"
            )

    def serve(self, user: ListenerUser) -> None:
        """What each user does for the whole run."""
        self._planned.wait()
        assert self.plan is not None
        number, self._begun = self._begun, self._begun + 1
        self._listen(Connection(self, user, number), self.plan)

    def connected(self, number: int) -> None:
        """A connection is ready for events."""
        self._connected.add(number)
        if len(self._connected) == self._begun:
            self._all_connected.set()

    def arrived(self, number: int, event: int, when_us: int) -> bool:
        """Record an arrival; whether it is the event's first on this connection."""
        if (number, event) in self._seen:
            self.counts["duplicates"] += 1
            return False
        self._seen.add((number, event))
        self._arrivals.append((number, event, when_us))
        self._news.set()
        return True

    def finish(self, plan: Plan, samples: Samples) -> None:
        """Wait a while for what was published and has not yet arrived everywhere."""
        complete = samples.index.size == plan.offsets_us.size
        published = int(samples.acknowledged.sum()) if complete else plan.offsets_us.size
        deadline_us = now_us() + round(ARRIVAL_GRACE_S * 1e6)
        while len(self._arrivals) < published * self._begun and (left_us := deadline_us - now_us()) > 0:
            self._news.clear()
            self._news.wait(timeout=left_us / 1e6)

    def files(self) -> dict[str, bytes]:
        """The arrivals as an `.npz` and the counts as JSON, by suffix."""
        columns = np.array(self._arrivals, dtype=np.int64).reshape(-1, 3)
        stream = io.BytesIO()
        np.savez(stream, connection=columns[:, 0], event=columns[:, 1], received_us=columns[:, 2])
        counts = self.counts | {"connections": self._begun}
        return {".npz": stream.getvalue(), ".json": json.dumps(counts).encode()}


class Connection:
    """One held connection, as its arm's function sees it.

    Attributes:
        number: of this process's connections.
        user: its Locust user.
    """

    def __init__(self, listeners: Listeners, user: ListenerUser, number: int) -> None:
        self._listeners = listeners
        self.user = user
        self.number = number

    @property
    def counts(self) -> dict[str, int]:
        """What all connections of the process count together."""
        return self._listeners.counts

    def ready(self) -> None:
        """It is ready for events."""
        self._listeners.connected(self.number)

    def failed(self) -> None:
        """Something went wrong: wait a little."""
        self.counts["failures"] += 1
        gevent.sleep(AGAIN_S)

    def took(self, event: dict[str, Any], when_us: int, size: int) -> None:
        """An event of the run arrived; Locust is told the latency from its creation."""
        plan = self._listeners.plan
        assert plan is not None
        identity, index = str(event.get("id", "")), event.get("index")
        if not identity.startswith(f"evt_{plan.run_id}_") or not isinstance(index, int):
            return
        if self._listeners.arrived(self.number, index, when_us):
            self.user.environment.events.request.fire(
                request_type="EVENT",
                name=plan.arm,
                response_time=(when_us - int(event["created_us"])) / 1000.0,
                response_length=size,
                exception=None,
                context={},
            )


class ListenerUser(FastHttpUser):
    """One held connection, kept apart from the senders' connections."""

    abstract = True
    listeners: Listeners

    def __init__(self, environment: Environment) -> None:
        plan = type(self).listeners.plan
        timeout_s = plan.timeout_s if plan else 60.0
        self.client_pool = HTTPClientPool(
            concurrency=1,
            connection_timeout=timeout_s,
            network_timeout=timeout_s,
            ssl_context_factory=trusting(environment),
        )
        super().__init__(environment)

    @task
    def listen(self) -> None:
        """Hold the connection until the test stops."""
        self.listeners.serve(self)
