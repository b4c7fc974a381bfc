"""One schedule on several Locust processes, here or on other machines: all of it over Locust's messages.

The master hands out the plan, says which share of it each worker sends, measures how far each worker's
clock is from its own, and tells all of them one origin. Afterwards it takes back every worker's raw
samples, puts them on its own clock and merges them: as many requests as were scheduled, or a failure
that names the worker. Nothing needs a shared folder.

::

    master                                      worker
       | plan (size, share i of n)  ------------> |
       | <---- ask from byte 0, 1 M, 2 M …        |
       | the bytes asked for  ------------------> |
       | <--------------- taken | refused (words) |
       |            … Locust spawns the users …   |
       | <-------------- ready (time it needs)    |
       | ping  ---------------------------------> |   a few times: the clock's offset
       | <------------------------------- pong    |
       | origin (on the worker's clock)  -------> |
       |             … the worker sends …         |
       | <-------------- done (size of samples)   |
       | ask from byte 0 …  --------------------> |
       | <----------------- the bytes asked for   |

The bytes travel as `loadtest.scenarios.parcels`.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import gevent
import locust.runners
from gevent.event import AsyncResult
from locust.rpc import Message
from locust.runners import STATE_MISSING, MasterRunner, WorkerRunner

from loadtest.clocks import SHARED, Exchange, Offset, clock_id, estimate
from loadtest.contract import now_us
from loadtest.recorder import Samples, merge
from loadtest.scenarios.parcels import Parcels, WorkerLost
from loadtest.schedule import Plan
from sim.errors import HookbenchError, InputError

PLAN, TAKEN, REFUSED = "hookbench_plan", "hookbench_taken", "hookbench_refused"
READY, PING, PONG, ORIGIN = "hookbench_ready", "hookbench_ping", "hookbench_pong", "hookbench_origin"
DONE = "hookbench_done"

PINGS = 16
PING_TIMEOUT_S = 2.0
MESSAGE_US = 100_000
"""Time for the origin to reach every worker."""

TAKE_TIMEOUT_S = 60.0
HEARTBEATS = 10
"""How many heartbeats of a worker, one a second, may fail to come before Locust calls it missing.

