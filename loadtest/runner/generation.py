"""Running the load generator: Locust as its own process, on a plan, to a set of samples."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import loadtest.scenarios
from loadtest.monitor import Monitor
from loadtest.recorder import Samples
from loadtest.runner.fleet import WORKERS_TIMEOUT_S
from loadtest.runner.processes import Child, Crew, ProcessFailed
from loadtest.runner.progress import Progress
from loadtest.schedule import IntArray, Plan

START_TIMEOUT_S = 60.0
GRACE_S = 30.0
POLL_S = 0.02

ROLE = "generator"


def locustfile(arm: str) -> Path:
    """The Locust file of an arm."""
    return Path(loadtest.scenarios.__path__[0]) / f"{arm}.py"


@dataclass(frozen=True)
class Arrivals:
    """What held connections received.

    Attributes:
        connection, event: which event on which connection; each pair once.
        received_us: when, µs.
        counts: of all connections: requests, empty, failures, response_bytes, duplicates, connections.
    """

    connection: IntArray
    event: IntArray
    received_us: IntArray
    counts: Mapping[str, int]


class Generation:
    """One run of the generator against one host."""

    def __init__(self, crew: Crew, monitor: Monitor, plan: Plan, host: str) -> None:
        self.plan = plan
        self.folder = crew.folder / f"plan-{len(crew.children)}"
        self.folder.mkdir()
        plan.write(self.folder)
        self._fleet = crew.fleet
        self._reports = crew.reports
        users = plan.pool_size + plan.clients
        options = crew.fleet.options()
        self.child: Child = crew.generator(locustfile(plan.arm), host, self.folder, users, *options)
        monitor.watch(ROLE, self.child.pid)

    def origin_us(self) -> int:
        """Wait until the generator has set the run's origin, a little ahead of now.

        Raises:
            ProcessFailed: it ended or took too long.
        """
        limit_s = START_TIMEOUT_S + (WORKERS_TIMEOUT_S if self._fleet.elsewhere else 0)
        deadline = time.monotonic() + limit_s
        while not (status := self._status()):
            self._require_alive()
            if time.monotonic() > deadline:
                raise ProcessFailed(f"Locust was not ready within {limit_s:g} s: {self.child.last_words()}")
            time.sleep(POLL_S)
        if "failed" in status:
            raise ProcessFailed(status["failed"])
        return int(status["origin_us"])

    def samples(self, origin_us: int, progress: Progress, label: str) -> Samples:
        """Wait for the end of the schedule and of the last answer; then read what was recorded.

        Raises:
            ProcessFailed: the generator died, did not come to an end, or left samples out.
        """
        last_us = int(self.plan.offsets_us[-1])
        limit_s = (origin_us + last_us) / 1e6 + self.plan.patience_s() + GRACE_S
        with progress.stage(label, last_us / 1e6) as bar:
            while self.child.process.poll() is None:
                bar.at((time.monotonic_ns() // 1000 - origin_us) / 1e6)
                if time.monotonic() > limit_s:
                    raise ProcessFailed(f"Locust did not end in time: {self.child.last_words()}")
                time.sleep(POLL_S)
        status, path = self._status() or {}, self.folder / "samples.npz"
        if "failed" in status:
            raise ProcessFailed(status["failed"])
        if self.child.process.returncode != 0 or not path.exists():
            raise ProcessFailed(
                f"Locust ended with exit code {self.child.process.returncode}: {self.child.last_words()}"
            )
        samples = Samples.load(path)
        if not np.array_equal(samples.index, np.arange(self.plan.offsets_us.size)):
            raise ProcessFailed(
                f"Locust recorded {samples.index.size} of {self.plan.offsets_us.size} scheduled requests: "
                "the samples of a process are missing"
            )
        self._reports += status["workers"]
        return samples

    def arrivals(self) -> Arrivals:
        """What held connections received, once `samples` has waited for the end.

        Raises:
            ProcessFailed: more connections reported than there were to be.
        """
        columns: dict[str, list[IntArray]] = {"connection": [], "event": [], "received_us": []}
        counts: Counter[str] = Counter()
        for path in sorted(self.folder.glob("arrivals-*.npz")):
            with np.load(path) as arrays:
                columns["connection"].append(arrays["connection"] + counts["connections"])
                columns["event"].append(arrays["event"])
                columns["received_us"].append(arrays["received_us"])
            counts.update(json.loads(path.with_suffix(".json").read_text(encoding="utf-8")))
        if counts["connections"] != self.plan.clients:
            raise ProcessFailed(f"Locust held {counts['connections']} of {self.plan.clients} connections")
        return Arrivals(**{name: np.concatenate(parts) for name, parts in columns.items()}, counts=counts)

    def _require_alive(self) -> None:
        code = self.child.process.poll()
        if code is not None:
            raise ProcessFailed(f"Locust ended with exit code {code}: {self.child.last_words()}")

    def _status(self) -> dict[str, Any] | None:
        path = self.folder / "generator.json"
        return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None
