"""Protects the events API as its pollers meet it: paging, conditional requests, long polls, limits, memory.

Every test speaks raw HTTP with a real provider process.
"""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Iterator
from email.message import Message
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from loadtest.inbox import LedgerRow
from loadtest.runner import race
from loadtest.runner.arms.pull import with_missed
from loadtest.runner.session import api_flags, unlike_the_model
from sim import simulate
from sim.scenario import scenario_from
from tests.loadtest.servers import Server, event, eventually, refused, running
from tests.loadtest.sse import answer_on, asking

names = (f"r{number}" for number in itertools.count())


def publish(server: Server, count: int, kind: str | None = None, padding: int = 0) -> list[str]:
    """Publish new events in one batch; their ids."""
    run_id = next(names)
    documents = [json.loads(event(run_id, index, padding or 200)[1]) for index in range(count)]
    for document in documents:
        document["type"] = kind or document["type"]
    assert server.request("POST", "/events", json.dumps(documents).encode()).json()["published"] == count
    return [document["id"] for document in documents]


def ids(body: bytes) -> list[str]:
    return [item["id"] for item in json.loads(body)["events"]]


def end_of(server: Server) -> str:
    """The cursor behind everything shown."""
    cursor, more = "", True
    while more:
        page = server.request("GET", f"/events?limit=50{cursor and '&after='}{cursor}").json()
        cursor, more = page["cursor"], page["more"]
    return str(cursor)


@pytest.fixture(scope="module")
def provider() -> Iterator[Server]:
    with running("provider", "--page-limit", "50", "--max-wait-s", "20") as server:
        publish(server, 20)
        yield server
        assert server.stop() == (0, "", "")


# Paging.


def test_the_link_header_leads_through_the_feed(provider: Server) -> None:
    expected = provider.request("GET", "/events?limit=50").body
    seen, target = [], "/events?limit=7&type=new_order&type=other"
    while True:
        answer = provider.request("GET", target)
        seen += ids(answer.body)
        link = answer.headers.get("link")
        assert (link is not None) == answer.json()["more"]
        if link is None:
            break
        assert link.startswith("<")
        assert link.endswith('>; rel="next"')
        target = link[1:].partition(">")[0]
        query = parse_qs(urlsplit(target).query)
        assert query["limit"] == ["7"]
        assert query["type"] == ["new_order", "other"]
    assert seen == ids(expected)


def test_head_is_get_without_the_body(provider: Server) -> None:
    got, head = provider.request("GET", "/events?limit=3"), provider.request("HEAD", "/events?limit=3")
    assert (head.status, head.body) == (200, b"")
    assert head.headers == got.headers
    assert int(head.headers["content-length"]) == len(got.body)
    unchanged = provider.request("HEAD", "/events?limit=3", headers={"if-none-match": got.headers["etag"]})
    assert unchanged.status == 304


def test_304_carries_what_200_would_have(provider: Server) -> None:
    """RFC 9110, section 15.4.5; the tag is strong, and all tags of all headers count."""
    got = provider.request("GET", "/events?limit=3")
    assert got.headers["etag"].startswith('"')
    connection_headers = f'if-none-match: "x"\r\nif-none-match: "y", {got.headers["etag"]}\r\n'
    with asking(provider, "/events?limit=3", headers=connection_headers) as (connection,):
        status, headers, body = answer_on(connection)
    assert (status, body) == (304, b"")
    for name in ("etag", "cache-control", "link"):
        assert headers[name] == got.headers[name]
    assert "content-length" not in headers


def test_pages_of_certain_types(provider: Server) -> None:
    after = end_of(provider)
    wanted = publish(provider, 2, "paid")
    publish(provider, 3, "shipped")
    wanted += publish(provider, 1, "paid")
    page = provider.request("GET", f"/events?after={after}&type=paid")
    assert ids(page.body) == wanted
    assert page.json()["cursor"] == end_of(provider)
    none = provider.request("GET", f"/events?after={after}&type=nobody")
    assert (ids(none.body), none.json()["more"]) == ([], False)
    assert none.headers["etag"] != page.headers["etag"]


