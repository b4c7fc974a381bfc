"""Protects every provider's door alike: published vectors, rotation, replay windows, tampering."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from loadtest.form import parse_form
from loadtest.signatures import (
    CloudEvents,
    GitHub,
    Mailchimp,
    Mandrill,
    Shopify,
    SignatureRefused,
    SignedRequest,
    Slack,
    StandardWebhooks,
    Stripe,
    Svix,
    Twilio,
    WebSub,
)
from loadtest.signatures.mandrill import TEST_FORM, TEST_KEY
from loadtest.signatures.twilio import with_and_without_port
from sim.errors import InputError
from tests.loadtest.schemes import NOW, PRIVATE_KEY, PUBLIC_KEY, PUBLIC_URL, SCHEMES, Scheme, encoded

VECTORS = json.loads((Path(__file__).parent / "data" / "signature_vectors.json").read_text())

each = pytest.mark.parametrize("scheme", SCHEMES, ids=lambda scheme: scheme.name)
each_timed = pytest.mark.parametrize(
    "scheme", [scheme for scheme in SCHEMES if scheme.timed], ids=lambda scheme: scheme.name
)
a_scheme = st.sampled_from(SCHEMES)


def signed(scheme: Scheme, secrets: Sequence[str] = (), now_s: int = NOW) -> SignedRequest:
    return scheme.sign(scheme.make(secrets or [scheme.old]), scheme.body, now_s)


def refuse(scheme: Scheme, request: SignedRequest, secrets: Sequence[str] = (), now_s: float = NOW) -> str:
    with pytest.raises(SignatureRefused) as refusal:
        scheme.make(secrets or [scheme.old]).verify(request, now_s)
    return str(refusal.value)


# Published vectors


def vector_request(vector: dict[str, Any]) -> tuple[Any, SignedRequest]:
    """The scheme that should accept a vector, and the request it describes, built without our signers."""
    kind, given, body = vector["scheme"], vector["signature"], vector.get("body", "").encode()
    if "form" in vector:
        body = urlencode(vector["form"]).encode()
    secrets = [vector.get("public") or vector["secret"]]
    base, slash, rest = vector.get("url", "https://example.com/").removeprefix("https://").partition("/")
    target = (slash + rest).encode()
    if kind.startswith("standard"):
        headers = {
            "webhook-id": vector["id"],
            "webhook-timestamp": str(vector["timestamp"]),
            "webhook-signature": given,
        }
        return StandardWebhooks(secrets), SignedRequest(encoded(headers), body)
    scheme, headers = {
        "github": lambda: (GitHub(secrets), {"x-hub-signature-256": given}),
        "stripe": lambda: (Stripe(secrets), {"stripe-signature": given}),
        "shopify": lambda: (Shopify(secrets), {"x-shopify-hmac-sha256": given}),
        "twilio": lambda: (Twilio(secrets, f"https://{base}"), {"x-twilio-signature": given}),
        "twilio-json": lambda: (Twilio(secrets, f"https://{base}"), {"x-twilio-signature": given}),
        "mandrill": lambda: (Mandrill(["another"], vector["url"]), {"x-mandrill-signature": given}),
        "slack": lambda: (
            Slack(secrets),
            {"x-slack-signature": given, "x-slack-request-timestamp": str(vector["timestamp"])},
        ),
    }[kind]()
    return scheme, SignedRequest(encoded(headers), body, target)


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: f"{vector['scheme']}: {vector['source']}")
def test_published_vectors(vector: dict[str, Any]) -> None:
    scheme, request = vector_request(vector)
    now_s = vector.get("timestamp", NOW)
    scheme.verify(request, now_s)
    flipped = bytes([request.body[0] ^ 1]) + request.body[1:]
    with pytest.raises(SignatureRefused):
        scheme.verify(request._replace(body=flipped), now_s)


def test_the_private_key_signs_what_the_vector_says() -> None:
    vector = next(vector for vector in VECTORS if vector["scheme"] == "standard-ed25519")
    headers = StandardWebhooks([vector["private"]]).sign(
        vector["id"], vector["timestamp"], vector["body"].encode()
    )
    assert headers["webhook-signature"] == vector["signature"]


# What all schemes promise


@each
def test_what_is_signed_is_accepted_and_what_another_signed_is_not(scheme: Scheme) -> None:
    scheme.make([scheme.old]).verify(signed(scheme), NOW)
    refuse(scheme, signed(scheme, [scheme.new]))
    refuse(scheme, SignedRequest({}, scheme.body, b"/webhooks/x"))


@each
def test_a_rotating_secret_loses_nothing(scheme: Scheme) -> None:
    both = scheme.make([scheme.old, scheme.new])
    for secrets in ([scheme.old], [scheme.new], [scheme.old, scheme.new], [scheme.new, scheme.old]):
        both.verify(signed(scheme, secrets), NOW)


@each
def test_refusals_do_not_tell_the_secret(scheme: Scheme) -> None:
    message = refuse(scheme, signed(scheme, [scheme.new]))
    assert scheme.old not in message
    assert scheme.new not in message


@each
@pytest.mark.parametrize("secrets", [[], [""]])
def test_no_secret_is_bad_input(scheme: Scheme, secrets: list[str]) -> None:
    with pytest.raises(InputError):
        scheme.make(secrets)


@each
def test_a_secret_that_is_not_text_is_bad_input_and_not_shown(scheme: Scheme) -> None:
    """Environment variables hand on bytes that are not UTF-8 as lone surrogates."""
    with pytest.raises(InputError) as refusal:
        scheme.make([f"{scheme.old}\udcff"])
    assert scheme.old not in str(refusal.value)


@each_timed
def test_the_replay_window(scheme: Scheme) -> None:
    """Five minutes, either way: older is a replay, and what comes from the future could be one for longer."""
    verifier = scheme.make([scheme.old])
    for away_s in (-300, -1, 0, 1, 300):
        verifier.verify(signed(scheme, now_s=NOW + away_s), NOW)
    for away_s in (-301, 301, 10**9):
        assert "300 s" in refuse(scheme, signed(scheme, now_s=NOW + away_s))


@each_timed
@pytest.mark.parametrize(
    "timestamp", ["", "1e9", "-5", "+5", " 5", "5 ", "1_0", "\u0661", "9" * 5000, "0x5", "5.0"]
)
def test_a_strange_timestamp_is_refused(scheme: Scheme, timestamp: str) -> None:
    request = signed(scheme)
    headers = {
        name: value.replace(str(NOW).encode(), timestamp.encode()) for name, value in request.headers.items()
    }
    refuse(scheme, request._replace(headers=headers))


# Tampering


def changed(data: st.DataObject, original: bytes) -> bytes:
    """`original` with one byte replaced, added or taken away."""
    position = data.draw(st.integers(0, len(original) - 1))
    how = data.draw(st.sampled_from(["replace", "insert", "delete"]))
    byte = bytes([data.draw(st.integers(0, 255).filter(lambda value: value != original[position]))])
    rest = original[position + (how != "insert") :]
    return original[:position] + (b"" if how == "delete" else byte) + rest


@given(a_scheme, st.data())
def test_one_changed_byte_of_a_header_is_refused(scheme: Scheme, data: st.DataObject) -> None:
    request = signed(scheme)
    if not request.headers:
        return
    name = data.draw(st.sampled_from(sorted(request.headers)))
    tampered = changed(data, request.headers[name])
    token = request.headers[name].removeprefix(b"Bearer ")
    if scheme.name == "cloudevents" and tampered.lower() == b"bearer " + token.lower() and token in tampered:
        return  # the method's name is case-insensitive (RFC 9110, 11.1)
    refuse(scheme, request._replace(headers={**request.headers, name: tampered}))


@given(st.sampled_from([scheme for scheme in SCHEMES if scheme.covers_body]), st.data())
def test_one_changed_byte_of_the_body_is_refused(scheme: Scheme, data: st.DataObject) -> None:
    request = signed(scheme)
    body = changed(data, request.body)
    if scheme.name in {"twilio-form", "mandrill"} and _reads_the_same(body, request.body):
        return  # these sign what a form says, not how it is spelt
    refuse(scheme, request._replace(body=body))


def _reads_the_same(a: bytes, b: bytes) -> bool:
    try:
        return "".join(map("".join, sorted(parse_form(a)))) == "".join(map("".join, sorted(parse_form(b))))
    except Exception:
        return False


@given(
    st.sampled_from([scheme for scheme in SCHEMES if scheme.name.startswith(("twilio", "mailchimp"))]),
    st.data(),
)
def test_one_changed_byte_of_a_signed_url_is_refused(scheme: Scheme, data: st.DataObject) -> None:
    request = signed(scheme)
    target = changed(data, request.target)
    if scheme.name == "mailchimp":
        target = request.target.replace(b"secret=", b"secret=" + changed(data, b"abc"), 1)
    refuse(scheme, request._replace(target=target))


def spellings(value: bytes) -> Iterator[bytes]:
    """Other ways to write a signature that a lenient reader takes for the same."""
    yield value.upper()
    yield value.swapcase()
    yield value.rstrip(b"=")
    yield value + b"="
    yield value.replace(b"+", b"-").replace(b"/", b"_")
    yield value + b"\n"
    yield b" " + value
    yield value[:-1] + b" " + value[-1:]
    yield value[:-1]
    yield value[: len(value) // 2]
    yield b""
    yield value + value
    yield value + b", " + value
    yield value + b"\xc3\xa9"
    yield b"\xff" + value
    yield value.replace(b"=", b"%3D")


SIGNATURE_HEADERS = {
    "github": b"x-hub-signature-256",
    "stripe": b"stripe-signature",
    "slack": b"x-slack-signature",
    "shopify": b"x-shopify-hmac-sha256",
    "twilio-form": b"x-twilio-signature",
    "twilio-json": b"x-twilio-signature",
    "mandrill": b"x-mandrill-signature",
    "websub": b"x-hub-signature",
}


@pytest.mark.parametrize(
    "scheme",
    [scheme for scheme in SCHEMES if scheme.name in SIGNATURE_HEADERS],
    ids=lambda scheme: scheme.name,
)
def test_another_spelling_of_a_signature_is_refused(scheme: Scheme) -> None:
    request = signed(scheme)
    name = SIGNATURE_HEADERS[scheme.name]
    original = request.headers[name]
    for spelling in spellings(original):
        # Stripe's header is a list, in which one signature that fits is enough, whatever else there is.
        if spelling != original and not (scheme.name == "stripe" and spelling.count(original) == 2):
            refuse(scheme, request._replace(headers={**request.headers, name: spelling}))


@pytest.mark.parametrize("scheme", SCHEMES[:3], ids=lambda scheme: scheme.name)
def test_another_spelling_of_a_token_is_refused(scheme: Scheme) -> None:
    """A list of tokens is separated by single blanks; each token is exact."""
    request = signed(scheme)
    (name,) = (name for name in request.headers if name.endswith(b"-signature"))
    version, _, original = request.headers[name].partition(b",")
    for spelling in spellings(original):
        if spelling not in (original, b" " + original, original + b"=") and original not in spelling.split(
            b" "
        ):
            refuse(scheme, request._replace(headers={**request.headers, name: version + b"," + spelling}))
    other = b"v1a" if version == b"v1" else b"v1"
    refuse(scheme, request._replace(headers={**request.headers, name: other + b"," + original}))


def test_every_spelling_of_an_ed25519_signature_but_one_is_refused() -> None:
    """The last character before ``==`` holds four bits that a lenient decoder drops."""
    scheme = StandardWebhooks([PUBLIC_KEY])
    headers = encoded(StandardWebhooks([PRIVATE_KEY]).sign("msg_1", NOW, b"{}"))
    original = headers[b"webhook-signature"]
    accepted = []
    for letter in b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/":
        token = original[:-3] + bytes([letter]) + b"=="
        try:
            scheme.verify(SignedRequest({**headers, b"webhook-signature": token}, b"{}"), NOW)
        except SignatureRefused:
            continue
        accepted.append(token)
    assert accepted == [original]


HEADER_NAMES = [
    *(
        f"{family}-{part}".encode()
        for family in ("webhook", "svix")
        for part in ("id", "timestamp", "signature")
    ),
    *(b"x-slack-request-timestamp", b"authorization", *SIGNATURE_HEADERS.values()),
]
ANY_VALUE = (
    st.binary(max_size=60)
    | st.text(max_size=30).map(lambda text: text.encode("utf-8", "surrogatepass"))
    | st.from_regex(rb"(v0|v1|v1a|t|sha256|sha1|Bearer)[,= ][A-Za-z0-9+/=,]{0,64}")
    | st.integers(NOW - 400, NOW + 400).map(lambda number: str(number).encode())
)


@given(
    a_scheme,
    st.dictionaries(st.sampled_from(HEADER_NAMES), ANY_VALUE),
    st.binary(max_size=50),
    st.binary(max_size=40).map(lambda rest: b"/" + rest),
)
@example(SCHEMES[7], {b"x-twilio-signature": b"x"}, b"a=%ff", b"/?bodySHA256=\xc3\xa9")
@example(SCHEMES[9], {b"x-mandrill-signature": b"x"}, b"a=%ff", b"/")
def test_nothing_is_ever_more_than_refused(
    scheme: Scheme, headers: dict[bytes, bytes], body: bytes, target: bytes
) -> None:
    refuse(scheme, SignedRequest(headers, body, target))


# One provider at a time


def test_sha1_is_refused_unless_asked_for_and_never_instead_of_sha256() -> None:
    body = b'{"zen": "Design for failure."}'
    sha1 = {b"x-hub-signature": b"sha1=9bfe0d7d3f5fe1f0ff3d5a3a7b3d3d4bd18c8d4d"}
    for old in (GitHub(["secret"]), WebSub(["secret"])):
        with pytest.raises(SignatureRefused):
            old.verify(SignedRequest(sha1, body), NOW)
    import hashlib
    import hmac

    right = b"sha1=" + hmac.new(b"secret", body, hashlib.sha1).hexdigest().encode()
    for scheme in (GitHub(["secret"]), WebSub(["secret"])):
        with pytest.raises(SignatureRefused):
            scheme.verify(SignedRequest({b"x-hub-signature": right}, body), NOW)
    for lenient in (GitHub(["secret"], accept_sha1=True), WebSub(["secret"], accept_sha1=True)):
        lenient.verify(SignedRequest({b"x-hub-signature": right}, body), NOW)
        with pytest.raises(SignatureRefused):
            lenient.verify(SignedRequest(sha1, body), NOW)
    with pytest.raises(SignatureRefused):  # a wrong new signature is not mended by a right old one
        GitHub(["secret"], accept_sha1=True).verify(
            SignedRequest({b"x-hub-signature": right, b"x-hub-signature-256": b"sha256=00"}, body), NOW
        )


@pytest.mark.parametrize("method", ["sha256", "sha384", "sha512"])
def test_the_methods_of_websub(method: str) -> None:
    import hmac

    scheme, body = WebSub(["secret"]), b"<feed/>"
    right = hmac.new(b"secret", body, method).hexdigest()
    scheme.verify(SignedRequest(encoded({"x-hub-signature": f"{method}={right}"}), body), NOW)
    for wrong in (
        f"sha3_256={right}",
        f"{method.upper()}={right}",
        f"md5={right}",
        right,
        f"{method}-{right}",
    ):
        with pytest.raises(SignatureRefused):
            scheme.verify(SignedRequest(encoded({"x-hub-signature": wrong}), body), NOW)


def test_a_websub_secret_has_less_than_200_bytes() -> None:
    WebSub(["\u00fc" * 99])
    with pytest.raises(InputError, match="200 bytes"):
        WebSub(["\u00fc" * 100])


@pytest.mark.parametrize(
    "header",
    [
        b"v1=00",
        b"t=1",
        b"t=%d",
        b"t=%d,v0=%b",
        b"t=%d,t=%d,v1=%b",
        b"t=%d,v1",
        b"t,v1=%b",
        b"t=%d;v1=%b",
        b"t=%d, v1=%b",
        b"T=%d,V1=%b",
        b"v1=%b," * 20 + b"t=%d",
    ],
)
def test_a_malformed_stripe_header_is_refused(header: bytes) -> None:
    scheme = Stripe(["whsec_a"])
    right = scheme.sign(NOW, b"{}")["stripe-signature"].partition("v1=")[2].encode()
    given = header.replace(b"%d", str(NOW).encode()).replace(b"%b", right)
    with pytest.raises(SignatureRefused):
        scheme.verify(SignedRequest({b"stripe-signature": given}, b"{}"), NOW)


def test_a_stripe_signature_is_found_among_others() -> None:
    scheme = Stripe(["whsec_a"])
    right = scheme.sign(NOW, b"{}")["stripe-signature"].partition("v1=")[2]
    header = f"v1=00,v0={right},t={NOW},v1={right},later=1"
    scheme.verify(SignedRequest({b"stripe-signature": header.encode()}, b"{}"), NOW)


def test_one_prefix_two_meanings() -> None:
    """``whsec_`` is verbatim for Stripe and base64 of the key for Standard Webhooks."""
    secret = "whsec_" + "A" * 32
    import hmac

    expected = hmac.new(secret.encode(), b"%d.{}" % NOW, "sha256").hexdigest()
    assert Stripe([secret]).sign(NOW, b"{}")["stripe-signature"] == f"t={NOW},v1={expected}"
    decoded = hmac.new(b"\0" * 24, b"m.%d.{}" % NOW, "sha256").digest()
    import base64

    header = StandardWebhooks([secret]).sign("m", NOW, b"{}")["webhook-signature"]
    assert header == "v1," + base64.b64encode(decoded).decode()


def test_symmetric_and_asymmetric_keys_together() -> None:
    secret = "whsec_" + "A" * 32
    headers = StandardWebhooks([secret, PRIVATE_KEY]).sign("msg_1", NOW, b"{}")
    assert [token.partition(",")[0] for token in headers["webhook-signature"].split()] == ["v1", "v1a"]
    for keys in ([secret], [PUBLIC_KEY], [PRIVATE_KEY], [PUBLIC_KEY, "whsec_" + "b" * 32]):
        StandardWebhooks(keys).verify(SignedRequest(encoded(headers), b"{}"), NOW)
    with pytest.raises(InputError, match="whpk_"):
        StandardWebhooks([PUBLIC_KEY]).sign("msg_1", NOW, b"{}")


@pytest.mark.parametrize(
    "key",
    [
        PRIVATE_KEY.replace("whsk_", "whpk_"),
        PUBLIC_KEY.replace("whpk_", "whsk_"),
        PUBLIC_KEY[:-4],
        PUBLIC_KEY.replace("1", "!"),
        "whsk_" + "A" * 86 + "==",
        PRIVATE_KEY.replace("vg==", "vw=="),
        PUBLIC_KEY.replace("whpk_", "whxx_"),
    ],
)
def test_a_malformed_key_is_bad_input_and_not_shown(key: str) -> None:
    with pytest.raises(InputError) as refusal:
        StandardWebhooks([key])
    assert key.partition("_")[2][:12] not in str(refusal.value)


def test_svix_takes_either_family_of_names_but_not_a_mixture() -> None:
    secret = "whsec_" + "A" * 32
    svix, standard = Svix([secret]), StandardWebhooks([secret])
    branded, plain = encoded(svix.sign("m", NOW, b"{}")), encoded(standard.sign("m", NOW, b"{}"))
    svix.verify(SignedRequest(branded, b"{}"), NOW)
    svix.verify(SignedRequest(plain, b"{}"), NOW)
    for headers in (
        {**plain, b"svix-id": b"m"},
        {**branded, b"svix-id": b"other"} | plain,
        {name: value for name, value in branded.items() if name != b"svix-id"},
    ):
        with pytest.raises(SignatureRefused):
            svix.verify(SignedRequest(headers, b"{}"), NOW)
    with pytest.raises(SignatureRefused):
        standard.verify(SignedRequest(branded, b"{}"), NOW)


@pytest.mark.parametrize(
    ("signer_url", "receiver_url"),
    [
        ("https://a.example", "https://a.example"),
        ("https://a.example:443", "https://a.example"),
        ("https://a.example", "https://a.example:443"),
        ("http://a.example:80", "http://a.example"),
        ("https://a.example:8443", "https://a.example:8443"),
        ("https://a.example", "https://a.example:8443"),
        ("https://a.example/hooks", "https://a.example/hooks/"),
        ("https://[2001:db8::1]:443", "https://[2001:db8::1]"),
    ],
)
def test_twilio_with_and_without_the_port(signer_url: str, receiver_url: str) -> None:
    import base64
    import hmac

    content = f"{signer_url}/webhooks/twilio?a=1BodyHiFrom+1".encode()
    given = base64.b64encode(hmac.new(b"token", content, "sha1").digest())
    request = SignedRequest({b"x-twilio-signature": given}, b"From=%2B1&Body=Hi", b"/webhooks/twilio?a=1")
    Twilio(["token"], receiver_url).verify(request, NOW)
    for elsewhere in ("https://b.example", "http://a.example:443", "https://a.example:444/x"):
        with pytest.raises(SignatureRefused):
            Twilio(["token"], elsewhere).verify(request, NOW)


def test_twilio_believes_no_header_about_its_url() -> None:
    scheme = Twilio(["token"], "https://inside.example")
    elsewhere = Twilio(["token"], "https://evil.example").sign("/webhooks/twilio", [])
    forged = {
        "host": "evil.example",
        "x-forwarded-host": "evil.example",
        "x-forwarded-proto": "https",
        "forwarded": "host=evil.example;proto=https",
        "x-original-url": "https://evil.example/webhooks/twilio",
    }
    with pytest.raises(SignatureRefused):
        scheme.verify(SignedRequest(encoded({**elsewhere, **forged}), b"", b"/webhooks/twilio"), NOW)


def test_a_twilio_body_cannot_be_swapped_for_a_form() -> None:
    """A captured JSON request is signed by its URL alone; its body must still be the one the URL names."""
    scheme = next(scheme for scheme in SCHEMES if scheme.name == "twilio-json")
    request = signed(scheme)
    headers = {**request.headers, b"content-type": b"application/x-www-form-urlencoded"}
    for body in (b"", b"a=1", scheme.body + b" "):
        assert "bodySHA256" in refuse(scheme, request._replace(headers=headers, body=body))
    twice = request.target + b"&" + request.target.partition(b"account=1&")[2]
    refuse(scheme, request._replace(target=twice))


@pytest.mark.parametrize(
    "url",
    [
        "",
        "hooks.example.com",
        "ftp://a.example:443",
        "https://",
        "https://a.example:99999",
        "https://a.example:x",
        "https://a.example:",
        "https://user:pass@a.example",
        "https://a.example?x=1",
        "https://a.example#x",
        "https://a example",
        "https://\u00e4.example",
        "https://[::1",
    ],
)
def test_a_public_url_of_another_form_is_bad_input(url: str) -> None:
    with pytest.raises(InputError, match="public URL"):
        with_and_without_port(url)


def test_mandrill_test_key_opens_the_door_to_nothing_but_no_events() -> None:
    url = f"{PUBLIC_URL}/webhooks/mandrill"
    scheme, anybody = Mandrill(["key"], url), Mandrill([TEST_KEY], url)
    empty = urlencode(TEST_FORM).encode()
    scheme.verify(SignedRequest(encoded(anybody.sign(TEST_FORM)), empty), NOW)
    for form in (
        [("mandrill_events", '[{"event":"send","_id":"a","ts":1}]')],
        [("mandrill_events", "[]"), ("mandrill_events", "[1]")],
        [("mandrill_events", "[]"), ("more", "")],
        [("mandrill_events", " []")],
        [],
    ):
        request = SignedRequest(encoded(anybody.sign(form)), urlencode(form).encode())
        with pytest.raises(SignatureRefused):
            scheme.verify(request, NOW)


def test_mailchimp_takes_one_secret_from_the_query_only() -> None:
    scheme = Mailchimp(["s\u00fc&cret", "old"])
    for query in (b"secret=s%C3%BC%26cret", b"a=1&secret=old&b=", b"secret=%6fld"):
        scheme.verify(SignedRequest({}, b"", b"/?" + query), NOW)
    for query in (
        b"",
        b"secret",
        b"secret=",
        b"secret=old&secret=old",
        b"Secret=old",
        b"secret=old%20",
        b"secret=%zz",
    ):
        with pytest.raises(SignatureRefused):
            scheme.verify(SignedRequest({b"secret": b"old"}, b"secret=old", b"/?" + query), NOW)


def test_a_bearer_token_comes_in_one_way() -> None:
    scheme = CloudEvents(["tok/en", "old"])
    accepted = [
        ({"authorization": "Bearer tok/en"}, b"/"),
        ({"authorization": "bearer old"}, b"/?p=q"),
        ({}, b"/?access_token=tok%2Fen&p=q"),
        ({"authorization": "Basic eDp5"}, b"/?access_token=old"),
    ]
    for headers, target in accepted:
        scheme.verify(SignedRequest(encoded(headers), b"{}", target), NOW)
    refused = [
        ({}, b"/"),
        ({"authorization": "Bearer"}, b"/"),
        ({"authorization": "Bearer "}, b"/"),
        ({"authorization": "tok/en"}, b"/"),
        ({"authorization": "Basic tok/en"}, b"/"),
        ({"authorization": "Bearer tok/en,Bearer tok/en"}, b"/"),
        ({"authorization": "Bearer  tok/en"}, b"/"),
        ({"authorization": "Bearer old"}, b"/?access_token=old"),
        ({}, b"/?access_token=old&access_token=old"),
        ({}, b"/?access_token="),
        ({}, b"/?access_token=Old"),
    ]
    for headers, target in refused:
        with pytest.raises(SignatureRefused):
            scheme.verify(SignedRequest(encoded(headers), b"{}", target), NOW)
