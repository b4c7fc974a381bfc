"""Protects servers from clients: each stage of a request has a size and a time, told over raw sockets.

What is refused is refused with the status that RFC 9110 has for it, in the form of every other error, counted
by reason, and the connection is closed; what is not is served as if there were no limits.
"""

from __future__ import annotations

import http.client
import json
import socket
import struct
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.loadtest.raw import Raw, connected, get, post, signature
from tests.loadtest.servers import Server, event, eventually, running

SHORT = (
    *("--header-timeout-s", "0.6", "--body-timeout-s", "0.6", "--send-timeout-s", "0.6"),
    *("--keep-alive-s", "1.2", "--min-bytes-per-s", "100000", "--max-bodies-bytes", "300000"),
    *("--max-url-bytes", "1000", "--max-header-bytes", "5000", "--max-headers", "20", "--max-pipelined", "4"),
)


@pytest.fixture(scope="module", params=["uvloop", "asyncio"])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    inbox = tmp_path_factory.mktemp("edge") / "inbox.db"
    with running(
        "receiver", "--inbox", f"sqlite:///{inbox}", "--loop", request.param, *SHORT
    ) as receiver:  # fmt: skip
        yield receiver
        status = receiver.status()
        assert status["body_bytes_held"] == 0
        assert status["handler_errors"] == 0


@pytest.fixture
def raw(server: Server) -> Iterator[Raw]:
    with connected(server.port) as connection:
        yield connection


def ended(server: Server, reason: str) -> int:
    return int(server.status()["ended"].get(reason, 0))


def refused(server: Server, raw: Raw, status: int, reason: str, method: str = "GET") -> None:
    """The next answer is this refusal, and it is the last."""
    answer = raw.answer(method)
    assert answer.status == status
    assert answer.headers["connection"] == "close"
    assert answer.headers["content-type"] == "application/json"
    assert list(json.loads(answer.body)) == ["error"]
    assert raw.closed()
    assert ended(server, reason) > 0


def test_a_normal_request_keeps_its_connection(raw: Raw) -> None:
    for _ in range(3):
        assert raw.send(get()).answer().status == 200


@pytest.mark.parametrize("bytes_too_many", [0, 1])
def test_the_length_of_the_url(server: Server, raw: Raw, bytes_too_many: int) -> None:
    raw.send(get("/" + "u" * (999 + bytes_too_many)))
    if bytes_too_many:
        refused(server, raw, 414, "long_url")
    else:
        assert raw.answer().status == 404


def test_a_url_without_end(server: Server, raw: Raw) -> None:
    raw.send(b"GET /" + b"u" * 2000)
    refused(server, raw, 414, "long_url")


@pytest.mark.parametrize("bytes_too_many", [0, 1])
def test_the_size_of_the_headers(server: Server, raw: Raw, bytes_too_many: int) -> None:
    # "/health" + "host: x" with two more characters; then "a: " and the value, again with two
    size = 5000 - len("/health") - (len("host") + len("x") + 4) - (len("a") + 4) + bytes_too_many
    raw.send(get("/health", "a: " + "v" * size))
    if bytes_too_many:
        refused(server, raw, 431, "large_headers")
    else:
        assert raw.answer().status == 200


@pytest.mark.parametrize("endless", [b"a: " + b"v" * 6000, b"a: b\r\n" * 1000, b"n" * 6000])
def test_headers_without_end(server: Server, raw: Raw, endless: bytes) -> None:
    raw.send(b"GET /health HTTP/1.1\r\nhost: x\r\n")
    time.sleep(0.05)
    raw.send(endless[:3000])
    time.sleep(0.05)
    raw.send(endless[3000:] + b"x" * 3000)
    refused(server, raw, 431, "large_headers")


