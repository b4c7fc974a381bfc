"""Svix: Standard Webhooks under its own header names, ``svix-id``, ``svix-timestamp``, ``svix-signature``.

Source: Svix docs, "Verifying payloads". Its libraries take the unbranded names too where the
branded are missing.
"""

from __future__ import annotations

from collections.abc import Sequence

from loadtest.signatures.base import TOLERANCE_S, SignedRequest
from loadtest.signatures.standard import StandardWebhooks


class Svix(StandardWebhooks):
    """Signs under Svix's names; accepts those and the unbranded ones. Arguments as of `StandardWebhooks`."""

    names = ("svix-id", "svix-timestamp", "svix-signature")

    def __init__(self, secrets: Sequence[str], tolerance_s: float = TOLERANCE_S) -> None:
        super().__init__(secrets, tolerance_s)
        self._unbranded = StandardWebhooks(secrets, tolerance_s)

    def verify(self, request: SignedRequest, now_s: float) -> None:
        """See `SignatureScheme.verify`."""
        if self._id not in request.headers and self._unbranded._id in request.headers:
            self._unbranded.verify(request, now_s)
        else:
            super().verify(request, now_s)
