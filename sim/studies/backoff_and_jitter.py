"""Backing off without jitter only moves the crowd: Brooker's simulation of contending clients.

**What was claimed.** Marc Brooker ("Exponential Backoff And Jitter", AWS Architecture Blog, 2015) let N
clients start at once and each write one row once, by optimistic concurrency:

    client                         row
      │── read ─────────────────────>│
      │<──────────── version 7 ──────│
      │── write, if still version 7 ─>│  only if nobody wrote since
      │<── done, or refused ─────────│
      │   … refused: back off, then read again …

Each of the four hops takes |Normal(10 ms, sd 2 ms)|. "Work" is the number of writes tried, "time" runs until
the last client hears of its success. He compares

- none: read again at once;
- exponential: wait min(cap, base · 2^k) after the k-th refusal, base 5 ms, cap 2 s;
- equal jitter: half of that, and a uniformly random part of the other half;
- full jitter: a uniformly random part of that;
- decorrelated jitter: U(base, 3 · the last wait), at most the cap;

and claims: without back-off the work grows as N² and the time as N. Full jitter more than halves the calls
of un-jittered exponential back-off at N = 100, which is the clear loser also in time. Equal jitter does
slightly more work than full and takes much longer. Full does less work than decorrelated in slightly more
time.

**How it is reproduced.** The model below is his simulator as SimPy processes, with the delay rule that every
mechanism of this package uses (`sim.policies.retry_delay`). That rule waits base · factor^(k−1) after the
k-th failure where his waits base · 2^k: his base of 5 ms is our 10 ms, but for decorrelated jitter, whose
base is a bound and is not doubled. `sim.kernels.contention` is the same model compiled, draw for draw.

**How words were read.** "Slightly" is by at most a quarter, "much" by at least a fifth; "as N²" means that 2
is the nearest whole power.

**What differs.** His published graphs carry no numbers, so ratios are held against his words. His simulator
is unseeded; ours is reproducible.
"""

from __future__ import annotations

import math
from collections.abc import Generator
from typing import TYPE_CHECKING

import numpy as np
import simpy

from sim.happenings import Happening
from sim.kernels.contention import contend, hop_s
from sim.mechanisms.world import Clock
from sim.policies import RetryPolicy, compile_retry, retry_delay
from sim.randomness import Stream, replication_seed, uniform
from sim.scenario import Retry
from sim.studies.findings import Finding, Results

if TYPE_CHECKING:
    import pandas as pd

    from sim.studies import Progress

HOP_MEAN_S, HOP_SD_S = 0.010, 0.002
CLIENTS = tuple(range(10, 200, 10))
CROWD = 100
"""The number of clients of which the claims speak."""

_EXPONENTIAL = {"kind": "exponential", "base_s": 0.010, "factor": 2.0, "cap_s": 2.0, "max_attempts": 1000}
RETRIES: dict[str, Retry] = {
    "none": Retry(kind="fixed", base_s=0.0, max_attempts=1000),
    "exponential": Retry.model_validate(_EXPONENTIAL),
    "equal": Retry.model_validate(_EXPONENTIAL | {"jitter": "equal"}),
    "full": Retry.model_validate(_EXPONENTIAL | {"jitter": "full"}),
    "decorrelated": Retry.model_validate(_EXPONENTIAL | {"base_s": 0.005, "jitter": "decorrelated"}),
}
"""The five rules. No client here ever gives up, whatever `max_attempts`."""

_Steps = Generator[simpy.Event, object, None]


class Row:
    """One row with a version, which a write must name to be accepted.

    Attributes:
        version: how often the row has been written.
        calls: how often somebody tried.
    """

    def __init__(self) -> None:
        self.version = 0
        self.calls = 0

    def write(self, expected_version: int) -> bool:
        """Write, unless somebody else has since `expected_version` was read."""
        self.calls += 1
        accepted = expected_version == self.version
        self.version += accepted
        return accepted


class Client:
    """One client, which wants to write the row once."""

    def __init__(self, clock: Clock, row: Row, number: int, retry: RetryPolicy, seed: int) -> None:
        self._clock = clock
        self._row = row
        self._number = number
        self._retry = retry
        self._seed = seed
        self._hops = 0

    def write_once(self, hop_mean_s: float, hop_sd_s: float) -> _Steps:
        """Read, write, and after a refusal back off and start again."""
        clock, row, retry = self._clock, self._row, self._retry
        attempt, waited_s = 1, retry.base_s

        def travel(kind: Happening) -> simpy.Event:
            hop = self._hops
            self._hops += 1
            transit_s = hop_s(hop_mean_s, hop_sd_s, self._seed, self._number, hop)
            return clock.at(clock.now + transit_s, kind, self._number, hop)

        while True:
            yield travel(Happening.REQUEST_ARRIVAL)
            version = row.version
            yield travel(Happening.RESPONSE_ARRIVAL)

            yield travel(Happening.REQUEST_ARRIVAL)
            accepted = row.write(version)
            yield travel(Happening.RESPONSE_ARRIVAL)
            if accepted:
                return

            u = uniform(self._seed, Stream.RETRY_JITTER, self._number, attempt)
            waited_s = retry_delay(retry, attempt, waited_s, u)
            attempt += 1
            yield clock.at(clock.now + waited_s, Happening.ATTEMPT_READY, self._number, attempt)


