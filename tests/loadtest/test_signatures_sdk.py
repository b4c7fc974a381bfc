"""Protects agreement with the providers' own libraries, both ways, on generated requests.

What theirs sign ours accept, what ours sign theirs accept, and what theirs refuse ours refuse. Where ours are
stricter on purpose, a test says so: theirs decode base64 leniently, read numbers as Python does, accept times
from the future (Stripe), or let an error of another kind escape, which counts as a refusal.
"""

from __future__ import annotations

import base64
import time
from collections.abc import Callable
from datetime import UTC, datetime
from urllib.parse import urlencode

import pytest
import standardwebhooks
import stripe
import svix
from hypothesis import given, settings
from hypothesis import strategies as st
from slack_sdk.signature import Clock, SignatureVerifier
from twilio.request_validator import RequestValidator

from loadtest.signatures import (
    SignatureRefused,
    SignatureScheme,
    SignedRequest,
    Slack,
    StandardWebhooks,
    Stripe,
    Svix,
    Twilio,
)
from tests.loadtest.schemes import encoded

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)
SECRETS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40).filter(str.strip)
KEYS = st.binary(min_size=24, max_size=64).map(lambda key: "whsec_" + base64.b64encode(key).decode())
IDS = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=40)
AGES_S = st.integers(-250, 250)
FIELDS = st.dictionaries(st.text("abcXYZ_[]é ", min_size=1, max_size=8), TEXT, max_size=6)

few = settings(max_examples=50)

STANDARD_FAMILIES = (
    pytest.param(StandardWebhooks, standardwebhooks.Webhook, "webhook", id="standardwebhooks"),
    pytest.param(Svix, svix.Webhook, "svix", id="svix"),
)


def accepts(scheme: SignatureScheme, request: SignedRequest) -> bool:
    try:
        scheme.verify(request, time.time())
    except SignatureRefused:
        return False
    return True


def raises_nothing(check: Callable[[], object], *refusals: type[Exception]) -> bool:
    try:
        check()
    except refusals:
        return False
    return True


# Standard Webhooks and Svix


def their_standard(library: type, key: str, body: str, headers: dict[str, str]) -> bool:
    """Their verdict; a malformed token is a ValueError of theirs, which counts as a refusal."""
    verify = library(key).verify
    options = {} if library is svix.Webhook else {"json_parse": False}
    return raises_nothing(
        lambda: verify(body, headers, **options), standardwebhooks.WebhookVerificationError, ValueError
    )


@pytest.mark.parametrize(("ours", "theirs", "family"), STANDARD_FAMILIES)
@few
@given(key=KEYS, message_id=IDS, body=TEXT, age_s=AGES_S)
def test_standard_webhooks_agree_both_ways(
    ours: type[StandardWebhooks], theirs: type, family: str, key: str, message_id: str, body: str, age_s: int
) -> None:
    at_s = int(time.time()) - age_s
    headers = ours([key]).sign(message_id, at_s, body.encode())
    assert their_standard(theirs, key, body, headers)
    token = theirs(key).sign(message_id, datetime.fromtimestamp(at_s, UTC), body)
    assert token == headers[f"{family}-signature"]
    assert accepts(ours([key]), SignedRequest(encoded(headers), body.encode()))


@pytest.mark.parametrize(("ours", "theirs", "family"), STANDARD_FAMILIES)
@few
@given(key=KEYS, other=KEYS, body=TEXT, data=st.data())
def test_what_standard_webhooks_refuse_ours_refuse(
    ours: type[StandardWebhooks],
    theirs: type,
    family: str,
    key: str,
    other: str,
    body: str,
    data: st.DataObject,
) -> None:
    headers = ours([key]).sign("msg_1", int(time.time()), body.encode())
    part = data.draw(st.sampled_from(["id", "timestamp", "signature", "body", "key"]))
    if part == "key":
        key = other
    elif part == "body":
        body += data.draw(st.text("ab {}", min_size=1, max_size=3))
    else:
        name = f"{family}-{part}"
        position = data.draw(st.integers(0, len(headers[name]) - 1))
        letter = data.draw(st.characters(min_codepoint=32, max_codepoint=126))
        headers[name] = headers[name][:position] + letter + headers[name][position + 1 :]
    verdict = their_standard(theirs, key, body, headers)
    own = accepts(ours([key]), SignedRequest(encoded(headers), body.encode()))
    assert own <= verdict, "ours accepted what theirs refuse"


