"""Protects service from a crowd: thousands of idle connections and slow-drip clients do not stop it."""

from __future__ import annotations

import contextlib
import resource
import socket
import threading
from pathlib import Path

import psutil
import pytest

from tests.loadtest.raw import connected, post
from tests.loadtest.servers import Server, event, eventually, refused, running

KIB_EACH = 16
"""What an idle connection may take of memory in the server, in KiB (measured: 7)."""
MIB_BESIDES = 24


def rss_kib(server: Server) -> int:
    return int(psutil.Process(server.process.pid).memory_info().rss // 1024)


def files_allowed() -> int:
    """Raise this process's soft limit of open files to the hard one; returns it."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return 10**6 if hard == resource.RLIM_INFINITY else hard


class Drip(threading.Thread):
    """Clients that send a byte now and then: half of them headers without end, half bodies."""

    def __init__(self, port: int, clients: int) -> None:
        super().__init__()
        self._port = port
        self._clients = clients
        self._over = threading.Event()

    def run(self) -> None:
        with contextlib.ExitStack() as stack:
            sockets = []
            for number in range(self._clients):
                sock = stack.enter_context(socket.create_connection(("127.0.0.1", self._port)))
                head = b"POST /webhooks/standard HTTP/1.1\r\nhost: x\r\n"
                sock.sendall(head if number % 2 else head + b"content-length: 1000000\r\n\r\n")
                sockets.append(sock)
            while not self._over.wait(0.2):
                for sock in sockets:
                    with contextlib.suppress(OSError):
                        sock.send(b"x")

    def stop(self) -> None:
        self._over.set()
        self.join()


def crowd(count: int, inbox: Path, idle_s: float) -> None:
    """`count` idle connections at a server that takes as many, twice in a row, beside clients that drip."""
    options = ("--max-connections", str(count), "--header-timeout-s", f"{idle_s}", "--keep-alive-s", "300")
    with running("receiver", "--inbox", f"sqlite:///{inbox}", *options) as server:
        name, body = event("crowd", 0)
        with connected(server.port) as honest:
            assert honest.send(post(name, body)).answer("POST").status == 204
            before = rss_kib(server)
            after = []
            for wave in range(2):
                drip = Drip(server.port, 50)
                drip.start()
                with contextlib.ExitStack() as stack:
                    for _ in range(count):
                        stack.enter_context(socket.create_connection(("127.0.0.1", server.port)))
                    # Whoever has a connection, and whoever comes anew to the full house, is served.
                    for index in range(10):
                        name, body = event(f"wave{wave}", index)
                        assert honest.send(post(name, body)).answer("POST").status == 204
                        name, body = event(f"new{wave}", index)
                        assert server.post_event(body, name).status == 204
                    status = server.status()
                    assert status["http_connections_peak"] == count
                    assert rss_kib(server) - before < count * KIB_EACH + MIB_BESIDES * 1024
                    # They sent nothing, so they are shed after their time, although they hold on.
                    eventually(lambda: server.status()["http_connections_open"] < 60, within_s=idle_s + 20)
                drip.stop()
                after.append(rss_kib(server))
            assert after[1] - after[0] < MIB_BESIDES * 1024
            assert server.status()["body_bytes_held"] == 0


def test_a_thousand_idle_connections_do_not_stop_service(tmp_path: Path) -> None:
    files_allowed()
    crowd(1000, tmp_path / "inbox.db", idle_s=2.0)


@pytest.mark.slow
def test_ten_thousand_idle_connections_do_not_stop_service(tmp_path: Path) -> None:
    """10,000, or what the system's hard limit of open files leaves (skipped below 2,000)."""
    count = min(10_000, files_allowed() - 1000)
    if count < 2000:
        pytest.skip(f"only {count} connections fit into the limit of open files")
    crowd(count, tmp_path / "inbox.db", idle_s=15.0)


def test_more_connections_than_files_are_refused_at_the_start(tmp_path: Path) -> None:
    err = refused("receiver", "--inbox", f"sqlite:///{tmp_path}/inbox.db", "--max-connections", str(2**31))
    assert "open files" in err


def test_running_out_of_files_is_a_pause_and_no_end(tmp_path: Path) -> None:
    """The limit is lowered behind the server's back: then, too, who idles makes room."""
    with running(
        "receiver", "--inbox", f"sqlite:///{tmp_path}/inbox.db", "--header-timeout-s", "60"
    ) as server:
        process = psutil.Process(server.process.pid)
        soft, hard = process.rlimit(psutil.RLIMIT_NOFILE)
        process.rlimit(psutil.RLIMIT_NOFILE, (process.num_fds() + 5, hard))
        with contextlib.ExitStack() as stack:
            for _ in range(20):
                stack.enter_context(socket.create_connection(("127.0.0.1", server.port)))
            assert server.request("GET", "/health").status == 200  # the longest idle have to go
        process.rlimit(psutil.RLIMIT_NOFILE, (soft, hard))
        assert server.request("GET", "/health").status == 200
        assert "cannot accept connections" in server.stop()[2]
