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
from urllib.parse import urlsplit, urlunsplit

from loadtest.contract import MalformedEvent
from loadtest.form import one, parse_form, query_of, sorted_fields
from loadtest.signatures.base import (
    SignatureRefused,
    SignedRequest,
    digest_of,
    keyed_hmacs,
    require_one_fits,
    required,
)

HEADER = "x-twilio-signature"


class Twilio:
    """Signs with the first token, and accepts a signature by any of them.

    Args:
        tokens: the account's AuthTokens, verbatim.
        public_url: scheme, host and perhaps port under which Twilio calls, e.g. ``https://shop.example.com``.

    Raises:
        InputError: no token, or an empty one.
    """

    def __init__(self, tokens: Sequence[str], public_url: str) -> None:
        self._keyed = keyed_hmacs("Twilio", tokens, "sha1")
        self._public_url = public_url.rstrip("/")

    def sign(self, target: str, form: Iterable[tuple[str, str]] = ()) -> dict[str, str]:
        """The signature header of a POST to `target` with the fields of `form`."""
        content = self._public_url + target + sorted_fields(form)
        return {HEADER: b64encode(digest_of(self._keyed[0], content.encode())).decode()}

    def verify(self, request: SignedRequest, now_s: float) -> None:
        """See `SignatureScheme.verify`; without a timestamp `now_s` plays no part."""
        del now_s
        given = required(request.headers, HEADER)
        try:
            body_sha256 = one(query_of(request.target), "bodySHA256")
            fields = "" if body_sha256 is not None else sorted_fields(parse_form(request.body))
        except MalformedEvent as error:
            raise SignatureRefused(str(error)) from None
        if body_sha256 is not None:
            actual = hashlib.sha256(request.body).hexdigest()
            if not hmac.compare_digest(actual.encode(), body_sha256.encode()):
                raise SignatureRefused("bodySHA256 does not fit the body")
        url = self._public_url + request.target.decode("ascii", "replace")
        contents = [(variant + fields).encode() for variant in with_and_without_port(url)]
        expected = [b64encode(digest_of(keyed, content)) for keyed in self._keyed for content in contents]
        require_one_fits(HEADER, [given], expected)


def with_and_without_port(url: str) -> tuple[str, str]:
    """`url` without a port, and with the one it has or its scheme implies."""
    parts = urlsplit(url)
    host, user = parts.netloc.rpartition("@")[2], parts.netloc.rpartition("@")[:2]
    bare = host if host.endswith("]") else host.rsplit(":", 1)[0]
    port = parts.port or {"https": 443}.get(parts.scheme, 80)
    without, having = ("".join((*user, bare)), "".join((*user, f"{bare}:{port}")))
    return urlunsplit(parts._replace(netloc=without)), urlunsplit(parts._replace(netloc=having))
