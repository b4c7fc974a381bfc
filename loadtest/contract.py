"""The wire: the event's envelope, its id, the clock every process reads, and the header names.

An event travels as one compact JSON object, the same bytes whether it is pushed or polled::

    {"id": "evt_<run>_<index>", "type": "new_order", "index": 17, "created_us": 81234567,
     "data": {"event_type": "new_order", "order_id": "ORD-2024-001", ...}, "padding": "..."}

Times are integer microseconds of CLOCK_MONOTONIC, which all processes of one machine share;
wall-clock time appears only where a protocol asks for it (`webhook-timestamp`).
"""

from __future__ import annotations

import ipaddress
import json
import time
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import orjson

from sim.errors import HookbenchError, InputError

EVENT_TYPE = "new_order"

SECRET_VARIABLE = "HOOKBENCH_WEBHOOK_SECRET"  # noqa: S105 - the name of an environment variable

# Standard Webhooks specification, "Webhook Headers (metadata)".
WEBHOOK_ID = "webhook-id"
WEBHOOK_TIMESTAMP = "webhook-timestamp"
WEBHOOK_SIGNATURE = "webhook-signature"
# GitHub Docs, "Webhook events and payloads", delivery headers.
GITHUB_DELIVERY = "x-github-delivery"
GITHUB_EVENT = "x-github-event"
GITHUB_SIGNATURE_256 = "x-hub-signature-256"
GITHUB_SIGNATURE_SHA1 = "x-hub-signature"

STANDARD = "standard"
"""Whose ids an event's id is unique among: Standard Webhooks and the events API of the same provider."""

GITHUB = "github"
"""The same for GitHub's delivery ids."""

MISSING = -1  # an index or a time that a foreign event does not carry

_MAX_INTEGER = 2**63 - 1
_MAX_NAME_CHARS = 200


class MalformedEvent(HookbenchError):
    """Bytes that are not an event; the message says what is wrong with them. Servers answer 400."""


class Envelope(NamedTuple):
    """An event's identity, without its data.

    Attributes:
        id: unique over all runs; what receivers deduplicate on, source by source.
        type: what happened, e.g. "new_order".
        index: the event's position in its scenario's event list, or `MISSING`.
        created_us: the intended creation on the run's clock (µs), or `MISSING`.
    """

    id: str
    type: str
    index: int  # type: ignore[assignment]  # hides tuple.index, which nobody needs here
    created_us: int


def now_us() -> int:
    """Now on the machine's monotonic clock, in whole microseconds."""
    return time.monotonic_ns() // 1000


def sleep_until(instant_us: int) -> None:
    """Block this thread until that clock shows `instant_us`; not at all when it does already."""
    time.sleep(max(0.0, (instant_us - now_us()) / 1e6))


def event_id(run_id: str, index: int) -> str:
    """The id of event `index` of one run: ``evt_<run>_<index>``."""
    return f"evt_{run_id}_{index}"


_PEOPLE = ("jane.doe", "ada.lovelace", "alan.turing", "grace.hopper", "agner.erlang", "edsger.dijkstra")


def order(index: int) -> dict[str, str | float]:
    """The order placed by event `index`: the story's first order, then ones that vary with the index."""
    person = _PEOPLE[index % len(_PEOPLE)]
    return {
        "event_type": EVENT_TYPE,
        "order_id": f"ORD-2024-{index + 1:03d}",
        "customer_email": f"{person}@example.com",
        "total_amount": round(49.99 + 7.25 * (index % 97), 2),
    }


def envelope(run_id: str, index: int, created_us: int, payload_bytes: int = 0) -> bytes:
    """Event `index` of a run as compact JSON, padded to `payload_bytes` where it is shorter."""
    document: dict[str, Any] = {
        "id": event_id(run_id, index),
        "type": EVENT_TYPE,
        "index": index,
        "created_us": created_us,
        "data": order(index),
    }
    return _padded(compact_json(document), payload_bytes)


def notification(event: Envelope, least_bytes: int = 0) -> bytes:
    """A notice that an event happened: its identity without its data, padded to `least_bytes`.

    Source: CloudEvents specification, ``dataref`` extension ("claim check"); Stripe Docs, "Thin events".
    """
    return _padded(compact_json(event._asdict()), least_bytes)


def is_notification(payload: bytes) -> bool:
    """Whether these bytes are a notice of an event, whose data is still to be fetched.

    Raises:
        MalformedEvent: they are no JSON object at all.
    """
    document = parse_json(payload)
    if not isinstance(document, dict):
        raise MalformedEvent(f"an event is a JSON object, not {type(document).__name__}")
    return "data" not in document


