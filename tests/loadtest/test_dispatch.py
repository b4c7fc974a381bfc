"""Protects the sending of webhooks: what an endpoint may do to it, and cannot do to another."""

from __future__ import annotations

import csv
import email.utils
import json
import ssl
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trustme

from tests.loadtest.endpoints import STALL, Endpoint, always, answer, endpoints, script
from tests.loadtest.servers import Server, event, eventually, refused, running

OK, GONE, BROKEN = answer(204), answer(410), answer(500)
ONCE = {"timeout_s": 5.0, "retry": {"kind": "none"}}


def subscribe(server: Server, url: str, policy: object = None, **more: Any) -> str:
    body = {"url": url, **({} if policy is None else {"policy": policy}), **more}
    made = server.request("POST", "/subscriptions", json.dumps(body).encode())
    assert made.status == 201, made.body
    return str(made.json()["id"])


def publish(server: Server, count: int, run_id: str = "d") -> list[str]:
    names, events = zip(*(event(run_id, index) for index in range(count)), strict=True)
    batch = json.dumps([json.loads(body) for body in events]).encode()
    assert server.request("POST", "/events", batch).json()["published"] == count
    return list(names)


def shown(server: Server, key: str) -> Any:
    return server.request("GET", f"/subscriptions/{key}").json()


def ended(server: Server, key: str) -> Callable[[], bool]:
    return lambda: bool(shown(server, key)["pending"] == 0)


def sent_once(server: Server, endpoint: Endpoint, policy: object, count: int = 1) -> Any:
    """Publish to a new subscription and wait for the end: how the subscription then stands."""
    key = subscribe(server, endpoint.url, policy)
    publish(server, count, f"r{time.monotonic_ns()}")
    eventually(ended(server, key))
    return shown(server, key)


def change(server: Server, key: str, **fields: Any) -> Any:
    changed = server.request("PATCH", f"/subscriptions/{key}", json.dumps(fields).encode())
    assert changed.status == 200, changed.body
    return changed.json()


# One endpoint and the others.


@pytest.mark.parametrize("dead", [always(None), always((OK, 30.0))], ids=["black hole", "slow"])
def test_endpoints_that_do_not_answer_delay_no_other(dead: Any) -> None:
    """Two hold all slots they can get; the healthy one gets everything while they have given no answer."""
    with (
        endpoints(dead, dead, always(OK)) as (hole, second, healthy),
        running("provider", "--max-subscriptions", "3", "--max-in-flight", "9", "--drain-s", "0") as server,
    ):
        silent = {"timeout_s": 60.0, "retry": {"kind": "none"}, "max_in_flight": 50}
        holes = [subscribe(server, endpoint.url, silent) for endpoint in (hole, second)]
        well = subscribe(server, healthy.url)
        names = publish(server, 200)
        eventually(ended(server, well))
        assert shown(server, well)["acknowledged"] == 200
        assert sorted(healthy.event_ids) == sorted(names)
        for key in holes:
            standing = shown(server, key)
            assert (standing["acknowledged"], standing["failed"], standing["pending"]) == (0, 0, 200)
            assert 1 <= standing["in_flight"] <= 5
        status = server.status()
        assert status["in_flight"] == len(hole.got) + len(second.got) <= 9


def test_the_slots_of_all_are_bounded() -> None:
    with (
        endpoints(*[always(None)] * 4) as served,
        running("provider", "--max-subscriptions", "4", "--max-in-flight", "10", "--drain-s", "0") as server,
    ):
        for endpoint in served:
            subscribe(server, endpoint.url, {"timeout_s": 60.0, "retry": {"kind": "none"}})
        publish(server, 50)
        eventually(lambda: all(endpoint.got for endpoint in served))
        status = server.status()
        assert status["in_flight"] == sum(len(endpoint.got) for endpoint in served) <= 10
        assert status["waiting"] == 200 - status["in_flight"]


