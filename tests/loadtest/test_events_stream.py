"""Protects the stream: every event once and in order, whatever is cut off when; slow readers hurt nobody.

Every test reads a real provider process through a strict parser of its own.
"""

from __future__ import annotations

import contextlib
import http.client
import itertools
import json
import random
import signal
import socket
import time
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from loadtest.provider.feed import Feed
from loadtest.provider.question import accepts_event_stream
from tests.loadtest.servers import Server, event, eventually, running
from tests.loadtest.sse import Message, Reader, StreamParser, in_a_thread, reading

names = (f"s{number}" for number in itertools.count())


def publish(server: Server, count: int, kind: str = "new_order", padding: int = 200) -> list[str]:
    """Publish new events in one batch; their ids."""
    run_id = next(names)
    documents = [json.loads(event(run_id, index, padding)[1]) | {"type": kind} for index in range(count)]
    assert server.request("POST", "/events", json.dumps(documents).encode()).json()["published"] == count
    return [document["id"] for document in documents]


def ids(messages: list[Message]) -> list[str]:
    return [json.loads(message.data)["id"] for message in messages]


def end_of(server: Server) -> str:
    """The cursor behind everything shown."""
    cursor, more = "", True
    while more:
        page = server.request("GET", f"/events?limit=1000{cursor and '&after='}{cursor}").json()
        cursor, more = page["cursor"], page["more"]
    return str(cursor)


@pytest.fixture(scope="module")
def provider() -> Iterator[Server]:
    with running("provider", "--stall-s", "30") as server:
        yield server
        assert server.stop() == (0, "", "")


def test_a_stream_is_what_the_standard_says(provider: Server) -> None:
    after = end_of(provider)
    wanted = publish(provider, 2, "paid")
    with reading(provider, f"?after={after}") as reader:
        headers = reader.response.headers
        assert headers["content-type"] == "text/event-stream"
        assert headers["cache-control"] == "no-store"
        assert headers["x-accel-buffering"] == "no"
        reader.take(2)
        wanted += publish(provider, 1, "shipped")
        messages = reader.take(3)
        assert ids(messages) == wanted
        assert [message.type for message in messages] == ["paid", "paid", "shipped"]
        assert reader.parser.retry_ms is not None
        assert 1000 <= reader.parser.retry_ms <= 3000
        for message in messages:  # the id is a cursor, the same as a page's
            page = provider.request("GET", f"/events?after={message.last_event_id}").json()
            assert [item["id"] for item in page["events"]] == wanted[len(wanted) - len(page["events"]) :]
        assert provider.request("GET", f"/events?after={messages[0].last_event_id}").json()["events"] == [
            json.loads(message.data) for message in messages[1:]
        ]


def test_an_envelope_of_several_lines_becomes_one(provider: Server) -> None:
    after = end_of(provider)
    document = {"id": "lines", "type": ": id: 5", "index": 1, "created_us": 1, "data": "a\u2028b\n\rc"}
    body = json.dumps(document, indent=2, ensure_ascii=False).replace("\n", "\r\n").encode()
    assert provider.request("POST", "/events", body).status == 202
    with reading(provider, f"?after={after}") as reader:
        (message,) = reader.take(1)
    assert json.loads(message.data) == document
    assert message.type == ": id: 5"


def test_the_id_is_known_before_the_first_event(provider: Server) -> None:
    """A reader cut off while nothing happens does not start over, and misses nothing."""
    after = end_of(provider)
    with reading(provider, f"?after={after}") as reader:
        reader.until(lambda: reader.parser.last_event_id != "")
        assert reader.parser.last_event_id == after
    wanted = publish(provider, 1)
    with reading(provider, headers={"last-event-id": reader.parser.last_event_id}) as again:
        assert ids(again.take(1)) == wanted


def test_the_last_event_id_counts_more_than_the_query(provider: Server) -> None:
    """A browser repeats the URL that it first asked for."""
    old = end_of(provider)
    publish(provider, 3)
    new = end_of(provider)
    wanted = publish(provider, 1)
    with reading(provider, f"?after={old}", {"last-event-id": new}) as reader:
        assert ids(reader.take(1)) == wanted


def test_types_are_filtered_and_the_id_moves_on(provider: Server) -> None:
    after = end_of(provider)
    with reading(provider, f"?after={after}&type=rare") as reader:
        publish(provider, 300)
        wanted = publish(provider, 1, "rare")
        assert ids(reader.take(1)) == wanted
        assert reader.parser.last_event_id == end_of(provider)


def test_silence_is_broken_by_comments() -> None:
    with running("provider", "--heartbeat-s", "0.1") as server, reading(server, "?type=rare") as reader:
        reader.until(lambda: reader.parser.comments >= 3)
        publish(server, 1)
        before = reader.parser.comments
        reader.until(lambda: reader.parser.comments >= before + 3)
        assert reader.parser.last_event_id == end_of(server)  # a heartbeat tells where one is
        assert reader.messages == []


