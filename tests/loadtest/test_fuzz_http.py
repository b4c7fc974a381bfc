"""Protects the servers from hostile HTTP, byte by byte over raw sockets.

Whatever a client sends, the server answers or hangs up, never with a 5xx (but 503, which says when to come
again), logs no unhandled exception, and goes on to serve the next client.
"""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.loadtest import hostile
from tests.loadtest.conversations import Heard, Talk, Watched, converse, converse_all, watched
from tests.loadtest.doors import receiver_arguments
from tests.loadtest.hostile import post, signed_headers
from tests.loadtest.servers import event

ROLES = ("receiver", "provider")


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Watched]]:
    with (
        watched(*receiver_arguments(tmp_path_factory.mktemp("hostile"))) as receiver,
        watched("provider", "--drain-s", "0") as provider,
    ):
        yield {"receiver": receiver, "provider": provider}


def assert_no_server_error(heard: Heard, talk: Talk) -> None:
    for status in heard.statuses:
        assert status < 500 or (status == 503 and b"\r\nretry-after: " in heard.data.lower()), (talk, heard)


def no_constant(name: str) -> Any:
    raise AssertionError(f"{name} is not JSON")


def assert_well(server: Watched, role: str) -> None:
    """It logged no failure, and a well-formed client is served as ever."""
    assert server.failures() == []
    name, body = event("well", 1)
    if role == "receiver":
        assert server.post_event(body, name).status == 204
    else:
        assert server.request("POST", "/events", body).status == 202
        page = server.request("GET", "/events?limit=1000")
        assert page.status == 200
        json.loads(page.body, parse_constant=no_constant)
    assert server.request("GET", "/health").status == 200


def assert_withstands(server: Watched, role: str, talks: list[Talk]) -> None:
    for talk, heard in zip(talks, asyncio.run(converse_all(server.port, talks)), strict=True):
        assert_no_server_error(heard, talk)
    assert_well(server, role)


TALKS = st.lists(st.randoms(use_true_random=False), min_size=1, max_size=12)
CONVERSATIONS = settings(max_examples=12, suppress_health_check=[HealthCheck.too_slow])


@pytest.mark.parametrize("role", ROLES)
@CONVERSATIONS
@given(rngs=TALKS)
def test_hostile_conversations(role: str, servers: dict[str, Watched], rngs: list[random.Random]) -> None:
    assert_withstands(servers[role], role, [hostile.some_talk(rng, role) for rng in rngs])


@pytest.mark.slow
@pytest.mark.parametrize("role", ROLES)
@settings(CONVERSATIONS, max_examples=1000)
@given(rngs=TALKS)
def test_very_many_conversations(role: str, servers: dict[str, Watched], rngs: list[random.Random]) -> None:
    assert_withstands(servers[role], role, [hostile.some_talk(rng, role) for rng in rngs])


