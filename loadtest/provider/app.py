"""The provider: a feed of events, its events API, and webhooks to whoever subscribed."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from yarl import URL

from loadtest.asgi import Application
from loadtest.contract import now_us
from loadtest.openapi import PROVIDER, published
from loadtest.provider.api_policy import ApiLimits, ApiPolicy
from loadtest.provider.dispatcher import Dispatcher
from loadtest.provider.events_api import EventsApi
from loadtest.provider.ledger import Ledger
from loadtest.provider.subscriptions_api import SubscriptionsApi

if TYPE_CHECKING:
    from loadtest.brokers.publisher import BrokerPublisher
    from loadtest.provider.feed import Published

log = logging.getLogger("hookbench.provider")


class ProviderApp(Application):
    """ASGI application: the feed and its API, the dispatcher and the subscriptions.

    Args:
        dispatcher: pushes.
        subscribe: URLs subscribed from the start, which were admitted.
        api: the events API's rate limit, lag and retention.
        limits: what the events API takes on at most.
        ledger: what the dispatcher notes deliveries in, or None.
        publisher: publishes every event to a broker too, or None.
        drain_s: how long deliveries may go on after the last request.

    Raises:
        InputError: a subscription without a secret.
    """

    role = "provider"

    def __init__(
        self,
        dispatcher: Dispatcher,
        *,
        subscribe: Sequence[URL] = (),
        api: ApiPolicy | None = None,
        limits: ApiLimits | None = None,
        ledger: Ledger | None = None,
        publisher: BrokerPublisher | None = None,
        drain_s: float = 10.0,
    ) -> None:
        super().__init__()
        self._ledger = ledger
        self._publisher = publisher
        self._drain_s = drain_s
        self._dispatcher = dispatcher
        self._initial = [(url, dispatcher.signing()) for url in subscribe]
        self._subscriptions = SubscriptionsApi(dispatcher)
        self._events = EventsApi(self._deliver, api or ApiPolicy(), limits or ApiLimits())
        self.routes |= self._events.routes | self._subscriptions.routes
        self.routes |= published(PROVIDER, self.routes)

    async def start(self) -> None:
        """Open the initial subscriptions, and the connection to the broker.

        Raises:
            InputError: the broker does not answer.
        """
        if self._publisher is not None:
            self._publisher.crashed = self.fail
            await self._publisher.start()
        self._dispatcher.start()
        for url, signing in self._initial:
            self._dispatcher.subscribe(url, signing)

    def quiesce(self) -> None:
        """Answer the held requests and end the streams."""
        self._events.close()

    async def stop(self) -> None:
        """Deliver what can be delivered within `drain_s`, then finish the ledger."""
        until_us = now_us() + round(self._drain_s * 1e6)
        pending = await self._dispatcher.drain(until_us)
        if self._publisher is not None:
            pending += await self._publisher.drain(until_us)
        if pending:
            log.warning("%d deliveries were still pending after %g s", pending, self._drain_s)
        if self._ledger is not None:
            self._ledger.close()

    def status(self) -> dict[str, Any]:
        """Counts of this process: of the feed, of its readers, of the dispatcher."""
        counts = self._events.status()
        counts["bad_requests"] += self._subscriptions.bad_requests
        at_broker = {} if self._publisher is None else self._publisher.status()
        return {**counts, **self._dispatcher.status(), **at_broker}

    def _deliver(self, published: Published) -> None:
        if self._publisher is not None:
            self._publisher.publish(published)
        if self._publisher is None or self._dispatcher.endpoints:
            self._dispatcher.deliver(published)