@pytest.mark.parametrize(
    "query",
    ["wait=-1", "wait=", "wait=x", "wait=20.1", "wait=1e1", "wait=inf", "wait=1&wait=1", "type=", "type=%0A",
     f"type={'t' * 201}", "&".join(["type=t"] * 21), "&".join(f"p{n}=1" for n in range(60))],
)  # fmt: skip
def test_a_bad_query_is_400_and_says_why(provider: Server, query: str) -> None:
    answer = provider.request("GET", f"/events?{query}")
    assert answer.status == 400
    assert query[:1] in answer.json()["error"]


def test_a_page_is_bounded_in_bytes() -> None:
    """Three events of 400 kB do not fit in a page of 1 MB; one of 2 MB is a page."""
    with running("provider", "--max-page-mb", "1") as server:
        wanted = publish(server, 3, padding=400_000) + publish(server, 1, padding=2_000_000)
        seen, target, sizes = [], "/events", []
        while target:
            answer = server.request("GET", target)
            seen += ids(answer.body)
            sizes.append(len(ids(answer.body)))
            target = answer.headers.get("link", "")[1:].partition(">")[0]
        assert seen == wanted
        assert sizes == [2, 1, 1]


# Long polls.


def test_one_publication_answers_all_who_wait(provider: Server) -> None:
    after = end_of(provider)
    before = provider.status()
    with asking(provider, *[f"/events?after={after}&wait=20"] * 20, f"/events?after={after}&wait=20&limit=1"
    ) as connections:  # fmt: skip
        eventually(lambda: provider.status()["waiting_polls"] == 21)
        assert provider.status()["empty_responses"] == before["empty_responses"]
        wanted = publish(provider, 3)
        answers = [answer_on(connection) for connection in connections]
    assert {status for status, _, _ in answers} == {200}
    assert len({body for _, _, body in answers[:-1]}) == 1
    assert ids(answers[0][2]) == wanted
    assert ids(answers[-1][2]) == wanted[:1]
    assert provider.status()["waiting_polls"] == 0
    assert provider.status()["polls_hung_up"] == before["polls_hung_up"]


def test_where_there_is_news_nobody_waits(provider: Server) -> None:
    after = end_of(provider)
    wanted = publish(provider, 1)
    assert ids(provider.request("GET", f"/events?after={after}&wait=20").body) == wanted


def test_the_hold_ends_with_an_answer_as_usual(provider: Server) -> None:
    after = end_of(provider)
    started = time.monotonic()
    empty = provider.request("GET", f"/events?after={after}&wait=0.3")
    assert time.monotonic() - started >= 0.3
    assert (empty.status, empty.json()) == (200, {"events": [], "cursor": after, "more": False})
    tag = {"if-none-match": empty.headers["etag"]}
    again = provider.request("GET", f"/events?after={after}&wait=0.3", headers=tag)
    assert time.monotonic() - started >= 0.6
    assert (again.status, again.body) == (304, b"")


def test_what_a_client_has_already_is_no_news(provider: Server) -> None:
    """A conditional request for a page that is not empty is held until the page is another."""
    after = end_of(provider)
    wanted = publish(provider, 1)
    first = provider.request("GET", f"/events?after={after}")
    header = f"if-none-match: {first.headers['etag']}\r\n"
    with asking(provider, f"/events?after={after}&wait=20", headers=header) as (connection,):
        eventually(lambda: provider.status()["waiting_polls"] == 1)
        wanted += publish(provider, 1)
        status, _, body = answer_on(connection)
    assert (status, ids(body)) == (200, wanted)


def test_a_waiter_for_a_type_sleeps_through_the_others(provider: Server) -> None:
    after = end_of(provider)
    with asking(provider, f"/events?after={after}&wait=20&type=rare") as (connection,):
        eventually(lambda: provider.status()["waiting_polls"] == 1)
        publish(provider, 70)
        assert provider.status()["waiting_polls"] == 1
        wanted = publish(provider, 1, "rare")
        status, _, body = answer_on(connection)
    assert (status, ids(body)) == (200, wanted)
    assert json.loads(body)["cursor"] == end_of(provider)


