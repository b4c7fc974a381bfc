"""What a server costs, measured from outside: CPU, memory, switches and waiting, of whole process trees.

CPU-seconds are differences of cumulative counters, so the sampling interval does not matter to them.
On Linux they come from /proc/<pid>/task/*/schedstat (ns; Documentation/scheduler/sched-stats.rst in
the kernel's sources), which also tells how long threads were runnable without a core; the classic
utime/stime count ticks of 10 ms. Elsewhere psutil's figures serve and what it cannot know is None.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from loadtest.observations import Observations

if TYPE_CHECKING:
    import pandas as pd

SAMPLE_INTERVAL_S = 0.1

CHILDREN_EVERY = 20
"""Looking for new children reads every process of the machine, so not at each reading."""

PSS_EVERY = 10
"""Telling shared memory apart walks a process's page tables."""


@dataclass(frozen=True)
class Reading:
    """One look at one process tree; cumulative unless said otherwise.

    Attributes:
        at_us: monotonic time, µs.
        cpu_s: CPU-seconds, user and system.
        rss_mb: resident memory now, MB (10^6 bytes).
        run_wait_s: seconds its threads were runnable but not running; None off Linux.
        voluntary_switches, involuntary_switches: context switches; None where not known.
        fds: open file descriptors now; None where not known.
        pss_mb: proportional set size now, MB: what several share counts once; each second, on Linux.
    """

    at_us: int
    cpu_s: float
    rss_mb: float
    run_wait_s: float | None
    voluntary_switches: int | None
    involuntary_switches: int | None
    fds: int | None
    pss_mb: float | None = None

    def after(self, before: Reading) -> Reading:
        """This reading with what a former process of the same role had used up to its last one."""
        return replace(
            self,
            cpu_s=self.cpu_s + before.cpu_s,
            run_wait_s=_sum(self.run_wait_s, before.run_wait_s),
            voluntary_switches=_count_sum(self.voluntary_switches, before.voluntary_switches),
            involuntary_switches=_count_sum(self.involuntary_switches, before.involuntary_switches),
        )


@dataclass(frozen=True)
class Usage:
    """What a process tree used between two moments, its idle cost already subtracted.

    Attributes:
        seconds: length of the span.
        cpu_s: CPU-seconds above idle, never below 0.
        idle_cpu_per_s: what it used doing nothing, CPU-seconds a second; None without a baseline.
        rss_peak_mb: the most resident memory seen.
        fds_peak: the most open file descriptors seen.
        run_wait_s, voluntary_switches, involuntary_switches: differences, nothing subtracted.
    """

    seconds: float
    cpu_s: float
    idle_cpu_per_s: float | None
    rss_peak_mb: float
    fds_peak: int | None
    run_wait_s: float | None
    voluntary_switches: int | None
    involuntary_switches: int | None

    @property
    def cpu_share(self) -> float:
        """CPU-seconds a second, 1.0 being one whole core."""
        return self.cpu_s / self.seconds if self.seconds > 0 else 0.0


@dataclass
class _Thread:
    """The last known counters of one thread; kept after its end, or its share would vanish."""

    cpu_ns: int = 0
    wait_ns: int = 0
    voluntary: int = 0
    involuntary: int = 0


class ProcessTree:
    """A process and all its descendants, read as one."""

    def __init__(self, pid: int) -> None:
        self.root = psutil.Process(pid)
        self._threads: dict[tuple[int, int], _Thread] = {}
        self._process_cpu_s: dict[int, float] = {}
        self._children: list[psutil.Process] = []
        self._reads = 0

    def read(self) -> Reading | None:
        """A reading now; None when the process has ended."""
        try:
            if self._reads % CHILDREN_EVERY == 0:
                self._children = self.root.children(recursive=True)
            self._reads += 1
            if not self.root.is_running() or self.root.status() == psutil.STATUS_ZOMBIE:
                return None
        except psutil.NoSuchProcess:
            return None
        at_us = time.monotonic_ns() // 1000
        rss, fds = 0, 0
        shared = 0 if sys.platform == "linux" and self._reads % PSS_EVERY == 1 else None
        for member in (self.root, *self._children):
            try:
                rss += member.memory_info().rss
                fds += member.num_fds() if hasattr(member, "num_fds") else 0
                if shared is not None:
                    shared += member.memory_full_info().pss
                self._count(member)
            except (psutil.NoSuchProcess, psutil.AccessDenied, FileNotFoundError, ProcessLookupError):
                continue  # it ended while being read; what is known of it stays counted
        linux = bool(self._threads)
        threads = self._threads.values()
        return Reading(
            at_us=at_us,
            cpu_s=sum(t.cpu_ns for t in threads) / 1e9 if linux else sum(self._process_cpu_s.values()),
            rss_mb=rss / 1e6,
            run_wait_s=sum(t.wait_ns for t in threads) / 1e9 if linux else None,
            voluntary_switches=sum(t.voluntary for t in threads) if linux else None,
            involuntary_switches=sum(t.involuntary for t in threads) if linux else None,
            fds=fds if hasattr(self.root, "num_fds") else None,
            pss_mb=None if shared is None else shared / 1e6,
        )

    def _count(self, member: psutil.Process) -> None:
        if sys.platform != "linux" or not Path("/proc/self/schedstat").exists():
            times = member.cpu_times()
            self._process_cpu_s[member.pid] = times.user + times.system
            return
        for name in os.listdir(f"/proc/{member.pid}/task"):  # noqa: PTH208 - a tenth of pathlib's cost
            task = f"/proc/{member.pid}/task/{name}"
            thread = self._threads.setdefault((member.pid, int(name)), _Thread())
            try:
                schedstat = Path(task, "schedstat").read_bytes().split()
                status = Path(task, "status").read_bytes()
            except (FileNotFoundError, ProcessLookupError):
                continue
            thread.cpu_ns, thread.wait_ns = int(schedstat[0]), int(schedstat[1])
            thread.voluntary = _field(status, b"\nvoluntary_ctxt_switches:")
            thread.involuntary = _field(status, b"\nnonvoluntary_ctxt_switches:")


