"""Protects the generator's hot path: a FastHttpUser's own bytes, and every way an answer may come or fail.

The hot path passes `FastHttpSession.request` by, so its requests are held against that function's own; and as
it reads answers without waiting, each way for them to come, in pieces, late or never, is tried on a real
socket.
"""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from loadtest.recorder import BROKEN, REFUSED, TIMED_OUT
from tests.loadtest.scripted import LISTEN_S, ScriptedServer, scripted_server

PRELUDE = """
import json, sys, time
import gevent
from locust.contrib.fasthttp import FastHttpSession
from locust.event import EventHook
from loadtest.scenarios.connection import Answer
from loadtest.scenarios.sender import Pool, Sender
from loadtest.scenarios.wire import Prepared, Wire, client_of

host, questions = sys.argv[1], json.loads(sys.argv[2])
session = FastHttpSession(host, EventHook(), None, network_timeout=10, concurrency=100)
wire = Wire(session)
"""

EXCHANGES = (
    PRELUDE
    + """
class Exchange:
    def __init__(self):
        self.outcomes, self.begun, self.lasted, self.parallel = [], {}, {}, 0

    def launch(self, position):
        self.begun[position] = time.monotonic()
        method, path, size = questions[position]
        return wire.outgoing(Prepared(method, path, b"x" * size, {}))

    def settle(self, position, request, outcome):
        lasted_s = time.monotonic() - self.begun[position]
        if isinstance(outcome, Answer):
            found = {"status": outcome.get_code(), "body": outcome.read().decode(),
                     "connection": int(outcome["x-connection"]), "size": int(outcome["x-size"])}
        else:
            found = {"error": type(outcome).__name__}
        self.outcomes.append({"position": position, "lasted_s": lasted_s, **found})

pool = Pool()
exchange = pool.exchange = Exchange()
senders = [
    gevent.spawn(lambda: Sender(pool, client_of(session), 0.5).serve()) for _ in range(int(sys.argv[3]))
]
gevent.sleep(0)
found = {"free": []}
for position in range(len(questions)):
    found["free"].append(pool.submit(position))
    while sys.argv[4] == "in turn" and len(exchange.outcomes) <= position:
        gevent.sleep(0.01)
    gevent.sleep(0.05 if sys.argv[4] == "in turn" else 0)
with gevent.Timeout(20):
    while len(exchange.outcomes) < len(questions):
        gevent.sleep(0.01)
gevent.killall(senders)
found["outcomes"] = exchange.outcomes
connections = client_of(session)._connection_pool
found["open"] = connections.size - connections._semaphore.counter
print(json.dumps(found))
"""
)

SAME_BYTES = (
    PRELUDE
    + """
made = []
for method, path, body, headers in questions:
    body = body.encode() if body else None
    session.request(method, path, data=body, headers=headers, catch_response=True)
    made.append(wire.outgoing(Prepared(method, path, body, headers)).content.decode("latin-1"))
print(json.dumps(made))
"""
)


JUDGED = """
import gzip, json
from types import SimpleNamespace
from locust.event import EventHook
from loadtest.scenarios.connection import Answer
from loadtest.scenarios.judgement import Judge
from loadtest.scenarios.wire import Outgoing
from loadtest.traffic import FORGED, GENUINE

told = []
hook = EventHook()
hook.add_listener(lambda **words: told.append(words))
judge = Judge(SimpleNamespace(events=SimpleNamespace(request=hook)), "arm")


def answer(status, headers="", body=b""):
    it = Answer("POST")
    it.take(f"HTTP/1.1 {status} Word\\r\\n{headers}content-length: {len(body)}\\r\\n\\r\\n".encode() + body)
    return it


zipped = gzip.compress(b"x" * 1000)
for outcome, kind in (
    (answer(200, body=b"12345"), GENUINE),
    (answer(200, "content-encoding: gzip\\r\\n", zipped), GENUINE),
    (answer(200, "content-encoding: gzip\\r\\n", b"not at all"), GENUINE),
    (answer(200, "content-encoding: unheard-of\\r\\n", b"12345"), GENUINE),
    (answer(304), GENUINE),
    (answer(307, "location: /elsewhere\\r\\n"), GENUINE),
    (answer(404), GENUINE),
    (answer(503, "retry-after: 7\\r\\n"), GENUINE),
    (answer(401), FORGED),
    (answer(204), FORGED),
    (ConnectionRefusedError(111, "refused"), GENUINE),
    (TimeoutError("timed out"), GENUINE),
    (ConnectionResetError(104, "reset"), GENUINE),
):
    verdict = judge(Outgoing("POST", "http://host/path", b""), outcome, 1500, kind)
    words = told[-1]
    assert (words["request_type"], words["name"], words["url"]) == ("POST", "arm", "http://host/path")
    assert (words["response_time"], words["response_length"]) == (1.5, verdict.body_bytes)
    print(json.dumps([*verdict, None if words["exception"] is None else type(words["exception"]).__name__,
                      words["response"].status_code]))
"""


