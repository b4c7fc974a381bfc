"""A subscriber's receiver: a door that outages shut, a bounded queue, workers that make events visible.

    arrival ──> door open? ──> room in the queue? ──> queue ──> worker ──> visible
                  │ no              │ no
                  ▼                 ▼
        refused, 5xx or silence    503

An event is visible when a worker has served its first finished copy. Every accepted copy takes a
service time of its own, also a duplicate: the receiver finds out that it knows the event by looking.
"""

from __future__ import annotations

from collections.abc import Generator

import numpy as np
import simpy

from sim.distributions import compile_distribution, sample
from sim.happenings import Happening
from sim.mechanisms.world import Servers, World
from sim.policies import UP, outage_at, slowdown_at
from sim.randomness import Stream, delivery_entity
from sim.records import Status

_SERVICE = int(Stream.SERVICE)


class Receiver:
    """One subscriber's receiver."""

    def __init__(self, world: World, subscriber: int) -> None:
        spec = world.scenario.receiver
        self.servers = Servers(world, spec.workers)
        self._world = world
        self._subscriber = subscriber
        self._queue_limit = spec.queue_limit
        self._service = compile_distribution(spec.service)
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
        """Whether an arrival would find every worker busy and no waiting place."""
        return self.servers.all_busy and self.servers.waiting >= self._queue_limit

    def accept(self, event: int, *, fails: bool = False) -> simpy.Process:
        """Take one copy in; the process ends when a worker has served it, or failed on it in the end."""
        copies = self._world.deliveries.copies[self._subscriber]
        copy = int(copies[event])
        copies[event] += 1
        return self._world.process(self._serve(event, copy, fails))

    def _serve(self, event: int, copy: int, fails: bool) -> Generator[simpy.Event, object, None]:
        world = self._world
        entity = delivery_entity(self._subscriber, event)
        with self.servers.join() as turn:
            yield turn
            self.servers.started()
            slowdown = slowdown_at(self.outages, self._subscriber, world.now)
            service_s = slowdown * sample(self._service, world.seed, _SERVICE, entity, copy)
            yield world.at(world.now + service_s, Happening.SERVICE_END, self._subscriber, event, copy)
            self.servers.ended()
        if fails:
            world.count(errors=1)
            world.tell(self._subscriber, "the consumer fails on event {}", event)
        else:
            self._show(event)

    def _show(self, event: int) -> None:
        visible = self._world.deliveries.visible[self._subscriber]
        if np.isnan(visible[event]):
            visible[event] = self._world.now
            self._world.deliveries.status[self._subscriber, event] = Status.DELIVERED
            self._world.tell(self._subscriber, "event {} is visible", event)
        else:
            self._world.tell(self._subscriber, "a duplicate of event {} was served for nothing", event)
