"""What every signature scheme offers, the one way it says no, and the few steps that most share."""

from __future__ import annotations

import hmac
from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

from cryptography.hazmat.primitives.hashes import SHA1, SHA256, SHA384, SHA512, HashAlgorithm
from cryptography.hazmat.primitives.hmac import HMAC

from sim.errors import HookbenchError, InputError

Headers = Mapping[bytes, bytes]
"""Request headers with lower-case names, as ASGI delivers them."""

TOLERANCE_S = 300
"""How far a signed timestamp may be from now: five minutes, as Stripe, Slack and Standard Webhooks advise."""

_ALGORITHMS: Mapping[str, HashAlgorithm] = {
    "sha1": SHA1(),  # noqa: S303 - some providers sign with nothing better
    "sha256": SHA256(),
    "sha384": SHA384(),
    "sha512": SHA512(),
}
_MAX_TIMESTAMP_DIGITS = 12  # int() of very many digits is an error of its own


class SignatureRefused(HookbenchError):
    """A request that did not prove where it comes from; the message says why. Servers answer 401."""


class SignedRequest(NamedTuple):
    """A request as it came in.

    Attributes:
        headers: lower-case names; of a repeated header the last.
        body: the raw bytes, before any parsing.
        target: path and query as sent, percent-encoded, e.g. ``b"/webhooks/twilio?bodySHA256=0a1f"``.
    """

    headers: Headers
    body: bytes
    target: bytes = b"/"


class SignatureScheme(Protocol):
    """One provider's way of signing."""

    def verify(self, request: SignedRequest, now_s: float) -> None:
        """Return when `request` was signed by one of the secrets; `now_s` is wall time (Unix seconds).

        Raises:
            SignatureRefused: a header is missing or malformed, stale, or no signature fits.
        """


def keyed_hmacs(provider: str, secrets: Sequence[str], algorithm: str = "sha256") -> tuple[HMAC, ...]:
    """HMACs with their keys in place, to be copied for each message (RFC 2104); secrets are verbatim UTF-8.

    Raises:
        InputError: no secret, an empty one, or one that is not text (it is not shown).
    """
    return tuple(HMAC(key, _ALGORITHMS[algorithm]) for key in verbatim(provider, secrets))


def verbatim(provider: str, secrets: Sequence[str]) -> tuple[bytes, ...]:
    """Secrets that are free strings, as UTF-8.

    Raises:
        InputError: no secret, an empty one, or one that is not text (it is not shown).
    """
    if not secrets or not all(secrets):
        raise InputError(f"{provider} needs at least one secret, and none may be empty")
    try:
        return tuple(secret.encode() for secret in secrets)
    except UnicodeEncodeError:  # the environment hands on bytes that are not UTF-8 as lone surrogates
        raise InputError(f"a secret of {provider} is not UTF-8 text") from None


def digest_of(keyed: HMAC, message: bytes) -> bytes:
    """The HMAC of one message.

    The standard library's `hmac` gives up the GIL for messages above 2 kB, and a busy writer thread would
    take it each time; below, it takes half as long again as this one.
    """
    mac = keyed.copy()
    mac.update(message)
    return mac.finalize()


def required(headers: Headers, name: str) -> bytes:
    """The value of a header.

    Raises:
        SignatureRefused: it is missing or empty.
    """
    value = headers.get(name.encode())
    if not value:
        raise SignatureRefused(f"the {name} header is missing")
    return value


def require_fresh(timestamp: bytes, name: str, now_s: float, tolerance_s: float) -> None:
    """Insist that `timestamp` is a Unix time in seconds not further than `tolerance_s` from now, either way.

    Raises:
        SignatureRefused: it is no such time, or too old, or too far ahead.
    """
    if not timestamp.isdigit() or len(timestamp) > _MAX_TIMESTAMP_DIGITS:
        raise SignatureRefused(f"{name} is not a Unix time in seconds")
    if abs(now_s - int(timestamp)) > tolerance_s:
        raise SignatureRefused(f"{name} is more than {tolerance_s:g} s from now")


def require_one_fits(name: str, given: Sequence[bytes], expected: Sequence[bytes]) -> None:
    """Insist that one given signature is one of the expected, compared in constant time.

    Raises:
        SignatureRefused: none is.
    """
    for one in expected:
        for signature in given:
            if hmac.compare_digest(one, signature):
                return
    raise SignatureRefused(f"{name} does not fit what was signed and the secret")
