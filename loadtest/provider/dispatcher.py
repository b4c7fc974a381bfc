"""Pushing events to endpoints: signed, timed, retried, and never more in flight than allowed.

A slot of `max_in_flight` is held from send to response or timeout, never during back-off. Attempts that
are ready wait in order of (ready time, publication, attempt).
"""

from __future__ import annotations

import asyncio
import heapq
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import aiohttp

from loadtest.contract import loopback_url, now_us
from loadtest.http_bytes import exchange_bytes
from loadtest.provider.feed import Published
from loadtest.provider.retry import RetryPolicy, require_number, require_table, retry_after_s, retry_delay_s
from loadtest.signatures import StandardWebhooks
from sim.errors import InputError

_TIMER_SLACK_S = 0.0015  # uvloop rounds timers to whole ms; a retry may be late by that, never early


DEFAULT_RETRY = RetryPolicy("exponential", max_attempts=6, jitter="full")


@dataclass(frozen=True, slots=True)
class WebhookPolicy:
    """The scenario's ``webhook`` table.

    Raises:
        InputError: an impossible value.
    """

    timeout_s: float = 10.0
    retry: RetryPolicy = DEFAULT_RETRY
    max_in_flight: int = 100

    def __post_init__(self) -> None:
        require_number("webhook.timeout_s", self.timeout_s, 0)
        if self.timeout_s == 0:
            raise InputError("webhook.timeout_s must be above 0")
        if type(self.max_in_flight) is not int or self.max_in_flight < 1:
            raise InputError(
                f"webhook.max_in_flight must be a whole number from 1, got {self.max_in_flight!r}"
            )

    @classmethod
    def from_table(cls, table: object) -> WebhookPolicy:
        """Read the table as parsed from JSON.

        Raises:
            InputError: not a table, an unknown key, or a value that is not allowed.
        """
        values = dict(require_table("webhook", table, cls))
        if "retry" in values:
            values["retry"] = RetryPolicy.from_table(values["retry"])
        return cls(**values)


@dataclass(slots=True)
class Delivery:
    """One event on its way to one endpoint; times in µs, None until they happen."""

    number: int
    published: Published
    attempts: int = 0
    first_attempt_us: int | None = None
    acknowledged_us: int | None = None
    outcome: str = "pending"
    previous_delay_s: float = 0.0


class Answer(NamedTuple):
    """How an attempt ended: "ok", "timeout", "connection" or "status"; and the least delay asked for."""

    kind: str
    retry_after_s: float = 0.0