@pytest.mark.parametrize("headers_too_many", [0, 1])
def test_the_number_of_headers(server: Server, raw: Raw, headers_too_many: int) -> None:
    raw.send(get("/health", *(f"h{index}: 1" for index in range(19 + headers_too_many))))
    if headers_too_many:
        refused(server, raw, 431, "large_headers")
    else:
        assert raw.answer().status == 200


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",  # TLS spoken to a plain port
        b"GET / HTTP/1.1\r\nhost: x\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: x\r\ncontent-length: 3\r\ncontent-length: 4\r\n\r\n",
        b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: -3\r\n\r\n",
        b"POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
        b"GET / HTTP/1.1\r\nhost: x\r\n folded: y\r\n\r\n",
        b"GET / HTTP/1.1\r\nho st: x\r\n\r\n",
        b"GET http:// HTTP/1.1\r\nhost: x\r\n\r\n",
        b"GET /\xff HTTP/1.1\r\nhost: x\r\n\r\n",
        b"hello\r\n\r\n",
    ],
)
def test_what_is_no_http_is_400(server: Server, raw: Raw, request_bytes: bytes) -> None:
    """Among them what is told apart differently by two servers in a row (RFC 9112, section 11.2)."""
    raw.send(request_bytes)
    refused(server, raw, 400, "malformed_http")


def test_a_connection_that_begins_nothing(server: Server, raw: Raw) -> None:
    assert 0.3 < raw.closed_after_s() < 5
    assert ended(server, "idle") > 0


@pytest.mark.parametrize("before", [b"", get()])
def test_headers_dripped_in(server: Server, raw: Raw, before: bytes) -> None:
    """On a new connection, and on one that has behaved so far."""
    if before:
        assert raw.send(before).answer().status == 200
    drip(raw, get())
    refused(server, raw, 408, "slow_headers")


def test_blank_lines_dripped_in_are_no_request(raw: Raw) -> None:
    start = time.monotonic()
    drip(raw, b"\r\n" * 500)
    assert raw.closed()
    assert time.monotonic() - start < 5


@pytest.mark.parametrize("framing", ["content-length: 5000", "transfer-encoding: chunked"])
def test_a_body_dripped_in(server: Server, raw: Raw, framing: str) -> None:
    raw.send(f"POST /webhooks/standard HTTP/1.1\r\nhost: x\r\n{framing}\r\n\r\n".encode())
    drip(raw, b"1\r\nx\r\n" * 500)
    refused(server, raw, 408, "slow_body", "POST")


def drip(raw: Raw, data: bytes) -> None:
    """Byte by byte, until the server has had enough."""
    try:
        for index in range(len(data) - 1):
            raw.send(data[index : index + 1])
            time.sleep(0.02)
            if server_spoke(raw):
                return
    except (BrokenPipeError, ConnectionResetError):
        return


def server_spoke(raw: Raw) -> bool:
    raw.socket.setblocking(False)
    try:
        raw.socket.recv(1, socket.MSG_PEEK)
    except BlockingIOError:
        return False
    finally:
        raw.socket.settimeout(15)
    return True


def test_a_large_body_at_a_fair_rate_passes(server: Server, raw: Raw) -> None:
    """1.5 times the first allowance, but at more than the least rate: it is answered (401, unsigned)."""
    raw.send(b"POST /webhooks/standard HTTP/1.1\r\nhost: x\r\ncontent-length: 200000\r\n\r\n")
    for _ in range(10):
        raw.send(b"x" * 20_000)
        time.sleep(0.09)
    assert raw.answer("POST").status == 401


def test_endless_chunk_extensions(server: Server, raw: Raw) -> None:
    raw.send(b"POST /webhooks/standard HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n1;")
    pour(raw, b"x" * 100_000, 30)
    refused(server, raw, 400, "framing", "POST")


def test_endless_trailers(server: Server, raw: Raw) -> None:
    raw.send(b"POST /nothing HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n")
    pour(raw, b"trailer: 1\r\n" * 10_000, 30)
    assert raw.answer("POST").status == 404
    assert raw.closed()


def pour(raw: Raw, data: bytes, times: int) -> None:
    try:
        for _ in range(times):
            raw.send(data)
    except (BrokenPipeError, ConnectionResetError):
        return