def _padded(body: bytes, least_bytes: int) -> bytes:
    missing = least_bytes - len(body) - len(',"padding":""')
    return body if missing <= 0 else body[:-1] + b',"padding":"' + b"." * missing + b'"}'


def compact_json(document: object) -> bytes:
    """`document` as UTF-8 JSON without blanks.

    Raises:
        ValueError: it holds an infinite number or none at all (NaN), for which JSON has no words.
    """
    return json.dumps(document, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def parse_json(body: bytes) -> object:
    """Read UTF-8 JSON without loss: whole numbers of any size stay whole.

    Raises:
        MalformedEvent: the bytes are not UTF-8, not JSON, or nested beyond reason.
    """
    try:
        return json.loads(str(body, "utf-8"))
    except UnicodeDecodeError as error:
        raise MalformedEvent(f"the body is not UTF-8: {error.reason} at byte {error.start}") from None
    except ValueError as error:
        raise MalformedEvent(f"the body is not JSON: {error}") from None
    except RecursionError:
        raise MalformedEvent("the body is not an event: its JSON is nested too deeply") from None


def event_bytes(document: object) -> bytes:
    """A parsed event as the compact bytes that are stored and sent on.

    Raises:
        MalformedEvent: it holds a lone surrogate, which JSON can name and UTF-8 cannot carry, or an infinite
            number, which a decimal too large becomes.
    """
    try:
        return compact_json(document)
    except UnicodeEncodeError as error:
        raise MalformedEvent(f"the event is not Unicode text: {error.reason}") from None
    except ValueError as error:
        raise MalformedEvent(f"the event is not JSON: {error}") from None
    except RecursionError:
        raise MalformedEvent("the body is not an event: its JSON is nested too deeply") from None


def parse_envelope(body: bytes) -> Envelope:
    """Read an event's identity from its bytes, which are what is kept of it.

    Raises:
        MalformedEvent: not JSON (RFC 8259, strictly), not an object, or a field missing or out of its range.
    """
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise MalformedEvent(f"the body is not UTF-8 JSON: {error}") from None
    return envelope_of(document)


def envelope_of(document: object) -> Envelope:
    """The identity of an event that is already parsed.

    Raises:
        MalformedEvent: not an object, or a field missing or out of its range.
    """
    if not isinstance(document, dict):
        raise MalformedEvent(f"an event is a JSON object, not {type(document).__name__}")
    try:
        identity = Envelope(document["id"], document["type"], document["index"], document["created_us"])
    except KeyError as missing:
        raise MalformedEvent(f"the event has no {missing.args[0]!r}") from None
    require_name("id", identity.id)
    require_name("type", identity.type)
    for field in ("index", "created_us"):
        value = document[field]
        if type(value) is not int or not 0 <= value <= _MAX_INTEGER:
            raise MalformedEvent(f"{field} must be an integer from 0 to 2^63 - 1, got {shown(value)}")
    return identity


def require_name(field: str, value: object) -> str:
    """`value` when it can name an event: 1 to 200 printable ASCII characters.

    Raises:
        MalformedEvent: it is not a string, is empty, too long, or holds other characters.
    """
    # Lone surrogates are legal in JSON and illegal in SQLite, so only printable ASCII passes.
    if type(value) is str and 0 < len(value) <= _MAX_NAME_CHARS and value.isascii() and value.isprintable():
        return value
    raise MalformedEvent(
        f"{field} must be 1 to {_MAX_NAME_CHARS} printable ASCII characters, got {shown(value)}"
    )


def shown(value: object) -> str:
    """A parsed value as an error message shows it: its beginning, or of a list or an object only the kind.

    Those may be nested so deeply that to write them out fails.
    """
    return type(value).__name__ if isinstance(value, list | dict) else f"{value!r:.80}"


def loopback_url(url: str, purpose: str, schemes: tuple[str, ...] = ("http",)) -> str:
    """`url` when it leads to this machine; a benchmark must not load anybody else's server.

    Raises:
        InputError: no URL of one of the `schemes` with a valid port, or its host is no loopback address.
    """
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise InputError(f"{purpose} {url!r} is not a URL: {error}") from None
    if parts.scheme not in schemes or not host:
        wanted = " or ".join(f"{scheme}://" for scheme in schemes)
        raise InputError(f"{purpose} {url!r} is not an {wanted} URL")
    if host != "localhost" and not _is_loopback(host):
        raise InputError(f"{purpose} {url!r} is not on this machine: use localhost, 127.0.0.0/8 or [::1]")
    return url


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
