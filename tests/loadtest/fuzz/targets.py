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
from loadtest.provider.retry import RetryPolicy, retry_after_s, retry_delay_s
from loadtest.provider.signing import Signing
from loadtest.provider.standing import Standing
from loadtest.provider.stream import event_block
from loadtest.provider.subscriptions_api import parse_body, parse_query
from loadtest.receiver import SOURCES, Settings, open_sources
from loadtest.signatures import SignatureRefused, SignedRequest, StandardWebhooks
from sim.errors import InputError

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"  # of the Standard Webhooks specification's examples
SEPARATOR = b"\xff\xff"
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
_HEADERS = (
    b"webhook-id",
    b"webhook-timestamp",
    b"webhook-signature",
    b"svix-id",
    b"svix-timestamp",
    b"svix-signature",
    b"x-hub-signature-256",
    b"x-hub-signature",
    b"x-github-event",
    b"x-github-delivery",
    b"stripe-signature",
    b"x-slack-signature",
    b"x-slack-request-timestamp",
    b"x-shopify-hmac-sha256",
    b"x-shopify-topic",
    b"x-shopify-webhook-id",
    b"x-twilio-signature",
    b"i-twilio-idempotency-token",
    b"x-mandrill-signature",
    b"authorization",
    b"content-type",
    b"ce-specversion",
    b"ce-id",
    b"ce-source",
    b"ce-type",
)


def request_of(data: bytes) -> tuple[int, SignedRequest]:
    """Which source is meant, and a request: its body, its query, and header by header which and what."""
    body, query, *values = data.split(SEPARATOR)[:10] if SEPARATOR in data else (data, b"")
    number = body[0] if body else 0
    headers = {_HEADERS[value[0] % len(_HEADERS)]: value[1:] for value in values if value}
    return number % len(_SOURCES), SignedRequest(headers, body[1:], b"/webhooks/any?" + query)


def identity(data: bytes) -> None:
    """A verified request, whatever it holds, brings events that can be stored, or is refused as none."""
    number, request = request_of(data)
    source = _SOURCES[number]
    if source.name in ("standard", "svix") and not {b"webhook-id", b"svix-id"} & request.headers.keys():
        return  # without an id there is no signature to pass
    with contextlib.suppress(MalformedEvent):
        if source.name == "svix" and b"svix-id" not in request.headers:
            request.headers[b"webhook-id"]
        elif source.name == "standard" and b"webhook-id" not in request.headers:
            return
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
    """A URL that is admitted means this machine, to every reader of URLs."""
    text = data.decode("utf-8", "replace")
    with contextlib.suppress(InputError):
        loopback_url(text, "the url")
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


_EVENT = b'{"id":"evt_a_1","type":"new_order","index":1,"created_us":5,"data":{"x":[1.5,1e9,null,"\\u00e9"]}}'


def _request(source: str, body: bytes, query: bytes = b"", **headers: bytes) -> bytes:
    """A request as `request_of` reads it; header names with underscores."""
    values = [
        bytes((_HEADERS.index(name.replace("_", "-").encode()),)) + value for name, value in headers.items()
    ]
    return SEPARATOR.join((bytes((list(SOURCES).index(source),)) + body, query, *values))


