"""`hookbench demo`: webhook and polling compared twice, by the model and by real servers under load.

One scenario, a flash sale. The model simulates it; Locust loads the reference receiver with it; and the
same events are raced through both arms for real. Measured beside predicted, in one table.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from rich.console import Console

from loadtest.figures import server_load
from loadtest.runner import LoadResult, load, race
from sim.engine import Outcome, simulate
from sim.experiment import Estimate
from sim.figures import duration, latency_cdf, latency_vs_interval
from sim.results import RunFolder
from sim.scenario import Scenario, load_scenario
from sim.tables import estimate_text, metrics_table
from sim.terminal import note, note_compilation
from sim.theory import fixed_rate_latency_mean_s

SCENARIO = "shop-orders-rush"
REPLICATIONS = 20
LOAD_RATE_PER_S = 200.0
LOAD_DURATION_S = 6.0
INTERVALS_S = (0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0)
SWEEP_REPLICATIONS = 5

COMPARED = (
    "latency_mean_s",
    "latency_p50_s",
    "latency_p95_s",
    "latency_p99_s",
    "on_time_ratio",
    "age_mean_s",
    "requests_per_event",
    "empty_ratio",
    "duplicates_per_event",
    "lost_ratio",
)
ARMS = ("webhook", "polling")
MEASURED_ONLY = ("provider_cpu_s_per_1k", "receiver_cpu_s_per_1k", "receiver_rss_mb")


@dataclass(frozen=True)
class Demo:
    """What the demo found.

    Attributes:
        predicted: the model, on the race's events and nineteen further replications.
        raced: both arms for real.
        loaded: the receiver under load.
        path: the run folder.
    """

    predicted: Outcome
    raced: LoadResult
    loaded: LoadResult
    path: Path

    @property
    def void(self) -> list[str]:
        """Every reason to distrust the measured figures; empty when sound."""
        return [f"load: {reason}" for reason in self.loaded.void] + [
            f"race: {reason}" for reason in self.raced.void
        ]

    def sentences(self) -> str:
        """What the figures show, in two sentences."""
        measured = {arm: self.raced.metrics(arm) for arm in self.raced.arms}
        predicted = self.predicted.estimates()

        def told(metric: str, source: Mapping[str, Mapping[str, Estimate]]) -> tuple[str, str]:
            webhook, polling = (estimate_text(_mean(source[arm][metric]), metric) for arm in ARMS)
            return webhook, polling

        latency, expected = told("latency_p50_s", measured), told("latency_p50_s", predicted)
        requests, cpu = told("requests_per_event", measured), told("receiver_cpu_s_per_1k", measured)
        interval = duration(self.raced.scenario.polling.interval_s)
        return (
            f"Half of the orders were visible within {latency[0]} by webhook and within {latency[1]} by "
            f"polling every {interval}; the model had said {expected[0]} and {expected[1]}. "
            f"An order took {requests[0]} and {requests[1]} requests, a thousand of them {cpu[0]} and "
            f"{cpu[1]} of the receiver's CPU."
        )


def demo(out: Path | None = None, command: Sequence[str] = ("hookbench", "demo")) -> Demo:
    """Simulate, load, race, compare; writes one run folder.

    Raises:
        HookbenchError: a server or Locust could not be run; the message says which and why.
        KeyboardInterrupt: interrupted; no process is left and the run folder is marked incomplete.
    """
    scenario = load_scenario(SCENARIO)
    with RunFolder.create("demo", command, out, scenario=scenario) as folder:
        note_compilation(ARMS)
        note(f"1/4  simulating {scenario.name} at {len(INTERVALS_S)} poll intervals")
        sweep = _sweep(scenario)
        note(f"2/4  loading the receiver: {LOAD_RATE_PER_S:g} signed webhooks/s for {LOAD_DURATION_S:g} s")
        loaded = load(
            scenario,
            ("webhook",),
            rate_per_s=LOAD_RATE_PER_S,
            duration_s=LOAD_DURATION_S,
            out=folder.path,
            command=command,
        )
        note(f"3/4  racing {scenario.run.duration_s:g} s of orders, the same by webhook and by polling")
        raced = race(scenario, ARMS, out=folder.path, command=command)
        note("4/4  comparing")
        predicted = simulate(raced.scenario, raced.arms, seed=raced.seed, replications=REPLICATIONS)
        result = Demo(predicted, raced, loaded, folder.path)
        _save(folder, result, sweep)
    return result


def _sweep(scenario: Scenario) -> pd.DataFrame:
    """Mean latency of both mechanisms at each poll interval, as `latency_vs_interval` takes it."""
    rows = []
    for interval_s in INTERVALS_S:
        longer = scenario.with_values(
            **{
                "polling.interval_s": interval_s,
                "polling.page_size": 10_000,
                "run.duration_s": max(200.0, 20 * interval_s),
                "run.drain_s": 3 * interval_s,
            }
        )
        estimates = simulate(longer, replications=SWEEP_REPLICATIONS, records=False).estimates()
        for mechanism, metrics in estimates.items():
            mean = metrics["latency_mean_s"]
            rows.append((mechanism, interval_s, mean.mean, mean.low, mean.high))
    return pd.DataFrame(rows, columns=["mechanism", "interval_s", "latency_mean_s", "low", "high"])


def _save(folder: RunFolder, result: Demo, sweep: pd.DataFrame) -> None:
    scenario = result.raced.scenario
    rows = [
        {"arm": arm, "metric": metric, "source": source, "mean": e.mean, "low": e.low, "high": e.high}
        for source, by_arm in _columns(result).items()
        for arm, metrics in by_arm.items()
        for metric, e in metrics.items()
    ]
    folder.save_table(pd.DataFrame(rows), "predicted_and_measured")
    folder.save_table(sweep, "latency_vs_interval")
    records = result.predicted.records
    folder.save_records(records, "predicted_records")
    folder.note(
        void=result.void,
        load=result.loaded.path.name,
        race=result.raced.path.name,
        sentences=result.sentences(),
        replications=REPLICATIONS,
        seed=result.raced.seed,
    )
    measured = {
        run.arm: (run.records["visible"] - run.records["created"]).to_numpy()
        for run in result.raced.runs
        if run.records is not None
    }
    simulated = {
        str(mechanism): (rows["visible"] - rows["created"]).to_numpy()
        for mechanism, rows in records.groupby("mechanism", observed=True)
    }
    folder.save_figure(latency_cdf(measured, simulated), "latency_cdf")
    for run in result.raced.runs:
        folder.save_figure(server_load(result.raced, run), f"server_load_{run.arm}")
    delay_s = (
        scenario.network.one_way.mean_s
        + scenario.provider_api.service.mean_s
        + scenario.receiver.service.mean_s
    )
    folder.save_figure(
        latency_vs_interval(sweep, lambda interval_s: fixed_rate_latency_mean_s(interval_s, delay_s)),
        "latency_vs_interval",
    )


def _mean(e: Estimate) -> Estimate:
    return Estimate(e.mean, None, None)


def _columns(result: Demo) -> dict[str, Mapping[str, Mapping[str, Estimate]]]:
    return {
        "predicted": result.predicted.estimates(),
        "measured": {arm: result.raced.metrics(arm) for arm in result.raced.arms},
    }


def show(result: Demo, console: Console | None = None) -> None:
    """Print the table, the sentences and where everything is."""
    console = console or Console()
    columns = {
        f"{arm}\n{source}": by_arm[arm]
        for arm in result.raced.arms
        for source, by_arm in _columns(result).items()
    }
    title = f"{result.raced.scenario.title}: predicted by the model, measured on this machine"
    console.print(title, style="bold", highlight=False)
    console.print(metrics_table(columns, (*COMPARED, *MEASURED_ONLY)))
    console.print(
        f"predicted: mean over {REPLICATIONS} replications ± half a 95 % interval; measured: one race"
    )
    loaded = result.loaded.metrics("webhook")
    console.print(
        f"The receiver under load: {loaded['achieved_rate_per_s'].mean:.0f} webhooks a second stored and "
        f"acknowledged, p50 {duration(loaded['latency_p50_s'].mean)}, "
        f"p99 {duration(loaded['latency_p99_s'].mean)} from the intended send."
    )
    console.print(f"\n{result.sentences()}\n", style="bold", highlight=False)
    for reason in result.void:
        console.print(f"VOID, not to be trusted: {reason}", style="bold red")
    console.print(f"run folder, with figures: {result.path}", soft_wrap=True, highlight=False)
    console.print(
        f"report: hookbench report {shlex.quote(str(result.path))}", soft_wrap=True, highlight=False
    )