@dataclass(slots=True)
class Endpoint:
    """One subscriber's URL and everything on its way there.

    Attributes:
        deliveries: every event ever handed over, in order; the ledger.
        attempts, acknowledged, failed, in_flight, backing_off, timeouts, connection_errors, refusals:
            counts, `refusals` being answers other than 2xx.
        request_bytes, response_bytes: of answered attempts, headers and bodies.
    """

    url: str
    signer: StandardWebhooks
    policy: WebhookPolicy
    session: aiohttp.ClientSession
    deliveries: list[Delivery] = field(default_factory=list)
    attempts: int = 0
    acknowledged: int = 0
    failed: int = 0
    in_flight: int = 0
    timeouts: int = 0
    connection_errors: int = 0
    refusals: int = 0
    request_bytes: int = 0
    response_bytes: int = 0
    _ready: list[tuple[int, int, int, Delivery]] = field(default_factory=list)
    _timers: dict[int, asyncio.TimerHandle] = field(default_factory=dict)
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    def __post_init__(self) -> None:
        loopback_url(self.url, "the subscription's url")

    @property
    def waiting(self) -> int:
        """Attempts that are ready but have no slot."""
        return len(self._ready)

    @property
    def backing_off(self) -> int:
        """Deliveries that wait for their next attempt to become ready."""
        return len(self._timers)

    def deliver(self, published: Published) -> None:
        """Begin to deliver an event."""
        delivery = Delivery(len(self.deliveries), published)
        self.deliveries.append(delivery)
        self._make_ready(delivery)

    async def drain(self, until_us: int) -> None:
        """Wait for what can still be delivered before `until_us`; then drop the rest as pending."""
        while self._busy(until_us) and now_us() < until_us:  # noqa: ASYNC110 - once, at the very end
            await asyncio.sleep(0.02)
        for timer in self._timers.values():
            timer.cancel()
        self._ready.clear()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _busy(self, until_us: int) -> bool:
        if self._ready or self.in_flight:
            return True
        deadline = asyncio.get_running_loop().time() + (until_us - now_us()) / 1e6
        return any(timer.when() < deadline for timer in self._timers.values())

    def _make_ready(self, delivery: Delivery) -> None:
        self._timers.pop(delivery.number, None)
        heapq.heappush(self._ready, (now_us(), delivery.number, delivery.attempts, delivery))
        self._send_ready()

    def _send_ready(self) -> None:
        while self._ready and self.in_flight < self.policy.max_in_flight:
            *_, delivery = heapq.heappop(self._ready)
            self.in_flight += 1
            task = asyncio.get_running_loop().create_task(self._attempt(delivery))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _attempt(self, delivery: Delivery) -> None:
        self.attempts += 1
        delivery.attempts += 1
        if delivery.first_attempt_us is None:
            delivery.first_attempt_us = now_us()
        try:
            answer = await self._post(delivery.published)
        finally:
            self.in_flight -= 1
        if answer.kind == "ok":
            delivery.acknowledged_us = now_us()
            delivery.outcome = "acknowledged"
            self.acknowledged += 1
        else:
            self.timeouts += answer.kind == "timeout"
            self.connection_errors += answer.kind == "connection"
            self.refusals += answer.kind == "status"
            self._retry_or_give_up(delivery, answer)
        self._send_ready()

    async def _post(self, published: Published) -> Answer:
        headers = self.signer.sign(published.event.id, int(time.time()), published.payload)
        try:
            async with self.session.post(
                self.url,
                data=published.payload,
                headers={"content-type": "application/json", **headers},
                allow_redirects=False,
                # aiohttp would round a timeout above ceil_threshold up to a whole second.
                timeout=aiohttp.ClientTimeout(total=self.policy.timeout_s, ceil_threshold=float("inf")),
            ) as response:
                body = await response.read()
        except TimeoutError:
            return Answer("timeout")
        except (aiohttp.ClientError, OSError):
            return Answer("connection")
        request_bytes, response_bytes = exchange_bytes(response, len(published.payload), len(body))
        self.request_bytes += request_bytes
        self.response_bytes += response_bytes
        if 200 <= response.status < 300:
            return Answer("ok")
        return Answer("status", retry_after_s(response.headers.get("retry-after"), time.time()))

    def _retry_or_give_up(self, delivery: Delivery, answer: Answer) -> None:
        retry = self.policy.retry
        if delivery.attempts < retry.attempts_allowed:
            previous_s = delivery.previous_delay_s if delivery.attempts > 1 else retry.base_s
            drawn_s = retry_delay_s(retry, delivery.attempts, previous_s, random.random())
            delivery.previous_delay_s = drawn_s
            delay_s = max(drawn_s, answer.retry_after_s)
            age_s = (now_us() - delivery.published.published_us) / 1e6
            if retry.max_duration_s is None or age_s + delay_s <= retry.max_duration_s:
                self._timers[delivery.number] = asyncio.get_running_loop().call_later(
                    delay_s + _TIMER_SLACK_S, self._make_ready, delivery
                )
                return
        delivery.outcome = "failed"
        self.failed += 1


def ledger_rows(events: Sequence[Published], endpoints: Sequence[Endpoint]) -> list[dict[str, object]]:
    """One row an event and endpoint; without endpoints one row an event, with outcome "published"."""
    if not endpoints:
        return [_row(Delivery(number, event, outcome="published"), "") for number, event in enumerate(events)]
    return [_row(delivery, endpoint.url) for endpoint in endpoints for delivery in endpoint.deliveries]


def _row(delivery: Delivery, url: str) -> dict[str, object]:
    return {
        "index": delivery.published.event.index,
        "event_id": delivery.published.event.id,
        "published_us": delivery.published.published_us,
        "first_attempt_us": -1 if delivery.first_attempt_us is None else delivery.first_attempt_us,
        "attempts": delivery.attempts,
        "acknowledged_us": -1 if delivery.acknowledged_us is None else delivery.acknowledged_us,
        "outcome": delivery.outcome,
        "endpoint": url,
    }
