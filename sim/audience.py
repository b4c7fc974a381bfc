"""Who wants which event: the events of each subscriber, in order."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sim.compiled import jit
from sim.randomness import Stream, uniform
from sim.scenario import Scenario


@dataclass(frozen=True)
class Audience:
    """Each subscriber's events as rows of shape (n_subscribers, width), padded where rows differ in length.

    Within a row an event goes by its place, which draws and ties use as its number.

    Attributes:
        event: the event's number in the workload, int64; −1 is padding.
        created: when it is created, seconds; +inf is padding.
        count: (n_subscribers,) how many events a row holds, int64.
        shared: whether everybody wants everything; then all rows are one in memory.
    """

    event: NDArray[np.int64]
    created: NDArray[np.float64]
    count: NDArray[np.int64]
    shared: bool

    def created_of(self, subscriber: int) -> NDArray[np.float64]:
        """When this subscriber's events are created, seconds, sorted, shape (count,)."""
        row: NDArray[np.float64] = self.created[subscriber, : self.count[subscriber]]
        return row


def everybody(created: NDArray[np.float64], subscribers: int) -> Audience:
    """Every subscriber wants every event."""
    shape = (subscribers, len(created))
    return Audience(
        event=np.broadcast_to(np.arange(len(created), dtype=np.int64), shape),
        created=np.broadcast_to(created, shape),
        count=np.full(subscribers, len(created), dtype=np.int64),
        shared=True,
    )


@jit
def _interested(interest: float, seed: int, subscriber: int, n_events: int, wanted: NDArray[np.int64]) -> int:
    count = 0
    for event in range(n_events):
        if uniform(seed, Stream.INTEREST, subscriber, event) < interest:
            wanted[count] = event
            count += 1
    return count


def audience(scenario: Scenario, created: NDArray[np.float64], seed: int) -> Audience:
    """Who wants which of the events created at `created`, in one replication."""
    subscribers, interest = scenario.subscribers.count, scenario.subscribers.interest
    if interest == 1:
        return everybody(created, subscribers)
    wanted = np.empty(len(created), dtype=np.int64)
    rows = []
    for s in range(subscribers):
        count = _interested(interest, seed, s, len(created), wanted)
        rows.append(wanted[:count].copy())
    return of_rows(rows, [created[row] for row in rows])


def of_rows(events: list[NDArray[np.int64]], created: list[NDArray[np.float64]]) -> Audience:
    """An audience whose subscribers want the events given, row by row."""
    count = np.array([len(row) for row in events], dtype=np.int64)
    shape = (len(events), int(count.max(initial=0)))
    numbers, times = np.full(shape, -1, dtype=np.int64), np.full(shape, np.inf)
    for s, (row, row_created) in enumerate(zip(events, created, strict=True)):
        numbers[s, : len(row)] = row
        times[s, : len(row)] = row_created
    return Audience(numbers, times, count, shared=False)
