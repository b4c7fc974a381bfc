"""Webhooks: the provider rings the doorbell, once for each event, and again until somebody answers.

    provider                          receiver
       │ event created                   │
       │── POST (signed event) ─────────>│ stores it, queues it for a worker
       │<──────────────── 2xx ───────────│ on receipt, or after processing
       │                                 │
       │── POST ───────────X             │ lost, refused, 5xx, 503, or too slow:
       │   … timeout, back off …         │ the work goes on even if the sender has left
       │── POST (attempt 2) ────────────>│ maybe a duplicate

Assumptions. An event's attempts are one after another; events are independent of each other but for
`max_in_flight`, the slots of one endpoint, held from send to answer or timeout and never during a
back-off. Ready attempts wait for a slot first come first served. No order is promised between events.
Delivery is at least once, up to the attempts allowed.

Sources: Standard Webhooks specification (standardwebhooks.com), "Reliability"; M. Brooker,
"Exponential Backoff And Jitter", AWS Architecture Blog, 2015.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass

import numpy as np
import simpy

from sim.distributions import compile_distribution, sample
from sim.happenings import Happening
from sim.mechanisms.receiver import Receiver
from sim.mechanisms.world import Connections, World
from sim.policies import BLACK_HOLE, REFUSE, UP, compile_retry, retry_delay, setup_s
from sim.randomness import Stream, delivery_entity, uniform
from sim.records import Status

_Steps = Generator[simpy.Event, object, None]


@dataclass(frozen=True)
class Answer:
    """What the receiver's side says to one attempt."""

    acknowledged: bool
    words: str
    retry_after_s: float = 0.0
    connection_survives: bool = True


_ACKNOWLEDGED = Answer(True, "acknowledged")
_REFUSED = Answer(False, "connection refused", connection_survives=False)
_SERVER_ERROR = Answer(False, "answered 500")


