"""Protects every provider's door over real HTTP: who may enter, what is answered, and how each says hello."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from urllib.parse import quote, urlencode

import pytest

from loadtest.inbox import read_ledger
from loadtest.receiver import SOURCES
from loadtest.signatures import (
    CloudEvents,
    GitHub,
    Mandrill,
    Shopify,
    Slack,
    StandardWebhooks,
    Stripe,
    Svix,
    Twilio,
    WebSub,
)
from loadtest.signatures.mandrill import TEST_FORM, TEST_KEY
from tests.loadtest.schemes import PRIVATE_KEY, PUBLIC_KEY, PUBLIC_URL
from tests.loadtest.servers import Answer, Server, eventually, refused, running
from tests.loadtest.test_receiver_identities import CLOUD, MAILCHIMP

KEY, NEW_KEY = ("whsec_" + letter * 32 for letter in "Ab")
SECRETS = {
    "standard": [KEY, NEW_KEY, PUBLIC_KEY],
    "svix": [KEY],
    **{name: [f"new {name}", f"old {name}"] for name in SOURCES if name not in ("standard", "svix")},
}
ORIGIN, TOPIC = "emitter.example.com", "https://blog.example.com/feed"
FORM = {"content-type": "application/x-www-form-urlencoded"}
JSON = {"content-type": "application/json"}


@pytest.fixture(scope="module")
def secret_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("secrets") / "secrets.toml"
    path.write_text("".join(f"{name} = {json.dumps(secrets)}\n" for name, secrets in SECRETS.items()))
    path.chmod(0o600)
    return path


@pytest.fixture(scope="module")
def inbox(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("sources") / "inbox.db"


@pytest.fixture(scope="module")
def receiver(secret_file: Path, inbox: Path) -> Iterator[Server]:
    with running(
        "receiver", "--inbox", f"sqlite:///{inbox}", "--secret-file", str(secret_file),
        "--public-url", PUBLIC_URL,
        "--cloudevents-origin", ORIGIN, "--websub-topic", TOPIC, "--queue-limit", "100",
        secret="",
    ) as server:  # fmt: skip
        yield server


def raw_post(server: Server, target: str, body: bytes, headers: Sequence[tuple[str, bytes]]) -> Answer:
    """A POST whose headers may repeat and hold any bytes."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
    try:
        connection.putrequest("POST", target)
        for name, value in [*headers, ("content-length", str(len(body)).encode())]:
            connection.putheader(name, value)
        connection.endheaders(body)
        response = connection.getresponse()
        return Answer(response.status, dict(response.headers), response.read())
    finally:
        connection.close()


Delivery = tuple[str, bytes, dict[str, str]]
"""Target, body, headers."""


def deliveries(unique: str, old: bool = False) -> dict[str, Delivery]:
    """One good delivery of each source, signed now, by the old secret or the new."""
    now_s, which = int(time.time()), -1 if old else 0
    secret = {name: secrets[which] for name, secrets in SECRETS.items()}
    body = json.dumps(
        {"type": "order.paid", "id": f"evt_{unique}", "timestamp": "2026-01-01T00:00:00Z"}
    ).encode()
    slack = json.dumps({"type": "event_callback", "event_id": unique, "event": {"type": "message"}}).encode()
    twilio = {"MessageSid": unique, "MessageStatus": "sent", "Body": "Grüße"}
    mandrill = {"mandrill_events": json.dumps([{"event": "open", "_id": unique, "ts": n} for n in range(3)])}
    standard = StandardWebhooks([PRIVATE_KEY if old else KEY])
    cloud = json.dumps({**CLOUD, "id": unique}).encode()
    return {
        "standard": ("", body, standard.sign(unique, now_s, body)),
        "svix": ("", body, Svix([KEY]).sign(unique, now_s, body)),
        "github": (
            "",
            body,
            {**GitHub([secret["github"]]).sign(body), "x-github-event": "push", "x-github-delivery": unique},
        ),
        "stripe": ("", body, Stripe([secret["stripe"]]).sign(now_s, body)),
        "slack": ("", slack, {**Slack([secret["slack"]]).sign(now_s, slack), **JSON}),
        "shopify": (
            "",
            body,
            {
                **Shopify([secret["shopify"]]).sign(body),
                "x-shopify-webhook-id": unique,
                "x-shopify-topic": "orders/paid",
            },
        ),
        "twilio": (
            "?account=1",
            urlencode(twilio).encode(),
            {
                **Twilio([secret["twilio"]], PUBLIC_URL).sign("/webhooks/twilio?account=1", twilio.items()),
                **FORM,
            },
        ),
        "mailchimp": (
            f"?secret={quote(secret['mailchimp'])}",
            urlencode({**MAILCHIMP, "data[id]": unique}).encode(),
            FORM,
        ),
        "mandrill": (
            "",
            urlencode(mandrill).encode(),
            {
                **Mandrill([secret["mandrill"]], f"{PUBLIC_URL}/webhooks/mandrill").sign(mandrill.items()),
                **FORM,
            },
        ),
        "cloudevents": (
            f"?access_token={quote(secret['cloudevents'])}" if old else "",
            cloud,
            {
                **({} if old else CloudEvents([secret["cloudevents"]]).sign()),
                "content-type": "application/cloudevents+json",
            },
        ),
        "websub": (
            "",
            b"<feed>%b</feed>" % unique.encode(),
            WebSub([secret["websub"]]).sign(f"<feed>{unique}</feed>".encode()),
        ),
    }


