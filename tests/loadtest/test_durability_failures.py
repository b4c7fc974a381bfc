"""Protects service when storage fails: clear 503s, no acknowledgement without a commit, recovery unaided."""

from __future__ import annotations

import ctypes
import json
import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from loadtest.inbox import open_storage, read_ledger
from tests.loadtest.own_postgres import OwnPostgres, own_postgres
from tests.loadtest.senders import Senders, audit, check, service_times, unserved
from tests.loadtest.servers import ROOT, SECRET, Server, event, eventually, refused, running


@contextmanager
def under_load(url: str, folder: Path, *more: str) -> Iterator[tuple[Server, Senders]]:
    """A receiver with senders at it; afterwards everything must be acknowledged and visible once."""
    service_times(folder)
    open_storage(url).close()
    audit(url)
    arguments = ("receiver", "--inbox", url, "--workers", "2", "--queue-limit", "100000", "--lease-s", "1")
    with running(*arguments, "--service-times", str(folder / "service.f64"), *more) as server:
        senders = Senders()
        senders.ports = [server.port]
        eventually(lambda: senders.answers[204] > 20)
        yield server, senders
        senders.finish()
        eventually(lambda: unserved(url) == 0)
        check(url, senders)
        assert senders.answers.keys() <= {204, 503}
        assert senders.without_retry_after == 0
        status = server.status()
        assert status["storage_errors"] > 0
        code, _, err = server.stop()
        assert code == 0
        assert "storage failed" in err
        assert "storage works again" in err
        assert "Traceback" not in err


def refuses(senders: Senders) -> None:
    """Wait until requests are refused, and no longer acknowledged."""
    refused_before = senders.answers[503]
    eventually(lambda: senders.answers[503] > refused_before + 10)
    acknowledged = senders.answers[204]
    eventually(lambda: senders.answers[503] > refused_before + 20)
    assert senders.answers[204] == acknowledged, "acknowledged without a commit"


def serves(senders: Senders) -> None:
    acknowledged = senders.answers[204]
    eventually(lambda: senders.answers[204] > acknowledged + 20, within_s=30)


def test_a_file_that_may_not_grow_is_503_until_it_may(tmp_path: Path) -> None:
    """RLIMIT_FSIZE on the running process: every write to the inbox fails, as on a full disk."""
    with under_load(f"sqlite:///{tmp_path / 'inbox.db'}", tmp_path) as (server, senders):
        _, hard = resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE)
        for _ in range(2):
            resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (1024, hard))
            refuses(senders)
            resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (hard, hard))
            serves(senders)


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[Path]:
    disk = folder / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(disk)], capture_output=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip("mounting a small file system is not allowed here")
    try:
        yield disk
    finally:
        subprocess.run(["umount", "--lazy", str(disk)], check=True)


def test_a_full_disk_is_503_until_there_is_room(tmp_path: Path) -> None:
    with (
        small_disk(tmp_path, "4m") as disk,
        under_load(f"sqlite:///{disk / 'inbox.db'}", tmp_path) as (_, senders),
    ):
        ballast = disk / "ballast"
        with ballast.open("wb", buffering=0) as file:
            while True:
                try:
                    file.write(b"x" * 4096)
                except OSError:
                    break
        refuses(senders)
        ballast.unlink()
        serves(senders)


def test_a_file_that_became_read_only_is_503_until_it_is_writable(tmp_path: Path) -> None:
    """The file is opened again after a failure, and finds that it may only be read."""
    path = tmp_path / "inbox.db"
    with Unprivileged(path) as server:
        name, body = event("ro", 0)
        assert server.post_event(body, name).status == 204
        path.chmod(0o444)
        _, hard = resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (1024, hard))
        name, body = event("ro", 1)
        assert server.post_event(body, name).status == 503
        resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (hard, hard))
        answer = server.post_event(body, name)
        assert (answer.status, "retry-after" in {key.lower() for key in answer.headers}) == (503, True)
        path.chmod(0o644)
        eventually(lambda: server.post_event(body, name).status == 204)
        code, _, err = server.stop()
        assert code == 0
        assert "storage failed" in err
    assert [row.event_id for row in read_ledger(path)] == [event("ro", 0)[0], event("ro", 1)[0]]


