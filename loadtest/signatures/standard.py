"""Standard Webhooks (also Svix): HMAC-SHA256 over ``{id}.{timestamp}.{raw body}``.

Source: the Standard Webhooks specification, "Signature scheme" and "Verifying webhook authenticity"
(https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md). The header
holds a space-separated list of ``v1,<base64>``; several signatures let a secret rotate without loss.
Asymmetric ``v1a`` tokens are passed over: without a public key they prove nothing here.
"""

from __future__ import annotations

import binascii
import hmac
from base64 import b64decode, b64encode
from collections.abc import Sequence

from loadtest.contract import WEBHOOK_ID, WEBHOOK_SIGNATURE, WEBHOOK_TIMESTAMP
from loadtest.signatures.base import SignatureRefused, SignedRequest, digest_of, keyed_hmac
from sim.errors import InputError

SECRET_PREFIX = "whsec_"  # noqa: S105 - the prefix of a secret, not a secret
TOLERANCE_S = 300

_ID, _TIMESTAMP, _SIGNATURE = (name.encode() for name in (WEBHOOK_ID, WEBHOOK_TIMESTAMP, WEBHOOK_SIGNATURE))
_MAX_TIMESTAMP_DIGITS = 12  # int() of very many digits is an error of its own
_MAX_SIGNATURES = 16


class StandardWebhooks:
    """Signs with every secret given, and accepts a signature by any of them.

    Args:
        secrets: each ``whsec_`` and 24 to 64 base64-encoded bytes; while one rotates, the old and the new.
        tolerance_s: how far the timestamp may be from now, either way. A replay inside that window is
            accepted here: deduplicate on the id.

    Raises:
        InputError: no secret, or one that is not of that form (it is not shown).
    """

    def __init__(self, secrets: Sequence[str], tolerance_s: float = TOLERANCE_S) -> None:
        if not secrets:
            raise InputError("Standard Webhooks needs at least one secret (whsec_ and base64)")
        self._keyed = tuple(keyed_hmac(_key(secret, n)) for n, secret in enumerate(secrets, start=1))
        self._tolerance_s = tolerance_s

    def sign(self, message_id: str, timestamp_s: int, body: bytes) -> dict[str, str]:
        """The three headers of a signed request; `timestamp_s` is wall time (Unix seconds)."""
        timestamp = str(timestamp_s)
        content = b"%b.%b.%b" % (message_id.encode("ascii"), timestamp.encode(), body)
        signatures = b" ".join(_signature(keyed, content) for keyed in self._keyed)
        return {
            WEBHOOK_ID: message_id,
            WEBHOOK_TIMESTAMP: timestamp,
            WEBHOOK_SIGNATURE: signatures.decode(),
        }

    def verify(self, request: SignedRequest, now_s: float) -> None:
        """See `SignatureScheme.verify`."""
        headers = request.headers
        message_id, timestamp, given = headers.get(_ID), headers.get(_TIMESTAMP), headers.get(_SIGNATURE)
        if not (message_id and timestamp and given):
            raise SignatureRefused(
                f"{WEBHOOK_ID}, {WEBHOOK_TIMESTAMP} and {WEBHOOK_SIGNATURE} are all required"
            )
        if not timestamp.isdigit() or len(timestamp) > _MAX_TIMESTAMP_DIGITS:
            raise SignatureRefused(f"{WEBHOOK_TIMESTAMP} is not a Unix time in seconds")
        if abs(now_s - int(timestamp)) > self._tolerance_s:
            raise SignatureRefused(f"{WEBHOOK_TIMESTAMP} is more than {self._tolerance_s:g} s from now")
        content = b"%b.%b.%b" % (message_id, timestamp, request.body)
        tokens = given.split(b" ", _MAX_SIGNATURES)[:_MAX_SIGNATURES]
        for keyed in self._keyed:
            expected = _signature(keyed, content)
            for token in tokens:
                if hmac.compare_digest(expected, token):
                    return
        raise SignatureRefused(f"no signature in {WEBHOOK_SIGNATURE} fits the body, id, timestamp and secret")


def _key(secret: str, number: int) -> bytes:
    try:
        if not secret.startswith(SECRET_PREFIX):
            raise ValueError
        key = b64decode(secret.removeprefix(SECRET_PREFIX), validate=True)
    except (ValueError, binascii.Error):
        raise InputError(f"secret {number} is not whsec_ followed by base64") from None
    if not 24 <= len(key) <= 64:
        raise InputError(f"secret {number} holds {len(key)} bytes; Standard Webhooks asks for 24 to 64")
    return key


def _signature(keyed: hmac.HMAC, content: bytes) -> bytes:
    return b"v1," + b64encode(digest_of(keyed, content))
