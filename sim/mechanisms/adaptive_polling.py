"""Adaptive polling: the poller comes more often while there is something to find, and else less often.

    poller                              provider's API
       │── GET /events?after=cursor ──────────>│
       │<─────────────────── 200, 3 events ────│
       │ found something: sleep less           │
       │── GET ───────────────────────────────>│
       │<─────────────────── 200, nothing ─────│
       │ found nothing: sleep longer           │

Two rules choose the next sleep, both within bounds. "aimd" multiplies the last one by `decrease` when
something was found and adds `increase_s` when nothing was: additive increase, multiplicative decrease of the
interval. "age" sleeps for a share of the age of the newest event known: what changed lately is likely
to change soon.

Assumptions. Everything else is as in `polling`, but the poller always sleeps from the end of a cycle, so
`polling.schedule` and `polling.jitter_s` do not apply; the first sleep is `polling.interval_s`, within
the bounds, and the first wake falls at a random phase of `polling.interval_s`. The interval changes once a
cycle, by whether any of its pages brought an event. A cycle that ended in a failure or a 429, or was skipped
because the receiver is down, leaves it as it is; a Retry-After is a lower bound. Before it knows of an
event, a poller counts the age from 0. Its clock and the provider's agree.

Sources: V. Cate, "Alex: a global filesystem", USENIX File System Workshop, 1992, and J. Gwertzman &
M. Seltzer, "World-wide web cache consistency", USENIX, 1996 (a share of the age); D.-M. Chiu & R. Jain,
"Analysis of the increase and decrease algorithms for congestion avoidance in computer networks", Computer
Networks and ISDN Systems 17, 1989 (of a rate; here, turned round, of an interval).
"""

from __future__ import annotations

from sim.mechanisms.polling import Cycle, Poller, run_pollers
from sim.mechanisms.provider_api import Answer, ProviderApi
from sim.mechanisms.world import World
from sim.policies import adaptive_interval, compile_adaptive, sleeping_schedule


class AdaptivePoller(Poller):
    """A poller that chooses each sleep by what it found."""

    def __init__(self, world: World, api: ProviderApi, subscriber: int) -> None:
        super().__init__(world, api, subscriber)
        polling = world.scenario.polling
        self._schedule = sleeping_schedule(polling)
        self._rule = compile_adaptive(world.scenario)
        self._interval_s = self._rule.first_interval_s
        self._newest_s = 0.0

    def _next_start(self, started_s: float, cycle: Cycle | None) -> float:
        now = self._world.now
        self._wake += 1
        if cycle is None:
            return now + self._interval_s
        if cycle.went_well:
            found, age_s = cycle.found > 0, now - self._newest_s
            self._interval_s = adaptive_interval(self._rule, self._interval_s, found, age_s)
        return now + max(self._interval_s, cycle.retry_after_s)

    def _take_in(self, answer: Answer) -> None:
        super()._take_in(answer)
        if answer.page.count > 0:
            created = self._world.audience.created_of(self._subscriber)
            self._newest_s = float(created[answer.page.end - 1])


def run_adaptive_polling(world: World) -> None:
    """Poll adaptively for every subscriber until the world ends."""
    api = ProviderApi(world)
    run_pollers(world, api, [AdaptivePoller(world, api, s) for s in range(world.scenario.subscribers.count)])
