"""Protects the door: published vectors verify, any change is refused, and no header is ever a crash."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtest.signatures import GitHub, SignatureRefused, SignedRequest, StandardWebhooks
from sim.errors import InputError

VECTORS = json.loads((Path(__file__).parent / "data" / "signature_vectors.json").read_text())
STANDARD = [vector for vector in VECTORS if vector["scheme"] == "standard"]
GITHUB = [vector for vector in VECTORS if vector["scheme"] == "github"]
OLD, NEW = ("whsec_" + letter * 32 for letter in "Ab")
NOW = 1_700_000_000
BODY = b'{"total_amount": 49.99}'


def ascii_headers(headers: dict[str, str]) -> dict[bytes, bytes]:
    return {name.encode(): value.encode() for name, value in headers.items()}


def signed(secrets: list[str], timestamp: int = NOW) -> dict[bytes, bytes]:
    return ascii_headers(StandardWebhooks(secrets).sign("evt_1", timestamp, BODY))


@pytest.mark.parametrize("vector", STANDARD, ids=lambda vector: vector["source"])
def test_standard_vectors(vector: dict[str, Any]) -> None:
    scheme = StandardWebhooks([vector["secret"]])
    body = vector["body"].encode()
    headers = scheme.sign(vector["id"], vector["timestamp"], body)
    assert headers["webhook-signature"] == vector["signature"]
    scheme.verify(SignedRequest(ascii_headers(headers), body), vector["timestamp"])


@pytest.mark.parametrize("vector", GITHUB, ids=lambda vector: vector["source"])
def test_github_vectors(vector: dict[str, Any]) -> None:
    scheme = GitHub([vector["secret"]])
    headers = scheme.sign(vector["body"].encode())
    assert headers == {"x-hub-signature-256": vector["signature"]}
    scheme.verify(SignedRequest(ascii_headers(headers), vector["body"].encode()), 0)


def test_a_rotating_secret_loses_nothing() -> None:
    for signer in ([OLD], [OLD, NEW], [NEW, OLD], [NEW]):
        for verifier in ([OLD, NEW], [NEW, OLD]):
            StandardWebhooks(verifier).verify(SignedRequest(signed(signer), BODY), NOW)
    assert signed([OLD, NEW])[b"webhook-signature"].count(b"v1,") == 2
    with pytest.raises(SignatureRefused):
        StandardWebhooks([NEW]).verify(SignedRequest(signed([OLD]), BODY), NOW)


def test_a_signature_among_strangers_is_found() -> None:
    headers = signed([OLD])
    own = headers[b"webhook-signature"]
    headers[b"webhook-signature"] = b"v1a,AAAA v2,xyz  v1,short " + own
    StandardWebhooks([OLD]).verify(SignedRequest(headers, BODY), NOW)


@pytest.mark.parametrize("away_s", [-300, 0, 300])
def test_inside_the_tolerance(away_s: int) -> None:
    StandardWebhooks([OLD]).verify(SignedRequest(signed([OLD], NOW + away_s), BODY), NOW)


@pytest.mark.parametrize("away_s", [-301, 301, 10**9])
def test_outside_the_tolerance(away_s: int) -> None:
    with pytest.raises(SignatureRefused, match="300 s"):
        StandardWebhooks([OLD]).verify(SignedRequest(signed([OLD], NOW + away_s), BODY), NOW)


@given(st.data())
def test_one_changed_byte_is_refused_standard(data: st.DataObject) -> None:
    headers = signed([OLD])
    name = data.draw(st.sampled_from([b"body", *headers]))
    original = BODY if name == b"body" else headers[name]
    position = data.draw(st.integers(0, len(original) - 1))
    changed = bytearray(original)
    changed[position] ^= data.draw(st.integers(1, 255))
    body = bytes(changed) if name == b"body" else BODY
    with pytest.raises(SignatureRefused):
        StandardWebhooks([OLD]).verify(
            SignedRequest({**headers, name: bytes(changed)} if body is BODY else headers, body), NOW
        )


@given(st.integers(0, len(BODY) - 1), st.integers(1, 255))
def test_one_changed_byte_is_refused_github(position: int, flip: int) -> None:
    scheme = GitHub(["secret"])
    headers = ascii_headers(scheme.sign(BODY))
    changed = bytearray(BODY)
    changed[position] ^= flip
    with pytest.raises(SignatureRefused):
        scheme.verify(SignedRequest(headers, bytes(changed)), 0)


ANY_VALUE = st.binary(max_size=60) | st.text(max_size=30).map(
    lambda text: text.encode("utf-8", "surrogatepass")
)


@given(
    st.dictionaries(
        st.sampled_from(
            [
                b"webhook-id",
                b"webhook-timestamp",
                b"webhook-signature",
                b"x-hub-signature-256",
                b"x-hub-signature",
            ]
        ),
        ANY_VALUE
        | st.from_regex(rb"(v1|v1a|sha256|sha1)[,=][A-Za-z0-9+/=]{0,64}")
        | st.integers().map(lambda number: str(number).encode()),
    ),
    st.binary(max_size=50),
)
def test_no_header_is_ever_more_than_refused(headers: dict[bytes, bytes], body: bytes) -> None:
    for scheme in (StandardWebhooks([OLD]), GitHub(["secret"])):
        with pytest.raises(SignatureRefused):
            scheme.verify(SignedRequest(headers, body), NOW)


@pytest.mark.parametrize(
    "timestamp", [b"", b"1e9", b"-5", b"+5", b" 5", b"1_0", b"\xd9\xa1", b"9" * 5000, b"0x5"]
)
def test_strange_timestamps_are_refused(timestamp: bytes) -> None:
    with pytest.raises(SignatureRefused, match="webhook-timestamp"):
        StandardWebhooks([OLD]).verify(
            SignedRequest({**signed([OLD]), b"webhook-timestamp": timestamp}, BODY), NOW
        )


def test_sha1_is_refused_and_said_so() -> None:
    with pytest.raises(SignatureRefused, match="SHA-1"):
        GitHub(["secret"]).verify(SignedRequest({b"x-hub-signature": b"sha1=" + b"0" * 40}, BODY), 0)
    with pytest.raises(SignatureRefused, match="sha256="):
        GitHub(["secret"]).verify(SignedRequest({b"x-hub-signature-256": b"sha1=" + b"0" * 40}, BODY), 0)


def test_github_accepts_any_of_its_secrets() -> None:
    GitHub(["new", "old"]).verify(SignedRequest(ascii_headers(GitHub(["old"]).sign(BODY)), BODY), 0)


@pytest.mark.parametrize(
    "secret", ["", "MfKQ", "whsec_", "whsec_!!!", "whsec_c2hvcnQ=", "whsec_" + "A" * 92, "whsec_é"]
)
def test_a_secret_of_another_form_is_refused_and_not_shown(secret: str) -> None:
    with pytest.raises(InputError) as refusal:
        StandardWebhooks([secret])
    assert len(secret) < 7 or secret not in str(refusal.value)


def test_no_secret_at_all_is_refused() -> None:
    with pytest.raises(InputError):
        StandardWebhooks([])
    with pytest.raises(InputError):
        GitHub([])
    with pytest.raises(InputError):
        GitHub(["good", ""])