@few
@given(old=KEYS, new=KEYS, body=TEXT)
def test_a_rotated_secret_verifies_with_their_library(old: str, new: str, body: str) -> None:
    headers = StandardWebhooks([new, old]).sign("msg_1", int(time.time()), body.encode())
    assert their_standard(standardwebhooks.Webhook, old, body, headers)
    assert their_standard(standardwebhooks.Webhook, new, body, headers)


@pytest.mark.parametrize("away_s", [-400, 400])
def test_the_window_is_theirs_too(away_s: int) -> None:
    key = "whsec_" + "A" * 32
    headers = StandardWebhooks([key]).sign("m", int(time.time()) + away_s, b"{}")
    assert not their_standard(standardwebhooks.Webhook, key, "{}", headers)
    assert not accepts(StandardWebhooks([key]), SignedRequest(encoded(headers), b"{}"))


def test_where_ours_are_stricter_than_standard_webhooks() -> None:
    key = "whsec_" + "A" * 32
    at_s = int(time.time())
    headers = StandardWebhooks([key]).sign("m", at_s, b"{}")
    for changed in (
        {"webhook-timestamp": f"{at_s}.0"},  # they read a float and round it down
        {"webhook-signature": headers["webhook-signature"] + "=="},  # they ignore what follows the padding
        {"webhook-signature": headers["webhook-signature"].replace("v1,", "v1,!")},  # and what is not base64
    ):
        tampered = {**headers, **changed}
        assert their_standard(standardwebhooks.Webhook, key, "{}", tampered)
        assert not accepts(StandardWebhooks([key]), SignedRequest(encoded(tampered), b"{}"))


# Stripe


def their_stripe(body: str, header: str, secret: str) -> bool:
    return raises_nothing(
        lambda: stripe.WebhookSignature.verify_header(body, header, secret, 300),
        stripe.SignatureVerificationError,
    )


@few
@given(secret=SECRETS, body=TEXT, age_s=st.integers(0, 250))
def test_stripe_agrees_both_ways(secret: str, body: str, age_s: int) -> None:
    at_s = int(time.time()) - age_s
    header = Stripe([secret]).sign(at_s, body.encode())["stripe-signature"]
    assert their_stripe(body, header, secret)
    assert stripe.WebhookSignature.generate_signature_header(body, secret, at_s) == header
    assert accepts(Stripe([secret]), SignedRequest(encoded({"stripe-signature": header}), body.encode()))


@few
@given(secret=SECRETS, other=SECRETS, body=TEXT)
def test_stripes_rolled_secret_verifies_with_their_library(secret: str, other: str, body: str) -> None:
    header = Stripe([secret, other]).sign(int(time.time()), body.encode())["stripe-signature"]
    assert their_stripe(body, header, secret)
    assert their_stripe(body, header, other)


@few
@given(secret=SECRETS, body=TEXT, data=st.data())
def test_what_stripe_refuses_ours_refuse(secret: str, body: str, data: st.DataObject) -> None:
    header = Stripe([secret]).sign(int(time.time()), body.encode())["stripe-signature"]
    position = data.draw(st.integers(0, len(header) - 1))
    letter = data.draw(st.characters(min_codepoint=32, max_codepoint=126))
    header = header[:position] + letter + header[position + 1 :]
    own = accepts(Stripe([secret]), SignedRequest(encoded({"stripe-signature": header}), body.encode()))
    assert own <= their_stripe(body, header, secret), "ours accepted what theirs refuse"


def test_where_ours_are_stricter_than_stripe() -> None:
    now_s = int(time.time())
    right = Stripe(["s"]).sign(now_s, b"{}")["stripe-signature"]
    future = Stripe(["s"]).sign(now_s + 10_000, b"{}")["stripe-signature"]
    for header in (future, right.replace("t=", "t= "), right.replace("t=", "t=0"), right + f",t={now_s}"):
        assert their_stripe("{}", header, "s")
        assert not accepts(Stripe(["s"]), SignedRequest(encoded({"stripe-signature": header}), b"{}"))


# Slack


class At(Clock):
    def __init__(self, now_s: float) -> None:
        self._now_s = now_s

    def now(self) -> float:
        return self._now_s


def their_slack(secret: str, body: str, headers: dict[str, str], now_s: float) -> bool:
    verifier = SignatureVerifier(secret, At(now_s))
    try:
        return verifier.is_valid_request(body, headers)
    except (ValueError, TypeError):  # a strange number, a signature beyond ASCII
        return False


