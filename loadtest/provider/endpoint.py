"""One subscriber's endpoint: what is on its way there, what waits for another attempt, how it stands.

A delivery's attempts are one after another: ready, waiting for a slot, in flight, then acknowledged or
backing off. Ready attempts wait in the order of (ready time, publication, attempt); a slot is held from send
to answer or timeout, never during back-off. Whether the endpoint is disabled is asked when an attempt has got
its slot, so nothing is sent to one that is. A delivery out of attempts, or due while the endpoint is off, is
a dead letter; the policy's looks (`Redelivery`) and the owner (`redeliver`) try it once more, and only once.

On its way are at most `queue_limit` deliveries. Beyond, the oldest stay, since they were promised first and
work went into them, and a new one is dropped: it has failed, it is counted, and the owner can have it
redelivered while it is remembered.
"""

from __future__ import annotations

import asyncio
import heapq
import logging
import random
import time
from collections.abc import Callable
from dataclasses import dataclass

from yarl import URL

from loadtest.contract import notification, now_us
from loadtest.provider.delivery import ACKNOWLEDGED, FAILED, PENDING, Deliveries, Delivery
from loadtest.provider.feed import Published
from loadtest.provider.policy import WebhookPolicy
from loadtest.provider.sender import GONE, Answer, Counts, Sender
from loadtest.provider.signing import Signing
from loadtest.provider.standing import Standing
from loadtest.retry import retry_delay_s

log = logging.getLogger("hookbench.provider")

_TIMER_SLACK_S = 0.0015  # uvloop rounds timers to whole ms; a retry may be late by that, never early


@dataclass(frozen=True, slots=True)
class Memory:
    """Bounds of what one endpoint may take of the provider's memory, in deliveries.

    Args:
        queue_limit: on their way: ready, in flight or backing off.
        history: remembered of the acknowledged, and of the failed.
    """

    queue_limit: int = 100_000
    history: int = 10_000


