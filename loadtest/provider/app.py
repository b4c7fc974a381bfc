"""The provider: a feed of events, its events API, and webhooks to whoever subscribed."""

from __future__ import annotations

import csv
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from loadtest.asgi import Application
from loadtest.contract import now_us
from loadtest.openapi import PROVIDER, published
from loadtest.provider.api_policy import ApiLimits, ApiPolicy
from loadtest.provider.dispatcher import WebhookPolicy, ledger_rows
from loadtest.provider.events_api import EventsApi
from loadtest.provider.feed import Published
from loadtest.provider.subscriptions_api import SubscriptionsApi

log = logging.getLogger("hookbench.provider")

LEDGER_COLUMNS = (
    *("index", "event_id", "published_us"),
    *("first_attempt_us", "attempts", "acknowledged_us", "outcome", "endpoint"),
)


class ProviderApp(Application):
    """ASGI application: the feed, its API, and one dispatcher per subscribed endpoint.

    Args:
        policy: timeout, retries and in-flight limit of every endpoint.
        secrets: ``whsec_`` secrets that sign; several while one rotates.
        subscribe: URLs subscribed from the start.
        api: the events API's rate limit, lag and retention.
        limits: what the events API takes on at most.
        ledger: where to write the ledger (CSV) when stopping, or None.
        drain_s: how long deliveries may go on after the last request.

    Raises:
        InputError: a URL outside this machine, or a subscription without a secret.
    """

    role = "provider"

    def __init__(
        self,
        policy: WebhookPolicy,
        secrets: Sequence[str],
        *,
        subscribe: Sequence[str] = (),
        api: ApiPolicy | None = None,
        limits: ApiLimits | None = None,
        ledger: Path | None = None,
        drain_s: float = 10.0,
    ) -> None:
        super().__init__()
        self._ledger = ledger
        self._published: list[Published] = []  # for the ledger, when there is one
        self._drain_s = drain_s
        self._subscriptions = SubscriptionsApi(policy, secrets, subscribe)
        self._events = EventsApi(self._deliver, api or ApiPolicy(), limits or ApiLimits())
        self.routes |= self._events.routes | self._subscriptions.routes
        self.routes |= published(PROVIDER, self.routes)

    async def start(self) -> None:
        """Open the initial subscriptions."""
        await self._subscriptions.start()

    def quiesce(self) -> None:
        """Answer the held requests and end the streams."""
        self._events.close()

    async def stop(self) -> None:
        """Deliver what can be delivered within `drain_s`, then write the ledger."""
        pending = await self._subscriptions.drain(now_us() + round(self._drain_s * 1e6))
        if pending:
            log.warning("%d deliveries were still pending after %g s", pending, self._drain_s)
        if self._ledger is not None:
            with self._ledger.open("w", newline="", encoding="utf-8") as file:
                writer = csv.DictWriter(file, LEDGER_COLUMNS)
                writer.writeheader()
                writer.writerows(ledger_rows(self._published, self._subscriptions.endpoints))

    def status(self) -> dict[str, Any]:
        """Counts of this process: of the feed, of its readers, of the dispatchers."""
        counts = self._events.status()
        counts["bad_requests"] += self._subscriptions.bad_requests
        return {**counts, **self._subscriptions.status()}

    def _deliver(self, published: Published) -> None:
        if self._ledger is not None:  # which tells of events that the feed has forgotten, too
            self._published.append(published._replace(payload=b""))
        self._subscriptions.deliver(published)
