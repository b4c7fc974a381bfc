"""Protects deduplication: what a provider sends again is the same event, and nothing else ever is."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loadtest.contract import MISSING, MalformedEvent
from loadtest.receiver import identities
from loadtest.receiver.identities import Events, UnknownFormat
from loadtest.signatures import SignedRequest
from tests.loadtest.schemes import encoded

FORM = {"content-type": "application/x-www-form-urlencoded"}
JSON = {"content-type": "application/json"}


def request(body: object, headers: dict[str, str] | None = None, target: str = "/") -> SignedRequest:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return SignedRequest(encoded(headers or {}), raw, target.encode())


def form(fields: dict[str, str] | list[tuple[str, str]]) -> bytes:
    return urlencode(fields).encode()


def only(events: Events) -> tuple[str, str]:
    ((event, _),) = events
    assert (event.index, event.created_us) == (MISSING, MISSING)
    return event.id, event.type


def ids(events: Events) -> list[str]:
    return [event.id for event, _ in events]


# What each provider sends


def test_standard_webhooks_name_the_message_in_a_header() -> None:
    payload = {
        "type": "contact.created",
        "timestamp": "2022-11-03T20:26:10.344522Z",
        "data": {"id": "1f81eb52"},
    }
    assert only(identities.standard(request(payload, {"webhook-id": "msg_1"}))) == (
        "msg_1",
        "contact.created",
    )
    assert only(identities.svix(request(payload, {"svix-id": "msg_1"}))) == ("msg_1", "contact.created")
    assert only(identities.svix(request({"any": "thing"}, {"webhook-id": "msg_2"}))) == ("msg_2", "message")
    with pytest.raises(MalformedEvent, match="type"):
        identities.standard(request({"any": "thing"}, {"webhook-id": "msg_2"}))


def test_github_names_the_delivery_in_json_and_in_forms() -> None:
    headers = {"x-github-event": "push", "x-github-delivery": "72d3162e-cc78-11e3-81ab-4c9367dc0958"}
    expected = ("72d3162e-cc78-11e3-81ab-4c9367dc0958", "push")
    body = b'{"ref":"refs/heads/main","big":123456789012345678901234567890,"odd":"\\ud83d"}'
    events = identities.github(request(body, {**headers, **JSON}))
    assert (only(events), events[0][1]) == (expected, body)
    events = identities.github(request(form({"payload": body.decode()}), {**headers, **FORM}))
    assert (only(events), events[0][1]) == (expected, body)
    assert identities.github(request(b"whatever", {"x-github-event": "ping"})) == ()
    with pytest.raises(MalformedEvent, match="payload"):
        identities.github(request(b"a=1", {**headers, **FORM}))


def test_stripe_names_the_event() -> None:
    event = {
        "id": "evt_1NG8Du2eZvKYlo2CUI79vXWy",
        "object": "event",
        "type": "payment_intent.succeeded",
        "data": {},
    }
    assert only(identities.stripe(request(event))) == (event["id"], event["type"])


def test_slack_names_events_and_other_messages_name_themselves() -> None:
    callback = {
        "type": "event_callback",
        "event_id": "Ev08MFMKH6",
        "event_time": 1234567890,
        "event": {"type": "reaction_added", "user": "U061F7AUR"},
    }
    assert only(identities.slack(request(callback, JSON))) == ("Ev08MFMKH6", "reaction_added")
    assert identities.slack_challenge(request(callback, JSON)) is None
    hello = {
        "type": "url_verification",
        "token": "t",
        "challenge": "3eZbrw1aBm2rZgRNFdxV2595E9CY3gmdALWMmHkvFXO7tYXAYM8P",
    }
    assert identities.slack(request(hello, JSON)) == ()
    assert identities.slack_challenge(request(hello, JSON)) == hello["challenge"].encode()
    for minute, other in ((1, 2), (1, 1)):
        notices = [
            {"type": "app_rate_limited", "minute_rate_limited": number, "team_id": "T1"}
            for number in (minute, other)
        ]
        found = [only(identities.slack(request(notice, JSON))) for notice in notices]
        assert [kind for _, kind in found] == ["app_rate_limited"] * 2
        assert (found[0] == found[1]) == (minute == other)
    action = form({"payload": json.dumps({"type": "block_actions", "trigger_id": "12.3.abc"})})
    assert only(identities.slack(request(action, FORM)))[1] == "block_actions"
    command = form(
        {"command": "/weather", "text": "94070", "trigger_id": "13345224609.738474920.8088930838d88f"}
    )
    assert only(identities.slack(request(command, FORM)))[1] == "slash_command"
    assert identities.slack_challenge(request(command, FORM)) is None


def test_shopify_names_the_delivery_for_events_are_shared() -> None:
    """One action of a merchant is one event, of which several topics tell."""
    shared = {"x-shopify-event-id": "98880550-7158-44d4-b7cd-2c97c8a091b5"}
    one, other = (
        {
            **shared,
            "x-shopify-webhook-id": f"b54557e4-bdd9-4b37-8a5f-bf7d70bcd04{n}",
            "x-shopify-topic": topic,
        }
        for n, topic in ((3, "products/update"), (4, "inventory_items/update"))
    )
    assert only(identities.shopify(request({"id": 1}, one))) == (
        one["x-shopify-webhook-id"],
        "products/update",
    )
    assert only(identities.shopify(request({"id": 1}, other)))[0] != one["x-shopify-webhook-id"]


def test_twilio_names_the_request_or_else_the_message_and_its_status() -> None:
    sent, delivered = (
        form({"MessageSid": "SM1", "SmsSid": "SM1", "MessageStatus": status, "SmsStatus": status})
        for status in ("sent", "delivered")
    )
    assert only(identities.twilio(request(sent, FORM))) == ("SM1 sent", "sent")
    assert only(identities.twilio(request(delivered, FORM))) == ("SM1 delivered", "delivered")
    token = {"i-twilio-idempotency-token": "7a2c0b8e"}
    assert only(identities.twilio(request(sent, {**FORM, **token}))) == ("7a2c0b8e", "sent")
    gathered = [form({"CallSid": "CA1", "CallStatus": "in-progress", "Digits": digit}) for digit in "12"]
    assert len({only(identities.twilio(request(body, FORM))) for body in gathered}) == 2
    assert only(identities.twilio(request(gathered[0]))) == only(identities.twilio(request(gathered[0])))
    body = b'[{"specversion":"1.0","id":"EZ1"}]'
    target = f"/webhooks/twilio?flag&bodySHA256={hashlib.sha256(body).hexdigest()}"
    assert only(identities.twilio(request(body, JSON, target)))[1] == "callback"
    assert only(identities.twilio(request(body, {**JSON, **token}, target))) == ("7a2c0b8e", "callback")


MAILCHIMP = {
    "type": "profile",
    "fired_at": "2009-03-26 21:31:21",
    "data[id]": "8a25ff1d98",
    "data[list_id]": "a6b5da1054",
    "data[merges][FNAME]": "Mailchimp",
}


def test_mailchimp_changes_within_one_second_are_two() -> None:
    first, again, second = (
        only(identities.mailchimp(request(form({**MAILCHIMP, "data[merges][FNAME]": name}), FORM)))
        for name in ("Ada", "Ada", "Grace")
    )
    assert first == again
    assert first[0] != second[0]
    assert first[0].startswith("profile 2009-03-26 21:31:21 8a25ff1d98 sha256:")
    cleaned = {
        "type": "cleaned",
        "fired_at": "2009-03-26 22:01:00",
        "data[reason]": "hard",
        "data[email]": "a@b.c",
    }
    assert only(identities.mailchimp(request(form(cleaned), FORM)))[1] == "cleaned"
    for missing in ("type", "fired_at"):
        with pytest.raises(MalformedEvent):
            identities.mailchimp(request(form({**MAILCHIMP, missing: ""}), FORM))


def mandrill(events: object) -> SignedRequest:
    return request(form({"mandrill_events": json.dumps(events)}), FORM)


def test_mandrill_events_of_one_message_are_many() -> None:
    """``_id`` is the message's: what deduplicates on it alone loses opens and clicks."""
    message = {"_id": "exampleaaaaaaaaaaaaaaaaaaaaaaaaa", "ts": 1384954004}
    batch = [
        {**message, "event": "send"},
        {**message, "event": "open", "ip": "127.0.0.1"},
        {**message, "event": "click", "url": "http://mandrill.com"},
        {**message, "event": "click", "url": "http://mandrill.com/2"},
        {"type": "blacklist", "action": "add", "ts": 1384954005, "reject": {"reason": "hard-bounce"}},
    ]
    events = identities.mandrill(mandrill(batch))
    assert len(set(ids(events))) == len(batch)
    assert [event.type for event, _ in events] == ["send", "open", "click", "click", "blacklist"]
    assert [json.loads(kept) for _, kept in events] == batch
    assert ids(identities.mandrill(mandrill(batch))) == ids(events)
    assert list(identities.mandrill(mandrill([]))) == []


