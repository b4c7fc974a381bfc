"""GitHub: ``X-Hub-Signature-256: sha256=<hex>``, HMAC-SHA256 over the raw body.

Source: GitHub Docs, "Validating webhook deliveries". There is no timestamp, so a delivery can be
replayed: deduplicate on ``X-GitHub-Delivery``, which a redelivery keeps. The older SHA-1 header is refused.
"""

from __future__ import annotations

import hmac
from collections.abc import Sequence

from loadtest.contract import GITHUB_SIGNATURE_256, GITHUB_SIGNATURE_SHA1
from loadtest.signatures.base import SignatureRefused, SignedRequest, digest_of, keyed_hmac
from sim.errors import InputError

_SIGNATURE, _SIGNATURE_SHA1 = GITHUB_SIGNATURE_256.encode(), GITHUB_SIGNATURE_SHA1.encode()


class GitHub:
    """Signs with the first secret, and accepts a signature by any of them.

    Args:
        secrets: free strings, used verbatim as UTF-8.

    Raises:
        InputError: no secret, or an empty one.
    """

    def __init__(self, secrets: Sequence[str]) -> None:
        if not secrets or not all(secrets):
            raise InputError("GitHub needs at least one secret, and none may be empty")
        self._keyed = tuple(keyed_hmac(secret.encode()) for secret in secrets)

    def sign(self, body: bytes) -> dict[str, str]:
        """The signature header of a request with this body."""
        return {GITHUB_SIGNATURE_256: _signature(self._keyed[0], body).decode()}

    def verify(self, request: SignedRequest, now_s: float) -> None:
        """See `SignatureScheme.verify`; without a timestamp `now_s` plays no part."""
        del now_s
        given = request.headers.get(_SIGNATURE)
        if not given:
            only_sha1 = " (its SHA-1 predecessor is refused)" if _SIGNATURE_SHA1 in request.headers else ""
            raise SignatureRefused(f"the {GITHUB_SIGNATURE_256} header is missing{only_sha1}")
        if not given.startswith(b"sha256="):
            raise SignatureRefused(f"{GITHUB_SIGNATURE_256} does not start with sha256=")
        for keyed in self._keyed:
            if hmac.compare_digest(_signature(keyed, request.body), given):
                return
        raise SignatureRefused(f"{GITHUB_SIGNATURE_256} does not fit the body and secret")


def _signature(keyed: hmac.HMAC, body: bytes) -> bytes:
    return b"sha256=" + digest_of(keyed, body).hex().encode()
