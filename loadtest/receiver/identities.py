"""Which event a verified request brings: what each provider says to deduplicate on, and the event's type.

Every function takes a request and returns its events with the bytes to keep of each, usually one; none where
there is nothing to keep (a ping, a test). Index and creation are known only where the body is one of our own
envelopes. All raise `MalformedEvent` when the request is verified but no event.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import orjson

from loadtest.contract import (
    GITHUB_DELIVERY,
    GITHUB_EVENT,
    MISSING,
    Envelope,
    MalformedEvent,
    compact_json,
    envelope_of,
    require_name,
)
from loadtest.form import one, parse_form, query_of
from loadtest.signatures import SignedRequest

Events = Sequence[tuple[Envelope, bytes]]

_OWN = frozenset(("id", "type", "index", "created_us"))
_MAX_BATCH = 1000


def standard(request: SignedRequest, id_header: bytes = b"webhook-id") -> Events:
    """Standard Webhooks, "Webhook headers": the signed ``webhook-id``, kept on every retry."""
    document = _object(request.body)
    if document.keys() >= _OWN:
        own = envelope_of(document)
        if own.id.encode() != request.headers[id_header]:
            raise MalformedEvent(f"the event's id is {own.id!r}, but {id_header.decode()} says otherwise")
        return ((own, request.body),)
    event_type = require_name("type", document.get("type"))
    message_id = require_name(id_header.decode(), request.headers[id_header].decode("latin-1"))
    return ((Envelope(message_id, event_type, MISSING, MISSING), request.body),)


def svix(request: SignedRequest) -> Events:
    """Svix docs, "Verifying payloads": as Standard Webhooks, under either header name."""
    return standard(request, b"svix-id" if b"svix-id" in request.headers else b"webhook-id")


def github(request: SignedRequest) -> Events:
    """GitHub Docs, "Webhook events and payloads": ``X-GitHub-Delivery``, kept on redelivery; no ping."""
    event_type = _header(request, GITHUB_EVENT)
    if event_type == "ping":
        return ()
    delivery = _header(request, GITHUB_DELIVERY)
    document = _object(request.body)
    if document.keys() >= _OWN:
        return ((envelope_of(document)._replace(id=delivery, type=event_type), request.body),)
    return _one(request, delivery, event_type)


def stripe(request: SignedRequest) -> Events:
    """Stripe docs, "The Event object": its ``id`` (``evt_...``)."""
    document = _object(request.body)
    return _one(request, _field(document, "id"), _field(document, "type"))


def slack(request: SignedRequest) -> Events:
    """Slack docs, "Events API": ``event_id`` of an ``event_callback``; none for ``url_verification``."""
    document = _object(request.body)
    match document:
        case {"type": "url_verification"}:
            return ()
        case {"type": "event_callback", "event": {"type": event_type}}:
            return _one(request, _field(document, "event_id"), require_name("event.type", event_type))
    raise MalformedEvent("not of Slack's Events API: an event_callback with an event is expected")


def shopify(request: SignedRequest) -> Events:
    """shopify.dev, "Ignore duplicate webhooks": ``X-Shopify-Webhook-Id``; several may share an event's id."""
    _object(request.body)
    return _one(request, _header(request, "x-shopify-webhook-id"), _header(request, "x-shopify-topic"))


def twilio(request: SignedRequest) -> Events:
    """Twilio docs, "Webhooks": ``I-Twilio-Idempotency-Token``, else the message or call and its status."""
    token = request.headers.get(b"i-twilio-idempotency-token")
    if one(query_of(request.target), "bodySHA256") is not None:
        _object(request.body)
        event_id, event_type = (token or b"").decode("latin-1"), "json"
    else:
        form = parse_form(request.body)
        sids = [one(form, name) for name in ("MessageSid", "CallSid", "SmsSid", "Sid")]
        statuses = [one(form, name) for name in ("MessageStatus", "CallStatus", "SmsStatus")]
        sid = next((sid for sid in sids if sid), None)
        event_type = next((status for status in statuses if status), "callback")
        event_id = token.decode("latin-1") if token else (f"{sid}:{event_type}" if sid else "")
    if not event_id:
        raise MalformedEvent("neither an I-Twilio-Idempotency-Token nor the id of a message or call")
    return _one(request, event_id, event_type)


