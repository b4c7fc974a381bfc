"""Every signature scheme as the tests use it: made of secrets, and made to sign a request."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import NamedTuple
from urllib.parse import urlencode

from loadtest.form import parse_form
from loadtest.signatures import (
    CloudEvents,
    GitHub,
    Mailchimp,
    Mandrill,
    Shopify,
    SignatureScheme,
    SignedRequest,
    Slack,
    StandardWebhooks,
    Stripe,
    Svix,
    Twilio,
    WebSub,
)

NOW = 1_700_000_000
PUBLIC_URL = "https://hooks.example.com"
PRIVATE_KEY = "whsk_6Xb/dCcHpPea21PS1N9VY/NZW723CEc77N4rJCubMbfVKIDij2HKpMKkioLlX0dRqSKJp4AJ6p9lMicMFs6Kvg=="
PUBLIC_KEY = "whpk_1SiA4o9hyqTCpIqC5V9HUakiiaeACeqfZTInDBbOir4="
JSON_BODY = b'{"id": "evt_1", "type": "new_order", "total_amount": 49.99, "note": "\xc3\xa9"}'
FORM_BODY = urlencode({"MessageSid": "SM1", "Body": "Grüße & more", "From": "+14158675309"}).encode()


class Scheme(NamedTuple):
    """One scheme under test.

    Attributes:
        make: the scheme of some secrets.
        sign: a request with this body, signed at a time by a scheme that `make` made.
        old, new: two secrets.
        body: one that suits it.
        timed: whether it has a timestamp.
        covers_body: whether what it checks depends on the body.
    """

    name: str
    make: Callable[[Sequence[str]], SignatureScheme]
    sign: Callable[[SignatureScheme, bytes, int], SignedRequest]
    old: str = "It's a Secret to Everybody"
    new: str = "geheimnis-\u00fc-2"
    body: bytes = JSON_BODY
    timed: bool = False
    covers_body: bool = True


def encoded(headers: dict[str, str]) -> dict[bytes, bytes]:
    return {name.encode(): value.encode() for name, value in headers.items()}


def _standard(scheme: SignatureScheme, body: bytes, now_s: int) -> SignedRequest:
    assert isinstance(scheme, StandardWebhooks)
    return SignedRequest(encoded(scheme.sign("msg_1", now_s, body)), body, b"/webhooks/standard")


def _of_body(scheme: SignatureScheme, body: bytes, now_s: int) -> SignedRequest:
    assert isinstance(scheme, GitHub | Shopify | WebSub)
    return SignedRequest(encoded(scheme.sign(body)), body)


def _timed(scheme: SignatureScheme, body: bytes, now_s: int) -> SignedRequest:
    assert isinstance(scheme, Stripe | Slack)
    return SignedRequest(encoded(scheme.sign(now_s, body)), body)


def _twilio_form(scheme: SignatureScheme, body: bytes, now_s: int) -> SignedRequest:
    assert isinstance(scheme, Twilio)
    target = "/webhooks/twilio?account=1&flag"
    return SignedRequest(encoded(scheme.sign(target, parse_form(body))), body, target.encode())


def _twilio_json(scheme: SignatureScheme, body: bytes, now_s: int) -> SignedRequest:
    assert isinstance(scheme, Twilio)
    target = f"/webhooks/twilio?account=1&bodySHA256={hashlib.sha256(body).hexdigest()}"
    return SignedRequest(encoded(scheme.sign(target)), body, target.encode())


def _mandrill(scheme: SignatureScheme, body: bytes, now_s: int) -> SignedRequest:
    assert isinstance(scheme, Mandrill)
    return SignedRequest(encoded(scheme.sign(parse_form(body))), body, b"/webhooks/mandrill")


def _mailchimp(scheme: SignatureScheme, body: bytes, now_s: int) -> SignedRequest:
    assert isinstance(scheme, Mailchimp)
    query = urlencode({"secret": scheme._secrets[0].decode()})
    return SignedRequest({}, body, f"/webhooks/mailchimp?{query}".encode())


def _bearer(scheme: SignatureScheme, body: bytes, now_s: int) -> SignedRequest:
    assert isinstance(scheme, CloudEvents)
    return SignedRequest(encoded(scheme.sign()), body, b"/webhooks/cloudevents?partner=1")


def _access_token(scheme: SignatureScheme, body: bytes, now_s: int) -> SignedRequest:
    assert isinstance(scheme, CloudEvents)
    query = urlencode({"partner": "1", "access_token": scheme._tokens[0].decode()})
    return SignedRequest({}, body, f"/webhooks/cloudevents?{query}".encode())


_OLD_KEY, _NEW_KEY = ("whsec_" + letter * 32 for letter in "Ab")

SCHEMES = (
    Scheme("standard", StandardWebhooks, _standard, _OLD_KEY, _NEW_KEY, timed=True),
    Scheme("standard-ed25519", StandardWebhooks, _standard, PRIVATE_KEY, _NEW_KEY, timed=True),
    Scheme("svix", Svix, _standard, _OLD_KEY, _NEW_KEY, timed=True),
    Scheme("github", GitHub, _of_body),
    Scheme("stripe", Stripe, _timed, "whsec_test_secret", "whsec_other", timed=True),
    Scheme("slack", Slack, _timed, timed=True),
    Scheme("shopify", Shopify, _of_body),
    Scheme("twilio-form", lambda secrets: Twilio(secrets, PUBLIC_URL), _twilio_form, body=FORM_BODY),
    Scheme("twilio-json", lambda secrets: Twilio(secrets, PUBLIC_URL), _twilio_json),
    Scheme(
        "mandrill",
        lambda secrets: Mandrill(secrets, f"{PUBLIC_URL}/webhooks/mandrill"),
        _mandrill,
        body=urlencode({"mandrill_events": '[{"event":"send","_id":"a1","ts":1}]'}).encode(),
    ),
    Scheme("mailchimp", Mailchimp, _mailchimp, body=FORM_BODY, covers_body=False),
    Scheme("cloudevents", CloudEvents, _bearer, covers_body=False),
    Scheme("cloudevents-query", CloudEvents, _access_token, covers_body=False),
    Scheme("websub", WebSub, _of_body),
)