def test_trailers_are_not_headers(server: Server, raw: Raw) -> None:
    """A signature that comes behind the body does not count (RFC 9110, section 6.5.1)."""
    name, body = event("trailers", 1)
    signed = signature(name, body)
    head = b"POST /webhooks/standard HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n"
    chunk = b"%x\r\n%b\r\n0\r\n" % (len(body), body)
    raw.send(head + signed + b"\r\n" + chunk + b"\r\n")
    assert raw.answer("POST").status == 204
    raw.send(head + b"\r\n" + chunk + signed + b"\r\n")
    assert raw.answer("POST").status == 401


def test_the_answer_to_a_body_too_large_reaches_a_client_that_still_sends(server: Server) -> None:
    """Not reset away by what is under way (RFC 9112, section 9.6): it may send on, and reads the end."""
    for _ in range(10):
        with connected(server.port) as raw:
            raw.send(b"POST /webhooks/standard HTTP/1.1\r\nhost: x\r\ncontent-length: 9000000\r\n\r\n")
            for _ in range(20):
                raw.send(b"x" * 100_000)
            assert raw.answer("POST").status == 413
            assert raw.socket.recv(1) == b""


@pytest.mark.parametrize("framing", ["content-length: 150000", "transfer-encoding: chunked"])
def test_bodies_at_once_are_bounded(server: Server, framing: str) -> None:
    """Two fit; the third is told to come again, and fits once they are gone, however they went."""
    head = f"POST /webhooks/standard HTTP/1.1\r\nhost: x\r\n{framing}\r\n\r\n".encode()
    body = (b"%x\r\n" % 140_000 if "chunked" in framing else b"") + b"x" * 140_000
    with connected(server.port) as first, connected(server.port) as second, connected(server.port) as third:
        first.send(head + body)
        second.send(head + body)
        eventually(lambda: server.status()["body_bytes_held"] == 280_000)
        third.send(head)
        pour(third, body, 1)
        answer = third.answer("POST")
        assert (answer.status, answer.headers["retry-after"]) == (503, "1")
        assert third.closed()
        first.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        first.close()  # a reset
        second.close()
        eventually(lambda: server.status()["body_bytes_held"] == 0)
    assert server.status()["body_bytes_peak"] <= 300_000
    with connected(server.port) as again:
        assert again.send(head + body + (b"\r\n0\r\n\r\n" if "chunked" in framing else b"x" * 10_000))
        assert again.answer("POST").status == 401


def test_pipelining_is_answered_in_order_and_bounded(server: Server, raw: Raw) -> None:
    before = ended(server, "pipelining")
    raw.send(get() + get("/nothing") + get())
    assert [raw.answer().status for _ in range(3)] == [200, 404, 200]
    raw.send(get() * 100)
    answers = [raw.answer() for _ in range(5)]
    assert {answer.status for answer in answers} == {200}
    assert [answer.headers.get("connection") for answer in answers] == [None] * 4 + ["close"]
    assert raw.closed()
    assert ended(server, "pipelining") == before + 1


@pytest.mark.parametrize(
    "bad",
    [
        b"hello\r\n\r\n",
        b"GET /\xff HTTP/1.1\r\nhost: x\r\n\r\n",
        b"GET http:// HTTP/1.1\r\nhost: x\r\n\r\n",
        get("/" + "u" * 2000),
        get("/health", *(f"h{index}: 1" for index in range(30))),
        b"POST /slow/1 HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n1\r\nx\r\nzz\r\n",
    ],
)
@pytest.mark.parametrize("between", [b"", get()])
def test_a_refusal_behind_requests_in_progress_does_not_disturb_them(bad: bytes, between: bytes) -> None:
    with (
        running(*SHORT, module="tests.loadtest.edge_app") as server,
        connected(server.port) as raw,
    ):
        raw.send(get("/slow/300") + between + bad)
        assert raw.answer().json() == {"done": True}
        if between:
            assert raw.answer().json() == {"ok": True}
        assert raw.closed()
        assert server.status()["body_bytes_held"] == 0