def mailchimp(request: SignedRequest) -> Events:
    """Mailchimp docs, "Sync audience data with webhooks": no id; type, time and subject make one."""
    form = parse_form(request.body)
    fields = {name: one(form, name) for name in ("type", "fired_at", "data[id]")}
    for name in ("type", "fired_at"):
        if not fields[name]:
            raise MalformedEvent(f"the form has no {name}")
    # Campaigns and cleaned addresses are told apart by what else they say.
    subject = fields["data[id]"] or _digest(request.body)
    return _one(request, f"{fields['type']}:{fields['fired_at']}:{subject}", str(fields["type"]))


def mandrill(request: SignedRequest) -> Events:
    """Mailchimp Transactional docs, "Webhook format": up to 1,000 events a POST, stored all or none.

    ``_id`` is its message's, which may be opened many times: kind and time belong to the identity.
    """
    text = one(parse_form(request.body), "mandrill_events")
    events = _json((text or "").encode())
    if not isinstance(events, list) or len(events) > _MAX_BATCH:
        raise MalformedEvent(f"mandrill_events is no list of at most {_MAX_BATCH} events")
    found = []
    for event in events:
        if not isinstance(event, dict):
            raise MalformedEvent("mandrill_events holds something that is no event")
        kind = require_name("event", event.get("event") or event.get("type"))
        found.append(_envelope(f"{kind}:{event.get('ts')}:{_field(event, '_id')}", kind))
    return tuple(zip(found, map(compact_json, events), strict=True))


def cloudevents(request: SignedRequest) -> Events:
    """CloudEvents, "HTTP protocol binding", 3: source and id together; binary, structured or batched."""
    content_type = request.headers.get(b"content-type", b"").partition(b";")[0].strip().lower()
    if content_type == b"application/cloudevents-batch+json":
        batch = _json(request.body)
        if not isinstance(batch, list) or len(batch) > _MAX_BATCH:
            raise MalformedEvent(f"the batch is no list of at most {_MAX_BATCH} events")
        return tuple((_cloud_event(event), compact_json(event)) for event in batch)
    if content_type == b"application/cloudevents+json":
        return ((_cloud_event(_object(request.body)), request.body),)
    attributes = {name: _header(request, f"ce-{name}") for name in ("id", "source", "type")}
    return ((_cloud_event(attributes), request.body),)


def websub(request: SignedRequest) -> Events:
    """W3C WebSub, 7: the topic's content as it is now, without an id: the same content is the same event."""
    return _one(request, _digest(request.body), "content")


def slack_challenge(request: SignedRequest) -> bytes | None:
    """The challenge that a verified ``url_verification`` wants back, or None for anything else.

    Source: Slack docs, "url_verification event".
    """
    match _object(request.body):
        case {"type": "url_verification", "challenge": str(challenge)}:
            return challenge.encode()
        case {"type": "url_verification"}:
            raise MalformedEvent("url_verification without a challenge")
    return None


def _cloud_event(attributes: object) -> Envelope:
    if not isinstance(attributes, dict):
        raise MalformedEvent("a CloudEvent is a JSON object")
    source, event_id, event_type = (_text(attributes, name) for name in ("source", "id", "type"))
    return _envelope(f"{source}#{event_id}", event_type)


def _one(request: SignedRequest, event_id: str, event_type: str) -> Events:
    return ((_envelope(event_id, event_type), request.body),)


def _envelope(event_id: str, event_type: str) -> Envelope:
    """An identity made of foreign text; what cannot be a name is named by its digest."""
    return Envelope(_named(event_id), _named(event_type), MISSING, MISSING)


def _named(text: str) -> str:
    return text if 0 < len(text) <= 200 and text.isascii() and text.isprintable() else _digest(text.encode())


def _digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def _json(body: bytes) -> object:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise MalformedEvent(f"the body is not UTF-8 JSON: {error}") from None


def _object(body: bytes) -> dict[str, Any]:
    document = _json(body)
    if not isinstance(document, dict):
        raise MalformedEvent(f"an event is a JSON object, not {type(document).__name__}")
    return document


def _header(request: SignedRequest, name: str) -> str:
    return require_name(name, request.headers.get(name.encode(), b"").decode("latin-1"))


def _field(document: dict[str, Any], name: str) -> str:
    return require_name(name, document.get(name))


def _text(document: dict[str, Any], name: str) -> str:
    value = document.get(name)
    if not isinstance(value, str) or not value:
        raise MalformedEvent(f"{name} must be a string that says something, got {value!r:.80}")
    return value