def test_a_batch_is_bounded() -> None:
    assert len(identities.mandrill(mandrill([{"event": "send"}] * 1000))) == 1000
    for batch in ([{"event": "send"}] * 1001, {"event": "send"}, [1], [{"event": "send"}, None], [{}], None):
        with pytest.raises(MalformedEvent):
            identities.mandrill(mandrill(batch))


CLOUD = {
    "specversion": "1.0",
    "id": "A234-1234-1234",
    "source": "/mycontext",
    "type": "com.example.someevent",
}
CLOUD_JSON = {"content-type": "application/cloudevents+json; charset=UTF-8"}


def binary(**attributes: str) -> dict[str, str]:
    return {f"ce-{name}": value for name, value in {**CLOUD, **attributes}.items()}


def test_a_cloudevent_is_the_same_in_every_mode_and_loses_no_attribute() -> None:
    structured = identities.cloudevents(
        request({**CLOUD, "subject": "123", "data": {"a": 10**30}}, CLOUD_JSON)
    )
    headers = {**binary(subject="123"), **JSON}
    in_headers = identities.cloudevents(request({"a": 10**30}, headers))
    batch = identities.cloudevents(
        request([{**CLOUD, "subject": "123"}] * 2, {"content-type": "application/cloudevents-batch+json"})
    )
    assert only(structured) == only(in_headers) == ('["/mycontext", "A234-1234-1234"]', CLOUD["type"])
    assert set(ids(batch)) == {structured[0][0].id}
    kept = json.loads(in_headers[0][1])
    assert kept == {**CLOUD, "subject": "123", "datacontenttype": "application/json", "data": {"a": 10**30}}
    text = identities.cloudevents(request(b"\xff\x00", {**binary(), "content-type": "image/png"}))
    assert json.loads(text[0][1])["data_base64"] == "/wA="
    bare = identities.cloudevents(request(b"", binary()))
    assert json.loads(bare[0][1]) == CLOUD


