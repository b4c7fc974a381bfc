"""What every signature scheme offers, and the one way it says no."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from sim.errors import HookbenchError

Headers = Mapping[bytes, bytes]
"""Request headers with lower-case names, as ASGI delivers them."""


class SignatureRefused(HookbenchError):
    """A request that did not prove where it comes from; the message says why. Servers answer 401."""


class SignatureScheme(Protocol):
    """One provider's way of signing."""

    def verify(self, headers: Headers, body: bytes, now_s: float) -> None:
        """Return when `body` was signed by one of the secrets; `now_s` is wall time (Unix seconds).

        Raises:
            SignatureRefused: a header is missing or malformed, stale, or no signature fits.
        """
