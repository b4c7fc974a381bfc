"""When events happen: the arrival processes, as sorted times in seconds.

One event list is the input of every mechanism, simulated or measured.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from sim.compiled import allocating
from sim.errors import ScenarioError
from sim.randomness import Stream, uniform
from sim.scenario import (
    BatchWorkload,
    BurstyWorkload,
    DiurnalWorkload,
    PeriodicWorkload,
    PoissonWorkload,
    ShapedWorkload,
    TraceWorkload,
)
from sim.shape import parse_shape

if TYPE_CHECKING:
    from sim.scenario import Scenario

MAX_DELIVERIES = 50_000_000
"""How many deliveries one replication may have whose records are kept: they take some 60 bytes each.

And how many events any may have.
"""

_CHUNK = 65_536


@allocating
def _with_room(times: NDArray[np.float64], needed: int) -> NDArray[np.float64]:
    """The same times with room for `needed` of them."""
    if needed <= len(times):
        return times
    longer = np.empty(max(2 * len(times), needed), dtype=np.float64)
    longer[: len(times)] = times
    return longer


@allocating
def _poisson(rate_per_s: float, duration_s: float, seed: int) -> NDArray[np.float64]:
    times = np.empty(_CHUNK, dtype=np.float64)
    count = 0
    now = 0.0
    while True:
        now += -math.log1p(-uniform(seed, Stream.INTERARRIVAL, 0, count)) / rate_per_s
        if now >= duration_s:
            return times[:count].copy()
        times = _with_room(times, count + 1)
        times[count] = now
        count += 1


@allocating
def _bursty(
    on_rate_per_s: float, on_mean_s: float, off_mean_s: float, on_share: float, duration_s: float, seed: int
) -> NDArray[np.float64]:
    """Spells alternate, the first as likely on as any instant is; what remains of it is exponential too."""
    times = np.empty(_CHUNK, dtype=np.float64)
    count, draw, spell = 0, 0, 0
    on = uniform(seed, Stream.SPELL, 0, 0) < on_share
    begins = 0.0
    while begins < duration_s:
        spell += 1
        mean_s = on_mean_s if on else off_mean_s
        ends = begins - mean_s * math.log1p(-uniform(seed, Stream.SPELL, 0, spell))
        now = begins
        while on:
            now -= math.log1p(-uniform(seed, Stream.INTERARRIVAL, 0, draw)) / on_rate_per_s
            draw += 1
            if now >= min(ends, duration_s):
                break
            times = _with_room(times, count + 1)
            times[count] = now
            count += 1
        begins = ends
        on = not on
    return times[:count].copy()


@allocating
def _diurnal(
    rate_per_s: float, amplitude: float, period_s: float, peak_s: float, duration_s: float, seed: int
) -> NDArray[np.float64]:
    peak_rate_per_s = rate_per_s * (1.0 + amplitude)
    times = np.empty(_CHUNK, dtype=np.float64)
    count, draw = 0, 0
    now = 0.0
    while True:
        now -= math.log1p(-uniform(seed, Stream.INTERARRIVAL, 0, draw)) / peak_rate_per_s
        if now >= duration_s:
            return times[:count].copy()
        share = (1.0 + amplitude * math.cos(2.0 * math.pi * (now - peak_s) / period_s)) / (1.0 + amplitude)
        if uniform(seed, Stream.THINNING, 0, draw) < share:
            times = _with_room(times, count + 1)
            times[count] = now
            count += 1
        draw += 1


@allocating
def _batches(
    rate_per_s: float, batch_mean: float, constant: bool, duration_s: float, seed: int
) -> NDArray[np.float64]:
    times = np.empty(_CHUNK, dtype=np.float64)
    count, batch = 0, 0
    now = 0.0
    while True:
        now -= math.log1p(-uniform(seed, Stream.INTERARRIVAL, 0, batch)) * batch_mean / rate_per_s
        if now >= duration_s:
            return times[:count].copy()
        size = int(batch_mean)
        if not constant:
            size = 1
            if batch_mean > 1.0:  # geometric from 1: P(N > n) = (1 − 1/mean)^n
                u = uniform(seed, Stream.BATCH_SIZE, 0, batch)
                size += int(math.log1p(-u) / math.log1p(-1.0 / batch_mean))
        times = _with_room(times, count + size)
        times[count : count + size] = now
        count += size
        batch += 1


def _periodic(workload: PeriodicWorkload, duration_s: float, seed: int) -> NDArray[np.float64]:
    period_s = 1.0 / workload.rate_per_s
    phase = 0.0 if workload.phase == "synchronised" else uniform(seed, Stream.WORKLOAD_PHASE, 0, 0) * period_s
    ticks = np.arange(math.ceil(duration_s / period_s) + 1, dtype=np.float64)
    times = phase + ticks * period_s
    return times[times < duration_s]


def _shaped(workload: ShapedWorkload, duration_s: float, seed: int) -> NDArray[np.float64]:
    shape = parse_shape(workload.shape)
    if shape.spacing == "even":
        units = shape.even_units(duration_s)
    else:
        units = _poisson(1.0, shape.expected(duration_s), seed)
    return shape.times_s(units, duration_s)


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


def _refuse_beyond_reason(scenario: Scenario, *, recorded: bool) -> None:
    """Refuse what would neither fit in memory nor ever end.

    Args:
        scenario: what is studied.
        recorded: whether every delivery is kept.

    Raises:
        ScenarioError: naming what is too much.
    """
    workload, subscribers, duration_s = scenario.workload, scenario.subscribers, scenario.run.duration_s
    if isinstance(workload, TraceWorkload):
        return
    if isinstance(workload, ShapedWorkload):
        events = workload.expected_events(duration_s)
    else:
        events = workload.rate_per_s * duration_s
    wanted = max(events, events * subscribers.count * subscribers.interest)
    if events > MAX_DELIVERIES or (recorded and wanted > MAX_DELIVERIES):
        raise ScenarioError(
            f"workload.rate_per_s × run.duration_s × subscribers.count is {wanted:.3g} deliveries; "
            f"at most {MAX_DELIVERIES:,} fit in memory"
        )
    if isinstance(workload, BurstyWorkload):
        spells = 2.0 * duration_s / (workload.on_mean_s + workload.off_mean_s)
        if spells > MAX_DELIVERIES:
            raise ScenarioError(
                f"workload.dispersion = {workload.dispersion:.9g} makes {spells:.3g} spells; "
                f"at most {MAX_DELIVERIES:,} are drawn (so near 1, a poisson workload is as good)"
            )


def event_times(scenario: Scenario, seed: int, *, recorded: bool = True) -> NDArray[np.float64]:
    """The creation time of every event, sorted, in [0, duration_s); shape (n_events,), seconds.

    Args:
        scenario: what is studied.
        seed: the replication's seed; a trace ignores it.
        recorded: whether every delivery will be kept, so that not only the events must fit in memory.

    Raises:
        ScenarioError: a trace reaches beyond the run, or there would be more than `MAX_DELIVERIES` (or, of a
            bursty workload, spells).
        TraceError: a trace file is malformed.
    """
    duration_s = scenario.run.duration_s
    _refuse_beyond_reason(scenario, recorded=recorded)
    match scenario.workload:
        case PoissonWorkload(rate_per_s=rate_per_s):
            return _poisson(rate_per_s, duration_s, seed)
        case PeriodicWorkload() as workload:
            return _periodic(workload, duration_s, seed)
        case BurstyWorkload() as w:
            on_rate_per_s = w.rate_per_s / w.on_share
            return _bursty(on_rate_per_s, w.on_mean_s, w.off_mean_s, w.on_share, duration_s, seed)
        case DiurnalWorkload() as w:
            return _diurnal(w.rate_per_s, w.amplitude, w.period_s, w.peak_s, duration_s, seed)
        case BatchWorkload() as w:
            return _batches(w.rate_per_s, w.batch_mean, w.batch_size == "constant", duration_s, seed)
        case ShapedWorkload() as workload:
            return _shaped(workload, duration_s, seed)
        case TraceWorkload() as workload:
            return _trace(workload, duration_s)
