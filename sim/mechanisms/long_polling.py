"""Long polling: the subscriber asks, and the provider answers when there is something to say.

    client                              provider's API
       │── GET /events?after=cursor ──────────>│ queue, serve: nothing new
       │                                       │ … holds the request, without a worker …
       │                                       │ an event is created
       │<─────────────────── 200, the event ───│ at once
       │── GET again, gap_s later ────────────>│
       │                                       │ … hold_s is over …
       │<─────────────────── 200, nothing ─────│ or 504 from an intermediary that lost patience

Assumptions. A worker serves the request as any other. If the feed then shows something from the cursor on,
the answer leaves; else it leaves as soon as the feed does, or `hold_s` after the end of service. Its page is
the feed as it leaves. An intermediary answers 504 `intermediary_timeout_s` after the request's arrival,
unless an answer has left by that instant; the API's work goes on, its answer goes nowhere. The intermediary
stands behind the door: what is refused, swallowed or answered 5xx or 429 there never comes to it. Outages of
the API strike requests as they arrive; those held are held on. The provider does not notice that a client
has given up, and holds its request to the end.

The client asks again `gap_s` after an answer, also after a full page, and `retry_s` after a failure, or the
Retry-After of a 429 if that is longer. When its receiver is down it sends nothing until that is up again.
The first request falls where a poller's does. Of `polling`, page size and phase apply.

Sources: RFC 6202, "Known Issues and Best Practices for the Use of Long Polling and Streaming in
Bidirectional HTTP", 2011, §2.2 and §5.5 (intermediaries); Telegram Bot API, "getUpdates"; Amazon SQS
Developer Guide, "Short and long polling".
"""

from __future__ import annotations

from collections.abc import Generator
from http import HTTPStatus

import simpy

from sim.happenings import Happening
from sim.mechanisms.polling import Cycle, Poller, run_pollers
from sim.mechanisms.provider_api import Answer, Page, ProviderApi, Request
from sim.mechanisms.world import World
from sim.policies import NEVER, HoldingRule, ask_again_after, compile_holding, sleeping_schedule, up_from


class HoldingApi(ProviderApi):
    """An events API that holds a request until it has something to say."""

    def __init__(self, world: World, rule: HoldingRule) -> None:
        super().__init__(world)
        self._rule = rule

    def answer(self, request: Request) -> Generator[simpy.Event, object, Answer]:
        """Serve, hold, answer; or let the intermediary answer in the API's place."""
        world, s, poll = self._world, request.subscriber, request.poll
        impatient = world.event()
        if self._rule.intermediary_timeout_s < NEVER:
            loses_patience_s = world.now + self._rule.intermediary_timeout_s
            impatient = world.at(loses_patience_s, Happening.RESPONSE_ARRIVAL, s, poll)

        served = world.process(self._queue_and_serve(request))
        yield served | impatient
        if not served.triggered:
            return self._gateway_timeout(s)

        if self._page(request).count == 0:
            world.tell(s, "the provider holds the request")
            hold_over_s = world.now + self._rule.hold_s
            leaves_s = self.feed.next_news(s, request.cursor, world.now, hold_over_s)
            leaves = world.at(leaves_s, Happening.SERVICE_END, s, poll)
            yield leaves | impatient
            if not leaves.processed:
                return self._gateway_timeout(s)
        return Answer(HTTPStatus.OK, self.snapshot(request))

    def _queue_and_serve(self, request: Request) -> Generator[simpy.Event, object, None]:
        with self.servers.join() as turn:
            yield turn
            yield from self.serve(request)

    def _gateway_timeout(self, subscriber: int) -> Answer:
        self._world.count(errors=1)
        self._world.tell(subscriber, "an intermediary loses patience")
        return Answer(HTTPStatus.GATEWAY_TIMEOUT)


class LongPoller(Poller):
    """A client that has a request with the provider nearly always."""

    def __init__(self, world: World, api: ProviderApi, subscriber: int, rule: HoldingRule) -> None:
        super().__init__(world, api, subscriber)
        self._schedule = sleeping_schedule(world.scenario.polling)
        self._timeout_s = world.scenario.long_polling.timeout_s
        self._rule = rule

    def _next_start(self, started_s: float, cycle: Cycle | None) -> float:
        now = self._world.now
        self._wake += 1
        if cycle is None:
            return up_from(self.receiver.outages, self._subscriber, now)
        return now + ask_again_after(self._rule, cycle.went_well, cycle.retry_after_s)

    def _asks_on(self, page: Page) -> bool:
        return False


def run_long_polling(world: World) -> None:
    """Long-poll for every subscriber until the world ends."""
    rule = compile_holding(world.scenario)
    api = HoldingApi(world, rule)
    run_pollers(
        world, api, [LongPoller(world, api, s, rule) for s in range(world.scenario.subscribers.count)]
    )