DUE = """
import json
import numpy as np
from loadtest.contract import now_us
from loadtest.recorder import Samples
from loadtest.scenarios.dispatcher import Dispatcher
from loadtest.scenarios.judgement import Verdict
from loadtest.scenarios.sender import Pool
from loadtest.scenarios.wire import Outgoing, Prepared
from loadtest.schedule import Plan


class Recording(Pool):
    def submit(self, position):
        order.append(f"request {position}")
        return position != 3


class Wire:
    def outgoing(self, prepared):
        return Outgoing("POST", "", b"")


def judge(request, outcome, latency_us, kind):
    order.append("judged")
    return Verdict(204, 0, None)


order, started_us = [], now_us()
offsets_us = np.array([0, 1, 2, 3, 60_000_000])  # the last is not due while this runs
samples = Samples.scheduled(np.arange(5), started_us + offsets_us)
plan = Plan("run", "webhook", "/", offsets_us)
dispatcher = Dispatcher(plan, samples, lambda *_: Prepared("POST", "/", b"", {}), Wire(), Recording(), judge)
while now_us() <= started_us + 3:
    pass
dispatcher.settle(0, dispatcher.launch(0), TimeoutError())
print(json.dumps([order, samples.queued.tolist(), (samples.dispatched_us >= samples.intended_us).tolist()]))
"""


