"""What the fuzzer begins with: for each target inputs that are nearly right, as the target reads them."""

from __future__ import annotations

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"  # of the Standard Webhooks specification's examples
SEPARATOR = b"\xff\xff"

SOURCES = (
    *("standard", "github", "stripe", "slack", "shopify", "twilio", "mailchimp", "mandrill", "svix"),
    *("cloudevents", "websub"),
)
"""In the order in which the receiver knows them."""

HEADERS = (
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

_EVENT = b'{"id":"evt_a_1","type":"new_order","index":1,"created_us":5,"data":{"x":[1.5,1e9,null,"\\u00e9"]}}'


def _request(source: str, body: bytes, query: bytes = b"", **headers: bytes) -> bytes:
    """A request as `request_of` reads it; header names with underscores."""
    values = [
        bytes((HEADERS.index(name.replace("_", "-").encode()),)) + value for name, value in headers.items()
    ]
    return SEPARATOR.join((bytes((SOURCES.index(source),)) + body, query, *values))


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


def seeds_of(target: str, targets: list[str]) -> list[bytes]:
    """The seeds of one target; of "every" those of all `targets`, led by the byte that chooses."""
    if target != "every":
        return list(SEEDS[target])
    return [
        bytes((number,)) + seed
        for number, name in enumerate(name for name in targets if name != "every")
        for seed in SEEDS[name]
    ]
