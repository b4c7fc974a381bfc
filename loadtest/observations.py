"""What a run's machine and servers say of themselves, at a low rate: pressure, bytes, queues, loop lag.

It goes with `loadtest.monitor`, which reads what processes use. Observing costs what is observed: each
look at a server is one GET /status over a connection that is kept, twice a second. That goes on from a
server's readiness, so the idle baseline that is subtracted from its CPU holds it; `Observations.cost`
says how many looks there were and how long they took.
"""

from __future__ import annotations

import http.client
import json
import statistics
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import psutil

from loadtest.contract import now_us

if TYPE_CHECKING:
    import pandas as pd

INTERVAL_S = 0.5
ANSWER_TIMEOUT_S = 2.0

MACHINE = "machine"

PRESSURES = ("cpu", "io", "memory")
"""Pressure stall information: ``some`` of /proc/pressure (Documentation/accounting/psi.rst in the kernel)."""

GAUGES = {
    "waiting": "waiting",
    "in_service": "in_service",
    "http_connections_open": "connections_open",
    "loop_lag_s": "loop_lag_s",
    "in_flight": "in_flight",
    "backing_off": "backing_off",
    "waiting_polls": "waiting_polls",
    "streams": "streams",
}
"""Which figures of /status are kept, and as what; a server has those that it has."""


@dataclass(frozen=True)
class Observation:
    """One value at one time.

    Attributes:
        at_us: monotonic time, µs.
        role: whose it is: `MACHINE` or a server's role.
        name: what it is, its unit in the name.
    """

    at_us: int
    role: str
    name: str
    value: float


def machine_now() -> dict[str, float]:
    """The whole machine's cumulative counters; what it does not tell is left out.

    ``busy_s``: CPU-seconds of all cores that were not idle. ``pressure_<what>_s``: seconds in which some
    task waited for it. ``loopback_bytes``: received over the loopback interface, by whatever process.
    """
    times = psutil.cpu_times()
    found = {"busy_s": times.user + times.system + getattr(times, "nice", 0.0)}
    for what in PRESSURES:
        stalled = _stalled_s(Path("/proc/pressure", what))
        if stalled is not None:
            found[f"pressure_{what}_s"] = stalled
    loopback = psutil.net_io_counters(pernic=True).get("lo" if sys.platform == "linux" else "lo0")
    if loopback is not None:
        found["loopback_bytes"] = float(loopback.bytes_recv)
    return found


def _stalled_s(path: Path) -> float | None:
    try:
        first = path.read_text(encoding="ascii").splitlines()[0]
    except OSError:  # no such file, or the kernel was started with psi=0
        return None
    return int(first.rpartition("total=")[2]) / 1e6


@dataclass
class Observations:
    """Looks at the machine and at servers, in threads of the harness; a context manager."""

    interval_s: float = INTERVAL_S
    taken: list[Observation] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._watch_machine, name="machine", daemon=True)]
        self._answers_s: dict[str, list[float]] = {}
        self._silences: dict[str, int] = {}

    def __enter__(self) -> Observations:
        self._threads[0].start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def follow(self, role: str, url: str) -> None:
        """Begin to ask a server's /status, until it is gone or the block ends."""
        self._answers_s.setdefault(role, [])
        thread = threading.Thread(
            target=self._watch_server, args=(role, url), name=f"{role} status", daemon=True
        )
        self._threads.append(thread)
        thread.start()

    def _watch_machine(self) -> None:
        while True:
            self._take(now_us(), MACHINE, machine_now())
            if self._stop.wait(self.interval_s):
                return

    def _watch_server(self, role: str, url: str) -> None:
        place = urlsplit(url)
        connection = http.client.HTTPConnection(place.hostname or "", place.port, timeout=ANSWER_TIMEOUT_S)
        while not self._stop.wait(self.interval_s):
            asked_s = time.monotonic()
            try:
                connection.request("GET", "/status")
                status = json.loads(connection.getresponse().read())
            except (OSError, http.client.HTTPException, ValueError):
                # Stopped, killed or overloaded: a gap in the series says so. A new connection is tried.
                connection.close()
                self._silences[role] = self._silences.get(role, 0) + 1
                continue
            self._answers_s[role].append(time.monotonic() - asked_s)
            self._take(now_us(), role, {name: status[key] for key, name in GAUGES.items() if key in status})
        connection.close()

    def _take(self, at_us: int, role: str, values: Mapping[str, float]) -> None:
        self.taken += [Observation(at_us, role, name, float(value)) for name, value in values.items()]

    def cost(self) -> dict[str, dict[str, Any]]:
        """For run.json: by server, how often it was asked, how often in vain, how long an answer took (s)."""
        return {
            role: {
                "asked": len(answers) + self._silences.get(role, 0),
                "unanswered": self._silences.get(role, 0),
                "answer_p50_s": statistics.median(answers) if answers else None,
            }
            for role, answers in self._answers_s.items()
        }

    def frame(self, origin_us: int) -> pd.DataFrame:
        """All of it as a table: role, at_s since the origin, name, value."""
        import pandas as pd  # noqa: PLC0415 - half a second, only when a table is wanted

        rows = [
            (each.role, (each.at_us - origin_us) / 1e6, each.name, each.value) for each in tuple(self.taken)
        ]
        return pd.DataFrame(rows, columns=["role", "at_s", "name", "value"])
