"""What providers send to the receiver, one operation a source; the protocol facts are the providers' own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from loadtest.openapi.parts import (
    EVENT,
    NAME,
    NEW_ORDER,
    RETRY_AFTER,
    TOO_LARGE,
    answer,
    body,
    parameter,
    ref,
    refusal,
)

JSON, FORM = "application/json", "application/x-www-form-urlencoded"
_UNIX_TIME = {"type": "string", "pattern": "^[0-9]{1,12}$"}
_TEXT = {"type": "string", "minLength": 1}
_CHALLENGE = "3eZbrw1aB10FEMAGAZd4FyFQ"
_NOTHING = {"type": "string", "maxLength": 0}


def _key(name: str, place: str = "header") -> dict[str, str]:
    return {"type": "apiKey", "in": place, "name": name}


SECURITY = {
    "standard": _key("webhook-signature"),
    "github": _key("X-Hub-Signature-256"),
    "stripe": _key("Stripe-Signature"),
    "slack": _key("X-Slack-Signature"),
    "shopify": _key("X-Shopify-Hmac-SHA256"),
    "twilio": _key("X-Twilio-Signature"),
    "mailchimp": _key("secret", "query"),
    "mandrill": _key("X-Mandrill-Signature"),
    "svix": _key("svix-signature"),
    "cloudevents": {"type": "http", "scheme": "bearer"},
    "websub": _key("X-Hub-Signature"),
}

_STORED = answer("Stored durably: now, or earlier, and this is a duplicate; or a ping, which is not stored.")
_UNSIGNED = refusal("The signature is missing, malformed, stale or wrong. Nothing was parsed.")
_LATER = refusal("Too many events wait, or storage failed: nothing was stored.", headers=RETRY_AFTER)


def _text(description: str, schema: Mapping[str, Any], **examples: str) -> dict[str, Any]:
    """A 200 in plain text."""
    content: dict[str, Any] = {"schema": schema}
    if examples:
        content["examples"] = {name: {"value": value} for name, value in examples.items()}
    return {"description": description, "content": {"text/plain": content}}


_PRESENT = _text("We are here.", _NOTHING)


def _webhook(
    source: str,
    summary: str,
    description: str,
    request: Mapping[str, Any],
    *,
    parameters: Sequence[Mapping[str, Any]] = (),
    malformed: Mapping[str, str] | None = None,
    answers: Mapping[str, Any] | None = None,
    stored: str = "204",
) -> dict[str, Any]:
    """The POST of one source; `malformed` are the messages of a 400 by the request's example."""
    return {
        "operationId": source,
        "summary": summary,
        "description": description,
        "security": [{source: []}],
        "parameters": list(parameters),
        "requestBody": request,
        "responses": {
            **(answers or {}),
            stored: _STORED,
            "400": refusal("It is signed, but no event.", malformed),
            "401": _UNSIGNED,
            "413": TOO_LARGE,
            "503": _LATER,
        },
    }


def _header(name: str, description: str, schema: Mapping[str, Any] = NAME, **examples: str) -> dict[str, Any]:
    return parameter("header", name, description, schema, required=True, **examples)


_OWN_EVENT = {"if": {"required": list(EVENT["required"])}, "then": ref("Event")}
_SIGNED_BODY = {
    "type": "object",
    "description": "What has the members of an event of ours must be one, and its id the signed id.",
    "properties": {"type": NAME},
    **_OWN_EVENT,
}


def _standard(
    source: str,
    prefix: str,
    summary: str,
    schema: Mapping[str, Any],
    malformed: Mapping[str, Any],
    error: str,
) -> dict[str, Any]:
    return _webhook(
        source,
        summary,
        f"`{prefix}-signature` holds tokens, separated by blanks: `v1,<base64>`, HMAC-SHA256 over "
        f"`{{{prefix}-id}}.{{{prefix}-timestamp}}.{{raw body}}`, or `v1a,<base64>`, ed25519 over the same.",
        body(schema, a_new_order=NEW_ORDER, no_event=malformed),
        parameters=(
            _header(
                f"{prefix}-id", "The event's id, the same on every retry.", a_new_order=str(NEW_ORDER["id"])
            ),
            _header(f"{prefix}-timestamp", "This attempt's time, at most 300 s from now.", _UNIX_TIME),
        ),
        malformed={"no_event": error},
    )


