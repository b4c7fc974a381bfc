"""Conditional polling: the poller says what it knows already, and the provider may answer "nothing new".

    poller                                     provider's API
       │── GET /events?after=cursor ─────────────────>│
       │<────────────────────────── 200, ETag: "a" ──│ even if nothing is in it
       │ … until the next tick …                      │
       │── GET …, If-None-Match: "a" ────────────────>│ queue, snapshot, serve: as ever
       │<────────────────────── 304, headers only ────│ nothing new; or 200, a page and a new ETag

Everything is as in `polling` but the answer that brings nothing: it is a 304, smaller by what its headers
are. The API looks into its feed all the same, so a 304 costs it a worker's time; it may leave it out of the
rate limit (`rate_limit.not_modified_free`: if there is nothing new when the request arrives).

Assumptions. A poller holds an ETag from its first 200 on and never forgets it. The flag means nothing to
the other pollers: they hold no ETag, so their requests always count.

Sources: RFC 9110, "HTTP Semantics", §8.8.3 (ETag), §13.1.2 (If-None-Match), §15.4.5 (304); GitHub REST API,
"Best practices for using the REST API" and "Events".
"""

from __future__ import annotations

from sim.mechanisms.polling import Poller, run_pollers
from sim.mechanisms.provider_api import Answer, ProviderApi
from sim.mechanisms.world import World


class ConditionalPoller(Poller):
    """A poller that keeps the ETag of its last answer."""

    def _take_in(self, answer: Answer) -> None:
        super()._take_in(answer)
        self._has_etag = True


def run_conditional_polling(world: World) -> None:
    """Poll conditionally for every subscriber until the world ends."""
    api = ProviderApi(world)
    run_pollers(
        world, api, [ConditionalPoller(world, api, s) for s in range(world.scenario.subscribers.count)]
    )