@given(
    st.lists(
        st.tuples(st.text(min_size=1, max_size=5), st.text(min_size=1, max_size=5)), unique=True, max_size=5
    )
)
def test_source_and_id_together_name_a_cloudevent(pairs: list[tuple[str, str]]) -> None:
    """``a#b`` and ``c`` is not ``a`` and ``b#c``, whatever one would put between them."""
    events = [
        {**CLOUD, "source": source, "id": name} for source, name in [*pairs, ("a#b", "c"), ("a", "b#c")]
    ]
    names = [only(identities.cloudevents(request(event, CLOUD_JSON)))[0] for event in events]
    assert len(set(names)) == len({(event["source"], event["id"]) for event in events})


@pytest.mark.parametrize(
    "headers", [JSON, {}, {"content-type": "application/cloudevents+xml", **binary()}, {"ce-id": "1", **JSON}]
)
def test_what_is_no_cloudevent_is_an_unknown_format(headers: dict[str, str]) -> None:
    with pytest.raises(UnknownFormat):
        identities.cloudevents(request(CLOUD, headers))


@pytest.mark.parametrize("missing", list(CLOUD))
def test_a_cloudevent_needs_all_that_names_it(missing: str) -> None:
    for value in ("", 5, None, [], {"deep": []}):
        with pytest.raises(MalformedEvent, match=missing):
            identities.cloudevents(request({**CLOUD, missing: value}, CLOUD_JSON))


