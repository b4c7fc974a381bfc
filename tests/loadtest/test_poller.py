"""Protects the poller: ticks that do not drift, a cursor that moves only after storage, and honest counts."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtest.consumers import FixedRate, Origin, PageReader, Poller
from loadtest.consumers.page import parse_page
from loadtest.consumers.rhythm import next_tick
from loadtest.contract import MalformedEvent, now_us
from loadtest.inbox import MAX_SUBMISSION, Inbox, StorageError, open_storage, read_ledger
from loadtest.inbox.sqlite import SqliteStorage
from tests.loadtest.servers import ROOT, Server, event, eventually, refused, running


def publish(server: Server, run_id: str, indices: range) -> None:
    events = [json.loads(event(run_id, index)[1]) for index in indices]
    assert server.request("POST", "/events", json.dumps(events).encode()).status == 202


@given(
    now=st.integers(0, 10**12),
    first=st.floats(0, 1e9),
    interval=st.floats(1, 1e9),
    last=st.integers(-1, 1000),
)
def test_the_next_tick_is_the_first_not_before_now(
    now: int, first: float, interval: float, last: int
) -> None:
    tick = next_tick(now, first, interval, last)
    assert tick > last
    assert first + tick * interval >= now
    assert tick == last + 1 or first + (tick - 1) * interval < now


class Source:
    """A scripted HTTP source: each answer is (delay in s, status, body); the last one repeats."""

    def __init__(self, *script: tuple[float, int, bytes]) -> None:
        self._script = list(script)
        self.asked: list[tuple[int, str]] = []

    async def __aenter__(self) -> Source:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while line := await reader.readline():
                while (await reader.readline()).strip():
                    pass
                self.asked.append((now_us(), line.split()[1].decode()))
                delay_s, status, body = self._script.pop(0) if len(self._script) > 1 else self._script[0]
                await asyncio.sleep(delay_s)
                writer.write(b"HTTP/1.1 %d X\r\ncontent-length: %d\r\n\r\n%b" % (status, len(body), body))
                await writer.drain()
        except ConnectionError:
            pass  # a poller that gave up has hung up
        finally:
            writer.close()


def page(cursor: int, *indices: int) -> bytes:
    events = b",".join(event("p", index)[1] for index in indices)
    return b'{"events":[%b],"cursor":"%d","more":false}' % (events, cursor)


EMPTY = b'{"events":[],"cursor":"0","more":false}'


def poll(
    path: Path,
    source: Source,
    for_s: float,
    check: Callable[[Poller, Inbox], Awaitable[None]],
    **options: Any,
) -> None:
    async def run() -> None:
        inbox = Inbox(open_storage(f"sqlite:///{path}"))
        await inbox.start()
        async with source:
            origin = Origin(options.pop("origin_us", None))
            when = {name: options.pop(name) for name in {"interval_s", "phase_s"} & set(options)}
            poller = Poller(PageReader(source.url, inbox, **options), FixedRate(**when), origin)
            task = asyncio.get_running_loop().create_task(poller.run())
            await asyncio.sleep(for_s)
            assert not task.done(), task
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await check(poller, inbox)
        await inbox.drain(5)

    asyncio.run(run())


def test_ticks_are_computed_and_do_not_drift(tmp_path: Path) -> None:
    source = Source((0.0, 200, EMPTY))
    origin_us = now_us() + 50_000

    async def check(poller: Poller, inbox: Inbox) -> None:
        late = [instant - (origin_us + 20_000 + 50_000 * k) for k, (instant, _) in enumerate(source.asked)]
        assert len(late) >= 8
        assert min(late) >= 0  # never early
        assert sorted(late)[len(late) // 2] < 20_000  # and the lateness does not add up
        assert poller.pages.counts["empty_responses"] == poller.pages.counts["requests"] == len(late)
        assert poller.status()["skipped_ticks"] == 0

    poll(tmp_path / "i.db", source, 0.6, check, interval_s=0.05, phase_s=0.02, origin_us=origin_us)


def test_ticks_during_a_cycle_are_skipped(tmp_path: Path) -> None:
    source = Source((0.25, 200, EMPTY), (0.0, 200, EMPTY))

    async def check(poller: Poller, inbox: Inbox) -> None:
        first, second = (instant for instant, _ in source.asked[:2])
        assert 290_000 <= second - first < 395_000  # ticks at 100 and 200 ms fell into the slow answer
        assert poller.status()["skipped_ticks"] == 2

    poll(tmp_path / "i.db", source, 0.45, check, interval_s=0.1)


def test_a_full_page_asks_for_the_next_at_once(tmp_path: Path) -> None:
    source = Source(
        (0.0, 200, page(2, 0, 1)), (0.0, 200, page(4, 2, 3)), (0.0, 200, page(5, 4)), (0.0, 200, page(5))
    )

    async def check(poller: Poller, inbox: Inbox) -> None:
        assert [path for _, path in source.asked] == [
            "/events?limit=2", "/events?after=2&limit=2", "/events?after=4&limit=2",
        ]  # fmt: skip
        assert source.asked[-1][0] - source.asked[0][0] < 500_000
        assert (poller.pages.counts["events"], poller.pages.counts["empty_responses"]) == (5, 0)

    poll(tmp_path / "i.db", source, 0.6, check, interval_s=5, page_size=2)
    assert [row.event_index for row in read_ledger(tmp_path / "i.db")] == [0, 1, 2, 3, 4]


def test_a_timeout_abandons_the_cycle_and_the_cursor_stays(tmp_path: Path) -> None:
    source = Source(
        (0.0, 200, page(1, 0)), (5.0, 200, page(2, 1)), (0.0, 200, page(2, 1)), (0.0, 200, page(2))
    )

    async def check(poller: Poller, inbox: Inbox) -> None:
        assert poller.pages.counts["timeouts"] == 1
        assert [path for _, path in source.asked[1:3]] == ["/events?after=1&limit=100"] * 2
        assert await inbox.cursor(poller.pages.source) == "2"

    poll(tmp_path / "i.db", source, 0.9, check, interval_s=0.15, timeout_s=0.2)
    assert [(row.event_index, row.copies) for row in read_ledger(tmp_path / "i.db")] == [(0, 1), (1, 1)]


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (500, b"oops"), (302, b""), (200, b"not JSON"), (200, b"{}"), (200, b'{"events":[{}],"cursor":"9"}'),
        (200, b'{"events":[{"id":"b","type":"t","index":1,"created_us":1,"data":"\\ud800"}],"cursor":"9"}'),
    ],
)  # fmt: skip
def test_an_unusable_answer_is_an_error_and_the_cursor_stays(
    tmp_path: Path, status: int, body: bytes
) -> None:
    source = Source((0.0, 200, page(1, 0)), (0.0, status, body), (0.0, 200, page(2, 1)), (0.0, 200, page(2)))

    async def check(poller: Poller, inbox: Inbox) -> None:
        assert poller.pages.counts["errors"] == 1
        assert [path for _, path in source.asked[1:3]] == ["/events?after=1&limit=100"] * 2

    poll(tmp_path / "i.db", source, 0.35, check, interval_s=0.05)
    assert [row.event_index for row in read_ledger(tmp_path / "i.db")] == [0, 1]


@given(st.binary(max_size=80))
def test_no_answer_is_more_than_malformed(body: bytes) -> None:
    with pytest.raises(MalformedEvent):
        parse_page(body, 0)


def test_an_event_keeps_its_bytes_through_a_page() -> None:
    payload = event("p", 7, 900)[1]
    cursor, arrivals, *_ = parse_page(b'{"events":[%b],"cursor":"8","more":false}' % payload, 5)
    assert (cursor, arrivals[0].payload, arrivals[0].via) == ("8", payload, "poll")


def test_a_page_larger_than_a_submission_is_stored_whole(tmp_path: Path) -> None:
    count = MAX_SUBMISSION + 1
    source = Source((0.0, 200, page(count, *range(count))), (0.0, 200, page(count)))

    async def check(poller: Poller, inbox: Inbox) -> None:
        assert (inbox.accepted, poller.pages.counts["errors"]) == (count, 0)
        assert await inbox.cursor(poller.pages.source) == str(count)

    poll(tmp_path / "i.db", source, 1.5, check, interval_s=5)


def test_a_page_is_stored_before_its_cursor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A crash between the two costs a duplicate, never an event."""
    real = SqliteStorage.insert

    def insert(self: SqliteStorage, rows: list[Any]) -> list[tuple[int, int]]:
        raise StorageError("disk I/O error")

    async def nothing_saved(poller: Poller, inbox: Inbox) -> None:
        assert poller.pages.counts["errors"] == 1
        assert await inbox.cursor(poller.pages.source) is None

    async def fetched_again(poller: Poller, inbox: Inbox) -> None:
        assert source.asked[0][1] == "/events?limit=100"
        assert inbox.accepted == 2

    monkeypatch.setattr(SqliteStorage, "insert", insert)
    poll(tmp_path / "i.db", Source((0.0, 200, page(2, 0, 1))), 0.2, nothing_saved, interval_s=5)
    monkeypatch.setattr(SqliteStorage, "insert", real)
    source = Source((0.0, 200, page(2, 0, 1)))
    poll(tmp_path / "i.db", source, 0.2, fetched_again, interval_s=5)


