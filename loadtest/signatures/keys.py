"""The keys of Standard Webhooks: shared secrets (``whsec_``) and ed25519 pairs (``whsk_``, ``whpk_``).

Source: the Standard Webhooks specification, "Signature scheme": base64 after the prefix; 24 to 64 bytes of
secret, 64 of private key (seed and public key), 32 of public key.
"""

from __future__ import annotations

import hmac
from base64 import b64decode, b64encode

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.hmac import HMAC

from loadtest.signatures.base import digest_of
from sim.errors import InputError

SECRET_PREFIX, PRIVATE_PREFIX, PUBLIC_PREFIX = "whsec_", "whsk_", "whpk_"


class SharedSecret:
    """``v1``: HMAC-SHA256, the same secret on both sides."""

    def __init__(self, key: bytes) -> None:
        self._keyed = HMAC(key, SHA256())

    def token(self, content: bytes) -> bytes:
        """The signature as it stands in the header."""
        return b"v1," + b64encode(digest_of(self._keyed, content))

    def fits(self, content: bytes, tokens: list[bytes]) -> bool:
        """Whether one of `tokens` is the signature of `content`."""
        expected = self.token(content)
        for token in tokens:  # noqa: SIM110 - the receiver's hottest lines: no generator
            if hmac.compare_digest(expected, token):
                return True
        return False


class KeyPair:
    """``v1a``: ed25519; with the public key alone one can only verify."""

    def __init__(self, public: Ed25519PublicKey, private: Ed25519PrivateKey | None = None) -> None:
        self._public, self._private = public, private

    def token(self, content: bytes) -> bytes:
        """The signature as it stands in the header.

        Raises:
            InputError: the private key is not known here.
        """
        if self._private is None:
            raise InputError("a public key (whpk_) cannot sign; give the private one (whsk_)")
        return b"v1a," + b64encode(self._private.sign(content))

    def fits(self, content: bytes, tokens: list[bytes]) -> bool:
        """Whether one of `tokens` is a signature of `content`."""
        for token in tokens:
            if not token.startswith(b"v1a,"):
                continue
            try:
                signature = b64decode(token[4:], validate=True)
                self._public.verify(signature, content)
            except (ValueError, InvalidSignature):
                continue
            if b64encode(signature) == token[4:]:  # a lenient decoder would take several spellings of it
                return True
        return False


Key = SharedSecret | KeyPair


def read_key(text: str, number: int) -> Key:
    """The key behind a ``whsec_``, ``whsk_`` or ``whpk_`` string; `number` names it in an error.

    Raises:
        InputError: it is none of them, or of a wrong length (it is not shown).
    """
    prefix, _, encoded = text.partition("_")
    try:
        key = b64decode(encoded, validate=True)
    except ValueError:
        key = b""
    if not key or f"{prefix}_" not in (SECRET_PREFIX, PRIVATE_PREFIX, PUBLIC_PREFIX):
        raise InputError(f"secret {number} is not whsec_, whsk_ or whpk_ followed by base64")
    if prefix == "whsec":
        if not 24 <= len(key) <= 64:
            raise InputError(f"secret {number} holds {len(key)} bytes; Standard Webhooks asks for 24 to 64")
        return SharedSecret(key)
    if len(key) != (64 if prefix == "whsk" else 32):
        raise InputError(f"secret {number} holds {len(key)} bytes; whsk_ takes 64, whpk_ 32")
    if prefix == "whpk":
        return KeyPair(Ed25519PublicKey.from_public_bytes(key))
    private = Ed25519PrivateKey.from_private_bytes(key[:32])
    if private.public_key().public_bytes_raw() != key[32:]:
        raise InputError(f"secret {number} is no ed25519 pair: its two halves do not belong together")
    return KeyPair(private.public_key(), private)
