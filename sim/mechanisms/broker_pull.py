"""A partitioned log at a broker, as Kafka's: the newspaper lies there, and every reader keeps a bookmark.

    provider        broker                                 consumer
       │── publish ──>│ stored in a partition                 │
       │              │<───────────── fetch from position ─── │
       │              │ holds it until `fetch_min` records    │
       │              │ are there, or `fetch_max_wait_s`      │
       │              │── records ───────────────────────────>│ works them off one by one
       │              │<──────────────── commit position ──── │ now and then, as it fetches
       │              │<───────────── fetch from position ─── │
       │              │                                       ╳ goes down
       │              │<─── fetch from committed position ─── │ rejoins: maybe duplicates

A subscriber's receiver is a group of consumers, one a worker; partition p belongs to consumer p modulo
their number, and those without a partition idle. An event's partition is random, as if by its key. A
consumer reads its partitions as one log, in the order of storing.

Commits. When it sends a fetch, at least `commit_interval_s` after the last time (or since it started), a
consumer commits its position: all before it is worked off. A commit is a request and takes no time.

Failures of the receiver. What arrives once an outage has begun is never received, and the broker drops a
fetch it still holds; what was accepted before is worked off. The consumer then starts again where it last
committed: `rebalance_s` after the end of the outage, for it must rejoin its group, and not before its old
batch is done. Its fellows are in the same outage, so nobody takes its partitions over.

Rebalances, which strike the group at random. A consumer takes part when its next fetch is due: it commits
(its partitions are revoked), and if the group is still stopped, sends the fetch when that is over. It keeps
its partitions.

Failures on a record. The consumer tries it again at once, which blocks its partitions; each try is a copy
that takes a service time of its own. After `max_deliveries` tries it is dead-lettered and skipped, and lost
unless a consumer that starts again before it was committed succeeds with it.

Assumptions. The log is kept for ever. A consumer has one connection, set up as it (re)starts, on which
nothing is lost; it counts as in use while a fetch is out. A consumer is one worker with a queue of its
own, the batch it works on: the longest queue is that of any consumer, and `receiver.acknowledge`,
`queue_limit` and `discipline` mean nothing here. Brokers do not use the events API
(`sim.mechanisms.provider_api`). Requests are publishes, fetches and commits; `connections_peak` counts the
consumers that fetched.

Sources: J. Kreps, N. Narkhede & J. Rao, "Kafka: a distributed messaging system for log processing", NetDB
2011; Apache Kafka documentation, "Consumer Configs" (fetch.min.bytes, fetch.max.wait.ms, max.poll.records,
auto.commit.interval.ms); Spring for Apache Kafka, DefaultErrorHandler, for failures on a record.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import cast

import numpy as np
import simpy
from numpy.typing import NDArray

from sim.distributions import compile_distribution, sample
from sim.happenings import Happening
from sim.mechanisms.broker import Publisher
from sim.mechanisms.world import Servers, World
from sim.passages import Kind
from sim.policies import (
    Rebalances,
    answered_at,
    carried_until,
    compile_rebalances,
    next_down,
    overlap,
    partition_of,
    put_off,
    rebalances_by,
    rejoined_at,
    setup_s,
    slowdown_at,
)
from sim.randomness import Stream, delivery_entity, uniform
from sim.records import Status

_Steps = Generator[simpy.Event, object, None]


class Consumer:
    """One consumer of one subscriber's group, and the log of its partitions.

    Attributes:
        server: the one worker, and the batch before it.
        was_seen: whether it fetched within the window.
        fetching_s: how long a fetch was out, within the window.
    """

    def __init__(
        self,
        world: World,
        rebalances: Rebalances,
        subscriber: int,
        number: int,
        log: list[int],
        stored_s: NDArray[np.float64],
    ) -> None:
        scenario = world.scenario
        self.server = Servers(world, 1)
        self.was_seen = False
        self.fetching_s = 0.0
        self._world = world
        self._spec = scenario.broker_pull
        self._subscriber = subscriber
        self._number = number
        self._entity = delivery_entity(subscriber, number)
        self._log = log
        self._stored_s = stored_s
        self._network = scenario.network
        self._one_way = compile_distribution(scenario.network.one_way)
        self._service = compile_distribution(scenario.receiver.service)
        self._error_probability = scenario.receiver.error_probability
        self._record_bytes = scenario.workload.payload_bytes + self._spec.record_bytes
        self._outages = world.receiver_outages
        self._rebalances = rebalances
        self._gave_up: set[int] = set()
        self._position = 0
        self._committed = 0
        self._committed_s = 0.0
        self._down_s = next_down(world.receiver_outages, subscriber, 0.0)
        self._rebalances_seen = 0
        self._fetches = 0
        self._fetch_sent_s: float | None = None
        self._is_connected = False
        self._found_nothing = False

    def consume_for_ever(self) -> _Steps:
        """Fetch, work the batch off, fetch; through outages and rebalances."""
        world = self._world
        due_s = done_s = 0.0
        while True:
            if self._down_s <= due_s:
                yield self._at(max(self._down_s, world.now), Happening.CONNECTION_LOST)
                due_s = self._go_down(done_s)
                continue
            yield self._at(due_s, Happening.TICK)
            self._notice_rebalances()
            ready_s = put_off(self._rebalances, self._subscriber, due_s)
            if ready_s > due_s:
                self._tell("waits for the group to rebalance")
                due_s = ready_s
                continue
            end = yield from self._fetch()
            if end is None:
                due_s = world.now
                continue
            batch, self._position = self._log[self._position : end], end
            yield from self._work_off(batch)
            done_s = world.now
            due_s = done_s if batch else done_s + self._spec.idle_s

    def _go_down(self, done_s: float) -> float:
        """Forget what was not committed; returns when the consumer has rejoined its group."""
        s, pause_s = self._subscriber, self._spec.rebalance_s
        self._tell("goes down, and will start again from record {}", self._committed)
        self._position = self._committed
        self._is_connected = self._found_nothing = False
        joined_s = rejoined_at(self._outages, s, self._down_s, pause_s, done_s)
        self._down_s = next_down(self._outages, s, joined_s)
        self._committed_s = joined_s
        self._rebalances_seen = rebalances_by(self._rebalances, s, joined_s)
        return joined_s

    def _notice_rebalances(self) -> None:
        begun = rebalances_by(self._rebalances, self._subscriber, self._world.now)
        if begun > self._rebalances_seen:
            self._rebalances_seen = begun
            self._tell("has its partitions revoked")
            self._commit()

    def _commit(self) -> None:
        self._world.count_request(self._network.request_header_bytes)
        if self._position > self._committed:
            self._tell("commits: all before record {} is done", self._position)
        self._committed, self._committed_s = self._position, self._world.now

    def _fetch(self) -> Generator[simpy.Event, object, int | None]:
        """One fetch; returns the end of the batch it brought, None if the consumer goes down meanwhile."""
        world, fetch = self._world, self._fetches
        self._fetches += 1
        if world.now - self._committed_s >= self._spec.commit_interval_s:
            self._commit()
        setting_up_s, sent_bytes = 0.0, self._network.request_header_bytes
        if not self._is_connected:
            self._is_connected = True
            world.count(connections_opened=1)
            setting_up_s = self._setup_s(fetch)
            sent_bytes += self._network.setup_bytes
        world.count_request(sent_bytes)
        self.was_seen |= world.in_window
        if not self._found_nothing:
            self._tell("fetches from record {}", self._position)
        self._fetch_sent_s = world.now
        answer = world.event()
        world.process(self._travel(fetch, setting_up_s, answer))
        if self._down_s < world.scenario.world_end_s:
            yield answer | self._at(self._down_s, Happening.CONNECTION_LOST)
        else:
            yield answer
        self._fetch_is_over()
        return cast(int, answer.value) if answer.triggered else None

    def _travel(self, fetch: int, setting_up_s: float, answer: simpy.Event) -> _Steps:
        """The fetch's way to the broker, its wait there, and the records' way back."""
        world, spec, position, sent_s = self._world, self._spec, self._position, self._world.now
        down_s = self._down_s
        transit_s = setting_up_s + self._transit(Stream.POLL_REQUEST_TRANSIT, fetch)
        yield self._at(world.now + transit_s, Happening.REQUEST_ARRIVAL)
        number = delivery_entity(fetch, self._number)
        world.carried(Kind.GET, self._subscriber, sent_s, number=number)
        yield self._at(
            answered_at(self._stored_s, position, spec.fetch_min, spec.fetch_max_wait_s, world.now),
            Happening.TICK,
        )
        if world.now >= down_s:
            return
        end = carried_until(self._stored_s, position, spec.max_records, world.now)
        events, left_s = self._log[position:end], world.now
        self._note_carried(events, sent_s)
        yield self._at(
            world.now + self._transit(Stream.POLL_RESPONSE_TRANSIT, fetch), Happening.RESPONSE_ARRIVAL
        )
        world.carried(Kind.GET_ANSWER, self._subscriber, left_s, events, number)
        answer.succeed(end)

    def _note_carried(self, events: list[int], sent_s: float) -> None:
        world, deliveries, s = self._world, self._world.deliveries, self._subscriber
        world.count(
            response_bytes=self._network.response_header_bytes + len(events) * self._record_bytes,
            redeliveries=sum(int(deliveries.attempts[s, event]) > 0 for event in events),
        )
        for event in events:
            deliveries.attempts[s, event] += 1
            deliveries.first_attempt[s, event] = np.fmin(deliveries.first_attempt[s, event], sent_s)

    def _work_off(self, events: list[int]) -> _Steps:
        """Accept a batch and serve its records one after another."""
        if not events:
            self._world.count(empty_responses=1)
            if not self._found_nothing:
                self._tell("finds nothing, and goes on asking")
            self._found_nothing = True
            return
        self._found_nothing = False
        self._tell("receives {} record{}", len(events), "" if len(events) == 1 else "s")
        self._gave_up.difference_update(events)
        self._world.deliveries.copies[self._subscriber, events] += 1
        records = [self._world.process(self._serve(event)) for event in events]
        yield records[-1]

    def _serve(self, event: int) -> _Steps:
        """Work on one record until it succeeds or has been tried often enough."""
        world, s = self._world, self._subscriber
        copies, entity = world.deliveries.copies[s], delivery_entity(s, event)
        with self.server.join() as turn:
            yield turn
            self.server.started()
            for tries in range(1, self._spec.max_deliveries + 1):
                if tries > 1:
                    copies[event] += 1
                copy = int(copies[event]) - 1
                slowdown = slowdown_at(self._outages, s, world.now)
                service_s = slowdown * sample(self._service, world.seed, int(Stream.SERVICE), entity, copy)
                yield world.at(world.now + service_s, Happening.SERVICE_END, s, event, copy)
                if uniform(world.seed, int(Stream.RECEIVER_ERROR), entity, copy) >= self._error_probability:
                    self._show(event)
                    break
                world.count(errors=1)
                self._tell("fails on event {}, try {}", event, tries)
            else:
                self._gave_up.add(event)
                world.count(dead_letters=1)
                self._tell("gives event {} up to the dead letters", event)
                world.carried(Kind.GIVEN_UP, s, world.now, [event])
            self.server.ended()

    def _show(self, event: int) -> None:
        world, s = self._world, self._subscriber
        if np.isnan(world.deliveries.visible[s, event]):
            world.deliveries.visible[s, event] = world.now
            world.deliveries.status[s, event] = Status.DELIVERED
            world.tell(s, "event {} is visible", event)
            world.carried(Kind.VISIBLE, s, world.now, [event])
        else:
            world.tell(s, "a duplicate of event {} was served for nothing", event)
            world.carried(Kind.DUPLICATE, s, world.now, [event])

    def close(self) -> None:
        """When the world ends: what was given up, and will not be read again, is lost."""
        world, s = self._world, self._subscriber
        is_down = self._down_s < world.scenario.world_end_s
        resumes_at = self._committed if is_down else self._position
        for event in self._gave_up.intersection(self._log[:resumes_at]):
            if world.deliveries.status[s, event] == Status.PENDING:
                world.deliveries.status[s, event] = Status.LOST
        if self._fetch_sent_s is not None:
            self._fetch_is_over()
        self.server.close()

    def _fetch_is_over(self) -> None:
        window, sent_s = self._world.window, cast(float, self._fetch_sent_s)
        self.fetching_s += overlap(sent_s, self._world.now, window.start_s, window.end_s)
        self._fetch_sent_s = None

    def _at(self, time_s: float, kind: Happening) -> simpy.Event:
        return self._world.at(time_s, kind, self._subscriber, self._number)

    def _transit(self, stream: Stream, fetch: int) -> float:
        return sample(self._one_way, self._world.seed, int(stream), self._entity, fetch)

    def _setup_s(self, fetch: int) -> float:
        stream, round_trips = int(Stream.POLL_SETUP_TRANSIT), self._network.setup_round_trips
        return setup_s(self._one_way, round_trips, self._world.seed, stream, self._entity, fetch)

    def _tell(self, text: str, *values: object) -> None:
        self._world.tell(self._subscriber, f"consumer {self._number} {text}", *values)


class Topic:
    """One subscriber's partitions at the broker, and the group that reads them."""

    def __init__(self, world: World, rebalances: Rebalances, subscriber: int) -> None:
        spec = world.scenario.broker_pull
        self.publisher = Publisher(world, subscriber, spec.persist)
        self._world = world
        self._subscriber = subscriber
        stored_s = np.array(self.publisher.stored_s)
        self._partition = [
            partition_of(spec.partitions, world.seed, subscriber, event) for event in range(len(stored_s))
        ]
        consumers = min(world.scenario.receiver.workers, spec.partitions)
        logs: list[list[int]] = [[] for _ in range(consumers)]
        for event in np.argsort(stored_s, kind="stable").tolist():
            logs[self._partition[event] % consumers].append(event)
        self.consumers = [
            Consumer(world, rebalances, subscriber, number, log, stored_s[log])
            for number, log in enumerate(logs)
        ]

    def store(self, event: int) -> None:
        """A record is written; who waits for it knows from `answered_at`."""
        self._world.tell(
            self._subscriber, "the broker stores event {} in partition {}", event, self._partition[event]
        )


def run_broker_pull(world: World) -> None:
    """Publish every event to every subscriber's log, and consume, until the world ends."""
    rebalances = compile_rebalances(world.scenario, world.seed)
    topics = [Topic(world, rebalances, s) for s in range(world.scenario.subscribers.count)]
    consumers = [consumer for topic in topics for consumer in topic.consumers]
    for topic in topics:
        world.process(topic.publisher.publish_all(topic.store))
    for consumer in consumers:
        world.process(consumer.consume_for_ever())
    world.run_to_the_end()
    for consumer in consumers:
        consumer.close()
    counters = world.counters
    counters.connections_peak = sum(consumer.was_seen for consumer in consumers)
    counters.connection_s = sum(consumer.fetching_s for consumer in consumers)
    counters.receiver_queue_max = max(consumer.server.longest for consumer in consumers)
    counters.receiver_busy_s = sum(consumer.server.busy_s for consumer in consumers)
    counters.receiver_queue_integral_s = sum(consumer.server.waiting_s for consumer in consumers)
