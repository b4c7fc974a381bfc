"""Streaming: the line is never hung up; the provider speaks whenever something happens.

    client                              provider
       │── connect, after event 41 ──────────>│ through the API: door, limit, queue, worker
       │<───────────────────────────── 200 ───│ open
       │<──────────── events 42, 43: missed ──│ replayed, as far as the feed retains them
       │<─────────────────────── event 44 ────│ as it happens
       │<─────────────────────── heartbeat ───│ every heartbeat_s
       │   ╳ the connection ends ╳            │ what is under way is lost with it
       │ notices, backs off                   │
       │── connect, after event 44 ──────────>│

Connecting is a request like a poll, on a new connection, and contends with all others at the API's workers.
Events are sent as the feed shows them, at no cost to a worker, and arrive in order, each one transit later
but never before its predecessor or the 200. The stream ends with its random lifetime, when the receiver goes
down, or when the API does (then every client comes back at once, unless its back-off has jitter). The client
notices one transit later; of a silent end only when heartbeats have failed to come for
`heartbeat_timeout_s`. It connects again after a back-off, which a stream that was up resets, not before its
receiver is up, nor before a Retry-After. Without `replay` what happens while no stream is open is lost.

Assumptions. Both sides take the stream to be up from when the client hears the 200; what ends it is looked
for from then on. An opening whose 200 is lost or late comes to nothing. An open stream loses nothing. The
client first connects when a poller would first ask (`polling.phase`, `interval_s`). Events enter the
receiver's queue as they arrive, whatever its limit.

Sources: WHATWG HTML Living Standard, "Server-sent events" (Last-Event-ID, reconnection); RFC 6455, "The
WebSocket Protocol", 2011; RFC 6202, §2.3 and §3.2 (HTTP streaming).
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from http import HTTPStatus

import numpy as np
import simpy

from sim.distributions import sample
from sim.happenings import Happening
from sim.mechanisms.polling import Cycle, Poller, run_pollers
from sim.mechanisms.provider_api import Answer, ProviderApi, Request
from sim.mechanisms.world import World
from sim.passages import Kind
from sim.policies import (
    client_notices,
    compile_link,
    connection_ends,
    connects_at,
    heartbeats_within,
    next_down,
    overlap,
    shown_from,
    sleeping_schedule,
    up_from,
)
from sim.randomness import Stream, delivery_entity
from sim.records import Status

_Steps = Generator[simpy.Event, object, None]


@dataclass(frozen=True)
class Opened(Answer):
    """A 200 that opens a stream; the provider sends from `opened_s` on."""

    opened_s: float = 0.0


class StreamingApi(ProviderApi):
    """An API whose answer is a stream."""

    def answer(self, request: Request) -> Generator[simpy.Event, object, Answer]:
        """Queue for a worker, serve, open."""
        with self.servers.join() as turn:
            yield turn
            yield from self.serve(request)
        return Opened(HTTPStatus.OK, opened_s=self._world.now)


class StreamClient(Poller):
    """One subscriber's client, which has a stream open nearly always."""

    def __init__(self, world: World, api: ProviderApi, subscriber: int) -> None:
        super().__init__(world, api, subscriber)
        spec = world.scenario.streaming
        self._schedule = sleeping_schedule(world.scenario.polling)
        self._timeout_s = spec.connect_timeout_s
        self._link = compile_link(spec, world.scenario.network)
        self._replays = spec.replay
        self._heartbeat_bytes = spec.heartbeat_bytes
        self._message_bytes = world.scenario.workload.payload_bytes + spec.frame_bytes
        self._created = world.audience.created_of(subscriber)
        self._lag_s = world.scenario.provider_api.feed_lag_s
        self._failures = 0
        self._noticed_s = 0.0
        self._ends_s = 0.0

    def _cycle(self) -> Generator[simpy.Event, object, Cycle]:
        """Connect, and listen to the end."""
        answer = yield from self._fetch()
        if isinstance(answer, Opened):
            yield from self._listen(answer.opened_s)
            self._failures = 1
        else:
            self._noticed_s = self._world.now
            self._failures += 1
        return Cycle(0, answer)

    def _next_start(self, started_s: float, cycle: Cycle | None) -> float:
        outages, seed, s = self.receiver.outages, self._world.seed, self._subscriber
        self._wake += 1
        if cycle is None:
            return up_from(outages, s, self._world.now)
        rested_s = connects_at(self._link, outages, seed, s, self._polls, self._failures, self._noticed_s)
        return max(rested_s, up_from(outages, s, self._noticed_s + cycle.retry_after_s))

    def _listen(self, opened_s: float) -> _Steps:
        """The life of a stream that the client hears of now."""
        world, s, session, up_s = self._world, self._subscriber, self._polls - 1, self._world.now
        window = world.window
        self._ends_s = min(
            connection_ends(self._link, self.receiver.outages, world.seed, s, session, up_s),
            next_down(world.api_outages, 0, up_s),
        )
        beats = heartbeats_within(self._link, up_s, self._ends_s, window.start_s, window.end_s)
        world.add(response_bytes=beats * self._heartbeat_bytes)
        if overlap(up_s, self._ends_s, window.start_s, window.end_s) > 0:
            self.connections.peak = 1
        self._skip_to(self._first_sent(opened_s))
        world.process(self._send(self._cursor, session, opened_s, self._ends_s))
        until_s = min(self._ends_s, world.scenario.world_end_s)
        world.carried(Kind.SESSION, s, up_s, number=session, until_s=until_s)
        yield world.at(self._ends_s, Happening.CONNECTION_LOST, s, session)
        world.tell(s, "the stream ends")
        self.connections.give_back(still_open=False)
        self._noticed_s = client_notices(self._link, world.seed, s, session, up_s, self._ends_s)

    def _first_sent(self, opened_s: float) -> int:
        """The first event that a stream opened at a time may carry, the client's own place apart."""
        feed = self._api.feed
        return (feed.oldest if self._replays else feed.shown)(self._subscriber, opened_s)

    def _skip_to(self, first: int) -> None:
        """Events before `first` that the client does not have will never come."""
        if first > self._cursor:
            s = self._subscriber
            self._world.deliveries.status[s, self._cursor : first] = Status.LOST
            self._world.tell(s, "events {} to {} will not come any more", self._cursor, first - 1)
            self._cursor = first

    def _send(self, first: int, session: int, opened_s: float, ends_s: float) -> _Steps:
        """Send what the feed shows, from `first` on, until the stream ends; nothing overtakes on the way."""
        world, s, deliveries = self._world, self._subscriber, self._world.deliveries
        arrives_s = world.now
        for event in range(first, len(self._created)):
            sent_s = max(opened_s, shown_from(self._created[event], self._lag_s))
            if sent_s >= ends_s:
                return
            if sent_s > world.now:
                yield world.at(sent_s, Happening.ATTEMPT_READY, s, event, session)
            if world.window.start_s <= sent_s < world.window.end_s:
                world.add(response_bytes=self._message_bytes)
            deliveries.attempts[s, event] += 1
            deliveries.first_attempt[s, event] = np.fmin(deliveries.first_attempt[s, event], sent_s)
            entity = delivery_entity(s, event)
            transit_s = sample(self._one_way, world.seed, int(Stream.MESSAGE_TRANSIT), entity, session)
            arrives_s = max(arrives_s, sent_s + transit_s)
            if arrives_s < ends_s:
                world.process(self._receive(event, session, sent_s, arrives_s))
            else:
                world.carried(Kind.MESSAGE, s, sent_s, [event], session, lost=True, until_s=ends_s)

    def _receive(self, event: int, session: int, sent_s: float, arrives_s: float) -> _Steps:
        world, s = self._world, self._subscriber
        yield world.at(arrives_s, Happening.RESPONSE_ARRIVAL, s, event, session)
        world.tell(s, "event {} arrives", event)
        world.carried(Kind.MESSAGE, s, sent_s, [event], session)
        self._cursor = event + 1
        self.receiver.accept(event)

    @property
    def _asked(self) -> str:
        return f"connects, to hear what follows event {self._cursor - 1}" if self._cursor else "connects"

    def _in_words(self, answer: Answer | None) -> str:
        return "the stream is open" if isinstance(answer, Opened) else super()._in_words(answer)

    def _hang_up(self, heard: Answer | None) -> None:
        if not isinstance(heard, Opened):
            self.connections.give_back(still_open=False)

    def close(self) -> None:
        """When the world ends: what no stream carries now, and none will, is lost."""
        end_s = self._world.scenario.world_end_s
        if self._ends_s < end_s:
            self._skip_to(self._first_sent(end_s))
        self._world.deliveries.status[self._subscriber, self.receiver.dropped > 0] = Status.LOST
        self.receiver.servers.close()
        self.connections.close()


def run_streaming(world: World) -> None:
    """Stream to every subscriber until the world ends."""
    api = StreamingApi(world)
    run_pollers(world, api, [StreamClient(world, api, s) for s in range(world.scenario.subscribers.count)])
