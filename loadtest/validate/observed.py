"""What a measured load of the receiver says, as a calibration needs it: a row an event, and what it cost."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from sim.errors import InputError

if TYPE_CHECKING:
    from loadtest.runner import ArmRun
    from loadtest.runs import Repetition
    from loadtest.schedule import FloatArray, IntArray

MISSING_US = -1


@dataclass(frozen=True)
class Cost:
    """What an event cost, CPU-seconds each, of the events within the window.

    Attributes:
        receiver_s: of the receiver's whole process, above idle. loop_s: of its event loop.
        statement_s: of its writer thread. sender_s: of the generator.
        groups: commits an event that stored events. statements: of all kinds.
        disk_s: how long a statement took beyond its CPU time, on average.
    """

    receiver_s: float
    loop_s: float
    statement_s: float
    sender_s: float
    groups: float
    statements: float
    disk_s: float


@dataclass(frozen=True)
class Observed:
    """One measured load, event by event; times in seconds since the run's origin, NaN where it never came.

    Attributes:
        intended_s, sent_s, received_s, visible_s, acknowledged_s: of each event, in the schedule's order.
        warmup_s: what was intended earlier does not count.
        duration_s: until when events were intended.
        cost: NaN where it was not measured.
    """

    intended_s: FloatArray
    sent_s: FloatArray
    received_s: FloatArray
    visible_s: FloatArray
    acknowledged_s: FloatArray
    warmup_s: float
    duration_s: float
    cost: Cost

    @property
    def counts(self) -> np.ndarray:
        """Which events count: due after the warm-up."""
        return self.intended_s >= self.warmup_s

    @property
    def rate_per_s(self) -> float:
        """Events a second within the window."""
        return float(self.counts.sum()) / (self.duration_s - self.warmup_s)

    @property
    def throughput_per_s(self) -> float:
        """Answers a second in the middle of the run, from the 20th to the 90th percentile of answers."""
        done_s = np.sort(self.acknowledged_s[~np.isnan(self.acknowledged_s)])
        if done_s.size < 10:
            return math.nan
        first, last = done_s.size // 5, done_s.size * 9 // 10
        return float((last - first) / (done_s[last] - done_s[first]))


def observed(run: ArmRun | Repetition, warmup_s: float, duration_s: float) -> Observed:
    """One repetition of a load of our own receiver.

    Raises:
        InputError: it is another kind of run: nothing is known of what happened at the receiver.
    """
    samples, records = run.samples, run.records
    if samples is None or records is None or run.received_us is None:
        raise InputError(
            f"{run.arm}: a calibration needs a load of our own receiver (hookbench load SCENARIO), "
            "which tells when each event was received and visible"
        )
    origin_us = int(run.notes["origin_us"])
    genuine = samples.chosen(samples.kind == 0)
    genuine = genuine.chosen(np.argsort(genuine.event))
    done_us = np.where(genuine.acknowledged, genuine.done_us, MISSING_US)
    return Observed(
        _seconds(genuine.intended_us, origin_us),
        _seconds(genuine.sent_us, origin_us),
        _seconds(run.received_us, origin_us),
        records["visible"].to_numpy(dtype=np.float64),
        _seconds(done_us, origin_us),
        warmup_s,
        duration_s,
        _cost(run, warmup_s),
    )


def _seconds(times_us: IntArray, origin_us: int) -> FloatArray:
    return np.where(times_us == MISSING_US, np.nan, (times_us - origin_us) / 1e6)


def _cost(run: ArmRun | Repetition, warmup_s: float) -> Cost:
    status, metrics = run.notes.get("receiver_status", {}), run.metrics
    stored = status.get("accepted") or math.nan
    statements = status.get("statements") or math.nan
    achieved = metrics.get("achieved_rate_per_s") or math.nan
    receiver_s = metrics.get("receiver_cpu_s_per_1k", math.nan) / 1000
    statement_s = status.get("statement_cpu_s", math.nan) / stored
    # Without a warm-up the counts begin with the process, and its start is not the events' doing.
    loop_s = status.get("loop_cpu_s", math.nan) / stored if warmup_s > 0 else receiver_s - statement_s
    return Cost(
        receiver_s=receiver_s,
        loop_s=loop_s,
        statement_s=statement_s,
        sender_s=metrics.get("generator_cpu_share", math.nan) / achieved,
        groups=status.get("groups", math.nan) / stored,
        statements=statements / stored,
        disk_s=(status.get("statement_s", math.nan) - status.get("statement_cpu_s", math.nan)) / statements,
    )
