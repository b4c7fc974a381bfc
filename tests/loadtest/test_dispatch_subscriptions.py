"""Protects the subscriptions API: what owners see and change, rotation without a gap, redelivery."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest
import standardwebhooks
from standardwebhooks import Webhook

from loadtest.provider.signing import FORMATS
from loadtest.signatures import (
    GitHub,
    Shopify,
    SignatureRefused,
    SignedRequest,
    Slack,
    StandardWebhooks,
    Stripe,
    Svix,
)
from tests.loadtest.endpoints import Got, always, endpoints, script
from tests.loadtest.servers import SECRET, Server, eventually, running
from tests.loadtest.test_dispatch import BROKEN, OK, ONCE, change, ended, publish, shown, subscribe

OLD, NEW = "whsec_" + "b2xk" * 8, "whsec_" + "bmV3" * 8


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with running("provider", "--max-subscriptions", "5") as server:
        yield server


@pytest.fixture(autouse=True)
def no_subscription_is_left(request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    if "server" in request.fixturenames:
        server = request.getfixturevalue("server")
        for subscription in server.request("GET", "/subscriptions").json()["subscriptions"]:
            assert server.request("DELETE", f"/subscriptions/{subscription['id']}").status == 200


def ask(server: Server, method: str, path: str, **fields: Any) -> Any:
    return server.request(method, path, json.dumps(fields).encode() if fields else None)


def verified(secret: str, got: Got) -> bool:
    """By Standard Webhooks' own library."""
    try:
        Webhook(secret).verify(got.body, got.headers)
    except standardwebhooks.WebhookVerificationError:
        return False
    return True


def test_a_subscription_s_life(server: Server) -> None:
    with endpoints(always(OK), always(OK)) as (first, second):
        made = ask(server, "POST", "/subscriptions", url=first.url, secret=OLD)
        assert made.status == 201
        key = made.json()["id"]
        assert made.json()["state"] == "enabled"
        assert server.request("GET", "/subscriptions").json() == {"subscriptions": [made.json()]}
        publish(server, 3, "life-a")
        eventually(ended(server, key))
        one = shown(server, key)
        assert (one["url"], one["format"], one["acknowledged"], one["dispatched"]) == (
            first.url,
            "standard",
            3,
            3,
        )

        changed = change(server, key, url=second.url, policy={"timeout_s": 3})
        assert (changed["url"], changed["policy"]["timeout_s"]) == (second.url, 3)
        publish(server, 2, "life-b")
        eventually(ended(server, key))
        assert (len(first.got), len(second.got)) == (3, 2)

        assert change(server, key, enabled=False)["reason"] == "owner"
        publish(server, 2, "life-c")
        eventually(ended(server, key))
        assert shown(server, key)["unsent"] == 2
        assert change(server, key, enabled=True)["state"] == "enabled"
        assert len(second.got) == 2  # what was due meanwhile is sent when the owner asks for it
        assert ask(server, "POST", f"/subscriptions/{key}/redeliver").json()["redelivering"] == 2
        eventually(ended(server, key))
        assert len(second.got) == 4

        assert ask(server, "DELETE", f"/subscriptions/{key}").json() == {"dropped": 0}
        for method, path in (
            ("GET", ""),
            ("PATCH", ""),
            ("DELETE", ""),
            ("POST", "/rotate"),
            ("POST", "/redeliver"),
            ("GET", "/deliveries"),
        ):
            assert ask(server, method, f"/subscriptions/{key}{path}").status == 404
        publish(server, 1, "life-d")
        assert len(second.got) == 4


