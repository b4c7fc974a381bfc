"""Which event a verified request brings: what each provider says to deduplicate on, and the event's type.

Every function takes a request and returns its events with the bytes to keep of each, usually one; none where
there is nothing to keep (a ping, a test). Index and creation are known only where the body is one of our own
envelopes. All raise `MalformedEvent` when the request is verified but no event.

An identity must tell apart whatever is not the same: an event taken for a duplicate is acknowledged and lost,
while a duplicate taken for an event is only handled twice. Where a provider names too little, the digest of
what it sent belongs to the identity. Header names a provider does not sign (all but Standard Webhooks' and
Svix's) can be changed by whoever replays a request; what is replayed unchanged is a duplicate.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from typing import Any

import orjson

from loadtest.contract import (
    GITHUB_DELIVERY,
    GITHUB_EVENT,
    MISSING,
    Envelope,
    MalformedEvent,
    envelope_of,
    event_bytes,
    parse_json,
    require_name,
    shown,
)
from loadtest.form import Fields, one, parse_form
from loadtest.signatures import SignedRequest
from loadtest.signatures.twilio import body_digests

Events = Sequence[tuple[Envelope, bytes]]

_OWN = frozenset(("id", "type", "index", "created_us"))
_MAX_BATCH = 1000
_FORM = b"application/x-www-form-urlencoded"


class UnknownFormat(MalformedEvent):
    """A body whose content type this receiver cannot read. Servers answer 415."""


def standard(request: SignedRequest) -> Events:
    """Standard Webhooks, "Webhook headers": the signed ``webhook-id``, kept on every retry."""
    return _standard(request, b"webhook-id", None)


def svix(request: SignedRequest) -> Events:
    """Svix docs, "Verifying payloads": as Standard Webhooks, under either header name; any JSON object."""
    return _standard(request, b"svix-id" if b"svix-id" in request.headers else b"webhook-id", "message")


def _standard(request: SignedRequest, id_header: bytes, usual_type: str | None) -> Events:
    try:
        document = orjson.loads(request.body)  # the hottest path: strict, and several times as fast
    except orjson.JSONDecodeError as error:
        raise MalformedEvent(f"the body is not UTF-8 JSON: {error}") from None
    if not isinstance(document, dict):
        raise MalformedEvent(f"an event is a JSON object, not {type(document).__name__}")
    if document.keys() >= _OWN:
        own = envelope_of(document)
        if own.id.encode() != request.headers[id_header]:
            raise MalformedEvent(f"the event's id is {own.id!r}, but {id_header.decode()} says otherwise")
        return ((own, request.body),)
    event_type = require_name("type", document.get("type", usual_type))
    message_id = require_name(id_header.decode(), request.headers[id_header].decode("latin-1"))
    return ((Envelope(message_id, event_type, MISSING, MISSING), request.body),)


def github(request: SignedRequest) -> Events:
    """GitHub Docs, "Webhook events and payloads": ``X-GitHub-Delivery``, kept on redelivery; no ping.

    A webhook may be configured to send a form, whose field ``payload`` is the JSON that is kept.
    """
    event_type = _header(request, GITHUB_EVENT)
    if event_type == "ping":
        return ()
    delivery = _header(request, GITHUB_DELIVERY)
    body = request.body
    if _content_type(request) == _FORM:
        body = _payload(parse_form(body)).encode()
    document = _object(body)
    if document.keys() >= _OWN:
        return ((envelope_of(document)._replace(id=delivery, type=event_type), body),)
    return ((_envelope(delivery, event_type), body),)


def stripe(request: SignedRequest) -> Events:
    """Stripe docs, "The Event object": its ``id`` (``evt_...``)."""
    document = _object(request.body)
    return _one(request, _field(document, "id"), _field(document, "type"))


def slack(request: SignedRequest) -> Events:
    """Slack docs, "Events API": ``event_id`` of an ``event_callback``; none for ``url_verification``.

    Other messages have no id: notices (``app_rate_limited``), interactions (a form with JSON in ``payload``)
    and slash commands (a form). Slack does not repeat them, and each holds a time or a trigger of its own.
    """
    if _content_type(request) == _FORM:
        form = parse_form(request.body)
        if one(form, "command") is not None:
            return _one(request, _digest(request.body), "slash_command")
        return _one(request, _digest(request.body), _field(_object(_payload(form).encode()), "type"))
    document = _object(request.body)
    kind = _field(document, "type")
    if kind == "url_verification":
        return ()
    if kind != "event_callback":
        return _one(request, _digest(request.body), kind)
    event = document.get("event")
    if not isinstance(event, dict):
        raise MalformedEvent("an event_callback holds an event, a JSON object")
    return _one(request, _field(document, "event_id"), _field(event, "type"))


def slack_challenge(request: SignedRequest) -> bytes | None:
    """The challenge that a verified ``url_verification`` wants back, or None for anything else.

    Source: Slack docs, "url_verification event".
    """
    if _content_type(request) == _FORM:
        return None
    document = _object(request.body)
    return _field(document, "challenge").encode() if document.get("type") == "url_verification" else None


def shopify(request: SignedRequest) -> Events:
    """shopify.dev, "authenticate.webhook": ``X-Shopify-Webhook-Id`` is the idempotency key, kept on retries.

    ``X-Shopify-Event-Id``, which "Ignore duplicate webhooks" names, is shared by all the deliveries that one
    action of a merchant causes, of other topics and to other subscriptions too: by it alone all but one would
    be lost.
    """
    return _one(request, _header(request, "x-shopify-webhook-id"), _header(request, "x-shopify-topic"))


def twilio(request: SignedRequest) -> Events:
    """Twilio docs, "Webhooks": ``I-Twilio-Idempotency-Token``, else a message and its status, else the body.

    A call asks for instructions many times with the same status, so its id would not do.
    """
    event_id, event_type = _digest(request.body), "callback"
    if body_digests(request.target):
        parse_json(request.body)
    else:
        form = parse_form(request.body)
        statuses = [one(form, name) for name in ("MessageStatus", "SmsStatus", "CallStatus")]
        event_type = next((status for status in statuses if status), event_type)
        message = one(form, "MessageSid")
        if message:
            event_id = f"{message} {event_type}"
    if b"i-twilio-idempotency-token" in request.headers:
        event_id = _header(request, "i-twilio-idempotency-token")
    return _one(request, event_id, event_type)


def mailchimp(request: SignedRequest) -> Events:
    """Mailchimp docs, "Sync audience data with webhooks": no id; type, time, subject and digest make one.

    The time is in whole seconds, in which a member may change twice.
    """
    form = parse_form(request.body)
    kind, fired_at = (one(form, name) for name in ("type", "fired_at"))
    if not kind or not fired_at:
        raise MalformedEvent("the form needs a type and fired_at")
    subject = one(form, "data[id]") or one(form, "data[new_id]") or ""
    return _one(request, f"{kind} {fired_at} {subject} {_digest(request.body)}", kind)


def mandrill(request: SignedRequest) -> Events:
    """Mailchimp Transactional docs, "Webhook format": up to 1,000 events a POST, stored all or none.

    ``_id`` is its message's, which may be opened and clicked many times a second, and changes of a denylist
    have none: the digest belongs to the identity.
    """
    events = _batch((one(parse_form(request.body), "mandrill_events") or "").encode())
    found = []
    for event in events:
        kind = require_name("event", event.get("event", event.get("type")))
        kept = event_bytes(event)
        told = [str(event[name]) for name in ("ts", "_id") if isinstance(event.get(name), str | int)]
        found.append((_envelope(" ".join([kind, *told, _digest(kept)]), kind), kept))
    return found


def cloudevents(request: SignedRequest) -> Events:
    """CloudEvents, "HTTP protocol binding", 3: source and id together; binary, structured or batched.

    In binary mode the attributes are in headers: what is kept is the same event in the JSON format.
    """
    content_type = _content_type(request)
    if content_type == b"application/cloudevents-batch+json":
        return [(_cloud_event(event), event_bytes(event)) for event in _batch(request.body)]
    if content_type == b"application/cloudevents+json":
        return ((_cloud_event(_object(request.body)), request.body),)
    if content_type.startswith(b"application/cloudevents") or b"ce-specversion" not in request.headers:
        raise UnknownFormat("not a CloudEvent in binary mode, nor in the JSON format, alone or in a batch")
    event: dict[str, Any] = {
        name[3:].decode("latin-1"): value.decode("latin-1")
        for name, value in request.headers.items()
        if name.startswith(b"ce-")
    }
    if content_type:
        event["datacontenttype"] = request.headers[b"content-type"].decode("latin-1")
    if request.body:
        event |= _data(content_type, request.body)
    return ((_cloud_event(event), event_bytes(event)),)


def _data(content_type: bytes, body: bytes) -> dict[str, Any]:
    """CloudEvents, "JSON event format", 3.1: JSON as it is, anything else as base64."""
    if content_type == b"application/json" or content_type.endswith(b"+json"):
        return {"data": parse_json(body)}
    return {"data_base64": base64.b64encode(body).decode()}


def websub(request: SignedRequest) -> Events:
    """W3C WebSub, 7: the topic's content as it is now, without an id: the same content is the same event."""
    return _one(request, _digest(request.body), "content")


