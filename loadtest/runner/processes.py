"""Starting and surely stopping the processes of a run: servers and the load generator.

Every child leads its own process group, so a Ctrl-C at the terminal reaches only the harness, which
then stops them itself; the group is killed whatever happens. With two cores or more, servers and
generator are pinned apart, so that neither is measured waiting for the other.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

from loadtest.contract import now_us
from loadtest.monitor import Monitor
from loadtest.runner import inquiries
from loadtest.runner.fleet import CpuPlan, Fleet
from loadtest.runner.incarnations import counts_at_death, summed
from loadtest.schedule import PLAN_VARIABLE
from sim.errors import InputError, VoidRun

READY_TIMEOUT_S = 20.0
STOP_TIMEOUT_S = 10.0
STOP_SIGNALS = tuple(
    signal.Signals[name] for name in ("SIGINT", "SIGTERM", "SIGHUP") if name in signal.Signals.__members__
)


class ProcessFailed(VoidRun):
    """A process of the run ended or kept silent when it should not have; the message holds its last line."""


class ServerSilent(ProcessFailed):
    """A server runs, but does not answer /status."""


@contextlib.contextmanager
def deferred_interrupts() -> Iterator[None]:
    """Hold SIGINT, SIGTERM and SIGHUP back until the block has ended: no start or stop is ever half done."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    arrived: list[tuple[int, FrameType | None]] = []
    kept = {
        number: signal.signal(number, lambda number, frame: arrived.append((number, frame)))
        for number in STOP_SIGNALS
    }
    try:
        yield
    finally:
        for kept_number, kept_handler in kept.items():
            signal.signal(kept_number, kept_handler)
        for number, frame in arrived[:1]:
            handler = kept[signal.Signals(number)]
            if callable(handler):
                handler(number, frame)
            elif handler == signal.SIG_DFL:
                signal.raise_signal(number)


@dataclass
class Child:
    """A process of ours in its own group, its standard error in a file.

    Attributes:
        ready: what a server said when it was ready.
        ready_us: when that was (µs), which is where its idle time begins.
        start_s: how long it took until then.
        again: starts its successor, and says where that logs; None for what is never restarted.
        monitor: who watches it, and is to know of a successor.
        over: it was stopped for good.
    """

    role: str
    process: subprocess.Popen[bytes]
    log: Path
    ready: dict[str, Any] = field(default_factory=dict)
    ready_us: int = 0
    start_s: float = 0.0
    command: Sequence[str] = ()
    again: Callable[[], tuple[subprocess.Popen[bytes], Path]] | None = None
    monitor: Monitor | None = None
    over: bool = False
    _counted: dict[str, Any] = field(default_factory=dict)
    _up: threading.Event = field(default_factory=threading.Event)
    _lock: threading.RLock = field(default_factory=threading.RLock)

    def __post_init__(self) -> None:
        self._up.set()

    @property
    def pid(self) -> int:
        """Its process id, which is also its group's."""
        return self.process.pid

    @property
    def url(self) -> str:
        """Where a server listens."""
        return f"http://127.0.0.1:{self.ready['port']}"

    def last_words(self) -> str:
        """The last line it wrote to standard error."""
        lines = [line.strip() for line in self.log.read_text(errors="replace").splitlines() if line.strip()]
        return lines[-1] if lines else "it wrote nothing on standard error"

    def status(self) -> dict[str, Any]:
        """The server's own counts, from GET /status, with those of the processes it was before.

        While it is being restarted this waits for the successor.

        Raises:
            ServerSilent: it runs, but gives no answer within `inquiries.STATUS_TIMEOUT_S`, or not JSON.
            ProcessFailed: it has ended.
        """
        deadline = time.monotonic() + inquiries.STATUS_TIMEOUT_S
        while True:
            self._up.wait(max(0.0, deadline - time.monotonic()))
            asked = self.process
            try:
                document = inquiries.get_json(f"{self.url}/status")
                if self.process is asked:
                    return summed(self._counted, document)
            except (OSError, ValueError) as error:
                changed = self.process is not asked or not self._up.is_set()
                if changed and time.monotonic() < deadline:
                    continue
                code = self.process.poll()
                if code is not None and not changed:
                    raise ProcessFailed(
                        f"the {self.role} ended with exit code {code}: {self.last_words()}"
                    ) from None
                raise ServerSilent(f"the {self.role} did not answer /status ({error})") from None

    def take_down(self, number: signal.Signals, timeout_s: float) -> bool:
        """End the process by a signal, as long as it is to come back; False where it was stopped for good.

        Raises:
            ProcessFailed: it did not end in time.
        """
        last: dict[str, Any] = self._counted
        with contextlib.suppress(ProcessFailed):
            last = self.status()
        with self._lock:
            if self.over or self.again is None:
                return False
            if self.monitor is not None:
                self.monitor.read_now()
            self._up.clear()
            os.killpg(self.pid, number)
        # Without the lock: whoever stops it for good meanwhile need not wait for its drain.
        try:
            self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise ProcessFailed(f"the {self.role} did not end within {timeout_s:g} s") from None
        with self._lock:
            if self.process.stdout is not None:
                self.process.stdout.close()
            self._counted = counts_at_death(last, self.command)
            return not self.over

    def bring_back(self) -> None:
        """Start the successor on the same port, and wait until it is ready.

        Raises:
            ProcessFailed: it did not become ready.
        """
        with self._lock:
            if self.over or self.again is None:
                return
            self.process, self.log = self.again()
            if self.monitor is not None:
                self.monitor.watch(self.role, self.pid)
            _ready_line(self, READY_TIMEOUT_S)
            self._up.set()

    def stop(self, timeout_s: float = STOP_TIMEOUT_S) -> int | None:
        """SIGTERM, wait, then SIGKILL to the group; returns the exit code, negative for a signal."""
        with deferred_interrupts(), self._lock:
            self.over = True
            with contextlib.suppress(ProcessLookupError):
                if self.process.poll() is None:
                    self.process.terminate()
                    # A stopped process would keep the signal for later.
                    self.process.send_signal(signal.SIGCONT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(timeout_s)
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, signal.SIGKILL)
            code = self.process.wait()
            if self.process.stdout is not None:
                self.process.stdout.close()
            return code