@pytest.mark.parametrize(
    ("query", "headers", "status", "words"),
    [
        ("?after=abc", {}, 400, "not a cursor of this feed"),
        ("?limit=5", {}, 400, "unknown parameter 'limit'; known: after, type"),
        ("", {"last-event-id": "nonsense"}, 400, "not a cursor of this feed"),
        ("", {"last-event-id": Feed().cursor(0)}, 410, "start over"),
        (f"?after={Feed().cursor(0)}", {}, 410, "start over"),
        ("", {"accept": "text/html"}, 406, "text/event-stream"),
    ],
)
def test_what_cannot_be_streamed_is_refused(
    provider: Server, query: str, headers: dict[str, str], status: int, words: str
) -> None:
    answer = provider.request("GET", f"/events/stream{query}", headers=headers)
    assert (answer.status, words in answer.json()["error"]) == (status, True)
    assert answer.json().get("code") == ("cursor_gone" if status == 410 else None)


@pytest.mark.parametrize(
    ("accept", "acceptable"),
    [
        (None, True), (b"text/event-stream", True), (b"*/*", True), (b"text/html, text/*;q=0.3", True),
        (b"Text/Event-Stream; q=0.5", True), (b"application/json", False), (b"", False),
        (b"*/*, text/event-stream;q=0", False), (b"text/*; q=0.000, */*", False), (b"\xff;q", False),
    ],
)  # fmt: skip
def test_accept(accept: bytes | None, acceptable: bool) -> None:
    assert accepts_event_stream(accept) is acceptable


# Every event once, in order.


@settings(
    deadline=None,
    max_examples=25,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    steps=st.lists(
        st.one_of(
            st.tuples(st.just("publish"), st.integers(1, 30)),
            st.tuples(st.just("read"), st.integers(1, 9000)),
            st.tuples(st.just("cut"), st.just(0)),
        ),
        max_size=30,
    )
)
def test_any_order_of_publishing_reading_and_cutting(provider: Server, steps: list[tuple[str, int]]) -> None:
    """The reader is cut off at any byte, in the middle of blocks too, and comes back with its last id."""
    last_id, wanted, got = end_of(provider), [], []

    def connect() -> Reader:
        reader = Reader(provider, "", {"last-event-id": last_id})
        assert reader.open().status == 200
        return reader

    reader = connect()
    try:
        for step, amount in steps:
            if step == "publish":
                wanted += publish(provider, amount)
            elif step == "read" and len(got) + len(reader.messages) < len(wanted):
                reader.read(amount)
            elif step == "cut":
                got += reader.messages
                last_id = reader.parser.last_event_id or last_id
                reader.close()
                reader = connect()
        missing = len(wanted) - len(got)
        got += reader.take(missing) if missing else reader.messages
    finally:
        reader.close()
    assert ids(got) == wanted


def test_readers_that_come_and_go_while_events_are_published(provider: Server) -> None:
    after = end_of(provider)
    wanted: list[str] = []

    def keep_publishing() -> None:
        for _ in range(150):
            wanted.extend(publish(provider, random.choice((1, 1, 3, 40)), padding=random.choice((200, 3000))))
        publish(provider, 1, "end")

    def read_all(chance: random.Random) -> list[str]:
        got: list[Message] = []
        last_id = after
        while not got or got[-1].type != "end":
            with reading(provider, headers={"last-event-id": last_id}) as reader:
                for _ in range(chance.randrange(1, 20)):
                    reader.read(chance.choice((1, 17, 999, 65536)))
                    if reader.messages and reader.messages[-1].type == "end":
                        break
                got += reader.messages
                last_id = reader.parser.last_event_id or last_id
        return ids(got[:-1])

    results: list[list[str]] = []

    def reader_thread(seed: int) -> None:
        results.append(read_all(random.Random(seed)))

    with contextlib.ExitStack() as threads:
        for seed in (1, 2, 3):
            threads.enter_context(in_a_thread(lambda seed=seed: reader_thread(seed)))
        keep_publishing()
    assert len(results) == 3
    for result in results:
        assert result == wanted
    eventually(lambda: provider.status()["streams"] == 0)


def test_what_retention_takes_from_a_reader_is_told() -> None:
    with running("provider", "--retention-events", "5") as server:
        start = end_of(server)
        wanted = publish(server, 100)
        with reading(server, f"?after={start}") as reader:
            messages = reader.take(6)
            assert (messages[0].type, json.loads(messages[0].data)) == ("missed", {"missed": 95})
            assert ids(messages[1:]) == wanted[-5:]
        with reading(server, headers={"last-event-id": messages[0].last_event_id}) as again:
            assert ids(again.take(5)) == wanted[-5:]


