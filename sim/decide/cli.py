"""``hookbench advise`` and ``hookbench cost``."""

from __future__ import annotations

import json
import math
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sim.catalogue import EVERY, MECHANISMS, named
from sim.experiment.cli import ExecutorOption, OutOption

if TYPE_CHECKING:
    import pandas as pd

    from sim.decide.advice import Advice
    from sim.decide.cost import Bill
    from sim.results import RunFolder

ScenarioArgument = Annotated[
    str, typer.Argument(help="A preset's name, or the path of a TOML file.", metavar="SCENARIO")
]
PricesOption = Annotated[
    str | None,
    typer.Option(
        help="A file of prices in place of the scenario's own: example, aws-us-east or a path.",
        metavar="NAME",
    ),
]
PriceOption = Annotated[
    list[str] | None,
    typer.Option(help="One price, as per_million_requests=0.2; repeat for several.", metavar="NAME=AMOUNT"),
]
ReplicationsOption = Annotated[int, typer.Option(help="Of each evaluation.", metavar="N")]
SeedOption = Annotated[int, typer.Option(help="Fixes every draw.", metavar="N")]


def advise(
    scenario: ScenarioArgument,
    require: Annotated[
        list[str] | None,
        typer.Option(
            help="A bound that must be kept, as 'latency_p95_s<5'; repeat for several.  "
            "[default: run.on_time_s and no loss]",
            metavar="BOUND",
        ),
    ] = None,
    budget: Annotated[
        str | None,
        typer.Option(help="The most a million events may cost, a number or a bound.", metavar="AMOUNT"),
    ] = None,
    no_inbound: Annotated[
        bool, typer.Option("--no-inbound", help="The consumer cannot accept connections: no webhooks.")
    ] = False,
    offers: Annotated[
        list[str] | None,
        typer.Option(
            help="A mechanism that the provider is known to offer; repeat for several.", metavar="MECH"
        ),
    ] = None,
    mechanism: Annotated[
        list[str] | None,
        typer.Option("-m", "--mechanism", help="Which to consider.  [default: all]", metavar="MECH"),
    ] = None,
    prices: PricesOption = None,
    price: PriceOption = None,
    replications: ReplicationsOption = 10,
    seed: SeedOption = 1,
    executor: ExecutorOption = "processes",
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON document instead of words.")
    ] = False,
    out: OutOption = None,
) -> None:
    """Say which mechanism to choose, with which parameters, why, and what that hangs on.

    A requirement is judged by the end of its 95 % interval that speaks against it. What is recommended is
    confirmed on random numbers that had no part in choosing it. The run folder holds `advice.md`,
    `advice.json`, `choices.csv`, `candidates.csv` (everything that was run) and a figure of the Pareto front.
    Exit code 4: nothing meets what is required, and what comes nearest is told.

    Example: hookbench advise shop-orders --require 'latency_p95_s<60' --require 'lost_ratio<=0' --no-inbound
    """
    from sim.decide.documents import document
    from sim.errors import ThresholdMissed

    names = named(mechanism or [EVERY])
    advice, path = run_advice(
        scenario, require or [], budget, names, offers or [], prices, price or [], replications, seed,
        executor, out, no_inbound=no_inbound,
    )  # fmt: skip
    if as_json:
        whole = {"schema_version": 1, "command": "advise"} | document(advice) | {"run": str(path)}
        sys.stdout.write(json.dumps(whole, allow_nan=False) + "\n")
    else:
        show_advice(advice)
        typer.echo(f"run folder: {path}")
    if not advice.choices:
        raise typer.Exit(ThresholdMissed.exit_code)


