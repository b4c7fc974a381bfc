"""A PostgreSQL of the test's own, to stop and start at will; the machine's is never touched."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from loadtest import hosting
from tests.loadtest.inboxes import missing

USER = "postgres"


class OwnPostgres:
    """A cluster in a temporary folder, listening on a port of 127.0.0.1."""

    def __init__(self, programs: Path, folder: Path, port: int) -> None:
        self._programs = programs
        self._folder = folder
        self._port = port
        self.url = f"postgresql://{USER}@127.0.0.1:{port}/postgres"
        self._run("initdb", "-D", f"{folder}/data", "-U", USER, "-A", "trust", "--no-sync")

    def start(self) -> None:
        options = f"-p {self._port} -h 127.0.0.1 -k {self._folder}"
        self._run(
            "pg_ctl", "-D", f"{self._folder}/data", "-l", f"{self._folder}/log", "-o", options, "-w", "start"
        )

    def stop(self, mode: str = "fast") -> None:
        """`fast`: sessions are ended; `immediate`: as in a crash, recovered from at the next start."""
        self._run("pg_ctl", "-D", f"{self._folder}/data", "-m", mode, "-w", "stop")

    def _run(self, program: str, *arguments: str) -> None:
        # It refuses to run as root; a session of its own keeps the test's Ctrl-C from it.
        subprocess.run(
            [str(self._programs / program), *arguments],
            check=True,
            stdout=subprocess.DEVNULL,
            timeout=60,
            cwd=self._folder,
            user=USER if os.getuid() == 0 else None,
            group=USER if os.getuid() == 0 else None,
            start_new_session=True,
        )


@contextmanager
def own_postgres() -> Iterator[OwnPostgres]:
    """A cluster that is started; stopped and removed afterwards."""
    found = shutil.which("pg_ctl")
    versions = sorted(Path("/usr/lib/postgresql").glob("*/bin/pg_ctl"))
    if found is None and not versions:
        missing("there are no PostgreSQL server programs (pg_ctl)")
    programs = Path(found).resolve().parent if found is not None else versions[-1].parent
    folder = Path(tempfile.mkdtemp(prefix="hbpg"))
    try:
        if os.getuid() == 0:
            shutil.chown(folder, USER, USER)
        with hosting.listen("127.0.0.1", 0) as probe:
            port = probe.getsockname()[1]
        postgres = OwnPostgres(programs, folder, port)
        postgres.start()
        try:
            yield postgres
        finally:
            if (folder / "data" / "postmaster.pid").exists():
                postgres.stop("immediate")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
