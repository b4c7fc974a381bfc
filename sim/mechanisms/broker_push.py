"""A queue at a broker, as RabbitMQ's: the postman holds the letters until you sign for them.

    provider        broker                                  consumer
       │── publish ──>│ stored in the queue                    │
       │              │── message, delivery 1 ────────────────>│ queued for a worker
       │              │── more, while fewer than `prefetch`    │
       │              │   are unacknowledged ─────────────────>│
       │              │<────────────────────────────────── ack │ after processing: forgotten, slot free
       │              │<───────────────────────────────── nack │ the consumer failed on it:
       │              │── message, delivery 2 ────────────────>│ back at its place, and out again
       │              │ ╳ the connection drops ╳               │
       │              │ all unacknowledged are put back        │ what it has, it goes on serving
       │              │<─────────────────── connect, after a back-off
       │              │── message, delivery 2 ────────────────>│ maybe a duplicate

The queue is in the order of storing, and what is put back regains its original place. With
`receiver.acknowledge = "on_receipt"` acknowledgement is automatic: a message counts as acknowledged when it
is sent, so `prefetch` bounds nothing, and what is under way when the connection drops, or what the consumer
fails on, is lost. A message sent `max_deliveries` times, for failures and drops alike, is dead-lettered
instead of put back.

The connection ends with its random lifetime, or when the receiver goes down. A closed one the broker knows
at once and the consumer one transit later. A silent one both sides believe in until the other's heartbeats
have failed to come for `heartbeat_timeout_s`: until then the broker goes on sending into the void, up to
`prefetch`. The consumer connects again after a back-off, not before its receiver is up; a connection that
was up resets the back-off, an outage while one is being set up does not.

Assumptions. One queue, one connection and one consumer for each subscriber; `receiver.workers` serve what
it accepts, first come first served, whatever the receiver's `queue_limit` and `discipline`. A connection is
two pipes: nothing overtakes in either direction, nothing is lost but what is under way when it ends.
Acknowledgements are sent only while it lasts. The events API (`sim.mechanisms.provider_api`) is not used.
Requests are the publishes; messages, the answers to them (`frame_bytes` each) and heartbeats are counted in
bytes only.

Sources: AMQP 0-9-1 specification, basic.qos, basic.ack, basic.reject; RabbitMQ documentation, "Consumer
Acknowledgements and Publisher Confirms", "Detecting Dead TCP Connections with Heartbeats", and "Quorum
Queues" (delivery limit, 20 by default).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator
from dataclasses import dataclass, field
from heapq import heappop, heappush
from typing import cast

import simpy

from sim.distributions import compile_distribution, sample
from sim.happenings import Happening
from sim.mechanisms.broker import Publisher
from sim.mechanisms.receiver import Receiver
from sim.mechanisms.world import World
from sim.passages import Kind
from sim.policies import (
    broker_notices,
    client_notices,
    compile_link,
    connection_ends,
    connects_at,
    heartbeats_within,
    next_down,
    overlap,
    setup_s,
)
from sim.randomness import Stream, delivery_entity, uniform
from sim.records import Status

_Steps = Generator[simpy.Event, object, None]


@dataclass(eq=False)
class Connection:
    """One connection, while the broker believes in it; `is_up` is the truth."""

    opened_s: float
    is_up: bool = True
    last_arrival_s: float = 0.0
    last_answer_s: float = 0.0
    under_way: set[int] = field(default_factory=set)


class Queue:
    """One subscriber's queue at the broker, and its consumer.

    Attributes:
        publisher: who fills it.
        receiver: who serves what the consumer accepts.
        was_seen: whether a connection was up within the window.
        connected_s: how long one was, within the window.
        heartbeat_bytes: what either side sent to show that it is alive, within the window.
    """

    def __init__(self, world: World, subscriber: int) -> None:
        scenario = world.scenario
        spec = scenario.broker_push
        self.publisher = Publisher(world, subscriber, spec.persist)
        self.receiver = Receiver(world, subscriber, may_preempt=False)
        self.was_seen = False
        self.connected_s = 0.0
        self.heartbeat_bytes = 0
        self._world = world
        self._subscriber = subscriber
        self._spec = spec
        self._link = compile_link(spec, scenario.network)
        self._network = scenario.network
        self._one_way = compile_distribution(scenario.network.one_way)
        self._message_bytes = scenario.workload.payload_bytes + spec.frame_bytes
        self._automatic = scenario.receiver.acknowledge == "on_receipt"
        self._error_probability = scenario.receiver.error_probability
        self._ready: list[tuple[float, int]] = []
        self._unacknowledged: set[int] = set()
        self._gone: set[int] = set()
        self._at_receiver: Counter[int] = Counter()
        self._connection: Connection | None = None
        self._sent = 0
        self._answered = 0

    # The broker's side.

    def store(self, event: int) -> None:
        """A message comes into the queue, from the publisher or back from the consumer."""
        heappush(self._ready, (self.publisher.stored_s[event], event))
        self._send_what_may_go()

    def _send_what_may_go(self) -> None:
        """Send from the head of the queue while a consumer is thought to be there and slots are free."""
        while self._connection and self._ready and len(self._unacknowledged) < self._spec.prefetch:
            _, event = heappop(self._ready)
            self._send(event, self._connection)

    def _send(self, event: int, connection: Connection) -> None:
        world, s, deliveries = self._world, self._subscriber, self._world.deliveries
        number = int(deliveries.attempts[s, event]) + 1
        deliveries.attempts[s, event] = number
        if number == 1:
            deliveries.first_attempt[s, event] = world.now
        else:
            world.count(redeliveries=1)
        world.count(response_bytes=self._message_bytes)
        world.tell(s, "the broker sends event {}, delivery {}", event, number)
        if self._automatic:
            self._gone.add(event)
        else:
            self._unacknowledged.add(event)
        if connection.is_up:
            transit_s = self._transit(Stream.MESSAGE_TRANSIT, event, number)
            connection.last_arrival_s = max(connection.last_arrival_s, world.now + transit_s)
            connection.under_way.add(event)
            world.process(self._travel(event, number, connection, connection.last_arrival_s))

    def _settle(self, event: int, failed: bool) -> None:
        """The consumer's answer has come: forget the message, or put it back."""
        self._unacknowledged.remove(event)
        if failed:
            self._put_back(event)
        else:
            self._world.tell(self._subscriber, "event {} is acknowledged", event)
        self._send_what_may_go()

    def _put_back(self, event: int) -> None:
        world, s = self._world, self._subscriber
        if world.deliveries.attempts[s, event] >= self._spec.max_deliveries:
            self._gone.add(event)
            world.count(dead_letters=1)
            world.tell(s, "event {} goes to the dead letters", event)
            world.carried(Kind.GIVEN_UP, s, world.now, [event])
        else:
            heappush(self._ready, (self.publisher.stored_s[event], event))
            world.tell(s, "event {} is put back in the queue", event)

    # The consumer's side.

    def _travel(self, event: int, number: int, connection: Connection, arrival_s: float) -> _Steps:
        """A message's way to the consumer, its service there, and the answer's way back."""
        world, s, sent_s = self._world, self._subscriber, self._world.now
        self._sent += 1
        yield world.at(arrival_s, Happening.REQUEST_ARRIVAL, s, self._sent)
        world.carried(Kind.MESSAGE, s, sent_s, [event], number, lost=not connection.is_up)
        if not connection.is_up:
            return
        connection.under_way.remove(event)
        failed = self._draw(Stream.RECEIVER_ERROR, event, number) < self._error_probability
        self._at_receiver[event] += 1
        yield self.receiver.accept(event, fails=failed)
        self._at_receiver[event] -= 1
        if self._automatic or not connection.is_up:
            return
        world.count(request_bytes=self._spec.frame_bytes)
        transit_s = self._transit(Stream.ACK_TRANSIT, event, number)
        connection.last_answer_s = max(connection.last_answer_s, world.now + transit_s)
        self._answered += 1
        left_s = world.now
        yield world.at(connection.last_answer_s, Happening.RESPONSE_ARRIVAL, s, self._answered)
        world.carried(Kind.ACK, s, left_s, [event], number, good=not failed, lost=not connection.is_up)
        if connection.is_up:
            self._settle(event, failed)

    # The connection between them.

    def stay_connected(self) -> _Steps:
        """Connect, until the connection ends and both have noticed; back off, and connect again."""
        world, s, link = self._world, self._subscriber, self._link
        session, failures, noticed_s = 0, 0, 0.0
        while True:
            begins_s = connects_at(link, world.receiver_outages, world.seed, s, session, failures, noticed_s)
            yield world.at(begins_s, Happening.TICK, s, session)
            world.count(connections_opened=1, request_bytes=self._network.setup_bytes)
            up_s = world.now + self._setup_s(session)
            down_s = next_down(world.receiver_outages, s, world.now)
            if down_s <= up_s:
                yield world.at(down_s, Happening.CONNECTION_LOST, s, session)
                world.tell(s, "the consumer goes down before it is connected")
                noticed_s = world.now
                failures += 1
            else:
                yield world.at(up_s, Happening.TICK, s, session)
                noticed_s = yield from self._connected(session)
                failures = 1
            session += 1

    def _connected(self, session: int) -> Generator[simpy.Event, object, float]:
        """The life of one connection; returns when the consumer has noticed its end."""
        world, s, link = self._world, self._subscriber, self._link
        world.tell(s, "the consumer is connected")
        opened_s = world.now
        connection = self._connection = Connection(opened_s)
        self._send_what_may_go()
        ends_s = connection_ends(link, world.receiver_outages, world.seed, s, session, opened_s)
        until_s = min(ends_s, world.scenario.world_end_s)
        world.carried(Kind.SESSION, s, opened_s, number=session, until_s=until_s)
        yield world.at(ends_s, Happening.CONNECTION_LOST, s, session)
        self._account(connection)
        connection.is_up = False
        connection.under_way.clear()
        world.tell(s, "the connection is lost")
        if self._spec.silent:
            yield world.at(broker_notices(link, opened_s, ends_s), Happening.TIMEOUT, s, session)
            world.tell(s, "heartbeats have failed to come: the connection is given up")
        self._connection = None
        for event in sorted(self._unacknowledged):
            self._put_back(event)
        self._unacknowledged.clear()
        return client_notices(link, world.seed, s, session, opened_s, ends_s)

    def _account(self, connection: Connection) -> None:
        """Count a connection's time and heartbeats up to now."""
        world = self._world
        window, opened_s, now = world.window, connection.opened_s, world.now
        up_for_s = overlap(opened_s, now, window.start_s, window.end_s)
        self.connected_s += up_for_s
        self.was_seen |= up_for_s > 0
        heartbeats = heartbeats_within(self._link, opened_s, now, window.start_s, window.end_s)
        self.heartbeat_bytes += heartbeats * self._spec.heartbeat_bytes

    def close(self) -> None:
        """When the world ends: what the broker has no more, and nobody else, is lost."""
        connection, status = self._connection, self._world.deliveries.status[self._subscriber]
        under_way = connection.under_way if connection else set()
        for event in self._gone:
            alive = event in under_way or self._at_receiver[event] > 0
            if status[event] == Status.PENDING and not alive:
                status[event] = Status.LOST
        if connection and connection.is_up:
            self._account(connection)
        self.receiver.servers.close()

    def _transit(self, stream: Stream, event: int, number: int) -> float:
        entity = delivery_entity(self._subscriber, event)
        return sample(self._one_way, self._world.seed, int(stream), entity, number)

    def _setup_s(self, session: int) -> float:
        stream, round_trips = int(Stream.POLL_SETUP_TRANSIT), self._network.setup_round_trips
        return setup_s(self._one_way, round_trips, self._world.seed, stream, self._subscriber, session)

    def _draw(self, stream: Stream, event: int, number: int) -> float:
        return uniform(self._world.seed, int(stream), delivery_entity(self._subscriber, event), number)


def run_broker_push(world: World) -> None:
    """Publish every event to every subscriber's queue, and consume, until the world ends."""
    queues = [Queue(world, s) for s in range(world.scenario.subscribers.count)]
    for queue in queues:
        world.process(queue.publisher.publish_all(queue.store))
        world.process(queue.stay_connected())
    world.run_to_the_end()
    for queue in queues:
        queue.close()
    receivers = [queue.receiver.servers for queue in queues]
    heartbeat_bytes = sum(queue.heartbeat_bytes for queue in queues)
    counters = world.counters
    counters.request_bytes = cast(int, counters.request_bytes) + heartbeat_bytes
    counters.response_bytes = cast(int, counters.response_bytes) + heartbeat_bytes
    counters.connections_peak = sum(queue.was_seen for queue in queues)
    counters.connection_s = sum(queue.connected_s for queue in queues)
    counters.receiver_queue_max = max(servers.longest for servers in receivers)
    counters.receiver_busy_s = sum(servers.busy_s for servers in receivers)
    counters.receiver_queue_integral_s = sum(servers.waiting_s for servers in receivers)
