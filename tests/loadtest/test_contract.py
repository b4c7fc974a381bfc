"""Protects the wire: what we send can be read back, and whatever else arrives is a clean MalformedEvent."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtest import contract
from loadtest.contract import MalformedEvent
from sim.errors import InputError

STORY = {
    "event_type": "new_order",
    "order_id": "ORD-2024-001",
    "customer_email": "jane.doe@example.com",
    "total_amount": 49.99,
}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


def test_the_first_event_carries_the_story_s_order() -> None:
    assert json.loads(contract.envelope("r", 0, 5))["data"] == STORY


def test_orders_differ_by_index_and_only_by_index() -> None:
    orders = [json.dumps(contract.order(index)) for index in range(500)]
    assert len(set(orders)) == 500
    assert orders == [json.dumps(contract.order(index)) for index in range(500)]


@given(
    index=st.integers(0, 2**40),
    created_us=st.integers(0, 2**62),
    payload_bytes=st.integers(0, 3000),
)
def test_an_envelope_can_be_read_back_and_has_the_size_asked_for(
    index: int, created_us: int, payload_bytes: int
) -> None:
    body = contract.envelope("run-1", index, created_us, payload_bytes)
    assert contract.parse_envelope(body) == (f"evt_run-1_{index}", "new_order", index, created_us)
    bare = len(contract.envelope("run-1", index, created_us))
    padding = len(',"padding":""')
    assert len(body) == (payload_bytes if payload_bytes > bare + padding else bare)
    assert contract.compact_json(json.loads(body)) == body  # a polled event keeps its bytes


@given(st.binary(max_size=200) | JSON.map(lambda value: json.dumps(value).encode()))
def test_anything_else_is_malformed(body: bytes) -> None:
    with pytest.raises(MalformedEvent):
        contract.parse_envelope(body)


@given(
    field=st.sampled_from(["id", "type", "index", "created_us"]),
    value=JSON,
)
def test_a_field_is_valid_or_named(field: str, value: object) -> None:
    document = {"id": "evt_r_1", "type": "new_order", "index": 1, "created_us": 2, field: value}
    valid_name = isinstance(value, str) and 0 < len(value) <= 200 and value.isascii() and value.isprintable()
    valid_count = type(value) is int and 0 <= value < 2**63
    body = json.dumps(document).encode()
    if valid_name if field in {"id", "type"} else valid_count:
        assert contract.parse_envelope(body) == tuple(document.values())
    else:
        with pytest.raises(MalformedEvent, match=field):
            contract.parse_envelope(body)


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"", "not UTF-8 JSON"),
        (b"\xff{}", "not UTF-8"),
        (b"[" * 100_000, "depth limit"),
        (b"[]", "not list"),
        (b"{}", "no 'id'"),
        (b'{"id":"","type":"t","index":0,"created_us":0}', "id must be"),
        (b'{"id":"\\ud800","type":"t","index":0,"created_us":0}', "surrogate"),
        (b'{"id":"a\\u0000","type":"t","index":0,"created_us":0}', "id must be"),
        (b'{"id":"a","type":7,"index":0,"created_us":0}', "type must be"),
        (b'{"id":"a","type":"t","index":true,"created_us":0}', "index must be"),
        (b'{"id":"a","type":"t","index":-1,"created_us":0}', "index must be"),
        (b'{"id":"a","type":"t","index":0,"created_us":9223372036854775808}', "created_us must be"),
        (b'{"id":"a","type":"t","index":0,"created_us":%s}' % (b"9" * 5000), "infinity"),
    ],
)
def test_the_message_says_what_is_wrong(body: bytes, says: str) -> None:
    with pytest.raises(MalformedEvent, match=says):
        contract.parse_envelope(body)


@pytest.mark.parametrize(
    "body", [b'{"a":NaN}', b'{"a":-Infinity}', b'{"a":1e999}', b'{"a":"\\ud800"}', b'{"a":1e4000}']
)
def test_what_json_cannot_say_is_not_sent_on(body: bytes) -> None:
    """Python reads such documents; a peer that reads JSON only would choke on what we made of them."""
    with pytest.raises(MalformedEvent):
        contract.event_bytes(contract.parse_json(body))
    with pytest.raises(MalformedEvent):
        contract.parse_envelope(body)


def test_whole_numbers_of_any_size_are_sent_on_whole() -> None:
    body = b'{"id":"e","n":%d}' % 3**200
    assert contract.event_bytes(contract.parse_json(body)) == body


@pytest.mark.parametrize(
    "url", ["http://localhost:1", "http://127.0.0.1:80/x", "http://[::1]:9/", "http://127.9.9.9"]
)
def test_urls_of_this_machine_pass(url: str) -> None:
    assert contract.loopback_url(url, "the url") == url


@pytest.mark.parametrize(
    "url",
    [
        "http://example.com/hook",
        "http://10.0.0.1/",
        "http://127.0.0.1.example.com/",
        "http://127.0.0.1@example.com/",
        "http://0.0.0.0/",
        "https://localhost/",
        "localhost:80",
        "http://localhost:99999/",
        "http://[::1",
        "",
    ],
)
def test_other_urls_are_refused_by_name(url: str) -> None:
    with pytest.raises(InputError) as refusal:
        contract.loopback_url(url, "the url")
    assert repr(url) in str(refusal.value)


@pytest.mark.parametrize("field", ["id", "type", "index", "created_us"])
def test_a_deeply_nested_field_is_malformed_however_deep(field: str) -> None:
    """The parser takes what the writer of the error message could not write out."""
    for depth in range(900, 1020, 5):
        values = {
            "id": '"a"',
            "type": '"a"',
            "index": "1",
            "created_us": "1",
            field: "[" * depth + "]" * depth,
        }
        body = "{" + ",".join(f'"{name}":{value}' for name, value in values.items()) + "}"
        with pytest.raises(contract.MalformedEvent, match=f"{field} must be|JSON"):
            contract.parse_envelope(body.encode())
