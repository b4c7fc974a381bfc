"""One function a parser: any bytes may come, and only the documented refusal may come out.

What was accepted is held to what the parser promises of it. Where a parser takes several values, `parts` cuts
them out of the bytes.
"""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Callable

from loadtest.contract import (
    Envelope,
    MalformedEvent,
    compact_json,
    envelope_of,
    event_bytes,
    loopback_url,
    parse_envelope,
    parse_json,
)
from loadtest.provider.dispatcher import WebhookPolicy
from loadtest.provider.feed import BadQuery, Feed, etag_matches
from loadtest.provider.retry import RetryPolicy, retry_after_s, retry_delay_s
from loadtest.provider.subscriptions_api import parse_subscription
from loadtest.receiver.app import github_event, standard_event
from loadtest.signatures import GitHub, SignatureRefused, SignedRequest, StandardWebhooks
from sim.errors import InputError

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"  # of the Standard Webhooks specification's examples
SEPARATOR = b"\xff\xff"
NOW_S = 1_760_000_000.0


def parts(data: bytes, count: int) -> list[bytes]:
    """`data` cut at the separators into exactly `count` parts, the last ones maybe empty."""
    found = data.split(SEPARATOR, count - 1)
    return found + [b""] * (count - len(found))


def envelope(data: bytes) -> None:
    """What is taken for an event can be named, stored in 64 bits, and sent on in a page as JSON."""
    try:
        event = parse_envelope(data)
        payload = event_bytes(parse_json(data))
    except MalformedEvent:
        return
    assert_named(event)
    assert parse_envelope(payload) == event
    json.loads(b"[%b]" % payload, parse_constant=no_constant)


def no_constant(name: str) -> None:
    raise AssertionError(f"{name} is not JSON (RFC 8259, section 6)")


def assert_named(event: Envelope) -> None:
    for name in (event.id, event.type):
        assert 1 <= len(name) <= 200
        assert name.isascii()
        assert name.isprintable()
    for number in (event.index, event.created_us):
        assert type(number) is int
        assert -1 <= number < 2**63


def standard(data: bytes) -> None:
    """A signed request whatever its contents: an event, or not one."""
    message_id, body = parts(data, 2)
    with contextlib.suppress(MalformedEvent):
        assert_named(standard_event({b"webhook-id": message_id}, body))


def github(data: bytes) -> None:
    """A delivery whatever its contents: an event, a ping, or neither."""
    kind, delivery, body = parts(data, 3)
    with contextlib.suppress(MalformedEvent):
        event = github_event({b"x-github-event": kind, b"x-github-delivery": delivery}, body)
        if event is not None:
            assert_named(event)


_STANDARD = StandardWebhooks([SECRET])
_GITHUB = GitHub([SECRET])


def standard_signature(data: bytes) -> None:
    """Without the secret nothing is accepted."""
    message_id, timestamp, signature, body = parts(data, 4)
    headers = {b"webhook-id": message_id, b"webhook-timestamp": timestamp, b"webhook-signature": signature}
    expect_refusal(_STANDARD.verify, SignedRequest(headers, body))


def github_signature(data: bytes) -> None:
    """Without the secret nothing is accepted."""
    signature, sha1, body = parts(data, 3)
    headers = {b"x-hub-signature-256": signature, b"x-hub-signature": sha1}
    expect_refusal(_GITHUB.verify, SignedRequest(headers, body))


def expect_refusal(verify: Callable[[SignedRequest, float], None], request: SignedRequest) -> None:
    try:
        verify(request, NOW_S)
    except SignatureRefused:
        return
    raise AssertionError(f"a forgery was accepted: {request}")


def secret(data: bytes) -> None:
    """A secret that opens makes a scheme that accepts its own signatures."""
    with contextlib.suppress(InputError):
        scheme = StandardWebhooks([data.decode("utf-8", "replace")])
        headers = scheme.sign("id", int(NOW_S), b"{}")
        scheme.verify(SignedRequest({k.encode(): v.encode() for k, v in headers.items()}, b"{}"), NOW_S)


_FEED = Feed(page_limit=1000)
for _number in range(3):
    _event = {"id": f"evt_{_number}", "type": "t", "index": _number, "created_us": 0}
    _FEED.publish(envelope_of(_event), compact_json(_event))


def cursor(data: bytes) -> None:
    """A page is JSON that leads on, whatever it was asked with."""
    after, limit = (part.decode("latin-1") for part in parts(data, 2))
    try:
        page = _FEED.page(after or None, limit or None)
    except BadQuery:
        return
    document = json.loads(page.body)
    assert len(document["events"]) == page.events <= 3
    _FEED.page(document["cursor"], None)