def test_a_full_queue_drops_the_newest_and_says_so() -> None:
    """Five are on their way, the rest fail at once, but not in silence: the owner can have them."""
    with (
        endpoints(lambda number, got: None if number < 1 else OK) as (endpoint,),
        running("provider", "--queue-limit", "5", "--drain-s", "0") as server,
    ):
        key = subscribe(
            server, endpoint.url, {"timeout_s": 1.0, "retry": {"kind": "none"}, "max_in_flight": 1}
        )
        names = publish(server, 8)
        standing = shown(server, key)
        assert (standing["pending"], standing["failed"], standing["dropped"]) == (5, 3, 3)
        failed = server.request("GET", f"/subscriptions/{key}/deliveries?state=failed").json()["deliveries"]
        assert [delivery["event_id"] for delivery in failed] == names[5:]
        assert all("dropped: 5 deliveries" in delivery["last"] for delivery in failed)
        eventually(ended(server, key))
        assert endpoint.event_ids == names[:5]
        again = server.request("POST", f"/subscriptions/{key}/redeliver", b"{}").json()
        assert again == {"redelivering": 4, "left_out": 0}
        eventually(ended(server, key))
        assert shown(server, key)["acknowledged"] == 8
        assert sorted(endpoint.event_ids) == sorted([*names, names[0]])
        code, _, err = server.stop()
        assert code == 0
        assert err.count("dropped and counted") == 1


# What an endpoint may answer.


def test_410_disables_an_endpoint_at_once_until_its_owner_enables_it() -> None:
    with endpoints(script(GONE)) as (endpoint,), running("provider") as server:
        key = subscribe(server, endpoint.url, {"retry": {"kind": "fixed", "base_s": 0.01, "max_attempts": 9}})
        publish(server, 1, "first")
        eventually(ended(server, key))
        publish(server, 3, "second")
        eventually(ended(server, key))
        standing = shown(server, key)
        assert (standing["state"], standing["reason"]) == ("disabled", "gone")
        assert (len(endpoint.got), standing["refusals"], standing["unsent"], standing["failed"]) == (
            1,
            1,
            4,
            4,
        )
        assert server.status()["disabled"] == 1
        assert change(server, key, enabled=True)["state"] == "enabled"
        names = publish(server, 1, "third")
        eventually(ended(server, key))
        assert endpoint.event_ids[1:] == names


@pytest.mark.parametrize(
    ("rule", "requests"),
    [
        ({"consecutive_failures": 3}, 3),
        ({"failing_share": 0.5, "share_attempts": 4}, 4),
    ],
)
def test_failing_disables_an_endpoint(rule: dict[str, Any], requests: int) -> None:
    with endpoints(always(BROKEN)) as (endpoint,), running("provider") as server:
        standing = sent_once(server, endpoint, {**ONCE, "max_in_flight": 1, "disabling": rule}, 8)
        assert (standing["state"], standing["reason"]) == ("disabled", "failing")
        assert (len(endpoint.got), standing["unsent"], standing["dead_letters"]) == (
            requests,
            8 - requests,
            8,
        )


def test_an_endpoint_is_off_for_a_while_and_then_afresh() -> None:
    """Off after one failure, for a second: what is due then is not sent, what is due later is."""
    rule = {"consecutive_failures": 1, "re_enable_after_s": 1.0}
    with endpoints(script(BROKEN)) as (endpoint,), running("provider") as server:
        key = subscribe(server, endpoint.url, {**ONCE, "max_in_flight": 1, "disabling": rule})
        publish(server, 3, "early")
        eventually(ended(server, key))
        assert len(endpoint.got) == 1
        assert 0 < shown(server, key)["enabled_again_in_s"] <= 1.0
        eventually(lambda: shown(server, key)["state"] == "enabled")
        names = publish(server, 2, "late")
        eventually(ended(server, key))
        assert endpoint.event_ids[1:] == names
        standing = shown(server, key)
        assert (standing["acknowledged"], standing["failed"], standing["unsent"]) == (2, 3, 2)


