"""Webhooks: the provider rings the doorbell, once for each event, and again until somebody answers.

    provider                          receiver
       │ event created                   │
       │── POST (signed event) ─────────>│ stores it, queues it for a worker
       │<──────────────── 2xx ───────────│ on receipt, or after processing
       │                                 │
       │── POST ───────────X             │ lost, refused, 5xx, 503, or too slow:
       │   … timeout, back off …         │ the work goes on even if the sender has left
       │── POST (attempt 2) ────────────>│ maybe a duplicate
       │   … out of attempts: a dead letter …
       │── POST by hand ────────────────>│ if somebody looks

Assumptions. An event's attempts are one after another; events are independent of each other but for
`max_in_flight`, the slots of one endpoint, held from send to answer or timeout and never during a
back-off. Ready attempts wait for a slot first come first served. No order is promised between events.
Delivery is at least once, up to the attempts allowed. Every attempt is signed when it is sent; a receiver
that finds the signature's time too far off its own clock answers 400. A receiver may also fail for a reason
of its own, and answer 500 without having taken the event in. The provider may switch the endpoint off
(`sim.mechanisms.endpoint`): what is due then is not sent.

An event that ran out of attempts, or was due while the endpoint was off, is a dead letter. With
`redelivery` somebody looks at the dead letters at fixed times and tries each once more, so many times; a
look's attempt has no retries of its own.

Sources: Standard Webhooks specification (standardwebhooks.com), "Reliability" and "Signature scheme"; M.
Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015; GitHub Docs, "Redelivering webhooks".
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import cast

import numpy as np
import simpy
from numpy.typing import NDArray

from sim.distributions import compile_distribution, sample
from sim.happenings import Happening
from sim.mechanisms.endpoint import Endpoint
from sim.mechanisms.receiver import Receiver
from sim.mechanisms.world import Connections, World
from sim.passages import Kind
from sim.policies import (
    BLACK_HOLE,
    NEVER,
    REFUSE,
    UP,
    compile_redelivery,
    compile_retry,
    is_stale,
    next_look,
    retry_delay,
    setup_s,
)
from sim.randomness import Stream, delivery_entity, uniform
from sim.records import Status, Via

_Steps = Generator[simpy.Event, object, None]


@dataclass(frozen=True)
class Answer:
    """What the receiver's side says to one attempt."""

    acknowledged: bool
    words: str
    retry_after_s: float = 0.0
    connection_survives: bool = True


ACKNOWLEDGED = Answer(True, "acknowledged")
_REFUSED = Answer(False, "connection refused", connection_survives=False)
_SERVER_ERROR = Answer(False, "answered 500")
_BAD_SIGNATURE = Answer(False, "answered 400, signature too old or too new")
_TIMED_OUT = Answer(False, "timeout", connection_survives=False)
_NOT_SENT = Answer(False, "not sent, the endpoint is off")