_GITHUB = _webhook(
    "github",
    "A delivery of GitHub",
    "`X-Hub-Signature-256` holds `sha256=<hex>`, HMAC-SHA256 over the raw body. A `ping` is not stored.",
    body(
        {"type": "object", "description": "What has the members of an event must be one.", **_OWN_EVENT},
        a_push={"ref": "refs/heads/main"},
        no_object=["refs/heads/main"],
    ),
    parameters=(
        _header("X-GitHub-Event", "What happened.", a_push="push", no_object="push"),
        _header(
            "X-GitHub-Delivery",
            "The delivery's id, kept on redelivery.",
            a_push="72d3162e-cc78-11e3-81ab-4c9367dc0958",
            no_object="72d3162e-cc78-11e3-81ab-4c9367dc0958",
        ),
    ),
    malformed={"no_object": "an event is a JSON object, not list"},
)

_STRIPE = _webhook(
    "stripe",
    "An event of Stripe",
    "`Stripe-Signature` holds `t=<unix>,v1=<hex>`: HMAC-SHA256 over `{t}.{raw body}`; `v1` may be repeated.",
    body(
        {"type": "object", "required": ["id", "type"], "properties": {"id": NAME, "type": NAME}},
        a_payment={"id": "evt_1NG8Du2eZvKYlo2CUI79vXWy", "object": "event", "type": "invoice.paid"},
        no_id={"object": "event", "type": "invoice.paid"},
    ),
    malformed={"no_id": "id must be 1 to 200 printable ASCII characters, got None"},
)

_SLACK = _webhook(
    "slack",
    "A message of Slack: an event, its challenge, a notice; or, as a form, a command or interaction",
    "`X-Slack-Signature` holds `v0=<hex>`: HMAC-SHA256 over `v0:{X-Slack-Request-Timestamp}:{raw body}`.",
    {
        "required": True,
        "content": {
            JSON: {
                "schema": {
                    "type": "object",
                    "required": ["type"],
                    "properties": {"type": NAME},
                    "allOf": [
                        {
                            "if": {"properties": {"type": {"const": "url_verification"}}},
                            "then": {"required": ["challenge"], "properties": {"challenge": NAME}},
                        },
                        {
                            "if": {"properties": {"type": {"const": "event_callback"}}},
                            "then": {
                                "required": ["event_id", "event"],
                                "properties": {
                                    "event_id": NAME,
                                    "event": {
                                        "type": "object",
                                        "required": ["type"],
                                        "properties": {"type": NAME},
                                    },
                                },
                            },
                        },
                    ],
                },
                "examples": {
                    "a_mention": {
                        "value": {
                            "type": "event_callback",
                            "event_id": "Ev08MFMKH6",
                            "event": {"type": "app_mention"},
                        }
                    },
                    "a_challenge": {"value": {"type": "url_verification", "challenge": _CHALLENGE}},
                    "no_event": {"value": {"type": "event_callback", "event_id": "Ev08MFMKH6"}},
                },
            },
            FORM: {
                "schema": {
                    "type": "object",
                    "required": ["command"],
                    "properties": {"command": {"type": "string"}, "text": {"type": "string"}},
                },
                "examples": {"a_command": {"value": {"command": "/weather", "text": "94070"}}},
            },
        },
    },
    parameters=(_header("X-Slack-Request-Timestamp", "At most 300 s from now.", _UNIX_TIME),),
    malformed={"no_event": "an event_callback holds an event, a JSON object"},
    answers={"200": _text("The challenge.", {"type": "string"}, a_challenge=_CHALLENGE)},
)

_SHOPIFY = _webhook(
    "shopify",
    "A webhook of Shopify",
    "`X-Shopify-Hmac-SHA256` holds base64 of HMAC-SHA256 over the raw body, whatever that is.",
    {"content": {JSON: {"schema": {}, "examples": {"an_order": {"value": {"id": 820982911946154508}}}}}},
    parameters=(
        _header("X-Shopify-Topic", "What happened.", an_order="orders/create"),
        _header("X-Shopify-Webhook-Id", "Kept on retries.", an_order="b54557e4-bdd9-4b37-8a5f-bf7d70bcd043"),
    ),
)