def test_no_answer_ever_holds_a_secret() -> None:
    with endpoints(always(BROKEN)) as (endpoint,), running("provider") as server:
        key = subscribe(server, endpoint.url, {"retry": {"kind": "none"}}, secret=OLD)
        publish(server, 1)
        eventually(ended(server, key))
        answers = [
            ask(server, "GET", "/subscriptions"),
            ask(server, "GET", f"/subscriptions/{key}"),
            ask(server, "GET", f"/subscriptions/{key}/deliveries"),
            ask(server, "POST", f"/subscriptions/{key}/rotate", secret=NEW, overlap_s=60),
            ask(server, "POST", f"/subscriptions/{key}/rotate", secret="whsec_c2hvcnQ="),
            ask(server, "POST", f"/subscriptions/{key}/rotate", secret=[NEW]),
            ask(server, "POST", "/subscriptions", url=endpoint.url, secret="whsec_c2hvcnQ="),
            ask(server, "POST", "/subscriptions", url=endpoint.url, secret={"of": NEW}),
            ask(server, "POST", "/subscriptions", url="http://x:hunter2@127.0.0.1/"),
            ask(server, "GET", "/status"),
        ]
        said = b" ".join(given.body for given in answers).decode() + "".join(server.stop()[1:])
    for secret in (OLD, NEW, SECRET, "c2hvcnQ", "hunter2"):
        assert secret.removeprefix("whsec_") not in said


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"", "not JSON"),
        (b"[]", "must be an object"),
        (b"{}", "url is missing"),
        (b'{"url": 5}', "url must be a string"),
        (b'{"url": "http://127.0.0.1/", "urls": 1}', "unknown key 'urls'"),
        (b'{"url": "http://10.0.0.1/"}', "not allowed"),
        (b'{"url": "http://127.0.0.1/", "format": "carrier pigeon"}', "format must be one of standard"),
        (b'{"url": "http://127.0.0.1/", "format": 1}', "format must be a string"),
        (b'{"url": "http://127.0.0.1/", "format": "stripe"}', "HOOKBENCH_STRIPE_SECRET"),
        (b'{"url": "http://127.0.0.1/", "secret": ""}', "secret 1 is not"),
        (b'{"url": "http://127.0.0.1/", "policy": "svixx"}', "did you mean 'svix'"),
        (b'{"url": "http://127.0.0.1/", "policy": []}', "webhook must be a table"),
        (b'{"url": "http://127.0.0.1/", "policy": {"retry": {"kind": "x"}}}', "retry.kind"),
        (b'{"url": "http://127.0.0.1/", "policy": {"timeout_s": 1e999}}', "timeout_s"),
        (b'{"url": "http://127.0.0.1/", "policy": null}', "webhook must be a table"),
        (b'{"url": "http://\\ud800/"}', "printable ASCII"),
    ],
)
def test_a_bad_subscription_is_400_and_says_why(server: Server, body: bytes, says: str) -> None:
    before = server.status()["bad_requests"]
    given = server.request("POST", "/subscriptions", body)
    assert given.status == 400
    assert says in given.json()["error"]
    assert server.status()["bad_requests"] == before + 1
    assert server.status()["subscriptions"] == 0


def test_a_public_key_cannot_sign(server: Server) -> None:
    given = ask(server, "POST", "/subscriptions", url="http://127.0.0.1/", secret="whpk_" + "A" * 43 + "=")
    assert (given.status, "cannot sign" in given.json()["error"]) == (400, True)


def test_subscriptions_and_bodies_are_bounded(server: Server) -> None:
    for _ in range(5):
        subscribe(server, "http://127.0.0.1:9/")
    full = ask(server, "POST", "/subscriptions", url="http://127.0.0.1:9/")
    assert (full.status, "5 subscriptions" in full.json()["error"]) == (409, True)
    assert server.request("POST", "/subscriptions", b" " * 70_000).status == 413


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"enabled": 1}, "true or false"),
        ({"enabled": "yes"}, "true or false"),
        ({"secret": OLD}, "unknown key"),
        ({"url": "http://10.0.0.1/", "enabled": False}, "not allowed"),
        ({"policy": "x", "enabled": False}, "policy"),
    ],
)
def test_a_change_is_made_whole_or_not_at_all(server: Server, fields: dict[str, Any], says: str) -> None:
    key = subscribe(server, "http://127.0.0.1:9/")
    before = shown(server, key)
    given = ask(server, "PATCH", f"/subscriptions/{key}", **fields)
    assert (given.status, says in given.json()["error"]) == (400, True)
    assert shown(server, key) == before


# Rotation.


def test_during_a_rotation_both_secrets_verify_and_afterwards_the_new_one_only(server: Server) -> None:
    with endpoints(always(OK)) as (endpoint,):
        key = subscribe(server, endpoint.url, secret=OLD)
        publish(server, 1, "rotate-a")
        eventually(ended(server, key))
        rotated_s = time.monotonic()
        given = ask(server, "POST", f"/subscriptions/{key}/rotate", secret=NEW, overlap_s=1.0)
        assert (given.status, given.json()) == (200, {"overlap_s": 1.0})
        publish(server, 1, "rotate-b")
        eventually(ended(server, key))
        assert time.monotonic() - rotated_s < 1
        eventually(lambda: time.monotonic() - rotated_s > 1.05)
        publish(server, 1, "rotate-c")
        eventually(ended(server, key))
    assert [(verified(OLD, got), verified(NEW, got)) for got in endpoint.got] == [
        (True, False),
        (True, True),
        (False, True),
    ]
    assert [len(got.headers["webhook-signature"].split()) for got in endpoint.got] == [1, 2, 1]


