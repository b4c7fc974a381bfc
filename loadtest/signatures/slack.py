"""Slack: ``X-Slack-Signature: v0=<hex>``, HMAC-SHA256 over ``v0:{timestamp}:{raw body}``.

Source: Slack API docs, "Verifying requests from Slack". The time is in ``X-Slack-Request-Timestamp``.
"""

from __future__ import annotations

from collections.abc import Sequence

from loadtest.signatures.base import (
    TOLERANCE_S,
    SignedRequest,
    digest_of,
    keyed_hmacs,
    require_fresh,
    require_one_fits,
    required,
)

HEADER = "x-slack-signature"
TIMESTAMP = "x-slack-request-timestamp"


class Slack:
    """Signs with the first secret, and accepts a signature by any of them.

    Args:
        secrets: the app's signing secrets, verbatim.
        tolerance_s: how far the timestamp may be from now, either way.

    Raises:
        InputError: no secret, or an empty one.
    """

    def __init__(self, secrets: Sequence[str], tolerance_s: float = TOLERANCE_S) -> None:
        self._keyed = keyed_hmacs("Slack", secrets)
        self._tolerance_s = tolerance_s

    def sign(self, timestamp_s: int, body: bytes) -> dict[str, str]:
        """The two headers of a signed request; `timestamp_s` is wall time (Unix seconds)."""
        timestamp = str(timestamp_s)
        return {TIMESTAMP: timestamp, HEADER: self._signatures(timestamp.encode(), body)[0].decode()}

    def verify(self, request: SignedRequest, now_s: float) -> None:
        """See `SignatureScheme.verify`."""
        timestamp = required(request.headers, TIMESTAMP)
        given = required(request.headers, HEADER)
        require_fresh(timestamp, TIMESTAMP, now_s, self._tolerance_s)
        require_one_fits(HEADER, [given], self._signatures(timestamp, request.body))

    def _signatures(self, timestamp: bytes, body: bytes) -> list[bytes]:
        content = b"v0:%b:%b" % (timestamp, body)
        return [b"v0=" + digest_of(keyed, content).hex().encode() for keyed in self._keyed]