def test_websub_content_names_itself() -> None:
    one, same, other = (
        only(identities.websub(request(body)))[0] for body in (b"<feed/>", b"<feed/>", b"<feed />")
    )
    assert one == same == f"sha256:{hashlib.sha256(b'<feed/>').hexdigest()}"
    assert one != other


# Whatever a verified request holds


READERS = [
    *(identities.standard, identities.svix, identities.github, identities.stripe, identities.slack),
    *(
        identities.slack_challenge,
        identities.shopify,
        identities.twilio,
        identities.mailchimp,
        identities.mandrill,
    ),
    *(identities.cloudevents, identities.websub),
]
HEADERS = {
    "webhook-id": "msg_1",
    "svix-id": "msg_1",
    "x-github-event": "push",
    "x-github-delivery": "1",
    "x-shopify-webhook-id": "1",
    "x-shopify-topic": "orders/create",
}
DOCUMENTS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["id", "type", "event", "_id", "ts", "source", "specversion", "challenge", "event_id"]
            ),
            inner,
            max_size=5,
        )
    ),
    max_leaves=12,
)
DEEP = [b"[" * n + b"]" * n for n in (950, 2000)] + [b'{"id":' * n + b"1" + b"}" * n for n in (950, 2000)]


@pytest.mark.parametrize("reader", READERS, ids=lambda reader: reader.__name__)
@settings(max_examples=40)
@given(
    document=DOCUMENTS | st.dictionaries(st.sampled_from(list(CLOUD)), DOCUMENTS),
    content_type=st.sampled_from(
        [
            "application/json",
            FORM["content-type"],
            "application/cloudevents+json",
            "application/cloudevents-batch+json",
        ]
    ),
    field=st.sampled_from([None, "payload", "mandrill_events"]),
)
def test_a_verified_request_is_events_or_malformed(
    reader: Callable[[SignedRequest], Any], document: Any, content_type: str, field: str | None
) -> None:
    body = json.dumps(document)
    raw = form({field: body}) if field else body.encode()
    try:
        found = reader(request(raw, {**HEADERS, "content-type": content_type}))
    except MalformedEvent:
        return
    if reader is not identities.slack_challenge:
        for event, kept in found:
            assert 0 < len(event.id) <= 200
            assert event.id.isascii()
            assert event.type.isascii()
            assert isinstance(kept, bytes)


@pytest.mark.parametrize("reader", READERS, ids=lambda reader: reader.__name__)
@pytest.mark.parametrize("body", [*DEEP, b"", b"\xff", b"9" * 5000, b"\xef\xbb\xbf{}", b'{"type":"\\ud800"}'])
def test_hostile_json_is_malformed_at_worst(reader: Callable[[SignedRequest], Any], body: bytes) -> None:
    nested = b'{"type":%b,"id":%b,"event":%b,"source":"s","specversion":"1.0"}' % (body, body, body)
    for raw in (
        body,
        nested,
        form({"payload": body.decode("latin-1")}),
        form({"mandrill_events": nested.decode("latin-1")}),
    ):
        for content_type in ("application/json", FORM["content-type"], "application/cloudevents+json"):
            with contextlib.suppress(MalformedEvent):
                reader(request(raw, {**HEADERS, "content-type": content_type}))