def test_bodies_are_let_go_of_one_by_one() -> None:
    """Also where a client never lets its connection rest."""
    request = b"POST /slow/5 HTTP/1.1\r\nhost: x\r\ncontent-length: 50000\r\n\r\n" + b"x" * 50_000
    with (
        running("--max-bodies-bytes", "250000", module="tests.loadtest.edge_app") as server,
        connected(server.port) as raw,
    ):
        raw.send(request * 2)
        for _ in range(20):
            assert raw.answer("POST").status == 200
            raw.send(request)
        assert [raw.answer("POST").status for _ in range(2)] == [200, 200]
        status = raw.send(get("/status")).answer().json()
        assert (status["body_bytes_held"], status["ended"]) == (0, {})
        assert status["body_bytes_peak"] <= 150_000


@pytest.mark.parametrize("cut", [0, 1, 20, 200, 400])
@pytest.mark.parametrize("protocol", ["h2c", "websocket"])
def test_an_offer_of_another_protocol_is_declined_and_the_request_answered(
    raw: Raw, protocol: str, cut: int
) -> None:
    """As Java's and curl's clients offer HTTP/2 with any request; its body is a body all the same."""
    for index in range(2):
        name, body = event(f"upgrade_{protocol}_{cut}", index)
        offer = f"host: x\r\nconnection: keep-alive, upgrade\r\nupgrade: {protocol}".encode()
        request = post(name, body).replace(b"host: x", offer)
        raw.send(request[: len(request) - cut])
        if cut:
            time.sleep(0.05)
            raw.send(request[-cut:])
        assert raw.answer("POST").status == 204
    assert raw.send(get("/health", "connection: upgrade", "upgrade: h2c")).answer().status == 200


def test_a_tunnel_is_refused(server: Server, raw: Raw) -> None:
    raw.send(b"CONNECT localhost:22 HTTP/1.1\r\nhost: x\r\n\r\n")
    refused(server, raw, 400, "malformed_http", "CONNECT")


def test_an_expectation_is_met_before_the_body(raw: Raw) -> None:
    raw.send(
        b"POST /webhooks/standard HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 2\r\n\r\n"
    )
    assert raw.socket.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
    raw.send(b"{}")
    assert raw.answer("POST").status == 401


def test_an_idle_connection_is_closed_after_its_time(server: Server, raw: Raw) -> None:
    assert raw.send(get()).answer().status == 200
    assert 0.8 < raw.closed_after_s() < 5


def test_a_body_nobody_reads_is_not_waited_for(server: Server, raw: Raw) -> None:
    raw.send(b"POST /nothing HTTP/1.1\r\nhost: x\r\ncontent-length: 1000000\r\n\r\nx")
    assert raw.answer("POST").status == 404
    assert raw.closed()


def test_who_does_not_take_an_answer_is_cut_off(tmp_path: Path) -> None:
    """And who takes it slowly, but at a fair rate, is not."""
    with running("provider", *SHORT) as provider:
        for index in range(0, 300, 100):
            events = [json.loads(event("stall", index + one, 20_000)[1]) for one in range(100)]
            body = json.dumps(events).encode()
            for start in range(0, 100, 10):
                batch = json.dumps(events[start : start + 10]).encode()
                assert provider.request("POST", "/events", batch).status == 202
            assert len(body) > 1_000_000
        with connected(provider.port, receive_bytes=4096) as deaf:
            deaf.send(get("/events?limit=1000"))
            eventually(lambda: ended(provider, "slow_reader") == 1)
        with connected(provider.port, receive_bytes=100_000) as slow:
            slow.send(get("/events?limit=1000"))
            taken = 0
            start = time.monotonic()
            while time.monotonic() - start < 1.5:
                taken += len(slow.socket.recv(20_000))
                time.sleep(0.05)
            assert 200_000 < taken < 3_000_000  # so most of it is still to come
        assert ended(provider, "slow_reader") == 1
        assert provider.request("GET", "/health").status == 200


