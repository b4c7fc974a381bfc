"""Protects the promise: kill -9 at any moment, and what was acknowledged becomes visible exactly once."""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from loadtest.inbox import open_storage, read_ledger
from tests.loadtest.inboxes import BACKENDS, fresh_inbox, query
from tests.loadtest.senders import Senders, audit, check, service_times, unserved
from tests.loadtest.servers import Server, event, eventually

FULL = {"sqlite": 200, "postgres": 50}


@contextmanager
def receivers(url: str, folder: Path) -> Iterator[list[Server]]:
    """A list to put receivers into; those that still live at the end are killed."""
    servers: list[Server] = []
    try:
        yield servers
    finally:
        for server in servers:
            if server.process.poll() is None:
                server.process.kill()
            server.process.communicate(timeout=20)


def receiver(url: str, folder: Path, *more: str) -> Server:
    return Server(
        "receiver", "--inbox", url, "--workers", "2", "--queue-limit", "100000", "--lease-s", "0.5",
        *(more or ("--service-times", str(folder / "service.f64"))),
    )  # fmt: skip


def kill(server: Server) -> None:
    server.process.send_signal(signal.SIGKILL)
    server.process.communicate(timeout=20)


def survive(url: str, folder: Path, kills: int, together: int, seed: int) -> None:
    """Let `together` receivers share an inbox under load; kill one and start another, `kills` times."""
    draw = random.Random(seed)
    service_times(folder)
    open_storage(url).close()
    audit(url)
    senders = Senders(seed=seed)
    met_unserved = 0
    with receivers(url, folder) as servers:
        living = [receiver(url, folder) for _ in range(together)]
        servers.extend(living)
        for _ in range(kills):
            senders.ports = [server.port for server in living]
            before = sum(senders.acknowledged.values())
            eventually(lambda before=before: sum(senders.acknowledged.values()) > before + 5)
            senders_pause(draw)
            victim = living.pop(draw.randrange(together))
            kill(victim)
            met_unserved += unserved(url) > 0
            senders.ports = [server.port for server in living]
            living.append(receiver(url, folder))
            servers.append(living[-1])
        senders.ports = [server.port for server in living]
        senders.finish()
        eventually(lambda: unserved(url) == 0, within_s=30)
        statuses = [server.status() for server in living]
        assert [server.stop() for server in living] == [(0, "", "")] * together
    check(url, senders)
    assert senders.answers.keys() == {204}
    assert sum(status["recovered"] for status in statuses) > 0 or together > 1 or kills < 10
    assert met_unserved >= kills / 3, "the kills came too late to prove anything"


def senders_pause(draw: random.Random) -> None:
    """Let a random time pass; nothing can be awaited, for the moment is to be any."""
    time.sleep(draw.uniform(0.0, 0.15))


@pytest.mark.parametrize("together", [1, 2])
@pytest.mark.parametrize("backend", BACKENDS)
def test_killed_a_few_times_nothing_is_lost_and_nothing_visible_twice(
    backend: str, together: int, tmp_path: Path
) -> None:
    with fresh_inbox(backend, tmp_path) as url:
        survive(url, tmp_path, 3, together, seed=together)


@pytest.mark.slow
@pytest.mark.parametrize("together", [1, 2])
@pytest.mark.parametrize("backend", BACKENDS)
def test_killed_many_times_nothing_is_lost_and_nothing_visible_twice(
    backend: str, together: int, tmp_path: Path
) -> None:
    """200 times on SQLite and 50 on PostgreSQL, alone and with a second receiver that takes over."""
    with fresh_inbox(backend, tmp_path) as url:
        survive(url, tmp_path, FULL[backend], together, seed=100 + together)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_stopped_receiver_that_wakes_up_late_serves_nothing_again(backend: str, tmp_path: Path) -> None:
    """SIGSTOP for longer than the lease, under load: the other takes over, and late marks do not count."""
    with fresh_inbox(backend, tmp_path) as url, receivers(url, tmp_path) as servers:
        service_times(tmp_path)
        open_storage(url).close()
        audit(url)
        servers.extend([receiver(url, tmp_path), receiver(url, tmp_path)])
        sleeper, other = servers
        senders = Senders()
        senders.ports = [sleeper.port, other.port]
        eventually(lambda: sum(senders.acknowledged.values()) > 50)
        senders.ports = [other.port]
        for index in range(90_000, 90_200):  # a queue of 0.1 s, which it will not have worked off
            name, body = event("durable", index)
            senders.sent[name] += 1
            senders.acknowledged[name] += sleeper.post_event(body, name).status == 204
        sleeper.process.send_signal(signal.SIGSTOP)
        asleep = query(url, "SELECT count(*) FROM inbox WHERE visible_us IS NULL")
        eventually(lambda: other.status()["recovered"] > 0 or asleep == [(0,)])
        sleeper.process.send_signal(signal.SIGCONT)
        senders.finish()
        eventually(lambda: unserved(url) == 0)
        check(url, senders)
        assert [server.stop()[0] for server in servers] == [0, 0]


@pytest.mark.parametrize("backend", BACKENDS)
def test_an_event_that_kills_its_receiver_ends_as_a_dead_letter(
    backend: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Poison among innocents: each life dies of it, until its attempts are spent; the others survive."""
    (tmp_path / "hb_poison.py").write_text(
        "import asyncio, os, signal\n"
        "async def handle(event):\n"
        "    if event.index == 3:\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "    await asyncio.sleep(0.02)\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with fresh_inbox(backend, tmp_path) as url, receivers(url, tmp_path) as servers:
        handling = ("--handler", "hb_poison:handle", "--handler-attempts", "3")
        writer = open_storage(url)
        writer.beat(60, 0)
        writer.insert([("standard", f"evt_{i}", i, "new_order", "webhook", b"{}", 1, 1) for i in range(12)])
        writer.close()
        lives = 0
        while True:
            servers.append(receiver(url, tmp_path, *handling))
            lives += 1
            eventually(
                lambda: (
                    servers[-1].process.poll() is not None
                    or query(url, "SELECT count(*) FROM inbox WHERE finished_s IS NULL") == [(0,)]
                )
            )
            if servers[-1].process.poll() is None:
                break
        code, _, err = servers[-1].stop()
        assert code == 0
        assert "event evt_3 is a dead letter: its process ended during each of 3 attempts" in err
        assert lives == 4
        dead = query(url, "SELECT event_id, attempts FROM inbox WHERE dead_reason IS NOT NULL")
        assert [name for name, _ in dead] == ["evt_3"]
        rows = read_ledger(url)
        assert [row.event_index for row in rows if row.visible_us is None] == [3]
