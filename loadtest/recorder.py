"""What the load generator saw: one row a scheduled request, in raw int64 µs.

Two latencies stand side by side. *Corrected* runs from the intended time and is the one to
believe; *uncorrected* runs from the moment the request really left, as most tools report it, and
hides every stall that also held up the sending. Merging several processes is concatenation.
"""

from __future__ import annotations

import io
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
from hdrh.histogram import HdrHistogram

from loadtest.schedule import IntArray
from loadtest.traffic import FORGED
from sim.errors import VoidRun

BoolArray = npt.NDArray[np.bool_]

UNSENT, TIMED_OUT, REFUSED, BROKEN = 0, -1, -2, -3
"""Values of `status` that are not HTTP statuses: never sent, no answer in time, no connection,
and a connection that broke or spoke something other than HTTP."""

STATUS_WORDS = {
    UNSENT: "never sent",
    TIMED_OUT: "timed out",
    REFUSED: "connection refused",
    BROKEN: "connection broken",
}

MISSING = -1
"""The value of a time that never came."""

HIGHEST_US = 3_600_000_000
"""The histograms cover 1 µs to one hour with 3 significant figures."""


class HistogramOverflow(VoidRun):
    """A latency lies outside the histogram's range; counting on without it would hide it."""


@dataclass(frozen=True)
class Samples:
    """The requests of a run, ordered by index; all arrays have one length.

    Attributes:
        index: the request's number in the schedule.
        intended_us, dispatched_us, sent_us, done_us: monotonic time in µs, `MISSING` where it never came;
            dispatched is when the request was put before the senders.
        status: the HTTP status or one of UNSENT, TIMED_OUT, REFUSED, BROKEN.
        response_bytes: size of the response body.
        queued: 1 where every sender was busy when the request was due, so that it had to wait.
        event: which event the request brings; of several requests only one is `GENUINE`.
        kind: GENUINE, COPY or FORGED, see `loadtest.traffic`.
        attempts: how often it was sent, more than once only in a storm of retries; the other columns then
            tell of the first sending and of the last answer.
    """

    index: IntArray
    intended_us: IntArray
    dispatched_us: IntArray
    sent_us: IntArray
    done_us: IntArray
    status: IntArray
    response_bytes: IntArray
    queued: IntArray
    event: IntArray
    kind: IntArray
    attempts: IntArray

    @classmethod
    def scheduled(
        cls,
        index: IntArray,
        intended_us: IntArray,
        event: IntArray | None = None,
        kind: IntArray | None = None,
    ) -> Samples:
        """Room for the answers of requests not yet sent; each the only one of its event unless said."""
        count = index.size
        missing = np.full((3, count), MISSING, dtype=np.int64)
        nothing = np.zeros((3, count), dtype=np.int64)
        carried = index if event is None else event
        kinds = np.zeros(count, dtype=np.int64) if kind is None else kind
        attempts = np.zeros(count, dtype=np.int64)
        columns = (
            index.copy(),
            intended_us.copy(),
            *missing,
            *nothing,
            carried.copy(),
            kinds.copy(),
            attempts,
        )
        return cls(*columns)

    def due_from(self, start_us: int) -> Samples:
        """Only the requests intended at `start_us` or later."""
        return self.chosen(self.intended_us >= start_us)

    def chosen(self, chosen: BoolArray | IntArray) -> Samples:
        """Only some of the requests, by a mask or by their places in a new order."""
        return Samples(**{name: getattr(self, name)[chosen] for name in self.__dataclass_fields__})

    @property
    def sent(self) -> BoolArray:
        """Which requests left."""
        left: BoolArray = self.sent_us != MISSING
        return left

    @property
    def honest(self) -> BoolArray:
        """Which requests are properly signed: all but the forged ones."""
        honest: BoolArray = self.kind != FORGED
        return honest

    @property
    def acknowledged(self) -> BoolArray:
        """Which honest requests were answered with a success (2xx, or 304 to a conditional GET)."""
        acknowledged: BoolArray = self._succeeded & self.honest
        return acknowledged

    @property
    def refused(self) -> BoolArray:
        """Which forged requests were refused (401 or 403), as they should be."""
        refused: BoolArray = ~self.honest & np.isin(self.status, (401, 403))
        return refused

    @property
    def failed(self) -> BoolArray:
        """Which requests left and were not answered as they should be."""
        failed: BoolArray = self.sent & ~self.acknowledged & ~self.refused
        return failed

    @property
    def _succeeded(self) -> BoolArray:
        good: BoolArray = ((self.status >= 200) & (self.status < 300)) | (self.status == 304)
        return good

    @property
    def forgeries_acknowledged(self) -> int:
        """How many forged requests were taken for good: a hole in the server."""
        return int((self._succeeded & ~self.honest).sum())

    @property
    def corrected_us(self) -> IntArray:
        """Intended time to answer, of the acknowledged requests."""
        chosen = self.acknowledged
        return self.done_us[chosen] - self.intended_us[chosen]

    @property
    def uncorrected_us(self) -> IntArray:
        """Real send time to answer, of the acknowledged requests."""
        chosen = self.acknowledged
        return self.done_us[chosen] - self.sent_us[chosen]

    @property
    def refused_us(self) -> IntArray:
        """Intended time to refusal, of the forged requests that were refused."""
        chosen = self.refused
        return self.done_us[chosen] - self.intended_us[chosen]

    @property
    def lag_us(self) -> IntArray:
        """How much later than intended each sent request left."""
        return self.sent_us[self.sent] - self.intended_us[self.sent]

    @property
    def generator_lag_us(self) -> IntArray:
        """The part of each sent request's lag that the generator itself is to blame for.

        A request that found a free sender counts until it left. One that found them all busy counts only
        until it was dispatched: from then on it waited because the server held every sender.
        """
        ready_us = np.where(self.queued == 0, self.sent_us, self.dispatched_us)
        lag: IntArray = (ready_us - self.intended_us)[self.sent]
        return lag

    def shifted(self, by_us: int) -> Samples:
        """The same requests on a clock that is `by_us` ahead; times that never came stay `MISSING`."""
        moved = {
            name: (times := getattr(self, name)) + by_us * (times != MISSING)
            for name in ("intended_us", "dispatched_us", "sent_us", "done_us")
        }
        return replace(self, **moved)

    def failures(self) -> dict[str, int]:
        """How often each kind of failure was seen, e.g. ``{"HTTP 503": 12, "timed out": 3}``."""
        failed = self.status[self.failed]
        kinds, counts = np.unique(failed, return_counts=True)
        words = [STATUS_WORDS.get(int(kind), f"HTTP {int(kind)}") for kind in kinds]
        # A request that left but was still open at the end keeps status UNSENT: call it what it is.
        words = ["unanswered at the end" if word == STATUS_WORDS[UNSENT] else word for word in words]
        return dict(zip(words, (int(count) for count in counts), strict=True))

    def save(self, path: Path) -> None:
        """Write an `.npz`; whole or not at all."""
        unfinished = path.with_name(path.name + ".part")
        unfinished.write_bytes(self.to_bytes())
        unfinished.replace(path)

    @classmethod
    def load(cls, path: Path) -> Samples:
        """Read what `save` wrote."""
        return cls.from_bytes(path.read_bytes())

    def to_bytes(self) -> bytes:
        """The bytes of an `.npz`."""
        stream = io.BytesIO()
        np.savez(stream, **self.__dict__)
        return stream.getvalue()

    @classmethod
    def from_bytes(cls, content: bytes) -> Samples:
        """What `to_bytes` gave, or an earlier version's, which knew of no storms."""
        with np.load(io.BytesIO(content)) as arrays:
            columns = dict(arrays)
        columns.setdefault("event", columns["index"])
        columns.setdefault("kind", np.zeros_like(columns["index"]))
        columns.setdefault("attempts", (columns["sent_us"] != MISSING).astype(np.int64))
        return cls(**{name: columns[name] for name in cls.__dataclass_fields__})