def test_failing_for_a_time_disables_an_endpoint() -> None:
    """Tried every 0.1 s; off once 0.35 s of nothing but failures have passed, so before the tenth try."""
    policy = {
        "retry": {"kind": "fixed", "base_s": 0.1, "max_attempts": 50},
        "disabling": {"failing_for_s": 0.35},
    }
    with endpoints(always(BROKEN)) as (endpoint,), running("provider") as server:
        standing = sent_once(server, endpoint, policy)
        assert (standing["state"], standing["unsent"]) == ("disabled", 1)
        assert endpoint.got[-1].at_s - endpoint.got[0].at_s >= 0.25
        assert 2 <= len(endpoint.got) <= 5


def test_retry_after_is_heeded_up_to_its_limit() -> None:
    """Seconds and dates put the next attempt off, and nobody can put it off for a year."""
    date_s = int(time.time()) + 3
    date = email.utils.formatdate(date_s, usegmt=True)
    replies = [
        answer(429, "retry-after: 1"),
        answer(503, f"retry-after: {date}"),
        answer(429, "retry-after: 31536000"),
    ]
    policy = {"retry": {"kind": "fixed", "base_s": 0.01, "max_attempts": 9}, "retry_after_limit_s": 2.5}
    with endpoints(script(*replies)) as (endpoint,), running("provider") as server:
        standing = sent_once(server, endpoint, policy)
        assert (standing["acknowledged"], standing["refusals"]) == (1, 3)
        assert endpoint.got[1].at_s - endpoint.got[0].at_s >= 1.0
        assert int(endpoint.got[2].headers["webhook-timestamp"]) >= date_s
        assert endpoint.got[3].at_s - endpoint.got[2].at_s >= 2.5


