"""Thin webhooks: the doorbell says that something is there, and the subscriber goes and gets it.

    provider                          subscriber
       │── POST (event 7 happened) ─────>│ answered at once, nothing queued
       │<────────────────────── 2xx ─────│
       │<── GET /events/7 ───────────────│
       │─── 200, the event ─────────────>│ queued for a worker, then visible
       │── POST (event 7 happened) ─────>│ heard of already: answered, nothing fetched

Assumptions. Notifications are webhooks (`sim.mechanisms.webhook`): sent, lost, refused and tried again like
them, but small, always acknowledged on receipt, and no work for the receiver's workers. The first that is
let in starts the fetch of its event at once; later ones do nothing, so an event enters the queue once, and
`copies` counts that. A fetch goes through the provider's API, whose workers, outages and rate limit all
subscribers' fetches meet. One that fails is tried again after `retry_s`, or the longer Retry-After, counted
from when its failure is known; one due while the receiver is down starts when it is up again. A subscriber
has any number of fetches out. An event can be fetched by its id as long as the world lasts, whatever the
feed retains and however late it shows it. What was fetched enters the queue whatever its limit.

`attempts` counts notifications and fetches; the first attempt is the first notification. An event is lost
when its sender gave up and none of its notifications was let in, or when its last fetch failed.

Sources: Stripe Docs, "Thin events"; CloudEvents specification, `dataref` extension ("claim check").
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import cast

import numpy as np
import simpy

from sim.distributions import compile_distribution, sample
from sim.happenings import Happening
from sim.mechanisms.provider_api import ProviderApi
from sim.mechanisms.receiver import Receiver
from sim.mechanisms.webhook import ACKNOWLEDGED, Answer, WebhookSender
from sim.mechanisms.world import Connections, World
from sim.passages import Kind
from sim.policies import BLACK_HOLE, REFUSE, UP, setup_s, up_from
from sim.randomness import Stream, delivery_entity, uniform
from sim.records import Status

_Steps = Generator[simpy.Event, object, None]

_AFTER_NOTIFICATIONS = 1 << 12


@dataclass(frozen=True)
class Fetched:
    """What a subscriber hears to a fetch."""

    words: str
    found: bool = False
    retry_after_s: float = 0.0
    connection_survives: bool = True


_FOUND = Fetched("here it is", found=True)
_REFUSED = Fetched("connection refused", connection_survives=False)
_SERVER_ERROR = Fetched("answered 500")
_TIMED_OUT = Fetched("timeout", connection_survives=False)


def _place(fetch: int) -> int:
    """Where a fetch stands among simultaneous attempts at its event: after every notification."""
    return _AFTER_NOTIFICATIONS + fetch


class Fetcher:
    """One subscriber's client of the events API: it fetches what it is told of."""

    def __init__(self, world: World, api: ProviderApi, subscriber: int, receiver: Receiver) -> None:
        scenario = world.scenario
        self.receiver = receiver
        self.connections = Connections(world)
        self._world = world
        self._api = api
        self._subscriber = subscriber
        self._thin = scenario.thin_webhook
        self._network = scenario.network
        self._one_way = compile_distribution(scenario.network.one_way)
        self._payload_bytes = scenario.workload.payload_bytes
        self.told_of = np.zeros(world.deliveries.visible.shape[1], dtype=np.bool_)

    def tell_of(self, event: int) -> None:
        """A notification was let in: fetch its event, unless another did so before."""
        if self.told_of[event]:
            self._world.tell(self._subscriber, "event {} was heard of already", event)
            return
        self.told_of[event] = True
        self._world.process(self._fetch(event))

    def _fetch(self, event: int) -> _Steps:
        """Ask until the event is there or the attempts are used up."""
        world, s, thin = self._world, self._subscriber, self._thin
        for fetch in range(1, thin.max_attempts + 1):
            answer = world.event()
            self._ask(event, fetch, answer)
            yield answer | world.at(world.now + thin.timeout_s, Happening.TIMEOUT, s, event, _place(fetch))
            heard = cast(Fetched, answer.value) if answer.triggered else _TIMED_OUT
            self.connections.give_back(still_open=heard.connection_survives)
            if heard is _TIMED_OUT:
                world.count(timeouts=1)
            world.tell(s, "event {}, fetch {}: {}", event, fetch, heard.words)
            if heard.found:
                self.receiver.accept(event)
                return
            if fetch < thin.max_attempts:
                due_s = world.now + max(thin.retry_s, heard.retry_after_s)
                ready_s = up_from(world.receiver_outages, s, due_s)
                yield world.at(ready_s, Happening.ATTEMPT_READY, s, event, _place(fetch + 1))
        world.deliveries.status[s, event] = Status.LOST
        world.tell(s, "the subscriber gives up on event {}", event)
        world.carried(Kind.GIVEN_UP, s, world.now, [event])

    def _ask(self, event: int, fetch: int, answer: simpy.Event) -> None:
        world, network = self._world, self._network
        world.deliveries.attempts[self._subscriber, event] += 1
        setting_up_s, sent_bytes = 0.0, network.request_header_bytes
        if self.connections.take():
            setting_up_s = self._setup_s(event, fetch)
            sent_bytes += network.setup_bytes
        world.count_request(sent_bytes)
        world.tell(self._subscriber, "GET event {}, fetch {}", event, fetch)
        if self._draw(Stream.FETCH_REQUEST_LOSS, event, fetch) >= network.request_loss:
            world.process(self._travel(event, fetch, setting_up_s, answer))
        else:
            world.tell(self._subscriber, "the GET of event {} is lost on the way", event)
            world.carried(Kind.GET, self._subscriber, world.now, [event], _place(fetch), lost=True)

    def _travel(self, event: int, fetch: int, setting_up_s: float, answer: simpy.Event) -> _Steps:
        """The request's way to the API, what happens there, and the answer's way back."""
        world, s, sent_s = self._world, self._subscriber, self._world.now
        transit_s = setting_up_s + self._transit(Stream.FETCH_REQUEST_TRANSIT, event, fetch)
        yield world.at(world.now + transit_s, Happening.REQUEST_ARRIVAL, s, event, _place(fetch))
        world.carried(Kind.GET, s, sent_s, [event], _place(fetch))

        if self._api.door == BLACK_HOLE:
            return
        said = yield from self._served(event, fetch)

        if said is not _REFUSED:
            carried_bytes = self._payload_bytes if said.found else 0
            world.count(response_bytes=self._network.response_header_bytes + carried_bytes)
        if self._draw(Stream.FETCH_RESPONSE_LOSS, event, fetch) < self._network.response_loss:
            world.tell(s, "the answer to the GET of event {} is lost on the way", event)
            world.carried(Kind.GET_ANSWER, s, world.now, [event], _place(fetch), lost=True)
            return
        left_s, carried = world.now, [event] if said.found else []
        transit_s = self._transit(Stream.FETCH_RESPONSE_TRANSIT, event, fetch)
        yield world.at(world.now + transit_s, Happening.RESPONSE_ARRIVAL, s, event, _place(fetch))
        good, told = said.found, said.words
        world.carried(Kind.GET_ANSWER, s, left_s, carried, _place(fetch), good=good, told=told)
        answer.succeed(said)

    def _served(self, event: int, fetch: int) -> Generator[simpy.Event, object, Fetched]:
        """What the API says, when it says it."""
        world, door = self._world, self._api.door
        if door != UP:
            world.count(errors=1)
            return _REFUSED if door == REFUSE else _SERVER_ERROR
        if self._api.uses_up(self._subscriber):
            world.count(rejected=1)
            return Fetched("answered 429", retry_after_s=self._api.retry_after_s)
        yield from self._api.answer_one(self._subscriber, event, fetch)
        return _FOUND

    def _transit(self, stream: Stream, event: int, fetch: int) -> float:
        entity = delivery_entity(self._subscriber, event)
        return sample(self._one_way, self._world.seed, int(stream), entity, fetch)

    def _setup_s(self, event: int, fetch: int) -> float:
        stream, round_trips = int(Stream.FETCH_SETUP_TRANSIT), self._network.setup_round_trips
        entity = delivery_entity(self._subscriber, event)
        return setup_s(self._one_way, round_trips, self._world.seed, stream, entity, fetch)

    def _draw(self, stream: Stream, event: int, fetch: int) -> float:
        return uniform(self._world.seed, int(stream), delivery_entity(self._subscriber, event), fetch)


