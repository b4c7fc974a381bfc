"""Protects the worker that harness runs rest on: in order, never early, no slower for late timers."""

from __future__ import annotations

import array
import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from loadtest.inbox import ServiceTimes, TimedWorker
from sim.errors import InputError


def seconds(*values: float) -> ServiceTimes:
    return ServiceTimes(array.array("q", (round(value * 1e6) for value in values)))


class Clockwork:
    """A clock that stands where it is put, and timers that are kept until the test lets them ring."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now_us = 0
        self.timers: list[tuple[int, Callable[..., None], tuple[Any, ...]]] = []
        monkeypatch.setattr(asyncio, "get_running_loop", lambda: self)

    def call_later(self, delay_s: float, wake: Callable[..., None], *arguments: Any) -> None:
        self.timers.append((self.now_us + round(delay_s * 1e6), wake, arguments))

    def ring(self, at_us: int) -> None:
        self.now_us = at_us
        _, wake, arguments = self.timers.pop(0)
        wake(*arguments)


def clockwork_worker(
    monkeypatch: pytest.MonkeyPatch, workers: int, *services_s: float
) -> tuple[Clockwork, TimedWorker, list[tuple[int, int]]]:
    clock, done = Clockwork(monkeypatch), []
    worker = TimedWorker(workers, seconds(*services_s), done.extend, clock=lambda: clock.now_us)
    return clock, worker, done


def test_late_timers_do_not_add_up_to_a_slower_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, worker, done = clockwork_worker(monkeypatch, 1, *[0.001] * 200)
    worker.offer([(seq, seq) for seq in range(200)])
    dues = []
    while clock.timers:
        dues.append(clock.timers[0][2][0])
        clock.ring(dues[-1] + 700)
    assert dues == [1000 * k for k in range(1, 201)]
    assert done == [(seq, 1000 * (seq + 1) + 700) for seq in range(200)]
    assert worker.busy_us == 200_000


def test_an_event_does_not_start_before_it_came(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, worker, _ = clockwork_worker(monkeypatch, 1, 0.01, 0.01)
    worker.offer([(1, 0)])
    clock.now_us = 10_600  # the first was due at 10,000, its timer has not rung yet
    worker.offer([(2, 1)])
    clock.ring(10_900)
    ((_, _, (due_us, seq)),) = clock.timers
    assert (seq, due_us) == (2, 20_600)


def test_an_early_timer_finishes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, worker, done = clockwork_worker(monkeypatch, 1, 0.01)
    worker.offer([(1, 0)])
    clock.ring(9_999)
    assert (done, worker.visible, worker.in_service) == ([], 0, 1)
    clock.ring(10_000)
    assert (done, worker.visible, worker.in_service) == ([(1, 10_000)], 1, 0)


def test_the_counts_of_time_reach_up_to_now(monkeypatch: pytest.MonkeyPatch) -> None:
    """One of two events is served for 10 ms, the other waits: after 4 ms both counts say 4 ms."""
    clock, worker, _ = clockwork_worker(monkeypatch, 1, 0.01, 0.01)
    worker.offer([(1, 0), (2, 1)])
    clock.now_us = 4_000
    assert (worker.busy_us, worker.queue_integral_us) == (4_000, 4_000)
    clock.ring(10_000)
    clock.now_us = 13_000
    assert (worker.busy_us, worker.queue_integral_us) == (13_000, 10_000)


def test_service_time_files(tmp_path: Path) -> None:
    path = tmp_path / "service.f64"
    path.write_bytes(array.array("d", [0.5, 0.0, 1e-6]).tobytes())
    times = ServiceTimes.read(path)
    assert [times.get(index) for index in (0, 1, 2, 3, -1)] == [500_000, 0, 1, None, None]
    assert ServiceTimes().get(12) == 0
    for content, says in ((b"1234567", "whole number"), (array.array("d", [1.0, -1.0]).tobytes(), "entry 1")):
        path.write_bytes(content)
        with pytest.raises(InputError, match=says):
            ServiceTimes.read(path)
    with pytest.raises(InputError, match="cannot be read"):
        ServiceTimes.read(tmp_path / "missing")
