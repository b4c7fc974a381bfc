"""The world the reference models live in: a SimPy clock with a stated order, counters and a narrator."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from heapq import heappush
from typing import Any

import numpy as np
import simpy
from numpy.typing import NDArray

from sim.audience import Audience
from sim.happenings import Happening
from sim.passages import Kind, Passage, Witness
from sim.policies import api_outages, bin_of, overlap, receiver_outages
from sim.records import Counters, Deliveries, Via, Window, empty_series, series_bin_s
from sim.scenario import Scenario

Narrator = Callable[[float, int, str], None]

_IMMEDIATELY = -1


class Clock(simpy.Environment):
    """A SimPy environment that schedules at absolute times, ordered by `Happening` when simultaneous.

    SimPy orders simultaneous events by an integer priority, then by age. Here the priority is a
    tuple: what SimPy schedules itself (a resource granted, a process started) happens immediately,
    before any other happening at that time; what `at` schedules follows the documented order.
    """

    def schedule(self, event: simpy.Event, priority: int = 1, delay: float = 0) -> None:
        """Schedule a consequence, as SimPy does by itself."""
        self._push(self._now + delay, (_IMMEDIATELY, priority), event)

    def at(
        self, time_s: float, kind: Happening, subscriber: int, number: int, attempt: int = 0
    ) -> simpy.Event:
        """An event that happens at `time_s`, in its place among the simultaneous ones."""
        event = simpy.Event(self)
        event._ok = True
        event._value = None
        self._push(time_s, (kind, subscriber, number, attempt), event)
        return event

    def _push(self, time_s: float, order: tuple[int, ...], event: simpy.Event) -> None:
        queue: list[Any] = self._queue  # SimPy declares its priorities as integers
        heappush(queue, (time_s, order, next(self._eid), event))


class World(Clock):
    """One replication: a scenario, its events and its seed; and what came of them.

    Attributes:
        scenario: what is studied.
        audience: whose events happen when.
        seed: the replication's seed.
        window: what counters cover.
        counters: what happened within the window.
        deliveries: what became of each event at each subscriber.
        series: requests sent in each bin of the world's time.
        receiver_outages: when each subscriber's receiver fails.
        api_outages: when the provider's API fails.
    """

    def __init__(
        self,
        scenario: Scenario,
        audience: Audience,
        seed: int,
        via: Via,
        narrator: Narrator | None = None,
        witness: Witness | None = None,
    ) -> None:
        super().__init__()
        self.scenario = scenario
        self.audience = audience
        self.seed = seed
        self.window = Window(scenario.run.warmup_s, scenario.run.duration_s)
        self.counters = Counters()
        self.deliveries = Deliveries.empty(audience, via)
        self.series: NDArray[np.int64] = empty_series(scenario)
        self._bin_s = series_bin_s(scenario)
        self.receiver_outages = receiver_outages(scenario, seed)
        self.api_outages = api_outages(scenario, seed)
        self._narrator = narrator
        self._witness = witness

    @property
    def in_window(self) -> bool:
        """Whether counters count now."""
        return self.window.start_s <= self.now < self.window.end_s

    def count(self, **increments: int) -> None:
        """Add to counters, if now is within the window."""
        if self.in_window:
            self.add(**increments)

    def add(self, **increments: int) -> None:
        """Add to counters what is known to fall within the window."""
        for name, increment in increments.items():
            setattr(self.counters, name, getattr(self.counters, name) + increment)

    def count_request(self, sent_bytes: int) -> None:
        """Count a request that is sent now."""
        self.count(requests=1, request_bytes=sent_bytes)
        self.series[bin_of(self.now, self._bin_s)] += 1

    def tell(self, subscriber: int, text: str, *values: Any) -> None:
        """Tell the narrator, if there is one, what happens now."""
        if self._narrator is not None:
            self._narrator(self.now, subscriber, text.format(*values))

    def carried(
        self,
        kind: Kind,
        subscriber: int,
        left_s: float,
        events: Iterable[int] = (),
        number: int = 0,
        *,
        good: bool = True,
        lost: bool = False,
        told: str = "",
        until_s: float | None = None,
    ) -> None:
        """Show the witness, if there is one, what left at `left_s` and arrives now, or at `until_s`."""
        if self._witness is not None:
            arrived_s = self.now if until_s is None else until_s
            self._witness(
                Passage(kind, subscriber, left_s, arrived_s, tuple(events), number, good, lost, told)
            )

    def run_to_the_end(self) -> None:
        """Run until the world ends; a happening exactly then is outside it."""
        self.run(until=self.scenario.world_end_s)

    def sum_up(
        self, receivers: Sequence[Servers], clients: Sequence[Connections], api: Servers | None = None
    ) -> None:
        """When the world has ended: what servers and connections measured goes into the counters."""
        for servers in receivers:
            servers.close()
        for connections in clients:
            connections.close()
        counters = self.counters
        counters.connections_peak = sum(connections.peak for connections in clients)
        counters.connection_s = sum(connections.in_use_s for connections in clients)
        counters.receiver_queue_max = max(servers.longest for servers in receivers)
        counters.receiver_busy_s = sum(servers.busy_s for servers in receivers)
        counters.receiver_queue_integral_s = sum(servers.waiting_s for servers in receivers)
        if api is not None:
            api.close()
            counters.provider_queue_max = api.longest
            counters.provider_busy_s = api.busy_s
            counters.provider_queue_integral_s = api.waiting_s


class Servers:
    """`workers` servers and one queue, first come first served, with its time integrals.

    Attributes:
        busy_s: worker-seconds spent serving within the window.
        waiting_s: the time integral of the queue within the window.
        longest: the longest queue an arrival within the window left behind it.
    """

    def __init__(self, world: World, workers: int) -> None:
        self._world = world
        self._workers = simpy.Resource(world, capacity=workers)
        self._busy = 0
        self._waiting = 0
        self._last_change_s = 0.0
        self.busy_s = 0.0
        self.waiting_s = 0.0
        self.longest = 0

    @property
    def waiting(self) -> int:
        """How many wait, those in service excluded."""
        return len(self._workers.queue)

    @property
    def all_busy(self) -> bool:
        """Whether every worker serves."""
        return self._workers.count == self._workers.capacity

    def join(self) -> simpy.resources.resource.Request:
        """Queue for a worker: ``with servers.join() as turn: yield turn``, then `started` and `ended`."""
        turn = self._workers.request()
        self._change(waiting=1)
        if self._world.in_window:
            self.longest = max(self.longest, self.waiting)
        return turn

    def started(self) -> None:
        """A job went from the queue into service."""
        self._change(waiting=-1, busy=1)

    def started_at_once(self) -> None:
        """A job went into service without having joined the queue."""
        self._change(busy=1)

    def ended(self) -> None:
        """A job left service."""
        self._change(busy=-1)

    def close(self) -> None:
        """Integrate up to now, when the world ends."""
        self._change()

    def _change(self, waiting: int = 0, busy: int = 0) -> None:
        window = self._world.window
        span_s = overlap(self._last_change_s, self._world.now, window.start_s, window.end_s)
        self.waiting_s += self._waiting * span_s
        self.busy_s += self._busy * span_s
        self._waiting += waiting
        self._busy += busy
        self._last_change_s = self._world.now


class Connections:
    """One client's connections: opened when none is idle, closed by a timeout or a refusal.

    Without `network.keep_alive` each is closed when its request is over.

    Attributes:
        peak: the most that were open after a request within the window went out.
        in_use_s: connection-seconds in use within the window.
    """

    def __init__(self, world: World) -> None:
        self._world = world
        self._keep_alive = world.scenario.network.keep_alive
        self._open = 0
        self._in_use = 0
        self._last_change_s = 0.0
        self.peak = 0
        self.in_use_s = 0.0

    def take(self) -> bool:
        """A request goes out: on an idle connection, or on a new one; returns whether it is new."""
        is_new = self._in_use == self._open
        if is_new:
            self._open += 1
            self._world.count(connections_opened=1)
        self._change(1)
        if self._world.in_window:
            self.peak = max(self.peak, self._open)
        return is_new

    def give_back(self, *, still_open: bool) -> None:
        """The request is over; its connection is idle again, or closed."""
        self._change(-1)
        if not (still_open and self._keep_alive):
            self._open -= 1

    def close(self) -> None:
        """Integrate up to now, when the world ends."""
        self._change(0)

    def _change(self, in_use: int) -> None:
        window = self._world.window
        self.in_use_s += self._in_use * overlap(
            self._last_change_s, self._world.now, window.start_s, window.end_s
        )
        self._in_use += in_use
        self._last_change_s = self._world.now
