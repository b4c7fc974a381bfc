"""Where the processes of a run have their place: which cores, and which of them make the load."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass

WORKERS_TIMEOUT_S = 300.0
"""How long the master waits for workers that somebody has to start by hand."""


@dataclass(frozen=True)
class CpuPlan:
    """Which cores the servers and the generator may use; None: not pinned."""

    servers: frozenset[int] | None = None
    generator: frozenset[int] | None = None

    @classmethod
    def for_this_machine(cls, generators: int = 1) -> CpuPlan:
        """The generator on the last usable cores, one a process, and the servers on the others.

        The servers keep one core at least; with one core in all nothing is pinned.
        """
        if not hasattr(os, "sched_getaffinity"):
            return cls()
        usable = sorted(os.sched_getaffinity(0))
        if len(usable) < 2:
            return cls()
        first = max(1, len(usable) - generators)
        return cls(servers=frozenset(usable[:first]), generator=frozenset(usable[first:]))

    def describe(self) -> dict[str, list[int] | None]:
        """For run.json."""
        return {
            "servers": None if self.servers is None else sorted(self.servers),
            "generator": None if self.generator is None else sorted(self.generator),
        }


@dataclass(frozen=True)
class Fleet:
    """The processes that make the load.

    Attributes:
        processes: Locust processes on this machine; more than one share the schedule.
        expect_workers: workers that the user starts by hand, anywhere, instead; 0: none.
        bind_host, bind_port: where the master of such workers listens.
        ca: a file of certificates, one of which vouches for an https server; None: the system's.
    """

    processes: int = 1
    expect_workers: int = 0
    bind_host: str = "127.0.0.1"
    bind_port: int = 5557
    ca: str | None = None

    @property
    def elsewhere(self) -> bool:
        """Whether workers are started by hand, perhaps on machines with clocks of their own."""
        return self.expect_workers > 0

    def options(self) -> list[str]:
        """Locust's options that make it so."""
        ca = ["--ca", self.ca] if self.ca else []
        if self.elsewhere:
            return [
                *(
                    "--master",
                    "--master-bind-host",
                    self.bind_host,
                    "--master-bind-port",
                    str(self.bind_port),
                ),
                *("--expect-workers", str(self.expect_workers)),
                *("--expect-workers-max-wait", f"{WORKERS_TIMEOUT_S:.0f}"),
                *ca,
            ]
        if self.processes == 1:
            return ca
        # Locust's own default listens on every interface, and two runs at once would meet there.
        port = str(_free_port())
        return [
            *("--processes", str(self.processes), "--master-bind-host", "127.0.0.1"),
            *("--master-bind-port", port, "--master-host", "127.0.0.1", "--master-port", port),
            *ca,
        ]


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port
