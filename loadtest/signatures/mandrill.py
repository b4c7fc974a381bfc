"""Mailchimp Transactional (Mandrill): ``X-Mandrill-Signature: <base64>``, HMAC-SHA1 over URL and fields.

Source: Mailchimp Transactional docs, "Authenticate webhook requests". Signed are the URL exactly as it was
entered, then each field's name and value, sorted by name. When a webhook is added, a test with no events is
signed with the key ``test-webhook``, which proves nothing: it is taken only if it really brings none.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable, Sequence

from loadtest.contract import MalformedEvent
from loadtest.form import parse_form, sorted_fields
from loadtest.signatures.base import (
    SignatureRefused,
    SignedRequest,
    digest_of,
    keyed_hmacs,
    require_one_fits,
    required,
)

HEADER = "x-mandrill-signature"
TEST_KEY = "test-webhook"
TEST_FORM = [("mandrill_events", "[]")]


class Mandrill:
    """Signs with the first key, and accepts a signature by any of them.

    Args:
        keys: the webhook's keys, verbatim.
        url: the webhook's URL exactly as Mandrill was given it.

    Raises:
        InputError: no key, or an empty one.
    """

    def __init__(self, keys: Sequence[str], url: str) -> None:
        self._keyed = keyed_hmacs("Mandrill", keys, "sha1")
        self._test_keyed = keyed_hmacs("Mandrill", [TEST_KEY], "sha1")
        self._url = url

    def sign(self, form: Iterable[tuple[str, str]]) -> dict[str, str]:
        """The signature header of a POST with the fields of `form`."""
        content = (self._url + sorted_fields(form)).encode()
        return {HEADER: b64encode(digest_of(self._keyed[0], content)).decode()}

    def verify(self, request: SignedRequest, now_s: float) -> None:
        """See `SignatureScheme.verify`; without a timestamp `now_s` plays no part."""
        del now_s
        given = required(request.headers, HEADER)
        try:
            form = parse_form(request.body)
        except MalformedEvent as error:
            raise SignatureRefused(str(error)) from None
        content = (self._url + sorted_fields(form)).encode()
        keyed = self._keyed + (self._test_keyed if form == TEST_FORM else ())
        require_one_fits(HEADER, [given], [b64encode(digest_of(key, content)) for key in keyed])
