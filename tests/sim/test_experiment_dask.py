"""Protects sweeps on a real Dask cluster of separate processes: the same rows, a worker killed or not."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import sim
from sim.errors import InputError
from sim.experiment.axes import parse_axis
from sim.experiment.executors import open_executor
from sim.experiment.sweep import sweep
from sim.scenario import load_scenario

# The cluster logs and warns in its own way; what is ours is in the rows.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")

AXES = [parse_axis("polling.interval_s=1:60:log6"), parse_axis("workload.rate_per_s=0.1:1:log4")]


class Cluster:
    """A scheduler and two workers, as `dask scheduler` and `dask worker` start them."""

    def __init__(self, folder: Path) -> None:
        root = str(Path(sim.__file__).parents[1])
        self._environment = {**os.environ, "PYTHONPATH": root, "DASK_DISTRIBUTED__WORKER__DAEMON": "False"}
        self._folder = folder
        self._processes: list[subprocess.Popen[bytes]] = []
        self._start("scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard")
        self.address = self._said("scheduler", r"Scheduler at:\s+tcp://([0-9.:]+)")
        self.workers = [self._worker(number) for number in range(2)]

    def _start(self, role: str, *flags: str, log: str | None = None) -> subprocess.Popen[bytes]:
        with (self._folder / (log or role)).open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "dask", role, *flags],
                stdout=output, stderr=output, env=self._environment, cwd=self._folder,
            )  # fmt: skip
        self._processes.append(process)
        return process

    def _worker(self, number: int) -> subprocess.Popen[bytes]:
        flags = ("--nthreads", "1", "--no-nanny", "--no-dashboard", "--local-directory", str(self._folder))
        worker = self._start("worker", f"tcp://{self.address}", *flags, log=f"worker{number}")
        self._said(f"worker{number}", r"Registered to:\s+(\S+)")
        return worker

    def _said(self, log: str, pattern: str) -> str:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            if found := re.search(pattern, (self._folder / log).read_text()):
                return found[1]
            time.sleep(0.05)
        raise AssertionError((self._folder / log).read_text())

    def stop(self) -> None:
        for process in reversed(self._processes):
            process.kill()
            process.wait()


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    running = Cluster(tmp_path)
    yield running
    running.stop()


def test_a_worker_killed_in_the_middle_costs_no_point_and_doubles_none(
    cluster: Cluster, tmp_path: Path
) -> None:
    small = load_scenario("shop-orders").with_values(**{"run.duration_s": 20000.0, "run.warmup_s": 0.0})
    journal = tmp_path / "journal.jsonl"
    killed: list[int] = []

    def kill_once(done: int, total: int) -> None:
        if done >= total // 3 and not killed:
            cluster.workers[0].send_signal(signal.SIGKILL)
            killed.append(done)

    result = sweep(
        small, AXES, replications=2, executor=f"dask://{cluster.address}", journal=journal, progress=kill_once
    )
    assert killed
    assert cluster.workers[0].wait(10) == -signal.SIGKILL
    keys = [tuple(json.loads(line)[:2]) for line in journal.read_bytes().splitlines()[1:]]
    assert sorted(keys) == [(point, replication) for point in range(24) for replication in range(2)]
    assert result.rows().equals(sweep(small, AXES, replications=2, executor="threads:1").rows())


def test_without_a_scheduler_there_is_one_clear_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sim.experiment.executors.DASK_TIMEOUT_S", 1)
    with (
        pytest.raises(InputError, match=r"no Dask scheduler answers there"),
        open_executor("dask://127.0.0.1:9"),
    ):
        pass
