"""When a poller asks: at a fixed rate, by what it finds, or as soon as it was answered.

The rules are the model's: `sim.policies.schedules`, `sim.policies.adaptation`, `sim.policies.holding`. They
are written again, for a server process had better not load a compiler for them, and held against the model's
by a test.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol

from loadtest.contract import now_us

LEAST_PAUSE_S = 0.01
"""After a failure: a source that refuses at once must not be asked without end."""

ORIGIN_LOOK_S = 0.25
"""Seldom: what waiting costs is measured as the idle process's, and subtracted from the working one's."""


class Origin:
    """The instant that a consumer's times count from, on the monotonic clock.

    Args:
        at_us: which; by default the start.
        file: a file that will hold it (µs, decimal): the consumer waits until it is there.
    """

    def __init__(self, at_us: int | None = None, file: Path | None = None) -> None:
        self._at_us = at_us
        self._file = file

    async def known(self, start_us: int) -> int:
        """The instant, once it is known; `start_us` where nobody says.

        Raises:
            ValueError: the file holds something else.
        """
        if self._file is not None:
            while not self._file.exists():  # noqa: ASYNC110 - another process makes it
                await asyncio.sleep(ORIGIN_LOOK_S)
            return int(self._file.read_text(encoding="utf-8"))
        return start_us if self._at_us is None else self._at_us


class Cycle(NamedTuple):
    """How a tick's requests went, taken together.

    Attributes:
        went_well: whether the last was answered with what is new, be it nothing.
        found: the events they brought.
        newest_us: the creation of the newest event of all so far, or None.
        not_before_us: no request sooner than this, says a Retry-After.
        began_us, ended_us: from the first request to the last answer.
    """

    went_well: bool
    found: int
    newest_us: int | None
    not_before_us: int
    began_us: int
    ended_us: int


class Rhythm(Protocol):
    """Times are µs of the monotonic clock.

    Attributes:
        turns_pages: whether a full page is followed by the next at once.
    """

    turns_pages: bool

    def first_us(self, now: int, origin_us: int) -> float:
        """When the first cycle begins."""

    def next_us(self, cycle: Cycle) -> float:
        """When the next begins, now that one has ended."""


class FixedRate:
    """Tick k falls at origin + phase + k·interval, computed and never accumulated.

    Args:
        interval_s, phase_s: the ticks, counted from the origin.

    Attributes:
        skipped_ticks: those that fell while a cycle was under way, or that a Retry-After forbade.
    """

    turns_pages = True

    def __init__(self, interval_s: float, phase_s: float = 0.0) -> None:
        self._interval_us = interval_s * 1e6
        self._phase_us = phase_s * 1e6
        self._tick = -1
        self.skipped_ticks = 0

    def first_us(self, now: int, origin_us: int) -> float:
        """See `Rhythm`; ticks before now are nobody's loss."""
        self._first_us = origin_us + self._phase_us
        return self._at(next_tick(now, self._first_us, self._interval_us, -1))

    def next_us(self, cycle: Cycle) -> float:
        """See `Rhythm`: the first tick from now on."""
        earliest_us = max(cycle.ended_us, cycle.not_before_us)
        tick = next_tick(earliest_us, self._first_us, self._interval_us, self._tick)
        self.skipped_ticks += tick - self._tick - 1
        return self._at(tick)

    def _at(self, tick: int) -> float:
        self._tick = tick
        return self._first_us + tick * self._interval_us


@dataclass(frozen=True, slots=True)
class AdaptiveRule:
    """How the next interval follows from what was found; the scenario's ``adaptive_polling``.

    "aimd": `decrease` times the last when something was found, `increase_s` more when nothing was. "age":
    `share` times the age of the newest event known. Either within [`min_interval_s`, `max_interval_s`].
    """

    kind: str
    share: float
    increase_s: float
    decrease: float
    min_interval_s: float
    max_interval_s: float

    def within(self, interval_s: float) -> float:
        """An interval, held within the bounds."""
        return min(max(interval_s, self.min_interval_s), self.max_interval_s)

    def next_s(self, last_s: float, *, found: bool, age_s: float) -> float:
        """The interval after a cycle that went well."""
        if self.kind == "age":
            return self.within(self.share * age_s)
        if found:
            return max(self.min_interval_s, self.decrease * last_s)
        return min(self.max_interval_s, last_s + self.increase_s)


class Adaptive:
    """Sleeps from the end of a cycle, for as long as the rule says; a failure leaves the interval as it is.

    Args:
        rule: how it adapts.
        interval_s: the first interval, held within the rule's bounds.
        phase_s: when it first asks, after the origin, from where the age is counted until an event is known.
    """

    turns_pages = True

    def __init__(self, rule: AdaptiveRule, interval_s: float, phase_s: float = 0.0) -> None:
        self._rule = rule
        self._interval_s = rule.within(interval_s)
        self._phase_s = phase_s

    def first_us(self, now: int, origin_us: int) -> float:
        """See `Rhythm`."""
        self._origin_us = origin_us
        return origin_us + self._phase_s * 1e6

    def next_us(self, cycle: Cycle) -> float:
        """See `Rhythm`."""
        if cycle.went_well:
            known_us = cycle.newest_us if cycle.newest_us is not None else self._origin_us
            age_s = (cycle.ended_us - known_us) / 1e6
            self._interval_s = self._rule.next_s(self._interval_s, found=cycle.found > 0, age_s=age_s)
        return max(cycle.ended_us + self._interval_s * 1e6, cycle.not_before_us)


class Holding:
    """Asks again `gap_s` after an answer, and `retry_s` after a failure.

    A source that answers with nothing before its time does not hold: it is asked again after `retry_s`.

    Args:
        hold_s: for how long the source is asked to hold a request.
        gap_s, retry_s: see above.
        phase_s: when it first asks, after the origin.
    """

    turns_pages = False

    def __init__(self, hold_s: float, gap_s: float, retry_s: float, phase_s: float = 0.0) -> None:
        self._hold_us = hold_s * 1e6
        self._gap_us = gap_s * 1e6
        self._retry_us = max(retry_s, LEAST_PAUSE_S) * 1e6
        self._phase_us = phase_s * 1e6

    def first_us(self, now: int, origin_us: int) -> float:
        """See `Rhythm`."""
        return origin_us + self._phase_us

    def next_us(self, cycle: Cycle) -> float:
        """See `Rhythm`."""
        if not cycle.went_well:
            return max(cycle.ended_us + self._retry_us, cycle.not_before_us)
        if not cycle.found and cycle.ended_us - cycle.began_us < self._hold_us / 2:
            return cycle.ended_us + max(self._gap_us, self._retry_us)
        return cycle.ended_us + self._gap_us


def next_tick(now: int, first_us: float, interval_us: float, last: int) -> int:
    """The number of the first tick after `last` that is not before `now`."""
    tick = max(last + 1, int((now - first_us) // interval_us), 0)
    while first_us + tick * interval_us < now:
        tick += 1
    return tick


async def sleep_until(instant_us: float) -> None:
    """Sleep to an instant of the monotonic clock: never short, up to about 1 ms long on uvloop."""
    while (left_s := (instant_us - now_us()) / 1e6) > 0:  # noqa: ASYNC110 - it waits for time, not a flag
        await asyncio.sleep(max(left_s, 0.001))
