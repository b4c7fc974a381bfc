"""Do our percentiles agree with another tool's? ``python -m loadtest.benchmark_wrk`` asks wrk.

Both load `loadtest.benchmark_waits`, whose latency is known and does not depend on the rate: wrk with a fixed
number of connections (a closed loop, https://github.com/wg/wrk), then our open loop at the rate that wrk
reached. They take turns several times, each round is a pair, and what is compared is the difference.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from rich.console import Console
from rich.table import Table

from loadtest.benchmark_waits import PATH, waits_s
from loadtest.monitor import Monitor
from loadtest.runner.figures_of_merit import quantiles_s
from loadtest.runner.fleet import CpuPlan
from loadtest.runner.generation import Generation
from loadtest.runner.processes import Child, Crew
from loadtest.runner.progress import Progress
from loadtest.runner.session import own_secret
from loadtest.schedule import Plan
from sim.errors import HookbenchError, InputError, VoidRun
from sim.experiment import Estimate, paired_difference
from sim.results import RunFolder
from sim.terminal import progress as bar

QUANTILES = (0.5, 0.9, 0.95, 0.99)
ROUNDS = 6
SECONDS = 5
CONNECTIONS = 6
MOST_RELATIVE = 0.05
"""Two tools agree whose difference lies within this share of the value, its whole interval included."""

_SCRIPT = """\
wrk.method = "POST"
wrk.body = '{"type": "order.created", "data": {}}'
done = function(summary, latency, requests)
  local errors = summary.errors
  io.write(string.format('\\n{"requests": %d, "duration_us": %d, "errors": %d, "latencies_us": [',
    summary.requests, summary.duration,
    errors.connect + errors.read + errors.write + errors.status + errors.timeout))
  for number, share in ipairs({%s}) do
    io.write((number > 1 and ", " or "") .. latency:percentile(share))
  end
  io.write("]}\\n")
end
"""


class Row(NamedTuple):
    """Of one quantile: means over the rounds in seconds, the difference with its interval, the verdict."""

    quantile: float
    served_s: float
    wrk_s: float
    hookbench_s: float
    difference_s: float
    low_s: float | None
    high_s: float | None
    verdict: str


@dataclass(frozen=True)
class Agreement:
    """What the tools found.

    Attributes:
        ours_s, theirs_s: quantile -> a value a round, seconds.
        rate_per_s: what wrk reached and we then sent, a value a round.
        served_s: the quantiles of the waits themselves, which both must exceed by what HTTP takes.
    """

    ours_s: dict[float, list[float]]
    theirs_s: dict[float, list[float]]
    rate_per_s: list[float]
    served_s: dict[float, float]

    def difference(self, quantile: float) -> Estimate:
        """Ours − wrk's over the rounds, with its 95 % interval."""
        return paired_difference(self.ours_s[quantile], self.theirs_s[quantile])

    def verdict(self, quantile: float) -> str:
        """``agree``: all of the difference's interval is small; ``differ``: none of it is; else ``open``."""
        e = self.difference(quantile)
        assert e.low is not None
        assert e.high is not None
        most_s = MOST_RELATIVE * float(np.mean(self.theirs_s[quantile]))
        if -most_s < e.low and e.high < most_s:
            return "agree"
        return "differ" if e.low > most_s or e.high < -most_s else "open"

    def rows(self) -> list[Row]:
        """A row a quantile."""
        rows = []
        for quantile in QUANTILES:
            theirs_s, ours_s = (float(np.mean(of[quantile])) for of in (self.theirs_s, self.ours_s))
            e = self.difference(quantile)
            found = (theirs_s, ours_s, e.mean, e.low, e.high, self.verdict(quantile))
            rows.append(Row(quantile, self.served_s[quantile], *found))
        return rows


