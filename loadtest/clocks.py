"""How far apart the clocks of two machines are, and how well that is known.

CLOCK_MONOTONIC is one clock for all processes of a machine and starts anywhere on another. Four
readings of a question and its answer bound the difference, as NTP has it: with the question asked at
t1 and its answer back at t4 on the asker's clock, received at t2 and answered at t3 on the other's,
the other clock is ahead by ((t2 − t1) + (t3 − t4)) / 2, wrong by at most half of the time on the way,
((t4 − t1) − (t3 − t2)) / 2, however unevenly the way there and back share it (RFC 5905, section 8).
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple


class Exchange(NamedTuple):
    """One question and its answer, µs; the first and the last on the asker's clock, two on the other's."""

    asked_us: int
    received_us: int
    answered_us: int
    returned_us: int

    @property
    def on_the_way_us(self) -> int:
        """How long question and answer travelled together."""
        return (self.returned_us - self.asked_us) - (self.answered_us - self.received_us)


@dataclass(frozen=True)
class Offset:
    """How much another clock is ahead of ours, in µs.

    Attributes:
        offset_us: the estimate.
        bound_us: the true difference lies within the estimate ± this.
    """

    offset_us: int
    bound_us: int


SHARED = Offset(0, 0)
"""The offset of a clock to itself."""


def estimate(exchanges: Iterable[Exchange]) -> Offset:
    """The offset from the exchange that was quickest on the way, which bounds it best.

    Raises:
        ValueError: no exchange, or one whose answer came before it was asked.
    """
    best = min(exchanges, key=lambda exchange: exchange.on_the_way_us)
    if best.on_the_way_us < -2:
        raise ValueError(f"an exchange took {best.on_the_way_us} µs on the way: its clocks were misread")
    twice = (best.received_us - best.asked_us) + (best.answered_us - best.returned_us)
    # One µs more than half of the way: the four readings are whole µs, rounded down.
    return Offset(twice // 2, max(0, -(-best.on_the_way_us // 2)) + 1)


def clock_id() -> str | None:
    """A name that processes share if and only if they read the same CLOCK_MONOTONIC; None where unknown.

    On Linux the boot (random(4), ``/proc/sys/kernel/random/boot_id``) and the time namespace
    (time_namespaces(7)) make the clock.
    """
    if sys.platform != "linux":
        return None
    boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    namespace = Path("/proc/self/ns/time")
    return f"{boot} {namespace.readlink() if namespace.is_symlink() else 'time:'}"