_TWILIO = _webhook(
    "twilio",
    "A callback of Twilio",
    "`X-Twilio-Signature` holds base64 of HMAC-SHA1 over the whole URL and the form's sorted parameters; of "
    "a body that is JSON over the URL, whose `bodySHA256` covers it.",
    {
        "content": {
            FORM: {
                "schema": {
                    "type": "object",
                    "properties": {
                        name: {"type": "string"} for name in ("MessageSid", "MessageStatus", "CallSid")
                    },
                },
                "examples": {
                    "a_message": {"value": {"MessageSid": "SM1234567890", "MessageStatus": "delivered"}}
                },
            },
        },
    },
    parameters=(parameter("header", "I-Twilio-Idempotency-Token", "The same on every retry.", NAME),),
)

_MAILCHIMP = _webhook(
    "mailchimp",
    "A change of an audience at Mailchimp",
    "Not signed: the URL holds our secret, so whoever sees the URL knows it.",
    {
        "required": True,
        "content": {
            FORM: {
                "schema": {
                    "type": "object",
                    "properties": {"type": _TEXT, "fired_at": _TEXT, "data[id]": {"type": "string"}},
                    "required": ["type", "fired_at"],
                },
                "examples": {
                    "a_subscriber": {
                        "value": {
                            "type": "subscribe",
                            "fired_at": "2009-03-26 21:35:57",
                            "data[id]": "8a25ff1d98",
                        }
                    },
                    "no_time": {"value": {"type": "subscribe"}},
                },
            }
        },
    },
    malformed={"no_time": "the form needs a type and fired_at"},
)

_MAILCHIMP_GREETING = {
    "operationId": "mailchimpGreeting",
    "summary": "Mailchimp asks, when the webhook is saved, whether the URL is right",
    "security": [{"mailchimp": []}],
    "responses": {"200": _PRESENT, "401": _UNSIGNED},
}

_MANDRILL = _webhook(
    "mandrill",
    "Events of Mailchimp Transactional, up to 1,000 at once, stored all or none",
    "`X-Mandrill-Signature` holds base64 of HMAC-SHA1 over the webhook's URL and the sorted fields.",
    {
        "required": True,
        "content": {
            FORM: {
                "schema": {
                    "type": "object",
                    "properties": {
                        "mandrill_events": {
                            "type": "string",
                            "contentMediaType": "application/json",
                            "contentSchema": {
                                "type": "array",
                                "maxItems": 1000,
                                "items": {
                                    "type": "object",
                                    "required": ["event"],
                                    "properties": {"event": NAME, "_id": {"type": "string"}},
                                },
                            },
                        }
                    },
                    "required": ["mandrill_events"],
                },
                "examples": {
                    "a_bounce": {
                        "value": {
                            "mandrill_events": '[{"event":"hard_bounce","_id":"7761629","ts":1365109999}]'
                        }
                    },
                },
            }
        },
    },
    stored="200",
)

_MANDRILL_GREETING = {
    "operationId": "mandrillGreeting",
    "summary": "Mailchimp Transactional asks, when the webhook is added, whether anybody is there",
    "responses": {"200": answer("We are here.")},
}

_CLOUD_EVENT = {
    "type": "object",
    "required": ["specversion", "id", "source", "type"],
    "properties": {"specversion": _TEXT, "id": _TEXT, "source": _TEXT, "type": _TEXT},
}
_AN_OBJECT = {
    "specversion": "1.0",
    "id": "A234-1234-1234",
    "source": "/mycontext/subcontext",
    "type": "com.example.someevent",
}

_CLOUDEVENTS = _webhook(
    "cloudevents",
    "A CloudEvent, structured, or a batch of them; or binary, with its attributes in `ce-` headers",
    "The bearer token may also be the query's `access_token`. It covers no body: use TLS.",
    {
        "required": True,
        "content": {
            "application/cloudevents+json": {
                "schema": _CLOUD_EVENT,
                "examples": {
                    "an_event": {"value": _AN_OBJECT},
                    "no_source": {"value": {"specversion": "1.0", "id": "A234", "type": "com.example"}},
                },
            },
            "application/cloudevents-batch+json": {
                "schema": {"type": "array", "maxItems": 1000, "items": _CLOUD_EVENT},
            },
        },
    },
    malformed={"no_source": "a CloudEvent's source is a string that says something, not None"},
    answers={"415": refusal("No CloudEvent in binary mode, nor in the JSON format, alone or in a batch.")},
)

