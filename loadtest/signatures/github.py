"""GitHub: ``X-Hub-Signature-256: sha256=<hex>``, HMAC-SHA256 over the raw body.

Source: GitHub Docs, "Validating webhook deliveries". There is no timestamp, so a delivery can be
replayed: deduplicate on ``X-GitHub-Delivery``, which a redelivery keeps. The older header with SHA-1 is
refused unless asked for, for servers that know no other.
"""

from __future__ import annotations

from collections.abc import Sequence

from cryptography.hazmat.primitives.hmac import HMAC

from loadtest.contract import GITHUB_SIGNATURE_256, GITHUB_SIGNATURE_SHA1
from loadtest.signatures.base import (
    SignatureRefused,
    SignedRequest,
    digest_of,
    keyed_hmacs,
    require_one_fits,
    required,
)

_SIGNATURE, _SIGNATURE_SHA1 = GITHUB_SIGNATURE_256.encode(), GITHUB_SIGNATURE_SHA1.encode()


class GitHub:
    """Signs with the first secret, and accepts a signature by any of them.

    Args:
        secrets: free strings, used verbatim as UTF-8.
        accept_sha1: take the older header where the newer is missing.

    Raises:
        InputError: no secret, or an empty one.
    """

    def __init__(self, secrets: Sequence[str], *, accept_sha1: bool = False) -> None:
        self._keyed = keyed_hmacs("GitHub", secrets)
        self._keyed_sha1 = keyed_hmacs("GitHub", secrets, "sha1") if accept_sha1 else ()

    def sign(self, body: bytes) -> dict[str, str]:
        """The signature header of a request with this body."""
        return {GITHUB_SIGNATURE_256: _signature(b"sha256=", self._keyed[0], body).decode()}

    def verify(self, request: SignedRequest, now_s: float) -> None:
        """See `SignatureScheme.verify`; without a timestamp `now_s` plays no part."""
        del now_s
        header, prefix, keyed = GITHUB_SIGNATURE_256, b"sha256=", self._keyed
        if _SIGNATURE not in request.headers and _SIGNATURE_SHA1 in request.headers:
            if not self._keyed_sha1:
                raise SignatureRefused(f"the {header} header is missing (its SHA-1 predecessor is refused)")
            header, prefix, keyed = GITHUB_SIGNATURE_SHA1, b"sha1=", self._keyed_sha1
        given = required(request.headers, header)
        if not given.startswith(prefix):
            raise SignatureRefused(f"{header} does not start with {prefix.decode()}")
        require_one_fits(header, [given], [_signature(prefix, key, request.body) for key in keyed])


def _signature(prefix: bytes, keyed: HMAC, body: bytes) -> bytes:
    return prefix + digest_of(keyed, body).hex().encode()
