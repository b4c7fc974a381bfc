"""A break-even surface, timed: ``python -m sim.experiment.benchmark``.

Nine poll intervals × nine event rates × ten replications of `shop-orders`, a day each, on two processes: some
130 million deliveries by polling, and 15 million by webhooks, which know no intervals. On a machine that does
other things as well the wall clock says little; the CPU seconds of all processes say more, though neighbours
cost caches, too.

Beside it, what sharing wins: nine poll intervals carried out together and one by one, in turn, with the same
answers.
"""

from __future__ import annotations

import time
from statistics import median

import psutil
from rich.console import Console
from rich.table import Table

from sim.experiment.axes import design, parse_axis
from sim.experiment.executors import open_executor
from sim.experiment.runs import Work, carry_out, carry_out_all
from sim.experiment.surface import surface
from sim.scenario import Scenario, load_scenario
from sim.terminal import progress

INTERVALS, RATES = "polling.interval_s=1:600:log9", "workload.rate_per_s=0.01:10:log9"
PAIR = ("webhook", "polling")
REPLICATIONS = 10
PROCESSES = 2
REPETITIONS = 5


def main() -> None:
    """Time both, and print seconds."""
    scenario = load_scenario("shop-orders")
    output = Console()
    together_s, alone_s = _sharing(scenario)
    ratios = [alone / together for together, alone in zip(together_s, alone_s, strict=True)]
    output.print(
        f"nine poll intervals, one replication: {median(together_s):.2f} s of CPU together, "
        f"{median(alone_s):.2f} s one by one; {median(ratios):.1f} times as much "
        f"({min(ratios):.1f} to {max(ratios):.1f})",
        highlight=False,
    )
    wall_s, cpu_s = _surface(scenario)
    table = Table(
        title=f"9 × 9 × {REPLICATIONS} runs of {scenario.name}, two mechanisms, {PROCESSES} processes"
    )
    for column in ("wall clock, s", "CPU of all processes, s", f"CPU / {PROCESSES}, s", "load average"):
        table.add_column(column, justify="right")
    load = psutil.getloadavg()[0]
    table.add_row(f"{wall_s:.1f}", f"{cpu_s:.1f}", f"{cpu_s / PROCESSES:.1f}", f"{load:.1f}")
    output.print(table)


def _surface(scenario: Scenario) -> tuple[float, float]:
    """Wall clock and CPU seconds of a surface, from before the processes start until the curve is known."""
    axes = [parse_axis(INTERVALS), parse_axis(RATES)]
    start_s, used_s = time.perf_counter(), _cpu_s()
    with progress("surface") as advance, open_executor(f"processes:{PROCESSES}") as workers:
        found = surface(
            scenario, *PAIR, "requests_per_event", axes, replications=REPLICATIONS, executor=workers,
            progress=advance,
        )  # fmt: skip
        found.curve()
        return time.perf_counter() - start_s, _cpu_s() - used_s


def _cpu_s() -> float:
    """CPU seconds of this process and of all it started that still live."""
    this = psutil.Process()
    times = [process.cpu_times() for process in (this, *this.children(recursive=True))]
    return float(sum(each.user + each.system for each in times))


def _sharing(scenario: Scenario) -> tuple[list[float], list[float]]:
    """CPU seconds of nine intervals at an event a second, together and one by one, once a repetition."""
    busy = scenario.with_values(**{"workload.rate_per_s": 1.0}).model_dump_json()
    points = design(scenario, [parse_axis(INTERVALS)])
    works = [Work(busy, number, point, PAIR, (0,), 1) for number, point in enumerate(points)]
    carry_out_all(works)  # compiles, or loads what was compiled
    together_s, alone_s = [], []
    for _ in range(REPETITIONS):
        start_s = time.process_time()
        together = carry_out_all(works)
        together_s.append(time.process_time() - start_s)
        start_s = time.process_time()
        alone = [each for work in works for each in carry_out(work)]
        alone_s.append(time.process_time() - start_s)
        assert [each.metrics for each in together] == [each.metrics for each in alone]
    return together_s, alone_s


if __name__ == "__main__":
    main()