_CLOUDEVENTS_GREETING = {
    "operationId": "cloudeventsGreeting",
    "summary": "A sender of CloudEvents asks for consent; it is given to the origins we were started with",
    "parameters": [
        _header(
            "WebHook-Request-Origin",
            "The sender's DNS name.",
            _TEXT,
            a_known_sender="eventemitter.example.com",
            an_unknown_sender="elsewhere.example",
        ),
        parameter(
            "header",
            "WebHook-Request-Rate",
            "How many requests a minute it wants to send.",
            {"type": "string", "pattern": "^[1-9][0-9]{0,5}$"},
            a_known_sender="120",
        ),
    ],
    "responses": {
        "200": answer(
            "It may.",
            headers={
                "WebHook-Allowed-Origin": {"required": True, "schema": _TEXT},
                "WebHook-Allowed-Rate": {"schema": {"type": "string"}},
                "Allow": {"required": True, "schema": {"type": "string"}},
            },
        ),
        "400": refusal("The origin is missing, or the rate is no number of requests."),
        "403": refusal("Not this origin.", {"an_unknown_sender": "this origin may not deliver here"}),
    },
}

_WEBSUB = _webhook(
    "websub",
    "A topic's content, from its WebSub hub",
    "`X-Hub-Signature` holds `sha256=<hex>` (or sha384, sha512): an HMAC over the raw body, of any type. "
    "There is no id: the same content is the same event.",
    {
        "content": {
            "application/feed+json": {"schema": {}, "examples": {"a_feed": {"value": {"items": []}}}}
        },
    },
)

_TOPIC = "https://example.com/feed"

_WEBSUB_GREETING = {
    "operationId": "websubGreeting",
    "summary": "A WebSub hub asks whether we want this subscription, or want to be rid of it",
    "parameters": [
        parameter(
            "query",
            "hub.mode",
            "What it is about.",
            {"enum": ["subscribe", "unsubscribe", "denied"]},
            required=True,
            ours="subscribe",
            not_ours="subscribe",
        ),
        parameter(
            "query",
            "hub.topic",
            "The topic's URL; needed unless denied.",
            {"type": "string"},
            ours=_TOPIC,
            not_ours="https://example.com/other",
        ),
        parameter(
            "query",
            "hub.challenge",
            "What we are to repeat; needed unless denied.",
            {"type": "string"},
            ours=_CHALLENGE,
            not_ours=_CHALLENGE,
        ),
        parameter(
            "query",
            "hub.lease_seconds",
            "For how long it would be; needed to subscribe.",
            {"type": "string"},
            ours="864000",
            not_ours="864000",
        ),
    ],
    "responses": {
        "200": _text(
            "The challenge: we do. Nothing, where the hub denied it.", {"type": "string"}, ours=_CHALLENGE
        ),
        "400": refusal("A parameter is missing, given twice, or not of these."),
        "404": refusal("We did not ask for it.", {"not_ours": "we did not ask to subscribe"}),
    },
}

WEBHOOKS: dict[str, Any] = {
    "/webhooks/standard": {
        "post": _standard(
            "standard",
            "webhook",
            "An event, as Standard Webhooks signs",
            {**_SIGNED_BODY, "required": ["type"]},
            {"data": "of an order"},
            "type must be 1 to 200 printable ASCII characters, got None",
        )
    },
    "/webhooks/github": {"post": _GITHUB},
    "/webhooks/stripe": {"post": _STRIPE},
    "/webhooks/slack": {"post": _SLACK},
    "/webhooks/shopify": {"post": _SHOPIFY},
    "/webhooks/twilio": {"post": _TWILIO},
    "/webhooks/mailchimp": {"get": _MAILCHIMP_GREETING, "post": _MAILCHIMP},
    "/webhooks/mandrill": {"head": _MANDRILL_GREETING, "post": _MANDRILL},
    "/webhooks/svix": {
        "post": _standard(
            "svix",
            "svix",
            "An event, as Svix signs",
            _SIGNED_BODY,
            {"type": 5},
            "type must be 1 to 200 printable ASCII characters, got 5",
        )
    },
    "/webhooks/cloudevents": {"options": _CLOUDEVENTS_GREETING, "post": _CLOUDEVENTS},
    "/webhooks/websub": {"get": _WEBSUB_GREETING, "post": _WEBSUB},
}