class WebhookSender:
    """The provider's dispatcher for one subscriber's endpoint."""

    def __init__(self, world: World, subscriber: int) -> None:
        scenario = world.scenario
        self.receiver = Receiver(world, subscriber)
        self.connections = Connections(world)
        self._world = world
        self._subscriber = subscriber
        self._slots = simpy.Resource(world, capacity=scenario.webhook.max_in_flight)
        self._timeout_s = scenario.webhook.timeout_s
        self._retry = compile_retry(scenario.webhook.retry)
        self._network = scenario.network
        self._one_way = compile_distribution(scenario.network.one_way)
        self._payload_bytes = scenario.workload.payload_bytes
        self._on_receipt = scenario.receiver.acknowledge == "on_receipt"
        self._full = Answer(False, "answered 503, queue full", scenario.receiver.retry_after_s)
        self._created = world.audience.created_of(subscriber)
        self._under_way = np.zeros(world.deliveries.visible.shape[1], dtype=np.int32)
        self._gave_up = np.zeros(world.deliveries.visible.shape[1], dtype=np.bool_)

    def watch(self) -> _Steps:
        """Start a delivery for each event as it is created."""
        for event, created in enumerate(self._created):
            yield self._world.at(created, Happening.ATTEMPT_READY, self._subscriber, event, 1)
            self._world.process(self._deliver(event))

    def _deliver(self, event: int) -> _Steps:
        """Try until acknowledged or out of attempts."""
        world, retry = self._world, self._retry
        attempt, waited_s = 1, retry.base_s
        while True:
            with self._slots.request() as slot:
                yield slot
                answer = world.event()
                self._send(event, attempt, answer)
                timeout = world.at(
                    world.now + self._timeout_s, Happening.TIMEOUT, self._subscriber, event, attempt
                )
                yield answer | timeout
            heard = answer.value if answer.triggered else None
            self._note(event, attempt, heard)
            if heard is not None and heard.acknowledged:
                return
            if attempt == retry.attempts_allowed:
                break
            u = self._draw(Stream.RETRY_JITTER, event, attempt)
            waited_s = retry_delay(retry, attempt, waited_s, u)
            ready_s = world.now + max(waited_s, heard.retry_after_s if heard else 0.0)
            if ready_s - self._created[event] > retry.max_duration_s:
                break
            attempt += 1
            yield world.at(ready_s, Happening.ATTEMPT_READY, self._subscriber, event, attempt)
        self._gave_up[event] = True
        world.tell(self._subscriber, "the sender gives up on event {}", event)

    def _send(self, event: int, attempt: int, answer: simpy.Event) -> None:
        world, network, deliveries = self._world, self._network, self._world.deliveries
        if attempt == 1:
            deliveries.first_attempt[self._subscriber, event] = world.now
        deliveries.attempts[self._subscriber, event] = attempt
        setting_up_s, sent_bytes = 0.0, network.request_header_bytes + self._payload_bytes
        if self.connections.take():
            setting_up_s = self._setup_s(event, attempt)
            sent_bytes += network.setup_bytes
        world.count_request(sent_bytes)
        world.tell(self._subscriber, "POST event {}, attempt {}", event, attempt)
        if self._draw(Stream.REQUEST_LOSS, event, attempt) >= network.request_loss:
            world.process(self._travel(event, attempt, setting_up_s, answer))
        else:
            world.tell(self._subscriber, "the POST of event {} is lost on the way", event)

    def _travel(self, event: int, attempt: int, setting_up_s: float, answer: simpy.Event) -> _Steps:
        """The request's way to the receiver, what happens there, and the answer's way back."""
        world, receiver = self._world, self.receiver
        self._under_way[event] += 1
        transit_s = setting_up_s + self._transit(Stream.REQUEST_TRANSIT, event, attempt)
        yield world.at(world.now + transit_s, Happening.REQUEST_ARRIVAL, self._subscriber, event, attempt)
        self._under_way[event] -= 1

        door = receiver.door
        if door == BLACK_HOLE:
            return
        if door != UP:
            world.count(errors=1)
            said = _REFUSED if door == REFUSE else _SERVER_ERROR
        elif receiver.is_full:
            world.count(rejected=1)
            said = self._full
        else:
            served = receiver.accept(event)
            if not self._on_receipt:
                yield served
            said = _ACKNOWLEDGED

        if door != REFUSE:
            world.count(response_bytes=self._network.response_header_bytes)
        if self._draw(Stream.RESPONSE_LOSS, event, attempt) < self._network.response_loss:
            world.tell(self._subscriber, "the answer to event {} is lost on the way", event)
            return
        transit_s = self._transit(Stream.RESPONSE_TRANSIT, event, attempt)
        yield world.at(world.now + transit_s, Happening.RESPONSE_ARRIVAL, self._subscriber, event, attempt)
        answer.succeed(said)

    def _note(self, event: int, attempt: int, heard: Answer | None) -> None:
        self.connections.give_back(still_open=heard is not None and heard.connection_survives)
        if heard is None:
            self._world.count(timeouts=1)
        self._world.tell(
            self._subscriber, "event {}, attempt {}: {}", event, attempt, heard.words if heard else "timeout"
        )

    def close(self) -> None:
        """When the world ends: what the sender gave up, with no copy alive, is lost."""
        deliveries = self._world.deliveries
        nowhere = (deliveries.copies[self._subscriber] == 0) & (self._under_way == 0)
        deliveries.status[self._subscriber, self._gave_up & nowhere] = Status.LOST
        self.receiver.servers.close()
        self.connections.close()

    def _transit(self, stream: Stream, event: int, attempt: int) -> float:
        entity = delivery_entity(self._subscriber, event)
        return sample(self._one_way, self._world.seed, int(stream), entity, attempt)

    def _setup_s(self, event: int, attempt: int) -> float:
        entity = delivery_entity(self._subscriber, event)
        round_trips = self._network.setup_round_trips
        return setup_s(
            self._one_way, round_trips, self._world.seed, int(Stream.SETUP_TRANSIT), entity, attempt
        )

    def _draw(self, stream: Stream, event: int, attempt: int) -> float:
        return uniform(self._world.seed, int(stream), delivery_entity(self._subscriber, event), attempt)


def run_webhook(world: World) -> None:
    """Push every event to every subscriber until the world ends."""
    senders = [WebhookSender(world, s) for s in range(world.scenario.subscribers.count)]
    for sender in senders:
        world.process(sender.watch())
    world.run_to_the_end()
    for sender in senders:
        sender.close()
    counters = world.counters
    counters.connections_peak = sum(sender.connections.peak for sender in senders)
    counters.connection_s = sum(sender.connections.in_use_s for sender in senders)
    counters.receiver_queue_max = max(sender.receiver.servers.longest for sender in senders)
    counters.receiver_busy_s = sum(sender.receiver.servers.busy_s for sender in senders)
    counters.receiver_queue_integral_s = sum(sender.receiver.servers.waiting_s for sender in senders)
