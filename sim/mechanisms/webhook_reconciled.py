"""Reconciled webhooks: the doorbell, and a walk to the door now and then, in case it did not ring.

    provider                          subscriber
       │── POST (event 1) ──────────────>│ stores it, queues it for a worker
       │── POST (event 2) ──X            │ lost, and nobody tries again
       │                                 │
       │<── GET /events?after=cursor ────│ every ten minutes, say
       │─── 200, events 1 and 2 ────────>│ knows 1, takes 2 in
       │── POST (event 2) ──────────────>│ a late retry: a duplicate, served for nothing

Assumptions. Webhooks as in `sim.mechanisms.webhook`. Beside them each subscriber polls at a fixed rate, by
every rule of `sim.mechanisms.polling` and with the parameters of `reconciliation`; its cursor knows nothing
of what the webhooks brought. It recognises an event that it has taken in before, by whatever way, and skips
it without work; what it does not know enters the queue whatever its limit. The webhooks' handler does not
ask, so a webhook that comes after its event was polled takes a service time like any duplicate.

An event is lost when its sender is done with it, no copy is alive, and no poll will bring it: the cursor is
past it, or the feed no longer shows it.

Sources: Standard Webhooks specification (standardwebhooks.com), "Reliability"; Stripe Docs, "Process
undelivered webhook events" (listing the events of the last days).
"""

from __future__ import annotations

import numpy as np

from sim.mechanisms.polling import Poller
from sim.mechanisms.provider_api import ProviderApi
from sim.mechanisms.receiver import Receiver
from sim.mechanisms.webhook import WebhookSender
from sim.mechanisms.world import World
from sim.records import Via


class Reconciler(Poller):
    """One subscriber's poll for what its webhooks failed to bring."""

    def __init__(self, world: World, api: ProviderApi, subscriber: int, receiver: Receiver) -> None:
        super().__init__(world, api, subscriber, world.scenario.reconciliation.polling, receiver)

    def _accept(self, event: int) -> None:
        if self._world.deliveries.copies[self._subscriber, event] == 0:
            self.receiver.accept(event, Via.POLL)
        else:
            self._world.tell(self._subscriber, "event {} is known already", event)

    def _miss(self, first: int, end: int) -> None:
        """A webhook may still bring what the feed no longer shows."""


def run_webhook_reconciled(world: World) -> None:
    """Push every event to every subscriber, and let each poll as well, until the world ends."""
    scenario = world.scenario
    api = ProviderApi(world, scenario.reconciliation.page_size)
    senders = [WebhookSender(world, s) for s in range(scenario.subscribers.count)]
    pollers = [Reconciler(world, api, s, sender.receiver) for s, sender in enumerate(senders)]
    for sender, poller in zip(senders, pollers, strict=True):
        world.process(sender.watch())
        world.process(poller.poll_for_ever())
    world.run_to_the_end()
    places = np.arange(world.deliveries.visible.shape[1])
    for sender, poller in zip(senders, pollers, strict=True):
        sender.lose(elsewhere=places >= poller.past)
    world.sum_up(
        [sender.receiver.servers for sender in senders],
        [sender.connections for sender in senders] + [poller.connections for poller in pollers],
        api.servers,
    )
