"""Twilio: ``X-Twilio-Signature: <base64>``, HMAC-SHA1 over the full URL and the form's sorted parameters.

Source: Twilio docs, "Webhooks security", and twilio-python ``request_validator.py``. A body that is no form
is covered by ``bodySHA256=<hex>`` in the URL's query. Twilio signs the URL with or without its port, so both
are tried. The URL is the one the provider called: behind a proxy the receiver must be told it, for what a
request says of itself (``Host``, ``X-Forwarded-*``) anybody can say.
"""

from __future__ import annotations

import hashlib
import hmac
from base64 import b64encode
from collections.abc import Iterable, Sequence
from urllib.parse import urlsplit

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
from sim.errors import InputError

HEADER = "x-twilio-signature"


class Twilio:
    """Signs with the first token, and accepts a signature by any of them.

    Args:
        tokens: the account's AuthTokens, verbatim.
        public_url: what Twilio calls in place of this server's root, e.g. ``https://shop.example.com``.

    Raises:
        InputError: no token, or an empty one, or no such URL.
    """

    def __init__(self, tokens: Sequence[str], public_url: str) -> None:
        self._keyed = keyed_hmacs("Twilio", tokens, "sha1")
        self._roots = tuple(root.encode() for root in with_and_without_port(public_url))

    def sign(self, target: str, form: Iterable[tuple[str, str]] = ()) -> dict[str, str]:
        """The signature header of a POST to `target` with the fields of `form`, to a URL without a port."""
        content = self._roots[0] + (target + sorted_fields(form)).encode()
        return {HEADER: b64encode(digest_of(self._keyed[0], content)).decode()}

    def verify(self, request: SignedRequest, now_s: float) -> None:
        """See `SignatureScheme.verify`; without a timestamp `now_s` plays no part."""
        del now_s
        given = required(request.headers, HEADER)
        rest = request.target + _signed_of_body(request)
        expected = [b64encode(digest_of(key, root + rest)) for key in self._keyed for root in self._roots]
        require_one_fits(HEADER, [given], expected)


def _signed_of_body(request: SignedRequest) -> bytes:
    digests = body_digests(request.target)
    if digests:
        actual = hashlib.sha256(request.body).hexdigest().encode()
        if len(digests) > 1 or not hmac.compare_digest(actual, digests[0]):
            raise SignatureRefused("bodySHA256 does not fit the body")
        return b""
    try:
        return sorted_fields(parse_form(request.body)).encode()
    except MalformedEvent as error:
        raise SignatureRefused(str(error)) from None


def body_digests(target: bytes) -> list[bytes]:
    """The values of ``bodySHA256`` in a URL: one where the body is no form, else none.

    Whether there is one is signed with the URL; what the content type says would not be.
    """
    query = target.partition(b"?")[2].split(b"&")
    return [field[len(b"bodySHA256=") :] for field in query if field.startswith(b"bodySHA256=")]


def with_and_without_port(public_url: str) -> tuple[str, str]:
    """`public_url` without a port, and with the one it has or its scheme implies; without a final slash.

    Raises:
        InputError: not ``http(s)://host[:port][/path]``.
    """
    try:
        parts = urlsplit(public_url)
        usual_port = {"http": 80, "https": 443}[parts.scheme]
        port = parts.port or usual_port
    except (ValueError, KeyError):
        port = 0
    strange = not public_url.isascii() or any(mark in public_url for mark in "@?# \t\r\n")
    if not port or not parts.hostname or parts.netloc.endswith(":") or strange:
        raise InputError(f"the public URL {public_url!r} is not http(s)://host[:port][/path]")
    host = parts.netloc.rpartition(":")[0] if parts.port else parts.netloc
    path = parts.path.rstrip("/")
    return f"{parts.scheme}://{host}{path}", f"{parts.scheme}://{host}:{port}{path}"