def run_advice(
    scenario: str,
    require: list[str],
    budget: str | None,
    mechanisms: list[str],
    offers: list[str],
    prices: str | None,
    price: list[str],
    replications: int,
    seed: int,
    executor: str,
    out: Path | None,
    *,
    no_inbound: bool,
) -> tuple[Advice, Path]:
    """Advise with progress into a new run folder; returns the advice and where it is."""
    from sim.decide.advice import advise as find
    from sim.decide.advice import refuse
    from sim.decide.documents import alternatives_table, candidates_table, choices_table, document
    from sim.decide.prices import priced
    from sim.decide.telling import finding, markdown
    from sim.randomness import replication_seed
    from sim.results import RunFolder
    from sim.scenario import load_scenario
    from sim.terminal import note_compilation, progress

    base = priced(load_scenario(scenario), prices, price)
    refuse(base, require, budget, mechanisms, offers, replications, seed)  # before a folder is made
    note_compilation(mechanisms)
    seeds = [int(replication_seed(seed, r)) for r in range(replications)]
    with RunFolder.create(f"advise-{base.name}", _command(), out, scenario=base, seeds=seeds) as run:
        with progress(f"advising on {base.name}") as advance:
            advice = find(
                base, require, budget=budget, no_inbound=no_inbound, offered=offers, mechanisms=mechanisms,
                replications=replications, seed=seed, executor=executor, progress=advance,
            )  # fmt: skip
        run.save_table(choices_table(advice), "choices")
        run.save_table(candidates_table(advice), "candidates")
        run.save_text(markdown(advice), "advice.md")
        whole = {"schema_version": 1, "command": "advise"} | document(advice)
        run.save_text(json.dumps(whole, indent=2, allow_nan=False, ensure_ascii=False) + "\n", "advice.json")
        table = alternatives_table(advice)
        if len(table):
            _draw(run, table, advice, finding(advice))
        run.note(finding=finding(advice), replications=replications, seed=seed)
    return advice, run.path


def show_advice(advice: Advice) -> None:
    """Print the choices, a paragraph each, what was rejected, and what all that hangs on."""
    from sim.decide.reasons import settings_text
    from sim.decide.telling import (
        MOST_FLIPS,
        finding,
        flips,
        held,
        paragraph,
        provenance,
        required,
        shown_metrics,
        trade_off,
        unrun_lines,
    )
    from sim.decide.telling import named as called
    from sim.tables import console, estimate_text, plain_table

    output = console()

    def say(text: str, style: str | None = None) -> None:
        output.print(text, style=style, highlight=False, markup=False)

    say(f"{advice.scenario.name}: {advice.scenario.title or 'what to choose'}", "bold")
    implied = all(each.why for each in advice.requirements)
    say("No requirement was given; the scenario implies:" if implied else "Required:")
    for line in required(advice):
        say(f"  {line}")
    if advice.choices:
        table = plain_table()
        table.add_column("", justify="right", no_wrap=True)
        table.add_column("choice", no_wrap=True)
        table.add_column("settings", min_width=18)
        for metric in shown_metrics(advice):
            table.add_column(metric.replace("_per_", "_\nper_"), justify="right", no_wrap=True)
        table.add_column("front", no_wrap=True)
        for rank, choice in enumerate(advice.choices, 1):
            candidate = choice.candidate
            cells = (estimate_text(candidate.evaluation.estimate(m), m) for m in shown_metrics(advice))
            front = "yes" if choice.on_front else "no"
            table.add_row(str(rank), candidate.label, settings_text(candidate.settings), *cells, front)
        output.print(table)
        say(advice.rule, "italic")
        for rank, choice in enumerate(advice.choices, 1):
            say(f"\n{rank}. {called(choice)}", "bold")
            say(paragraph(choice.reasons))
    traded = trade_off(advice)
    if traded is not None:
        say("\nTrade-off", "bold")
        say(traded)
    if advice.rejected:
        say("\nRejected", "bold")
        for each in advice.rejected:
            if each.candidate is not None:
                say(f"{called(each)}: {paragraph(each.reasons)}")
        for line in unrun_lines(advice):
            say(line)
    say("\nWhat the verdict hangs on", "bold")
    say(held(advice))
    every = flips(advice)
    for line in every[:MOST_FLIPS]:
        say(f"  {line}")
    if len(every) > MOST_FLIPS:
        say(f"  … and {len(every) - MOST_FLIPS} more: advice.md in the run folder.")
    say(f"\n{provenance(advice)}", "italic")
    say(f"\n{finding(advice)}.", "bold")