def contend_in_simpy(
    clients: int, retry: RetryPolicy, hop_mean_s: float, hop_sd_s: float, seed: int
) -> tuple[int, float]:
    """The reference of `sim.kernels.contention.contend`: (writes tried, when the last client was done)."""
    clock, row = Clock(), Row()
    for number in range(clients):
        client = Client(clock, row, number, retry, seed)
        clock.process(client.write_once(hop_mean_s, hop_sd_s))
    clock.run()
    return row.calls, clock.now


def run(seed: int, replications: int, progress: Progress) -> Results:
    """Every rule, every number of clients, `replications` times."""
    return judge(measure(seed, replications, progress))


def measure(seed: int, replications: int, progress: Progress) -> pd.DataFrame:
    """One row a rule, a number of clients and a replication: `calls` and `completion_s`."""
    import pandas as pd  # noqa: PLC0415 - half a second that reading about studies need not wait for

    policies = {rule: compile_retry(retry) for rule, retry in RETRIES.items()}
    seeds = [int(replication_seed(seed, r)) for r in range(replications)]
    rows = []
    for step, clients in enumerate(CLIENTS):
        for rule, policy in policies.items():
            for r, run_seed in enumerate(seeds):
                calls, completion_s = contend(clients, policy, HOP_MEAN_S, HOP_SD_S, run_seed)
                rows.append((rule, clients, r, calls, completion_s))
        progress(step + 1, len(CLIENTS))
    return pd.DataFrame(rows, columns=["rule", "clients", "replication", "calls", "completion_s"])


def judge(runs: pd.DataFrame) -> Results:
    """What the runs say of each claim."""
    calls = _by_replication(runs, "calls", CROWD)
    time_s = _by_replication(runs, "completion_s", CROWD)
    large = _by_replication(runs, "completion_s", CLIENTS[-1])
    slowest_jittered_s = np.maximum(np.maximum(time_s["equal"], time_s["full"]), time_s["decorrelated"])
    findings = (
        Finding(
            "work-grows", "Without back-off, work grows as N²", "N²",
            f"exponent of calls, N = {CROWD}…{CLIENTS[-1]}",
            _exponents(runs, "none", "calls"), agrees=(1.5, 2.5),
        ),
        Finding(
            "time-grows", "Without back-off, time grows linearly", "N",
            f"exponent of time, N = {CROWD}…{CLIENTS[-1]}",
            _exponents(runs, "none", "completion_s"), agrees=(0.5, 1.5),
        ),
        Finding(
            "halves", "Full jitter more than halves the calls of plain exponential back-off", "< 0.5",
            "calls, full / exponential", _ratio(calls["full"], calls["exponential"]), agrees=(0.0, 0.5),
        ),
        Finding(
            "slowest", "Plain exponential back-off takes more time than any jittered one", "clear loser",
            "time, exponential / slowest jittered", _ratio(time_s["exponential"], slowest_jittered_s),
            agrees=(1.0, math.inf),
        ),
        Finding(
            "equal-work", "Equal jitter does slightly more work than full", "slightly more",
            "calls, equal / full", _ratio(calls["equal"], calls["full"]), agrees=(1.0, 1.25),
        ),
        Finding(
            "equal-time", "Equal jitter takes much longer than full", "much longer",
            "time, equal / full", _ratio(time_s["equal"], time_s["full"]), agrees=(1.2, math.inf),
        ),
        Finding(
            "full-work", "Full jitter does less work than decorrelated", "less",
            "calls, full / decorrelated", _ratio(calls["full"], calls["decorrelated"]), agrees=(0.0, 1.0),
        ),
        Finding(
            "full-time", "Full jitter takes slightly more time than decorrelated", "slightly more",
            "time, full / decorrelated", _ratio(time_s["full"], time_s["decorrelated"]), agrees=(1.0, 1.25),
        ),
        Finding(
            "full-time-large", f"The same among {CLIENTS[-1]} clients", "",
            "time, full / decorrelated", _ratio(large["full"], large["decorrelated"]),
        ),
    )  # fmt: skip
    return Results(
        findings,
        {"runs": runs},
        (
            f"N = {CROWD} unless said otherwise; calls are writes tried, time runs until the last success.",
            "Without back-off calls grow a little more slowly than N²: the more clients, the sooner after a "
            "write another one's read is followed by its write.",
            "Full jitter's price in time is a matter of the crowd: among the most clients here it is the "
            "faster of the two.",
        ),
    )


def _by_replication(runs: pd.DataFrame, column: str, clients: int) -> dict[str, np.ndarray]:
    of_crowd = runs[runs["clients"] == clients]
    return {str(rule): rows[column].to_numpy(dtype=float) for rule, rows in of_crowd.groupby("rule")}


def _ratio(a: np.ndarray, b: np.ndarray) -> tuple[float, ...]:
    """mean(a) / mean(b) as one value a replication, linearised (the delta method).

    The mean of the values is the ratio of the means, and their spread its uncertainty; the mean of the
    replications' own ratios would be biased by the spread of b.
    """
    ratio = a.mean() / b.mean()
    return tuple(float(value) for value in ratio + (a - ratio * b) / b.mean())


def _exponents(runs: pd.DataFrame, rule: str, column: str) -> tuple[float, ...]:
    """For each replication the slope of log `column` over log N, least squares."""
    rows = runs[(runs["rule"] == rule) & (runs["clients"] >= CROWD)]
    table = rows.pivot_table(index="clients", columns="replication", values=column)
    slopes = np.polyfit(np.log(table.index.to_numpy(dtype=float)), np.log(table.to_numpy(dtype=float)), 1)[0]
    return tuple(float(slope) for slope in slopes)
