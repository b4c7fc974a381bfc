"""What a race knows of an arm: one value of `Arm`, in the table of `loadtest.runner.arms`.

`loadtest.runner.race` tells the story that all arms share and asks the arm for the rest: which servers run,
what happens at the origin, when nothing more can come, how counts and attempts are read.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from loadtest.inbox import LedgerRow
from loadtest.runner.processes import Child
from loadtest.runner.session import Session, unlike_the_model
from loadtest.schedule import IntArray
from sim.catalogue import MECHANISMS
from sim.delivery import Via
from sim.records import MISSING_US, Counters

if TYPE_CHECKING:
    from sim.scenario import Scenario

Rows = Sequence[LedgerRow]
ProviderRows = Sequence[Mapping[str, str]]
Statuses = Mapping[str, Mapping[str, Any]]
"""What servers say of themselves, by the side they stand on: "provider" or "receiver"."""

MOST_IN_PAGE = 1000
"""The provider's own limit."""

MARGIN_S = 5.0
"""How much longer than by the scenario's times a delivery may take on a busy machine."""


@dataclass(frozen=True)
class Course:
    """What one arm is raced over.

    Attributes:
        session: its folder, crew and run id.
        scenario: as it is raced, see `race`.
        seed: of this repetition; the model's replication has the same.
        events: how many there are.
        inbox, ledger: the files in which the subscriber and the provider leave what became of them.
        drain_s: how long the worker may take for everything at the most.
        service: the flags that give an inbox the model's service times.
    """

    session: Session
    scenario: Scenario
    seed: int
    events: int
    inbox: Path
    ledger: Path
    drain_s: float
    service: Sequence[str]

    @property
    def inbox_flags(self) -> list[str]:
        """The flags of a process that ends in the inbox."""
        return [*("--inbox", f"sqlite:///{self.inbox}", "--drain-s", f"{self.drain_s:.3f}"), *self.service]

    @property
    def origin_file(self) -> Path:
        """Where consumers that run before the origin is known will find it."""
        return self.session.folder / "origin"


@dataclass(frozen=True)
class Arm:
    """One way of the events into the inbox, enacted by real processes.

    The subscriber's process stands on the side "receiver", whatever its role, and bears its metrics' name.

    Attributes:
        name: what ``-a`` calls it.
        mechanism: the one of `sim.catalogue.MECHANISMS` that it enacts; by default of the same name.
        stops: the sides in the order in which they are stopped, so that nobody talks to the dead.
    """

    name: str
    mechanism: str = ""
    stops: tuple[str, ...] = field(default=("receiver", "provider"), kw_only=True)

    def __post_init__(self) -> None:
        if not self.mechanism:
            object.__setattr__(self, "mechanism", self.name)

    @property
    def via(self) -> Via:
        """What records say of the way until something came by another."""
        return MECHANISMS[self.mechanism].via

    def refusal(self, scenario: Scenario) -> str | None:
        """Why this scenario cannot be raced in this arm, in words; None where it can."""

    def unlike_the_model(self, scenario: Scenario) -> list[str]:
        """What a scenario says and this arm does not do, in words."""
        return unlike_the_model(scenario)

    def drain_s(self, scenario: Scenario) -> float:
        """How long after the run what is under way may still come, in the model's world too, seconds."""
        return MARGIN_S

    def provider_flags(self, course: Course) -> list[str]:
        """What the provider needs to be told beside its ledger and its events API."""
        return []

    def open(self, course: Course) -> dict[str, Child]:
        """Start the servers that must be there before the provider; by side."""
        return {}

    def approach(self, course: Course, servers: Mapping[str, Child]) -> dict[str, Child]:
        """Start what has to know the provider, before the load generator; returns it by side.

        What counts its time from the origin waits for `Course.origin_file`.
        """
        return {}

    def begin(self, course: Course, servers: Mapping[str, Child], origin_us: int) -> dict[str, Child]:
        """Subscribe, or start what else counts its time from the origin; returns the servers started."""
        return {}

    def bystanders(self, course: Course) -> dict[str, int]:
        """Processes that are not ours, but whose cost belongs to the arm: their ids, by the metrics' name."""
        return {}

    def facts(self, course: Course) -> dict[str, Any]:
        """What else run.json should say of the arm."""
        return {}

    def silent_until_us(self, course: Course, origin_us: int, last_us: int) -> int:
        """Before when nothing can come after the last publication (µs): until then nobody need ask."""
        return last_us

    def given_up(self, servers: Statuses) -> int:
        """How many events will not become visible any more, when both sides are at rest."""
        return int(servers["provider"]["failed"]) + int(servers["receiver"].get("missed_events", 0))

    def outcomes(self, provider_rows: ProviderRows, rows: Rows, statuses: Statuses) -> list[dict[str, str]]:
        """The provider's ledger, with the outcome "failed" for what it does not know to be lost."""
        return [dict(entry) for entry in provider_rows]

    def counters(self, servers: Statuses) -> Counters:
        """What both sides counted in the window, by the model's names; None for what was not counted."""
        raise NotImplementedError

    def tries(
        self, size: int, rows: Rows, provider_rows: ProviderRows, statuses: Statuses
    ) -> tuple[IntArray, IntArray]:
        """When each of `size` events was first tried (µs, or `MISSING_US`), and how often."""
        raise NotImplementedError


def no_tries(size: int) -> tuple[IntArray, IntArray]:
    """Of each of `size` events: never tried, no attempts."""
    return np.full(size, MISSING_US, dtype=np.int64), np.zeros(size, dtype=np.int64)


def copied(counters: Counters, counts: Mapping[str, Any], names: Iterable[str]) -> None:
    """Fill in counters that a server counts under the same names."""
    for name in names:
        setattr(counters, name, counts.get(name))
