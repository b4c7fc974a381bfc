"""The provider's events API: a door, a rate limit for each subscriber, shared workers, and a feed.

    arrival ──> door open? ──> within the limit? ──> queue ──> worker ──> 200, a page; or 304
                  │ no              │ no
                  ▼                 ▼
        refused, 5xx or silence    429

A request is answered with a snapshot of the feed, taken when a worker starts on it: the events
created up to then (less the feed's lag), from the cursor on, at most a page, and no older than the
feed retains. The answer leaves when that service ends; to a conditional request it is a 304 if there
is nothing new in it. Outages strike requests as they arrive; work under way goes on. A 429 and what is
turned away at the door take no worker, and the latter no quota either.

Sources: RFC 9110, "HTTP Semantics", §13.1.2 (If-None-Match) and §15.4.5 (304); RFC 6585, §4 (429); GitHub
REST API, "Best practices": a conditional request answered 304 does not count against the limit.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from http import HTTPStatus

import numpy as np
import simpy

from sim.distributions import compile_distribution, sample
from sim.happenings import Happening
from sim.mechanisms.world import Servers, World
from sim.policies import (
    BLACK_HOLE,
    REFUSE,
    UP,
    compile_rate_limit,
    compile_retention,
    outage_at,
    shown_from,
    slowdown_at,
    window_of,
    window_retry_after,
)
from sim.randomness import Stream, delivery_entity

_API_SERVICE = int(Stream.API_SERVICE)
_FETCH_SERVICE = int(Stream.FETCH_SERVICE)


@dataclass(frozen=True)
class Request:
    """A GET of what is new from the cursor on; conditional if it carries an ETag."""

    subscriber: int
    poll: int
    cursor: int
    conditional: bool
    sent_s: float


@dataclass(frozen=True)
class Page:
    """Events first, first + 1, … end - 1 (none when equal)."""

    first: int = 0
    end: int = 0

    @property
    def count(self) -> int:
        """How many events it carries."""
        return self.end - self.first


@dataclass(frozen=True)
class Answer:
    """What a request is told; without a status, that its connection is refused."""

    status: HTTPStatus | None
    page: Page = Page()
    retry_after_s: float = 0.0

    @property
    def went_well(self) -> bool:
        """Whether it says what is new, be it nothing."""
        return self.status in (HTTPStatus.OK, HTTPStatus.NOT_MODIFIED)


class Feed:
    """What the events API shows each subscriber at a time; a pure function of the time.

    Of a last value it shows the newest only, as if it retained one event.
    """

    def __init__(self, world: World) -> None:
        api = world.scenario.provider_api
        self._audience = world.audience
        self._lag_s = api.feed_lag_s
        self._retained_events, self._retained_s = compile_retention(world.scenario)

    def page(self, subscriber: int, cursor: int, size: int, time_s: float) -> Page:
        """At most `size` events from `cursor` on, of those shown and retained at `time_s`."""
        first = max(cursor, self.oldest(subscriber, time_s))
        return Page(first, max(first, min(self.shown(subscriber, time_s), first + size)))

    def oldest(self, subscriber: int, time_s: float) -> int:
        """The first event still retained at `time_s`; all before it are gone."""
        if self._retained_events > 0:
            return max(self.shown(subscriber, time_s) - self._retained_events, 0)
        created = self._audience.created_of(subscriber)
        return int(np.searchsorted(created, time_s - self._retained_s, side="left"))

    def shown(self, subscriber: int, time_s: float) -> int:
        """How many events have come into the feed by `time_s`, retained or not."""
        created = self._audience.created_of(subscriber)
        return int(np.searchsorted(created, time_s - self._lag_s, side="right"))

    def next_news(self, subscriber: int, cursor: int, time_s: float, until_s: float) -> float:
        """When it next shows something from `cursor` on, given that it shows nothing at `time_s`.

        `until_s`, if that comes first. An event that is too old before it is ever shown is no news.
        """
        created = self._audience.created_of(subscriber)
        for event in range(max(cursor, self.shown(subscriber, time_s)), len(created)):
            shown_s = shown_from(created[event], self._lag_s)
            if shown_s >= until_s:
                break
            if self.oldest(subscriber, shown_s) <= event:
                return shown_s
        return until_s


class ProviderApi:
    """The API all pollers share."""

    def __init__(self, world: World, page_size: int | None = None) -> None:
        scenario, limit = world.scenario, world.scenario.provider_api.rate_limit
        self.servers = Servers(world, scenario.provider_api.workers)
        self.feed = Feed(world)
        self._world = world
        self._page_size = page_size or scenario.polling.page_size
        self._service = compile_distribution(scenario.provider_api.service)
        self._header_bytes = scenario.network.response_header_bytes
        self._not_modified_bytes = scenario.conditional_polling.not_modified_bytes
        self._payload_bytes = scenario.workload.payload_bytes
        self._limit, self._per_s = compile_rate_limit(limit)
        self._not_modified_is_free = limit is not None and limit.not_modified_free
        self._window = [-1] * scenario.subscribers.count
        self._used = [0] * scenario.subscribers.count

    def respond(self, request: Request) -> Generator[simpy.Event, object, Answer | None]:
        """What becomes of a request that arrives now; returns the answer as it leaves, None if none does."""
        world = self._world
        door = self.door
        if door == BLACK_HOLE:
            return None
        if door != UP:
            world.count(errors=1)
            return Answer(None if door == REFUSE else HTTPStatus.INTERNAL_SERVER_ERROR)
        if self.over_limit(request):
            world.count(rejected=1)
            return Answer(HTTPStatus.TOO_MANY_REQUESTS, retry_after_s=self.retry_after_s)
        return (yield from self.answer(request))

    def over_limit(self, request: Request) -> bool:
        """Count an arriving request, unless it is free; whether it is over its subscriber's limit."""
        if self._not_modified_is_free and request.conditional and self._page(request).count == 0:
            return False
        return self.uses_up(request.subscriber)

    def uses_up(self, subscriber: int) -> bool:
        """Count an arriving request; whether its subscriber's quota is used up."""
        window = window_of(self._world.now, self._per_s)
        if window != self._window[subscriber]:
            self._window[subscriber], self._used[subscriber] = window, 0
        if self._used[subscriber] >= self._limit:
            return True
        self._used[subscriber] += 1
        return False

    @property
    def retry_after_s(self) -> float:
        """How long a 429 asks to wait now: until the window ends."""
        return window_retry_after(self._world.now, self._per_s)

    @property
    def door(self) -> int:
        """What the door does now: `UP`, `REFUSE`, `BLACK_HOLE` or `ERROR`."""
        return outage_at(self._world.api_outages, 0, self._world.now)

    def answer(self, request: Request) -> Generator[simpy.Event, object, Answer]:
        """Queue for a worker, take the snapshot, serve; returns the answer when it leaves."""
        with self.servers.join() as turn:
            yield turn
            page = self.snapshot(request)
            yield from self.serve(request)
        if request.conditional and page.count == 0:
            return Answer(HTTPStatus.NOT_MODIFIED, page)
        return Answer(HTTPStatus.OK, page)

    def serve(self, request: Request) -> Generator[simpy.Event, object, None]:
        """A worker's time for a request whose turn it is."""
        world, s, poll = self._world, request.subscriber, request.poll
        self.servers.started()
        slowdown = slowdown_at(world.api_outages, 0, world.now)
        service_s = slowdown * sample(self._service, world.seed, _API_SERVICE, s, poll)
        yield world.at(world.now + service_s, Happening.SERVICE_END, s, poll)
        self.servers.ended()

    def answer_one(self, subscriber: int, event: int, fetch: int) -> Generator[simpy.Event, object, None]:
        """Queue for a worker and serve one event by its id; ends when the answer leaves."""
        world = self._world
        with self.servers.join() as turn:
            yield turn
            self.servers.started()
            slowdown = slowdown_at(world.api_outages, 0, world.now)
            entity = delivery_entity(subscriber, event)
            service_s = slowdown * sample(self._service, world.seed, _FETCH_SERVICE, entity, fetch)
            yield world.at(world.now + service_s, Happening.SERVICE_END, subscriber, event, fetch)
            self.servers.ended()

    def snapshot(self, request: Request) -> Page:
        """The page a request gets now; its events are noted as tried."""
        page = self._page(request)
        deliveries, s = self._world.deliveries, request.subscriber
        carried = slice(page.first, page.end)
        deliveries.attempts[s, carried] += 1
        first_attempt = deliveries.first_attempt[s]
        first_attempt[carried] = np.fmin(first_attempt[carried], request.sent_s)
        return page

    def size(self, answer: Answer) -> int:
        """The bytes of an answer: none, if the connection is refused."""
        if answer.status is None:
            return 0
        is_304 = answer.status == HTTPStatus.NOT_MODIFIED
        return (self._not_modified_bytes if is_304 else self._header_bytes) + (
            answer.page.count * self._payload_bytes
        )

    def _page(self, request: Request) -> Page:
        return self.feed.page(request.subscriber, request.cursor, self._page_size, self._world.now)
