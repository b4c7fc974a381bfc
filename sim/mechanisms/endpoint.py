"""A webhook endpoint as its provider sees it: switched on, or off after too many failures.

    on ──── so many failures in a row, or nothing but failures for so long ────> off
     ^                                                                             │
     └──────────── its owner switches it on again, nothing held against it ────────┘

Assumptions. Failures are those of all the endpoint's events together, counted when they become known. What
becomes known while it is off, of attempts that were under way, is not held against it. Whether it is off
is asked when an attempt has got its slot, so nothing is sent to an endpoint that is off, however long ago
it became ready.

Sources: Shopify, "Troubleshooting webhooks" (removed after 8 failures in a row); Svix, "Endpoint disabling"
(all attempts failing for five days).
"""

from __future__ import annotations

from sim.mechanisms.world import World
from sim.policies import after_failure, after_success, compile_disabling, is_off, new_standing


class Endpoint:
    """One subscriber's endpoint."""

    def __init__(self, world: World, subscriber: int) -> None:
        self._world = world
        self._subscriber = subscriber
        self._rule = compile_disabling(world.scenario.webhook.disabling)
        self._standing = new_standing()

    @property
    def is_off(self) -> bool:
        """Whether the provider has switched it off."""
        return is_off(self._standing, self._world.now)

    def acknowledged(self) -> None:
        """An attempt is known to have succeeded."""
        self._standing = after_success(self._standing)

    def failed(self) -> None:
        """An attempt is known to have failed."""
        was_off = self.is_off
        self._standing = after_failure(self._rule, self._standing, self._world.now)
        if self.is_off and not was_off:
            self._world.tell(self._subscriber, "the provider switches the endpoint off")
