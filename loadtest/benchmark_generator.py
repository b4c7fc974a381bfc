"""Open loop beside closed loop, in one run: ``python -m loadtest.benchmark_generator``.

Both load the same no-op server. The closed loop is a plain Locust FastHttpUser that sends again when it
is answered; the open loop sends signed events at intended times. Three questions: what peak does keeping to
a schedule cost, how late do requests leave at rates below it, and how late would gevent's own timer have made
them? Server and generator have a core each where there are two.

Every rate is scheduled twice: at constant gaps, where no request is due while another leaves unless the
generator is late already, and as a Poisson process, as scenarios have it, where some are due together and
wait for each other even in a generator that has nothing else to do.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from loadtest.monitor import Monitor, Usage
from loadtest.recorder import Samples
from loadtest.runner.figures_of_merit import quantiles_s
from loadtest.runner.fleet import CpuPlan
from loadtest.runner.generation import ROLE, Generation, locustfile
from loadtest.runner.processes import Child, Crew, ProcessFailed
from loadtest.runner.progress import Progress
from loadtest.runner.session import own_secret
from loadtest.schedule import IntArray, Plan
from sim.errors import HookbenchError, VoidRun

RATES_PER_S = (500, 1000, 2000)
AIM_RATE_PER_S, AIM_LAG_P99_S, AIM_PEAK_RATIO = 2000, 0.001, 0.8
SECONDS = 3
OVERLOAD = 20_000
USERS = 50
PATH = "/webhooks/standard"


@dataclass(frozen=True)
class Lag:
    """How a schedule was kept.

    Attributes:
        rate_per_s: as scheduled.
        spacing: of the schedule, a key of `SPACINGS`.
        p50_s, p99_s: how late requests left.
        generator_cpu: share of a core.
        generator_cpu_s: CPU-seconds a request.
        generator_wait_s: how long it was ready to run without a core; the machine's doing. None: unknown.
    """

    rate_per_s: int
    spacing: str
    p50_s: float
    p99_s: float
    generator_cpu: float
    generator_cpu_s: float
    generator_wait_s: float | None


@dataclass(frozen=True)
class Benchmark:
    """Peaks in answered requests a second, the lag at rates below them, and how late timers wake."""

    closed_loop_per_s: float
    open_loop_per_s: float
    lags: tuple[Lag, ...]
    timers: Mapping[str, Mapping[str, float]]


def measure(progress: Progress | None = None) -> Benchmark:
    """Run all of it, in about a minute.

    Raises:
        VoidRun: a request failed, or a process did.
    """
    progress = progress or Progress()
    with _noop_server() as (crew, monitor, server):
        with progress.stage("closed loop", SECONDS):
            closed = _closed_loop(crew, server)
        overload = np.zeros(OVERLOAD, dtype=np.int64)
        samples, origin_us, _ = _open_loop(crew, monitor, server, overload, progress, "open loop, overloaded")
        peak = OVERLOAD / ((int(samples.done_us.max()) - origin_us) / 1e6)
        lags = [
            _lag(crew, monitor, server, progress, rate, spacing)
            for rate in (*RATES_PER_S, round(peak / 2))
            for spacing in SPACINGS
        ]
    with progress.stage("timers"):
        timers = timers_late()
    return Benchmark(closed, peak, tuple(lags), timers)


def timers_late() -> Mapping[str, Mapping[str, float]]:
    """What `loadtest.benchmark_timer` measures, in a process of its own that gevent may patch."""
    done = subprocess.run(
        [sys.executable, "-m", "loadtest.benchmark_timer"], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise VoidRun(f"the timers could not be measured: {done.stderr.strip().splitlines()[-1]}")
    timers: Mapping[str, Mapping[str, float]] = json.loads(done.stdout)
    return timers


def _poisson(rate_per_s: int) -> IntArray:
    gaps = np.random.default_rng(1).exponential(1 / rate_per_s, int(rate_per_s * SECONDS))
    offsets: IntArray = np.rint(np.cumsum(gaps) * 1e6).astype(np.int64)
    return offsets


def _constant(rate_per_s: int) -> IntArray:
    offsets: IntArray = np.rint(np.arange(1, rate_per_s * SECONDS + 1) / rate_per_s * 1e6).astype(np.int64)
    return offsets


SPACINGS: Mapping[str, Callable[[int], IntArray]] = {"constant": _constant, "Poisson": _poisson}


def _lag(
    crew: Crew, monitor: Monitor, server: Child, progress: Progress, rate_per_s: int, spacing: str
) -> Lag:
    offsets, label = SPACINGS[spacing](rate_per_s), f"open loop at {rate_per_s}/s, {spacing}"
    samples, _, usage = _open_loop(crew, monitor, server, offsets, progress, label)
    p50, p99 = quantiles_s(samples.lag_us, 0.5, 0.99)
    each_s = usage.cpu_s / offsets.size
    return Lag(rate_per_s, spacing, p50, p99, usage.cpu_share, each_s, usage.run_wait_s)


@contextmanager
def _noop_server() -> Iterator[tuple[Crew, Monitor, Child]]:
    with (
        tempfile.TemporaryDirectory(prefix="hookbench-bench-") as name,
        Crew(Path(name), own_secret(), CpuPlan.for_this_machine()) as crew,
        Monitor() as monitor,
    ):
        yield crew, monitor, crew.start("noop", [sys.executable, "-m", "loadtest.benchmark_noop"])


def _closed_loop(crew: Crew, server: Child) -> float:
    """Answered requests a second, as Locust itself counts them, from the first to the last."""
    report = crew.folder / "closed"
    child = crew.generator(
        locustfile("closed_loop"),
        server.url,
        None,
        USERS,
        "-t",
        f"{SECONDS}s",
        "--json-file",
        str(report),
    )
    try:
        child.process.wait(SECONDS + 30)
    except subprocess.TimeoutExpired:
        raise ProcessFailed(f"the closed loop did not end: {child.last_words()}") from None
    path = report.with_suffix(".json")
    if not path.exists():
        raise ProcessFailed(f"the closed loop left no report: {child.last_words()}")
    (entry,) = json.loads(path.read_text(encoding="utf-8"))
    if entry["num_failures"]:
        raise VoidRun(f"{entry['num_failures']} of {entry['num_requests']} closed-loop requests failed")
    return float(entry["num_requests"] / (entry["last_request_timestamp"] - entry["start_time"]))


def _open_loop(
    crew: Crew, monitor: Monitor, server: Child, offsets: IntArray, progress: Progress, label: str
) -> tuple[Samples, int, Usage]:
    plan = Plan(f"{len(crew.children)}", "webhook", PATH, offsets, timeout_s=30.0, pool_size=USERS)
    generation = Generation(crew, monitor, plan, server.url)
    origin_us = generation.origin_us()
    samples = generation.samples(origin_us, progress, label)
    if not samples.acknowledged.all():
        raise VoidRun(f"{label}: {samples.failures()}")
    usage = monitor.usage(ROLE, origin_us, int(samples.done_us.max()))
    if usage is None:
        raise VoidRun(f"{label}: the generator could not be watched")
    return samples, origin_us, usage


def show(result: Benchmark, console: Console | None = None) -> None:
    """Print peaks and lags."""
    console = console or Console()
    peaks = Table(title="one generator process against a no-op server")
    peaks.add_column("")
    peaks.add_column("answered a second", justify="right")
    peaks.add_row("closed loop (FastHttpUser)", f"{result.closed_loop_per_s:,.0f}")
    peaks.add_row("open loop, signed events", f"{result.open_loop_per_s:,.0f}")
    lags = Table(title="how late the open loop sends, and what that costs the generator")
    for column in ("due /s", "spacing", "lag p50 ms", "lag p99 ms", "CPU %", "CPU ms each", "waited ms"):
        lags.add_column(column, justify="left" if column == "spacing" else "right")
    for lag in result.lags:
        lags.add_row(
            f"{lag.rate_per_s:,}",
            lag.spacing,
            f"{lag.p50_s * 1e3:.3f}",
            f"{lag.p99_s * 1e3:.3f}",
            f"{100 * lag.generator_cpu:.0f}",
            f"{1e3 * lag.generator_cpu_s:.3f}",
            "" if lag.generator_wait_s is None else f"{1e3 * lag.generator_wait_s:.0f}",
        )
    timers = Table(title="how late a sleep ends, the two in turns in one process")
    for column in ("timer", "p50 ms", "p99 ms"):
        timers.add_column(column, justify="right" if column != "timer" else "left")
    for name, late in result.timers.items():
        timers.add_row(name, f"{late['p50_us'] / 1e3:.3f}", f"{late['p99_us'] / 1e3:.3f}")
    console.print(peaks)
    console.print(lags)
    console.print("waited: for a core, which is the machine's doing", highlight=False)
    console.print(timers)
    ratio = result.open_loop_per_s / result.closed_loop_per_s
    peak_met = "meets" if ratio >= AIM_PEAK_RATIO else "misses"
    console.print(
        f"{peak_met} the aim of {AIM_PEAK_RATIO:g} of the closed loop's peak: {ratio:.2f}", highlight=False
    )
    for rate, where in (
        (AIM_RATE_PER_S, f"{AIM_RATE_PER_S:,}/s"),
        (result.lags[-1].rate_per_s, "half its peak"),
    ):
        worst_s = max(lag.p99_s for lag in result.lags if lag.rate_per_s == rate)
        console.print(
            f"{'meets' if worst_s < AIM_LAG_P99_S else 'misses'} the aim of a lag p99 below "
            f"{AIM_LAG_P99_S * 1e3:g} ms at {where}, whatever the spacing (on an otherwise idle machine)",
            highlight=False,
        )


def main() -> int:
    """Measure and print; exit code 0, or 3 when it is void."""
    try:
        show(measure())
    except HookbenchError as error:
        print(f"generator benchmark void: {error}", file=sys.stderr)  # noqa: T201 - the command's own answer
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