def _cloud_event(event: dict[str, Any]) -> Envelope:
    for name in ("specversion", "source", "id", "type"):
        value = event.get(name)
        if not isinstance(value, str) or not value:
            raise MalformedEvent(f"a CloudEvent's {name} is a string that says something, not {shown(value)}")
    # A list as JSON, for either may hold any character that one would put between them.
    return _envelope(json.dumps([event["source"], event["id"]]), event["type"])


def _one(request: SignedRequest, event_id: str, event_type: str) -> Events:
    return ((_envelope(event_id, event_type), request.body),)


def _envelope(event_id: str, event_type: str) -> Envelope:
    """An identity made of foreign text; what cannot be a name is named by its digest."""
    return Envelope(_named(event_id), _named(event_type), MISSING, MISSING)


def _named(text: str) -> str:
    plain = 0 < len(text) <= 200 and text.isascii() and text.isprintable()
    return text if plain else _digest(text.encode("utf-8", "surrogatepass"))


def _digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def _object(body: bytes) -> dict[str, Any]:
    document = parse_json(body)
    if not isinstance(document, dict):
        raise MalformedEvent(f"an event is a JSON object, not {type(document).__name__}")
    return document


def _batch(body: bytes) -> list[dict[str, Any]]:
    document = parse_json(body)
    if not isinstance(document, list) or len(document) > _MAX_BATCH:
        raise MalformedEvent(f"a batch is a JSON list of at most {_MAX_BATCH} events")
    if not all(isinstance(event, dict) for event in document):
        raise MalformedEvent("every event of a batch is a JSON object")
    return document


def _payload(form: Fields) -> str:
    payload = one(form, "payload")
    if payload is None:
        raise MalformedEvent("the form has no payload")
    return payload


def _content_type(request: SignedRequest) -> bytes:
    return request.headers.get(b"content-type", b"").partition(b";")[0].strip().lower()


def _header(request: SignedRequest, name: str) -> str:
    return require_name(name, request.headers.get(name.encode(), b"").decode("latin-1"))


def _field(document: dict[str, Any], name: str) -> str:
    return require_name(name, document.get(name))