def merge(parts: Iterable[Samples]) -> Samples:
    """The samples of several processes as one, ordered by index: the same number in as out.

    Raises:
        ValueError: two parts hold the same index.
    """
    parts = list(parts)
    columns = {
        name: np.concatenate([getattr(part, name) for part in parts]) for name in Samples.__dataclass_fields__
    }
    order = np.argsort(columns["index"], kind="stable")
    merged = Samples(**{name: column[order] for name, column in columns.items()})
    repeated = merged.index[1:][np.diff(merged.index) == 0]
    if repeated.size:
        raise ValueError(f"request {int(repeated[0])} was recorded by two processes")
    return merged


def histogram(values_us: IntArray) -> HdrHistogram:
    """An HDR histogram of latencies in µs (1 µs to 1 h, 3 significant figures).

    `record_value` answers an out-of-range value with False and forgets it; here that is an error.

    Raises:
        HistogramOverflow: a value is negative or above `HIGHEST_US`.
    """
    counts = HdrHistogram(1, HIGHEST_US, 3)
    for value, count in zip(*np.unique(values_us, return_counts=True), strict=True):
        recorded = int(value) <= HIGHEST_US and counts.record_value(int(value), int(count))
        if not recorded:
            raise HistogramOverflow(f"a latency of {int(value)} µs is outside 0 to {HIGHEST_US} µs")
    assert counts.get_total_count() == values_us.size
    return counts
