"""The provider's side of a broker: each event is published, as it is created, for each subscriber.

    provider                     broker
       │ event created              │
       │── publish ────────────────>│ persists it: from now on the event is stored

The broker has no contention and does not fail, and the provider's connection to it neither: a published
event is stored one transit and one write later. One publish is one request, its bytes those of a request's
headers and the payload, counted for each event and subscriber; the broker's confirmation is not counted.
"""

from __future__ import annotations

from collections.abc import Callable, Generator

import simpy

from sim.distribution_specs import DistributionSpec
from sim.distributions import compile_distribution
from sim.happenings import Happening
from sim.mechanisms.world import World
from sim.passages import Kind
from sim.policies import stored_at


class Publisher:
    """What the provider publishes for one subscriber.

    Attributes:
        stored_s: when the broker has stored each event.
    """

    def __init__(self, world: World, subscriber: int, persist: DistributionSpec) -> None:
        one_way, writing = compile_distribution(world.scenario.network.one_way), compile_distribution(persist)
        self._world = world
        self._subscriber = subscriber
        self._created = world.audience.created_of(subscriber)
        self.stored_s = [
            stored_at(one_way, writing, world.seed, subscriber, event, created_s)
            for event, created_s in enumerate(self._created)
        ]

    def publish_all(self, store: Callable[[int], None]) -> Generator[simpy.Event, object, None]:
        """Publish each event as it is created; `store` is called when the broker has it."""
        world, scenario = self._world, self._world.scenario
        sent_bytes = scenario.network.request_header_bytes + scenario.workload.payload_bytes
        for event, created_s in enumerate(self._created):
            yield world.at(created_s, Happening.ATTEMPT_READY, self._subscriber, event)
            world.count_request(sent_bytes)
            world.process(self._store(event, store))

    def _store(self, event: int, store: Callable[[int], None]) -> Generator[simpy.Event, object, None]:
        yield self._world.at(self.stored_s[event], Happening.ATTEMPT_READY, self._subscriber, event, 1)
        self._world.carried(Kind.PUBLISH, self._subscriber, self._created[event], [event])
        store(event)