Three are Locust's own; a worker on a busy machine, or one that dispatches a backlog, is silent for longer.
"""

LOST_AFTER_S = 1.0
"""A worker that has been missing for so long is lost."""

LOOK_S = 0.05


@dataclass
class Peer:
    """What the master knows of one worker.

    Attributes:
        client_id: Locust's name for it.
        share, shares: it sends every request whose index is `share` modulo `shares`.
        about: its host, process id and clock, in its own words.
        before, after: its clock's offset from the master's, before the run and after it.
    """

    client_id: str
    share: int
    shares: int
    about: dict[str, Any]
    taken: bool = False
    needs_us: int | None = None
    before: Offset = SHARED
    after: Offset = SHARED
    done: dict[str, Any] | None = None

    @property
    def label(self) -> str:
        """Its number among the workers, and where it runs when that is known."""
        where = f" ({self.about['host']}, process {self.about['pid']})" if self.about else ""
        return f"worker {self.share + 1} of {self.shares}{where}"

    def describe(self) -> dict[str, Any]:
        """For run.json: its share, what it cost, and its clock."""
        shared = self.about.get("clock") is not None and self.about["clock"] == clock_id()
        drift_us = self.after.offset_us - self.before.offset_us
        done = self.done or {}
        return {
            "share": self.share,
            "shares": self.shares,
            "host": self.about.get("host"),
            "pid": self.about.get("pid"),
            "requests": done.get("requests"),
            "cpu_s": done.get("cpu_s"),
            "busy_s": done.get("busy_s"),
            "clock": {
                "shared": shared,
                "offset_us": self.before.offset_us,
                "drift_us": drift_us,
                "bound_us": max(self.before.bound_us, self.after.bound_us) + abs(drift_us),
            },
        }


class Conductor:
    """The master's side: hands out shares, measures clocks, sets the origin, takes the samples back."""

    def __init__(self, runner: MasterRunner) -> None:
        locust.runners.HEARTBEAT_LIVENESS = HEARTBEATS
        self._runner = runner
        self._parcels = Parcels(runner)
        self._pongs: dict[int, AsyncResult[Exchange]] = {}
        self._missing_since_s: dict[str, float] = {}
        self._refusals: list[str] = []
        self.peers: dict[str, Peer] = {}
        self.arrivals: list[dict[str, bytes]] = []
        """What each worker's held connections received, as files by suffix; on the worker's own clock."""
        for name, listener in (
            (TAKEN, self._taken),
            (REFUSED, self._refused),
            (READY, self._ready),
            (PONG, self._pong),
            (DONE, self._done),
        ):
            runner.register_message(name, listener)

    def hand_out(self, plan: Plan) -> None:
        """Give every worker the plan and its share; blocks until all have it.

        Raises:
            InputError: there are fewer users than workers.
            WorkerLost: a worker refuses it, in its own words, or vanishes.
        """
        clients = [client for client in self._runner.clients.all if client.state != STATE_MISSING]
        users = self._runner.target_user_count
        if users < len(clients):
            raise InputError(f"{users} users (-u) cannot serve {len(clients)} workers: one each at least")
        clients.sort(key=lambda client: self._runner.worker_indexes[client.id])
        self.peers = {
            client.id: Peer(client.id, share, len(clients), {}) for share, client in enumerate(clients)
        }
        self._refusals.clear()
        self._missing_since_s.clear()
        parcel = self._parcels.offer("plan", plan.to_bytes())
        for peer in self.peers.values():
            self._runner.send_message(
                PLAN, {"parcel": parcel, "share": peer.share, "shares": peer.shares}, client_id=peer.client_id
            )
        self._wait("take the plan", lambda peer: peer.taken, TAKE_TIMEOUT_S)

    def set_origin(self) -> int:
        """Measure every worker's clock and tell each the origin on it; returns it on ours, µs.

        Raises:
            WorkerLost: a worker vanishes.
        """
        self._wait("be ready", lambda peer: peer.needs_us is not None, TAKE_TIMEOUT_S)
        for peer in self.peers.values():
            peer.before = peer.after = self._offset(peer)
        origin_us = now_us() + max(peer.needs_us or 0 for peer in self.peers.values()) + MESSAGE_US
        for peer in self.peers.values():
            data = {"origin_us": origin_us + peer.before.offset_us}
            self._runner.send_message(ORIGIN, data, client_id=peer.client_id)
        return origin_us

    def collect(self, plan: Plan, origin_us: int, grace_s: float) -> Samples:
        """Wait for the end of every share; every scheduled request of all of them, on our clock.

        Raises:
            WorkerLost: a worker vanishes, comes to no end, or brings other requests than its share's.
        """
        limit_s = (origin_us + int(plan.offsets_us[-1]) - now_us()) / 1e6 + plan.patience_s() + grace_s
        self._wait("end its share", lambda peer: peer.done is not None, limit_s, origin_us)
        parts = []
        self.arrivals.clear()
        for peer in self.peers.values():
            peer.after = self._offset(peer)
            assert peer.done is not None
            try:
                files = {
                    name: self._parcels.fetch(parcel, peer.client_id)
                    for name, parcel in peer.done["parcels"].items()
                }
            except WorkerLost as error:
                raise WorkerLost(f"{peer.label}: {error}") from None
            part = Samples.from_bytes(files.pop("samples"))
            self.arrivals.append(files)
            if part.index.tolist() != plan.share(peer.share, peer.shares).tolist():
                raise WorkerLost(f"{peer.label} recorded {part.index.size} requests that are not its share")
            parts.append(part.shifted(-peer.before.offset_us))
        return merge(parts)

    def _wait(
        self, what: str, reached: Callable[[Peer], bool], limit_s: float, origin_us: int | None = None
    ) -> None:
        deadline_s = time.monotonic() + limit_s
        while not all(reached(peer) for peer in self.peers.values()):
            if self._refusals:
                raise WorkerLost(self._refusals[0])
            late = time.monotonic() > deadline_s
            for peer in self.peers.values():
                why = self._lost(peer) or (f"it did not {what} within {limit_s:.0f} s" if late else None)
                if not reached(peer) and why:
                    when = "" if origin_us is None else f", {(now_us() - origin_us) / 1e6:.1f} s into the run"
                    raise WorkerLost(
                        f"{peer.label} was lost{when}: {why}; what became of its share of the requests is "
                        "not known"
                    )
            gevent.sleep(LOOK_S)

    def _lost(self, peer: Peer) -> str | None:
        client = self._runner.clients.get(peer.client_id)
        if client is None:
            return "it ended"
        if client.state != STATE_MISSING:
            self._missing_since_s.pop(peer.client_id, None)
            return None
        since_s = self._missing_since_s.setdefault(peer.client_id, time.monotonic())
        return "it fell silent" if time.monotonic() - since_s > LOST_AFTER_S else None

    def _offset(self, peer: Peer) -> Offset:
        """Measured, unless the worker reads the very clock that we read."""
        if peer.about.get("clock") is not None and peer.about["clock"] == clock_id():
            return SHARED
        exchanges = []
        for _ in range(PINGS):
            asked_us = now_us()
            result = self._pongs[asked_us] = AsyncResult()
            self._runner.send_message(PING, {"asked_us": asked_us}, client_id=peer.client_id)
            try:
                exchanges.append(result.get(timeout=PING_TIMEOUT_S))
            except gevent.Timeout:
                continue
            finally:
                del self._pongs[asked_us]
        if not exchanges:
            raise WorkerLost(f"{peer.label} was lost: it answered none of {PINGS} questions for its clock")
        return estimate(exchanges)

    def _taken(self, environment: object, msg: Message, **_: object) -> None:
        if peer := self.peers.get(msg.node_id):
            peer.about, peer.taken = msg.data, True

    def _refused(self, environment: object, msg: Message, **_: object) -> None:
        if peer := self.peers.get(msg.node_id):
            peer.about = msg.data["about"]
            self._refusals.append(f"{peer.label} refused the plan: {msg.data['words']}")

    def _ready(self, environment: object, msg: Message, **_: object) -> None:
        if peer := self.peers.get(msg.node_id):
            peer.needs_us = msg.data["needs_us"]

    def _pong(self, environment: object, msg: Message, **_: object) -> None:
        returned_us = now_us()
        waiting = self._pongs.get(msg.data["asked_us"])
        if waiting is not None:
            waiting.set(Exchange(**msg.data, returned_us=returned_us))

    def _done(self, environment: object, msg: Message, **_: object) -> None:
        if peer := self.peers.get(msg.node_id):
            peer.done = msg.data