def test_a_poller_starts_over_when_its_source_was_restarted(tmp_path: Path) -> None:
    with running("provider") as provider:
        port = provider.port
        publish(provider, "first", range(5))
        with running(*poller_arguments(provider.url, tmp_path / "i.db")) as poller:
            eventually(lambda: poller.status()["visible"] == 5)
            assert provider.stop()[0] == 0
            with running("provider", "--port", str(port)) as again:
                publish(again, "first", range(2))
                publish(again, "second", range(4))  # as many as the former run's cursor counted, and one more
                eventually(lambda: poller.status()["visible"] == 9)
                assert poller.status()["duplicates"] == 2


def test_a_poller_that_dies_ends_its_process_with_a_line(tmp_path: Path) -> None:
    code = (
        "import sys; from loadtest.consumers import Poller\n"
        "async def die(self): raise RuntimeError('a secret')\n"
        "Poller.run = die\n"
        "from loadtest.serve import main; sys.exit(main(sys.argv[1:]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *poller_arguments("http://127.0.0.1:9", tmp_path / "i.db")],
        capture_output=True, text=True, timeout=20, check=False, cwd=ROOT,
    )  # fmt: skip
    assert done.returncode == 1
    # Its message may quote what a server sent, so it is not shown.
    assert done.stderr.startswith("hookbench serve: the poller died: RuntimeError at ")
    assert done.stderr.count("\n") == 1
    assert "secret" not in done.stderr