class Endpoint:
    """One subscription.

    Args:
        key: its id.
        url: where to, admitted already (`Outbound.admit`).
        signing: its secrets.
        policy: how it is served.
        memory: what it may remember.
        sender: sends its requests.
        wake: called when an attempt has become ready.
        freed: called when a slot has become free.
        forgotten: called with each delivery that leaves the memory.

    Attributes:
        counts: what was done for it.
        deliveries: those on their way, and the last that ended.
        in_flight: requests now.
    """

    def __init__(
        self,
        key: str,
        url: URL,
        signing: Signing,
        policy: WebhookPolicy,
        memory: Memory,
        sender: Sender,
        wake: Callable[[Endpoint], None],
        freed: Callable[[Endpoint], None],
        forgotten: Callable[[Delivery, str], None],
    ) -> None:
        self.key = key
        self.url = url
        self.signing = signing
        self.counts = Counts()
        self.deliveries = Deliveries(memory.history, lambda delivery: forgotten(delivery, str(self.url)))
        self.in_flight = 0
        self.policy = policy
        self.standing = Standing(policy.disabling)
        self._queue_limit = memory.queue_limit
        self._sender = sender
        self._wake = wake
        self._freed = freed
        self._told_of_drops = False
        self._ready: list[tuple[int, int, int, Delivery]] = []
        self._timers: dict[int, asyncio.TimerHandle] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def waiting(self) -> int:
        """Attempts that are ready but have no slot."""
        return len(self._ready)

    @property
    def backing_off(self) -> int:
        """Deliveries that wait for their next attempt, dead letters that wait for a look included."""
        return len(self._timers)

    def document(self) -> dict[str, object]:
        """The subscription as its API shows it: no secrets."""
        return {
            "id": self.key,
            "url": str(self.url),
            "format": self.signing.name,
            **self.standing.document(now_us()),
            **self.deliveries.counts,
            "waiting": self.waiting,
            "in_flight": self.in_flight,
            "backing_off": self.backing_off,
            **{name: getattr(self.counts, name) for name in Counts.__slots__},
            "requests_per_connection": self.counts.requests_per_connection,
        }

    def use(self, policy: WebhookPolicy) -> None:
        """Serve by another policy from now on; back-offs that have begun go on."""
        self.policy = policy
        self.standing.rule = policy.disabling
        self._wake(self)

    def enable(self) -> None:
        """Switch it on, nothing held against it; what failed meanwhile is not sent unless redelivered."""
        self.standing.switch_on()

    def disable(self, reason: str) -> None:
        """Switch it off until it is enabled; what is due meanwhile fails."""
        self.standing.switch_off(reason)

    def deliver(self, published: Published) -> None:
        """Begin to deliver an event, or drop it when the queue is full."""
        full = self.deliveries.counts[PENDING] >= self._queue_limit
        delivery = self.deliveries.begin(published)
        self.counts.deliveries += 1
        if full:
            self._drop(delivery, f"dropped: {self._queue_limit} deliveries were on their way already")
            if not self._told_of_drops:
                self._told_of_drops = True
                log.warning(
                    "subscription %s: %d deliveries are on their way; further events are dropped and counted",
                    *(self.key, self._queue_limit),
                )
            return
        self._make_ready(delivery)

    def can_redeliver(self, delivery: Delivery) -> bool:
        """Whether nothing is being done for it: it has ended, or waits for somebody to look."""
        return delivery.outcome != PENDING or (delivery.dead_letter and delivery.number in self._timers)

    def redeliver(self, delivery: Delivery) -> bool:
        """Try a delivery once more, now; False when the queue is full."""
        assert self.can_redeliver(delivery)
        if delivery.outcome == PENDING:
            self._timers.pop(delivery.number).cancel()
        elif self.deliveries.counts[PENDING] >= self._queue_limit:
            return False
        else:
            self.deliveries.begin_again(delivery)
        delivery.once = True
        self.counts.redeliveries += 1
        self._make_ready(delivery)
        return True

    def is_busy_until(self, until_us: int) -> bool:
        """Whether anything is still to be done before then."""
        if self._ready or self._tasks:
            return True
        deadline = asyncio.get_running_loop().time() + (until_us - now_us()) / 1e6
        return any(timer.when() < deadline for timer in self._timers.values())

    def send_next(self) -> bool:
        """Use a slot for the first ready attempt; False when there is none that is sent."""
        while self._ready:
            *_, delivery = heapq.heappop(self._ready)
            if self.standing.is_off(now_us()):
                self.counts.unsent += 1
                delivery.last = f"not sent: the endpoint was disabled ({self.standing.reason})"
                self._bury(delivery)
                continue
            task = asyncio.get_running_loop().create_task(self._attempt(delivery))
            self.in_flight += 1
            self._tasks.add(task)
            task.add_done_callback(self._attempt_is_over)
            return True
        return False

    async def stop(self) -> None:
        """Stop at once: what is ready, backing off or in flight stays pending."""
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
        self._ready.clear()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def drop_pending(self, why: str) -> int:
        """After `stop`: what was on its way has failed; returns how many deliveries that were."""
        pending = [delivery for delivery in self.deliveries if delivery.outcome == PENDING]
        for delivery in pending:
            self._drop(delivery, why)
        return len(pending)

    def _drop(self, delivery: Delivery, why: str) -> None:
        self.counts.dropped += 1
        delivery.last = why
        self.deliveries.end(delivery, FAILED)

    def _make_ready(self, delivery: Delivery) -> None:
        self._timers.pop(delivery.number, None)
        heapq.heappush(self._ready, (now_us(), delivery.number, delivery.attempts, delivery))
        self._wake(self)

    def _look(self, delivery: Delivery) -> None:
        delivery.looks += 1
        delivery.once = True
        self.counts.redeliveries += 1
        self._make_ready(delivery)

    def _attempt_is_over(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self.in_flight -= 1
        self._freed(self)

    async def _attempt(self, delivery: Delivery) -> None:
        self.counts.dispatched += 1
        delivery.attempts += 1
        if delivery.first_attempt_us is None:
            delivery.first_attempt_us = now_us()
        published = delivery.published
        if self.policy.notification_bytes is not None:
            notice = notification(published.event, self.policy.notification_bytes)
            published = published._replace(payload=notice)
        headers = self.signing.headers(published, int(time.time()), now_us())
        answer = await self._sender.post(
            self.url,
            published.payload,
            {"content-type": "application/json", **headers},
            self.policy,
            self.counts,
        )
        delivery.last = answer.words
        if answer.kind == "ok":
            if delivery.acknowledged_us is None:
                delivery.acknowledged_us = now_us()
            self.deliveries.end(delivery, ACKNOWLEDGED)
            self.standing.succeeded(now_us())
            return
        self.counts.timeouts += answer.kind == "timeout"
        self.counts.connection_errors += answer.kind == "connection"
        self.counts.forbidden += answer.kind == "forbidden"
        self.counts.refusals += answer.kind == "status"
        if answer.status == GONE:
            self.disable("gone")
            log.warning("subscription %s is disabled: it answered 410 Gone", self.key)
        elif self.standing.failed(now_us()):
            log.warning("subscription %s is disabled: failing", self.key)
        self._retry_or_bury(delivery, answer)

    def _retry_or_bury(self, delivery: Delivery, answer: Answer) -> None:
        retry = self.policy.retry
        if not delivery.once and delivery.attempts < retry.attempts_allowed:
            previous_s = delivery.previous_delay_s if delivery.attempts > 1 else retry.base_s
            drawn_s = retry_delay_s(retry, delivery.attempts, previous_s, random.random())
            delivery.previous_delay_s = drawn_s
            delay_s = max(drawn_s, min(answer.retry_after_s, self.policy.retry_after_limit_s))
            age_s = (now_us() - delivery.published.published_us) / 1e6
            if retry.max_duration_s is None or age_s + delay_s <= retry.max_duration_s:
                self._later(delay_s, self._make_ready, delivery)
                return
        self._bury(delivery)

    def _bury(self, delivery: Delivery) -> None:
        """A dead letter, now or still: it waits for somebody's look, or it has failed."""
        if delivery.acknowledged_us is not None:  # it was only sent again
            self.deliveries.end(delivery, ACKNOWLEDGED)
            return
        if not delivery.dead_letter:
            delivery.dead_letter = True
            self.counts.dead_letters += 1
        rule = self.policy.redelivery
        if rule is not None and delivery.looks < rule.rounds:
            look_us = rule.next_look_us(now_us())
            age_us = look_us - delivery.published.published_us
            if rule.within_s is None or age_us <= rule.within_s * 1e6:
                self._later((look_us - now_us()) / 1e6, self._look, delivery)
                return
        self.deliveries.end(delivery, FAILED)

    def _later(self, delay_s: float, what: Callable[[Delivery], None], delivery: Delivery) -> None:
        loop = asyncio.get_running_loop()
        self._timers[delivery.number] = loop.call_later(delay_s + _TIMER_SLACK_S, what, delivery)