class Unprivileged(Server):
    """A receiver that must not write what is read-only, even where the tests run as root."""

    def __init__(self, path: Path) -> None:
        libc = ctypes.CDLL(None)

        def renounce() -> None:
            libc.prctl(24, 1)  # PR_CAPBSET_DROP, CAP_DAC_OVERRIDE: linux/prctl.h, linux/capability.h

        self.process = subprocess.Popen(
            [sys.executable, "-m", "loadtest.serve", "receiver", "--inbox", f"sqlite:///{path}"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env={**os.environ, "HOOKBENCH_WEBHOOK_SECRET": SECRET},
            preexec_fn=renounce,  # noqa: PLW1509 - one call into libc
        )
        assert self.process.stdout is not None
        self.port = json.loads(self.process.stdout.readline())["port"]

    def __enter__(self) -> Unprivileged:
        return self

    def __exit__(self, *error: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate(timeout=20)


def test_starting_on_a_read_only_file_system_is_one_line(tmp_path: Path) -> None:
    with small_disk(tmp_path, "4m") as disk:
        open_storage(f"sqlite:///{disk / 'inbox.db'}").close()
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        assert "cannot be opened" in refused("receiver", "--inbox", f"sqlite:///{disk / 'inbox.db'}")


@pytest.fixture(scope="module")
def postgres() -> Iterator[OwnPostgres]:
    with own_postgres() as server:
        yield server


@pytest.mark.parametrize("mode", ["fast", "immediate"])
def test_a_database_that_restarts_is_503_until_it_is_back(
    postgres: OwnPostgres, mode: str, tmp_path: Path
) -> None:
    """Stopped amid load: orderly, and as in a crash, when commits may get through without an answer."""
    with under_load(f"{postgres.url}?schema=restart_{mode}", tmp_path) as (_, senders):
        postgres.stop(mode)
        refuses(senders)
        postgres.start()
        serves(senders)


def test_a_database_that_becomes_read_only_is_503_until_it_is_writable(
    postgres: OwnPostgres, tmp_path: Path
) -> None:
    """As after a failover to a standby."""
    with under_load(f"{postgres.url}?schema=read_only", tmp_path) as (_, senders):
        with psycopg.connect(postgres.url, autocommit=True) as db:
            db.execute("ALTER SYSTEM SET default_transaction_read_only = on")
            db.execute("SELECT pg_reload_conf()")
        refuses(senders)
        with psycopg.connect(postgres.url, autocommit=True) as db:
            db.execute("SET default_transaction_read_only = off")
            db.execute("ALTER SYSTEM RESET default_transaction_read_only")
            db.execute("SELECT pg_reload_conf()")
        serves(senders)


def test_sessions_that_are_ended_again_and_again_cost_no_event(postgres: OwnPostgres, tmp_path: Path) -> None:
    with under_load(f"{postgres.url}?schema=ended", tmp_path) as (server, senders):
        for _ in range(10):
            before = server.status()["storage_errors"]
            with psycopg.connect(postgres.url, autocommit=True) as db:
                db.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                    "WHERE application_name = 'hookbench inbox'"
                )
            eventually(lambda before=before: server.status()["storage_errors"] > before)
            serves(senders)


def test_starting_without_the_database_is_one_line(postgres: OwnPostgres) -> None:
    postgres.stop()
    assert "cannot be opened" in refused("receiver", "--inbox", postgres.url)
    postgres.start()


def test_a_locked_table_is_a_503_and_not_a_wait(postgres: OwnPostgres, tmp_path: Path) -> None:
    with under_load(f"{postgres.url}?schema=locked", tmp_path) as (_, senders):
        with psycopg.connect(postgres.url) as db:
            db.execute("LOCK TABLE locked.inbox IN ACCESS EXCLUSIVE MODE")
            before = senders.answers[503]
            eventually(lambda: senders.answers[503] > before)
            db.rollback()
        serves(senders)
