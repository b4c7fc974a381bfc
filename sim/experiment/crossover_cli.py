"""``hookbench crossover``."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sim.experiment.cli import ExecutorOption, OutOption, command_line

if TYPE_CHECKING:
    import pandas as pd

    from sim.experiment.crossover import Crossover


def crossover(
    scenario: Annotated[
        str, typer.Argument(help="A preset's name, or the path of a TOML file.", metavar="SCENARIO")
    ],
    over: Annotated[
        str,
        typer.Option(help="KEY, or KEY=LOW:HIGH: the value that is searched, and where.", metavar="KEY"),
    ],
    between: Annotated[tuple[str, str], typer.Option(help="The two mechanisms.", metavar="MECH MECH")] = (
        "webhook",
        "polling",
    ),
    metric: Annotated[
        str, typer.Option(help="On which they are compared.", metavar="METRIC")
    ] = "requests_per_event",
    replications: Annotated[
        int, typer.Option(help="At each value that is looked at, two or more.", metavar="N")
    ] = 10,
    seed: Annotated[int, typer.Option(help="Fixes every draw.", metavar="N")] = 1,
    executor: ExecutorOption = "processes",
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON document instead of a sentence.")
    ] = False,
    out: OutOption = None,
) -> None:
    """Find where the verdict between two mechanisms flips, with a 95 % interval.

    The run folder holds `differences.csv` (every value that was looked at, with the paired difference there)
    and a figure of them.

    Example: hookbench crossover shop-orders --over polling.interval_s=1:600 --metric requests_per_event
    """
    from sim.engine import check
    from sim.experiment.crossover import check_crossover
    from sim.experiment.crossover import crossover as search
    from sim.experiment.executors import check_executor
    from sim.figures import difference_vs_parameter
    from sim.randomness import replication_seed
    from sim.results import RunFolder
    from sim.scenario import load_scenario
    from sim.terminal import note_compilation, progress

    base = load_scenario(scenario)
    check(between, "fast", seed, replications)
    key, low, high = _searched(over)
    check_executor(executor)
    check_crossover(base, key, metric, replications, low, high)
    note_compilation(between)
    seeds = [int(replication_seed(seed, r)) for r in range(replications)]
    with RunFolder.create(f"crossover-{base.name}", command_line(), out, scenario=base, seeds=seeds) as run:
        with progress(f"searching {key}") as advance:
            found = search(
                base, *between, key, metric, low=low, high=high, replications=replications, seed=seed,
                executor=executor, progress=advance,
            )  # fmt: skip
        run.save_table(_differences(found), "differences")
        run.save_figure(difference_vs_parameter(found), "difference")
        run.note(crossover=_crossover_document(found), replications=replications, seed=seed)
    if as_json:
        head = {
            "schema_version": 1,
            "command": "crossover",
            "scenario": base.model_dump(mode="json"),
            "seed": seed,
        }
        document = head | {"replications": replications} | _crossover_document(found) | {"run": str(run.path)}
        sys.stdout.write(json.dumps(document, allow_nan=False) + "\n")
        return
    typer.echo(f"{base.name}: {found.sentence()}.")
    typer.echo(f"({len(found.points)} values looked at, {replications} replications each on the same draws)")
    for line in _won(found):
        typer.echo(line)
    typer.echo(f"run folder: {run.path}")


def _searched(over: str) -> tuple[str, float | None, float | None]:
    from sim.errors import InputError

    key, equals, span = over.partition("=")
    if not equals:
        return key, None, None
    try:
        low, high = (float(end) for end in span.split(":"))
    except ValueError:
        raise InputError(f"--over {over!r}: expected KEY or KEY=LOW:HIGH") from None
    return key, low, high


def _differences(found: Crossover) -> pd.DataFrame:
    import pandas as pd

    from sim.experiment.pairs import PAIRING_COLUMNS, pairing_row

    return pd.DataFrame(
        [(x, *pairing_row(pairing)) for x, pairing in found.pairings],
        columns=[found.parameter, *PAIRING_COLUMNS],
    )


def _won(found: Crossover) -> list[str]:
    """What pairing won, at the crossings or else throughout; and where it is little, why."""
    from sim.experiment.pairs import reasons, spans

    near = found.pairings_at_crossings or tuple(pairing for _, pairing in found.pairings)
    where = "at the crossing" if found.pairings_at_crossings else "throughout"
    told = spans({found.metric: [pairing.narrower for pairing in near]})
    lines = [f"Times narrower than unpaired, {where}: {told}."] if told else []
    return lines + list(dict.fromkeys(reasons((found.a, found.b, found.metric, each) for each in near)))[:1]


def _crossover_document(found: Crossover) -> dict[str, Any]:
    from sim.experiment.pairs import pairing_json

    return {
        "a": found.a,
        "b": found.b,
        "metric": found.metric,
        "parameter": found.parameter,
        "range": [found.low, found.high],
        "crossings": [crossing.__dict__ for crossing in found.crossings],
        "points": [
            {
                "value": x,
                "difference": {"mean": e.mean, "low": e.low, "high": e.high, **pairing_json(pairing)},
            }
            for x, pairing in found.pairings
            for e in [pairing.difference]
        ],
        "finding": found.sentence(),
    }
