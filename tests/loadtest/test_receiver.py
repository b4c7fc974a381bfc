"""Protects the receiver as a process: its answers, its limits, its end, and what a kill cannot take away."""

from __future__ import annotations

import array
import http.client
import json
import resource
import select
import signal
import socket
import sqlite3
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from loadtest.inbox import read_ledger
from loadtest.signatures import GitHub
from tests.loadtest.servers import SECRET, SIGNER, Server, event, eventually, refused, running


@pytest.fixture(scope="module")
def receiver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    path = tmp_path_factory.mktemp("receiver") / "inbox.db"
    with running("receiver", "--inbox", f"sqlite:///{path}", "--max-body-bytes", "2000") as server:
        yield server


def test_the_ready_line_and_the_loop(receiver: Server) -> None:
    assert receiver.ready == {
        "ready": True,
        "role": "receiver",
        "port": receiver.port,
        "pid": receiver.process.pid,
        "loop": "uvloop",
        "scheme": "http",
    }
    assert receiver.status()["loop"] == "uvloop"
    assert receiver.request("GET", "/health").json() == {"ok": True}


def test_a_signed_event_is_stored_once_however_often_it_comes(receiver: Server) -> None:
    before = receiver.status()
    name, body = event("once", 4)
    assert [receiver.post_event(body, name).status for _ in range(3)] == [204, 204, 204]
    after = receiver.status()
    assert after["accepted"] - before["accepted"] == 1
    assert after["duplicates"] - before["duplicates"] == 2
    assert after["visible"] - before["visible"] == 1


def test_github_deliveries(receiver: Server) -> None:
    def deliver(body: bytes, **headers: str) -> int:
        signature = GitHub([SECRET]).sign(body)
        return receiver.request("POST", "/webhooks/github", body, {**signature, **headers}).status

    before = receiver.status()["accepted"]
    assert deliver(b'{"zen": "Keep it logically awesome."}', **{"x-github-event": "ping"}) == 204
    assert receiver.status()["accepted"] == before
    push = {"x-github-event": "push", "x-github-delivery": "72d3162e-cc78-11e3-81ab-4c9367dc0958"}
    assert deliver(b'{"ref": "refs/heads/main"}', **push) == 204
    assert deliver(b'{"ref": "refs/heads/main"}', **push) == 204
    name, body = event("github", 1)
    assert deliver(body, **{"x-github-event": "new_order", "x-github-delivery": name}) == 204
    assert receiver.status()["accepted"] == before + 2
    # A delivery whose id another provider has used is still an event of its own.
    name, body = event("shared", 1)
    assert receiver.post_event(body, name).status == 204
    assert deliver(b'{"ref": 1}', **{"x-github-event": "push", "x-github-delivery": name}) == 204
    assert receiver.status()["accepted"] == before + 4
    assert deliver(b"{}") == 400  # which event?
    assert deliver(b"{}", **{"x-github-event": "push"}) == 400  # which delivery?
    assert deliver(b"[]", **push) == 400
    assert receiver.request("POST", "/webhooks/github", b"{}", {"x-hub-signature": "sha1=00"}).status == 401


def test_what_is_not_signed_is_401_before_anything_is_read_into_it(receiver: Server) -> None:
    name, body = event("refused", 1)
    good = SIGNER.sign(name, int(time.time()), body)
    stale = SIGNER.sign(name, int(time.time()) - 400, body)
    for headers, sent in (
        ({}, body),
        (stale, body),
        (good, body[:-1] + b" "),
        ({**good, "webhook-id": "evt_other_1"}, body),
        ({**good, "webhook-signature": "v1,\xe9"}, body),
        ({}, b"not even JSON"),
    ):
        answer = receiver.request("POST", "/webhooks/standard", sent, headers)
        assert (answer.status, list(answer.json())) == (401, ["error"])


def test_what_is_no_event_is_400(receiver: Server) -> None:
    for body in (b"", b"not JSON", b"[]", b"{}", b'{"id": 5}'):
        answer = receiver.post_event(body, "evt_x")
        assert (answer.status, list(answer.json())) == (400, ["error"])
    _, body = event("other", 1)
    assert "webhook-id" in receiver.post_event(body, "evt_not_it").json()["error"]


def test_other_paths_and_methods(receiver: Server) -> None:
    assert receiver.request("POST", "/webhooks/stripe", b"{}").status == 404
    answer = receiver.request("GET", "/webhooks/standard")
    assert (answer.status, answer.headers["allow"]) == (405, "POST")


