"""CloudEvents over HTTP: a bearer token, in ``Authorization`` or the query's ``access_token``.

Source: CloudEvents, "HTTP 1.1 Web Hooks for Event Delivery", section 3 (after RFC 6750): the token proves who
sends, nothing covers the body, so TLS is a must. A token in the query ends up in logs: the header is better.
"""

from __future__ import annotations

import hmac
from collections.abc import Sequence

from loadtest.contract import MalformedEvent
from loadtest.form import one, query_of
from loadtest.signatures.base import SignatureRefused, SignedRequest
from sim.errors import InputError


class CloudEvents:
    """Accepts any of the tokens.

    Raises:
        InputError: no token, or an empty one.
    """

    def __init__(self, tokens: Sequence[str]) -> None:
        if not tokens or not all(tokens):
            raise InputError("CloudEvents needs at least one token, and none may be empty")
        self._tokens = tuple(token.encode() for token in tokens)

    def sign(self) -> dict[str, str]:
        """The header that carries the first token."""
        return {"authorization": f"Bearer {self._tokens[0].decode()}"}

    def verify(self, request: SignedRequest, now_s: float) -> None:
        """See `SignatureScheme.verify`; without a timestamp `now_s` plays no part."""
        del now_s
        scheme, _, token = request.headers.get(b"authorization", b"").partition(b" ")
        if scheme.lower() != b"bearer":
            try:
                token = (one(query_of(request.target), "access_token") or "").encode()
            except MalformedEvent as error:
                raise SignatureRefused(str(error)) from None
        if not token:
            raise SignatureRefused("a bearer token is required, in the authorization header or access_token")
        matches = [hmac.compare_digest(own, token.strip()) for own in self._tokens]
        if not any(matches):
            raise SignatureRefused("the bearer token is not ours")
