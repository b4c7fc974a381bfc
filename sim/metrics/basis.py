"""What a run's ratios and quantiles rest on: the counts below their lines, and the latencies in short.

Values of several runs are put together properly only with these: a ratio of a run with few events counts for
less than one of a run with many, and a quantile of all runs is no mean of theirs.
"""

from __future__ import annotations

import math
from base64 import b64decode, b64encode
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from sim.metrics.kinds import Base

KEPT_WHOLE = 200
"""So many latencies are kept as they are; of more, those at `kept_ranks`."""

_COARSE = 0.02
_TAIL = 1.1

_Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Basis:
    """Of one run of one mechanism.

    Attributes:
        events: windowed events × subscribers that want them.
        requests: requests sent within the window; None where unknown.
        latencies_s: of what was delivered, sorted: all, or of many those at `kept_ranks(delivered)`.
        delivered: how many were delivered.
    """

    events: int
    requests: int | None
    latencies_s: _Floats
    delivered: int

    def of(self, base: Base) -> int | None:
        """The count below the line of a ratio."""
        counts = {Base.EVENTS: self.events, Base.REQUESTS: self.requests, Base.DELIVERED: self.delivered}
        return counts[base]

    def counter(self) -> Callable[[float], float]:
        """How many latencies are no longer than a given one; between two that were kept by interpolation."""
        values, ranks, size = self.latencies_s.tolist(), kept_ranks(self.delivered).tolist(), self.delivered

        def no_longer(than_s: float) -> float:
            above = bisect_right(values, than_s)
            if above == 0 or above == len(values):
                return float(size if above else 0)
            below_s, above_s = values[above - 1], values[above]
            between = ranks[above] - ranks[above - 1] - 1
            return float(ranks[above - 1] + 1 + between * (than_s - below_s) / (above_s - below_s))

        return no_longer

    def plain(self) -> dict[str, Any]:
        """As JSON's own types; the latencies keep every bit."""
        text = b64encode(self.latencies_s.astype("<f8").tobytes()).decode()
        return {
            "events": self.events,
            "requests": self.requests,
            "delivered": self.delivered,
            "latencies": text,
        }

    @classmethod
    def read(cls, plain: Mapping[str, Any]) -> Self:
        """What `plain` wrote."""
        latencies_s = np.frombuffer(b64decode(plain["latencies"]), dtype="<f8").astype(np.float64)
        return cls(plain["events"], plain["requests"], latencies_s, plain["delivered"])


def basis_of(latencies_s: _Floats, events: int, requests: int | None) -> Basis:
    """The basis of a run, from all its latencies, sorted."""
    size = len(latencies_s)
    return Basis(events, requests, latencies_s[kept_ranks(size)], size)


@lru_cache(maxsize=256)
def kept_ranks(size: int) -> NDArray[np.int64]:
    """Which of `size` sorted latencies stand for all: from 0, int64, ascending, first and last among them.

    Every fiftieth part up to where a tenth of the upper tail is less, and from there on each next one at ten
    elevenths of the tail that is left. What falls between two of them adds some 3 % to the variance of a
    share such as `Basis.counter` counts at p50, p95 or p99: it is that of a Brownian bridge over the gap.
    """
    if size <= KEPT_WHOLE:
        return np.arange(size, dtype=np.int64)
    body = np.arange(0.0, 1 - _COARSE / (1 - 1 / _TAIL), _COARSE) * (size - 1)
    tails = 1.0 * _TAIL ** np.arange(0, 1 + int(np.log(size) / np.log(_TAIL)))
    tail = size - 1 - tails[tails < (size - 1) - body[-1]]
    return np.unique(np.concatenate([body, tail, [size - 1]]).round().astype(np.int64))


def pooled_quantile(bases: Sequence[Basis], level: float) -> float:
    """A quantile of all runs' latencies together (`sim.metrics.QUANTILE_METHOD`), NaN of none.

    Exact where all were kept, else by interpolation.
    """
    total = sum(basis.delivered for basis in bases)
    if not total:
        return math.nan
    counters = [basis.counter() for basis in bases]
    values = joint_latencies_s(bases)
    number = 1 + (total - 1) * level

    def no_longer(than_s: float) -> float:
        return math.fsum(counter(than_s) for counter in counters)

    reached = min(bisect_left(values, number, key=no_longer), len(values) - 1)
    if reached == 0:
        return values[0]
    ends = values[reached - 1 : reached + 1]
    return float(np.interp(number, [no_longer(end) for end in ends], ends))


def joint_latencies_s(bases: Sequence[Basis]) -> list[float]:
    """Every latency that any of the runs kept, once, ascending."""
    ascending: list[float] = np.unique(np.concatenate([basis.latencies_s for basis in bases])).tolist()
    return ascending