class WebhookSender:
    """The provider's dispatcher for one subscriber's endpoint; it sends `body_bytes`, or the whole event."""

    def __init__(self, world: World, subscriber: int, body_bytes: int | None = None) -> None:
        scenario = world.scenario
        self.receiver = Receiver(world, subscriber)
        self.connections = Connections(world)
        self.endpoint = Endpoint(world, subscriber)
        self._world = world
        self._subscriber = subscriber
        self._slots = simpy.Resource(world, capacity=scenario.webhook.max_in_flight)
        self._timeout_s = scenario.webhook.timeout_s
        self._retry = compile_retry(scenario.webhook.retry)
        self._redelivery = compile_redelivery(scenario.webhook.redelivery)
        self._network = scenario.network
        self._one_way = compile_distribution(scenario.network.one_way)
        self._body_bytes = scenario.workload.payload_bytes if body_bytes is None else body_bytes
        self._spec = scenario.receiver
        self._tolerance_s = scenario.receiver.signature_tolerance_s or NEVER
        self._full = Answer(False, "answered 503, queue full", scenario.receiver.retry_after_s)
        self._created = world.audience.created_of(subscriber)
        width = world.deliveries.visible.shape[1]
        self._attempts = np.zeros(width, dtype=np.int32)
        self._under_way = np.zeros(width, dtype=np.int32)
        self._done = np.zeros(width, dtype=np.bool_)

    def watch(self) -> _Steps:
        """Start a delivery for each event as it is created."""
        for event, created in enumerate(self._created):
            yield self._world.at(created, Happening.ATTEMPT_READY, self._subscriber, event, 1)
            self._world.process(self._deliver(event))

    def _deliver(self, event: int) -> _Steps:
        """Try as the retry policy says; then, of a dead letter, as often as somebody looks."""
        world, s = self._world, self._subscriber
        acknowledged = yield from self._try(event)
        if not acknowledged:
            world.count(dead_letters=1)
            world.tell(s, "the sender gives up on event {}", event)
            world.carried(Kind.GIVEN_UP, s, world.now, [event])
            acknowledged = yield from self._redeliver(event)
            if not acknowledged and self._redelivery.rounds > 0:
                world.tell(s, "event {} is given up for good", event)
        self._done[event] = True

    def _try(self, event: int) -> Generator[simpy.Event, object, bool]:
        """Try until acknowledged, or out of attempts, or not allowed to send; returns which."""
        world, retry = self._world, self._retry
        waited_s = retry.base_s
        while True:
            heard = yield from self._attempt(event)
            attempt = int(self._attempts[event])
            if heard.acknowledged:
                return True
            if heard is _NOT_SENT or attempt == retry.attempts_allowed:
                return False
            u = self._draw(Stream.RETRY_JITTER, event, attempt)
            waited_s = retry_delay(retry, attempt, waited_s, u)
            ready_s = world.now + max(waited_s, heard.retry_after_s)
            if ready_s - self._created[event] > retry.max_duration_s:
                return False
            yield world.at(ready_s, Happening.ATTEMPT_READY, self._subscriber, event, attempt + 1)

    def _redeliver(self, event: int) -> Generator[simpy.Event, object, bool]:
        """Try a dead letter once at each look, while it is young enough; returns whether it got through."""
        world, s = self._world, self._subscriber
        for _ in range(self._redelivery.rounds):
            look_s = next_look(self._redelivery, world.now)
            if look_s - self._created[event] > self._redelivery.within_s:
                return False
            attempt = int(self._attempts[event]) + 1
            yield world.at(look_s, Happening.ATTEMPT_READY, s, event, attempt)
            world.count(redeliveries=1)
            world.tell(s, "somebody finds event {} among the dead letters", event)
            heard = yield from self._attempt(event)
            if heard.acknowledged:
                return True
        return False

    def _attempt(self, event: int) -> Generator[simpy.Event, object, Answer]:
        """Wait for a slot, send unless the endpoint is off, and wait; returns what the sender heard."""
        world, s = self._world, self._subscriber
        with self._slots.request() as slot:
            yield slot
            if self.endpoint.is_off:
                world.count(unsent=1)
                world.tell(s, "event {}: {}", event, _NOT_SENT.words)
                return _NOT_SENT
            self._attempts[event] += 1
            attempt = int(self._attempts[event])
            answer = world.event()
            self._send(event, attempt, answer)
            yield answer | world.at(world.now + self._timeout_s, Happening.TIMEOUT, s, event, attempt)
        heard = cast(Answer, answer.value) if answer.triggered else _TIMED_OUT
        self._note(event, attempt, heard)
        return heard

    def _send(self, event: int, attempt: int, answer: simpy.Event) -> None:
        world, network, deliveries = self._world, self._network, self._world.deliveries
        first_attempt = deliveries.first_attempt[self._subscriber]
        first_attempt[event] = np.fmin(first_attempt[event], world.now)
        deliveries.attempts[self._subscriber, event] += 1
        setting_up_s, sent_bytes = 0.0, network.request_header_bytes + self._body_bytes
        if self.connections.take():
            setting_up_s = self._setup_s(event, attempt)
            sent_bytes += network.setup_bytes
        world.count_request(sent_bytes)
        world.tell(self._subscriber, "POST event {}, attempt {}", event, attempt)
        if self._draw(Stream.REQUEST_LOSS, event, attempt) >= network.request_loss:
            world.process(self._travel(event, attempt, setting_up_s, answer))
        else:
            world.tell(self._subscriber, "the POST of event {} is lost on the way", event)
            world.carried(Kind.POST, self._subscriber, world.now, [event], attempt, lost=True)

    def _travel(self, event: int, attempt: int, setting_up_s: float, answer: simpy.Event) -> _Steps:
        """The request's way to the receiver, what happens there, and the answer's way back."""
        world, sent_s = self._world, self._world.now
        self._under_way[event] += 1
        transit_s = setting_up_s + self._transit(Stream.REQUEST_TRANSIT, event, attempt)
        yield world.at(world.now + transit_s, Happening.REQUEST_ARRIVAL, self._subscriber, event, attempt)
        self._under_way[event] -= 1
        world.carried(Kind.POST, self._subscriber, sent_s, [event], attempt)

        door = self.receiver.door
        if door == BLACK_HOLE:
            return
        said = self._objection(event, attempt, door, sent_s)
        if said is None:
            said, served = self._hand_over(event)
            if served is not None:
                yield served
        else:
            world.count(errors=1)

        if said is not _REFUSED:
            world.count(response_bytes=self._network.response_header_bytes)
        if self._draw(Stream.RESPONSE_LOSS, event, attempt) < self._network.response_loss:
            world.tell(self._subscriber, "the answer to event {} is lost on the way", event)
            world.carried(Kind.POST_ANSWER, self._subscriber, world.now, [event], attempt, lost=True)
            return
        left_s = world.now
        transit_s = self._transit(Stream.RESPONSE_TRANSIT, event, attempt)
        yield world.at(world.now + transit_s, Happening.RESPONSE_ARRIVAL, self._subscriber, event, attempt)
        good, told = said.acknowledged, said.words
        world.carried(Kind.POST_ANSWER, self._subscriber, left_s, [event], attempt, good=good, told=told)
        answer.succeed(said)

    def _objection(self, event: int, attempt: int, door: int, sent_s: float) -> Answer | None:
        """What the receiver says to a request that it does not want to see: at the door, then inside."""
        if door != UP:
            return _REFUSED if door == REFUSE else _SERVER_ERROR
        if is_stale(sent_s, self._world.now, self._spec.clock_offset_s, self._tolerance_s):
            return _BAD_SIGNATURE
        if self._draw(Stream.RECEIVER_ERROR, event, attempt) < self._spec.error_probability:
            return _SERVER_ERROR
        return None

    def _hand_over(self, event: int) -> tuple[Answer, simpy.Event | None]:
        """Give the event to the receiver's workers; returns the answer, and what it waits for."""
        if self.receiver.is_full:
            self._world.count(rejected=1)
            return self._full, None
        served = self.receiver.accept(event, Via.WEBHOOK)
        return ACKNOWLEDGED, served if self._spec.acknowledge == "after_processing" else None

    def _note(self, event: int, attempt: int, heard: Answer) -> None:
        self.connections.give_back(still_open=heard.connection_survives)
        if heard is _TIMED_OUT:
            self._world.count(timeouts=1)
        self._world.tell(self._subscriber, "event {}, attempt {}: {}", event, attempt, heard.words)
        if heard.acknowledged:
            self.endpoint.acknowledged()
        else:
            self.endpoint.failed()

    def lose(self, elsewhere: NDArray[np.bool_] | None = None) -> None:
        """When the world ends: what the sender is done with, with no copy alive or under way, is lost.

        But for what may still come from `elsewhere`.
        """
        lost = self._done & (self._under_way == 0) & ~self.receiver.has_copy
        if elsewhere is not None:
            lost &= ~elsewhere
        self._world.deliveries.status[self._subscriber, lost] = Status.LOST

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
        sender.lose()
    world.sum_up([sender.receiver.servers for sender in senders], [sender.connections for sender in senders])
