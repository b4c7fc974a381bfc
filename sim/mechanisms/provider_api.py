"""The provider's events API: shared workers, a rate limit for each subscriber, and a feed.

A request is answered with a snapshot of the feed, taken when a worker starts on it: the events
created up to then (less the feed's lag), from the cursor on, at most a page, and no older than the
feed retains. The answer leaves when that service ends.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass

import numpy as np
import simpy

from sim.distributions import compile_distribution, sample
from sim.happenings import Happening
from sim.mechanisms.world import Servers, World
from sim.policies import (
    compile_rate_limit,
    compile_retention,
    outage_at,
    slowdown_at,
    window_of,
    window_retry_after,
)
from sim.randomness import Stream, delivery_entity

_API_SERVICE = int(Stream.API_SERVICE)
_FETCH_SERVICE = int(Stream.FETCH_SERVICE)


@dataclass(frozen=True)
class Page:
    """Events first, first + 1, … end - 1 (none when equal), or a refusal with its Retry-After."""

    first: int = 0
    end: int = 0
    rejected: bool = False
    retry_after_s: float = 0.0

    @property
    def count(self) -> int:
        """How many events it carries."""
        return self.end - self.first


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


class ProviderApi:
    """The API all pollers share; `page_size` in place of `polling.page_size`."""

    def __init__(self, world: World, page_size: int | None = None) -> None:
        api = world.scenario.provider_api
        self.servers = Servers(world, api.workers)
        self._world = world
        self.feed = Feed(world)
        self._page_size = page_size or world.scenario.polling.page_size
        self._service = compile_distribution(api.service)
        self._limit, self._per_s = compile_rate_limit(api.rate_limit)
        subscribers = world.scenario.subscribers.count
        self._window = [-1] * subscribers
        self._used = [0] * subscribers

    @property
    def door(self) -> int:
        """What the door does now: `UP`, `REFUSE`, `BLACK_HOLE` or `ERROR`."""
        return outage_at(self._world.api_outages, 0, self._world.now)

    def over_limit(self, subscriber: int) -> Page | None:
        """Count one arriving request; the refusal, if it is over the subscriber's limit."""
        now = self._world.now
        window = window_of(now, self._per_s)
        if window != self._window[subscriber]:
            self._window[subscriber], self._used[subscriber] = window, 0
        if self._used[subscriber] >= self._limit:
            return Page(rejected=True, retry_after_s=window_retry_after(now, self._per_s))
        self._used[subscriber] += 1
        return None

    def answer(
        self, subscriber: int, poll: int, cursor: int, sent_s: float
    ) -> Generator[simpy.Event, object, Page]:
        """Queue for a worker, take the snapshot, serve; returns the page when it leaves."""
        world = self._world
        with self.servers.join() as turn:
            yield turn
            self.servers.started()
            page = self.feed.page(subscriber, cursor, self._page_size, world.now)
            carried = slice(page.first, page.end)
            world.deliveries.attempts[subscriber, carried] += 1
            first_attempt = world.deliveries.first_attempt[subscriber]
            first_attempt[carried] = np.fmin(first_attempt[carried], sent_s)
            slowdown = slowdown_at(world.api_outages, 0, world.now)
            service_s = slowdown * sample(self._service, world.seed, _API_SERVICE, subscriber, poll)
            yield world.at(world.now + service_s, Happening.SERVICE_END, subscriber, poll)
            self.servers.ended()
        return page

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
