"""Pushing events to endpoints: who is subscribed, and whose turn it is to be sent to.

Every endpoint has a queue and a limit of its own (`loadtest.provider.endpoint`); all share slots
(`loadtest.provider.turns`) and one client session (`loadtest.provider.sender`).
"""

from __future__ import annotations

import asyncio
import secrets as random_secrets
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from yarl import URL

from loadtest.contract import now_us
from loadtest.provider.delivery import OUTCOMES, PENDING, Delivery
from loadtest.provider.endpoint import Endpoint, Memory
from loadtest.provider.feed import Published
from loadtest.provider.ledger import Ledger
from loadtest.provider.outbound import Outbound
from loadtest.provider.policy import WebhookPolicy
from loadtest.provider.sender import Counts, Sender, client_tls
from loadtest.provider.signing import Signing, own_signing
from loadtest.provider.turns import Turns
from sim.errors import HookbenchError, InputError


class TooManySubscriptions(HookbenchError):
    """There is no room for another one; the message states the limit. Servers answer 409."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """What the dispatcher takes upon itself.

    Args:
        max_subscriptions: endpoints at a time.
        max_in_flight: requests at a time, over all endpoints; one is reserved for each subscription that may
            be made.
        memory: of each endpoint.

    Raises:
        InputError: more subscriptions than requests.
    """

    max_subscriptions: int = 100
    max_in_flight: int = 1000
    memory: Memory = field(default_factory=Memory)

    def __post_init__(self) -> None:
        if self.max_in_flight < self.max_subscriptions:
            raise InputError(
                f"--max-in-flight must be at least --max-subscriptions = {self.max_subscriptions}, "
                f"got {self.max_in_flight}"
            )


@dataclass(frozen=True, slots=True)
class Defaults:
    """What a subscription has that does not say otherwise.

    Args:
        policy: how it is served.
        secrets: the provider's own by format, newest first.
    """

    policy: WebhookPolicy = field(default_factory=WebhookPolicy)
    secrets: Mapping[str, Sequence[str]] = field(default_factory=dict, repr=False)


class Dispatcher:
    """The endpoints, and the sending.

    Args:
        defaults: of subscriptions.
        outbound: where requests may go.
        tls: what https:// endpoints are verified by; None: the system's authorities.
        bounds: of requests, subscriptions and memory.
        ledger: is told of every delivery, or None.
    """

    def __init__(
        self,
        defaults: Defaults,
        outbound: Outbound,
        tls: ssl.SSLContext | None = None,
        bounds: Bounds | None = None,
        ledger: Ledger | None = None,
    ) -> None:
        self.defaults = defaults
        self.outbound = outbound
        self._tls = tls
        self._bounds = bounds or Bounds()
        self._ledger = ledger
        self._turns = Turns(self._bounds.max_in_flight - self._bounds.max_subscriptions)
        self._endpoints: dict[str, Endpoint] = {}
        self._former = Counts()
        self._former_outcomes = dict.fromkeys(OUTCOMES, 0)
        self._closed = False

    @property
    def endpoints(self) -> list[Endpoint]:
        """All there are, in the order in which they were made."""
        return list(self._endpoints.values())

    def start(self) -> None:
        """Open the client session."""
        self._sender = Sender(self.outbound, self._tls or client_tls(None))

    def find(self, key: str) -> Endpoint | None:
        """The endpoint of this id."""
        return self._endpoints.get(key)

    def signing(self, name: str = "standard", secret: str | None = None) -> Signing:
        """The signatures of a new subscription: by its own secret, or by the provider's.

        Raises:
            InputError: an unknown format, no secret, or one that is not of the format's form.
        """
        if secret is not None:
            return Signing(name, [secret])
        return own_signing(name, self.defaults.secrets)

    def subscribe(self, url: URL, signing: Signing, policy: WebhookPolicy | None = None) -> Endpoint:
        """Add an endpoint, whose URL was admitted; it gets what is published from now on.

        Raises:
            TooManySubscriptions: there is no room.
        """
        if len(self._endpoints) >= self._bounds.max_subscriptions:
            raise TooManySubscriptions(
                f"there are {len(self._endpoints)} subscriptions, as many as may be; delete one"
            )
        key = f"sub_{random_secrets.token_hex(6)}"
        endpoint = Endpoint(
            key,
            url,
            signing,
            policy or self.defaults.policy,
            self._bounds.memory,
            self._sender,
            wake=self._wake,
            freed=self._freed,
            forgotten=self._forgotten,
        )
        self._endpoints[key] = endpoint
        return endpoint

    async def unsubscribe(self, endpoint: Endpoint) -> int:
        """Remove an endpoint; returns how many deliveries were on their way, and are dropped and counted."""
        del self._endpoints[endpoint.key]
        self._turns.withdraw(endpoint.key)
        await endpoint.stop()
        dropped = endpoint.drop_pending("dropped: the subscription was deleted")
        endpoint.deliveries.forget_all()
        self._former += endpoint.counts
        for outcome, count in endpoint.deliveries.counts.items():
            self._former_outcomes[outcome] += count
        return dropped

    def deliver(self, published: Published) -> None:
        """Begin to deliver an event to every endpoint."""
        if not self._endpoints and self._ledger is not None:
            self._ledger.unsubscribed(published)
        for endpoint in self._endpoints.values():
            endpoint.deliver(published)

    async def drain(self, until_us: int) -> int:
        """Deliver what can be delivered before `until_us`; returns how many deliveries are left pending."""
        endpoints = self.endpoints
        while any(e.is_busy_until(until_us) for e in endpoints) and now_us() < until_us:  # noqa: ASYNC110 - at the very end
            await asyncio.sleep(0.02)
        self._closed = True
        for endpoint in endpoints:
            await endpoint.stop()
        await self._sender.close()
        for endpoint in endpoints:
            endpoint.deliveries.forget_all()
        return sum(e.deliveries.counts[PENDING] for e in endpoints)

    def status(self) -> dict[str, int | float]:
        """Counts over all endpoints, former ones included; `waiting` are attempts without a slot."""
        endpoints = self.endpoints
        counts = Counts()
        counts += self._former
        outcomes = dict(self._former_outcomes)
        for endpoint in endpoints:
            counts += endpoint.counts
            for outcome, count in endpoint.deliveries.counts.items():
                outcomes[outcome] += count
        return {
            "subscriptions": len(endpoints),
            "disabled": sum(e.standing.is_off(now_us()) for e in endpoints),
            **outcomes,
            "waiting": sum(e.waiting for e in endpoints),
            "in_flight": sum(e.in_flight for e in endpoints),
            "backing_off": sum(e.backing_off for e in endpoints),
            **{name: getattr(counts, name) for name in Counts.__slots__},
            "requests_per_connection": counts.requests_per_connection,
        }

    def _wake(self, endpoint: Endpoint) -> None:
        if endpoint.waiting:
            self._turns.ask(endpoint.key, endpoint.policy.max_in_flight)
            self._send()

    def _freed(self, endpoint: Endpoint) -> None:
        self._turns.done(endpoint.key)
        self._send()

    def _send(self) -> None:
        while not self._closed and (key := self._turns.next()) is not None:
            endpoint = self._endpoints[key]
            if not endpoint.send_next():
                self._turns.done(key)
            if endpoint.waiting:
                self._turns.ask(key, endpoint.policy.max_in_flight)

    def _forgotten(self, delivery: Delivery, url: str) -> None:
        if self._ledger is not None:
            self._ledger.delivery(delivery, url)
