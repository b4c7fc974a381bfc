"""One function a parser: any bytes may come, and only the documented refusal may come out.

What was accepted is held to what the parser promises of it. Where a parser takes several values, `parts` cuts
them out of the bytes.
"""

from __future__ import annotations

import contextlib
import ipaddress
import json
import math
from collections.abc import Callable
from urllib.parse import urlsplit

from yarl import URL

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
from loadtest.form import parse_form, query_of
from loadtest.provider.api_policy import ApiPolicy, RateLimit
from loadtest.provider.feed import Feed
from loadtest.provider.outbound import Outbound
from loadtest.provider.page import BadQuery, etag_matches
from loadtest.provider.policy import WebhookPolicy
from loadtest.provider.question import accepts_event_stream, parse_question
from loadtest.provider.quota import RateLimiter
from loadtest.provider.signing import Signing
from loadtest.provider.standing import Standing
from loadtest.provider.stream import event_block
from loadtest.provider.subscriptions_api import parse_body, parse_query
from loadtest.receiver import SOURCES, Settings, open_sources
from loadtest.retry import RetryPolicy, retry_after_s, retry_delay_s
from loadtest.signatures import SignatureRefused, SignedRequest, StandardWebhooks
from sim.errors import InputError
from tests.loadtest.fuzz import seeds
from tests.loadtest.fuzz.seeds import HEADERS, SECRET, SEPARATOR

NOW_S = 1_760_000_000.0
NOW_US = 81_234_567_890


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


_SETTINGS = Settings(public_url="https://shop.example.com", accept_sha1=True)
_SOURCES = open_sources({name: [SECRET] for name in SOURCES}, _SETTINGS)
assert tuple(source.name for source in _SOURCES) == seeds.SOURCES


def request_of(data: bytes) -> tuple[int, SignedRequest]:
    """Which source is meant, and a request: its body, its query, and header by header which and what."""
    body, query, *values = data.split(SEPARATOR)[:10] if SEPARATOR in data else (data, b"")
    number = body[0] if body else 0
    headers = {HEADERS[value[0] % len(HEADERS)]: value[1:] for value in values if value}
    return number % len(_SOURCES), SignedRequest(headers, body[1:], b"/webhooks/any?" + query)


_SIGNED_IDS = {"standard": {b"webhook-id"}, "svix": {b"svix-id", b"webhook-id"}}
"""Headers of which a request must have one, or its signature was refused."""


def identity(data: bytes) -> None:
    """A verified request, whatever it holds, brings events that can be stored, or is refused as none."""
    number, request = request_of(data)
    source = _SOURCES[number]
    ids = _SIGNED_IDS.get(source.name)
    if ids is not None and not ids & request.headers.keys():
        return
    with contextlib.suppress(MalformedEvent):
        for event, kept in source.events(request):
            assert_named(event)
            assert type(kept) is bytes
        if source.answer is not None:
            assert type(source.answer(request)) in (bytes, type(None))


def forgery(data: bytes) -> None:
    """Without the secret nothing is accepted."""
    number, request = request_of(data)
    if SECRET.encode() in data:
        return  # Mailchimp and CloudEvents send the secret itself
    with contextlib.suppress(SignatureRefused):
        _SOURCES[number].scheme.verify(request, NOW_S)
        # Mandrill's test key proves nothing, so it may only open the door to a request without events.
        assert _SOURCES[number].name == "mandrill", request
        assert not _SOURCES[number].events(request)


def form(data: bytes) -> None:
    """What is read can be written in UTF-8 again."""
    with contextlib.suppress(MalformedEvent):
        for name, value in [*parse_form(data), *query_of(b"/?" + data)]:
            (name + value).encode()


def secret(data: bytes) -> None:
    """A secret that opens makes a scheme that accepts its own signatures."""
    with contextlib.suppress(InputError):
        scheme = StandardWebhooks([data.decode("utf-8", "replace")])
        headers = scheme.sign("id", int(NOW_S), b"{}")  # a public key cannot
        scheme.verify(SignedRequest({k.encode(): v.encode() for k, v in headers.items()}, b"{}"), NOW_S)


_EVENT_DOCUMENT = {"id": "evt_1", "type": "t", "index": 1, "created_us": 0}
_FEED = Feed(page_limit=1000)
_FEED_EVENT = _FEED.publish(envelope_of(_EVENT_DOCUMENT), compact_json(_EVENT_DOCUMENT))
assert _FEED_EVENT is not None


def cursor(data: bytes) -> None:
    """A page is JSON that leads on, whatever it was asked with."""
    after, limit = (part.decode("latin-1") for part in parts(data, 2))
    try:
        page = _FEED.page(after or None, limit or None)
    except BadQuery:
        return
    document = json.loads(page.body)
    assert len(document["events"]) == len(page.payloads) <= 1
    _FEED.page(document["cursor"], None)