def poller_arguments(source: str, inbox: Path, *more: str) -> tuple[str, ...]:
    return ("poller", "--source", source, "--inbox", f"sqlite:///{inbox}", "--interval-s", "0.05", *more)


def test_provider_to_poller_end_to_end(tmp_path: Path) -> None:
    with (
        running("provider") as provider,
        running(*poller_arguments(provider.url, tmp_path / "i.db")) as poller,
    ):
        assert (poller.ready["role"], poller.ready["loop"]) == ("poller", "uvloop")
        publish(provider, "e2e", range(250))
        eventually(lambda: poller.status()["visible"] == 250)
        publish(provider, "e2e", range(250, 260))
        eventually(lambda: poller.status()["visible"] == 260 and poller.status()["empty_responses"] > 0)
        status, served = poller.status(), provider.status()
        assert poller.stop() == (0, "", "")
    assert status["consuming"]
    assert status["connections_opened"] == 1
    assert status["connection_s"] > 0
    assert (status["errors"], status["timeouts"], status["duplicates"], status["not_modified"]) == (
        0,
        0,
        0,
        0,
    )
    assert 0 < status["empty_responses"] < status["requests"]
    assert status["response_bytes"] > sum(len(event("e2e", index)[1]) for index in range(260))
    assert status["request_bytes"] > 40 * status["requests"]
    assert served["polls"] >= status["requests"]
    rows = read_ledger(tmp_path / "i.db")
    assert [(row.event_index, row.via, row.copies) for row in rows] == [(i, "poll", 1) for i in range(260)]
    assert all(row.visible_us and row.created_us <= row.received_us <= row.visible_us for row in rows)