each = pytest.mark.parametrize("source", list(SOURCES))


def post(server: Server, source: str, delivery: Delivery) -> Answer:
    query, body, headers = delivery
    return server.request("POST", f"/webhooks/{source}{query}", body, headers)


@each
@pytest.mark.parametrize("old", [False, True], ids=["new", "old"])
def test_a_delivery_is_stored_once_whichever_secret_signed_it(
    receiver: Server, inbox: Path, source: str, old: bool
) -> None:
    unique = f"once-{source}-{old}"
    before = len(read_ledger(inbox))
    events = 3 if source == "mandrill" else 1
    for _ in range(2):
        answer = post(receiver, source, deliveries(unique, old)[source])
        assert (answer.status, answer.body) == ((200 if source == "mandrill" else 204), b"")
    rows = read_ledger(inbox)[before:]
    assert [(row.source, row.copies) for row in rows] == [(source, 2)] * events


def test_the_same_id_of_another_source_is_another_event(receiver: Server) -> None:
    before = receiver.status()["accepted"]
    for source in ("standard", "svix", "github", "shopify", "slack"):
        assert post(receiver, source, deliveries("shared-by-all")[source]).status == 204
    assert receiver.status()["accepted"] == before + 5


@each
def test_tampering_is_refused_over_http(receiver: Server, source: str) -> None:
    """401 or 400, never 5xx, and nothing is stored."""
    query, body, headers = deliveries(f"tampered-{source}")[source]
    target = f"/webhooks/{source}{query}"
    good = [(name, value.encode()) for name, value in headers.items()]
    proof = {
        "standard": "webhook-signature",
        "svix": "svix-signature",
        "github": "x-hub-signature-256",
        "stripe": "stripe-signature",
        "slack": "x-slack-signature",
        "shopify": "x-shopify-hmac-sha256",
        "twilio": "x-twilio-signature",
        "mandrill": "x-mandrill-signature",
        "cloudevents": "authorization",
        "websub": "x-hub-signature",
    }.get(source)
    before = receiver.status()["accepted"]
    attempts: list[tuple[str, bytes, list[tuple[str, bytes]]]] = []
    if source not in ("mailchimp", "cloudevents"):  # these prove who sends, not what
        attempts += [
            (target, changed, good) for changed in (body[:-1], body + b" ", body + b"&x=1", b"", body[::-1])
        ]
    if proof is None:
        attempts += [
            (f"/webhooks/{source}{query}", body, good)
            for query in ("", "?secret=", "?secret=x", "?secret=%ff")
        ]
        attempts += [(f"{target}&{query[1:]}", body, good), (target + "%20", body, good)]
    else:
        signature = dict(good)[proof]
        others = [(name, value) for name, value in good if name != proof]
        attempts.append((target, body, others))
        for value in (
            signature.upper(),
            signature.swapcase(),
            signature[:-1],
            signature.rstrip(b"="),
            signature + b"=",
            signature.replace(b"+", b"-").replace(b"/", b"_"),
            signature[:10] + b" " + signature[10:],
            b"\xe9" + signature,
            signature + b"\xff",
            b"",
            b"x" * 5000,
        ):
            if value != signature:
                attempts.append((target, body, [*others, (proof, value)]))
        for twice in ([signature, signature], [b"x", signature], [signature, b"x"]):
            attempts.append((target, body, [*others, *((proof, value) for value in twice)]))
    for tampered, changed, sent in attempts:
        answer = raw_post(receiver, tampered, changed, sent)
        assert answer.status in (400, 401), (answer, tampered, changed, sent)
        assert list(answer.json()) == ["error"]
        assert not any(secret in answer.body.decode() for secrets in SECRETS.values() for secret in secrets)
    assert receiver.status()["accepted"] == before
    assert raw_post(receiver, target, body, good).status in (200, 204)


