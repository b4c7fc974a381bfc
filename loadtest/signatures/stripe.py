"""Stripe: ``Stripe-Signature: t=<unix>,v1=<hex>[,v1=...]``, HMAC-SHA256 over ``{t}.{raw body}``.

Source: Stripe docs, "Resolve webhook signature verification errors", and stripe-python ``_webhook.py``. The
secret begins with ``whsec_`` and is used verbatim, not decoded; while it rolls, old and new both sign. Unlike
Stripe's own libraries we also refuse times too far ahead: a clock that is wrong should be noticed.
"""

from __future__ import annotations

from collections.abc import Sequence

from loadtest.signatures.base import (
    TOLERANCE_S,
    SignatureRefused,
    SignedRequest,
    digest_of,
    keyed_hmacs,
    require_fresh,
    require_one_fits,
    required,
)

HEADER = "stripe-signature"
_MAX_ITEMS = 16


class Stripe:
    """Signs with every secret given, and accepts a signature by any of them.

    Args:
        secrets: the endpoint's ``whsec_...`` strings, verbatim.
        tolerance_s: how far the timestamp may be from now, either way.

    Raises:
        InputError: no secret, or an empty one.
    """

    def __init__(self, secrets: Sequence[str], tolerance_s: float = TOLERANCE_S) -> None:
        self._keyed = keyed_hmacs("Stripe", secrets)
        self._tolerance_s = tolerance_s

    def sign(self, timestamp_s: int, body: bytes) -> dict[str, str]:
        """The signature header; `timestamp_s` is wall time (Unix seconds)."""
        signatures = self._signatures(str(timestamp_s).encode(), body)
        return {HEADER: f"t={timestamp_s}," + ",".join(f"v1={given.decode()}" for given in signatures)}

    def verify(self, request: SignedRequest, now_s: float) -> None:
        """See `SignatureScheme.verify`."""
        items = [item.partition(b"=") for item in required(request.headers, HEADER).split(b",")]
        times = [value for name, _, value in items if name == b"t"]
        if len(times) != 1 or len(items) > _MAX_ITEMS:
            raise SignatureRefused(f"{HEADER} is not t=TIME,v1=SIGNATURE")
        require_fresh(times[0], f"the time in {HEADER}", now_s, self._tolerance_s)
        given = [value for name, _, value in items if name == b"v1"]
        require_one_fits(HEADER, given, self._signatures(times[0], request.body))

    def _signatures(self, timestamp: bytes, body: bytes) -> list[bytes]:
        content = timestamp + b"." + body
        return [digest_of(keyed, content).hex().encode() for keyed in self._keyed]
