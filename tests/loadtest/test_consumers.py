"""Protects the consumers: the model's rhythms, streams read as the standard says, nothing lost on the way."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtest import serve
from loadtest.consumers import AdaptiveRule, FixedRate, Holding
from loadtest.consumers.rhythm import LEAST_PAUSE_S, Adaptive, Cycle
from loadtest.consumers.sse import StreamParser
from loadtest.contract import MalformedEvent
from loadtest.inbox import read_ledger
from sim.policies import adaptive_interval, ask_again_after, compile_adaptive, compile_holding
from sim.scenario import load_scenario
from tests.loadtest import sse
from tests.loadtest.endpoints import Behaviour, Endpoint, Got, answer, endpoints
from tests.loadtest.servers import SECRET, Server, event, eventually, running

US = 1_000_000
LOCAL = ("--source", "http://127.0.0.1:9")


def cycle(ended_s: float, *, found: int = 0, went_well: bool = True, **more: Any) -> Cycle:
    times = {"newest_us": None, "not_before_us": 0, "began_us": round(ended_s * US)} | more
    return Cycle(went_well, found, ended_us=round(ended_s * US), **times)


times_s = st.floats(0.001, 1e4)


@given(
    st.sampled_from(("aimd", "age")), st.floats(0.01, 100), times_s, st.floats(0.01, 1), times_s, times_s,
    times_s, st.booleans(), st.floats(0, 1e5),
)  # fmt: skip
def test_the_adaptive_rule_is_the_models(
    kind: str, share: float, increase_s: float, decrease: float, a_s: float, b_s: float, last_s: float,
    found: bool, age_s: float,
) -> None:  # fmt: skip
    table = {
        "kind": kind, "share": share, "increase_s": increase_s, "decrease": decrease,
        "min_interval_s": min(a_s, b_s), "max_interval_s": max(a_s, b_s),
    }  # fmt: skip
    scenario = load_scenario("shop-orders").with_values(
        **{f"adaptive_polling.{key}": value for key, value in table.items()}
    )
    expected = adaptive_interval.py_func(compile_adaptive(scenario), last_s, found, age_s)  # type: ignore[attr-defined]
    assert AdaptiveRule(**table).next_s(last_s, found=found, age_s=age_s) == expected  # type: ignore[arg-type]


def test_an_adaptive_poller_sleeps_from_the_end_and_a_failure_changes_nothing() -> None:
    rhythm = Adaptive(AdaptiveRule("aimd", 0.2, 1.0, 0.5, 0.5, 3.0), 9.0, phase_s=0.25)
    assert rhythm.first_us(0, 10 * US) == 10.25 * US
    assert rhythm.next_us(cycle(11, went_well=False)) == 14 * US  # 9 s are more than the bound
    assert rhythm.next_us(cycle(20, found=2)) == 21.5 * US
    assert rhythm.next_us(cycle(30, not_before_us=40 * US)) == 40 * US  # it grew to 2.5 s all the same
    assert rhythm.next_us(cycle(50, found=1)) == 51.25 * US
    by_age = Adaptive(AdaptiveRule("age", 0.5, 1.0, 0.5, 0.5, 30.0), 1.0)
    by_age.first_us(0, 10 * US)
    assert by_age.next_us(cycle(14)) == 16 * US  # as if of an event at the origin
    assert by_age.next_us(cycle(20, found=1, newest_us=12 * US)) == 24 * US


@given(st.booleans(), st.floats(0, 100), st.floats(0.01, 100), st.floats(0, 100))
def test_a_long_poller_asks_again_when_the_models_does(
    went_well: bool, gap_s: float, retry_s: float, retry_after_s: float
) -> None:
    scenario = load_scenario("shop-orders").with_values(
        **{"long_polling.gap_s": gap_s, "long_polling.retry_s": retry_s}
    )
    expected_s = ask_again_after.py_func(compile_holding(scenario), went_well, retry_after_s)  # type: ignore[attr-defined]
    ended = cycle(50, found=1, went_well=went_well, not_before_us=round((50 + retry_after_s) * US))
    assert Holding(30, gap_s, retry_s).next_us(ended) == pytest.approx((50 + expected_s) * US, abs=2)


def test_a_source_that_does_not_hold_is_not_asked_without_end() -> None:
    rhythm = Holding(hold_s=10, gap_s=0, retry_s=0.7)
    assert rhythm.next_us(cycle(20, began_us=10 * US)) == 20 * US
    assert rhythm.next_us(cycle(20, began_us=19 * US)) == 20.7 * US
    assert Holding(10, 0, 0).next_us(cycle(20, went_well=False)) == (20 + LEAST_PAUSE_S) * US


def test_a_retry_after_leaves_ticks_out() -> None:
    rhythm = FixedRate(1.0, 0.5)
    assert rhythm.first_us(0, 0) == 0.5 * US
    assert rhythm.next_us(cycle(0.6, went_well=False, not_before_us=round(3.2 * US))) == 3.5 * US
    assert rhythm.skipped_ticks == 2


MESSAGES = st.lists(
    st.tuples(st.sampled_from(("", "new_order", "missed")), st.text("ab :é\t", max_size=9), st.booleans()),
    max_size=6,
)


@given(MESSAGES, st.sampled_from(("\n", "\r\n", "\r")), st.lists(st.integers(1, 40), max_size=20))
def test_streams_are_read_as_the_standard_says(
    messages: list[tuple[str, str, bool]], end: str, cuts: list[int]
) -> None:
    """Against another reader, written from the standard for the server's own line ends."""
    blocks = []
    for number, (kind, data, comment) in enumerate(messages):
        lines = [f"id: c-{number}", *([f"event: {kind}"] if kind else []), f"data: {data}"]
        blocks.append([": silence", *lines] if comment else lines)
    text = "".join("".join(f"{line}{end}" for line in lines) + end for lines in blocks)
    reference = sse.StreamParser()
    expected = reference.feed(text.replace(end, "\n").encode())
    parser, found, rest = StreamParser(), [], text.encode()
    for cut in cuts:
        found += parser.feed(rest[:cut])
        rest = rest[cut:]
    found += parser.feed(rest + b"\n")  # a CR at the very end waits for what may follow
    assert [(m.type, m.data.decode()) for m in found] == [(m.type, m.data) for m in expected]
    assert parser.last_event_id == (reference.last_event_id or None)


