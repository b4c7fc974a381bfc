"""Shopify: ``X-Shopify-Hmac-SHA256: <base64>``, HMAC-SHA256 over the raw body.

Source: shopify.dev, "Deliver webhooks through HTTPS: verify the webhook". The secret is the app's client
secret. There is no timestamp, so a delivery can be replayed: deduplicate on ``X-Shopify-Webhook-Id``.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence

from loadtest.signatures.base import SignedRequest, digest_of, keyed_hmacs, require_one_fits, required

HEADER = "x-shopify-hmac-sha256"


class Shopify:
    """Signs with the first secret, and accepts a signature by any of them.

    Raises:
        InputError: no secret, or an empty one.
    """

    def __init__(self, secrets: Sequence[str]) -> None:
        self._keyed = keyed_hmacs("Shopify", secrets)

    def sign(self, body: bytes) -> dict[str, str]:
        """The signature header of a request with this body."""
        return {HEADER: self._signatures(body)[0].decode()}

    def verify(self, request: SignedRequest, now_s: float) -> None:
        """See `SignatureScheme.verify`; without a timestamp `now_s` plays no part."""
        del now_s
        require_one_fits(HEADER, [required(request.headers, HEADER)], self._signatures(request.body))

    def _signatures(self, body: bytes) -> list[bytes]:
        return [b64encode(digest_of(keyed, body)) for keyed in self._keyed]
