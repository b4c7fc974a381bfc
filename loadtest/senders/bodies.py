"""What providers' webhooks hold: bodies in each provider's own form, with our event's id in it.

The shapes follow the providers' own examples, cut to what tells one from another; a text fills a body up to
its size, where it is shorter.

Sources: GitHub Docs, "Webhook events and payloads" (issues); Stripe API Reference, "The Event object"; Slack
API docs, "Events API" (event_callback); shopify.dev, "Webhooks topics" (orders/create); Twilio Docs, "Webhook
requests" (a message's status); Mailchimp Marketing docs, "Sync audience data with webhooks" (subscribe);
Mailchimp Transactional docs, "Webhook format" (send); CloudEvents, "JSON event format".
"""

from __future__ import annotations

import json
from typing import Any, NamedTuple
from urllib.parse import urlencode

from loadtest.contract import EVENT_TYPE, compact_json, envelope, order

_TEXT = "The order was placed by a regular customer who asks for a call before it is delivered "


class Delivery(NamedTuple):
    """One event on its way from a provider.

    Attributes:
        id: the event's.
        run_id: of which run.
        index: the event's position in the event list.
        created_us: on the run's clock, µs.
        size: bytes the body is to have, where its least is less.
        created_s: the same in wall time (Unix seconds), for bodies: every copy has the same bytes.
        timestamp_s: wall time of the sending (Unix seconds), for signatures.
    """

    id: str
    run_id: str
    index: int  # type: ignore[assignment]  # hides tuple.index, which nobody needs here
    created_us: int
    size: int
    created_s: int
    timestamp_s: int


Fields = list[tuple[str, str]]


def standard(delivery: Delivery) -> bytes:
    """Our own envelope, as the reference provider sends it."""
    return envelope(delivery.run_id, delivery.index, delivery.created_us, delivery.size)


def thin(delivery: Delivery) -> bytes:
    """Only the envelope's identity: something happened, fetch it."""
    return _filled({**_identity(delivery)}, delivery.size, "note")


def github(delivery: Delivery) -> bytes:
    """An issue was opened; the envelope's identity stands beside GitHub's own fields."""
    number = delivery.index + 1
    user = {"login": "octocat", "id": 583231, "type": "User", "site_admin": False}
    repository = {
        "id": 1296269,
        "node_id": "MDEwOlJlcG9zaXRvcnkxMjk2MjY5",
        "full_name": "octocat/Hello-World",
        "private": False,
        "owner": user,
    }
    issue = {
        "url": f"https://api.github.com/repos/octocat/Hello-World/issues/{number}",
        "number": number,
        "title": f"Order {order(delivery.index)['order_id']} was not imported",
        "state": "open",
        "user": user,
        "labels": [{"name": "bug", "color": "f29513"}],
    }
    document = {
        "action": "opened",
        "issue": issue,
        "repository": repository,
        "sender": user,
        **_identity(delivery),
    }
    return _filled(document, delivery.size, "body")


def stripe(delivery: Delivery) -> bytes:
    """A payment went through."""
    placed = order(delivery.index)
    charge = {
        "id": f"pi_{delivery.index:024d}",
        "object": "payment_intent",
        "amount": round(100 * float(placed["total_amount"])),
        "currency": "eur",
        "receipt_email": placed["customer_email"],
        "status": "succeeded",
        "metadata": {"order_id": placed["order_id"]},
    }
    document = {
        "id": delivery.id,
        "object": "event",
        "api_version": "2024-06-20",
        "created": delivery.created_s,
        "livemode": False,
        "type": "payment_intent.succeeded",
        "data": {"object": charge},
    }
    return _filled(document, delivery.size, "description")


def slack(delivery: Delivery) -> bytes:
    """Somebody wrote in a channel."""
    event = {
        "type": "message",
        "channel": "C024BE91L",
        "user": "U2147483697",
        "text": f"New order {order(delivery.index)['order_id']}",
        "ts": f"{delivery.created_s}.{delivery.index % 1_000_000:06d}",
    }
    document = {
        "token": "XXYYZZ",
        "team_id": "T123ABC456",
        "api_app_id": "A123ABC456",
        "event": event,
        "type": "event_callback",
        "event_id": delivery.id,
        "event_time": delivery.created_s,
    }
    return _filled(document, delivery.size, "context")


