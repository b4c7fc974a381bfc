"""A subscriber's receiver: a door that outages shut, a bounded queue, workers that make events visible.

    arrival ──> door open? ──> room in the queue? ──> queue ──> worker ──> visible
                  │ no              │ no
                  ▼                 ▼
        refused, 5xx or silence    503

An event is visible when a worker has served its first finished copy. Every accepted copy takes a
service time of its own, also a duplicate: the receiver finds out that it knows the event by looking.

With `discipline = "preempt"` there is no queue: a newly accepted copy pushes the one in service out, which
is dropped. A monitor that only wants the newest value does so; it is the last-come-first-served queue with
preemption of the literature on age (Kaul, Yates & Gruteser, "Status updates through queues", CISS 2012).
"""

from __future__ import annotations

from collections.abc import Generator

import numpy as np
import simpy
from numpy.typing import NDArray

from sim.distributions import compile_distribution, sample
from sim.happenings import Happening
from sim.mechanisms.world import Servers, World
from sim.passages import Kind
from sim.policies import UP, outage_at, slowdown_at
from sim.randomness import Stream, delivery_entity
from sim.records import Status, Via

_SERVICE = int(Stream.SERVICE)

_Steps = Generator[simpy.Event, object, None]


class Receiver:
    """One subscriber's receiver; without `may_preempt` always first come first served."""

    def __init__(self, world: World, subscriber: int, *, may_preempt: bool = True) -> None:
        spec = world.scenario.receiver
        self.servers = Servers(world, spec.workers)
        self._world = world
        self._subscriber = subscriber
        self._queue_limit = spec.queue_limit
        self._service = compile_distribution(spec.service)
        self._preempts = may_preempt and spec.discipline == "preempt"
        self._in_service: simpy.Process | None = None
        self.dropped = np.zeros(world.deliveries.visible.shape[1], dtype=np.int32)
        self.outages = world.receiver_outages

    @property
    def door(self) -> int:
        """What the door does now: `UP`, `REFUSE`, `BLACK_HOLE` or `ERROR`."""
        return outage_at(self.outages, self._subscriber, self._world.now)

    @property
    def is_down(self) -> bool:
        """Whether an outage is on."""
        return self.door != UP

    @property
    def is_full(self) -> bool:
        """Whether an arrival would find every worker busy and no waiting place; never, if it pushes out."""
        return self.servers.all_busy and self.servers.waiting >= self._queue_limit

    @property
    def has_copy(self) -> NDArray[np.bool_]:
        """Of which events a copy was accepted and not dropped: in the queue, in service or served."""
        taken: NDArray[np.bool_] = self._world.deliveries.copies[self._subscriber] > self.dropped
        return taken

    def accept(self, event: int, via: Via | None = None, *, fails: bool = False) -> simpy.Process:
        """Take one copy in; the process ends when a worker has served it, dropped it, or failed on it.

        `via` is the way it came, if not the one the mechanism's records say anyway.
        """
        copies = self._world.deliveries.copies[self._subscriber]
        copy = int(copies[event])
        copies[event] += 1
        if self._preempts:
            return self._world.process(self._serve_at_once(event, copy, via, fails))
        return self._world.process(self._serve(event, copy, via, fails))

    def _serve(self, event: int, copy: int, via: Via | None, fails: bool) -> _Steps:
        with self.servers.join() as turn:
            yield turn
            self.servers.started()
            yield self._service_of(event, copy)
            self.servers.ended()
        self._finish(event, via, fails)

    def _serve_at_once(self, event: int, copy: int, via: Via | None, fails: bool) -> _Steps:
        """Push out whatever is in service; be served unless pushed out in turn."""
        if self._in_service is not None:
            self._in_service.interrupt()
        self._in_service = self._world.active_process
        self.servers.started_at_once()
        try:
            yield self._service_of(event, copy)
        except simpy.Interrupt:
            self.servers.ended()
            self.dropped[event] += 1
            self._world.tell(self._subscriber, "event {} is pushed out of service", event)
        else:
            self.servers.ended()
            self._in_service = None
            self._finish(event, via, fails)

    def _service_of(self, event: int, copy: int) -> simpy.Event:
        """The end of a service that starts now."""
        world, entity = self._world, delivery_entity(self._subscriber, event)
        slowdown = slowdown_at(self.outages, self._subscriber, world.now)
        service_s = slowdown * sample(self._service, world.seed, _SERVICE, entity, copy)
        return world.at(world.now + service_s, Happening.SERVICE_END, self._subscriber, event, copy)

    def _finish(self, event: int, via: Via | None, fails: bool) -> None:
        if fails:
            self._world.count(errors=1)
            self._world.tell(self._subscriber, "the consumer fails on event {}", event)
        else:
            self._show(event, via)

    def _show(self, event: int, via: Via | None) -> None:
        world, deliveries, s = self._world, self._world.deliveries, self._subscriber
        if not np.isnan(deliveries.visible[s, event]):
            world.tell(s, "a duplicate of event {} was served for nothing", event)
            world.carried(Kind.DUPLICATE, s, world.now, [event])
            return
        deliveries.visible[s, event] = world.now
        deliveries.status[s, event] = Status.DELIVERED
        if via is not None:
            deliveries.via[s, event] = via
        world.tell(s, "event {} is visible", event)
        world.carried(Kind.VISIBLE, s, world.now, [event])