class Notifier(WebhookSender):
    """The provider's dispatcher of notifications for one subscriber's endpoint."""

    def __init__(self, world: World, api: ProviderApi, subscriber: int) -> None:
        super().__init__(world, subscriber, world.scenario.thin_webhook.notification_bytes)
        self.fetcher = Fetcher(world, api, subscriber, self.receiver)

    def _hand_over(self, event: int) -> tuple[Answer, simpy.Event | None]:
        """Let the event be fetched, and answer at once."""
        self.fetcher.tell_of(event)
        return ACKNOWLEDGED, None

    def lose_rest(self) -> None:
        """When the world ends: what nobody was told of is the sender's to lose, what was dropped is lost."""
        self.lose(elsewhere=self.fetcher.told_of)
        self._world.deliveries.status[self._subscriber, self.receiver.dropped > 0] = Status.LOST


def run_thin_webhook(world: World) -> None:
    """Notify every subscriber of every event, and let each fetch what it hears of, until the world ends."""
    api = ProviderApi(world)
    notifiers = [Notifier(world, api, s) for s in range(world.scenario.subscribers.count)]
    for notifier in notifiers:
        world.process(notifier.watch())
    world.run_to_the_end()
    for notifier in notifiers:
        notifier.lose_rest()
    world.sum_up(
        [notifier.receiver.servers for notifier in notifiers],
        [notifier.connections for notifier in notifiers]
        + [notifier.fetcher.connections for notifier in notifiers],
        api.servers,
    )