def test_a_lagging_feed_streams_later() -> None:
    options = ("--feed-lag-s", "0.7", "--heartbeat-s", "3600")
    with running("provider", *options) as server, reading(server) as reader:
        wanted = publish(server, 2)
        assert server.request("GET", "/events").json()["events"] == []
        time.sleep(0.1)
        wanted += publish(server, 1)  # shown a little later than the others
        assert ids(reader.take(3)) == wanted
        wanted += publish(server, 1)
        assert ids(reader.take(4)) == wanted


# Places, slow readers, the end.


def test_streams_are_counted_bounded_and_freed() -> None:
    with running("provider", "--max-streams", "2") as server:
        with reading(server), reading(server) as second:
            eventually(lambda: server.status()["streams"] == 2)
            full = server.request("GET", "/events/stream")
            assert (full.status, full.headers["retry-after"]) == (503, "5")
            assert "2 streams are open already" in full.json()["error"]
            second.close()
            eventually(lambda: server.status()["streams"] == 1)
            with reading(server) as third:
                wanted = publish(server, 3)
                assert ids(third.take(3)) == wanted
        eventually(lambda: server.status()["streams"] == 0)
        status = server.status()
        assert (status["streams_opened"], status["streams_hung_up"], status["turned_away"]) == (3, 3, 1)
        assert status["stream_events"] == 6
        assert server.stop() == (0, "", "")


def test_opening_a_stream_counts_against_the_rate_limit() -> None:
    with running("provider", "--rate-limit", "1/3600") as server:
        with reading(server) as reader:
            assert reader.response.headers["x-ratelimit-remaining"] == "0"
        answer = server.request("GET", "/events/stream")
        assert (answer.status, server.status()["rate_limited"]) == (429, 1)


def memory_mb(server: Server) -> float:
    import psutil

    return psutil.Process(server.process.pid).memory_info().rss / 2**20


def test_a_reader_that_does_not_read_is_cut_off_and_holds_up_nobody() -> None:
    """40 MB of events: the stalled readers are not what the provider's memory grows with."""
    with running("provider", "--stall-s", "1") as server, contextlib.ExitStack() as readers:
        start = end_of(server)
        stalled = [
            readers.enter_context(reading(server, f"?after={start}", receive_buffer=4096)) for _ in range(10)
        ]
        eventually(lambda: server.status()["streams"] == 10)
        before_mb = memory_mb(server)
        with reading(server, f"?after={start}") as quick:
            wanted: list[str] = []
            for _ in range(10):
                wanted += publish(server, 40, padding=100_000)
                assert ids(quick.take(len(wanted))) == wanted
            eventually(lambda: server.status()["streams_stalled"] == 10)
            assert server.status()["streams"] == 1
        assert memory_mb(server) - before_mb < 150
        with pytest.raises((ConnectionError, http.client.IncompleteRead)):  # cut off, not complete
            stalled[0].until(lambda: False)
        last_id = stalled[0].parser.last_event_id
        with reading(server, headers={"last-event-id": last_id}) as again:
            left = 400 - len(stalled[0].messages)
            assert ids(stalled[0].messages + again.take(left)) == wanted
        assert server.stop() == (0, "", "")


def test_streams_end_cleanly_when_the_provider_stops() -> None:
    """The ones that read get a complete answer; one that does not cannot hold up the end."""
    with running("provider", "--stall-s", "3600") as server:
        wanted = publish(server, 100, padding=100_000)
        with reading(server, receive_buffer=4096), reading(server) as reader:
            assert ids(reader.take(100)) == wanted
            eventually(lambda: server.status()["streams"] == 2)
            server.process.send_signal(signal.SIGTERM)
            while reader.read():
                pass
            assert reader.ended  # by the last chunk: http.client would have raised
            said = server.process.communicate(timeout=20)  # without a second signal, which might hasten it
            assert (server.process.returncode, *said) == (0, "", "")


def test_the_parser_is_strict() -> None:
    """What the tests above rely on."""
    parser = StreamParser()
    assert parser.feed(b"id: 1\nda") == []
    assert parser.feed(b"ta: x\n") == []
    assert parser.last_event_id == ""
    assert parser.feed(b"\n:c\nevent:t\ndata:y\n\n") == [Message("message", "x", "1"), Message("t", "y", "1")]
    for bad in (b"data: a\ndata: b\n\n", b"data\n", b"event: x\n\n", b"nonsense: 1\n", b"data: a\r\n"):
        with pytest.raises(AssertionError):
            StreamParser().feed(bad)


def test_a_client_gone_before_the_first_byte_leaves_nothing(provider: Server) -> None:
    before = provider.status()["streams_opened"]
    for _ in range(20):
        connection = socket.create_connection(("127.0.0.1", provider.port))
        connection.sendall(b"GET /events/stream HTTP/1.1\r\nhost: t\r\n\r\n")
        connection.close()
    eventually(lambda: provider.status()["streams_opened"] == before + 20)
    eventually(lambda: provider.status()["streams"] == 0)