@few
@given(secret=SECRETS, body=TEXT, at_s=st.integers(0, 2**33), away_s=st.integers(-310, 310))
def test_slack_agrees_both_ways(secret: str, body: str, at_s: int, away_s: int) -> None:
    headers = Slack([secret]).sign(at_s, body.encode())
    theirs = SignatureVerifier(secret).generate_signature(timestamp=str(at_s), body=body)
    assert headers["x-slack-signature"] == theirs
    try:
        Slack([secret]).verify(SignedRequest(encoded(headers), body.encode()), at_s + away_s)
        own = True
    except SignatureRefused:
        own = False
    assert own == their_slack(secret, body, headers, at_s + away_s) == (abs(away_s) <= 300)


@few
@given(secret=SECRETS, body=TEXT, data=st.data())
def test_what_slack_refuses_ours_refuse(secret: str, body: str, data: st.DataObject) -> None:
    now_s = time.time()
    headers = Slack([secret]).sign(int(now_s), body.encode())
    name = data.draw(st.sampled_from(sorted(headers)))
    position = data.draw(st.integers(0, len(headers[name]) - 1))
    letter = data.draw(st.characters(min_codepoint=32, max_codepoint=255))
    headers[name] = headers[name][:position] + letter + headers[name][position + 1 :]
    request = SignedRequest(
        {key.encode(): value.encode("latin-1") for key, value in headers.items()}, body.encode()
    )
    assert accepts(Slack([secret]), request) <= their_slack(secret, body, headers, now_s)


# Twilio


def twilio_request(target: str, body: bytes, signature: str) -> SignedRequest:
    return SignedRequest(encoded({"x-twilio-signature": signature}), body, target.encode())


ROOTS = st.sampled_from(
    [
        "https://a.example",
        "http://a.example",
        "https://a.example:443",
        "https://a.example:8443",
        "http://a.example:80",
    ]
)


@few
@given(
    token=SECRETS,
    root=ROOTS,
    query=st.dictionaries(st.sampled_from("abc"), TEXT, max_size=3),
    form=FIELDS,
    port=st.booleans(),
)
def test_twilio_forms_agree_both_ways(
    token: str, root: str, query: dict[str, str], form: dict[str, str], port: bool
) -> None:
    target = "/webhooks/twilio" + ("?" + urlencode(query) if query else "")
    body = urlencode(form).encode()
    own, theirs = Twilio([token], root), RequestValidator(token)
    signature = own.sign(target, list(form.items()))["x-twilio-signature"]
    assert theirs.validate(root + target, form, signature)
    assert accepts(own, twilio_request(target, body, theirs.compute_signature(root + target, form)))
    scheme, _, host = root.partition("://")
    bare = f"{scheme}://{host.partition(':')[0]}"
    standard = f"{bare}:{443 if scheme == 'https' else 80}"
    signature = theirs.compute_signature((standard if port else bare) + target, form)
    assert accepts(own, twilio_request(target, body, signature)) == theirs.validate(
        root + target, form, signature
    )


@few
@given(token=SECRETS, root=ROOTS, body=TEXT)
def test_twilio_json_agrees_both_ways(token: str, root: str, body: str) -> None:
    own, theirs = Twilio([token], root), RequestValidator(token)
    target = f"/webhooks/twilio?a=1&bodySHA256={theirs.compute_hash(body)}"
    signature = own.sign(target)["x-twilio-signature"]
    assert theirs.validate(root + target, body, signature)
    signature = theirs.compute_signature(root + target, {})
    assert accepts(own, twilio_request(target, body.encode(), signature))
    other = body + " "
    assert not theirs.validate(root + target, other, signature)
    assert not accepts(own, twilio_request(target, other.encode(), signature))


@few
@given(token=SECRETS, form=FIELDS, data=st.data())
def test_what_twilio_refuses_ours_refuse(token: str, form: dict[str, str], data: st.DataObject) -> None:
    own, theirs, root = Twilio([token], "https://a.example"), RequestValidator(token), "https://a.example"
    signature = own.sign("/webhooks/twilio", list(form.items()))["x-twilio-signature"]
    target = "/webhooks/twilio"
    part = data.draw(st.sampled_from(["signature", "form", "target"]))
    if part == "signature":
        position = data.draw(st.integers(0, len(signature) - 1))
        letter = data.draw(st.characters(min_codepoint=32, max_codepoint=126))
        signature = signature[:position] + letter + signature[position + 1 :]
    elif part == "form":
        form = {**form, data.draw(st.sampled_from("abcX")): data.draw(TEXT)}
    else:
        target += data.draw(st.sampled_from(["/", "?a=1", "x"]))
    assert accepts(own, twilio_request(target, urlencode(form).encode(), signature)) == theirs.validate(
        root + target, form, signature
    )
