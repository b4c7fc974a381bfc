"""Protects the life of a server: ready, not ready, drained, hastened, and what its requests see of it."""

from __future__ import annotations

import contextlib
import http.client
import itertools
import json
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from loadtest.inbox import read_ledger
from tests.loadtest.raw import Raw, connected, get, post
from tests.loadtest.servers import Server, event, eventually, running, start

APP = "tests.loadtest.edge_app"
TIMES = ("--header-timeout-s", "0.5", "--body-timeout-s", "0.5", "--send-timeout-s", "0.5")


@contextmanager
def app(*arguments: str) -> Iterator[Server]:
    with running(*arguments, module=APP) as server:
        yield server


LOOPS = pytest.mark.parametrize("loop", ["uvloop", "asyncio"])


@LOOPS
def test_what_waits_by_design_is_not_cut_by_a_timeout(loop: str) -> None:
    """A long poll, an idle stream, a slow answer: longer than every time limit there is."""
    with app("--loop", loop, *TIMES, "--keep-alive-s", "0.5") as server:
        with (
            connected(server.port) as poll,
            connected(server.port) as stream,
            connected(server.port) as slow,
        ):
            poll.send(get("/wait") + b"GET /hal")  # whose 408 must not come before its answer
            stream.send(get("/stream"))
            slow.send(get("/slow/2500"))
            assert stream.answer().body == b"still here\n" * 3
            assert slow.answer().json() == {"done": True}
            assert server.status()["disconnects"] == 0
        eventually(lambda: server.status()["disconnects"] == 1)


@LOOPS
@pytest.mark.parametrize("behind", [b"", get(), get("/wait") * 2, b"GET /hal"])
def test_a_hang_up_reaches_the_request(loop: str, behind: bytes) -> None:
    """Also with further requests behind it, which nobody will answer."""
    with app("--loop", loop) as server:
        with connected(server.port) as poll:
            poll.send(get("/wait") + behind)
            eventually(lambda: server.status()["begun"] == 1)
        eventually(lambda: server.status()["disconnects"] == 1)
        eventually(lambda: server.status()["http_connections_open"] == 1)
        assert server.status()["begun"] == 1


@LOOPS
def test_a_handler_can_cut_its_connection(loop: str) -> None:
    """Though megabytes of its answer are not taken; it hears of the end like of any other."""
    with app("--loop", loop) as server, connected(server.port) as raw:
        raw.send(get("/cut"))
        eventually(lambda: server.status()["disconnects"] == 1)
        assert server.status()["http_connections_open"] == 1


def test_an_exception_in_a_handler_is_an_opaque_500_and_counted() -> None:
    with app() as server:
        answer = server.request("POST", "/boom?canary", b"canary")
        assert (answer.status, answer.json()) == (500, {"error": "internal error"})
        with connected(server.port) as raw, pytest.raises(http.client.IncompleteRead):
            raw.send(get("/boom-late")).answer()
        assert server.status()["handler_errors"] == 2


def test_health_and_readiness() -> None:
    with app() as server:
        assert server.request("GET", "/health").json() == {"ok": True}
        assert server.request("GET", "/ready").json() == {"ready": True}
    with app("--unready") as server:
        assert server.request("GET", "/health").status == 200
        answer = server.request("GET", "/ready")
        assert (answer.status, answer.json()) == (503, {"ready": False, "reason": "told to be unready"})


def test_a_start_that_fails_is_one_line() -> None:
    process = start("--broken-start", module=APP)
    out, err = process.communicate(timeout=20)
    assert (process.returncode, out, err) == (2, "", "it does not start\n")


@LOOPS
def test_connections_and_their_reuse_are_visible(loop: str) -> None:
    with app("--loop", loop) as server:
        with connected(server.port) as first, connected(server.port):
            for _ in range(9):
                first.send(get()).answer()
            status = first.send(get("/status")).answer().json()
        assert (status["http_connections_opened"], status["http_connections_open"]) == (2, 2)
        assert (status["http_connections_peak"], status["http_requests"]) == (2, 9)
        assert status["http_requests_per_connection"] == 4.5


@LOOPS
def test_a_drain_answers_what_has_begun_and_closes_the_rest(loop: str) -> None:
    with app("--loop", loop) as server, contextlib.ExitStack() as stack:
        idle, slow, poll, half, behind, begun, fresh = (
            stack.enter_context(connected(server.port)) for _ in range(7)
        )
        idle.send(get()).answer()
        slow.send(get("/slow/800"))
        poll.send(get("/wait"))
        behind.send(get("/slow/300") + get("/slow/200"))
        begun.send(get("/slow/100")[:30])
        half.send(b"POST /slow/100 HTTP/1.1\r\nhost: x\r\ncontent-length: 4\r\n\r\nab")
        eventually(lambda: server.status()["begun"] == 4)
        server.process.send_signal(signal.SIGTERM)
        assert idle.closed()
        assert fresh.closed()
        half.send(b"cd")
        begun.send(get("/slow/100")[30:])
        for raw in (half, begun, poll, slow):
            answer = raw.answer()
            assert (answer.status, answer.headers["connection"]) == (200, "close")
            assert raw.closed()
        assert behind.answer().status == 200
        assert behind.answer().headers["connection"] == "close"
        out, err = server.process.communicate(timeout=10)
        assert (server.process.returncode, out) == (0, "")
        assert err.startswith("stopped {'begun': 6, 'answered': 5, 'disconnects': 0, 'stopped_waiting': 1}")


