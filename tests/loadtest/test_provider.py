"""Protects the provider: pages, ETags, and deliveries that are signed, retried, bounded, accounted."""

from __future__ import annotations

import csv
import http.server
import itertools
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from loadtest.consumers.page import parse_page
from loadtest.contract import envelope_of, now_us
from loadtest.inbox import read_ledger
from loadtest.provider.feed import CursorGone, Feed
from loadtest.provider.page import etag_matches
from loadtest.signatures import SignedRequest
from tests.loadtest.servers import SIGNER, Server, event, eventually, refused, running

FAST = {"timeout_s": 0.3, "retry": {"kind": "fixed", "base_s": 0.05, "max_attempts": 3}}


@pytest.fixture(scope="module")
def provider() -> Iterator[Server]:
    with running("provider", "--page-limit", "50") as server:
        events = [json.loads(event("feed", index)[1]) for index in range(60)]
        assert server.request("POST", "/events", json.dumps(events).encode()).json()["published"] == 60
        yield server


@contextmanager
def endpoint(answers: list[int | float | tuple[int, str]]) -> Iterator[tuple[str, list[Any]]]:
    """An endpoint that answers from a list, then 204: a status, (status, Retry-After), or seconds to stall.

    Yields its URL and the requests it got: (instant in s, headers, body).
    """
    script, got, lock = list(answers), [], threading.Lock()

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            with lock:
                got.append((time.monotonic(), {k.lower(): v for k, v in self.headers.items()}, body))
                step = script.pop(0) if script else 204
            if isinstance(step, float):
                time.sleep(step)
                step = 204
            status, retry_after = step if isinstance(step, tuple) else (step, None)
            self.send_response(status)
            if retry_after is not None:
                self.send_header("retry-after", retry_after)
            if status == 302:
                self.send_header("location", "/elsewhere")
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    class Quiet(http.server.ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_: object) -> None:
            pass  # the provider hung up on us: that is what a timeout looks like from here

    server = Quiet(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/hook", got
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def publish(server: Server, run_id: str, count: int) -> None:
    for index in range(count):
        assert server.request("POST", "/events", event(run_id, index)[1]).status == 202


def settled(server: Server) -> bool:
    status = server.status()
    return bool(status["acknowledged"] + status["failed"] == status["published"])


def delivered(
    tmp_path: Path, answers: list[Any], webhook: dict[str, Any], count: int = 1
) -> tuple[list[dict[str, str]], list[Any]]:
    """Publish events to a provider with this policy and a scripted endpoint: its ledger, the requests."""
    (tmp_path / "webhook.json").write_text(json.dumps(webhook))
    ledger = str(tmp_path / "ledger.csv")
    policy = str(tmp_path / "webhook.json")
    with (
        endpoint(answers) as (url, got),
        running("provider", "--subscribe", url, "--webhook-json", policy, "--ledger", ledger) as server,
    ):
        publish(server, "d", count)
        eventually(lambda: settled(server))
        assert server.stop() == (0, "", "")
    with (tmp_path / "ledger.csv").open() as file:
        return list(csv.DictReader(file)), got


def cursor_after(server: Server, count: int) -> str:
    """The cursor behind so many events."""
    cursor = ""
    for limit in (50, count - 50):
        cursor = server.request("GET", f"/events?limit={limit}{cursor and '&after='}{cursor}").json()[
            "cursor"
        ]
    return cursor


def test_pages_follow_the_cursor_to_the_end(provider: Server) -> None:
    seen, cursor = [], ""
    for _ in range(4):
        page = provider.request("GET", f"/events?limit=25&{cursor}").json()
        seen += [envelope_of(item).index for item in page["events"]]
        cursor = f"after={page['cursor']}"
        if not page["more"]:
            break
    assert seen == list(range(60))
    assert provider.request("GET", f"/events?{cursor}").json()["events"] == []


def test_an_unchanged_page_is_304(provider: Server) -> None:
    end = cursor_after(provider, 60)
    first = provider.request("GET", f"/events?after={end}")
    etag = {"if-none-match": first.headers["etag"]}
    again = provider.request("GET", f"/events?after={end}", headers=etag)
    assert (again.status, again.body, again.headers["etag"]) == (304, b"", first.headers["etag"])
    before = cursor_after(provider, 59)
    assert provider.request("GET", f"/events?after={before}", headers=etag).status == 200
    weak = {"if-none-match": f'"x", W/{first.headers["etag"]}'}
    assert provider.request("GET", f"/events?after={end}", headers=weak).status == 304


def test_a_new_event_changes_the_page() -> None:
    feed = Feed(page_limit=10)
    name, body = event("etag", 0)
    pages = [feed.page(None, None)]
    assert feed.publish(envelope_of(json.loads(body)), body) is not None
    assert feed.publish(envelope_of(json.loads(body)), body) is None
    pages.append(feed.page(None, None))
    assert pages[0].etag != pages[1].etag
    assert Feed(page_limit=10).page(None, None).etag != pages[0].etag
    assert json.loads(pages[1].body)["events"][0]["id"] == name
    assert etag_matches("*", pages[0].etag)
    assert not etag_matches("", pages[0].etag)


@pytest.mark.parametrize(
    "query",
    ["after=abc", "after=-1", "after=61", "after=", "after=٣", f"after={'9' * 30}", "limit=0", "limit=51",
     "limit=x", "limit=1.5", "limit=", "limit=1&limit=2", "page=3"],
)  # fmt: skip
def test_a_bad_query_is_400_and_says_why(provider: Server, query: str) -> None:
    quoted = query.replace("٣", "%D9%A3")
    answer = provider.request("GET", f"/events?{quoted}")
    assert answer.status == 400
    assert query.partition("=")[0] in answer.json()["error"]


def test_a_cursor_beyond_the_end_is_refused(provider: Server) -> None:
    beyond = cursor_after(provider, 60).replace("-60", "-61")
    assert provider.request("GET", f"/events?after={beyond}").status == 400


def test_a_cursor_of_another_run_is_410_with_a_code(provider: Server) -> None:
    former = json.loads(Feed(page_limit=10).page(None, None).body)["cursor"]
    answer = provider.request("GET", f"/events?after={former}")
    assert (answer.status, answer.json()["code"]) == (410, "cursor_gone")
    assert "start over" in answer.json()["error"]
    with pytest.raises(CursorGone):
        Feed(page_limit=10).page(former, None)


def test_publishing(provider: Server) -> None:
    before = provider.status()["published"]
    assert provider.request("POST", "/events", event("feed", 3)[1]).json() == {
        "published": 0,
        "duplicates": 1,
    }
    poison = b'{"id":"b","type":"t","index":1,"created_us":1,"data":"\\ud800"}'
    for body in (
        *(b"", b"{}", b"[1]", b"nonsense", b'[{"id": "x"}]', b'{"id":"\\ud800"}'),
        *(poison, b"[%b]" % poison, poison.replace(b"d800", b"DBFF")),
    ):
        assert provider.request("POST", "/events", body).status == 400
    good, bad = json.loads(event("batch", 1)[1]), {"id": "evt"}
    assert provider.request("POST", "/events", json.dumps([good, bad]).encode()).status == 400
    assert provider.status()["published"] == before  # a batch is taken whole or not at all


def test_what_is_published_can_be_read_from_its_page() -> None:
    """However deeply an accepted event is nested, the page around it does not stop its readers."""
    with running("provider") as server:
        for depth in range(700, 1000, 5):
            data = "[" * depth + "]" * depth
            body = f'{{"id":"d{depth}","type":"t","index":1,"created_us":1,"data":{data}}}'.encode()
            assert server.request("POST", "/events", body).status in (202, 400)
        assert server.status()["published"] > 0
        parse_page(server.request("GET", "/events").body, 0)


def test_deliveries_are_signed_and_whole(tmp_path: Path) -> None:
    ledger, got = delivered(tmp_path, [], FAST, count=5)
    bodies = {envelope_of(json.loads(body)).index: (headers, body) for _, headers, body in got}
    assert bodies.keys() == set(range(5))
    for index, (headers, body) in bodies.items():
        raw = {name.encode(): value.encode() for name, value in headers.items()}
        SIGNER.verify(SignedRequest(raw, body), time.time())
        assert headers["webhook-id"] == f"evt_d_{index}"
    assert [row["outcome"] for row in ledger] == ["acknowledged"] * 5
    for row in ledger:
        published, first, acknowledged = (
            int(row[name]) for name in ("published_us", "first_attempt_us", "acknowledged_us")
        )
        assert published <= first <= acknowledged <= now_us()


def test_a_flaky_endpoint_is_tried_again_after_the_stated_delay(tmp_path: Path) -> None:
    policy = {"timeout_s": 0.3, "retry": {"kind": "schedule", "gaps_s": [0.1, 0.2, 0.05]}}
    ledger, got = delivered(tmp_path, [500, 302, 0.6], policy)
    gaps = [later[0] - earlier[0] for earlier, later in itertools.pairwise(got)]
    for gap, least in zip(gaps, (0.1, 0.2, 0.3 + 0.05), strict=True):
        assert least <= gap < least + 1
    assert len({headers["webhook-id"] for _, headers, _ in got}) == 1
    assert (ledger[0]["attempts"], ledger[0]["outcome"]) == ("4", "acknowledged")


def test_giving_up(tmp_path: Path) -> None:
    ledger, got = delivered(tmp_path, [500] * 9, FAST)
    assert (len(got), ledger[0]["attempts"], ledger[0]["outcome"]) == (3, "3", "failed")
    assert ledger[0]["acknowledged_us"] == "-1"
    none = {"retry": {"kind": "none"}}
    assert len(delivered(tmp_path, [500] * 9, none)[1]) == 1


def test_giving_up_by_age(tmp_path: Path) -> None:
    policy = {"retry": {"kind": "fixed", "base_s": 0.1, "max_attempts": 100, "max_duration_s": 0.35}}
    ledger, got = delivered(tmp_path, [500] * 99, policy)
    assert 2 <= len(got) <= 4
    assert ledger[0]["outcome"] == "failed"


def test_retry_after_is_a_lower_bound(tmp_path: Path) -> None:
    _, got = delivered(tmp_path, [(503, "1")], FAST)
    assert 1.0 <= got[1][0] - got[0][0] < 3


def test_never_more_in_flight_than_allowed(tmp_path: Path) -> None:
    """Six stalling answers of 0.2 s through two slots take three rounds; a back-off frees its slot."""
    policy = {"timeout_s": 5, "max_in_flight": 2, "retry": {"kind": "fixed", "base_s": 1, "max_attempts": 2}}
    _, got = delivered(tmp_path, [0.2] * 6, policy, count=6)
    starts = [instant - got[0][0] for instant, *_ in got]
    for position, start in enumerate(starts):
        assert start >= 0.2 * (position // 2) - 0.02
    assert starts[-1] < 1.5
    ledger, got = delivered(tmp_path, [500], {**policy, "max_in_flight": 1}, count=3)
    assert [envelope_of(json.loads(body)).index for *_, body in got] == [0, 1, 2, 0]
    assert {row["outcome"] for row in ledger} == {"acknowledged"}


def test_an_unreachable_endpoint_is_counted_and_a_drain_does_not_wait_for_hours(tmp_path: Path) -> None:
    with endpoint([]) as (url, _):
        pass  # its port is free again, and nobody listens
    policy = {"retry": {"kind": "fixed", "base_s": 3600, "max_attempts": 5}}
    (tmp_path / "webhook.json").write_text(json.dumps(policy))
    with running("provider", "--subscribe", url, "--webhook-json", f"{tmp_path}/webhook.json") as server:
        publish(server, "gone", 2)
        eventually(lambda: server.status()["connection_errors"] >= 2)
        start = time.monotonic()
        code, _, err = server.stop()
        assert code == 0
        assert "2 deliveries were still pending" in err
        assert time.monotonic() - start < 5


def test_subscriptions_made_later(provider: Server) -> None:
    with endpoint([]) as (url, got):
        body = json.dumps({"url": url, "secret": "whsec_" + "C" * 32}).encode()
        assert provider.request("POST", "/subscriptions", body).status == 201
        publish(provider, "later", 2)
        eventually(lambda: len(got) == 2)
    for bad in (
        b"{}",
        b"[]",
        b'{"url": 5}',
        b'{"url": "http://example.com/"}',
        b'{"url": "http://localhost", "secret": "x"}',
    ):
        answer = provider.request("POST", "/subscriptions", bad)
        assert (answer.status, list(answer.json())) == (400, ["error"])


def test_without_subscriptions_the_ledger_says_published(tmp_path: Path) -> None:
    with running("provider", "--ledger", str(tmp_path / "ledger.csv"), secret="") as server:
        publish(server, "quiet", 3)
        assert server.stop() == (0, "", "")
    with (tmp_path / "ledger.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["index"], row["attempts"], row["outcome"]) for row in rows] == [
        (str(index), "0", "published") for index in range(3)
    ]


def test_provider_to_receiver_end_to_end(tmp_path: Path) -> None:
    with (
        running("receiver", "--inbox", f"sqlite:///{tmp_path}/inbox.db") as receiver,
        running(
            "provider", "--subscribe", f"{receiver.url}/webhooks/standard", "--ledger", f"{tmp_path}/l.csv"
        ) as server,
    ):
        publish(server, "e2e", 100)
        eventually(lambda: settled(server))
        assert server.stop() == (0, "", "")
        assert receiver.stop() == (0, "", "")
    with (tmp_path / "l.csv").open() as file:
        ledger = {row["event_id"]: row for row in csv.DictReader(file)}
    rows = read_ledger(tmp_path / "inbox.db")
    assert {row.event_id for row in rows} == ledger.keys()
    assert len(rows) == 100
    for row in rows:
        assert row.visible_us is not None
        assert (row.via, row.copies) == ("webhook", 1)
        sent = ledger[row.event_id]
        assert row.created_us <= int(sent["published_us"]) <= int(sent["first_attempt_us"]) <= row.received_us
        assert row.received_us <= row.visible_us


def test_bad_input_is_one_line_and_exit_2(tmp_path: Path) -> None:
    assert "http://example.com/" in refused("provider", "--subscribe", "http://example.com/")
    assert "HOOKBENCH_WEBHOOK_SECRET" in refused("provider", "--subscribe", "http://localhost:1/", secret="")
    assert "cannot be read" in refused("provider", "--webhook-json", "/no/such/file")
    (tmp_path / "bad.json").write_text("{")
    assert "not JSON" in refused("provider", "--webhook-json", str(tmp_path / "bad.json"))
    (tmp_path / "bad.json").write_text('{"retry": {"kind": "fixd"}}')
    assert "'fixd'" in refused("provider", "--webhook-json", str(tmp_path / "bad.json"))
    assert "folder does not exist" in refused("provider", "--ledger", "/no/such/folder/ledger.csv")
    assert "--page-limit" in refused("provider", "--page-limit", "0")