def shopify(delivery: Delivery) -> bytes:
    """An order was created; items are added up to the size."""
    placed = order(delivery.index)
    item = {
        "id": 866550311766439020,
        "product_id": 632910392,
        "variant_id": 808950810,
        "title": "IPod Nano - 8GB",
        "quantity": 1,
        "price": "199.00",
        "sku": "IPOD2008PINK",
        "taxable": True,
        "fulfillment_service": "manual",
        "vendor": None,
        "grams": 567,
    }
    document: dict[str, Any] = {
        "id": 820982911946154508 + delivery.index,
        "admin_graphql_api_id": f"gid://shopify/Order/{820982911946154508 + delivery.index}",
        "email": placed["customer_email"],
        "name": placed["order_id"],
        "currency": "EUR",
        "total_price": f"{placed['total_amount']:.2f}",
        "financial_status": "paid",
        "test": False,
    }
    room = delivery.size - len(compact_json(document))
    document["line_items"] = [item] * max(1, room // (len(compact_json(item)) + 1) - 1)
    return _filled(document, delivery.size, "note")


def cloudevents(delivery: Delivery) -> bytes:
    """A CloudEvent in structured mode."""
    document = {
        "specversion": "1.0",
        "id": delivery.id,
        "source": "/shops/1",
        "type": f"com.example.{EVENT_TYPE}",
        "datacontenttype": "application/json",
        "data": order(delivery.index),
    }
    return _filled(document, delivery.size, "comment")


def websub(delivery: Delivery) -> bytes:
    """A topic's new content; JSON, as good as any."""
    return _filled({"id": delivery.id, "entry": order(delivery.index)}, delivery.size, "summary")


def twilio(delivery: Delivery) -> Fields:
    """A message came."""
    fields = [
        ("ToCountry", "US"),
        ("ToState", "CA"),
        ("SmsMessageSid", f"SM{delivery.id}"),
        ("NumMedia", "0"),
        ("SmsSid", f"SM{delivery.id}"),
        ("SmsStatus", "received"),
        ("FromCountry", "US"),
        ("To", "+14155551212"),
        ("NumSegments", "1"),
        ("MessageSid", f"SM{delivery.id}"),
        ("AccountSid", "AC" + "0" * 32),
        ("From", "+14158675309"),
        ("ApiVersion", "2010-04-01"),
    ]
    return _filled_form(fields, delivery.size, "Body", f"Order {order(delivery.index)['order_id']} ")


def mailchimp(delivery: Delivery) -> Fields:
    """Somebody subscribed to a list."""
    placed = order(delivery.index)
    fields = [
        ("type", "subscribe"),
        ("fired_at", "2024-03-26 21:35:57"),
        ("data[id]", delivery.id),
        ("data[list_id]", "a6b5da1054"),
        ("data[email]", str(placed["customer_email"])),
        ("data[email_type]", "html"),
        ("data[merges][FNAME]", "Jane"),
        ("data[merges][LNAME]", "Doe"),
        ("data[ip_opt]", "10.20.10.30"),
    ]
    return _filled_form(fields, delivery.size, "data[merges][INTERESTS]", "")


def mandrill(delivery: Delivery) -> Fields:
    """A mail was sent: a batch of one."""
    message = {
        "ts": delivery.created_s,
        "subject": f"Your order {order(delivery.index)['order_id']}",
        "email": order(delivery.index)["customer_email"],
        "sender": "shop@example.com",
        "tags": ["order"],
        "state": "sent",
        "_id": delivery.id,
    }
    event = {"event": "send", "_id": delivery.id, "ts": delivery.created_s, "msg": message}
    bare = len(urlencode([("mandrill_events", _batch(event))]))
    # Its name and quotes, escaped.
    missing = delivery.size - bare - len("%2C%22text%22%3A%22%22")
    if missing > 0:
        event["text"] = _text(missing)
    return [("mandrill_events", _batch(event))]


def _batch(event: dict[str, Any]) -> str:
    return json.dumps([event], separators=(",", ":"))


def _identity(delivery: Delivery) -> dict[str, Any]:
    return {
        "id": delivery.id,
        "type": EVENT_TYPE,
        "index": delivery.index,
        "created_us": delivery.created_us,
    }


def _text(length: int) -> str:
    return (_TEXT * (length // len(_TEXT) + 1))[:length]


def _filled(document: dict[str, Any], size: int, field: str) -> bytes:
    body = compact_json(document)
    missing = size - len(body) - len(f',"{field}":""')
    return body if missing <= 0 else body[:-1] + f',"{field}":"{_text(missing)}"}}'.encode()


def _filled_form(fields: Fields, size: int, name: str, text: str) -> Fields:
    missing = size - len(urlencode([*fields, (name, text)]))
    return [*fields, (name, text + _text(max(0, missing)))]
