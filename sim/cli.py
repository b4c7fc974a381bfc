"""The simulation half of the command line. Heavy imports wait until a command needs them."""

from __future__ import annotations

import json
import shlex
import sys
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sim.animation.cli import animate
from sim.catalogue import EVERY, MECHANISMS, named
from sim.decide.cli import advise, cost
from sim.experiment.cli import sweep
from sim.experiment.crossover_cli import crossover
from sim.experiment.surface_cli import surface
from sim.experiment.warmup_cli import warmup
from sim.lessons.cli import notebooks
from sim.studies.cli import studies

if TYPE_CHECKING:
    from sim.engine import Outcome
    from sim.experiment.stopping import Precision
    from sim.scenario import Scenario
    from sim.traces import Duplicates, Order, Trace

app = typer.Typer(rich_markup_mode=None)
scenarios = typer.Typer(help="Scenarios: list them, show one, or print the schema.", rich_markup_mode=None)
trace = typer.Typer(
    help="A real history as a workload: a git repository's, or any CSV's.",
    rich_markup_mode=None,
)
app.add_typer(scenarios, name="scenarios")
app.add_typer(trace, name="trace")
app.command()(sweep)
app.command()(crossover)
app.command()(surface)
app.command()(advise)
app.command()(cost)
app.command()(warmup)
app.command()(studies)
app.command()(animate)
app.command()(notebooks)

MAX_RECORDS_KEPT = 2_000_000
FEW_MECHANISMS = 4


class EngineName(StrEnum):
    """Which engine simulates."""

    fast = "fast"
    simpy = "simpy"


