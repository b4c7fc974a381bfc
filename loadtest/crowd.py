"""When a crowd of pollers asks, and what each poll finds: drawn ahead, so that they are an open loop too.

A real poller of a fixed rate asks at its ticks whatever it finds, so its polls are known beforehand. An
adaptive one chooses its next interval by what it found: as its events are known, so is that, taking every
answer to come at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from loadtest.schedule import FloatArray, IntArray, intended_us, require_schedulable

if TYPE_CHECKING:
    from sim.scenario import Scenario


@dataclass(frozen=True)
class PollSchedule:
    """A crowd's polls: when each leaves and how many events it will find.

    Attributes:
        offsets_us: intended times, sorted.
        poller: which poller of the crowd asks, shape as `offsets_us`.
        due: events created since that poller's previous tick, at most a page.
    """

    offsets_us: IntArray
    poller: IntArray
    due: IntArray


def crowd_schedule(
    phases_s: FloatArray, interval_s: float, duration_s: float, event_times_s: FloatArray, page_size: int
) -> PollSchedule:
    """Fixed-rate polls of a crowd: poller i asks at `phases_s[i] + k * interval_s` below `duration_s`.

    Each poll finds the events created since the previous tick, the first those since tick -1.
    """
    times: list[FloatArray] = []
    pollers: list[IntArray] = []
    due: list[IntArray] = []
    for poller, phase in enumerate(phases_s):
        ticks = phase + np.arange(-1, max(0, int(np.ceil((duration_s - phase) / interval_s)))) * interval_s
        # Differences of counts at the ticks themselves: no event falls between two of them, or into both.
        seen = np.searchsorted(event_times_s, ticks, side="right")
        times.append(ticks[1:])
        pollers.append(np.full(ticks.size - 1, poller, dtype=np.int64))
        due.append(np.minimum(np.diff(seen), page_size))
    moments = np.concatenate(times)
    order = np.argsort(moments, kind="stable")
    return PollSchedule(
        intended_us(moments[order]),
        np.concatenate(pollers)[order],
        np.concatenate(due)[order].astype(np.int64),
    )


def phases_s(scenario: Scenario, seed: int, pollers: int, herd_s: float | None = None) -> FloatArray:
    """When each poller first asks, as the model's pollers do, seconds; a herd all within `herd_s`."""
    from sim.engine import poll_phase_s  # noqa: PLC0415 - compiled code
    from sim.randomness import Stream, uniform  # noqa: PLC0415

    if herd_s is not None:
        return np.array([herd_s * uniform(seed, Stream.POLL_PHASE, poller, 0) for poller in range(pollers)])
    return np.array([poll_phase_s(scenario, seed, poller) for poller in range(pollers)])


def shaped_schedule(
    offsets_us: IntArray, pollers: int, event_times_s: FloatArray, page_size: int
) -> PollSchedule:
    """Polls at given times, by each poller in turn; each finds what came since that poller's last.

    The first of each finds what was created before it.
    """
    poller = np.arange(offsets_us.size, dtype=np.int64) % pollers
    seen = np.searchsorted(event_times_s, offsets_us / 1e6, side="right")
    before = np.concatenate([np.zeros(min(pollers, seen.size), dtype=np.int64), seen[:-pollers]])
    return PollSchedule(offsets_us, poller, np.minimum(seen - before, page_size).astype(np.int64))


def adaptive_schedule(
    scenario: Scenario, phases: FloatArray, event_times_s: FloatArray, page_size: int
) -> PollSchedule:
    """The polls of adaptive pollers, by the model's own rule (`sim.policies.adaptive_interval`).

    Args:
        scenario: states the rule, and how long it goes on.
        phases: when each poller first asks, seconds.
        event_times_s: when events are created.
        page_size: the most events a poll finds.

    Raises:
        InputError: there would be too many.
    """
    from sim.policies import adaptive_interval, compile_adaptive  # noqa: PLC0415 - compiled code

    rule, duration_s = compile_adaptive(scenario), scenario.run.duration_s
    require_schedulable(
        phases.size * (duration_s / rule.min_interval_s + 1), "pollers × duration / min_interval_s"
    )
    times: list[float] = []
    asking: list[int] = []
    due: list[int] = []
    for poller, phase in enumerate(phases.tolist()):
        now_s, interval_s, known = phase, rule.first_interval_s, 0
        while now_s < duration_s:
            seen = int(np.searchsorted(event_times_s, now_s, side="right"))
            newest_s = float(event_times_s[seen - 1]) if seen else 0.0
            times.append(now_s)
            asking.append(poller)
            due.append(min(seen - known, page_size))
            interval_s = float(adaptive_interval(rule, interval_s, seen > known, now_s - newest_s))
            known = seen
            now_s += interval_s
    order = np.argsort(np.array(times), kind="stable")
    return PollSchedule(
        intended_us(np.array(times)[order]),
        np.array(asking, dtype=np.int64)[order],
        np.array(due, dtype=np.int64)[order],
    )