def test_too_large_is_413_by_header(receiver: Server) -> None:
    name, body = event("large", 1, payload_bytes=2001)
    assert receiver.post_event(body, name).status == 413
    name, body = event("large", 2, payload_bytes=2000)
    assert receiver.post_event(body, name).status == 204


def test_too_large_is_413_while_streaming(receiver: Server) -> None:
    """A chunked body that never ends is cut off; the server does not collect it."""
    with socket.create_connection(("127.0.0.1", receiver.port), timeout=10) as connection:
        connection.sendall(
            b"POST /webhooks/standard HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n"
        )
        sent = 0
        while not select.select([connection], [], [], 0.05)[0]:
            assert sent < 50_000, "50,000 bytes were taken where 2,000 are allowed"
            connection.sendall(b"400\r\n" + b"x" * 0x400 + b"\r\n")
            sent += 0x400
        assert connection.recv(1000).startswith(b"HTTP/1.1 413")


def test_a_client_that_hangs_up_is_no_error(receiver: Server) -> None:
    with socket.create_connection(("127.0.0.1", receiver.port), timeout=10) as connection:
        connection.sendall(b"POST /webhooks/standard HTTP/1.1\r\nhost: x\r\ncontent-length: 500\r\n\r\nabc")
        time.sleep(0.05)
    name, body = event("after", 1)
    assert receiver.post_event(body, name).status == 204


def test_a_full_queue_is_503_with_retry_after_and_then_recovers(tmp_path: Path) -> None:
    (tmp_path / "service.f64").write_bytes(array.array("d", [0.5] * 10).tobytes())
    with running(
        "receiver", "--inbox", f"sqlite:///{tmp_path}/inbox.db", "--workers", "1", "--queue-limit", "2",
        "--service-times", str(tmp_path / "service.f64"),
    ) as server:  # fmt: skip
        answers = [server.post_event(body, name) for name, body in (event("q", index) for index in range(5))]
        assert [answer.status for answer in answers] == [204, 204, 204, 503, 503]
        assert answers[-1].headers["retry-after"] == "1"
        assert server.status()["rejected_full"] == 2
        eventually(lambda: server.status()["visible"] == 3)
        name, body = event("q", 3)
        assert server.post_event(body, name).status == 204
        code, _, err = server.stop()
        assert (code, err) == (0, "")
    rows = read_ledger(tmp_path / "inbox.db")
    assert [row.event_index for row in rows] == [0, 1, 2, 3]
    assert all(row.visible_us is not None for row in rows)  # SIGTERM waited for the last service


def test_a_failing_disk_is_503_and_never_an_acknowledgement(tmp_path: Path) -> None:
    with running("receiver", "--inbox", f"sqlite:///{tmp_path}/inbox.db") as server:
        # Another program holds the write lock for longer than SQLite waits (5 s).
        intruder = sqlite3.connect(tmp_path / "inbox.db", isolation_level=None)
        intruder.execute("BEGIN IMMEDIATE")
        name, body = event("locked", 1)
        answer = server.post_event(body, name)
        assert (answer.status, answer.headers["retry-after"]) == (503, "1")
        intruder.execute("ROLLBACK")
        intruder.close()
        assert read_ledger(tmp_path / "inbox.db") == []
        assert server.post_event(body, name).status == 204


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_drains_and_exits_cleanly(tmp_path: Path, number: int) -> None:
    (tmp_path / "service.f64").write_bytes(array.array("d", [0.2] * 8).tobytes())
    with running(
        "receiver", "--inbox", f"sqlite:///{tmp_path}/inbox.db", "--workers", "4",
        "--service-times", str(tmp_path / "service.f64"),
    ) as server:  # fmt: skip
        for index in range(8):
            name, body = event("drain", index)
            assert server.post_event(body, name).status == 204
        assert server.stop(number) == (0, "", "")
    assert sum(row.visible_us is not None for row in read_ledger(tmp_path / "inbox.db")) == 8


def test_a_bounded_drain_says_what_it_left(tmp_path: Path) -> None:
    (tmp_path / "service.f64").write_bytes(array.array("d", [60.0] * 3).tobytes())
    arguments = ("receiver", "--inbox", f"sqlite:///{tmp_path}/inbox.db", "--drain-s", "0.2")
    with running(*arguments, "--service-times", str(tmp_path / "service.f64")) as server:
        for index in range(3):
            name, body = event("left", index)
            server.post_event(body, name)
        code, _, err = server.stop()
        assert code == 0
        assert "3 stored events are not processed yet" in err
    with running(*arguments) as server:
        assert server.status()["recovered"] == 3
        eventually(lambda: server.status()["visible"] == 3)


