"""Standard Webhooks: HMAC-SHA256 or ed25519 over ``{id}.{timestamp}.{raw body}``.

Source: the Standard Webhooks specification, "Signature scheme" and "Verifying webhook authenticity"
(https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md). The header
holds a space-separated list of ``v1,<base64>`` and ``v1a,<base64>``; several signatures let a key rotate
without loss.
"""

from __future__ import annotations

from collections.abc import Sequence

from loadtest.contract import WEBHOOK_ID, WEBHOOK_SIGNATURE, WEBHOOK_TIMESTAMP
from loadtest.signatures.base import TOLERANCE_S, SignatureRefused, SignedRequest, require_fresh
from loadtest.signatures.keys import read_key
from sim.errors import InputError

_MAX_SIGNATURES = 16


class StandardWebhooks:
    """Signs with every key given, and accepts a signature by any of them.

    Args:
        secrets: each ``whsec_`` and 24 to 64 base64-encoded bytes, or ``whsk_`` or ``whpk_`` and an ed25519
            key; while one rotates, the old and the new.
        tolerance_s: how far the timestamp may be from now, either way. A replay inside that window is
            accepted here: deduplicate on the id.

    Raises:
        InputError: no secret, or one that is not of that form (it is not shown).
    """

    names = (WEBHOOK_ID, WEBHOOK_TIMESTAMP, WEBHOOK_SIGNATURE)

    def __init__(self, secrets: Sequence[str], tolerance_s: float = TOLERANCE_S) -> None:
        if not secrets:
            raise InputError("Standard Webhooks needs at least one secret (whsec_ and base64)")
        self._keys = tuple(read_key(secret, number) for number, secret in enumerate(secrets, start=1))
        self._tolerance_s = tolerance_s
        self._id, self._timestamp, self._signature = (name.encode() for name in self.names)

    def sign(self, message_id: str, timestamp_s: int, body: bytes) -> dict[str, str]:
        """The three headers of a signed request; `timestamp_s` is wall time (Unix seconds)."""
        content = b"%b.%d.%b" % (message_id.encode("ascii"), timestamp_s, body)
        tokens = b" ".join(key.token(content) for key in self._keys)
        return dict(zip(self.names, (message_id, str(timestamp_s), tokens.decode()), strict=True))

    def verify(self, request: SignedRequest, now_s: float) -> None:
        """See `SignatureScheme.verify`."""
        headers = request.headers
        message_id, timestamp = headers.get(self._id), headers.get(self._timestamp)
        given = headers.get(self._signature)
        if not (message_id and timestamp and given):
            raise SignatureRefused("{}, {} and {} are all required".format(*self.names))
        require_fresh(timestamp, self.names[1], now_s, self._tolerance_s)
        content = b"%b.%b.%b" % (message_id, timestamp, request.body)
        tokens = given.split(b" ", _MAX_SIGNATURES)[:_MAX_SIGNATURES]
        for key in self._keys:
            if key.fits(content, tokens):
                return
        raise SignatureRefused(f"no signature in {self.names[2]} fits the body, id, timestamp and secret")