ScenarioArgument = Annotated[
    str, typer.Argument(help="A preset's name, or the path of a TOML file.", metavar="SCENARIO")
]
SeedOption = Annotated[int, typer.Option(help="Fixes every draw.", metavar="N")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of tables.")]
OutOption = Annotated[
    Path | None, typer.Option(help="Where the run folder is made.  [default: results]", metavar="DIR")
]


@app.command()
def simulate(
    scenario: ScenarioArgument,
    mechanism: Annotated[
        list[str] | None,
        typer.Option(
            "-m",
            "--mechanism",
            help=f"{', '.join(MECHANISMS)}, or {EVERY}; repeat for several.  [default: webhook and polling]",
            metavar="MECH",
        ),
    ] = None,
    engine: Annotated[
        EngineName, typer.Option(help="The compiled engine, or the readable reference.")
    ] = EngineName.fast,
    replications: Annotated[
        int | None,
        typer.Option(help="Independent runs; two or more give intervals.  [default: 1]", metavar="N"),
    ] = None,
    precision: Annotated[
        float | None,
        typer.Option(
            help="As many runs as it takes to know --on within this share of its mean, e.g. 0.02.",
            metavar="SHARE",
        ),
    ] = None,
    on: Annotated[
        str, typer.Option(help="The metric that --precision is about.", metavar="METRIC")
    ] = "latency_mean_s",
    seed: SeedOption = 1,
    as_json: JsonOption = False,
    out: OutOption = None,
) -> None:
    """Simulate a scenario under each mechanism and compare them.

    The run folder holds `summary.csv` (every metric), `metrics.csv` (of each replication), `paired.csv` (the
    differences between mechanisms, and what pairing won on each; of two runs or more), and unless there
    are too many deliveries to keep, `records.parquet` (each of them), `series.csv` (replication 0 over time)
    and figures: latencies, their tails, and the longest outage that is scheduled. With --precision the number
    of runs is found on the way, --replications being the least, and only metrics are kept.
    """
    from sim.engine import DEFAULT_MECHANISMS
    from sim.scenario import load_scenario

    studied = load_scenario(scenario)
    mechanisms = named(mechanism or DEFAULT_MECHANISMS)
    wanted = _precision(precision, on, replications)
    runs = 1 if replications is None else replications
    outcome, path = run_simulation(studied, mechanisms, engine.value, runs, seed, out, wanted)
    if as_json:
        document = {"schema_version": 1, "command": "simulate"} | outcome.to_json() | {"run": str(path)}
        sys.stdout.write(json.dumps(document, allow_nan=False) + "\n")
        return
    show_outcome(outcome)
    typer.echo(f"run folder: {path}\nreport: hookbench report {shlex.quote(str(path))}")


def _precision(share: float | None, metric: str, replications: int | None) -> Precision | None:
    from sim.experiment.stopping import Precision

    if share is None:
        return None
    return Precision(share, metric) if replications is None else Precision(share, metric, replications)


def run_simulation(
    scenario: Scenario,
    mechanisms: list[str],
    engine: str,
    replications: int,
    seed: int,
    out: Path | None,
    precision: Precision | None = None,
) -> tuple[Outcome, Path]:
    """Simulate with progress, and write the run folder; returns what came of it and where it is.

    Beside `summary.csv` (`Outcome.summary`) and `metrics.csv` (`Outcome.by_replication`) the folder holds,
    if not too many deliveries came of it, `records.parquet` (`Outcome.records`), `series.csv` (replication 0
    over time, with the columns `mechanism` and `sim.timeseries.SERIES_COLUMNS`) and the figures of
    `sim.figures.chosen.simulation_figures`. With a `precision`, which takes as many replications as it needs,
    it holds metrics only.
    """
    from sim.engine import check, expected_deliveries, simulate
    from sim.experiment.pairs import paired_table
    from sim.experiment.stopping import simulate_until
    from sim.figures.chosen import simulation_figures
    from sim.randomness import replication_seed
    from sim.results import RunFolder
    from sim.terminal import interruptible, note_compilation, progress, warn

    chosen = check(mechanisms, engine, seed, replications)
    if chosen == "fast":
        note_compilation(mechanisms)
    few = expected_deliveries(scenario, seed) * len(mechanisms) * replications <= MAX_RECORDS_KEPT
    keep = few and precision is None
    command = shlex.join(["hookbench", *sys.argv[1:]])
    seeds = [replication_seed(seed, r) for r in range(replications)]
    with RunFolder.create(scenario.name, command, out, scenario=scenario, seeds=seeds) as run:
        with progress(f"simulating {scenario.name}") as advance:

            def work() -> Outcome:
                if precision is not None:
                    return simulate_until(
                        scenario, mechanisms, precision=precision, engine=chosen, seed=seed, progress=advance
                    )
                return simulate(
                    scenario, mechanisms, engine=chosen, seed=seed, replications=replications, records=keep,
                    progress=advance,
                )  # fmt: skip

            outcome = interruptible(work)
        run.save_table(outcome.summary(), "summary")
        run.save_table(outcome.by_replication(), "metrics")
        if outcome.replications > 1 and len(mechanisms) > 1:
            run.save_table(paired_table(outcome.pairings), "paired")
        if keep:
            run.save_records(outcome.records)
            run.save_table(outcome.series(), "series")
            for name, figure in simulation_figures(outcome).items():
                run.save_figure(figure, name)
        elif not few:
            warn(f"more than {MAX_RECORDS_KEPT:,} deliveries: the run folder holds metrics, not records")
        run.note(engine=engine, seed=seed, replications=outcome.replications, records_kept=keep)
        if precision is not None:
            run.note_seeds([replication_seed(seed, r) for r in range(outcome.replications)])
            run.note(precision=asdict(precision))
            for mechanism, achieved in precision.missed_by(outcome).items():
                warn(
                    f"{precision.metric} of {mechanism} is known within {achieved:.2%} after "
                    f"{outcome.replications} replications, the most that are run; asked was "
                    f"{precision.relative:.2%}"
                )
    return outcome, run.path


def show_outcome(outcome: Outcome) -> None:
    """Print the metrics of each mechanism, and the paired differences when there are intervals.

    Of few mechanisms every metric is told, a column a mechanism; of many the main ones, a row a mechanism.
    """
    from sim.experiment.pairs import reasons
    from sim.tables import (
        MAIN_DIFFERENCES,
        OVERVIEW_LEGEND,
        console,
        differences_table,
        intervals_note,
        metrics_table,
        narrower_table,
        overview_table,
        zero_throughout,
    )

    scenario, estimates, output = outcome.scenario, outcome.estimates(), console()
    output.print(f"{scenario.name}: {scenario.title or 'simulated'}", style="bold", highlight=False)
    few = len(estimates) <= FEW_MECHANISMS
    if few:
        zeros = zero_throughout(estimates)
        metrics = dict.fromkeys(metric for of_one in estimates.values() for metric in of_one)
        output.print(metrics_table(estimates, [metric for metric in metrics if metric not in zeros]))
        if zeros:
            output.print(f"0 throughout: {', '.join(zeros)}", highlight=False)
    else:
        output.print(overview_table(estimates))
        output.print(f"\n{OVERVIEW_LEGEND}", style="italic", highlight=False)
        output.print("Every metric, with its interval where there is one: summary.csv in the run folder.")
    if outcome.replications > 1:
        output.print(intervals_note(estimates, outcome.replications), highlight=False)
        if len(estimates) > 1:
            first = next(iter(estimates))
            told = [paired for paired in outcome.paired() if few or paired[0] == first]
            output.print("Differences between mechanisms, paired on the same events:")
            output.print(differences_table(told))
            output.print("How many times narrower that is than without pairing:")
            won = [pairing for pairing in outcome.pairings if few or pairing[0] == first]
            output.print(narrower_table(won))
            for line in reasons(each for each in won if each[2] in MAIN_DIFFERENCES):
                output.print(line, highlight=False)


@scenarios.callback(invoke_without_command=True)
def _scenarios(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        list_scenarios()


@scenarios.command("list")
def list_scenarios() -> None:
    """List the scenarios that come with hookbench, and the providers and pollers they may name."""
    from sim.scenario.listing import overview

    typer.echo(overview())


@scenarios.command("show")
def show_scenario(
    scenario: Annotated[
        str,
        typer.Argument(
            help="A preset's name (a use case, a provider or a poller), or the path of a TOML file.",
            metavar="NAME",
        ),
    ],
) -> None:
    """Print a scenario as TOML, every default written out, and which of its values are published."""
    from sim.scenario.listing import shown

    typer.echo(shown(scenario), nl=False)


@scenarios.command("schema")
def scenario_schema() -> None:
    """Print the JSON Schema of scenario files."""
    from sim.scenario import Scenario

    typer.echo(json.dumps(Scenario.model_json_schema(), indent=2))


@scenarios.command("reference")
def scenario_reference() -> None:
    """Print every key of a scenario file: what it takes, its default, what it means."""
    from sim.scenario.reference import scenario_reference as reference

    typer.echo(reference(), nl=False)


@app.command()
def narrate(
    scenario: ScenarioArgument,
    mechanism: Annotated[
        str, typer.Option("-m", "--mechanism", help=f"{', '.join(MECHANISMS)}.", metavar="MECH")
    ] = "webhook",
    events: Annotated[int, typer.Option(help="How many events the story has.", metavar="N")] = 10,
    seed: SeedOption = 1,
) -> None:
    """Tell a run happening by happening: the first events, one line each step."""
    from sim.engine import check
    from sim.narration import narrate as tell
    from sim.scenario import load_scenario

    check([mechanism], "simpy", seed, 1)
    for line in tell(load_scenario(scenario), mechanism, events, seed):
        typer.echo(f"{line.time_s:12.6f} s  {line.text}")


@trace.command("git")
def trace_git(
    path: Annotated[Path, typer.Argument(help="A git repository.", metavar="PATH")],
    out: Annotated[Path, typer.Option(help="Where the trace and its scenario go.", metavar="DIR")] = Path(
        "results/traces"
    ),
    name: Annotated[
        str | None, typer.Option(help="The scenario's name.  [default: the folder's]", metavar="NAME")
    ] = None,
) -> None:
    """Turn a repository's commits into a trace and a scenario: a CI server that hears of pushes."""
    from sim.git_history import trace_from_git

    csv_path, toml_path, history = trace_from_git(path, out, name)
    _describe(history)
    typer.echo(f"trace: {csv_path}\nscenario: {toml_path}\nnext: hookbench simulate {toml_path}")


@trace.command("csv")
def trace_csv(
    file: Annotated[Path, typer.Argument(help="A CSV or JSON-lines file.", metavar="FILE")],
    column: Annotated[str, typer.Option(help="The column of timestamps.", metavar="NAME")] = "created",
    sort: Annotated[
        bool, typer.Option(help="Sort rows that go back in time instead of refusing them.")
    ] = False,
    keep_duplicates: Annotated[bool, typer.Option(help="Keep rows at the same instant.")] = False,
) -> None:
    """Check a file of timestamps, describe it, and print the workload that replays it."""
    from sim.traces import read_trace

    order: Order = "sort" if sort else "strict"
    duplicates: Duplicates = "keep" if keep_duplicates else "error"
    history = read_trace(file, column, order=order, duplicates=duplicates)
    _describe(history)
    typer.echo(
        f'[workload]\nkind = "trace"\npath = {json.dumps(str(file.resolve()))}\n'
        f'column = {json.dumps(column)}\norder = "{order}"\nduplicates = "{duplicates}"\n\n'
        f"[run]\nduration_s = {int(history.times_s[-1]) + 1}"
    )


def _describe(history: Trace) -> None:
    from sim.traces import describe

    for name, value in describe(history).items():
        if value is None:
            continue
        typer.echo(f"# {name}: {value:.6g}" if isinstance(value, float) else f"# {name}: {value}")
