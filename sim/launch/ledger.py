"""What a run leaves: every delivery, or what they come to; and the work shared out among threads.

Subscribers are divided into fixed blocks (`sim.metrics.digest.blocks_of`), whichever thread takes one, and
what blocks found is added up in their order: the number of threads changes no bit of a result.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import reduce

import numpy as np
from numpy.typing import NDArray

from sim.audience import Audience
from sim.errors import ScenarioError
from sim.kernels.book import Book, Share
from sim.kernels.feed import compile_rows
from sim.launch.counting import combined
from sim.metrics.digest import Digest, add, beside, blocks_of, digest, nothing_folded, span_of
from sim.metrics.recovery import recoveries
from sim.metrics.scans import Folded
from sim.records import Counters, Deliveries, Via, empty_series
from sim.scenario import Scenario
from sim.workload import MAX_DELIVERIES

Work = Callable[[Share], Counters | None]

_WORTH_A_THREAD = 20_000  # deliveries: some milliseconds of work


def threads() -> int:
    """How many threads share the work: one a core, and one in a worker process, beside which others run."""
    if multiprocessing.parent_process() is not None:
        return 1
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Ledger:
    """What is written of one mechanism in one replication.

    Attributes:
        audience: who wants what.
        rows: the same, as kernels read it.
        deliveries: every record; None where they are folded and forgotten.
        series: requests sent in each bin of the world's time.
    """

    def __init__(
        self, scenario: Scenario, audience: Audience, via: Via, *, keep: bool, workers: int | None = None
    ) -> None:
        self.audience, self.rows, self._via = audience, compile_rows(audience), via
        self.series = empty_series(scenario)
        self._span = span_of(scenario)
        self._workers = threads() if workers is None else workers
        self.deliveries = Deliveries.empty(audience, via) if keep else None
        if not keep and recoveries(scenario):
            self.refuse_beyond_memory("the recovery from an outage is timed")
        self._folded = nothing_folded(
            (0, 0) if keep else audience.event.shape,
            self._span,
            buckets=not keep,
            times=not keep and bool(recoveries(scenario)),
        )

    def refuse_beyond_memory(self, what: str) -> None:
        """Refuse so many deliveries that what must be known of all at once does not fit in memory.

        Raises:
            ScenarioError: naming what it is and how many would be accepted.
        """
        if self.subscribers * self.width > MAX_DELIVERIES:
            raise ScenarioError(
                f"{what}, so all {self.subscribers * self.width:.3g} deliveries must be known at once; "
                f"at most {MAX_DELIVERIES:,} fit in memory"
            )

    def digest(self) -> Digest:
        """What the deliveries come to, of which no record was kept."""
        return digest(self._folded)

    @property
    def subscribers(self) -> int:
        """How many subscribers there are."""
        return len(self.audience.count)

    @property
    def width(self) -> int:
        """The most events that one of them wants."""
        return int(self.audience.event.shape[1])

    def share_out(self, work: Callable[[Share], Counters]) -> Counters:
        """Let every block of subscribers be worked on; returns what all of them counted."""
        counted = self.share_out_if(work)
        assert counted is not None, "no block refused"
        return counted

    def share_out_if(self, work: Work) -> Counters | None:
        """The same of work that may turn out to be no way to do it: None, and nothing is written, then."""
        blocks = blocks_of(self.subscribers)
        kept = None if self.deliveries is None else _book(self.deliveries, self._via)

        def take(block: tuple[int, int]) -> tuple[Counters | None, Folded, NDArray[np.int64]]:
            folded, series = beside(self._folded, self._span), np.zeros_like(self.series)
            book = kept or _one_row(self.width, self._via)
            counted = work(Share(*block, book, kept is None, folded, self._span, series))
            return counted, folded, series

        busy = min(self._workers, len(blocks), 1 + int(self.audience.count.sum()) // _WORTH_A_THREAD)
        if busy > 1:
            with ThreadPoolExecutor(busy) as pool:
                done = list(pool.map(take, blocks))
        else:
            done = [take(block) for block in blocks]
        parts = [counted for counted, _, _ in done if counted is not None]
        if len(parts) < len(blocks):
            if self.deliveries is not None:
                self.deliveries = Deliveries.empty(self.audience, self._via)
            return None
        for _, _, series in done:
            self.series += series
        if kept is None:
            add(self._folded, (folded for _, folded, _ in done))
        return reduce(combined, parts)


def _book(d: Deliveries, via: Via) -> Book:
    return Book(d.first_attempt, d.visible, d.attempts, d.copies, d.via, d.status, int(via))


def _one_row(width: int, via: Via) -> Book:
    def one(dtype: type) -> NDArray:  # type: ignore[type-arg]  # of whichever type
        return np.empty((1, width), dtype=dtype)

    return Book(
        one(np.float64), one(np.float64), one(np.int32), one(np.int32), one(np.int8), one(np.int8), int(via)
    )
