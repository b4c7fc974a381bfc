"""Interval polling: the subscriber walks to the door to look, whether or not anybody is there.

    poller                              provider's API
       │ tick                                  │
       │── GET /events?after=cursor ──────────>│ queue, snapshot, serve
       │<───────────── 200, a page of events ──│ often an empty one
       │ cursor moves on; events to workers    │
       │── GET again at once, if it was full ─>│
       │ … until the next tick …               │

Assumptions. A poller has one request outstanding. A cycle is a tick's request and those that follow
full pages; ticks that fall within it are skipped. A timeout abandons the cycle and leaves the cursor
where it was, while the API works on and its late answer is ignored. A refused connection or a 5xx ends
the cycle in the same way, but at once, and so does a 429, after which the poller resumes at its first tick
after the Retry-After. A poller whose receiver is down sends nothing.
Events of one response enter the receiver's queue in event order, whatever its limit. Duplicates do not
arise; events the feed no longer retains are lost to whoever was away (an answer still under way when the
world ends does not save them).

The other ways of pulling are pollers too, each different in a step or two: `conditional_polling`,
`adaptive_polling`, `long_polling`.

Sources: GitHub REST API, "Events" (cursor pages, polling intervals); Stripe API, "List all events".
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import cast

import simpy

from sim.distributions import compile_distribution, sample
from sim.happenings import Happening
from sim.mechanisms.provider_api import Answer, Page, ProviderApi, Request
from sim.mechanisms.receiver import Receiver
from sim.mechanisms.world import Connections, World
from sim.passages import Kind
from sim.policies import (
    FIXED_RATE,
    compile_schedule,
    first_tick_from,
    first_wake,
    next_start,
    setup_s,
    tick_at,
)
from sim.randomness import Stream, uniform
from sim.records import Status
from sim.scenario import Polling

_Steps = Generator[simpy.Event, object, None]


@dataclass(frozen=True)
class Cycle:
    """How a cycle went: the events it found, and the answer that ended it, None after a timeout."""

    found: int
    last: Answer | None

    @property
    def went_well(self) -> bool:
        """Whether its last request was answered with what is new, be it nothing."""
        return self.last is not None and self.last.went_well

    @property
    def retry_after_s(self) -> float:
        """How long a 429 asked the poller to wait; 0 without one."""
        return self.last.retry_after_s if self.last is not None else 0.0


class Poller:
    """One subscriber's poller; `polling` and `receiver` in place of the scenario's and one of its own."""

    def __init__(
        self,
        world: World,
        api: ProviderApi,
        subscriber: int,
        polling: Polling | None = None,
        receiver: Receiver | None = None,
    ) -> None:
        scenario = world.scenario
        polling = polling or scenario.polling
        self.receiver = receiver or Receiver(world, subscriber)
        self.connections = Connections(world)
        self._world = world
        self._api = api
        self._subscriber = subscriber
        self._schedule = compile_schedule(polling)
        self._timeout_s = polling.timeout_s
        self._page_size = polling.page_size
        self._network = scenario.network
        self._one_way = compile_distribution(scenario.network.one_way)
        self._has_etag = False
        self._cursor = 0
        self._polls = 0
        self._phase_s = 0.0
        self._wake = 0

    def poll_for_ever(self) -> _Steps:
        """Wake, ask until a page is not full, sleep."""
        world, s = self._world, self._subscriber
        self._phase_s = first_wake(self._schedule, world.seed, s)
        start_s = tick_at(self._schedule, self._phase_s, world.seed, s, 0)
        while True:
            yield world.at(start_s, Happening.TICK, s, self._wake)
            cycle = None
            if self.receiver.is_down:
                world.tell(s, "the poller is down and skips its poll")
            else:
                cycle = yield from self._cycle()
            start_s = self._next_start(start_s, cycle)

    def _next_start(self, started_s: float, cycle: Cycle | None) -> float:
        """When the next cycle starts, now that one is over, or was skipped (None)."""
        world, schedule, s = self._world, self._schedule, self._subscriber
        retry_after_s = cycle.retry_after_s if cycle is not None else 0.0
        self._wake += 1
        if schedule.kind == FIXED_RATE:
            not_before_s = world.now + retry_after_s
            self._wake = first_tick_from(schedule, self._phase_s, world.seed, s, self._wake, not_before_s)
            return tick_at(schedule, self._phase_s, world.seed, s, self._wake)
        return next_start(schedule, world.seed, s, self._wake, started_s, world.now, retry_after_s)

    def _cycle(self) -> Generator[simpy.Event, object, Cycle]:
        """Fetch page after page while they are full."""
        found = 0
        while True:
            answer = yield from self._fetch()
            if answer is None or not answer.went_well:
                return Cycle(found, answer)
            self._take_in(answer)
            found += answer.page.count
            if not self._asks_on(answer.page):
                return Cycle(found, answer)

    def _asks_on(self, page: Page) -> bool:
        """Whether the next request follows at once."""
        return page.count == self._page_size and not self.receiver.is_down

    def _fetch(self) -> Generator[simpy.Event, object, Answer | None]:
        """One request; returns the answer, or None when the poller gives up waiting."""
        world, s, poll = self._world, self._subscriber, self._polls
        self._polls += 1
        setting_up_s, sent_bytes = 0.0, self._network.request_header_bytes
        if self.connections.take():
            setting_up_s = self._setup_s(poll)
            sent_bytes += self._network.setup_bytes
        world.count_request(sent_bytes)
        request = Request(s, poll, self._cursor, self._has_etag, world.now)
        world.tell(s, self._asked)
        answer = world.event()
        if self._draw(Stream.POLL_REQUEST_LOSS, poll) >= self._network.request_loss:
            world.process(self._travel(request, setting_up_s, answer))
        else:
            world.carried(Kind.GET, s, world.now, number=poll, lost=True)
        yield answer | world.at(world.now + self._timeout_s, Happening.TIMEOUT, s, poll)
        heard = cast(Answer, answer.value) if answer.triggered else None
        self._hang_up(heard)
        if heard is None:
            world.count(timeouts=1)
        world.tell(s, self._in_words(heard))
        return heard

    @property
    def _asked(self) -> str:
        """The request in words."""
        return f"GET events after {self._cursor}{', if modified' if self._has_etag else ''}"

    def _in_words(self, answer: Answer | None) -> str:
        """What is heard, in words."""
        if answer is None:
            return "the request times out"
        match answer.status:
            case None:
                return "the connection is refused"
            case HTTPStatus.OK:
                count = answer.page.count
                return f"the answer carries {count} event{'' if count == 1 else 's'}"
            case HTTPStatus.TOO_MANY_REQUESTS:
                return f"the answer is 429: again after {answer.retry_after_s:.6g} s"
            case status:
                return f"the answer is {status.value}: {status.phrase.lower()}"

    def _hang_up(self, heard: Answer | None) -> None:
        """The request is over: its connection is idle, or closed."""
        self.connections.give_back(still_open=heard is not None and heard.status is not None)

    def _travel(self, request: Request, setting_up_s: float, heard: simpy.Event) -> _Steps:
        """The request's way to the API, what happens there, and the answer's way back."""
        world, s, poll = self._world, request.subscriber, request.poll
        transit_s = setting_up_s + self._transit(Stream.POLL_REQUEST_TRANSIT, poll)
        yield world.at(world.now + transit_s, Happening.REQUEST_ARRIVAL, s, poll)
        world.carried(Kind.GET, s, request.sent_s, number=poll)

        answer = yield from self._api.respond(request)
        if answer is None:
            return

        world.count(response_bytes=self._api.size(answer))
        left_s, carried = world.now, range(answer.page.first, answer.page.end)
        if self._draw(Stream.POLL_RESPONSE_LOSS, poll) < self._network.response_loss:
            world.carried(Kind.GET_ANSWER, s, left_s, carried, poll, lost=True)
            return
        transit_s = self._transit(Stream.POLL_RESPONSE_TRANSIT, poll)
        yield world.at(world.now + transit_s, Happening.RESPONSE_ARRIVAL, s, poll)
        told = self._in_words(answer)
        world.carried(Kind.GET_ANSWER, s, left_s, carried, poll, good=answer.went_well, told=told)
        heard.succeed(answer)

    def _take_in(self, answer: Answer) -> None:
        """Move the cursor past the page and hand its events to the workers."""
        world, s, page = self._world, self._subscriber, answer.page
        if page.count == 0:
            world.count(empty_responses=1, not_modified=int(answer.status == HTTPStatus.NOT_MODIFIED))
        if page.first > self._cursor:
            self._miss(self._cursor, page.first)
            world.tell(s, "events {} to {} are no longer in the feed", self._cursor, page.first - 1)
        self._cursor = page.end
        for event in range(page.first, page.end):
            self._accept(event)

    def _miss(self, first: int, end: int) -> None:
        """The events first … end - 1 will not come any more."""
        self._world.deliveries.status[self._subscriber, first:end] = Status.LOST

    def _accept(self, event: int) -> None:
        self.receiver.accept(event)

    @property
    def past(self) -> int:
        """The first event that a poll may still bring: not before the cursor, and the feed still shows it."""
        return max(self._cursor, self._api.feed.oldest(self._subscriber, self._world.scenario.world_end_s))

    def close(self) -> None:
        """When the world ends: what the feed no longer shows is lost, and what the receiver dropped."""
        self._miss(self._cursor, self.past)
        self._world.deliveries.status[self._subscriber, self.receiver.dropped > 0] = Status.LOST
        self.receiver.servers.close()
        self.connections.close()

    def _transit(self, stream: Stream, poll: int) -> float:
        return sample(self._one_way, self._world.seed, int(stream), self._subscriber, poll)

    def _setup_s(self, poll: int) -> float:
        stream, round_trips = int(Stream.POLL_SETUP_TRANSIT), self._network.setup_round_trips
        return setup_s(self._one_way, round_trips, self._world.seed, stream, self._subscriber, poll)

    def _draw(self, stream: Stream, poll: int) -> float:
        return uniform(self._world.seed, int(stream), self._subscriber, poll)


def run_pollers(world: World, api: ProviderApi, pollers: Sequence[Poller]) -> None:
    """Poll until the world ends."""
    for poller in pollers:
        world.process(poller.poll_for_ever())
    world.run_to_the_end()
    api.servers.close()
    for poller in pollers:
        poller.close()
    receivers = [poller.receiver.servers for poller in pollers]
    counters = world.counters
    counters.connections_peak = sum(poller.connections.peak for poller in pollers)
    counters.connection_s = sum(poller.connections.in_use_s for poller in pollers)
    counters.provider_queue_max = api.servers.longest
    counters.provider_busy_s = api.servers.busy_s
    counters.provider_queue_integral_s = api.servers.waiting_s
    counters.receiver_queue_max = max(servers.longest for servers in receivers)
    counters.receiver_busy_s = sum(servers.busy_s for servers in receivers)
    counters.receiver_queue_integral_s = sum(servers.waiting_s for servers in receivers)


def run_polling(world: World) -> None:
    """Poll for every subscriber until the world ends."""
    api = ProviderApi(world)
    run_pollers(world, api, [Poller(world, api, s) for s in range(world.scenario.subscribers.count)])
