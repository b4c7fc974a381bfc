"""When events happen: the arrival processes, as sorted times in seconds.

One event list is the input of every mechanism, simulated or measured.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from sim.compiled import jit
from sim.errors import ScenarioError
from sim.randomness import Stream, uniform
from sim.scenario import PeriodicWorkload, PoissonWorkload, TraceWorkload

if TYPE_CHECKING:
    from sim.scenario import Scenario

MAX_DELIVERIES = 50_000_000
"""How many deliveries one replication may have: their records take some 60 bytes each."""

_CHUNK = 65_536


@jit
def _poisson(rate_per_s: float, duration_s: float, seed: int) -> NDArray[np.float64]:
    times = np.empty(_CHUNK, dtype=np.float64)
    count = 0
    now = 0.0
    while True:
        now += -math.log1p(-uniform(seed, Stream.INTERARRIVAL, 0, count)) / rate_per_s
        if now >= duration_s:
            return times[:count].copy()
        if count == len(times):
            longer = np.empty(2 * len(times), dtype=np.float64)
            longer[:count] = times
            times = longer
        times[count] = now
        count += 1


def _periodic(workload: PeriodicWorkload, duration_s: float, seed: int) -> NDArray[np.float64]:
    period_s = 1.0 / workload.rate_per_s
    phase = 0.0 if workload.phase == "synchronised" else uniform(seed, Stream.WORKLOAD_PHASE, 0, 0) * period_s
    ticks = np.arange(math.ceil(duration_s / period_s) + 1, dtype=np.float64)
    times = phase + ticks * period_s
    return times[times < duration_s]


def _trace(workload: TraceWorkload, duration_s: float) -> NDArray[np.float64]:
    from sim.traces import read_trace  # noqa: PLC0415 - only traces need the reader

    trace = read_trace(
        workload.path,
        workload.column,
        order=workload.order,
        duplicates=workload.duplicates,
        unit=workload.unit,
    )
    times = trace.times_s / workload.speedup
    if times[-1] >= duration_s:
        beyond = int(np.count_nonzero(times >= duration_s))
        raise ScenarioError(
            f"{workload.path}: {beyond} of {len(times)} events fall at or after "
            f"run.duration_s = {duration_s:g}; "
            f"a duration_s above {times[-1]:.9g} covers the whole trace"
        )
    return times


def event_times(scenario: Scenario, seed: int) -> NDArray[np.float64]:
    """The creation time of every event, sorted, in [0, duration_s); shape (n_events,), seconds.

    Args:
        scenario: what is studied.
        seed: the replication's seed; a trace ignores it.

    Raises:
        ScenarioError: a trace reaches beyond the run, or there would be more than `MAX_DELIVERIES`.
        TraceError: a trace file is malformed.
    """
    duration_s = scenario.run.duration_s
    if not isinstance(scenario.workload, TraceWorkload):
        expected = scenario.workload.rate_per_s * duration_s * scenario.subscribers.count
        if expected > MAX_DELIVERIES:
            raise ScenarioError(
                f"workload.rate_per_s × run.duration_s × subscribers.count is {expected:.3g} deliveries; "
                f"at most {MAX_DELIVERIES:,} fit in memory"
            )
    match scenario.workload:
        case PoissonWorkload(rate_per_s=rate_per_s):
            return _poisson(rate_per_s, duration_s, seed)
        case PeriodicWorkload() as workload:
            return _periodic(workload, duration_s, seed)
        case TraceWorkload() as workload:
            return _trace(workload, duration_s)
