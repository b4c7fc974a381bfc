"""Protects the receiver that fetches: what webhooks failed to bring, and what they only told of."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from loadtest.contract import Envelope, MalformedEvent, is_notification, notification, parse_envelope
from loadtest.inbox import (
    Arrival,
    CannotComplete,
    Inbox,
    LedgerRow,
    StoredEvent,
    open_storage,
    read_ledger,
)
from loadtest.provider.policy import WebhookPolicy
from sim.errors import InputError
from tests.loadtest.endpoints import Got, answer, endpoints
from tests.loadtest.servers import Server, event, eventually, running

TEN = [event("r", index) for index in range(10)]


def publish(server: Server, indices: range) -> None:
    events = [json.loads(event("r", index)[1]) for index in indices]
    assert server.request("POST", "/events", json.dumps(events).encode()).status == 202


def receiver_arguments(inbox: Path, *more: str) -> tuple[str, ...]:
    return ("receiver", "--inbox", f"sqlite:///{inbox}", *more)


def by_index(inbox: Path) -> dict[int, LedgerRow]:
    return {row.event_index: row for row in read_ledger(inbox)}


def test_a_poll_brings_what_webhooks_did_not_and_leaves_the_rest_alone(tmp_path: Path) -> None:
    inbox = tmp_path / "i.db"
    with running("provider") as provider:
        reconciling = ("--reconcile-from", provider.url, "--reconcile-interval-s", "0.1")
        with running(*receiver_arguments(inbox, *reconciling)) as receiver:
            for index in (0, 2):  # the others' webhooks are lost
                message_id, body = event("r", index)
                assert receiver.post_event(body, message_id).status == 204
            publish(provider, range(4))
            eventually(lambda: receiver.status()["visible"] == 4)
            eventually(lambda: receiver.status()["reconcile_events"] == 4)
            # A retry that comes late is a copy, as it would be of a webhook.
            assert receiver.post_event(event("r", 1)[1], event("r", 1)[0]).status == 204
            status = receiver.status()
            metrics = receiver.request("GET", "/metrics").body.decode()
            assert receiver.stop()[0] == 0
    assert status["reconcile_known_events"] == 2
    assert status["reconcile_errors"] == 0
    assert "# HELP hookbench_receiver_reconcile_known_events_total Events that the source's" in metrics
    rows = by_index(inbox)
    assert {index: (row.via, row.copies) for index, row in rows.items()} == {
        0: ("webhook", 1), 1: ("poll", 2), 2: ("webhook", 1), 3: ("poll", 1),
    }  # fmt: skip
    assert all(row.visible_us for row in rows.values())


def test_reconciliation_outlives_the_provider_and_the_receiver(tmp_path: Path) -> None:
    inbox = tmp_path / "i.db"
    with running("provider") as provider:
        port = provider.port
        reconciling = ("--reconcile-from", provider.url, "--reconcile-interval-s", "0.1")
        with running(*receiver_arguments(inbox, *reconciling)) as receiver:
            publish(provider, range(3))
            eventually(lambda: receiver.status()["visible"] == 3)
            receiver.process.kill()
        publish(provider, range(3, 5))
        with running(*receiver_arguments(inbox, *reconciling)) as receiver:
            eventually(lambda: receiver.status()["accepted"] == 2)
            assert receiver.status()["reconcile_events"] == 2  # from its cursor on
            assert provider.stop()[0] == 0
            eventually(lambda: receiver.status()["reconcile_errors"] > 0)
            assert receiver.post_event(event("r", 8)[1], event("r", 8)[0]).status == 204
            with running("provider", "--port", str(port)) as again:
                publish(again, range(7))
                eventually(lambda: receiver.status()["accepted"] == 5)
                assert receiver.stop()[0] == 0
    assert {index: row.copies for index, row in by_index(inbox).items()} == dict.fromkeys((*range(7), 8), 1)


HANDLER = """
from pathlib import Path