def test_requests_that_have_reached_the_kernel_are_answered() -> None:
    """Clients connect and send while the server is stopped in its tracks, and so is the signal."""
    with app() as server, connected(server.port) as kept:
        kept.send(get()).answer()
        server.process.send_signal(signal.SIGSTOP)
        clients = [Raw(server.port).send(get("/slow/50")) for _ in range(500)]
        kept.send(get("/slow/50"))
        server.process.send_signal(signal.SIGTERM)
        server.process.send_signal(signal.SIGCONT)
        for raw in (kept, *clients):
            assert raw.answer().status == 200
            assert raw.closed()
            raw.close()
        assert server.process.wait(10) == 0


def test_readiness_ends_before_service_does() -> None:
    with app("--drain-delay-s", "1.0", "--admin-port", "0") as server:
        server.process.send_signal(signal.SIGTERM)
        eventually(lambda: server.request("GET", "/ready").status == 503)
        assert server.request("GET", "/ready").json()["reason"] == "draining"
        with connected(server.port) as raw:
            assert raw.send(get()).answer().status == 200
        with connected(server.ready["admin_port"]) as operator:
            assert operator.send(get("/ready")).answer().status == 503
        assert server.process.wait(10) == 0


def test_a_drain_is_bounded() -> None:
    with app("--drain-s", "0.4", "--log-level", "info", "--log-format", "json") as server:
        with connected(server.port) as raw:
            raw.send(get("/slow/20000"))
            eventually(lambda: server.status()["begun"] == 1)
            begin = time.monotonic()
            code, _, err = server.stop()
            assert (code, time.monotonic() - begin < 5) == (0, True)
            assert raw.closed()
        cut = [line for line in map(json.loads, err.splitlines()[:-2]) if "cut off" in line["message"]]
        assert [line["count"] for line in cut] == [1], err


@pytest.mark.parametrize(("arguments", "signals"), [(("--drain-s", "30"), 2), (("--stop-s", "30"), 2)])
def test_another_signal_hastens_the_end(arguments: tuple[str, ...], signals: int) -> None:
    with app(*arguments) as server, connected(server.port) as raw:
        if "--drain-s" in arguments:
            raw.send(get("/slow/20000"))
            eventually(lambda: server.status()["begun"] == 1)
        for _ in range(signals):
            server.process.send_signal(signal.SIGTERM)
            time.sleep(0.5)
        assert server.process.wait(10) == 0


def test_processes_share_a_port_when_they_say_so() -> None:
    with app("--reuse-port") as first, app("--reuse-port", "--port", str(first.port)) as second:
        assert first.port == second.port
        pids = set()

        def both() -> bool:
            pids.add(first.status()["pid"])
            return len(pids) == 2

        eventually(both)
        assert second.stop()[0] == 0
        for _ in range(20):
            assert first.status()["pid"] == first.process.pid
        assert "is in use" in start("--port", str(first.port), module=APP).communicate(timeout=20)[1]


def test_another_interface_is_warned_of() -> None:
    with app("--host", "0.0.0.0") as server:
        _, _, err = server.stop()
        assert "other machines can reach this server host=0.0.0.0" in err


class Sender(threading.Thread):
    """Sends events one after another until one is not answered; `fresh`: each on a connection of its own."""

    def __init__(self, port: int, number: int, *, fresh: bool) -> None:
        super().__init__()
        self._port = port
        self._number = number
        self._fresh = fresh
        self.acknowledged: list[str] = []
        self.unanswered = ""
        self.half = b""

    def run(self) -> None:
        with contextlib.ExitStack() as connections:
            raw: Raw | None = None
            for index in itertools.count():
                name, body = event(f"drain{self._number}", index)
                self.unanswered, self.half = name, b""
                try:
                    if raw is None or self._fresh:
                        connections.close()
                        raw = connections.enter_context(connected(self._port))
                    raw.send(post(name, body))
                    while not self.half.endswith(b"\r\n\r\n"):
                        more = raw.socket.recv(4096)
                        if not more:
                            return
                        self.half += more
                except ConnectionError:
                    return
                assert self.half.startswith(b"HTTP/1.1 204 "), self.half
                self.acknowledged.append(name)
                if b"connection: close" in self.half:
                    raw = None


def test_nothing_acknowledged_is_lost_and_nothing_answered_by_halves(tmp_path: Path) -> None:
    """Under load, on kept and on new connections: each request is answered wholly, or not with one byte."""
    inbox = tmp_path / "inbox.db"
    arguments = ("--inbox", f"sqlite:///{inbox}", "--queue-limit", "100000", "--drain-s", "10")
    with running("receiver", *arguments) as server:
        senders = [Sender(server.port, number, fresh=number % 2 == 1) for number in range(8)]
        for sender in senders:
            sender.start()
        eventually(lambda: sum(len(sender.acknowledged) for sender in senders) > 500)
        assert server.stop() == (0, "", "")
        for sender in senders:
            sender.join()
    assert [sender.half for sender in senders] == [b""] * len(senders)
    acknowledged = {name for sender in senders for name in sender.acknowledged}
    stored = {row.event_id for row in read_ledger(inbox)}
    assert acknowledged <= stored
    assert stored <= acknowledged | {sender.unanswered for sender in senders}
    assert all(row.visible_us is not None for row in read_ledger(inbox))
