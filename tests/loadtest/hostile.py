"""Hostile HTTP: a grammar of what no client should send.

Every kind of request is a function of a `random.Random`, so that Hypothesis (whose own Random shrinks) and
the long runs (seeded) draw from one grammar. Nothing here knows what is right; the tests say that.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable

from loadtest.receiver import SOURCES
from tests.loadtest.conversations import Talk
from tests.loadtest.doors import signed

PATHS = {
    "receiver": tuple(f"/webhooks/{source}" for source in SOURCES),
    "provider": ("/events", "/events", "/events/stream", "/subscriptions"),
}
COMMON_PATHS = ("/health", "/status", "/openapi.json", "/", "/nothing", "//", "/events/", "/webhooks")
METHODS = (b"GET", b"POST", b"HEAD", b"OPTIONS", b"PUT", b"DELETE", b"PATCH", b"TRACE", b"CONNECT", b"QUERY")
EVENT_IDS = 40
"""So few, that a feed in memory stays small however long a run is."""

Random = random.Random
Kind = Callable[[Random, str], bytes]


def some_bytes(rng: Random, most: int = 64) -> bytes:
    return rng.randbytes(rng.randint(0, most))


def some_event(rng: Random) -> bytes:
    """An event, or nearly one."""
    number = rng.randrange(EVENT_IDS)
    event = {
        "id": f"evt_hostile_{number}",
        "type": "new_order",
        "index": number,
        "created_us": 1,
    }
    if rng.random() < 0.5:
        event[rng.choice(("id", "type", "index", "created_us", "data"))] = rng.choice(VALUES)
    return json.dumps(event).encode()


VALUES = (
    *(None, True, False, -1, 0, 1.5, 1e308, 2**63, 2**64, 10**400, float("nan"), float("-inf")),
    *("", " ", "x" * 201, "\x00", "\n", "\ud800", "é", "\U0001f600", "whsec_", "evt_hostile_1\r\nx: y"),
    *([], {}, [[[]]], {"id": {}}, [None] * 50),
)
BODIES = (
    b"",
    b"null",
    b"[]",
    b"{}",
    b'"',
    b"{",
    b"[" * 100_000,
    b'{"a":' * 5000 + b"1" + b"}" * 5000,
    b"NaN",
    b"-Infinity",
    b"1e999999",
    b"9" * 5000,
    b"\xff\xfe{}",
    b"\xef\xbb\xbf{}",
    b'{"id":"a","id":"b"}',
    b'{"id":"\\ud800"}',
    b"\x00" * 100,
    b"payload=%7B%7D",
    b"mandrill_events=%5B%5D",
    b"mandrill_events=" + b"%5B" * 3000,
    b'mandrill_events=[{"event":"open","_id":"1"},{"event":5},5]',
    b"MessageSid=SM1&MessageStatus=%ff",
    b"MessageSid=SM1&MessageSid=SM2",
    b"type=subscribe&fired_at=1&data[id]=%00",
    b"a=b&" * 2000,
    b"a" * 5000,
    b'{"type":"url_verification","challenge":"\\ud800"}',
    b'{"type":"url_verification","challenge":"' + b"c" * 5000 + b'"}',
    b'{"type":"event_callback","event_id":"1","event":{"type":"a"}}',
    b'[{"id":"1","source":"s","type":"t"}]',
    b'{"url":"http://169.254.169.254/"}',
    b'{"url":"http://127.0.0.1:99999/"}',
    b'{"url":"http://[::1/"}',
    b'{"url":"file:///etc/passwd"}',
    b'{"url":"http://127.0.0.1:1/","secret":"whsec_AAAA"}',
    b'{"url":5}',
    b'{"url":"http://127.0.0.1:1/"}',
    b'{"url":"http://127.0.0.1:1/","policy":{"timeout_s":1e300}}',
    b'{"url":"http://127.0.0.1:1/","policy":"../../etc/passwd"}',
)


def some_body(rng: Random) -> bytes:
    choice = rng.random()
    if choice < 0.5:
        return some_event(rng)
    if choice < 0.6:
        return b"[" + b",".join(some_event(rng) for _ in range(rng.randint(1, 5))) + b"]"
    if choice < 0.9:
        return rng.choice(BODIES)
    return some_bytes(rng, 300)


SIGNATURE_HEADERS = (
    b"webhook-id",
    b"webhook-timestamp",
    b"webhook-signature",
    b"x-hub-signature-256",
    b"x-hub-signature",
    b"x-github-event",
    b"x-github-delivery",
    b"stripe-signature",
    b"x-slack-signature",
    b"x-slack-request-timestamp",
    b"x-shopify-hmac-sha256",
    b"x-twilio-signature",
    b"svix-id",
    b"content-type",
    b"if-none-match",
    b"last-event-id",
    b"accept",
    b"content-encoding",
    b"x-forwarded-proto",
    b"x-forwarded-for",
    b"webhook-request-origin",
    b"webhook-request-rate",
    b"authorization",
    b"i-twilio-idempotency-token",
    b"x-shopify-webhook-id",
    b"ce-id",
    b"ce-source",
)
HEADER_VALUES = (
    b"",
    b" ",
    b"v1," + b"A" * 43 + b"=",
    b"v1,",
    b"v1a,AAAA",
    b"v1,AAAA " * 200,
    b"sha256=" + b"0" * 64,
    b"sha256=",
    b"t=1,v1=00",
    b"t=,v1=,v0=",
    b"0",
    b"-1",
    b"1e3",
    b"9" * 400,
    b"\xc2\xb2",
    b"\xd9\xa1\xd9\xa2",
    b"\xff\xfe",
    b"*",
    b'"' * 50,
    b'W/"',
    b"," * 500,
    b"text/event-stream",
    b"application/x-www-form-urlencoded",
    b"multipart/form-data; boundary=",
    b"gzip",
    b"ping",
    b"http://[::1",
    b"application/cloudevents-batch+json",
    b"application/cloudevents+json",
    b"Bearer",
    b"Bearer \xff",
    b"text/*;q=0,*/*;q=,;;,",
    b"000000000000-1",
    b"a" * 3000,
)


def signed_headers(path: str, body: bytes) -> bytes:
    """What gets `body` past the door of `path`, with what else its provider sends; nothing where none is."""
    headers = {**signed(path, body).headers, **PROVIDER_HEADERS.get(path, {})}
    return b"".join(f"{name}: {value}\r\n".encode() for name, value in headers.items())


PROVIDER_HEADERS = {
    "/webhooks/github": {"x-github-event": "push", "x-github-delivery": "1"},
    "/webhooks/shopify": {"x-shopify-topic": "orders/create", "x-shopify-webhook-id": "1"},
    "/webhooks/twilio": {"content-type": "application/x-www-form-urlencoded"},
    "/webhooks/mandrill": {"content-type": "application/x-www-form-urlencoded"},
    "/webhooks/cloudevents": {"ce-id": "1", "ce-source": "/s", "ce-type": "t"},
}


def some_path(rng: Random, role: str) -> str:
    return rng.choice(PATHS[role]) if rng.random() < 0.8 else rng.choice(COMMON_PATHS)


def request(
    method: bytes, target: bytes, headers: bytes, body: bytes = b"", version: bytes = b"1.1"
) -> bytes:
    return b"%b %b HTTP/%b\r\nhost: x\r\n%b\r\n%b" % (method, target, version, headers, body)


def with_length(body: bytes) -> bytes:
    return b"content-length: %d\r\n" % len(body)


def post(path: str, body: bytes, headers: bytes = b"") -> bytes:
    return request(b"POST", path.encode(), headers + with_length(body), body)


def bodies(rng: Random, role: str) -> bytes:
    """Well-formed HTTP, signed or not, around hostile contents."""
    path, body = some_path(rng, role), some_body(rng)
    return post(path, body, signed_headers(path, body) if rng.random() < 0.7 else b"")


def headers(rng: Random, role: str) -> bytes:
    """Hostile values of the headers that we read."""
    path, body = some_path(rng, role), some_body(rng)
    lines = b"".join(
        b"%b: %b\r\n" % (rng.choice(SIGNATURE_HEADERS), rng.choice(HEADER_VALUES))
        for _ in range(rng.randint(1, 6))
    )
    if rng.random() < 0.5:
        lines = rng.choice((lines + signed_headers(path, body), signed_headers(path, body) + lines))
    if rng.random() < 0.3:
        return request(b"GET", path.encode(), lines)
    return post(path, body, lines)


def targets(rng: Random, role: str) -> bytes:
    """Request targets: percent-encodings, queries, absolute, authority and asterisk form."""
    path = some_path(rng, role).encode()
    target = rng.choice(
        (
            b"*",
            b"http://127.0.0.1" + path,
            b"https://user:pw@[::1]:99999" + path,
            b"//evil.example" + path,
            b"127.0.0.1:22",
            path + b"%",
            path + b"%zz",
            path + b"%00",
            path + b"%ff%fe",
            path + b"%c0%af",
            path + b"/../../etc/passwd",
            path + b"/%2e%2e/x",
            path + b"\xff",
            path + b"\x00",
            path + b"#fragment",
            path + b"?" + b"&" * 1000,
            path + b"?after=%ff",
            path + b"?after=" + b"0" * 12 + b"-1",
            path + b"?after=1&after=2",
            path + b"?limit=" + b"9" * 4000,
            path + b"?limit=%D9%A1",
            path + b"?limit=-1",
            path + b"?wait=1e9",
            path + b"?wait=nan",
            path + b"?wait=0.05&type=none",
            path + b"?type=" + b"&type=".join(b"%d" % n for n in range(60)),
            path + b"?type=%00",
            path + b"?hub.mode=subscribe&hub.topic=x&hub.challenge=%0d%0a",
            path + b"?hub.mode=subscribe&hub.mode=denied",
            path + b"?secret=%ff",
            path + b"?bodySHA256=0&bodySHA256=1",
            path + b"?access_token=" + b"t" * 3000,
            path + b"?%00=%00",
            path + b"?" + b"a" * 20_000,
            path + b" extra",
            b"",
            b"/" + some_bytes(rng),
        )
    )
    return request(rng.choice(METHODS), target, b"")


def greetings(rng: Random, role: str) -> bytes:
    """Handshakes, right and wrong: the methods and queries that some of the sources answer."""
    path = some_path(rng, role).encode()
    query = rng.choice(
        (
            b"",
            b"?hub.mode=subscribe&hub.topic=https://example.com/feed&hub.challenge=c",
            b"?hub.mode=unsubscribe&hub.topic=other&hub.challenge=" + b"c" * 2000,
            b"?hub.mode=denied",
            b"?hub.challenge=<script>",
            b"?secret=wrong",
            b"?after=x&type=y",
        )
    )
    origin = rng.choice((b"eventemitter.example.com", b"*", b"\xff", b"a,b", b"%0d%0a", b"x" * 2000))
    headers = rng.choice((b"", b"webhook-request-origin: " + origin + b"\r\n"))
    headers += rng.choice((b"", b"webhook-request-rate: " + rng.choice(HEADER_VALUES) + b"\r\n"))
    return request(rng.choice((b"GET", b"HEAD", b"OPTIONS")), path + query, headers)


def lines(rng: Random, role: str) -> bytes:
    """Request lines that are none, other protocols, other versions."""
    path = some_path(rng, role).encode()
    return rng.choice(
        (
            b"GET " + path + b"\r\n\r\n",
            b"GET " + path + b" HTTP/0.9\r\n\r\n",
            b"GET " + path + b" HTTP/1.0\r\n\r\n",
            b"GET " + path + b" HTTP/1.0\r\nconnection: keep-alive\r\n\r\n",
            b"POST " + path + b" HTTP/1.0\r\n\r\n{}",
            b"GET " + path + b" HTTP/2.0\r\n\r\n",
            b"GET " + path + b" HTTP/9.9\r\nhost: x\r\n\r\n",
            b"GET " + path + b" HTTP/1.1\r\n\r\n",  # no Host
            b"GET " + path + b" HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n",
            b"get " + path + b" http/1.1\r\nhost: x\r\n\r\n",
            b"G\x00T " + path + b" HTTP/1.1\r\n\r\n",
            b"\r\n\r\n\r\nGET " + path + b" HTTP/1.1\r\nhost: x\r\n\r\n",
            b"GET\t" + path + b"\tHTTP/1.1\r\nhost: x\r\n\r\n",
            b"GET  " + path + b"  HTTP/1.1\r\nhost: x\r\n\r\n",
            b"A" * 10_000 + b" / HTTP/1.1\r\n\r\n",
            b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(9),
            bytes.fromhex("16030100c6010000c20303") + some_bytes(rng),  # a TLS ClientHello
            b"SSH-2.0-OpenSSH_9.9\r\n",
            b"*1\r\n$4\r\nPING\r\n",
            b"\x00" * 200,
            b"\n" * 200,
            some_bytes(rng, 2000),
        )
    )


def framing(rng: Random, role: str) -> bytes:
    """Two ideas of where a body ends: request smuggling (RFC 9112, section 6.3 and 11.2)."""
    path, body = some_path(rng, role).encode(), some_body(rng)
    inner = b"GET /smuggled HTTP/1.1\r\nhost: x\r\n\r\n"
    frame = rng.choice(
        (
            with_length(body) + b"transfer-encoding: chunked\r\n",
            b"transfer-encoding: chunked\r\n" + with_length(body),
            b"content-length: 0\r\n" + with_length(body),
            with_length(body) + with_length(body),
            b"content-length: %d, %d\r\n" % (len(body), len(body)),
            b"content-length: +%d\r\n" % len(body),
            b"content-length: -1\r\n",
            b"content-length: 0x10\r\n",
            b"content-length: 1e2\r\n",
            b"content-length: %d\r\n" % 2**64,
            b"content-length: 999999999999\r\n",
            b"content-length:\r\n",
            b"content-length : %d\r\n" % len(body),
            b"content-length: \xd9\xa1\r\n",
            b"transfer-encoding: identity\r\n" + with_length(body),
            b"transfer-encoding: gzip, chunked\r\n",
            b"transfer-encoding: chunked, identity\r\n",
            b"transfer-encoding: xchunked\r\n",
            b"transfer-encoding : chunked\r\n",
            b"transfer-encoding:\x0bchunked\r\n",
            b"transfer-encoding: chunked\r\ntransfer-encoding: x\r\n",
            b"x: y\r\n transfer-encoding: chunked\r\n",
            b"x: y\rtransfer-encoding: chunked\r\n",
            b"x: y\ntransfer-encoding: chunked\n",
            b"",
        )
    )
    tail = rng.choice((body, b"0\r\n\r\n" + inner, b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body), inner))
    return b"POST %b HTTP/1.1\r\nhost: x\r\n%b\r\n%b" % (path, frame, tail)


def chunks(rng: Random, role: str) -> bytes:
    """Chunked bodies: extensions, trailers, sizes that lie."""
    path, body = some_path(rng, role), some_body(rng) or b"{}"
    size = b"%x" % len(body)
    coded = rng.choice(
        (
            size + b"\r\n" + body + b"\r\n0\r\n\r\n",
            size + b";ext=" + b"x" * 5000 + b"\r\n" + body + b"\r\n0\r\n\r\n",
            size + b';a="\\"\r\n"\r\n' + body + b"\r\n0\r\n\r\n",
            size + b"\r\n" + body + b"\r\n0\r\ntrailer: x\r\ncontent-length: 5\r\n\r\n",
            size + b"\n" + body + b"\n0\n\n",
            size + b"\r\n" + body + b"0\r\n\r\n",
            b"0" * 100 + size + b"\r\n" + body + b"\r\n0\r\n\r\n",
            b"-1\r\n" + body,
            b"0x5\r\nhello\r\n0\r\n\r\n",
            b"ffffffffffffffffff\r\n" + body,
            b"7fffffffffffffff\r\n" + body,
            b"\r\n" + body,
            b"zz\r\n",
            b"5\r\nhel",
            b"".join(b"1\r\n%c\r\n" % byte for byte in body[:500]) + b"0\r\n\r\n",
        )
    )
    sign = signed_headers(path, body) if rng.random() < 0.7 else b""
    return request(b"POST", path.encode(), sign + b"transfer-encoding: chunked\r\n", coded)


def fields(rng: Random, role: str) -> bytes:
    """Header sections: folds, NULs, no colon, too long, too many."""
    path, body = some_path(rng, role), some_body(rng)
    section = rng.choice(
        (
            b"x: a\r\n b\r\n",
            b"x: a\r\n\tcontent-length: 5\r\n",
            b" x: leading\r\n",
            b"x\x00y: z\r\n",
            b"x: a\x00b\r\n",
            b"x: \x01\x02\x7f\r\n",
            b"no colon\r\n",
            b": no name\r\n",
            b"x y: z\r\n",
            b"x:\r\n" * 500,
            b"".join(b"x-%d: %d\r\n" % (n, n) for n in range(1000)),
            b"x: " + b"a" * 70_000 + b"\r\n",
            b"x" * 70_000 + b": a\r\n",
            b"cookie: " + b"a=b; " * 3000 + b"\r\n",
            b"x: \xff\xfe\r\n",
            b"\xff: x\r\n",
            b"range: bytes=0-0," + b"1-2," * 500 + b"\r\n",
            b"connection: close, keep-alive, " + b"x," * 200 + b"\r\n",
            b"host: other\r\n",
            b"content-type: application/json; charset=utf-7\r\n",
        )
    )
    return post(path, body, section + signed_headers(path, body))


def upgrades(rng: Random, role: str) -> bytes:
    """Expectations and other protocols: 100-continue, h2c, WebSocket, CONNECT."""
    path, body = some_path(rng, role), some_event(rng)
    websocket = b"sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    wish = rng.choice(
        (
            b"expect: 100-continue\r\n",
            b"expect: 200-ok\r\n",
            b"expect: 100-continue, x\r\n",
            b"connection: Upgrade, HTTP2-Settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABk\r\n",
            b"connection: Upgrade\r\nupgrade: websocket\r\n" + websocket,
            b"connection: Upgrade\r\nupgrade: websocket\r\n",
            b"upgrade: TLS/1.0\r\nconnection: upgrade\r\n",
            b"connection: upgrade\r\n",
        )
    )
    if rng.random() < 0.5:
        return request(rng.choice((b"GET", b"CONNECT")), path.encode(), wish)
    return post(path, body, wish + signed_headers(path, body))


def mutated(rng: Random, role: str) -> bytes:
    """Any of the others with some bytes flipped, cut out or doubled."""
    data = bytearray(rng.choice(KINDS[:-2])(rng, role))
    for _ in range(rng.randint(1, 4)):
        at = rng.randint(0, len(data))
        length = rng.randint(0, 20)
        data[at : at + length] = rng.choice((b"", some_bytes(rng, 20), bytes(data[at : at + length]) * 2))
    return bytes(data)


def cut_short(rng: Random, role: str) -> bytes:
    """Any of the others, ended early."""
    data = rng.choice(KINDS[:-2])(rng, role)
    return data[: rng.randint(0, len(data))]


KINDS: tuple[Kind, ...] = (
    *(bodies, headers, targets, greetings, lines, framing, chunks, fields, upgrades),
    *(mutated, cut_short),
)


def conversation(rng: Random, role: str) -> bytes:
    """One to four hostile requests, pipelined on one connection."""
    return b"".join(rng.choice(KINDS)(rng, role) for _ in range(rng.choice((1, 1, 1, 2, 4))))


def some_talk(rng: Random, role: str) -> Talk:
    return Talk(conversation(rng, role), rng.choice((1, 1, 3)), rng.random() < 0.2)
