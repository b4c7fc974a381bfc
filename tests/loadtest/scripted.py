"""A server whose answer is what the request's path asks for, byte by byte."""

from __future__ import annotations

import socket
import socketserver
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

LISTEN_S = 0.3
"""How long a slow server looks away."""


class _Conversation(socketserver.StreamRequestHandler):
    server: ScriptedServer

    def handle(self) -> None:
        number = self.server.next_number()
        served = 0
        while True:
            head = b""
            while not head.endswith(b"\r\n\r\n"):
                if not (line := self.rfile.readline()):
                    return
                head += line
            path = head.split(b" ")[1].decode()
            lengths = [
                int(line.split(b":")[1])
                for line in head.lower().split(b"\r\n")
                if line.startswith(b"content-length:")
            ]
            if path.endswith("/slow-reader"):
                time.sleep(LISTEN_S)
            body = self.rfile.read(sum(lengths))
            self.server.requests.append(head + body)
            if not self._answer(path.rpartition("/")[2].partition("?")[0], number, served, len(body)):
                return
            served += 1

    def _answer(self, wanted: str, number: int, served: int, size: int) -> bool:
        """Answer a request; whether the connection is kept."""
        which = f"x-connection: {number}\r\nx-size: {size}\r\n"
        empty = f"HTTP/1.1 204 No Content\r\n{which}\r\n"
        match wanted:
            case "chunked":
                self._say(f"HTTP/1.1 200 OK\r\n{which}transfer-encoding: chunked\r\n\r\n3\r\nab")
                self._say("c\r\n2\r\nde\r\n0\r\n\r\n")
            case "early-hints":
                self._say("HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n")
                self._say(f"HTTP/1.1 200 OK\r\n{which}content-length: 2\r\n\r\nok")
            case "last":
                self._say(f"HTTP/1.1 200 OK\r\n{which}connection: close\r\ncontent-length: 2\r\n\r\nok")
                return False
            case "until-the-end":
                self._say(f"HTTP/1.1 200 OK\r\n{which}connection: close\r\n\r\nuntil the end")
                return False
            case "answered-then-closed":
                self._say(empty)
                return False
            case "closed-unanswered":
                return False
            case "closed-unanswered-if-kept" if served:
                return False
            case "cut-short":
                self._say(f"HTTP/1.1 200 OK\r\n{which}content-length: 10\r\n\r\nfive!")
                return False
            case "not-http":
                self._say("what do you want?\r\n\r\n")
                return False
            case "silence":
                time.sleep(3)
                return False
            case _:
                self._say(empty)
        return True

    def _say(self, text: str) -> None:
        self.wfile.write(text.encode())
        self.wfile.flush()
        time.sleep(0.02)  # so that what is said in two pieces comes in two


class ScriptedServer(socketserver.ThreadingTCPServer):
    """The server; `requests` are the bytes of each request in the order in which they were read."""

    daemon_threads = True
    allow_reuse_address = True
    disable_nagle_algorithm = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Conversation)
        self.requests: list[bytes] = []
        self._numbers = 0
        self._lock = threading.Lock()

    def next_number(self) -> int:
        """The number of a new connection, from 1."""
        with self._lock:
            self._numbers += 1
            return self._numbers

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self.server_address[1])


@contextmanager
def scripted_server() -> Iterator[ScriptedServer]:
    """Serve in a thread."""
    with ScriptedServer() as server:
        server.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        try:
            yield server
        finally:
            server.shutdown()
