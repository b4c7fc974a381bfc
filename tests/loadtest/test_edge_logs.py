"""Protects the log: it tells what matters, cannot be flooded, and holds nothing that a client sent."""

from __future__ import annotations

import io
import json
import logging
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtest import logs
from loadtest.watch import INTERVAL_S, Watch
from tests.loadtest.raw import connected, get, post
from tests.loadtest.servers import SECRET, SIGNER, Server, event, eventually, running

CANARY = "canary7f3a"


@pytest.fixture
def lines() -> Iterator[io.StringIO]:
    stream = io.StringIO()
    root = logging.getLogger()
    level, handlers = root.level, list(root.handlers)
    yield stream
    root.handlers[:] = handlers
    root.setLevel(level)


def record_of(line: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(line)
    return document


def test_a_json_line_has_its_fields(lines: io.StringIO) -> None:
    logs.configure("json", "info", lines)
    logs.event(logging.getLogger("hookbench.test"), logging.INFO, "something", count=3, path=Path("/x"))
    record = record_of(lines.getvalue())
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00", record.pop("ts"))
    assert record == {
        "level": "info", "logger": "hookbench.test", "message": "something", "count": 3, "path": "/x",
    }  # fmt: skip


def test_a_text_line_has_its_fields(lines: io.StringIO) -> None:
    logs.configure("text", "info", lines)
    logs.event(logging.getLogger("hookbench.test"), logging.WARNING, "something", count=3, why="a b")
    assert lines.getvalue().split(" ", 1)[1] == 'WARNING hookbench.test something count=3 why="a b"\n'


def test_levels_and_other_loggers(lines: io.StringIO) -> None:
    logs.configure("json", "warning", lines)
    logging.getLogger("hookbench.test").info("too quiet")
    logging.getLogger("uvicorn.error").warning("in the same format")
    assert [record_of(line)["message"] for line in lines.getvalue().splitlines()] == ["in the same format"]


@given(message=st.text(), value=st.text(), form=st.sampled_from(logs.FORMATS))
def test_a_line_is_a_line_whatever_it_says(message: str, value: str, form: str) -> None:
    formatter = logs.JsonFormatter() if form == "json" else logs.TextFormatter()
    record = logging.LogRecord("x", logging.INFO, "", 0, "said: %s", (message,), None)
    record.fields = {"value": value}
    line = formatter.format(record)
    assert len(line.splitlines()) == 1
    assert line.isprintable()


def test_an_exception_shows_its_place_and_not_its_words(lines: io.StringIO) -> None:
    logs.configure("json", "info", lines)
    try:
        int(CANARY)
    except ValueError:
        logging.getLogger("hookbench.test").exception("it failed")
    record = record_of(lines.getvalue())
    assert (record["exception"], record["message"]) == ("ValueError", "it failed")
    assert "loadtest/test_edge_logs.py" in record["where"]
    assert CANARY not in lines.getvalue()


def test_a_flood_of_a_kind_is_a_few_lines_and_a_count(
    lines: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [1000.0]
    monkeypatch.setattr(logs, "monotonic", lambda: now[0])
    handler = logs.configure("json", "info", lines)
    log = logging.getLogger("hookbench.test")
    for number in range(1000):
        log.warning("hostile request %d", number)
    log.warning("something else")
    assert len(lines.getvalue().splitlines()) == logs.BURST + 1
    now[0] += logs.WINDOW_S + 1
    handler.catch_up()
    handler.catch_up()
    (told,) = map(record_of, lines.getvalue().splitlines()[logs.BURST + 1 :])
    assert (told["suppressed"], told["level"]) == (1000 - logs.BURST, "warning")
    log.warning("hostile request %d", 1)
    assert record_of(lines.getvalue().splitlines()[-1])["message"] == "hostile request 1"


def test_kinds_without_number_take_no_memory(lines: io.StringIO) -> None:
    handler = logs.configure("json", "info", lines)
    for number in range(5000):
        logging.getLogger("hookbench.test").warning(f"a kind of its own {number}")
    assert len(handler._kinds) <= logs._MOST_KINDS


def test_refusals_are_told_by_reason_now_and_then(lines: io.StringIO) -> None:
    logs.configure("json", "info", lines)
    refused = {"signature": 0, "full": 0}
    unready: list[str | None] = [None]
    watch = Watch(lambda: refused, lambda: unready[0])

    def told(now: float) -> list[dict[str, Any]]:
        lines.seek(0)
        lines.truncate()
        watch.look(now)
        return [record_of(line) for line in lines.getvalue().splitlines()]

    assert told(0.0) == []
    refused["signature"] = 7
    (line,) = told(1.0)
    assert (line["reason"], line["count"], line["total"]) == ("signature", 7, 7)
    refused["signature"] = 1000
    refused["full"] = 1
    assert [line["reason"] for line in told(2.0)] == ["full"]
    (line,) = told(1.0 + INTERVAL_S)
    assert (line["reason"], line["count"], line["total"]) == ("signature", 993, 1000)
    assert told(1000.0) == []
    unready[0] = "storage fails"
    assert [line["message"] for line in told(1001.0)] == ["not ready"]
    assert told(1002.0) == []
    unready[0] = None
    assert [line["message"] for line in told(1003.0)] == ["ready again"]


def hostile_visits(server: Server) -> None:
    """A canary in every place that a client can fill, on every path to an answer."""
    name, body = event(CANARY, 0)
    assert server.post_event(body, name).status == 204
    headers = {"authorization": CANARY, "x-canary": CANARY}
    target = f"/webhooks/standard?secret={CANARY}"
    signed = dict(SIGNER.sign(name, int(time.time()), body))
    for sent, answers in (
        ((target, body, headers | signed), 204),
        ((target, body, headers), 401),
        ((target, body, headers | signed | {"webhook-signature": f"v1,{CANARY}"}), 401),
        (
            (target, CANARY.encode(), headers | dict(SIGNER.sign(name, int(time.time()), CANARY.encode()))),
            400,
        ),
        ((target, CANARY.encode() * 200_000, headers), 413),
        ((f"/{CANARY}/x?{CANARY}", body, headers), 404),
    ):
        path, content, with_headers = sent
        assert server.request("POST", path, content, with_headers).status == answers
    for raw_bytes in (
        CANARY.encode() + b"\r\n\r\n",
        f"GET /{CANARY} HTTP/1.1\r\nhost: x\r\n{CANARY} {CANARY}\r\n\r\n".encode(),
        get("/" + CANARY * 2000),
        get("/health", *(f"{CANARY}{index}: {CANARY}" for index in range(200))),
        get("/health", "upgrade: " + CANARY, "connection: upgrade"),
        post(name, body)[:-9],
    ):
        with connected(server.port) as raw:
            raw.send(raw_bytes)
            if not raw_bytes.startswith(b"POST"):
                raw.answer()


@pytest.mark.parametrize("form", logs.FORMATS)
def test_nothing_that_a_client_sends_is_in_the_log(form: str, tmp_path: Path) -> None:
    options = ("--log-level", "debug", "--log-format", form)
    with running("receiver", "--inbox", f"sqlite:///{tmp_path}/inbox.db", *options) as server:
        hostile_visits(server)
        eventually(lambda: server.status()["http_connections_open"] == 1)
        _, out, err = server.stop()
    assert CANARY not in out + err
    assert SECRET.removeprefix("whsec_") not in out + err
    for reason in ("signature", "malformed", "too_large", "malformed_http", "long_url", "large_headers"):
        assert re.search(rf'reason(=|": "){reason}\b', err), reason
    for word in ("serving", "draining", "stopped"):
        assert word in err
    if form == "json":
        for line in err.splitlines():
            assert record_of(line).keys() >= {"ts", "level", "logger", "message"}


def test_nor_when_storage_fails(tmp_path: Path) -> None:
    """The inbox is made unwritable behind the receiver's back: 503s, and one kind of line."""
    import sqlite3

    options = ("--log-level", "debug", "--log-format", "json")
    with running("receiver", "--inbox", f"sqlite:///{tmp_path}/inbox.db", *options) as server:
        with sqlite3.connect(tmp_path / "inbox.db", timeout=10) as db:
            db.execute("ALTER TABLE inbox RENAME TO inbox_away")
        db.close()
        for index in range(20):
            name, body = event(CANARY, index)
            assert server.post_event(body, name).status == 503
        server.process.kill()
        _, err = server.process.communicate()
    assert CANARY not in err
    assert 0 < err.count("storage failed") <= logs.BURST


def test_nor_when_a_handler_fails() -> None:
    options = ("--log-level", "debug", "--log-format", "json")
    with running(*options, module="tests.loadtest.edge_app") as server:
        for _ in range(20):
            server.request("POST", f"/boom?{CANARY}", CANARY.encode(), {"x": CANARY})
        with connected(server.port) as raw:
            raw.send(get(f"/boom-late?{CANARY}"))
            assert raw.socket.recv(1000)
            eventually(lambda: server.status()["handler_errors"] == 21)
        _, _, err = server.stop()
    assert CANARY not in err
    records = [record_of(line) for line in err.splitlines() if line.startswith("{")]
    failures = [record for record in records if record["message"] == "a handler failed"]
    assert len(failures) == logs.BURST
    assert failures[0]["exception"] == "ValueError"
    assert re.search(r"loadtest/edge_app\.py:\d+ _boom", failures[0]["where"])


def event_named(name: str) -> dict[str, Any]:
    return {"id": name, "type": "t", "index": 0, "created_us": 0}


def test_nor_of_what_a_source_answers(tmp_path: Path) -> None:
    """The poller's log says how its source failed, not what it said."""
    import threading
    from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

    answers = iter(
        [
            (500, CANARY),
            (410, CANARY),
            (200, CANARY),
            (200, json.dumps({"events": [event_named(CANARY * 50)], "cursor": "c"})),
            (200, json.dumps({CANARY: CANARY})),
        ]
    )

    class Source(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, body = next(answers, (500, CANARY))
            self.send_response(status, CANARY)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *_: Any) -> None:
            pass

    source = ThreadingHTTPServer(("127.0.0.1", 0), Source)
    thread = threading.Thread(target=source.serve_forever)
    thread.start()
    try:
        arguments = (
            "--inbox",
            f"sqlite:///{tmp_path}/inbox.db",
            "--interval-s",
            "0.05",
            "--log-level",
            "debug",
        )
        with running("poller", *arguments, "--source", f"http://127.0.0.1:{source.server_port}") as poller:
            eventually(lambda: poller.status()["errors"] > 5)
            _, out, err = poller.stop()
    finally:
        source.shutdown()
        thread.join()
        source.server_close()
    assert CANARY not in out + err
    assert "the source answered 500" in err