def compare(rounds: int = ROUNDS, seconds: int = SECONDS, progress: Progress | None = None) -> Agreement:
    """Measure in turns.

    Raises:
        InputError: wrk is not installed.
        VoidRun: a request failed.
    """
    wrk = shutil.which("wrk")
    if wrk is None:
        raise InputError("wrk is not installed; on Debian and Ubuntu: apt-get install wrk")
    ours: dict[float, list[float]] = {quantile: [] for quantile in QUANTILES}
    theirs: dict[float, list[float]] = {quantile: [] for quantile in QUANTILES}
    rates = []
    with _server() as (crew, monitor, server):
        for number in range(rounds):
            rate, found_s = _wrk(wrk, crew.folder, f"{server.url}{PATH}", seconds)
            rates.append(rate)
            offsets = np.rint(np.arange(round(rate * seconds)) * 1e6 / rate).astype(np.int64)
            plan = Plan(f"{number}", "webhook", PATH, offsets, timeout_s=30.0, pool_size=200)
            generation = Generation(crew, monitor, plan, server.url)
            label = f"round {number + 1} of {rounds}"
            samples = generation.samples(generation.origin_us(), progress or Progress(), label)
            if not samples.acknowledged.all():
                raise VoidRun(f"{label}: {samples.failures()}")
            own_s = quantiles_s(samples.corrected_us, *QUANTILES)
            for quantile, one_s, other_s in zip(QUANTILES, own_s, found_s, strict=True):
                ours[quantile].append(one_s)
                theirs[quantile].append(other_s)
    served = dict(zip(QUANTILES, map(float, np.quantile(waits_s(), QUANTILES)), strict=True))
    return Agreement(ours, theirs, rates, served)


@contextmanager
def _server() -> Iterator[tuple[Crew, Monitor, Child]]:
    with (
        tempfile.TemporaryDirectory(prefix="hookbench-bench-") as name,
        Crew(Path(name), own_secret(), CpuPlan.for_this_machine()) as crew,
        Monitor() as monitor,
    ):
        yield crew, monitor, crew.start("waits", [sys.executable, "-m", "loadtest.benchmark_waits"])


def _wrk(wrk: str, folder: Path, url: str, seconds: int) -> tuple[float, Sequence[float]]:
    """What wrk answered a second, and its latencies at `QUANTILES`, seconds."""
    script = folder / "wrk.lua"
    script.write_text(_SCRIPT.replace("%s", ", ".join(f"{100 * q:g}" for q in QUANTILES)), encoding="utf-8")
    command = [wrk, "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", "-s", str(script), url]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise VoidRun(
            f"wrk ended with exit code {done.returncode}: {done.stderr.strip() or done.stdout.strip()}"
        )
    found = json.loads(done.stdout.strip().splitlines()[-1])
    if found["errors"]:
        raise VoidRun(f"wrk: {found['errors']} of {found['requests']} requests failed")
    return found["requests"] / found["duration_us"] * 1e6, [us / 1e6 for us in found["latencies_us"]]


def show(found: Agreement, console: Console | None = None) -> None:
    """Print the comparison."""
    console = console or Console()
    table = Table(title="latency of the same server, by wrk and by hookbench")
    for column in ("", "server waits ms", "wrk ms", "hookbench ms", "difference ms", "verdict"):
        table.add_column(column, justify="right")
    for row in found.rows():
        times = (f"{1e3 * value:.2f}" for value in (row.served_s, row.wrk_s, row.hookbench_s))
        apart = f"{1e3 * row.difference_s:+.2f} ± {1e3 * ((row.high_s or 0.0) - row.difference_s):.2f}"
        table.add_row(f"p{100 * row.quantile:g}", *times, apart, row.verdict)
    console.print(table)
    console.print(
        f"{len(found.rate_per_s)} rounds in turns, {np.mean(found.rate_per_s):,.0f} requests/s; "
        f"agree: the 95 % interval of the difference is within {100 * MOST_RELATIVE:g} %; "
        "open: the rounds cannot tell",
        highlight=False,
    )


def main() -> int:
    """Measure, print and keep it as a run folder; exit code 0, 2 without wrk, 3 when void."""
    try:
        with bar("wrk and hookbench") as advance:
            advance(0, 1)
            found = compare()
        show(found)
        with RunFolder.create("wrk-agreement", "python -m loadtest.benchmark_wrk", seeds=()) as run:
            run.save_table(pd.DataFrame(found.rows(), columns=Row._fields), "agreement")
            run.note(rate_per_s=found.rate_per_s, rounds=len(found.rate_per_s), connections=CONNECTIONS)
    except HookbenchError as error:
        print(f"comparison with wrk: {error}", file=sys.stderr)  # noqa: T201 - the command's own answer
        return error.exit_code
    print(f"run folder: {run.path}")  # noqa: T201 - the command's own answer
    return 0


if __name__ == "__main__":
    sys.exit(main())
