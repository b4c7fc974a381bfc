"""WebSub: ``X-Hub-Signature: <method>=<hex>``, an HMAC over the raw body.

Source: W3C WebSub, section 7.1.1 ("Authenticated content distribution"); methods are sha1, sha256, sha384 and
sha512. SHA-1 is refused unless asked for. There is no timestamp and no id.
"""

from __future__ import annotations

from collections.abc import Sequence

from loadtest.signatures.base import (
    SignatureRefused,
    SignedRequest,
    digest_of,
    keyed_hmacs,
    require_one_fits,
    required,
    verbatim,
)
from sim.errors import InputError

HEADER = "x-hub-signature"
METHODS = ("sha256", "sha384", "sha512")
_MAX_SECRET_BYTES = 199


class WebSub:
    """Signs with the first secret and SHA-256, and accepts a signature by any of them and any known method.

    Args:
        secrets: the subscription's ``hub.secret``, less than 200 bytes.
        accept_sha1: take SHA-1 too, for hubs that know no other.

    Raises:
        InputError: no secret, an empty or a too long one.
    """

    def __init__(self, secrets: Sequence[str], *, accept_sha1: bool = False) -> None:
        if any(len(key) > _MAX_SECRET_BYTES for key in verbatim("WebSub", secrets)):
            raise InputError("a WebSub secret has less than 200 bytes")
        methods = ("sha1", *METHODS) if accept_sha1 else METHODS
        self._keyed = {method.encode(): keyed_hmacs("WebSub", secrets, method) for method in methods}

    def sign(self, body: bytes) -> dict[str, str]:
        """The signature header of a request with this body."""
        return {HEADER: "sha256=" + digest_of(self._keyed[b"sha256"][0], body).hex()}

    def verify(self, request: SignedRequest, now_s: float) -> None:
        """See `SignatureScheme.verify`; without a timestamp `now_s` plays no part."""
        del now_s
        method, _, given = required(request.headers, HEADER).partition(b"=")
        if method not in self._keyed:
            raise SignatureRefused(f"{HEADER} must begin with {b', '.join(self._keyed).decode()} and =")
        expected = [digest_of(keyed, request.body).hex().encode() for keyed in self._keyed[method]]
        require_one_fits(HEADER, [given], expected)