def test_answers_that_are_not_taken_are_bounded(tmp_path: Path) -> None:
    """Who has kept its answer waiting longest goes first; one alone may be as large as it likes."""
    options = ("--max-unsent-bytes", "10000000", "--send-timeout-s", "60")
    with running(*options, module="tests.loadtest.edge_app") as server:
        with (
            connected(server.port, receive_bytes=4096) as first,
            connected(server.port, receive_bytes=4096) as second,
        ):
            first.send(get("/large/8000000"))
            time.sleep(0.2)
            second.send(get("/large/20000000"))
            eventually(lambda: ended(server, "unsent_bytes") == 1)
            with pytest.raises(http.client.IncompleteRead):
                first.answer()
            assert len(second.answer().body) == 20_000_000
        assert ended(server, "unsent_bytes") == 1


def test_a_crowd_costs_the_longest_idle_and_never_a_request(tmp_path: Path) -> None:
    with running("receiver", "--inbox", f"sqlite:///{tmp_path}/inbox.db", "--max-connections", "4") as server:
        first, second = Raw(server.port), Raw(server.port)
        assert second.send(get()).answer().status == 200
        third = Raw(server.port)
        assert third.send(get()).answer().status == 200
        assert first.send(get()).answer().status == 200  # so that it is not the longest idle
        fourth, fifth = Raw(server.port), Raw(server.port)
        assert second.closed()
        for raw in (fifth, first, third, fourth):
            assert raw.send(get()).answer().status == 200
        # Now all four are in the middle of a request: nobody goes, the fifth is told to come again.
        for raw in (fifth, first, third, fourth):
            raw.send(b"POST /webhooks/standard HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\n")
        time.sleep(0.2)
        with connected(server.port) as sixth:
            answer = sixth.answer()
            assert (answer.status, answer.headers["retry-after"]) == (503, "1")
        assert first.send(b"123456789").answer("POST").status == 401
        # A body that keeps others out for longer than that has to go.
        time.sleep(1.1)
        first.send(b"POST /webhooks/standard HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\n")
        time.sleep(0.1)
        with connected(server.port) as seventh:
            assert seventh.send(get()).answer().status == 200
        assert fifth.closed()
        status = server.status()
        assert status["http_connections_peak"] <= 4
        assert status["ended"]["evicted"] >= 2
        for raw in (first, second, third, fourth, fifth):
            raw.close()


def test_a_flood_of_connections_leaves_the_admin_port_alone(tmp_path: Path) -> None:
    arguments = ("--inbox", f"sqlite:///{tmp_path}/inbox.db", "--max-connections", "2", "--admin-port", "0")
    with running("receiver", *arguments) as server:
        busy = [Raw(server.port) for _ in range(2)]
        for raw in busy:
            raw.send(b"POST /webhooks/standard HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\n")
        with connected(server.ready["admin_port"]) as operator:
            status = operator.send(get("/status")).answer().json()
            assert (status["role"], status["http_connections_open"]) == ("receiver", 2)
            assert operator.send(get("/metrics")).answer().status == 200
            assert operator.send(get("/ready")).answer().status == 200
        for raw in busy:
            assert raw.send(b"123456789").answer("POST").status == 401
            assert raw.send(get("/status")).answer().status == 404
            raw.close()


def test_threads_of_hostile_clients_leave_nothing_behind(server: Server) -> None:
    """Hang-ups at every byte of a request, beside honest ones: all counts return to rest."""
    name, body = event("hangup", 0)
    request = post(name, body)

    def hang_up(start: int) -> None:
        for length in range(start, len(request), 16):
            raw = Raw(server.port)
            raw.send(request[:length])
            raw.close()

    threads = [threading.Thread(target=hang_up, args=(start,)) for start in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert server.request("GET", "/health").status == 200
    eventually(lambda: server.status()["http_connections_open"] == 1)
    assert server.status()["body_bytes_held"] == 0
