"""CloudEvents over HTTP: a bearer token, in ``Authorization`` or the query's ``access_token``.

Source: CloudEvents, "HTTP 1.1 Web Hooks for Event Delivery", section 3 (after RFC 6750): the token proves who
sends, nothing covers the body, so TLS is a must. A token in the query ends up in logs: the header is better,
and a request that brings both is refused (RFC 6750, section 2).
"""

from __future__ import annotations

import hmac
from collections.abc import Sequence

from loadtest.contract import MalformedEvent
from loadtest.form import one, query_of
from loadtest.signatures.base import SignatureRefused, SignedRequest, verbatim


class CloudEvents:
    """Accepts any of the tokens.

    Raises:
        InputError: no token, or an empty one.
    """

    def __init__(self, tokens: Sequence[str]) -> None:
        self._tokens = verbatim("CloudEvents", tokens)

    def sign(self) -> dict[str, str]:
        """The header that carries the first token."""
        return {"authorization": f"Bearer {self._tokens[0].decode()}"}

    def verify(self, request: SignedRequest, now_s: float) -> None:
        """See `SignatureScheme.verify`; without a timestamp `now_s` plays no part."""
        del now_s
        scheme, _, in_header = request.headers.get(b"authorization", b"").partition(b" ")
        try:
            in_query = one(query_of(request.target), "access_token")
        except MalformedEvent as error:
            raise SignatureRefused(str(error)) from None
        if (scheme.lower() == b"bearer") == (in_query is not None):
            raise SignatureRefused(
                "one bearer token is required: in the authorization header or access_token"
            )
        token = in_header if in_query is None else in_query.encode()
        matches = [hmac.compare_digest(own, token) for own in self._tokens]
        if not any(matches):
            raise SignatureRefused("the bearer token is not ours")
