"""Mailchimp Marketing: unsigned; a secret in the query of the webhook's URL, ``?secret=...``.

Source: Mailchimp Marketing docs, "Sync audience data with webhooks", which advises a secret in the URL.
Whoever sees the URL knows it: it belongs into no log, and TLS is a must.
"""

from __future__ import annotations

import hmac
from collections.abc import Sequence

from loadtest.contract import MalformedEvent
from loadtest.form import one, query_of
from loadtest.signatures.base import SignatureRefused, SignedRequest, verbatim

PARAMETER = "secret"


class Mailchimp:
    """Accepts a URL that holds any of the secrets.

    Raises:
        InputError: no secret, or an empty one.
    """

    def __init__(self, secrets: Sequence[str]) -> None:
        self._secrets = verbatim("Mailchimp", secrets)

    def verify(self, request: SignedRequest, now_s: float) -> None:
        """See `SignatureScheme.verify`; without a timestamp `now_s` plays no part."""
        del now_s
        try:
            given = one(query_of(request.target), PARAMETER)
        except MalformedEvent as error:
            raise SignatureRefused(str(error)) from None
        if given is None:
            raise SignatureRefused(f"the URL's {PARAMETER} is missing")
        matches = [hmac.compare_digest(secret, given.encode()) for secret in self._secrets]
        if not any(matches):
            raise SignatureRefused(f"the URL's {PARAMETER} is not ours")