def run(script: str, host: str, questions: list[Any], *arguments: str) -> Any:
    done = subprocess.run(
        [sys.executable, "-c", script, host, json.dumps(questions), *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def exchange(
    server: ScriptedServer, *questions: tuple[str, str, int], senders: int = 1, at_once: bool = False
) -> dict[str, Any]:
    order = "at once" if at_once else "in turn"
    host = f"http://127.0.0.1:{server.port}"
    found: dict[str, Any] = run(EXCHANGES, host, list(questions), str(senders), order)
    return found


@pytest.mark.parametrize("before", ["http://", "http://anna:p%40ss@"], ids=["plain", "with credentials"])
@pytest.mark.parametrize("behind", ["", "/base"], ids=["at the root", "below a path"])
def test_requests_are_the_bytes_that_a_fasthttpuser_sends(before, behind):
    posts = [
        (
            "POST",
            "/webhooks/standard",
            '{"a": "ü"}',
            {"content-type": "application/json", "webhook-id": "e1"},
        ),
        ("POST", "/empty", "", {"content-type": "application/json"}),
        (
            "POST",
            "/hooks?secret=a+b%20c",
            "x=1",
            {"User-Agent": "GitHub-Hookshot/044aadd", "content-type": "a/b"},
        ),
        ("GET", "/events?after=17%7C3&limit=100&q=a b", "", {"if-none-match": '"tag"'}),
        ("GET", "/events?limit=100", "", {"accept-encoding": "identity"}),
    ]
    with scripted_server() as server:
        made = run(SAME_BYTES, f"{before}127.0.0.1:{server.port}{behind}", posts)
    assert len(made) == len(posts)
    for ours, theirs in zip(made, server.requests, strict=True):
        # The order of header lines means nothing (RFC 9110, section 5.3), as no name comes twice.
        assert _parts(ours.encode("latin-1")) == _parts(theirs)


def _parts(request: bytes) -> tuple[bytes, list[bytes], bytes]:
    head, _, body = request.partition(b"\r\n\r\n")
    line, *headers = head.split(b"\r\n")
    return line, sorted(headers), body


def test_a_connection_is_kept_as_long_as_the_server_keeps_it():
    with scripted_server() as server:
        found = exchange(
            server,
            *[("POST", "/fine", 10), ("POST", "/chunked", 10), ("POST", "/early-hints", 10)],
            *[("POST", "/last", 10), ("GET", "/until-the-end", 0), ("POST", "/fine", 10)],
        )
    told = [(each["status"], each["body"], each["connection"]) for each in found["outcomes"]]
    assert told == [
        (204, "", 1),
        (200, "abcde", 1),
        (200, "ok", 1),
        (200, "ok", 1),
        (200, "until the end", 2),
        (204, "", 3),
    ]
    assert found["open"] == 0  # all were given back


def test_a_connection_that_was_closed_at_rest_costs_no_request():
    with scripted_server() as server:
        found = exchange(server, ("POST", "/answered-then-closed", 10), ("POST", "/fine", 10))
    assert [(each["status"], each["connection"]) for each in found["outcomes"]] == [(204, 1), (204, 2)]


def test_a_request_that_was_lost_with_its_connection_is_sent_again_only_if_it_may_be():
    # RFC 9110, section 9.2.2: a POST may have been acted upon.
    with scripted_server() as server:
        found = exchange(
            server,
            *[("GET", "/fine", 0), ("GET", "/closed-unanswered-if-kept", 0)],
            *[("POST", "/fine", 1), ("POST", "/closed-unanswered-if-kept", 1)],
            ("GET", "/closed-unanswered", 0),
        )
    first, again, kept, lost, never = found["outcomes"]
    assert (first["connection"], again["connection"], kept["connection"]) == (1, 2, 2)
    assert again["status"] == 204
    assert lost["error"] == "HTTPConnectionClosed"
    assert never["error"] == "HTTPConnectionClosed"  # over a new connection: it would be no better again
    assert len(server.requests) == 6


def test_failures_are_told_apart_and_the_next_request_goes_over_a_new_connection():
    with scripted_server() as server:
        found = exchange(
            server,
            *[("POST", "/silence", 1), ("POST", "/not-http", 1), ("POST", "/cut-short", 1)],
            ("POST", "/fine", 1),
        )
        silent, strange, short, fine = found["outcomes"]
    assert silent["error"] == "TimeoutError"
    assert silent["lasted_s"] >= 0.5
    assert (strange["error"], short["error"]) == ("HTTPParseError", "HTTPParseError")
    assert (fine["status"], fine["connection"]) == (204, 4)


def test_a_body_that_does_not_go_at_once_arrives_whole():
    size = 20_000_000
    with scripted_server() as server:
        found = exchange(server, ("POST", "/fine", 1), ("POST", "/slow-reader", size), ("POST", "/fine", 1))
    assert [(each["size"], each["connection"]) for each in found["outcomes"]] == [(1, 1), (size, 1), (1, 1)]
    assert found["outcomes"][1]["lasted_s"] >= LISTEN_S


def test_nobody_there_is_a_refusal():
    with scripted_server() as server:
        gone = server.port
    found = run(EXCHANGES, f"http://127.0.0.1:{gone}", [("POST", "/fine", 1)], "1", "in turn")
    assert [each["error"] for each in found["outcomes"]] == ["ConnectionRefusedError"]


def test_what_finds_every_sender_busy_waits_in_line_and_is_sent_in_order():
    with scripted_server() as server:
        found = exchange(server, *[("POST", f"/{number}/fine", 1) for number in range(5)], at_once=True)
        assert found["free"] == [True, False, False, False, False]
        assert [each["position"] for each in found["outcomes"]] == [0, 1, 2, 3, 4]
        assert {each["connection"] for each in found["outcomes"]} == {1}
        two = exchange(server, *[("POST", "/fine", 1)] * 5, senders=2, at_once=True)
    assert two["free"] == [True, True, False, False, False]
    assert {each["connection"] for each in two["outcomes"]} == {2, 3}


def test_the_last_used_connection_is_the_next_to_be_used():
    with scripted_server() as server:
        found = exchange(server, *[("POST", "/fine", 1)] * 6, senders=4)
    assert {each["connection"] for each in found["outcomes"]} == {1}


def test_each_answer_is_recorded_and_told_to_locust_as_what_it_was():
    done = subprocess.run(
        [sys.executable, "-c", JUDGED], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert [json.loads(line) for line in done.stdout.splitlines()] == [
        [200, 5, None, None, 200],
        [200, 1000, None, None, 200],  # the size of the body, however it travelled
        [200, 0, None, "error", 200],
        [200, 0, None, "ValueError", 200],
        [304, 0, None, None, 304],
        [307, 0, None, "CatchResponseError", 307],
        [404, 0, None, "LocustBadStatusCode", 404],
        [503, 0, "7", "LocustBadStatusCode", 503],
        [401, 0, None, None, 401],
        [204, 0, None, "CatchResponseError", 204],
        [REFUSED, 0, None, "ConnectionRefusedError", 0],
        [TIMED_OUT, 0, None, "TimeoutError", 0],
        [BROKEN, 0, None, "ConnectionResetError", 0],
    ]


def test_what_is_due_leaves_before_an_answer_is_seen_to():
    done = subprocess.run(
        [sys.executable, "-c", DUE], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    order, queued, dispatched = json.loads(done.stdout)
    assert order == ["request 0", "request 1", "request 2", "request 3", "judged"]
    assert queued == [0, 0, 0, 1, 0]
    assert dispatched == [True, True, True, True, False]