@pytest.mark.parametrize("source", ["standard", "svix", "stripe", "slack"])
@pytest.mark.parametrize("away_s", [-310, 310])
def test_a_replay_after_five_minutes_is_refused(receiver: Server, source: str, away_s: int) -> None:
    at_s = int(time.time()) + away_s
    _, body, _ = deliveries("late")[source]
    headers = {
        "standard": StandardWebhooks([KEY]).sign("late", at_s, body),
        "svix": Svix([KEY]).sign("late", at_s, body),
        "stripe": Stripe(SECRETS["stripe"]).sign(at_s, body),
        "slack": Slack(SECRETS["slack"]).sign(at_s, body),
    }[source]
    answer = receiver.request("POST", f"/webhooks/{source}", body, {**headers, **JSON})
    assert answer.status == 401
    assert "300 s" in answer.json()["error"]


@pytest.mark.parametrize("name", ["webhook-id", "Webhook-ID"])
def test_a_repeated_header_is_refused_by_name(receiver: Server, name: str) -> None:
    _, body, headers = deliveries("repeated")["standard"]
    sent = [(key, value.encode()) for key, value in headers.items()]
    answer = raw_post(receiver, "/webhooks/standard", body, [*sent, (name, b"other")])
    assert (answer.status, "webhook-id" in answer.json()["error"]) == (400, True)
    proxies = [("via", b"1.1 a"), ("via", b"1.1 b"), ("x-forwarded-for", b"a"), ("x-forwarded-for", b"b")]
    assert raw_post(receiver, "/webhooks/standard", body, [*sent, *proxies]).status == 204


@pytest.mark.parametrize(
    ("source", "body"),
    [
        ("twilio", b"MessageSid=SM1&Body=%zz"),
        ("slack", b"payload=%7B"),
        ("slack", b"{"),
        ("mailchimp", b"type"),
        ("mailchimp", b"a=1&" * 1001 + b"a=1"),
        ("mandrill", b"mandrill_events=%5B%5D&mandrill_events=%5B%5D"),
        ("stripe", b'{"id": "evt_1"}'),
        ("github", b"[]"),
        ("cloudevents", b"{}"),
    ],
)
def test_what_is_signed_and_malformed_is_4xx(receiver: Server, source: str, body: bytes) -> None:
    now_s = int(time.time())
    query, _, headers = deliveries("malformed")[source]
    if source == "slack":
        headers = {**Slack(SECRETS["slack"]).sign(now_s, body), **(FORM if body.startswith(b"p") else JSON)}
    elif source == "stripe":
        headers = Stripe(SECRETS["stripe"]).sign(now_s, body)
    elif source == "github":
        headers = {**headers, **GitHub(SECRETS["github"]).sign(body)}
    answer = receiver.request("POST", f"/webhooks/{source}{query}", body, headers)
    assert answer.status in (400, 401)
    assert list(answer.json()) == ["error"]


# Handshakes


def test_slack_gets_its_challenge_back_when_it_is_slack(receiver: Server) -> None:
    body = b'{"token":"t","challenge":"3eZbrw1aBm2rZgRNFdxV2595E9CY3gm","type":"url_verification"}'
    signed = Slack(SECRETS["slack"]).sign(int(time.time()), body)
    answer = receiver.request("POST", "/webhooks/slack", body, {**signed, **JSON})
    assert (answer.status, answer.body) == (200, json.loads(body)["challenge"].encode())
    assert answer.headers["content-type"].startswith("text/plain")
    assert receiver.request("POST", "/webhooks/slack", body, JSON).status == 401


def test_mandrill_finds_somebody_there_and_a_test_brings_nothing(receiver: Server) -> None:
    answer = receiver.request("HEAD", "/webhooks/mandrill")
    assert (answer.status, answer.body) == (200, b"")
    before = receiver.status()["accepted"]
    anybody = Mandrill([TEST_KEY], f"{PUBLIC_URL}/webhooks/mandrill")
    answer = receiver.request(
        "POST", "/webhooks/mandrill", urlencode(TEST_FORM).encode(), {**anybody.sign(TEST_FORM), **FORM}
    )
    assert answer.status == 200
    forged = [("mandrill_events", '[{"event":"open","_id":"a","ts":1}]')]
    answer = receiver.request(
        "POST", "/webhooks/mandrill", urlencode(forged).encode(), {**anybody.sign(forged), **FORM}
    )
    assert answer.status == 401
    assert receiver.status()["accepted"] == before


