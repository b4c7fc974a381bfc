"""Protects the inbox's rules under every interleaving: a plain model beside each database.

Three processes submit, repeat, lose answers, beat, lapse, crash, begin, finish, fail, replay and purge in any
order. The model is a dictionary; after each step the database must say the same, and at the end everything
is served.
"""

from __future__ import annotations

import contextlib
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from loadtest.inbox.storage import NOBODY, Storage, open_storage
from tests.loadtest.inboxes import BACKENDS, behind, fresh_inbox, row

IDS = range(6)
PROCESSES = range(3)
processes = st.sampled_from(PROCESSES)
some_ids = st.lists(st.sampled_from(IDS), min_size=1, max_size=5)


@dataclass
class Event:
    """What the model knows of one stored event."""

    order: int
    owner: int
    copies: int = 1
    attempts: int = 0
    visible_us: int | None = None
    dead: str | None = None
    purged: bool = False
    became_visible: int = 0

    @property
    def finished(self) -> bool:
        return self.visible_us is not None or self.dead is not None


@dataclass
class Process:
    """A process: its storage, and the last outcomes it reported."""

    storage: Storage
    reported: tuple[list[tuple[int, int]], list[tuple[int, str]]] = field(default_factory=lambda: ([], []))


class Histories(RuleBasedStateMachine):
    backend: str

    def __init__(self) -> None:
        super().__init__()
        self.undo = contextlib.ExitStack()
        folder = self.undo.enter_context(tempfile.TemporaryDirectory())
        self.url = self.undo.enter_context(fresh_inbox(self.backend, Path(folder)))
        self.processes: list[Process] = []
        self.undo.callback(lambda: [process.storage.close() for process in self.processes])
        self.events: dict[int, Event] = {}
        self.alive: set[int] = set()
        self.stored = 0
        self.clock = 0
        open_storage(self.url).close()
        self.query = self.undo.enter_context(behind(self.url))
        self.processes += [Process(self.open()) for _ in PROCESSES]

    def open(self) -> Storage:
        storage = open_storage(self.url)
        storage.beat(1000, 0)
        self.alive.add(storage.owner)
        return storage

    def seq_of(self) -> dict[int, int]:
        return dict(self.query("SELECT event_index, seq FROM inbox"))

    def end_lease(self, owner: int) -> None:
        self.query(f"UPDATE owners SET alive_until_us = 0 WHERE owner = {owner}")

    def owned(self, owner: int) -> list[int]:
        """The unserved events of an owner, oldest first."""
        mine = [i for i, event in self.events.items() if event.owner == owner and not event.finished]
        return sorted(mine, key=lambda i: self.events[i].order)

    @initialize(first=some_ids, second=some_ids)
    def begin_with_something(self, first: list[int], second: list[int]) -> None:
        self.submit(0, first)
        self.submit(1, second)

    @rule(number=processes, ids=some_ids)
    def submit(self, number: int, ids: list[int]) -> None:
        storage = self.processes[number].storage
        new = []
        for index in ids:
            if index in self.events:
                self.events[index].copies += 1
            else:
                self.stored += 1
                self.events[index] = Event(self.stored, storage.owner)
                new.append(index)
        assert [index for _, index in storage.insert([row(index) for index in ids])] == new

    @rule(number=processes)
    def lose_the_connection(self, number: int) -> None:
        storage: Any = self.processes[number].storage
        storage._disconnect()

    @rule(number=processes, room=st.integers(0, 4))
    def beat(self, number: int, room: int) -> None:
        storage = self.processes[number].storage
        abandoned = [
            (event.order, event)
            for event in self.events.values()
            if not event.finished and event.owner not in self.alive | {storage.owner}
        ]
        for _, event in sorted(abandoned, key=lambda pair: pair[0])[:room]:
            event.owner = storage.owner
        self.alive.add(storage.owner)
        assert [(index, attempts) for _, index, attempts in storage.beat(1000, room)] == [
            (index, self.events[index].attempts) for index in self.owned(storage.owner)
        ]

    @rule(number=processes)
    def lapse(self, number: int) -> None:
        """The process is stopped for longer than its lease."""
        owner = self.processes[number].storage.owner
        self.end_lease(owner)
        self.alive.discard(owner)

    @rule(number=processes)
    def crash(self, number: int) -> None:
        """It dies without a word and another is started, before or after the lease lapses."""
        storage: Any = self.processes[number].storage
        storage._disconnect()
        self.processes[number] = Process(self.open())

    @rule(number=processes)
    def close(self, number: int) -> None:
        storage = self.processes[number].storage
        for index in self.owned(storage.owner):
            self.events[index].owner = NOBODY
        self.alive.discard(storage.owner)
        storage.close()
        self.processes[number] = Process(self.open())

    @rule()
    def all_that_died_lapse(self) -> None:
        here = {process.storage.owner for process in self.processes}
        for owner in self.alive - here:
            self.end_lease(owner)
        self.alive &= here

    @rule(number=processes, ids=some_ids)
    def begin(self, number: int, ids: list[int]) -> None:
        storage = self.processes[number].storage
        mine = set(self.owned(storage.owner)) & set(ids) if storage.owner in self.alive else set()
        for index in mine:
            self.events[index].attempts += 1
        seqs = self.seq_of()
        begun = storage.begin([seqs.get(index, 10**9) for index in set(ids)])
        assert {event.index: event.attempt for event in begun} == {i: self.events[i].attempts for i in mine}

    @rule(
        number=processes,
        visible=some_ids,
        dead=st.sets(st.sampled_from(IDS), max_size=2),
        own=st.booleans(),
        times=st.integers(1, 2),
    )
    def report(self, number: int, visible: list[int], dead: set[int], own: bool, times: int) -> None:
        """What it says counts where the event is still its own; twice, when the first answer was lost."""
        self.clock += 1
        seqs = self.seq_of()
        may = set(self.owned(self.processes[number].storage.owner)) if own else set(seqs)
        given_up = [index for index in dead if index in may]
        served = [index for index in (may if own else dict.fromkeys(visible)) if index in may - dead]
        self.processes[number].reported = (
            [(seqs[index], self.clock) for index in served],
            [(seqs[index], f"reason {self.clock}") for index in given_up],
        )
        for _ in range(times):
            self.settle(number)

    @precondition(lambda self: any(any(process.reported) for process in self.processes))
    @rule(number=processes)
    def report_again_later(self, number: int) -> None:
        self.settle(number)

    def settle(self, number: int) -> None:
        process = self.processes[number]
        by_seq = {seq: index for index, seq in self.seq_of().items()}
        counted = 0
        for seq, visible_us in process.reported[0]:
            event = self.events.get(by_seq.get(seq, -1))
            if event is None or event.owner != process.storage.owner:
                continue
            if not event.finished:
                event.visible_us = visible_us
                event.became_visible += 1
            counted += event.visible_us == visible_us
        for seq, reason in process.reported[1]:
            event = self.events.get(by_seq.get(seq, -1))
            if event is None or event.owner != process.storage.owner:
                continue
            if not event.finished:
                event.dead = reason
            counted += event.dead == reason
        assert process.storage.settle(*process.reported) == counted

    @rule(states=st.sets(st.sampled_from(["visible", "dead"]), min_size=1))
    def replay(self, states: set[Any]) -> None:
        replayed = 0
        for event in self.events.values():
            state = "dead" if event.dead is not None else "visible"
            if event.finished and not event.purged and state in states:
                event.owner, event.attempts, event.visible_us, event.dead = NOBODY, 0, None, None
                event.became_visible = 0
                replayed += 1
        assert self.processes[0].storage.replay(states, None) == replayed

    @precondition(lambda self: any(event.finished for event in self.events.values()))
    @rule(dead=st.booleans(), forget=st.booleans())
    def purge(self, dead: bool, forget: bool) -> None:
        dropped = 0
        for index, event in list(self.events.items()):
            if event.finished and not event.purged and (event.visible_us is not None or dead):
                event.purged = True
                dropped += 1
            if event.purged and forget:
                del self.events[index]
        gone = self.processes[0].storage.purge(0, 0 if forget else 1000, dead=dead, limit=100)
        assert gone[0] == dropped

    @invariant()
    def the_database_says_what_the_model_says(self) -> None:
        found = self.query(
            "SELECT event_index, owner, copies, attempts, visible_us, dead_reason, payload IS NULL "
            "FROM inbox ORDER BY seq",
        )
        assert [tuple(line) for line in found] == [
            (i, e.owner, e.copies, e.attempts, e.visible_us, e.dead, e.purged)
            for i, e in sorted(self.events.items(), key=lambda item: item[1].order)
        ]
        assert all(event.became_visible <= 1 for event in self.events.values())

    def teardown(self) -> None:
        """One more process takes over what all others left, and serves it."""
        try:
            self.query("UPDATE owners SET alive_until_us = 0")
            last = open_storage(self.url)
            self.processes.append(Process(last))
            mine = last.beat(1000, 100)
            assert {i for _, i, _ in mine} == {i for i, event in self.events.items() if not event.finished}
            assert last.settle([(seq, 1) for seq, _, _ in mine], []) == len(mine)
            counts = last.counts()
            assert (counts["waiting"], counts["in-service"]) == (0, 0)
        finally:
            self.undo.close()


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("examples", [20, pytest.param(400, marks=pytest.mark.slow)])
def test_every_history_ends_as_the_model_says(backend: str, examples: int) -> None:
    machine = type("OnThisBackend", (Histories,), {"backend": backend})
    run_state_machine_as_test(machine, settings=settings(max_examples=examples, stateful_step_count=30))