def question(data: bytes) -> None:
    """A question that is understood waits for a time that passes, and names types that there may be."""
    with contextlib.suppress(BadQuery):
        asked = parse_question({"query_string": data}, ("after", "limit", "type", "wait"), 60.0)
        assert 0 <= asked.wait_s <= 60
        assert all(kind.isascii() and kind.isprintable() for kind in asked.types)
    accepts_event_stream(data)


def stream_block(data: bytes) -> None:
    """Whatever an event holds, it is one block of a stream: no line of it is taken for another's."""
    with contextlib.suppress(MalformedEvent):
        event = parse_envelope(data)
        block = event_block("0123456789ab-1", event.type, data)
        lines = block.decode().replace("\r\n", "\n").replace("\r", "\n").split("\n")
        assert [line.partition(":")[0] for line in lines] == ["id", "event", "data", "", ""]


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
        WebhookPolicy.from_table(parse_json(compact_json(policy.table())))  # as the API shows it
        if policy.redelivery is not None:
            assert policy.redelivery.next_look_us(NOW_US) > NOW_US
        serve(Standing(policy.disabling))


def serve(standing: Standing) -> None:
    """An endpoint fails and recovers for some days, under whatever rule."""
    for step in range(30):
        now_us = NOW_US + step * 10_000_000_000
        if step % 7 == 6:
            standing.succeeded(now_us)
        else:
            standing.failed(now_us)
        compact_json(standing.document(now_us))


def api_table(data: bytes) -> None:
    """A policy that is accepted can be enacted."""
    with contextlib.suppress(MalformedEvent, InputError):
        policy = ApiPolicy.from_table(parse_json(data))
        if policy.rate_limit is not None:
            RateLimiter(policy.rate_limit).arrives(b"anybody").headers()
        feed = Feed(10, lag_s=policy.feed_lag_s, retention=policy.retention)
        feed.publish(envelope_of(_EVENT_DOCUMENT), b"{}")
        feed.next_shown_us()
        feed.page(None, None)


def rate_limit(data: bytes) -> None:
    """The words of a rate limit mean one, or are refused."""
    with contextlib.suppress(InputError):
        RateLimiter(RateLimit.from_words(data.decode("latin-1"))).arrives(b"anybody").headers()


_OUTBOUND = Outbound()


def outbound(data: bytes) -> None:
    """A URL that is admitted means this machine, to every reader of URLs, and so does a redirect."""
    text = data.decode("utf-8", "replace")
    with contextlib.suppress(InputError):
        loopback_url(text, "the url")
    for scheme in ("http", "https"):
        with contextlib.suppress(InputError):
            hop = _OUTBOUND.next_hop(URL(f"{scheme}://127.0.0.1/hook"), text)
            assert hop.scheme in (scheme, "https")
            host(hop.raw_host or "")
    with contextlib.suppress(InputError):
        url = _OUTBOUND.url(text)
        assert url.scheme in ("http", "https")
        assert url.raw_host
        assert host(url.raw_host) == host(urlsplit(text).hostname or "")


def host(text: str) -> object:
    """A host as what it means: the IPv4 address that an IPv6 one carries, an address, or a name."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return text.lower().removesuffix(".")
    carried = getattr(address, "ipv4_mapped", None) or address
    assert carried.is_loopback
    return carried


def subscription(data: bytes) -> None:
    """The body of a subscription and the query of its deliveries are understood or refused."""
    with contextlib.suppress(MalformedEvent, InputError):
        parse_body(data, "url", "secret", "format", "policy")
    with contextlib.suppress(InputError):
        state, limit, after = parse_query(data)
        assert state in (None, "pending", "acknowledged", "failed")
        assert 1 <= limit <= 1000
        assert -1 <= after <= 10**15


def rotation(data: bytes) -> None:
    """A secret that is taken signs, in every format, and is never shown."""
    name, number, text = parts(data, 3)
    with contextlib.suppress(InputError, MalformedEvent):
        overlap = parse_json(number) if number else None
        if type(overlap) not in (int, float, type(None)):
            return
        signing = Signing(name.decode("latin-1"), [SECRET])
        signing.rotate(text.decode("utf-8", "replace"), overlap, NOW_US)  # type: ignore[arg-type]
        headers = signing.headers(_FEED_EVENT, int(NOW_S), NOW_US)
        assert all(value.isascii() and value.isprintable() for value in headers.values())


TARGETS: dict[str, Callable[[bytes], None]] = {
    function.__name__: function
    for function in (
        *(envelope, identity, forgery, form, secret),
        *(cursor, question, stream_block, if_none_match, retry_after),
        *(retry_table, webhook_table, api_table, rate_limit, outbound, subscription, rotation),
    )
}
_IN_ORDER = tuple(TARGETS.values())


def every(data: bytes) -> None:
    """All targets in one process: the first byte chooses."""
    if data:
        _IN_ORDER[data[0] % len(_IN_ORDER)](data[1:])


TARGETS["every"] = every