def _field(status: bytes, name: bytes) -> int:
    return int(status[status.index(name) + len(name) :].split(None, 1)[0])


@dataclass
class Monitor:
    """Reads several process trees at an interval, in a thread of the harness; and makes `Observations`.

    Use as a context manager; `watch` adds a tree at any time. The monitor's own cost falls on the
    harness, not on what it watches.
    """

    interval_s: float = SAMPLE_INTERVAL_S
    readings: dict[str, list[Reading]] = field(default_factory=dict)
    observations: Observations = field(default_factory=Observations)

    def __post_init__(self) -> None:
        self._trees: dict[str, ProcessTree] = {}
        self._before: dict[str, Reading] = {}
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="monitor", daemon=True)

    def __enter__(self) -> Monitor:
        self._thread.start()
        self.observations.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self.observations.__exit__()

    def watch(self, role: str, pid: int) -> None:
        """Begin to read the tree of `pid` under a role's name.

        Of a role that is watched already, this is the successor: its usage is added to that of the others.
        """
        with self._lock:
            self._trees[role] = ProcessTree(pid)
            readings = self.readings.setdefault(role, [])
            if readings:
                self._before[role] = readings[-1]
        self.read_now()

    def read_now(self) -> int:
        """Read every tree at once; returns the monotonic time in µs."""
        with self._lock:
            for role, tree in self._trees.items():
                reading = tree.read()
                if reading is not None:
                    before = self._before.get(role)
                    self.readings[role].append(reading if before is None else reading.after(before))
        return time.monotonic_ns() // 1000

    def _run(self) -> None:
        while not self._stop.wait(self.interval_s):
            self.read_now()

    def usage(
        self, role: str, start_us: int, end_us: int, idle: tuple[int, int] | None = None
    ) -> Usage | None:
        """What the tree of `role` used in [start_us, end_us], less its idle rate within `idle`.

        Cumulative counters are interpolated linearly to the span's ends. None without two readings.
        """
        with self._lock:
            readings = list(self.readings.get(role, ()))
        return usage_between(readings, start_us, end_us, idle)

    def frame(self, origin_us: int) -> pd.DataFrame:
        """All readings as a table: role, at_s since the origin, and the fields of `Reading`."""
        import pandas as pd  # noqa: PLC0415 - half a second, only when a table is wanted

        rows = [
            {"role": role, "at_s": (reading.at_us - origin_us) / 1e6} | reading.__dict__
            for role, readings in self.readings.items()
            for reading in readings
        ]
        return pd.DataFrame(rows).drop(columns="at_us") if rows else pd.DataFrame(columns=["role", "at_s"])


def usage_between(
    readings: list[Reading], start_us: int, end_us: int, idle: tuple[int, int] | None = None
) -> Usage | None:
    """See `Monitor.usage`; a pure function of the readings."""
    if len(readings) < 2 or end_us <= start_us:
        return None
    first, last = _at(readings, start_us), _at(readings, end_us)
    within = [reading for reading in readings if start_us <= reading.at_us <= end_us]
    inside = [first, *within, last]
    seconds = (end_us - start_us) / 1e6
    idle_rate = None
    if idle is not None and idle[1] > idle[0]:
        quiet = _at(readings, idle[1]).cpu_s - _at(readings, idle[0]).cpu_s
        idle_rate = quiet / ((idle[1] - idle[0]) / 1e6)
    return Usage(
        seconds=seconds,
        cpu_s=max(0.0, last.cpu_s - first.cpu_s - (idle_rate or 0.0) * seconds),
        idle_cpu_per_s=idle_rate,
        rss_peak_mb=max(reading.rss_mb for reading in inside),
        fds_peak=None if first.fds is None else max(reading.fds or 0 for reading in inside),
        run_wait_s=_difference(last.run_wait_s, first.run_wait_s),
        voluntary_switches=_count_difference(last.voluntary_switches, first.voluntary_switches),
        involuntary_switches=_count_difference(last.involuntary_switches, first.involuntary_switches),
    )


def _at(readings: list[Reading], instant_us: int) -> Reading:
    """The reading at an instant: interpolated between its neighbours, the nearest one outside them."""
    if instant_us <= readings[0].at_us:
        return readings[0]
    for earlier, later in pairwise(readings):
        if instant_us <= later.at_us:
            share = (instant_us - earlier.at_us) / max(1, later.at_us - earlier.at_us)
            waits = (earlier.run_wait_s, later.run_wait_s)
            return replace(
                later if share >= 0.5 else earlier,
                at_us=instant_us,
                cpu_s=earlier.cpu_s + share * (later.cpu_s - earlier.cpu_s),
                run_wait_s=None
                if waits[0] is None or waits[1] is None
                else waits[0] + share * (waits[1] - waits[0]),
            )
    return readings[-1]


def _sum(one: float | None, other: float | None) -> float | None:
    return None if one is None or other is None else one + other


def _count_sum(one: int | None, other: int | None) -> int | None:
    return None if one is None or other is None else one + other


def _difference(last: float | None, first: float | None) -> float | None:
    return None if last is None or first is None else last - first


def _count_difference(last: int | None, first: int | None) -> int | None:
    return None if last is None or first is None else last - first