class Crew:
    """The children of one run; leaving the block stops whatever still runs."""

    def __init__(
        self, folder: Path, environment: Mapping[str, str], cpus: CpuPlan, fleet: Fleet | None = None
    ) -> None:
        self.folder = folder
        self.cpus = cpus
        self.fleet = fleet or Fleet()
        self.monitor: Monitor | None = None
        self._environment = {**os.environ, **environment}
        self.children: list[Child] = []
        self._logs = 0
        self.reports: list[dict[str, Any]] = []
        """What the generator's workers said of themselves: share, cost, clock; empty for a single process."""

    def __enter__(self) -> Crew:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        with deferred_interrupts():
            for child in reversed(self.children):
                # After a failure nobody reads the ledgers: no need to drain.
                child.stop(STOP_TIMEOUT_S if kind is None else 1.0)

    def server(
        self, role: str, *flags: str, module: str = "loadtest.serve", timeout_s: float = READY_TIMEOUT_S
    ) -> Child:
        """Start ``loadtest.serve ROLE``, or another module that takes a role, and wait for its ready line.

        Raises:
            InputError: it refused its arguments (exit code 2); the message is its own.
            ProcessFailed: it ended otherwise, or did not become ready in time.
        """
        command = [sys.executable, "-m", module, role, *flags]
        return self.start(role, command, timeout_s=timeout_s)

    def start(self, role: str, command: Sequence[str], *, timeout_s: float = READY_TIMEOUT_S) -> Child:
        """Start a server given by its command line and wait for its ready line; raises as `server`."""
        begun_us = now_us()
        child = self._spawn(role, command, self.cpus.servers, stdout=subprocess.PIPE)
        child.ready = _ready_line(child, timeout_s)
        child.ready_us = now_us()
        child.start_s = (child.ready_us - begun_us) / 1e6
        child.command, child.monitor = command, self.monitor
        again = [*command, "--port", str(child.ready["port"])]
        child.again = lambda: self._process(role, again, self.cpus.servers, subprocess.PIPE, {})
        if self.monitor is not None:
            self.monitor.observations.follow(child.role, child.url)
        return child

    def generator(self, locustfile: Path, host: str, plan: Path | None, users: int, *options: str) -> Child:
        """Start Locust headless, on a plan when one is given, with so many users and further options."""
        command = [
            *(sys.executable, "-m", "locust", "-f", str(locustfile), "--headless", "--only-summary"),
            *("--host", host, "-u", str(users), "-r", str(users)),
            *("--loglevel", "WARNING", "--exit-code-on-error", "0"),
            *options,
        ]
        extra = {PLAN_VARIABLE: str(plan)} if plan is not None else {}
        return self._spawn("generator", command, self.cpus.generator, stdout=subprocess.DEVNULL, extra=extra)

    def _spawn(
        self,
        role: str,
        command: Sequence[str],
        cpus: frozenset[int] | None,
        stdout: int,
        extra: Mapping[str, str] | None = None,
    ) -> Child:
        with deferred_interrupts():
            child = Child(role, *self._process(role, command, cpus, stdout, extra or {}))
            self.children.append(child)
        return child

    def _process(
        self,
        role: str,
        command: Sequence[str],
        cpus: frozenset[int] | None,
        stdout: int,
        extra: Mapping[str, str],
    ) -> tuple[subprocess.Popen[bytes], Path]:
        """A process, and the file of its standard error."""
        log = self.folder / f"{role}-{self._logs}.log"
        self._logs += 1
        with log.open("wb") as stderr, _pinned(cpus):
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
                env={**self._environment, **extra},
                process_group=0,
            )
        return process, log


@contextlib.contextmanager
def _pinned(cpus: frozenset[int] | None) -> Iterator[None]:
    """Confine this thread to some cores while it starts a child, which inherits them."""
    if cpus is None:
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cpus)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def _ready_line(child: Child, timeout_s: float) -> dict[str, Any]:
    stdout = child.process.stdout
    assert stdout is not None
    deadline = time.monotonic() + timeout_s
    received = b""
    with selectors.DefaultSelector() as selector:
        selector.register(stdout, selectors.EVENT_READ)
        while b"\n" not in received:
            if not selector.select(max(0.0, deadline - time.monotonic())):
                raise ProcessFailed(
                    f"the {child.role} was not ready within {timeout_s:g} s: {child.last_words()}"
                )
            chunk = os.read(stdout.fileno(), 4096)
            if not chunk:
                code = child.process.wait()
                words = child.last_words()
                if code == InputError.exit_code:
                    raise InputError(f"{child.role}: {words}")
                raise ProcessFailed(
                    f"the {child.role} ended with exit code {code} before it was ready: {words}"
                )
            received += chunk
    line = received.partition(b"\n")[0]
    try:
        document = json.loads(line)
        if not document["ready"]:
            raise KeyError("ready")
    except (ValueError, KeyError, TypeError):
        raise ProcessFailed(f"the {child.role} said {line[:200]!r} instead of that it is ready") from None
    return dict(document)