class Member:
    """A worker's side: takes the plan and its share, answers for its clock, gives its samples back.

    Args:
        runner: Locust's.
        accept: called with the plan; raises a `HookbenchError` to refuse it.
    """

    def __init__(self, runner: WorkerRunner, accept: Callable[[Plan], None]) -> None:
        self._runner = runner
        self._accept = accept
        self._parcels = Parcels(runner)
        self._origin: AsyncResult[int] = AsyncResult()
        self.share, self.shares = 0, 1
        runner.register_message(PLAN, self._plan_announced, concurrent=True)
        runner.register_message(PING, self._ping)
        runner.register_message(ORIGIN, self._origin_set)

    def origin_us(self, needs_us: int) -> int:
        """Say how long we need before the first request; blocks until the master has set the origin."""
        self._runner.send_message(READY, {"needs_us": needs_us})
        origin_us: int = self._origin.get()
        return origin_us

    def give_back(self, samples: Samples, arrivals: Mapping[str, bytes], cpu_s: float, busy_s: float) -> None:
        """Tell the master that our share has come to its end, and keep what was recorded for it."""
        files = {"samples": samples.to_bytes(), **arrivals}
        parcels = {name: self._parcels.offer(name, content) for name, content in files.items()}
        figures = {"requests": int(samples.index.size), "cpu_s": cpu_s, "busy_s": busy_s}
        self._runner.send_message(DONE, {"parcels": parcels, **figures})

    def _plan_announced(self, environment: object, msg: Message, **_: object) -> None:
        about = {"host": socket.gethostname(), "pid": os.getpid(), "clock": clock_id()}
        self.share, self.shares = msg.data["share"], msg.data["shares"]
        self._origin = AsyncResult()
        try:
            self._accept(Plan.from_bytes(self._parcels.fetch(msg.data["parcel"])))
        except HookbenchError as error:
            self._runner.send_message(REFUSED, {"words": str(error), "about": about})
        else:
            self._runner.send_message(TAKEN, about)

    def _ping(self, environment: object, msg: Message, **_: object) -> None:
        received_us = now_us()
        data = {"asked_us": msg.data["asked_us"], "received_us": received_us, "answered_us": now_us()}
        self._runner.send_message(PONG, data)

    def _origin_set(self, environment: object, msg: Message, **_: object) -> None:
        self._origin.set(msg.data["origin_us"])