@pytest.mark.parametrize(
    ("reply", "counted"),
    [
        (b"\x00\x16\x03garbage\r\n\r\n", "connection_errors"),
        (b"SSH-2.0-OpenSSH_9.6\r\n", "connection_errors"),
        (b"HTTP/1.1 999999 X\r\n\r\n", "connection_errors"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\n12345", "connection_errors"),
        (b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 500_000, "connection_errors"),
        (b"HTTP/1.1 200 OK\r\nx: " + b"y" * 3_000_000, "connection_errors"),
        (b"HTTP/1.1 100 Continue\r\n\r\n" * 1000, "timeouts"),
        (STALL, "timeouts"),
        (b"HTTP/1.1 200", "timeouts"),
        (answer(200)[:-2], "timeouts"),
        (answer(301, "location: /x"), "refusals"),
        (answer(307, "location: /x"), "refusals"),
        (answer(404), "refusals"),
    ],
    ids=lambda value: repr(value[:30]) if isinstance(value, bytes) else value,
)  # fmt: skip
def test_whatever_comes_back_is_a_failed_attempt_of_its_kind(
    reply: bytes, counted: str, provider: Server
) -> None:
    with endpoints(always(reply)) as (endpoint,):
        standing = sent_once(provider, endpoint, {**ONCE, "timeout_s": 0.5})
        provider.request("DELETE", f"/subscriptions/{standing['id']}")
    kinds = ("timeouts", "connection_errors", "refusals", "forbidden")
    assert {kind: standing[kind] for kind in kinds} == {kind: int(kind == counted) for kind in kinds}
    assert (standing["failed"], len(endpoint.got), standing["dispatched"]) == (1, 1, 1)


@pytest.fixture(scope="module")
def provider() -> Any:
    with running("provider") as server:
        yield server


def test_an_endless_answer_is_read_to_a_limit_only(provider: Server) -> None:
    """It says 200, so it is acknowledged; of its 50 MB a little is read, and the connection is given up."""
    with endpoints(always(answer(200, body=b"x" * 50_000_000))) as (endpoint,):
        key = subscribe(provider, endpoint.url, {**ONCE, "max_in_flight": 1})
        publish(provider, 3, "endless")
        eventually(ended(provider, key))
        standing = shown(provider, key)
        provider.request("DELETE", f"/subscriptions/{key}")
    assert (standing["acknowledged"], standing["connections_opened"], endpoint.accepted) == (3, 3, 3)
    assert standing["response_bytes"] < 3 * 500_000
    assert endpoint.written < 3 * 20_000_000  # what fits into the system's buffers


# Redirects.


def redirecting(to: str, status: int = 307) -> bytes:
    return answer(status, f"location: {to}")


@pytest.mark.parametrize("status", [307, 308])
def test_redirects_that_keep_the_method_are_followed_as_far_as_allowed(status: int, provider: Server) -> None:
    with endpoints(always(OK)) as (target,), endpoints(always(redirecting(target.url, status))) as (first,):
        standing = sent_once(provider, first, {**ONCE, "max_redirects": 1})
        provider.request("DELETE", f"/subscriptions/{standing['id']}")
        assert (standing["acknowledged"], standing["redirects"], standing["dispatched"]) == (1, 1, 1)
        (given,), (asked,) = target.got, first.got
        assert given.start == "POST /hook HTTP/1.1"
        assert (given.body, given.headers["webhook-signature"]) == (
            asked.body,
            asked.headers["webhook-signature"],
        )


@pytest.mark.parametrize("status", [300, 301, 302, 303, 304])
def test_a_redirect_that_may_become_a_get_is_a_failure(status: int, provider: Server) -> None:
    with endpoints(always(OK)) as (target,), endpoints(always(redirecting(target.url, status))) as (first,):
        standing = sent_once(provider, first, {**ONCE, "max_redirects": 2})
        provider.request("DELETE", f"/subscriptions/{standing['id']}")
        assert (standing["refusals"], standing["redirects"], target.accepted) == (1, 0, 0)


def test_a_circle_of_redirects_ends(provider: Server) -> None:
    with endpoints(always(redirecting("/hook"))) as (endpoint,):
        standing = sent_once(provider, endpoint, {**ONCE, "max_redirects": 2})
        provider.request("DELETE", f"/subscriptions/{standing['id']}")
        assert (len(endpoint.got), standing["refusals"], standing["redirects"]) == (3, 1, 2)


@pytest.mark.parametrize(
    "to",
    ["http://127.0.0.2:{port}/", "http://[::ffff:127.0.0.2]:{port}/", "http://2130706434:{port}/",
     "http://u@127.0.0.1:{port}/", "//127.0.0.2:{port}/", "file:///etc/passwd", "http://[", "gopher://x/"],
)  # fmt: skip
def test_a_redirect_leads_to_allowed_hosts_only(to: str) -> None:
    """The whole of 127/8 is this machine; with one address allowed the others are as foreign as any."""
    with (
        endpoints(always(OK), host="0.0.0.0") as (target,),
        endpoints(always(redirecting(to.format(port=target.port)))) as (first,),
        running("provider", "--allow-host", "127.0.0.1") as server,
    ):
        standing = sent_once(server, first, {**ONCE, "max_redirects": 2})
        assert (standing["failed"], standing["forbidden"], target.accepted) == (1, 1, 0)
        (delivery,) = server.request("GET", f"/subscriptions/{standing['id']}/deliveries").json()[
            "deliveries"
        ]
        assert delivery["attempts"] == 1


def test_a_host_that_is_not_allowed_is_refused_when_it_subscribes() -> None:
    with endpoints(always(OK), host="0.0.0.0") as (endpoint,):
        foreign = f"http://127.0.0.2:{endpoint.port}/"
        with running("provider", "--allow-host", "127.0.0.1") as server:
            key = subscribe(server, endpoint.url)
            for method, path in (("POST", "/subscriptions"), ("PATCH", f"/subscriptions/{key}")):
                answered = server.request(method, path, json.dumps({"url": foreign}).encode())
                assert answered.status == 400
                assert "allowed: 127.0.0.1" in answered.json()["error"]
            assert shown(server, key)["url"] == endpoint.url
        assert endpoint.accepted == 0
        said = refused("provider", "--subscribe", foreign, "--allow-host", "127.0.0.1")
        assert foreign in said
        assert "allowed: 127.0.0.1" in said
    assert "--allow-host" in refused("provider", "--allow-host", "nobody at home")


# TLS.


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


def serving(authority: trustme.CA, *names: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(*names).configure_cert(context)
    return context


def test_https_endpoints_are_verified(authority: trustme.CA, tmp_path: Path) -> None:
    """By our own authority, and by name; a certificate of another host or authority is no certificate."""
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    stranger = serving(trustme.CA(), "127.0.0.1")
    with (
        endpoints(always(OK), tls=serving(authority, "127.0.0.1")) as (good,),
        endpoints(always(OK), tls=serving(authority, "elsewhere.example")) as (other,),
        endpoints(always(OK), tls=stranger) as (unknown,),
        running("provider", "--tls-ca", str(tmp_path / "ca.pem")) as server,
    ):
        standing = sent_once(server, good, {**ONCE, "max_in_flight": 1}, count=5)
        assert (standing["acknowledged"], standing["connections_opened"]) == (5, 1)
        assert (standing["connections_reused"], standing["requests_per_connection"]) == (4, 5.0)
        server.request("DELETE", f"/subscriptions/{standing['id']}")
        for endpoint in (other, unknown):
            standing = sent_once(server, endpoint, ONCE)
            assert (standing["failed"], standing["connection_errors"], endpoint.got) == (1, 1, [])
            server.request("DELETE", f"/subscriptions/{standing['id']}")
        status = server.status()
        assert (status["connections_opened"], status["connections_reused"]) == (1, 4)


def test_without_its_authority_nobody_is_trusted(authority: trustme.CA, provider: Server) -> None:
    with endpoints(always(OK), tls=serving(authority, "127.0.0.1")) as (endpoint,):
        standing = sent_once(provider, endpoint, ONCE)
        provider.request("DELETE", f"/subscriptions/{standing['id']}")
        assert (standing["connection_errors"], endpoint.got) == (1, [])


def test_no_redirect_leads_from_https_to_http(authority: trustme.CA, tmp_path: Path) -> None:
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    with (
        endpoints(always(OK)) as (plain,),
        endpoints(always(redirecting(plain.url)), tls=serving(authority, "127.0.0.1")) as (first,),
        running("provider", "--tls-ca", str(tmp_path / "ca.pem")) as server,
    ):
        standing = sent_once(server, first, {**ONCE, "max_redirects": 2})
        assert (standing["forbidden"], plain.accepted) == (1, 0)


# The ledger, presets, and the model's policies.


def test_the_ledger_is_whole_however_little_is_remembered(tmp_path: Path) -> None:
    """Two deliveries are remembered of each kind; all rows are written, a deleted subscription's as well."""
    with (
        endpoints(lambda number, got: BROKEN if number % 3 == 0 else OK, always(None)) as (flaky, hole),
        running(
            "provider", "--history", "2", "--ledger", f"{tmp_path}/ledger.csv", "--drain-s", "0"
        ) as server,
    ):
        early = publish(server, 2, "early")
        key = subscribe(server, flaky.url, ONCE)
        silent = subscribe(server, hole.url, {**ONCE, "timeout_s": 60.0})
        names = publish(server, 20, "more")
        eventually(ended(server, key))
        standing = shown(server, key)
        assert (standing["acknowledged"], standing["failed"]) == (13, 7)
        remembered = server.request("GET", f"/subscriptions/{key}/deliveries").json()["deliveries"]
        assert len(remembered) == 4
        assert server.request("DELETE", f"/subscriptions/{silent}").json() == {"dropped": 20}
        status = server.status()
        assert (status["failed"], status["dropped"], status["subscriptions"]) == (27, 20, 1)
        assert not (tmp_path / "ledger.csv").exists()
        assert server.stop() == (0, "", "")
    assert [path.name for path in tmp_path.iterdir()] == ["ledger.csv"]
    with (tmp_path / "ledger.csv").open() as file:
        rows = list(csv.DictReader(file))
    outcomes = {
        (row["endpoint"], row["outcome"]): sum(
            other["endpoint"] == row["endpoint"] and other["outcome"] == row["outcome"] for other in rows
        )
        for row in rows
    }
    assert outcomes == {
        ("", "published"): 2,
        (flaky.url, "acknowledged"): 13,
        (flaky.url, "failed"): 7,
        (hole.url, "failed"): 20,
    }
    assert {row["event_id"] for row in rows if row["endpoint"] == flaky.url} == set(names)
    assert {row["event_id"] for row in rows if row["endpoint"] == ""} == set(early)


def test_a_provider_s_preset_is_its_policy() -> None:
    with endpoints(always(OK)) as (endpoint,), running("provider", "--provider-preset", "svix") as server:
        svix = shown(server, subscribe(server, endpoint.url))["policy"]
        assert svix["timeout_s"] == 15.0
        assert svix["retry"]["gaps_s"] == [5.0, 300.0, 1800.0, 7200.0, 18000.0, 36000.0, 36000.0]
        assert svix["disabling"]["failing_for_s"] == 432000.0
        slack = shown(server, subscribe(server, endpoint.url, "slack"))["policy"]
        assert (slack["timeout_s"], slack["retry"]["gaps_s"]) == (3.0, [0.0, 60.0, 300.0])
        own = shown(server, subscribe(server, endpoint.url, {"preset": "slack", "max_redirects": 2}))[
            "policy"
        ]
        assert own == {**slack, "max_redirects": 2}
    assert "did you mean 'svix'" in refused("provider", "--provider-preset", "svx")
    assert "not allowed with" in refused("provider", "--provider-preset", "svix", "--webhook-json", "x")


def test_dead_letters_are_looked_at_as_the_policy_says() -> None:
    """Two looks, 0.3 s apart by the machine's clock: one fails, without retries, the next succeeds."""
    policy = {**ONCE, "redelivery": {"every_s": 0.3, "rounds": 2}}
    with endpoints(script(BROKEN, BROKEN)) as (endpoint,), running("provider") as server:
        standing = sent_once(server, endpoint, policy)
        assert (standing["acknowledged"], standing["dead_letters"], standing["redeliveries"]) == (1, 1, 2)
        looks = [got.at_s for got in endpoint.got[1:]]
        assert all(0 <= at_s % 0.3 < 0.2 for at_s in looks)
        assert 0.1 < looks[1] - looks[0] < 0.5
    with endpoints(always(BROKEN)) as (endpoint,), running("provider") as server:
        standing = sent_once(server, endpoint, policy)
        assert (standing["failed"], len(endpoint.got), standing["redeliveries"]) == (1, 3, 2)
    with endpoints(always(BROKEN)) as (endpoint,), running("provider") as server:
        policy = {**ONCE, "redelivery": {"every_s": 3600, "rounds": 2, "within_s": 0.001}}
        assert sent_once(server, endpoint, policy)["redeliveries"] == 0


def test_limits_that_contradict_each_other_are_refused() -> None:
    assert "--max-in-flight" in refused("provider", "--max-in-flight", "5", "--max-subscriptions", "6")
    assert "--queue-limit" in refused("provider", "--queue-limit", "0")
    assert "--tls-ca" in refused("provider", "--tls-ca", __file__)
    assert "--tls-ca" in refused("provider", "--tls-ca", "/no/such/file")
