"""Which signature an endpoint's requests carry, and the change of its secret without a gap.

A format is one line in `FORMATS`: a function from the secrets, newest first, to a `Signer`. During a rotation
the old and the new secret both sign, where the format has room for two signatures; where it has not (GitHub),
a new secret replaces the old one at once, and it is the receiver that accepts either for a while.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from loadtest.contract import GITHUB_DELIVERY, GITHUB_EVENT, SECRET_VARIABLE, Envelope
from loadtest.provider.feed import Published
from loadtest.signatures import GitHub, Shopify, Slack, StandardWebhooks, Stripe, Svix
from loadtest.signatures.keys import PUBLIC_PREFIX
from sim.errors import InputError

MAX_SECRETS = 4  # receivers look at a bounded number of signatures; Stripe's roll has two
DEFAULT_OVERLAP_S = 86400.0
MAX_OVERLAP_S = 7 * 86400.0

_PROBE = Published(Envelope("evt_probe", "probe", 0, 0), b"{}", 0)


class Signer(Protocol):
    """Signs requests with the secrets it was made of."""

    def __call__(self, published: Published, timestamp_s: int) -> dict[str, str]:
        """The headers of a request that carries this event; `timestamp_s` is wall time (Unix seconds)."""


class Format(NamedTuple):
    """How one kind of receiver wants requests signed.

    Attributes:
        signer: from the secrets, newest first.
        several: whether a request can carry a signature by each of several secrets.
    """

    signer: Callable[[Sequence[str]], Signer]
    several: bool


def _standard(secrets: Sequence[str]) -> Signer:
    scheme = StandardWebhooks(secrets)
    return lambda published, timestamp_s: scheme.sign(published.event.id, timestamp_s, published.payload)


def _svix(secrets: Sequence[str]) -> Signer:
    scheme = Svix(secrets)
    return lambda published, timestamp_s: scheme.sign(published.event.id, timestamp_s, published.payload)


def _stripe(secrets: Sequence[str]) -> Signer:
    scheme = Stripe(secrets)
    return lambda published, timestamp_s: scheme.sign(timestamp_s, published.payload)


def _slack(secrets: Sequence[str]) -> Signer:
    scheme = Slack(secrets)
    return lambda published, timestamp_s: scheme.sign(timestamp_s, published.payload)


def _github(secrets: Sequence[str]) -> Signer:
    return _by_delivery(GitHub(secrets), GITHUB_DELIVERY, GITHUB_EVENT)


def _shopify(secrets: Sequence[str]) -> Signer:
    return _by_delivery(Shopify(secrets), "x-shopify-webhook-id", "x-shopify-topic")


def _by_delivery(scheme: GitHub | Shopify, id_header: str, type_header: str) -> Signer:
    def sign(published: Published, timestamp_s: int) -> dict[str, str]:
        del timestamp_s  # neither provider signs one
        event = published.event
        return {id_header: event.id, type_header: event.type, **scheme.sign(published.payload)}

    return sign


FORMATS = {
    "standard": Format(_standard, several=True),
    "svix": Format(_svix, several=True),
    "stripe": Format(_stripe, several=True),
    "slack": Format(_slack, several=False),
    "github": Format(_github, several=False),
    "shopify": Format(_shopify, several=False),
}
"""By the name that a subscription gives. Only the headers differ: the body is the event in each. Its id names
its delivery where the format has a header for that, and is kept when it is sent again."""


@dataclass(slots=True)
class _Secret:
    text: str = field(repr=False)
    until_us: int | None


class Signing:
    """An endpoint's secrets, and what they sign.

    Args:
        name: of `FORMATS`.
        secrets: newest first.

    Raises:
        InputError: an unknown format, no secret, or one that is not of the format's form (it is not shown).
    """

    def __init__(self, name: str, secrets: Sequence[str]) -> None:
        if name not in FORMATS:
            raise InputError(f"format must be one of {', '.join(FORMATS)}, got {name!r:.80}")
        self.name = name
        self._format = FORMATS[name]
        self._use([_Secret(text, None) for text in secrets])

    def headers(self, published: Published, timestamp_s: int, now_us: int) -> dict[str, str]:
        """The headers of a request that is sent now."""
        if any(secret.until_us is not None and secret.until_us <= now_us for secret in self._secrets):
            self._use([s for s in self._secrets if s.until_us is None or s.until_us > now_us])
        return self._signer(published, timestamp_s)

    def rotate(self, secret: str, overlap_s: float | None, now_us: int) -> float:
        """Sign with `secret` from now on, for `overlap_s` with the present ones as well; returns how long.

        Raises:
            InputError: a malformed secret, an overlap that is too long or that the format has no room for.
        """
        if overlap_s is None:
            overlap_s = DEFAULT_OVERLAP_S if self._format.several else 0.0
        if overlap_s and not self._format.several:
            raise InputError(
                f"overlap_s must be 0: a request in the format {self.name!r} has room for one signature"
            )
        if not 0 <= overlap_s <= MAX_OVERLAP_S:
            raise InputError(f"overlap_s must be 0 to {MAX_OVERLAP_S:g}, got {overlap_s!r:.80}")
        until_us = now_us + round(overlap_s * 1e6)
        old = [
            _Secret(s.text, until_us if s.until_us is None else min(s.until_us, until_us))
            for s in self._secrets
            if (s.until_us is None or s.until_us > now_us) and s.text != secret
        ]
        kept = old if overlap_s else []
        if len(kept) >= MAX_SECRETS:
            raise InputError(f"{len(kept)} secrets are in use already; wait until one has expired")
        self._use([_Secret(secret, None), *kept])
        return overlap_s

    def _use(self, secrets: list[_Secret]) -> None:
        signer = self._format.signer([secret.text for secret in secrets])
        signer(_PROBE, 0)  # a public key is a secret of the right form that cannot sign
        self._signer, self._secrets = signer, secrets


def own_signing(name: str, secrets: Mapping[str, Sequence[str]]) -> Signing:
    """Signed with the provider's own secrets, of which there are some for each format.

    Raises:
        InputError: an unknown format, no secret for it, or one that is not of its form (it is not shown).
    """
    own = [secret for secret in secrets.get(name, ()) if not secret.startswith(PUBLIC_PREFIX)]
    if name in FORMATS and not own:
        variable = SECRET_VARIABLE if name == "standard" else f"HOOKBENCH_{name.upper()}_SECRET"
        raise InputError(f"a subscription needs a secret: give it one, set {variable} or give --secret-file")
    return Signing(name, own)