def test_a_client_that_hangs_up_frees_its_place() -> None:
    with running("provider", "--max-waiting", "3") as server:
        with asking(server, *["/events?wait=50"] * 3) as connections:
            eventually(lambda: server.status()["waiting_polls"] == 3)
            full = server.request("GET", "/events?wait=50")
            assert (full.status, full.headers["retry-after"]) == (503, "5")
            assert "3 requests are held already" in full.json()["error"]
            assert server.request("GET", "/events").status == 200  # who does not wait needs no place
            connections[0].close()
            eventually(lambda: server.status()["waiting_polls"] == 2)
            with asking(server, "/events?wait=50"):
                eventually(lambda: server.status()["waiting_polls"] == 3)
            eventually(lambda: server.status()["waiting_polls"] == 2)
        eventually(lambda: server.status()["waiting_polls"] == 0)
        status = server.status()
        assert (status["polls_hung_up"], status["turned_away"]) == (4, 1)
        assert server.stop() == (0, "", "")


def test_all_who_wait_are_answered_when_the_provider_stops() -> None:
    with running("provider") as server, asking(server, *["/events?wait=50"] * 5) as connections:
        eventually(lambda: server.status()["waiting_polls"] == 5)
        assert server.stop() == (0, "", "")  # a drain that was not over in time would complain
        for connection in connections:
            status, headers, body = answer_on(connection)
            assert (status, ids(body)) == (200, [])
            assert headers["connection"] == "close"


def test_a_connection_goes_on_after_a_hold(provider: Server) -> None:
    after = end_of(provider)
    with asking(provider, f"/events?after={after}&wait=0.1") as (connection,):
        for _ in range(3):
            assert answer_on(connection)[0] == 200
            connection.sendall(f"GET /events?after={after}&wait=0.1 HTTP/1.1\r\nhost: t\r\n\r\n".encode())
        eventually(lambda: provider.status()["waiting_polls"] == 0)


def test_a_get_with_a_body_is_not_held(provider: Server) -> None:
    after = end_of(provider)
    request = "content-length: 3\r\n\r\nabc"
    with asking(provider, f"/events?after={after}&wait=20", headers=request) as (connection,):
        assert answer_on(connection)[0] == 413


# What the scenario's provider_api says.


def limited(server: Server, credentials: str, headers: dict[str, str] | None = None) -> tuple[int, Message]:
    answer = server.request("GET", "/events", headers={"authorization": credentials, **(headers or {})})
    return answer.status, answer.headers  # type: ignore[return-value]


def test_the_rate_limit_is_per_client_and_per_window() -> None:
    with running("provider", "--rate-limit", "3/2") as server:
        eventually(lambda: time.monotonic() % 2 < 0.2)  # windows are aligned with the monotonic clock
        answers = [limited(server, "Bearer a") for _ in range(5)]
        assert [status for status, _ in answers] == [200, 200, 200, 429, 429]
        assert [headers["x-ratelimit-remaining"] for _, headers in answers] == ["2", "1", "0", "0", "0"]
        assert limited(server, "Bearer b")[0] == 200
        refusal = answers[-1][1]
        assert 1 <= int(refusal["retry-after"]) <= 2
        assert refusal["x-ratelimit-limit"] == "3"
        assert refusal["ratelimit-policy"] == '"default";q=3;w=2'
        assert refusal["ratelimit"] == f'"default";r=0;t={refusal["retry-after"]}'
        assert 0 <= int(refusal["x-ratelimit-reset"]) - time.time() <= 3
        time.sleep(int(refusal["retry-after"]))  # what it asks for is enough
        assert limited(server, "Bearer a")[0] == 200
        assert publish(server, 1)  # publishing is not limited
        status = server.status()
        assert (status["rate_limited"], status["polls"]) == (2, 7)


def test_a_304_may_be_free(tmp_path: Path) -> None:
    table = tmp_path / "api.json"
    table.write_text('{"rate_limit": {"requests": 2, "per_s": 3600, "not_modified_free": true}}')
    with running("provider", "--api-json", str(table)) as server:
        _, headers = limited(server, "a")
        unchanged = {"if-none-match": headers["etag"]}
        assert [limited(server, "a", unchanged)[0] for _ in range(4)] == [304] * 4
        publish(server, 1)
        assert [limited(server, "a", unchanged)[0] for _ in range(2)] == [200, 429]


