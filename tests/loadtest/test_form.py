"""Protects the reading of forms: what two readers might understand differently is refused, never misread."""

from __future__ import annotations

from urllib.parse import urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtest.contract import MalformedEvent
from loadtest.form import MAX_FIELDS, one, parse_form, query_of, sorted_fields

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


@given(st.lists(st.tuples(TEXT, TEXT), max_size=20))
def test_what_was_encoded_is_read_back(fields: list[tuple[str, str]]) -> None:
    assert parse_form(urlencode(fields).encode()) == fields
    assert query_of(b"/path?" + urlencode(fields).encode()) == fields


@pytest.mark.parametrize(
    "body",
    [
        b"a",
        b"a=1&",
        b"&a=1",
        b"a=1&&b=2",
        b"a=%",
        b"a=%4",
        b"a=%zz",
        b"a=%ff",
        b"a=%ed%a0%80",
        b"a=\xff",
        b"{}",
    ],
)
def test_what_is_no_form_is_refused(body: bytes) -> None:
    with pytest.raises(MalformedEvent):
        parse_form(body)


@given(st.binary(max_size=200))
def test_any_bytes_are_a_form_or_malformed(body: bytes) -> None:
    try:
        parse_form(body)
    except MalformedEvent:
        return


def test_limits() -> None:
    assert len(parse_form(b"&".join([b"a=1"] * MAX_FIELDS))) == MAX_FIELDS
    with pytest.raises(MalformedEvent, match="1000"):
        parse_form(b"&".join([b"a=1"] * (MAX_FIELDS + 1)))


def test_fields_that_may_occur_once() -> None:
    assert one([("a", ""), ("b", "2")], "a") == ""
    assert one([("b", "2")], "a") is None
    with pytest.raises(MalformedEvent, match="2 times"):
        one([("a", "1"), ("a", "1")], "a")


def test_fields_as_they_are_signed() -> None:
    assert sorted_fields([("b", "2"), ("a", "1"), ("B", "3"), ("a", "1"), ("a", "0")]) == "B3a0a1b2"