def cost(
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
    prices: PricesOption = None,
    price: PriceOption = None,
    replications: ReplicationsOption = 10,
    seed: SeedOption = 1,
    executor: ExecutorOption = "processes",
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON document instead of tables.")
    ] = False,
    out: OutOption = None,
) -> None:
    """Say what each mechanism costs, item by item, a month and a million events, at prices that you state.

    Prices are those of the scenario's [cost] table, of a file (--prices) and single ones (--price), the later
    over the earlier, in one currency. The run folder holds `costs.csv`.

    Example: hookbench cost shop-orders -m all --prices example --price per_late_event_second=0.00001
    """
    from sim.decide.cost import bills, table
    from sim.decide.prices import priced, require_prices
    from sim.engine import DEFAULT_MECHANISMS, check
    from sim.randomness import replication_seed
    from sim.results import RunFolder
    from sim.scenario import load_scenario
    from sim.terminal import note_compilation, progress

    mechanisms = named(mechanism or DEFAULT_MECHANISMS)
    base = priced(load_scenario(scenario), prices, price or [])
    check(mechanisms, "fast", seed, replications)
    require_prices(base)
    note_compilation(mechanisms)
    seeds = [int(replication_seed(seed, r)) for r in range(replications)]
    with RunFolder.create(f"cost-{base.name}", _command(), out, scenario=base, seeds=seeds) as run:
        with progress(f"pricing {base.name}") as advance:
            found = bills(
                base, mechanisms, replications=replications, seed=seed, executor=executor, progress=advance
            )
        run.save_table(table(found), "costs")
        run.note(replications=replications, seed=seed)
    if as_json:
        from sim.decide.documents import bills_document

        head = {"schema_version": 1, "command": "cost", "scenario": base.model_dump(mode="json")}
        whole = head | bills_document(found) | {"seed": seed, "replications": replications}
        sys.stdout.write(json.dumps(whole | {"run": str(run.path)}, allow_nan=False) + "\n")
        return
    show_bills(base.name, found, replications)
    typer.echo(f"run folder: {run.path}")


def show_bills(name: str, found: list[Bill], replications: int) -> None:
    """Print a table a month and one a million events: a row a mechanism, a column an item.

    Intervals are told of totals; those of the items are in the run folder.
    """
    from sim.decide.cost import TOTAL
    from sim.tables import console, estimate_text, number_text, plain_table

    output = console()
    output.print(f"{name}: what it costs", style="bold", highlight=False)
    for heading, per in (("a month", "per_month"), ("a million events", "per_million_events")):
        table = plain_table()
        table.add_column(heading, no_wrap=True)
        items = list(getattr(found[0], per))
        for item in items:
            table.add_column(item, justify="right", no_wrap=True)
        for bill in found:
            estimates = getattr(bill, per)
            cells = (
                estimate_text(e, "cost") if item == TOTAL or math.isnan(e.mean) else number_text(e.mean)
                for item, e in estimates.items()
            )
            table.add_row(bill.mechanism, *cells)
        output.print(table)
    intervals = ", of totals ± half a 95 % interval" if replications > 1 else ""
    output.print(
        f"Means over {replications} replications{intervals}, in the currency of the prices. A month is a "
        "twelfth of a year like the run; lateness is the price of an event-second times "
        "Σ (visible − created).",
        highlight=False,
    )


def _draw(run: RunFolder, table: pd.DataFrame, advice: Advice, title: str) -> None:
    """The front as a figure: cost or requests to the right, latency upwards."""
    from sim.figures import pareto_scatter

    latency, money, _ = advice.metrics
    run.save_figure(pareto_scatter(table, money, latency, title), "pareto")


def _command() -> str:
    return shlex.join(["hookbench", *sys.argv[1:]])