_REQUESTS = (
    _request(
        "standard",
        _EVENT,
        webhook_id=b"evt_a_1",
        webhook_timestamp=b"1760000000",
        webhook_signature=b"v1,AA==",
    ),
    _request(
        "svix",
        b'{"type":"a"}',
        svix_id=b"1",
        svix_timestamp=b"1760000000",
        svix_signature=b"v1,AA== v1a,AA==",
    ),
    _request(
        "github", b"{}", x_github_event=b"push", x_github_delivery=b"1", x_hub_signature_256=b"sha256=00"
    ),
    _request(
        "github", b"payload=%7B%7D", x_github_event=b"a", content_type=b"application/x-www-form-urlencoded"
    ),
    _request("github", b"{}", x_github_event=b"ping", x_hub_signature=b"sha1=00"),
    _request("stripe", b'{"id":"evt_1","type":"a"}', stripe_signature=b"t=1760000000,v1=00,v1=11,v0=22"),
    _request(
        "slack", b'{"type":"event_callback","event_id":"1","event":{"type":"a"}}', x_slack_signature=b"v0=00"
    ),
    _request(
        "slack", b'{"type":"url_verification","challenge":"c"}', x_slack_request_timestamp=b"1760000000"
    ),
    _request("slack", b"command=/a&text=b", content_type=b"application/x-www-form-urlencoded"),
    _request(
        "shopify", b"{}", x_shopify_topic=b"a", x_shopify_webhook_id=b"1", x_shopify_hmac_sha256=b"AA=="
    ),
    _request("twilio", b"MessageSid=1&MessageStatus=sent", x_twilio_signature=b"AA=="),
    _request("twilio", b"{}", b"bodySHA256=00", x_twilio_signature=b"AA==", i_twilio_idempotency_token=b"1"),
    _request("mailchimp", b"type=a&fired_at=b&data%5Bid%5D=c", b"secret=s"),
    _request("mandrill", b'mandrill_events=[{"event":"a","_id":"b","ts":1}]', x_mandrill_signature=b"AA=="),
    _request(
        "cloudevents", b"[{}]", content_type=b"application/cloudevents-batch+json", authorization=b"Bearer a"
    ),
    _request(
        "cloudevents",
        b"x",
        ce_specversion=b"1.0",
        ce_id=b"1",
        ce_source=b"/s",
        ce_type=b"t",
        content_type=b"a/b",
    ),
    _request("cloudevents", b"{}", b"access_token=a", content_type=b"application/cloudevents+json"),
    _request("websub", b"<feed/>", x_hub_signature=b"sha512=00"),
)
SEEDS: dict[str, tuple[bytes, ...]] = {
    "envelope": (_EVENT, b"[]", b'{"id":"\\ud800"}', _EVENT.replace(b"1.5", b"NaN")),
    "stream_block": (_EVENT, b'{\r\n"id":"a","type":"b",\n"index":1,"created_us":1}'),
    "identity": _REQUESTS,
    "forgery": _REQUESTS,
    "form": (b"a=b&c=%20+&d=", b"a=%ff", b"a"),
    "secret": (SECRET.encode(), b"whsec_AAAA"),
    "cursor": (b"0123456789ab-1" + SEPARATOR + b"10", SEPARATOR + b"1000"),
    "question": (b"after=0123456789ab-1&limit=5&type=a&type=b&wait=0.5", b"text/*;q=0, */*;q=0.5"),
    "if_none_match": (b'"0123456789ab-0-3-0"', b'W/"x", "y"', b"*"),
    "retry_after": (b"120", b"Fri, 31 Dec 1999 23:59:59 GMT", b"Thu, 10-Oct-99 99:99:99 -9999"),
    "retry_table": (
        b'{"kind":"exponential","base_s":1,"factor":2,"cap_s":60,"max_attempts":5,"jitter":"full"}',
        b'{"kind":"schedule","gaps_s":[1,2,3],"max_duration_s":9}',
        b'{"kind":"linear","jitter":"proportional","spread":0.5,"max_attempts":3}',
    ),
    "webhook_table": (
        b'{"timeout_s":1,"max_in_flight":5,"retry":{"kind":"none"}}',
        b'{"disabling":{"failing_share":0.5,"share_window_s":60,"share_attempts":5,"re_enable_after_s":9}}',
        b'{"redelivery":{"every_s":60,"rounds":3,"within_s":600,"origin_us":7},"max_redirects":2}',
    ),
    "api_table": (
        b'{"rate_limit":{"requests":5,"per_s":1},"feed_lag_s":1,"retention":{"events":5}}',
        b'{"retention":{"seconds":5}}',
    ),
    "rate_limit": (b"5000/3600", b"1/0.5"),
    "outbound": (
        b"http://127.0.0.1:8080/x?y#z",
        b"https://[::1]/",
        b"http://localhost",
        b"http://0x7f.1/",
        b"http://[::ffff:127.0.0.1]/",
    ),
    "rotation": (
        SEPARATOR.join((b"github", b"0", b"s")),
        SEPARATOR.join((b"standard", b"86400", SECRET.encode())),
    ),
    "subscription": (
        b"state=failed&limit=100&after=5",
        b'{"url":"http://127.0.0.1:8080/x","secret":"whsec_AAAA"}',
        b'{"url":"http://[::1]:1/"}',
        b'{"url":"http://localhost/"}',
    ),
}

SEEDS["every"] = tuple(bytes((number,)) + seed for number, name in enumerate(TARGETS) for seed in SEEDS[name])
TARGETS["every"] = every