def test_a_batch_larger_than_the_queue_is_taken_whole(receiver: Server, inbox: Path) -> None:
    """Where 100 may wait, 1,000 could never come: they are taken when nothing waits."""
    eventually(lambda: receiver.status()["waiting"] == 0)
    batch = [
        ("mandrill_events", json.dumps([{"event": "open", "_id": "batch", "ts": n} for n in range(1000)]))
    ]
    headers = {**Mandrill(SECRETS["mandrill"], f"{PUBLIC_URL}/webhooks/mandrill").sign(batch), **FORM}
    before = receiver.status()["accepted"]
    assert receiver.request("POST", "/webhooks/mandrill", urlencode(batch).encode(), headers).status == 200
    assert receiver.status()["accepted"] == before + 1000
    assert (
        sum(row.source == "mandrill" and row.event_id.startswith("open ") for row in read_ledger(inbox))
        >= 1000
    )


def test_mailchimp_is_greeted_at_the_url_with_the_secret_only(receiver: Server) -> None:
    assert receiver.request("GET", f"/webhooks/mailchimp?secret={quote('old mailchimp')}").status == 200
    for query in ("", "?secret=", "?secret=old", "?secret=%zz", "?secret"):
        assert receiver.request("GET", f"/webhooks/mailchimp{query}").status == 401


@pytest.mark.parametrize(("asked", "granted"), [(None, "*"), ("120", "120")])
def test_cloudevents_consent(receiver: Server, asked: str | None, granted: str) -> None:
    headers = {"WebHook-Request-Origin": ORIGIN, "WebHook-Request-Callback": "http://127.0.0.1:1/"}
    if asked:
        headers["WebHook-Request-Rate"] = asked
    answer = receiver.request("OPTIONS", "/webhooks/cloudevents", headers=headers)
    assert answer.status == 200
    assert answer.headers["webhook-allowed-origin"] == ORIGIN
    assert answer.headers["webhook-allowed-rate"] == granted
    assert "POST" in answer.headers["allow"]


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"WebHook-Request-Origin": ""},
        {"WebHook-Request-Origin": "evil.example.com"},
        {"WebHook-Request-Origin": "*"},
        {"WebHook-Request-Origin": "\xe9"},
        {"WebHook-Request-Origin": ORIGIN, "WebHook-Request-Rate": "0"},
        {"WebHook-Request-Origin": ORIGIN, "WebHook-Request-Rate": "-1"},
        {"WebHook-Request-Origin": ORIGIN, "WebHook-Request-Rate": "9" * 5000},
        {"WebHook-Request-Origin": ORIGIN, "WebHook-Request-Rate": "\xb2"},
    ],
)
def test_no_cloudevents_consent_without_its_headers(receiver: Server, headers: dict[str, str]) -> None:
    answer = receiver.request("OPTIONS", "/webhooks/cloudevents", headers=headers)
    assert 400 <= answer.status < 500
    assert "webhook-allowed-origin" not in answer.headers
    assert "webhook-allowed-rate" not in answer.headers


def test_a_format_that_is_not_understood_is_415(receiver: Server) -> None:
    headers = {**CloudEvents(SECRETS["cloudevents"]).sign(), "content-type": "application/cloudevents+xml"}
    assert receiver.request("POST", "/webhooks/cloudevents", b"<event/>", headers).status == 415
    assert receiver.request("POST", "/webhooks/cloudevents", b"<event/>", JSON).status == 401


def intent(receiver: Server, **query: str) -> Answer:
    fields = {f"hub.{name}": value for name, value in query.items()}
    return receiver.request("GET", "/webhooks/websub?" + urlencode(fields))


def test_websub_intent_is_confirmed_for_what_we_want(receiver: Server) -> None:
    answer = intent(receiver, mode="subscribe", topic=TOPIC, challenge="c<h>ä&", lease_seconds="864000")
    assert (answer.status, answer.body.decode()) == (200, "c<h>ä&")
    assert answer.headers["content-type"].startswith("text/plain")
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert intent(receiver, mode="unsubscribe", topic="https://other.example/", challenge="c").body == b"c"
    assert intent(receiver, mode="denied", topic=TOPIC, reason="no").status == 200


@pytest.mark.parametrize(
    ("query", "status"),
    [
        (
            {"mode": "subscribe", "topic": "https://evil.example/", "challenge": "c", "lease_seconds": "1"},
            404,
        ),
        ({"mode": "unsubscribe", "topic": TOPIC, "challenge": "c"}, 404),
        ({"mode": "subscribe", "topic": TOPIC, "challenge": "c"}, 400),
        ({"mode": "subscribe", "topic": TOPIC, "challenge": "c", "lease_seconds": "soon"}, 400),
        ({"mode": "subscribe", "topic": TOPIC, "lease_seconds": "1"}, 400),
        ({"mode": "subscribe", "challenge": "c", "lease_seconds": "1"}, 400),
        ({"mode": "publish", "topic": TOPIC, "challenge": "c"}, 400),
        ({}, 400),
    ],
)
def test_websub_intent_is_refused_otherwise(receiver: Server, query: dict[str, str], status: int) -> None:
    answer = intent(receiver, **query)
    assert answer.status == status
    assert list(answer.json()) == ["error"]


