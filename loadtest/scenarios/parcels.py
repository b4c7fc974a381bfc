"""Bytes of any size over Locust's messages.

Whoever needs them asks piece by piece, so no queue of ZeroMQ can overflow (a full one drops messages in
silence) and a lost piece is asked for again.
"""

from __future__ import annotations

import hashlib
from typing import Any

import gevent
from gevent.event import AsyncResult
from locust.rpc import Message
from locust.runners import MasterRunner, Runner

from sim.errors import VoidRun

ASK, PIECE = "hookbench_ask", "hookbench_piece"

PIECE_BYTES = 1_000_000
ASK_TIMEOUT_S = 5.0
ASK_TIMES = 6


class WorkerLost(VoidRun):
    """A worker did not do its share; the message names it and says why."""


class Parcels:
    """Bytes of any size between master and workers, asked for piece by piece."""

    def __init__(self, runner: Runner) -> None:
        self._runner = runner
        self._offered: dict[str, bytes] = {}
        self._pieces: dict[tuple[str, str, int], AsyncResult[bytes]] = {}
        runner.register_message(ASK, self._asked)
        runner.register_message(PIECE, self._came)

    def offer(self, name: str, content: bytes) -> dict[str, Any]:
        """Keep bytes ready for whoever asks; returns what to announce them with."""
        self._offered[name] = content
        return {"name": name, "size": len(content), "sha256": hashlib.sha256(content).hexdigest()}

    def fetch(self, parcel: dict[str, Any], peer: str | None = None) -> bytes:
        """All bytes of what was announced by the master (None) or a worker.

        Raises:
            WorkerLost: a piece does not come, or the whole is not what was announced.
        """
        whole = bytearray()
        while len(whole) < parcel["size"]:
            piece = self._piece(parcel["name"], len(whole), peer)
            if not piece:
                break
            whole += piece
        if hashlib.sha256(whole).hexdigest() != parcel["sha256"]:
            raise WorkerLost(f"{parcel['name']} came with {len(whole)} bytes that are not those announced")
        return bytes(whole)

    def _piece(self, name: str, start: int, peer: str | None) -> bytes:
        key = (peer or "", name, start)
        result = self._pieces[key] = AsyncResult()
        try:
            for _ in range(ASK_TIMES):
                self._runner.send_message(ASK, {"name": name, "start": start}, client_id=peer)
                try:
                    piece: bytes = result.get(timeout=ASK_TIMEOUT_S)
                except gevent.Timeout:
                    continue
                return piece
        finally:
            del self._pieces[key]
        raise WorkerLost(f"{name} stopped coming after {start} bytes ({ASK_TIMES * ASK_TIMEOUT_S:g} s)")

    def _asked(self, environment: object, msg: Message, **_: object) -> None:
        name, start = msg.data["name"], msg.data["start"]
        piece = self._offered.get(name, b"")[start : start + PIECE_BYTES]
        self._runner.send_message(
            PIECE,
            {"name": name, "start": start, "piece": piece},
            client_id=msg.node_id if isinstance(self._runner, MasterRunner) else None,
        )

    def _came(self, environment: object, msg: Message, **_: object) -> None:
        peer = msg.node_id if isinstance(self._runner, MasterRunner) else ""
        waiting = self._pieces.get((peer, msg.data["name"], msg.data["start"]))
        if waiting is not None:
            waiting.set(msg.data["piece"])