def test_a_streams_fine_print() -> None:
    parser = StreamParser()
    assert parser.feed(b"\xef\xbb") == []
    assert parser.feed(b"\xbfdata: a\ndata:b\ndata\nid: 7\nretry: 250\nretry: x\nwhat: ever\n\n") == [
        ("message", b"a\nb\n")
    ]
    assert (parser.last_event_id, parser.retry_ms) == ("7", 250)
    assert parser.feed(b"id: 8\nid: a\0b\n\nevent: gone\n\nid: 9\ndata: x\n") == []
    assert parser.last_event_id == "8"  # block 9 is not complete
    assert parser.feed(b"\n") == [("message", b"x")]


def test_a_block_without_end_is_malformed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("loadtest.consumers.sse.MOST_BYTES", 100)
    for piece in (b"data: " + b"x" * 101, b"data: x\n" * 60):
        with pytest.raises(MalformedEvent, match="more than 100 bytes"):
            StreamParser().feed(piece)


def publish(server: Server, run_id: str, indices: range) -> None:
    events = [json.loads(event(run_id, index)[1]) for index in indices]
    assert server.request("POST", "/events", json.dumps(events).encode()).status == 202


def arguments(role: str, source: str, inbox: Path, *more: str) -> tuple[str, ...]:
    return (role, "--source", source, "--inbox", f"sqlite:///{inbox}", *more)


QUICK = {
    "long-poller": ("--hold-s", "20", "--retry-s", "0.05"),
    "stream-client": ("--base-s", "0.05", "--cap-s", "0.1"),
}


@pytest.mark.parametrize(("role", "via"), [("long-poller", "poll"), ("stream-client", "stream")])
def test_events_come_as_they_happen_and_a_restarted_provider_is_read_from_its_beginning(
    role: str, via: str, tmp_path: Path
) -> None:
    with running("provider") as provider:
        port = provider.port
        with running(*arguments(role, provider.url, tmp_path / "i.db", *QUICK[role])) as consumer:
            publish(provider, "a", range(3))
            eventually(lambda: consumer.status()["visible"] == 3)
            began = time.monotonic()
            publish(provider, "a", range(3, 5))
            eventually(lambda: consumer.status()["visible"] == 5)
            assert time.monotonic() - began < 10  # and not after the hold
            before = consumer.status()
            assert before["requests"] <= 4
            assert provider.stop()[0] == 0
            eventually(lambda: consumer.status()["errors"] > 0)
            with running("provider", "--port", str(port)) as again:
                publish(again, "a", range(4, 9))  # of which it knows one
                eventually(lambda: consumer.status()["visible"] == 9)
                status = consumer.status()
                code, _, err = consumer.stop()
    assert code == 0
    assert status["duplicates"] == 1
    assert status["consuming"]
    assert "Traceback" not in err
    rows = read_ledger(tmp_path / "i.db")
    assert sorted(row.event_index for row in rows) == list(range(9))
    assert {row.via for row in rows} == {via}


@pytest.mark.parametrize("role", QUICK)
def test_a_killed_consumer_goes_on_where_it_was(role: str, tmp_path: Path) -> None:
    with running("provider") as provider:
        command = arguments(role, provider.url, tmp_path / "i.db", *QUICK[role])
        publish(provider, "k", range(300))
        with running(*command) as consumer:
            eventually(lambda: consumer.status()["accepted"] > 0)
            consumer.process.kill()
        publish(provider, "k", range(300, 350))
        before = len(read_ledger(tmp_path / "i.db"))
        with running(*command) as consumer:
            eventually(lambda: consumer.status()["accepted"] + before == 350)
            # At most what came with one answer, whose cursor was not saved, comes a second time.
            assert consumer.status()["duplicates"] <= 200
            eventually(lambda: all(row.visible_us for row in read_ledger(tmp_path / "i.db")))
    assert sorted(row.event_index for row in read_ledger(tmp_path / "i.db")) == list(range(350))