def test_killed_under_load_every_acknowledged_event_is_visible_exactly_once(tmp_path: Path) -> None:
    """SIGKILL three times while four senders post; what was answered 204 must survive, once."""
    path = tmp_path / "inbox.db"
    (tmp_path / "service.f64").write_bytes(array.array("d", [0.002] * 100_000).tobytes())
    arguments = (
        "receiver", "--inbox", f"sqlite:///{path}", "--workers", "2", "--queue-limit", "100000",
        "--service-times", str(tmp_path / "service.f64"), "--lease-s", "0.5",
    )  # fmt: skip
    acknowledged: set[int] = set()
    unanswered: set[int] = set()
    for life in range(3):
        with running(*arguments) as server:
            stop = threading.Event()

            def send(first: int, server: Server = server, stop: threading.Event = stop) -> None:
                index = first
                while not stop.is_set():
                    name, body = event("kill", index)
                    try:
                        status = server.post_event(body, name).status
                    except (OSError, http.client.HTTPException):  # killed before or amid its answer
                        unanswered.add(index)
                        return
                    assert status == 204
                    acknowledged.add(index)
                    index += 4

            senders = [
                threading.Thread(target=send, args=(life * 20_000 + lane,), daemon=True) for lane in range(4)
            ]
            for sender in senders:
                sender.start()
            time.sleep(0.4)
            server.process.kill()
            stop.set()
            for sender in senders:
                sender.join(10)
    assert len(acknowledged) > 100
    stored = read_ledger(path)
    assert any(row.visible_us is None for row in stored), "the kill came too late to prove anything"
    with running(*arguments) as server:
        eventually(lambda: all(row.visible_us is not None for row in read_ledger(path)))
        assert server.stop() == (0, "", "")
    rows = read_ledger(path)
    indices = [row.event_index for row in rows]
    assert len(indices) == len(set(indices))
    assert acknowledged <= set(indices) <= acknowledged | unanswered
    assert all(row.visible_us is not None for row in rows)
    kept = {row.event_id: row.visible_us for row in stored if row.visible_us is not None}
    assert kept.items() <= {row.event_id: row.visible_us for row in rows}.items()  # visible once, not again


def test_starting_is_light(tmp_path: Path) -> None:
    """Half a second of CPU at most (so half a second of waiting on a free core)."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    with running("receiver", "--inbox", f"sqlite:///{tmp_path}/inbox.db") as server:
        assert server.stop() == (0, "", "")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime < 0.5


def test_bad_input_is_one_line_and_exit_2(receiver: Server, tmp_path: Path) -> None:
    inbox = f"sqlite:///{tmp_path}/inbox.db"
    port = str(receiver.port)
    assert f"port {port} on 127.0.0.1 is in use" in refused("receiver", "--inbox", inbox, "--port", port)
    assert "HOOKBENCH_WEBHOOK_SECRET" in refused("receiver", "--inbox", inbox, secret="")
    assert "whsec_, whsk_ or whpk_" in refused("receiver", "--inbox", inbox, secret="whsec_%%%")
    assert "sqlite:///PATH" in refused("receiver", "--inbox", "mysql://x")
    assert "cannot be opened" in refused("receiver", "--inbox", "sqlite:////no/such/folder/inbox.db")
    assert "--workers" in refused("receiver", "--inbox", inbox, "--workers", "0")
    assert "--port" in refused("receiver", "--inbox", inbox, "--port", "70000")
    assert "cannot be read" in refused("receiver", "--inbox", inbox, "--service-times", "/no/such/file")
    assert "cannot be read" in refused("receiver", "--inbox", inbox, "--secret-file", "/no/such/file")
    assert "--loop" in refused("receiver", "--inbox", inbox, "--loop", "trio")
    assert "--host" in refused("receiver", "--inbox", inbox, "--host", "no.such.host.invalid")
    assert "required" in refused()


def test_secrets_can_come_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "secrets").write_text(f"whsec_{'B' * 32}\n{SECRET}\n")
    with running(
        "receiver",
        "--inbox",
        f"sqlite:///{tmp_path}/inbox.db",
        "--secret-file",
        str(tmp_path / "secrets"),
        secret="",
    ) as server:
        name, body = event("file", 1)
        assert server.post_event(body, name).status == 204
        assert "whsec" not in json.dumps(server.status())


def test_the_asyncio_loop_only_when_asked_for(tmp_path: Path) -> None:
    with running("receiver", "--inbox", f"sqlite:///{tmp_path}/inbox.db", "--loop", "asyncio") as server:
        assert server.ready["loop"] == "asyncio"
        name, body = event("asyncio", 1)
        assert server.post_event(body, name).status == 204
        assert server.stop() == (0, "", "")