def if_none_match(data: bytes) -> None:
    """Only the tag itself, or a star alone, matches."""
    etag = '"0123456789ab-0-3-0"'
    header = data.decode("latin-1")
    if etag_matches(header, etag):
        assert etag in header or header.strip() == "*"


def retry_after(data: bytes) -> None:
    """Always a delay that can be waited for."""
    delay_s = retry_after_s(data.decode("latin-1"), NOW_S)
    assert 0 <= delay_s < math.inf


def retry_table(data: bytes) -> None:
    """A rule that is accepted gives finite delays for every attempt it allows."""
    with contextlib.suppress(MalformedEvent, InputError):
        retry = RetryPolicy.from_table(parse_json(data))
        previous_s = retry.base_s
        for attempt in range(1, min(retry.attempts_allowed, 60)):
            previous_s = retry_delay_s(retry, attempt, previous_s, 0.999)
            assert 0 <= previous_s < math.inf, (retry, attempt)


def webhook_table(data: bytes) -> None:
    """A table is a policy or is refused."""
    with contextlib.suppress(MalformedEvent, InputError):
        policy = WebhookPolicy.from_table(parse_json(data))
        assert 0 < policy.timeout_s < math.inf
        assert policy.max_in_flight >= 1


def subscription(data: bytes) -> None:
    """What may be subscribed is on this machine."""
    try:
        url, _ = parse_subscription(data)
        loopback_url(url, "the url")
    except (MalformedEvent, InputError):
        return
    assert url.lower().startswith("http://")


TARGETS: dict[str, Callable[[bytes], None]] = {
    function.__name__: function
    for function in (
        *(envelope, standard, github, standard_signature, github_signature, secret),
        *(cursor, if_none_match, retry_after, retry_table, webhook_table, subscription),
    )
}
_IN_ORDER = tuple(TARGETS.values())


def every(data: bytes) -> None:
    """All targets in one process: the first byte chooses."""
    if data:
        _IN_ORDER[data[0] % len(_IN_ORDER)](data[1:])


_EVENT = b'{"id":"evt_a_1","type":"new_order","index":1,"created_us":5,"data":{"x":[1.5,1e9,null,"\\u00e9"]}}'
SEEDS: dict[str, tuple[bytes, ...]] = {
    "envelope": (_EVENT, b"[]", b'{"id":"\\ud800"}', _EVENT.replace(b"1.5", b"NaN")),
    "standard": (b"evt_a_1" + SEPARATOR + _EVENT,),
    "github": (b"push" + SEPARATOR + b"72d3162e" + SEPARATOR + _EVENT, b"ping" + SEPARATOR * 2),
    "standard_signature": (
        SEPARATOR.join((b"msg_1", b"1760000000", b"v1,AAAA v1a,AAAA", b"{}")),
        SEPARATOR.join((b"msg_1", b"1760000300", b"v1,K5oZfzN95Z9UVu1EsfQmfVNQhnkZ2pj9o9NDN/H/pI4=", b"{}")),
    ),
    "github_signature": (b"sha256=" + b"0" * 64 + SEPARATOR + b"sha1=" + b"0" * 40 + SEPARATOR + b"{}",),
    "secret": (SECRET.encode(), b"whsec_AAAA"),
    "cursor": (b"0123456789ab-1" + SEPARATOR + b"10", SEPARATOR + b"1000"),
    "if_none_match": (b'"0123456789ab-0-3-0"', b'W/"x", "y"', b"*"),
    "retry_after": (b"120", b"Fri, 31 Dec 1999 23:59:59 GMT", b"Thu, 10-Oct-99 99:99:99 -9999"),
    "retry_table": (
        b'{"kind":"exponential","base_s":1,"factor":2,"cap_s":60,"max_attempts":5,"jitter":"full"}',
        b'{"kind":"schedule","gaps_s":[1,2,3],"max_duration_s":9}',
        b'{"kind":"linear","jitter":"proportional","spread":0.5,"max_attempts":3}',
    ),
    "webhook_table": (b'{"timeout_s":1,"max_in_flight":5,"retry":{"kind":"none"}}',),
    "subscription": (
        b'{"url":"http://127.0.0.1:8080/x","secret":"whsec_AAAA"}',
        b'{"url":"http://[::1]:1/"}',
        b'{"url":"http://localhost/"}',
    ),
}

SEEDS["every"] = tuple(bytes((number,)) + seed for number, name in enumerate(TARGETS) for seed in SEEDS[name])
TARGETS["every"] = every