@pytest.mark.parametrize("role", ["poller", "long-poller", "stream-client"])
def test_what_the_provider_has_forgotten_is_counted_as_missed(role: str, tmp_path: Path) -> None:
    with running("provider", "--retention-events", "4") as provider:
        publish(provider, "m", range(3))
        more = QUICK.get(role, ("--interval-s", "0.05"))
        with running(*arguments(role, provider.url, tmp_path / "i.db", *more)) as consumer:
            eventually(lambda: consumer.status()["visible"] == 3)
            assert consumer.stop()[0] == 0
        publish(provider, "m", range(3, 20))  # the cursor is overtaken meanwhile
        with running(*arguments(role, provider.url, tmp_path / "i.db", *more)) as consumer:
            eventually(lambda: consumer.status()["visible"] == 4)
            status = consumer.status()
    assert (status["missed_events"], status["errors"]) == (13, 0)
    assert [row.event_index for row in read_ledger(tmp_path / "i.db")] == [0, 1, 2, 16, 17, 18, 19]


STREAM_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n"


def block(index: int) -> bytes:
    return b"id: c-%d\nevent: new_order\ndata: %b\n\n" % (index + 1, event("s", index)[1])


def streamed(behaviour: Behaviour, tmp_path: Path, check: Callable[[Server, Endpoint], None]) -> None:
    with endpoints(behaviour) as (source,):
        url = source.url.removesuffix("/hook")
        more = (
            *QUICK["stream-client"],
            "--silence-s",
            "0.5",
            "--connect-timeout-s",
            "0.5",
            "--jitter",
            "none",
        )
        with running(*arguments("stream-client", url, tmp_path / "i.db", *more)) as client:
            check(client, source)
            assert client.stop()[0] == 0


def test_a_stream_that_falls_silent_or_breaks_is_opened_again_after_what_was_stored(tmp_path: Path) -> None:
    def behaviour(number: int, got: Got) -> bytes | None:
        return [
            STREAM_HEAD + block(0) + block(1)[:30],  # half a block, then silence: no end, no heartbeat
            STREAM_HEAD + b"data: {}\nid: c-9\n\n",  # no event: neither stored nor passed over
            STREAM_HEAD + block(1),
            None,
        ][min(number, 3)]

    def check(client: Server, source: Endpoint) -> None:
        eventually(lambda: len(source.got) >= 4)
        assert [got.headers.get("last-event-id") for got in source.got[:4]] == [None, "c-1", "c-1", "c-2"]
        assert source.accepted >= 4  # each on a connection of its own
        status = client.status()
        assert status["visible"] == 2
        assert status["timeouts"] + status["errors"] >= 3

    streamed(behaviour, tmp_path, check)


def test_a_stream_is_not_asked_for_before_its_retry_after(tmp_path: Path) -> None:
    def behaviour(number: int, got: Got) -> bytes | None:
        return [answer(429, "retry-after: 1"), answer(503, "retry-after: 1"), answer(204), STREAM_HEAD][
            min(number, 3)
        ]

    def check(client: Server, source: Endpoint) -> None:
        eventually(lambda: len(source.got) >= 4)
        first, second, third, fourth = (got.at_s for got in source.got[:4])
        assert second - first >= 1
        assert third - second >= 1
        assert fourth - third >= 0.05  # a 204 is no stream
        status = client.status()
        assert (status["rejected"], status["errors"]) == (1, 2)

    streamed(behaviour, tmp_path, check)


@pytest.mark.parametrize(
    ("role", "flags", "word"),
    [
        ("long-poller", (), "--source"),
        ("stream-client", ("--source", "http://example.com"), "http://example.com"),
        ("long-poller", ("--source", "http://example.com"), "http://example.com"),
        ("poller", (*LOCAL, "--adaptive", "aimd", "--decrease", "2"), "--decrease"),
        (
            "poller",
            (*LOCAL, "--adaptive", "age", "--min-interval-s", "5", "--max-interval-s", "2"),
            "--max-interval-s 2 is less than --min-interval-s 5",
        ),
        ("poller", (*LOCAL, "--origin-us", "5", "--origin-file", "o"), "give one of them"),
        ("stream-client", (*LOCAL, "--factor", "0.5"), "factor"),
        ("receiver", ("--reconcile-from", "http://example.com"), "--reconcile-from 'http://example.com'"),
        ("receiver", ("--fetch-from", "http://example.com"), "--fetch-from 'http://example.com'"),
        ("receiver", ("--fetch-from", "http://127.0.0.1:9", "--fetch-attempts", "0"), "--fetch-attempts"),
    ],
)
def test_bad_input_is_one_line_and_exit_2(
    role: str,
    flags: tuple[str, ...],
    word: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOOKBENCH_WEBHOOK_SECRET", SECRET)
    try:
        code = serve.main([role, *flags])
    except SystemExit as stop:  # argparse's own way
        code = stop.code  # type: ignore[assignment]
    out, err = capfd.readouterr()
    assert (code, out, err.count("\n")) == (2, "", 1), err
    assert word in err