@pytest.mark.parametrize("kind", hostile.KINDS, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("role", ROLES)
def test_every_kind_of_hostility(role: str, kind: hostile.Kind, servers: dict[str, Watched]) -> None:
    """Thirty of each kind, some abandoned at once; seeded, so that a failure can be looked at again."""
    rngs = (random.Random(f"{kind.__name__} {number}") for number in range(30))
    talks = [Talk(kind(rng, role), rng.choice((1, 3)), rng.random() < 0.2) for rng in rngs]
    assert_withstands(servers[role], role, talks)


def signed_event(number: int) -> bytes:
    _, body = event("pipelined", number)
    return post("/webhooks/standard", body, signed_headers("/webhooks/standard", body))


@pytest.mark.parametrize("after", [b"", b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n", b"not HTTP\r\n\r\n"])
def test_who_hangs_up_while_events_are_stored_causes_no_failure(
    after: bytes, servers: dict[str, Watched]
) -> None:
    """The answer finds the connection closed: its client went, or sent what is not HTTP after its request."""
    receiver = servers["receiver"]
    talks = [Talk(signed_event(number) + after, hang_up=True) for number in range(200)]
    asyncio.run(converse_all(receiver.port, talks))
    assert_well(receiver, "receiver")


def test_pipelined_requests_are_answered_in_order(servers: dict[str, Watched]) -> None:
    receiver = servers["receiver"]
    health, nothing = (b"GET %b HTTP/1.1\r\nhost: x\r\n\r\n" % path for path in (b"/health", b"/nothing"))
    heard = asyncio.run(
        converse(receiver.port, Talk(signed_event(500) + health + nothing + signed_event(501)))
    )
    assert heard.statuses == (204, 200, 404, 204)


SMUGGLED = b"GET /smuggled HTTP/1.1\r\nhost: x\r\n\r\n"


@pytest.mark.parametrize(
    "frame",
    [
        b"content-length: 5\r\ntransfer-encoding: chunked\r\n",
        b"transfer-encoding: chunked\r\ncontent-length: 5\r\n",
        b"content-length: 0\r\ncontent-length: 5\r\n",
        b"content-length: 5\r\ncontent-length: 5\r\n",
        b"content-length: 0, 5\r\n",
        b"content-length: +5\r\n",
        b"content-length: 0x5\r\n",
        b"content-length : 5\r\n",
        b"transfer-encoding: chunked, identity\r\n",
        b"transfer-encoding: xchunked\r\n",
        b"transfer-encoding : chunked\r\n",
        b"transfer-encoding:\x0bchunked\r\n",
        b"x: y\rtransfer-encoding: chunked\r\n",
    ],
)
@pytest.mark.parametrize("role", ROLES)
def test_a_body_whose_end_is_in_doubt_ends_the_connection(
    role: str, frame: bytes, servers: dict[str, Watched]
) -> None:
    """One refusal, no second answer: else what follows could pass for another's request (RFC 9112, 11.2)."""
    path = hostile.PATHS[role][0].encode()
    data = b"POST %b HTTP/1.1\r\nhost: x\r\n%b\r\n0\r\n\r\n%b" % (path, frame, SMUGGLED)
    heard = asyncio.run(converse(servers[role].port, Talk(data)))
    assert b"/smuggled" not in heard.data
    assert heard.statuses in ((400,), (501,)), heard


def test_expect_100_continue_is_honoured_only_before_a_body_is_wanted(servers: dict[str, Watched]) -> None:
    """RFC 9110, section 10.1.1: an interim 100, then the answer."""
    _, body = event("expected", 1)
    headers = signed_headers("/webhooks/standard", body) + b"expect: 100-continue\r\n"
    heard = asyncio.run(converse(servers["receiver"].port, Talk(post("/webhooks/standard", body, headers))))
    assert heard.statuses in ((100, 204), (204,))


def test_an_upgrade_that_is_not_offered_is_passed_over(servers: dict[str, Watched]) -> None:
    """RFC 9110, section 7.8: a server may ignore Upgrade; h2c must not open a way past the checks."""
    for wish in (b"h2c\r\nhttp2-settings: AAMAAABk", b"websocket\r\nsec-websocket-version: 13", b"TLS/1.0"):
        data = b"GET /health HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: " + wish + b"\r\n\r\n"
        heard = asyncio.run(converse(servers["receiver"].port, Talk(data)))
        assert heard.statuses in ((200,), (400,)), heard
        assert b"101 " not in heard.data


def test_an_endless_request_is_cut_off(servers: dict[str, Watched]) -> None:
    """Headers that never end do not pile up: the server hangs up before 16 MB."""
    receiver = servers["receiver"]
    data = b"GET /health HTTP/1.1\r\nhost: x\r\n" + b"x: " + b"a" * 16_000_000
    before = time.monotonic()
    heard = asyncio.run(converse(receiver.port, Talk(data)))
    assert all(400 <= status < 500 for status in heard.statuses), heard
    assert time.monotonic() - before < 20
    assert_well(receiver, "receiver")