def test_the_provider_s_own_secret_rotates_to_a_subscription_s(server: Server) -> None:
    with endpoints(always(OK)) as (endpoint,):
        key = subscribe(server, endpoint.url)
        assert ask(server, "POST", f"/subscriptions/{key}/rotate", secret=NEW).json() == {
            "overlap_s": 86400.0
        }
        publish(server, 1, "own-a")
        eventually(ended(server, key))
        assert ask(server, "POST", f"/subscriptions/{key}/rotate", secret=OLD, overlap_s=0).status == 200
        publish(server, 1, "own-b")
        eventually(ended(server, key))
    assert [[verified(secret, got) for secret in (SECRET, NEW, OLD)] for got in endpoint.got] == [
        [True, True, False],
        [False, False, True],
    ]


def test_a_bad_rotation_changes_nothing(server: Server) -> None:
    with endpoints(always(OK)) as (endpoint,):
        key = subscribe(server, endpoint.url, secret=OLD)
        path = f"/subscriptions/{key}/rotate"
        for fields in (
            {"secret": NEW, "overlap_s": -1},
            {"secret": NEW, "overlap_s": 1e9},
            {"secret": "whsec_x"},
            {"secret": NEW, "overlap_s": "1"},
            {"secret": NEW, "overlap_s": True},
            {"overlap_s": 5},
            {"secret": NEW, "when": 5},
        ):
            assert ask(server, "POST", path, **fields).status == 400
        assert (
            server.request("POST", path, b'{"secret": "%b", "overlap_s": NaN}' % NEW.encode()).status == 400
        )
        for number in range(3):
            assert (
                ask(server, "POST", path, secret=f"whsec_{number}" + "abc" * 13, overlap_s=99).status == 200
            )
        assert "in use already" in ask(server, "POST", path, secret=NEW, overlap_s=99).json()["error"]
        publish(server, 1, "bad-rotation")
        eventually(ended(server, key))
    assert [verified(secret, endpoint.got[0]) for secret in (OLD, NEW)] == [True, False]


@pytest.mark.parametrize(
    ("name", "scheme"),
    [
        ("standard", StandardWebhooks),
        ("svix", Svix),
        ("github", GitHub),
        ("stripe", Stripe),
        ("slack", Slack),
        ("shopify", Shopify),
    ],
)
def test_each_format_is_verified_by_its_scheme_and_rotates(server: Server, name: str, scheme: Any) -> None:
    def verifies(secret: str, got: Got) -> bool:
        headers = {key.encode(): value.encode() for key, value in got.headers.items()}
        try:
            scheme([secret]).verify(SignedRequest(headers, got.body), time.time())
        except SignatureRefused:
            return False
        return True

    several = FORMATS[name].several
    with endpoints(always(OK)) as (endpoint,):
        key = subscribe(server, endpoint.url, format=name, secret=OLD)
        publish(server, 1, f"{name}-a")
        eventually(ended(server, key))
        path = f"/subscriptions/{key}/rotate"
        assert ask(server, "POST", path, secret=NEW, overlap_s=60).status == (200 if several else 400)
        assert ask(server, "POST", path, secret=NEW, overlap_s=60 if several else 0).status == 200
        publish(server, 1, f"{name}-b")
        eventually(ended(server, key))
    assert [(verifies(OLD, got), verifies(NEW, got)) for got in endpoint.got] == [
        (True, False),
        (several, True),
    ]


# Redelivery, and what became of each event.


def test_what_failed_is_redelivered_with_its_id_and_a_fresh_signature(server: Server) -> None:
    """Three fail, three get through. The owner asks for one, then for the rest; each is tried once."""
    with endpoints(script(*[BROKEN] * 3)) as (endpoint,):
        key = subscribe(server, endpoint.url, {"retry": {"kind": "none"}, "max_in_flight": 1}, secret=OLD)
        names = publish(server, 6, "redeliver")
        eventually(ended(server, key))
        path = f"/subscriptions/{key}/redeliver"
        eventually(lambda: int(time.time()) > int(endpoint.got[-1].headers["webhook-timestamp"]))
        assert ask(server, "POST", path, event_id=names[1]).json() == {"redelivering": 1, "left_out": 0}
        eventually(ended(server, key))
        assert ask(server, "POST", path).json() == {"redelivering": 2, "left_out": 0}
        eventually(ended(server, key))
        assert endpoint.event_ids == [*names, names[1], names[0], names[2]]
        first, again = endpoint.got[1], endpoint.got[6]
        assert first.body == again.body
        assert int(again.headers["webhook-timestamp"]) > int(first.headers["webhook-timestamp"])
        assert all(verified(OLD, got) for got in endpoint.got)
        standing = shown(server, key)
        assert (standing["acknowledged"], standing["failed"], standing["redeliveries"]) == (6, 0, 3)
        assert ask(server, "POST", path).json() == {"redelivering": 0, "left_out": 0}