async def handle(event):
    (Path(__file__).parent / f"{event.id}.json").write_bytes(event.payload)
"""


def test_what_a_thin_webhook_tells_of_is_fetched_before_it_is_handled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inbox = tmp_path / "i.db"
    (tmp_path / "thin_handler.py").write_text(HANDLER, encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}")
    with running("provider") as provider:
        flags = ("--fetch-from", provider.url, "--handler", "thin_handler:handle")
        with running(*receiver_arguments(inbox, *flags)) as receiver:
            told = {"url": f"{receiver.url}/webhooks/standard", "policy": {"notification_bytes": 200}}
            assert provider.request("POST", "/subscriptions", json.dumps(told).encode()).status == 201
            publish(provider, range(10))
            eventually(lambda: receiver.status()["visible"] == 10)
            # One that comes whole needs no fetch; one told of again is known.
            whole_id, whole = event("other", 0)
            assert receiver.post_event(whole, whole_id).status == 204
            notice = notification(parse_envelope(TEN[3][1]))
            assert receiver.post_event(notice, TEN[3][0]).status == 204
            eventually(lambda: receiver.status()["visible"] == 11)
            status, served = receiver.status(), provider.status()
            assert receiver.stop() == (0, "", "")
    assert (status["fetch_events"], status["fetch_requests"], served["fetches"]) == (10, 10, 10)
    assert status["duplicates"] == 1
    payloads = {path.stem: json.loads(path.read_bytes()) for path in tmp_path.glob("evt_*.json")}
    assert set(payloads) == {f"evt_r_{index}" for index in range(10)} | {whole_id}
    assert all("data" in payload for payload in payloads.values())


def test_a_notice_outlives_its_receiver_and_an_unfetchable_one_is_a_dead_letter(tmp_path: Path) -> None:
    inbox = tmp_path / "i.db"

    def behaviour(number: int, got: Got) -> bytes | None:
        assert got.start == "GET /events/evt_r_0 HTTP/1.1"
        return [None, answer(429, "retry-after: 1"), answer(500), answer(200, body=TEN[0][1])][min(number, 3)]

    notice = notification(parse_envelope(TEN[0][1]), 200)
    assert len(notice) == 200
    with endpoints(behaviour) as (source,):
        url = source.url.removesuffix("/hook")
        fetching = (
            "--fetch-from",
            url,
            "--fetch-retry-s",
            "0.05",
            "--lease-s",
            "0.3",
            "--fetch-attempts",
            "3",
        )
        lease = ("--lease-s", "0.3")
        with running(*receiver_arguments(inbox, *fetching, *lease)) as receiver:
            assert receiver.post_event(notice, TEN[0][0]).status == 204
            eventually(lambda: len(source.got) == 1)
            assert receiver.status()["visible"] == 0
            receiver.process.kill()
        with running(*receiver_arguments(inbox, *fetching, *lease)) as receiver:
            eventually(lambda: receiver.status()["visible"] == 1)
            assert source.got[2].at_s - source.got[1].at_s >= 1  # the Retry-After
            status = receiver.status()
            assert (status["fetch_rejected"], status["fetch_errors"], status["dead"]) == (1, 1, 0)
            assert receiver.stop()[0] == 0
    assert by_index(inbox)[0].visible_us
    with endpoints(lambda number, got: answer(404)) as (source,):
        url = source.url.removesuffix("/hook")
        fetching = ("--fetch-from", url, "--fetch-retry-s", "0.05", "--fetch-attempts", "3")
        with running(*receiver_arguments(tmp_path / "dead.db", *fetching)) as receiver:
            assert receiver.post_event(notice, TEN[0][0]).status == 204
            eventually(lambda: receiver.status()["dead"] == 1)
            status = receiver.status()
            assert (len(source.got), status["fetch_given_up"], status["waiting"]) == (3, 1, 0)
            assert receiver.stop()[0] == 0


class Script:
    """A completer that does as told."""

    def __init__(self, *outcomes: bytes | Exception | None) -> None:
        self.outcomes = list(outcomes)
        self.asked: list[str] = []

    async def open(self) -> None:
        pass

    async def close(self) -> None:
        pass

    def status(self) -> dict[str, Any]:
        return {}

    async def complete(self, event: StoredEvent) -> bytes | None:
        self.asked.append(event.id)
        await asyncio.sleep(0.01)
        outcome = self.outcomes.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome


def arrival(index: int, payload: bytes = b"{}") -> Arrival:
    return Arrival(Envelope(f"evt_{index}", "t", index, 0), payload, "webhook", 1)


def test_completed_events_are_stored_whole_and_failures_are_buried(inbox_url: str) -> None:
    async def run() -> tuple[Any, int]:
        completer = Script(b"whole", None, CannotComplete("gone"), RuntimeError("a secret"))
        inbox = Inbox(open_storage(inbox_url), completer=completer)
        await inbox.start()
        await inbox.submit([arrival(0), arrival(1, b"as it came"), arrival(2), arrival(3)])
        assert inbox.waiting == 4
        left = await inbox.drain(5)
        return inbox.status(), left

    status, left = asyncio.run(run())
    assert left == 0
    assert (status["visible"], status["dead"], status["waiting"]) == (2, 2, 0)
    storage = open_storage(inbox_url)
    try:
        listed = {each.event_id: (each.state, each.reason) for each in storage.events(None, 10)}
        storage.beat(5.0, 10)
        storage.replay(["visible"], None)
        storage.beat(5.0, 10)
        payloads = {each.id: bytes(each.payload) for each in storage.begin(range(1, 5))}
    finally:
        storage.close()
    assert listed["evt_0"][0] == listed["evt_1"][0] == "visible"
    assert listed["evt_2"] == ("dead", "gone")
    assert listed["evt_3"][0] == "dead"
    assert "RuntimeError at" in listed["evt_3"][1]
    assert "secret" not in listed["evt_3"][1]
    assert payloads == {"evt_0": b"whole", "evt_1": b"as it came"}


def test_storage_knows_fills_and_shows_only_what_is_its_own(inbox_url: str) -> None:
    one, other = open_storage(inbox_url), open_storage(inbox_url)
    try:
        for storage in (one, other):
            storage.beat(60.0, 0)
        rows = [("standard", f"evt_{index}", index, "t", "webhook", b"{}", 0, 0) for index in range(2)]
        (first, _), (second, _) = one.insert(rows)
        keys = [("standard", "evt_0"), ("standard", "evt_1"), ("github", "evt_0"), ("standard", "evt_9")]
        assert one.known(keys) == other.known(keys) == set(keys[:2])
        assert one.known([]) == set()
        one.fill([(first, b"whole"), (second, b"too")])
        other.fill([(first, b"not mine")])
        assert [(bytes(e.payload), e.attempt) for e in one.stored([first, second])] == [
            (b"whole", 0), (b"too", 0),
        ]  # fmt: skip
        assert other.stored([first, second]) == []
        one.settle([(first, 5)], [])
        one.fill([(first, b"late")])
        assert [e.seq for e in one.stored([first, second])] == [second]
    finally:
        one.close()
        other.close()


def test_a_notice_is_an_event_without_its_data() -> None:
    notice = notification(parse_envelope(TEN[7][1]), 50)
    assert parse_envelope(notice) == parse_envelope(TEN[7][1])
    assert is_notification(notice)
    assert not is_notification(TEN[7][1])
    with pytest.raises(MalformedEvent):
        is_notification(b"[]")
    for size in (-1, 1.5, True, 10**7):
        with pytest.raises(InputError, match="notification_bytes must be 0 to"):
            WebhookPolicy.from_table({"notification_bytes": size})