def test_other_methods_are_405_and_say_which_are_not(receiver: Server) -> None:
    allowed = {"mandrill": {"POST", "HEAD"}, "mailchimp": {"POST", "GET"}, "websub": {"POST", "GET"}}
    allowed["cloudevents"] = {"POST", "OPTIONS"}
    for source in SOURCES:
        answer = receiver.request("PUT", f"/webhooks/{source}")
        assert answer.status == 405
        assert set(answer.headers["allow"].split(", ")) == allowed.get(source, {"POST"})


# Which doors are open


def test_only_sources_with_a_secret_are_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOOKBENCH_SLACK_SECRET", "new old")
    with running("receiver", "--inbox", f"sqlite:///{tmp_path}/inbox.db", secret=KEY) as server:
        for source in SOURCES:
            expected = 401 if source in ("standard", "github", "slack") else 404
            assert server.request("POST", f"/webhooks/{source}", b"{}").status == expected
        assert post(server, "slack", deliveries("env")["slack"]).status == 401
        body = b'{"type":"event_callback","event_id":"E1","event":{"type":"message"}}'
        for secret in ("new", "old"):
            signed = Slack([secret]).sign(int(time.time()), body)
            assert server.request("POST", "/webhooks/slack", body, {**signed, **JSON}).status == 204


def test_a_public_key_opens_no_door_for_whoever_knows_it(tmp_path: Path) -> None:
    """Everybody may know ``whpk_``: as a shared secret for GitHub it would let everybody in."""
    with running("receiver", "--inbox", f"sqlite:///{tmp_path}/inbox.db", secret=PUBLIC_KEY) as server:
        assert (
            server.request("POST", "/webhooks/github", b"{}", GitHub([PUBLIC_KEY]).sign(b"{}")).status == 404
        )
        assert post(server, "standard", deliveries("pk", old=True)["standard"]).status == 204


def test_bad_settings_are_one_line_and_exit_2(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, secret_file: Path
) -> None:
    inbox = f"sqlite:///{tmp_path}/inbox.db"

    def of(text: str, *arguments: str) -> str:
        path = tmp_path / "secrets.toml"
        path.write_text(text)
        path.chmod(0o600)
        return refused("receiver", "--inbox", inbox, "--secret-file", str(path), *arguments, secret="")

    assert "--public-url" in of('twilio = ["geheim"]')
    assert "--public-url" in of('mandrill = ["geheim"]')
    assert "public" in of('twilio = ["geheim"]', "--public-url", "https://a.example:99999")
    assert "public" in of('mandrill = ["geheim"]', "--public-url", "https://a.example/?x=1")
    for text, said in (
        ('strpe = ["geheim"]', "strpe"),
        ('stripe = "geheim"', "list of strings"),
        ("stripe = [1]", "list of strings"),
        ("stripe = [", "not TOML"),
        ('stripe = [""]', "empty"),
        ('standard = ["geheim"]', "whsec_"),
        ('standard = ["whpk_geheim"]', "whpk_"),
        ("", "needs a secret"),
        ("stripe = []", "needs a secret"),
    ):
        message = of(text)
        assert said in message
        assert "geheim" not in message
    monkeypatch.setenv("HOOKBENCH_STRPE_SECRET", "geheim")
    message = refused("receiver", "--inbox", inbox)
    assert "HOOKBENCH_STRPE_SECRET" in message
    assert "geheim" not in message


def test_a_secret_file_that_others_can_read_is_warned_of(tmp_path: Path) -> None:
    path = tmp_path / "secrets"
    path.write_text(f"{KEY}\n")
    for mode, warned in ((0o644, True), (0o640, False)):
        path.chmod(mode)
        with running(
            "receiver", "--inbox", f"sqlite:///{tmp_path}/inbox.db", "--secret-file", str(path), secret=""
        ) as server:
            code, _, err = server.stop()
        assert code == 0
        assert ("read by every user" in err) == warned
        assert KEY not in err


def test_no_secret_is_ever_said(receiver: Server) -> None:
    told = json.dumps(receiver.status())
    assert not any(secret in told for secrets in SECRETS.values() for secret in secrets)