def test_conditional_polling_is_answered_304(tmp_path: Path) -> None:
    with (
        running("provider") as provider,
        running(*poller_arguments(provider.url, tmp_path / "i.db", "--conditional")) as poller,
    ):
        publish(provider, "etag", range(5))
        eventually(lambda: poller.status()["not_modified"] >= 3)
        status = poller.status()
        assert provider.status()["not_modified"] >= status["not_modified"]
        assert status["empty_responses"] >= status["not_modified"]
        publish(provider, "etag", range(5, 8))
        eventually(lambda: poller.status()["visible"] == 8)


def test_a_killed_poller_goes_on_where_it_was(tmp_path: Path) -> None:
    arguments = poller_arguments("http://127.0.0.1:{}", tmp_path / "i.db", "--page-size", "7")
    with running("provider") as provider:
        arguments = tuple(argument.format(provider.port) for argument in arguments)
        publish(provider, "kill", range(500))
        with running(*arguments) as poller:
            eventually(lambda: poller.status()["accepted"] > 0)
            poller.process.kill()
        before = len(read_ledger(tmp_path / "i.db"))
        assert before > 0
        publish(provider, "kill", range(500, 600))
        with running(*arguments) as poller:
            eventually(lambda: poller.status()["accepted"] + before == 600)
            # At most the page whose cursor was not saved yet comes a second time.
            assert poller.status()["duplicates"] <= 7
            eventually(lambda: all(row.visible_us is not None for row in read_ledger(tmp_path / "i.db")))
            assert poller.stop() == (0, "", "")
    rows = read_ledger(tmp_path / "i.db")
    assert [row.event_index for row in rows] == list(range(600))
    assert all(row.visible_us is not None for row in rows)


def test_a_provider_that_is_away_is_an_error_and_not_the_end(tmp_path: Path) -> None:
    with running("provider") as provider:
        port = provider.port
    with running(*poller_arguments(f"http://127.0.0.1:{port}", tmp_path / "i.db")) as poller:
        eventually(lambda: poller.status()["errors"] >= 2)
        with running("provider", "--port", str(port)) as provider:
            publish(provider, "back", range(3))
            eventually(lambda: poller.status()["visible"] == 3)


def test_stopping_does_not_wait_for_an_answer(tmp_path: Path) -> None:
    with running(*poller_arguments("http://127.0.0.1:9", tmp_path / "i.db")) as poller:
        start = time.monotonic()
        assert poller.stop()[0] == 0
        assert time.monotonic() - start < 3


def test_bad_input_is_one_line_and_exit_2(tmp_path: Path) -> None:
    assert "--source" in refused("poller")
    assert "http://example.com" in refused(*poller_arguments("http://example.com", tmp_path / "i.db"))
    good = poller_arguments("http://localhost:1", tmp_path / "i.db")
    assert "--interval-s" in refused(*good, "--interval-s", "0")
    assert "--phase-s" in refused(*good, "--phase-s", "-1")
    assert "--timeout-s" in refused(*good, "--timeout-s", "nan")
    assert "--page-size" in refused(*good, "--page-size", "0")