def test_retention_is_told_to_who_comes_too_late() -> None:
    with running("provider", "--retention-events", "5") as server:
        start = server.request("GET", "/events").json()["cursor"]
        gone = publish(server, 100)
        page = server.request("GET", f"/events?after={start}").json()
        assert [item["id"] for item in page["events"]] == gone[-5:]
        assert page["missed"] == 95
        assert "missed" not in server.request("GET", f"/events?after={page['cursor']}").json()
        assert server.request("GET", "/events").json()["missed"] == 95  # so has who comes now
        assert server.status()["feed_events"] < 100


def test_retention_by_age() -> None:
    with running("provider", "--retention-s", "1.5") as server:
        start = server.request("GET", "/events").json()["cursor"]
        publish(server, 2)
        assert len(server.request("GET", f"/events?after={start}").json()["events"]) == 2
        eventually(lambda: server.request("GET", f"/events?after={start}").json().get("missed") == 2)
        assert server.request("GET", f"/events?after={start}").json()["events"] == []


def test_a_lagging_feed_wakes_its_waiters_later() -> None:
    with running("provider", "--feed-lag-s", "0.7") as server, asking(server, "/events?wait=50") as (waiter,):
        eventually(lambda: server.status()["waiting_polls"] == 1)
        started = time.monotonic()
        wanted = publish(server, 2)
        assert server.request("GET", "/events").json()["events"] == []
        status, _, body = answer_on(waiter)
        assert time.monotonic() - started >= 0.7
        assert (status, ids(body)) == (200, wanted)
        with asking(server, f"/events?after={json.loads(body)['cursor']}&wait=50") as (again,):
            eventually(lambda: server.status()["waiting_polls"] == 1)
            wanted = publish(server, 1)
            assert ids(answer_on(again)[2]) == wanted
        assert server.stop() == (0, "", "")


def test_a_full_feed_refuses_publications_whole_and_reads_on() -> None:
    with running("provider", "--max-events", "10") as server:
        wanted = publish(server, 8)
        documents = [json.loads(event("full", index)[1]) for index in range(3)]
        answer = server.request("POST", "/events", json.dumps(documents).encode())
        assert (answer.status, answer.headers["retry-after"]) == (503, "60")
        assert "--max-events" not in answer.json()["error"]
        assert "at most 10" in answer.json()["error"]
        assert ids(server.request("GET", "/events").body) == wanted
        assert server.request("POST", "/events", json.dumps(documents * 4).encode()).status == 413
        status = server.status()
        assert (status["published"], status["refused_publications"]) == (8, 1)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--rate-limit", "5"), "requests/seconds, such as 5000/3600, got '5'"),
        (("--rate-limit", "0/5"), "rate_limit.requests must be a whole number from 1, got 0"),
        (("--retention-events", "0"), "--retention-events"),
        (("--retention-events", "5", "--retention-s", "5"), "not allowed with"),
        (("--retention-events", "50", "--max-events", "5"), "50 events is more than the 5"),
        (("--heartbeat-s", "0"), "--heartbeat-s"),
        (("--max-feed-mb", "1"), "--max-feed-mb"),
        (("--api-json", "/nowhere/api.json"), "/nowhere/api.json cannot be read"),
    ],
)
def test_bad_options_are_one_line(arguments: tuple[str, ...], words: str) -> None:
    assert words in refused("provider", *arguments)


def test_options_go_over_the_table(tmp_path: Path) -> None:
    table = tmp_path / "api.json"
    table.write_text('{"rate_limit": {"requests": 100, "per_s": 3600}, "retention": {"events": 2}}')
    with running("provider", "--api-json", str(table), "--rate-limit", "7/3600") as server:
        publish(server, 5)
        answer = server.request("GET", "/events")
        assert (len(ids(answer.body)), answer.headers["x-ratelimit-limit"]) == (2, "7")


def polling(source: Server, folder: Path, interval_s: float) -> tuple[str, ...]:
    return ("poller", "--source", source.url, "--inbox", f"sqlite:///{folder}/inbox.db",
            "--interval-s", str(interval_s))  # fmt: skip