def test_an_acknowledged_event_may_be_sent_again_and_stays_acknowledged(server: Server) -> None:
    with endpoints(script(OK, BROKEN)) as (endpoint,):
        key = subscribe(server, endpoint.url, {"retry": {"kind": "fixed", "base_s": 0.01, "max_attempts": 5}})
        (name,) = publish(server, 1, "again")
        eventually(ended(server, key))
        assert ask(server, "POST", f"/subscriptions/{key}/redeliver", event_id=name).status == 202
        eventually(lambda: len(endpoint.got) == 2 and ended(server, key)())
        (delivery,) = ask(server, "GET", f"/subscriptions/{key}/deliveries").json()["deliveries"]
        assert (delivery["state"], delivery["attempts"], delivery["last"]) == (
            "acknowledged",
            2,
            "answered 500",
        )
        standing = shown(server, key)
        assert (standing["acknowledged"], standing["failed"], standing["dead_letters"]) == (1, 0, 0)


def test_redelivery_of_a_span_of_time(server: Server) -> None:
    with endpoints(script(*[BROKEN] * 4)) as (endpoint,):
        key = subscribe(server, endpoint.url, ONCE)
        for number in range(4):
            publish(server, 1, f"span-{number}")
        eventually(ended(server, key))
        path = f"/subscriptions/{key}"
        times = [d["published_us"] for d in ask(server, "GET", f"{path}/deliveries").json()["deliveries"]]
        span = ask(server, "POST", f"{path}/redeliver", since_us=times[1], until_us=times[2])
        assert span.json()["redelivering"] == 2
        eventually(ended(server, key))
        assert sorted(endpoint.event_ids[4:]) == ["evt_span-1_0", "evt_span-2_0"]
        assert ask(server, "POST", f"{path}/redeliver", since_us=times[3] + 1).json()["redelivering"] == 0


def test_what_cannot_be_redelivered(server: Server) -> None:
    with endpoints(always(None)) as (endpoint,):
        key = subscribe(server, endpoint.url, {"timeout_s": 60, "retry": {"kind": "none"}})
        path = f"/subscriptions/{key}/redeliver"
        (name,) = publish(server, 1, "impossible")
        assert ask(server, "POST", path, event_id=name).status == 409  # on its way
        assert ask(server, "POST", path, event_id="evt_no_1").status == 404
        for fields in (
            {"event_id": 5},
            {"event_id": name, "since_us": 1},
            {"since_us": -1},
            {"since_us": 1.5},
            {"until_us": "now"},
            {"state": "failed"},
        ):
            assert ask(server, "POST", path, **fields).status == 400
        change(server, key, enabled=False)
        assert ask(server, "POST", path).status == 409
        assert ask(server, "DELETE", f"/subscriptions/{key}").json() == {"dropped": 1}


def test_a_dead_letter_that_waits_for_a_look_is_redelivered_at_once(server: Server) -> None:
    with endpoints(script(BROKEN)) as (endpoint,):
        policy = {"retry": {"kind": "none"}, "redelivery": {"every_s": 36000, "rounds": 9}}
        key = subscribe(server, endpoint.url, policy)
        publish(server, 1, "look")
        eventually(lambda: shown(server, key)["backing_off"] == 1)
        assert ask(server, "POST", f"/subscriptions/{key}/redeliver").json()["redelivering"] == 1
        eventually(ended(server, key))
        assert (shown(server, key)["acknowledged"], len(endpoint.got)) == (1, 2)


def test_deliveries_page_by_page(server: Server) -> None:
    with endpoints(lambda number, got: BROKEN if number % 2 else OK) as (endpoint,):
        key = subscribe(server, endpoint.url, {"retry": {"kind": "none"}, "max_in_flight": 1})
        names = publish(server, 11, "paged")
        eventually(ended(server, key))
        path = f"/subscriptions/{key}/deliveries"
        for state, expected in (
            ("", names),
            ("failed", names[1::2]),
            ("acknowledged", names[::2]),
            ("pending", []),
        ):
            seen, after = [], ""
            while True:
                query = f"?limit=2{state and '&state='}{state}{after}"
                page = ask(server, "GET", path + query).json()
                seen += [delivery["event_id"] for delivery in page["deliveries"]]
                if page["next"] is None:
                    break
                after = f"&after={page['next']}"
            assert seen == expected
        for query in (
            "limit=0",
            "limit=1001",
            "limit=x",
            "state=lost",
            "after=-1",
            "page=1",
            "limit=1&limit=1",
        ):
            assert ask(server, "GET", f"{path}?{query}").status == 400
