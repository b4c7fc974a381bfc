"""The checks of the self-test: each does something to a real run and says what the run must show.

What is expected follows from the schedule alone: a stall of s seconds in a run of T at a constant rate holds
up a share s/T of the requests, the first ones for almost s, so the 99th percentile of the latency from the
intended time is s − T/100. The uncorrected latency sees only those that were on the way.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import psutil

from loadtest.contract import sleep_until
from loadtest.resampling import Interval, intervals
from loadtest.runner import ArmRun, Progress, load
from loadtest.runner.processes import Child
from loadtest.runner.session import Disturbance
from loadtest.schedule import DEFAULT_POOL_SIZE, FloatArray, IntArray
from loadtest.verdict import Reason
from sim.errors import VoidRun
from sim.results import RunFolder
from sim.scenario import Scenario, scenario_from

RECEIVER = "loadtest.selftest.receiver"
STALL_S = 1.4
STALL_MARGIN_S = 0.15
"""How much less than the full stall may show: the stop comes between two requests, and not at once."""

STALL_RATE_PER_S = 100.0
"""A server that then needs as long again to catch up has a problem of its own, which would hide the stall."""

DELAYS_MS = (0.0, 1.0, 5.0, 20.0)
DELAY_ERROR_S = 0.0005
"""What a difference of medians may be off by, beyond its interval: a scheduler's and a timer's doing."""

MOST_RUNS = 3
CONFIDENCE = 0.99
LAX_LAG_S = 1.0
"""The generator may lag in checks of something else: they count or compare, and judge no latency."""

HUNG_UP, SILENT, OF = 3, 7, 10
FORGOTTEN = 5


@dataclass(frozen=True)
class Check:
    """One check: what was done, what the harness must then report, what it reported."""

    name: str
    done: str
    expected: str
    seen: str
    passed: bool


@dataclass(frozen=True)
class SelfTest:
    """Every check, and the run folder."""

    checks: tuple[Check, ...]
    path: Path

    @property
    def passed(self) -> bool:
        """Whether the harness saw everything it had to see."""
        return all(check.passed for check in self.checks)

    @property
    def exit_code(self) -> int:
        """0, or 3: a harness that fails its own test measures nothing."""
        return 0 if self.passed else VoidRun.exit_code

    def document(self) -> dict[str, Any]:
        """The one JSON document of ``--json``."""
        return {
            "schema_version": 1,
            "command": "selftest",
            "passed": self.passed,
            "checks": [asdict(check) for check in self.checks],
            "run": str(self.path),
        }


def steady(rate_per_s: float, duration_s: float, timeout_s: float = 5.0) -> Scenario:
    """Events at a constant rate, visible as soon as they are stored."""
    return scenario_from(
        {
            "name": "selftest",
            "workload": {"kind": "periodic", "rate_per_s": rate_per_s, "payload_bytes": 500},
            "webhook": {"timeout_s": timeout_s},
            "receiver": {"service": {"kind": "constant", "mean_s": 0.0}},
            "run": {"duration_s": duration_s},
        }
    )


def selftest(
    *,
    quick: bool = False,
    out: Path | None = None,
    command: str | Sequence[str] = "hookbench selftest",
    progress: Progress | None = None,
) -> SelfTest:
    """Run every check; writes one run folder with the run of each inside.

    Args:
        quick: a run of 6 s for the stall instead of 30 s, and fewer delays.
        out: parent of the run folder (default ./results).
        command: what was asked, for run.json.
        progress: where to show it.

    Raises:
        ProcessFailed: a process of a run died or kept silent.
        KeyboardInterrupt: interrupted; every process is gone and the run folder is marked incomplete.
    """
    progress = progress or Progress()
    with RunFolder.create("selftest", command, out, extra={"quick": quick}) as folder:
        run = _Runs(folder.path, progress)
        checks = [
            *stall(run, 6.0 if quick else 30.0),
            *delays(run, 6.0 if quick else 20.0),
            *dropped(run),
            forgotten(run),
            starved(run),
        ]
        result = SelfTest(tuple(checks), folder.path)
        folder.save_table(pd.DataFrame([asdict(check) for check in checks]), "checks")
        folder.note(passed=result.passed)
    return result


@dataclass(frozen=True)
class _Runs:
    """Runs loads into one folder."""

    out: Path
    progress: Progress

    def __call__(
        self,
        scenario: Scenario,
        *faults: str,
        disturbance: Disturbance | None = None,
        pool_size: int = DEFAULT_POOL_SIZE,
        lag_limit_s: float = LAX_LAG_S,
    ) -> ArmRun:
        result = load(
            scenario,
            pool_size=pool_size,
            out=self.out,
            figures=False,
            lag_limit_s=lag_limit_s,
            disturbance=disturbance,
            receiver=(RECEIVER, *faults),
            progress=self.progress,
        )
        return result.runs[0]


def stall(run: Callable[..., ArmRun], duration_s: float) -> list[Check]:
    """The receiver is stopped for a while: the corrected latency must show it, the uncorrected not.

    There are half as many senders as 1 % of the requests: so few are on the way during the stall that they
    do not reach the 99th percentile of the uncorrected latency.
    """
    held: list[float] = []

    def stop(servers: Mapping[str, Child], origin_us: int) -> None:
        sleep_until(origin_us + round(duration_s / 3 * 1e6))
        held.append(stopped([servers["receiver"].pid], STALL_S))

    senders = round(STALL_RATE_PER_S * duration_s / 200)
    metrics = run(steady(STALL_RATE_PER_S, duration_s), pool_size=senders, disturbance=stop).metrics
    corrected_s, uncorrected_s = metrics["latency_p99_s"], metrics["uncorrected_latency_p99_s"]
    least_s, most_s = held[0] - duration_s / 100 - STALL_MARGIN_S, 2 * held[0]
    done = (
        f"receiver stopped (SIGSTOP) for {held[0]:.2f} s of {duration_s:g} s, {STALL_RATE_PER_S:g} requests/s"
    )
    return [
        Check(
            "stall seen",
            done,
            f"p99 from the intended send between {_ms(least_s)} and {_ms(most_s)}",
            _ms(corrected_s),
            least_s <= corrected_s <= most_s,
        ),
        Check(
            "stall hidden from the uncorrected twin",
            done,
            f"p99 from the real send < {_ms(least_s / 2)}",
            _ms(uncorrected_s),
            uncorrected_s < least_s / 2,
        ),
    ]


def delays(run: Callable[..., ArmRun], duration_s: float) -> list[Check]:
    """The receiver delays each event by 0, 1, 5 or 20 ms in turn: the differences must come back.

    While a busy machine hides the shortest delay, the run is repeated, at most `MOST_RUNS` times in all.
    """
    count = len(DELAYS_MS)
    pooled: list[FloatArray] = []
    while True:
        samples = run(steady(40.0, duration_s), "--delays-ms", *map(str, DELAYS_MS)).samples
        latency_s = np.where(samples.acknowledged, (samples.done_us - samples.intended_us) / 1e6, np.inf)
        pooled.append(latency_s[: samples.index.size // count * count].reshape(-1, count))
        cycles = np.concatenate(pooled)
        found = delay_intervals(cycles)
        if found[0].low > 0 or len(pooled) == MOST_RUNS:
            break
    checks = []
    for delay_ms, difference in zip(DELAYS_MS[1:], found, strict=True):
        delay_s = delay_ms / 1e3
        within = difference.low - DELAY_ERROR_S <= delay_s <= difference.high + DELAY_ERROR_S
        interval = f"{CONFIDENCE:.0%}: {_ms(difference.low)} to {_ms(difference.high)}"
        checks.append(
            Check(
                f"delay of {delay_ms:g} ms recovered",
                f"receiver waited {delay_ms:g} ms before every {count}th of {cycles.size} events",
                f"median {delay_ms:g} ms above that of the undelayed, by the interval ± "
                f"{_ms(DELAY_ERROR_S)}; the interval excludes 0",
                f"{_ms(difference.value)} ({interval})"
                + ("; the machine is too busy to tell" if difference.low <= 0 and within else ""),
                within and difference.low > 0,
            )
        )
    return checks


def delay_intervals(latency_s: FloatArray) -> list[Interval]:
    """Median latency of each column less that of the first, with intervals.

    Args:
        latency_s: a row a cycle of delays, in time order; rows are resampled in blocks.
    """

    def differences(rows: IntArray, _same: IntArray) -> FloatArray:
        medians = np.median(latency_s[rows], axis=0)
        found: FloatArray = medians[1:] - medians[0]
        return found

    size = latency_s.shape[0]
    length = max(1, round(size ** (1 / 3)))
    return intervals(differences, (size, size), (length, length), paired=True, confidence=CONFIDENCE)


def dropped(run: Callable[..., ArmRun]) -> list[Check]:
    """The receiver stores events whose acknowledgement never arrives: the ledger must say so."""
    flags = ("--of", str(OF), "--hang-up", str(HUNG_UP), "--silent", str(SILENT))
    of_run = run(steady(50.0, 2.0, timeout_s=1.0), *flags)
    ledger, failures = of_run.ledger, of_run.samples.failures()
    each = ledger.scheduled // OF
    done = (
        f"of {ledger.scheduled} events, {each} stored and then hung up on, {each} stored and never answered"
    )
    kinds = {"connection broken": each, "timed out": each}
    return [
        Check(
            "dropped acknowledgements in the ledger",
            done,
            f"failed {2 * each}, unacknowledged_visible {2 * each}, lost 0",
            f"failed {ledger.failed}, unacknowledged_visible {ledger.unacknowledged_visible}, "
            f"lost {ledger.lost}",
            (ledger.failed, ledger.unacknowledged_visible, ledger.lost) == (2 * each, 2 * each, 0),
        ),
        Check(
            "each kind of failure told apart",
            done,
            _counted(kinds),
            _counted(failures),
            failures == kinds,
        ),
    ]


def forgotten(run: Callable[..., ArmRun]) -> Check:
    """The receiver acknowledges an event and forgets it: the run must be void."""
    of_run = run(steady(50.0, 1.0), "--forget", str(FORGOTTEN))
    broken = _rules(of_run)
    return Check(
        "a lost event voids the run",
        f"event {FORGOTTEN} of {of_run.ledger.scheduled} acknowledged and never stored",
        "lost 1; void by the rule of the ledger",
        f"lost {of_run.ledger.lost}; {_void(broken)}",
        of_run.ledger.lost == 1 and "ledger" in broken,
    )


def starved(run: Callable[..., ArmRun]) -> Check:
    """The load generator gets no CPU for a while: the run must be void."""
    held: list[float] = []

    def starve(_: Mapping[str, Child], origin_us: int) -> None:
        generators = [
            child.pid for child in psutil.Process().children(recursive=True) if "locust" in child.cmdline()
        ]
        sleep_until(origin_us + 500_000)
        held.append(stopped(generators, 0.6))

    of_run = run(steady(100.0, 2.0), disturbance=starve, lag_limit_s=0.2)
    broken = _rules(of_run)
    return Check(
        "a starved generator voids the run",
        f"Locust stopped for {held[0]:.2f} s of 2 s (limit of its lag here: 200 ms)",
        "void by the rule of the generator's lag",
        _void(broken),
        "generator_lag" in broken,
    )


def stopped(pids: Sequence[int], seconds: float) -> float:
    """Stop processes for a while; returns for how long they were stopped, in seconds."""
    begun_s = time.monotonic()
    try:
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        time.sleep(seconds)
        return time.monotonic() - begun_s
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


def _rules(run: ArmRun) -> list[str]:
    return [reason.rule for reason in run.void if isinstance(reason, Reason)]


def _void(rules: Sequence[str]) -> str:
    return f"void by {', '.join(rules)}" if rules else "not void"


def _counted(kinds: Mapping[str, int]) -> str:
    return ", ".join(f"{kind} ×{count}" for kind, count in sorted(kinds.items())) or "none"


def _ms(seconds: float) -> str:
    return f"{seconds * 1e3:.3g} ms" if seconds < 1 else f"{seconds:.3g} s"