def test_the_poller_comes_back_when_the_limit_allows(tmp_path: Path) -> None:
    """It is refused at most once a window, and waits for as long as it is told to."""
    with running("provider", "--rate-limit", "2/1") as server:
        wanted = len(publish(server, 3))
        first_window = time.monotonic() // 1
        with running(*polling(server, tmp_path, 0.02)) as poller:
            eventually(lambda: poller.status()["visible"] == wanted)
            eventually(lambda: poller.status()["rejected"] >= 4)
            windows = time.monotonic() // 1 - first_window + 1
            status = poller.status()
            assert status["rejected"] <= windows
            assert status["errors"] == 0


def test_the_poller_follows_more_and_counts_what_it_missed(tmp_path: Path) -> None:
    """Pages cut at 1 MB are read in one cycle, long before the next tick."""
    with running("provider", "--max-page-mb", "1", "--retention-events", "5") as server:
        publish(server, 100, padding=400_000 // 10)
        publish(server, 5, padding=400_000)
        with running(*polling(server, tmp_path, 3600)) as poller:
            eventually(lambda: poller.status()["visible"] == 5)
            status = poller.status()
        assert (status["requests"], status["missed_events"]) == (3, 100)


FORGETFUL = scenario_from(
    {
        "name": "forgetful",
        "workload": {"kind": "periodic", "rate_per_s": 60, "payload_bytes": 300},
        "receiver": {"service": {"kind": "constant", "mean_s": 0.0005}},
        "polling": {"interval_s": 0.5},
        "provider_api": {
            "retention": {"events": 10},
            "rate_limit": {"requests": 1000, "per_s": 1},
            "feed_lag_s": 0.01,
            "service": {"kind": "constant", "mean_s": 0.001},
        },
        "run": {"duration_s": 2},
    }
)


def test_the_runner_passes_the_scenarios_api_on(tmp_path: Path) -> None:
    """The flags, given to a provider, have the effect that the scenario asks for."""
    scenario = FORGETFUL.with_values(**{"provider_api.rate_limit.requests": 7})
    flags = api_flags(scenario, 2_000_000, tmp_path / "api.json")
    assert flags[flags.index("--max-events") + 1] == "2000000"
    assert int(flags[flags.index("--max-feed-mb") + 1]) * 2**20 > 2_000_000 * 1200
    with running("provider", *flags) as server:
        publish(server, 20)
        eventually(lambda: server.request("GET", "/events").status == 429)
        assert server.status()["rate_limited"] == 1
    last_value = scenario.with_values(**{"workload.content": "last_value"})
    api_flags(last_value, 1, tmp_path / "api.json")
    assert json.loads((tmp_path / "api.json").read_text())["retention"] == {"events": 1}
    assert not any("retention" in note or "lag" in note for note in unlike_the_model(scenario))


def test_the_oldest_that_never_came_are_what_was_missed() -> None:
    ledger = [{"index": str(index), "outcome": "published"} for index in range(6)]
    rows = [LedgerRow(n, f"e{n}", n, "t", "poll", 1, 1, None, 1) for n in (0, 3, 4)]
    marked = with_missed(ledger, rows, 2)
    assert [int(row["index"]) for row in marked if row["outcome"] == "failed"] == [1, 2]
    assert with_missed(ledger, rows, 0) == ledger


@pytest.mark.slow
def test_a_race_enacts_the_retention(tmp_path: Path) -> None:
    """What the provider forgot before the poller came is lost by design, and does not void the run."""
    result = race(FORGETFUL, ["polling"], out=tmp_path, figures=False)
    (run,) = result.runs
    assert run.ledger.given_up >= 40  # 30 events an interval, of which 10 are left
    assert run.ledger.visible + run.ledger.given_up == run.ledger.acknowledged
    assert (run.records["status"] == "lost").sum() == run.ledger.given_up
    model = simulate(result.scenario, ["polling"], seed=result.seed, records=True).records
    # A poll comes some ms late; on a busy machine one may be skipped, which costs a page of 10.
    assert abs((model["status"] == "lost").sum() - run.ledger.given_up) <= 15
    assert not [reason for reason in run.void if "lost" in reason]
