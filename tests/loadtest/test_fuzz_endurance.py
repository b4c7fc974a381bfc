"""Protects the servers over a long time: hostile requests by the ten thousands cost them neither memory nor
files, and none goes unaccounted for.
"""

from __future__ import annotations

import asyncio
import http.client
import json
import random
import re
import socket
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.loadtest import hostile
from tests.loadtest.conversations import Watched, converse_all, watched
from tests.loadtest.doors import provider_arguments, receiver_arguments
from tests.loadtest.hostile import some_talk
from tests.loadtest.servers import eventually

ROLES = ("receiver", "provider")

AT_ONCE = 200


def arguments_of(role: str, folder: Path) -> list[str]:
    return receiver_arguments(folder) if role == "receiver" else provider_arguments(folder)


def settled(server: Watched) -> dict[str, Any]:
    """Its counts once nothing is in progress but the request for them."""

    def is_quiet() -> bool:
        status = server.status()
        return status["http_connections_open"] == 1 and status["body_bytes_held"] == 0

    eventually(is_quiet, within_s=30)
    status: dict[str, Any] = server.status()
    return status


def abuse(server: Watched, role: str, first: int, count: int) -> int:
    """So many hostile conversations, from the seed `first` on; returns how many answers came."""
    answers = 0
    for start in range(first, first + count, 1000):
        rngs = (random.Random(seed) for seed in range(start, min(start + 1000, first + count)))
        talks = [some_talk(rng, role) for rng in rngs]
        for talk, heard in zip(talks, asyncio.run(converse_all(server.port, talks, AT_ONCE)), strict=True):
            assert not any(500 <= status != 503 for status in heard.statuses), (talk, heard)
            answers += len(heard.statuses)
        assert server.failures() == []
    return answers


def endure(role: str, folder: Path, warm_up: int, conversations: int, allowance_bytes: int) -> None:
    with watched(*arguments_of(role, folder)) as server:
        process = psutil.Process(server.process.pid)
        abuse(server, role, 0, warm_up)
        settled(server)
        files, warm_bytes = process.num_fds(), process.memory_info().rss
        assert abuse(server, role, warm_up, conversations - warm_up) > conversations / 2
        status = settled(server)
        assert status["handler_errors"] == 0
        # The provider's own client keeps connections for a while.
        eventually(lambda: process.num_fds() <= files, within_s=90)
        grown_bytes = process.memory_info().rss - warm_bytes
        assert grown_bytes < allowance_bytes, f"{grown_bytes / 2**20:.1f} MiB more than after the warm-up"
        if role == "receiver":
            assert status["requests"] == status["acknowledged"] + status["rejected"] + status["hung_up"]
            reasons = {name: count for name, count in status.items() if name.startswith("rejected_")}
            assert status["rejected"] == sum(reasons.values())
        else:
            assert status["streams"] == status["waiting_polls"] == 0


@pytest.mark.parametrize("role", ROLES)
def test_5000_hostile_conversations(role: str, tmp_path: Path) -> None:
    """The allowance is what the allocators still take on the way to their plateau: 16 MiB, and half more."""
    endure(role, tmp_path, 1500, 5000, 24 * 2**20)


@pytest.mark.slow
@pytest.mark.parametrize("role", ROLES)
def test_100_000_hostile_conversations(role: str, tmp_path: Path) -> None:
    """From the plateau on the allowance is for peaks that come late: more connections and larger bodies at a
    time than before, 2 MiB in 15,000 conversations. A leak of 100 bytes a conversation would be above it.
    """
    endure(role, tmp_path, 10_000, 100_000, 8 * 2**20)


def ask(server: Watched, data: bytes) -> tuple[int, bytes]:
    """One well-formed request, and the status and body of the answer."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as connection:
        connection.sendall(data)
        answer = http.client.HTTPResponse(connection, method=data.partition(b" ")[0].decode())
        answer.begin()
        return answer.status, answer.read()


def well_formed(role: str, count: int) -> Iterator[tuple[str, str, bytes]]:
    """Method, path and bytes of requests that are hostile in what they hold, but have one answer each."""
    for number in range(count):
        rng = random.Random(f"account {number}")
        data = rng.choice((hostile.bodies, hostile.headers, hostile.greetings))(rng, role)
        words = re.match(r"([A-Z]+) ([^ ?]+)", data.decode("latin-1"))
        assert words is not None
        if words[2] != "/events/stream":  # which does not end
            yield words[1], words[2], data


def gained(before: dict[str, Any], after: dict[str, Any]) -> dict[str, int]:
    return {name: after[name] - before[name] for name in after if isinstance(after[name], int)}


def test_every_request_to_the_receiver_is_accounted_for(tmp_path: Path) -> None:
    """What the client saw, answer by answer, is what the server counts."""
    with watched(*receiver_arguments(tmp_path)) as server:
        before = settled(server)
        seen: Counter[int] = Counter()
        for method, path, data in well_formed("receiver", 600):
            status, _ = ask(server, data)
            if method == "POST" and path.startswith("/webhooks/"):
                seen[status] += 1
        counts = gained(before, settled(server))
        assert counts["requests"] == sum(seen.values())
        assert counts["acknowledged"] == seen[200] + seen[204] > 0
        assert counts["rejected_signature"] == seen[401] > 0
        assert counts["rejected_malformed"] == seen[400] + seen[415] > 0
        assert counts["rejected_too_large"] == seen[413]
        assert counts["hung_up"] == counts["handler_errors"] == 0


def test_every_request_to_the_provider_is_accounted_for(tmp_path: Path) -> None:
    """The same; events are counted as published or duplicates."""
    with watched(*provider_arguments(tmp_path)) as server:
        before = settled(server)
        polls: Counter[int] = Counter()
        refused = 0
        events: Counter[str] = Counter()
        for method, path, data in well_formed("provider", 600):
            status, body = ask(server, data)
            if path == "/events" and method in ("GET", "HEAD"):
                polls[status] += 1
            elif path == "/events" and status == 202:
                events.update(json.loads(body))
            refused += path in ("/events", "/subscriptions") and status in (400, 410)
        counts = gained(before, settled(server))
        assert counts["polls"] == sum(polls.values()) > 0
        assert counts["not_modified"] == polls[304]
        assert counts["bad_requests"] == refused > 0
        assert {name: counts[name] for name in events} == dict(events)
        assert counts["handler_errors"] == 0
