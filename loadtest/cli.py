"""``hookbench load``, ``race``, ``serve`` and ``inbox``. Heavy imports wait until a command runs.

Exit codes: 0 good; 2 bad input; 3 void, the figures are not to be trusted; 4 a threshold missed;
130 interrupted (every process stopped, the run folder marked incomplete). Errors are raised: the
front door turns them into one line.
"""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from loadtest.inbox_cli import app as inbox_commands
from loadtest.report_cli import report_command

if TYPE_CHECKING:
    from loadtest.runner import LoadResult

app = typer.Typer(help="Real servers under real load.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(inbox_commands, name="inbox")
app.command("report")(report_command)

ScenarioArgument = Annotated[
    str, typer.Argument(help="a preset's name or a TOML file", metavar="SCENARIO", show_default=False)
]
DurationOption = Annotated[
    float | None,
    typer.Option("--duration", metavar="S", help="seconds (default: the scenario's, at most 30)"),
]
RateOption = Annotated[
    float | None,
    typer.Option("--rate", metavar="R", help="requests a second, Poisson, instead of the workload"),
]
ThresholdOption = Annotated[
    list[str] | None,
    typer.Option(
        "--threshold",
        metavar="METRIC<X",
        help="exit with 4 if missed, e.g. 'latency_p99_s<0.25'; what failed misses any bound on latency",
    ),
]
SeedOption = Annotated[
    int, typer.Option("--seed", min=0, metavar="N", help="fixes events, service times and poll phases")
]
PoolOption = Annotated[int, typer.Option("--pool", min=1, metavar="N", help="requests in flight at most")]
OutOption = Annotated[
    Path | None, typer.Option("--out", metavar="DIR", help="parent of the run folder (default: results)")
]
JsonOption = Annotated[bool, typer.Option("--json", help="one JSON document on standard output")]
FiguresOption = Annotated[
    bool, typer.Option("--figures/--no-figures", help="draw figures into the run folder")
]


@app.command("load")
def load_command(
    scenario: ScenarioArgument,
    arms: Annotated[
        list[str] | None,
        typer.Option("-a", "--arm", metavar="ARM", help="webhook (default) or polling; may be repeated"),
    ] = None,
    duration: DurationOption = None,
    rate: RateOption = None,
    thresholds: ThresholdOption = None,
    host: Annotated[
        str | None, typer.Option("--host", metavar="URL", help="load a server that runs already")
    ] = None,
    seed: SeedOption = 1,
    pool: PoolOption = 100,
    out: OutOption = None,
    as_json: JsonOption = False,
    figures: FiguresOption = True,
    web: Annotated[
        bool, typer.Option("--web", help="open Locust's web page on the scenario instead of running it")
    ] = False,
) -> None:
    """Load ONE server: webhook senders at the receiver, or a crowd of pollers at the events API."""
    chosen = tuple(arms or ("webhook",))
    if web:
        raise typer.Exit(_web(scenario, chosen, rate, duration, host, seed, pool))
    from loadtest.runner import load
    from sim.scenario import load_scenario

    result = load(
        load_scenario(scenario),
        chosen,
        rate_per_s=rate,
        duration_s=duration,
        thresholds=tuple(thresholds or ()),
        host=host,
        seed=seed,
        pool_size=pool,
        out=out,
        command=shlex.join(["hookbench", *sys.argv[1:]]),
        figures=figures,
    )

    raise typer.Exit(_show(result, as_json=as_json))


@app.command("race")
def race_command(
    scenario: ScenarioArgument,
    arms: Annotated[
        list[str] | None,
        typer.Option("-a", "--arm", metavar="ARM", help="webhook, polling (default: both); may be repeated"),
    ] = None,
    runs: Annotated[
        int, typer.Option("--runs", min=1, metavar="N", help="repetitions; two or more give intervals")
    ] = 1,
    duration: DurationOption = None,
    rate: RateOption = None,
    thresholds: ThresholdOption = None,
    seed: SeedOption = 1,
    pool: PoolOption = 100,
    out: OutOption = None,
    as_json: JsonOption = False,
    figures: FiguresOption = True,
) -> None:
    """Send the same events through each arm, end to end, and compare them event by event."""
    from loadtest.runner import race
    from sim.scenario import load_scenario

    result = race(
        load_scenario(scenario),
        tuple(arms or ("webhook", "polling")),
        runs=runs,
        rate_per_s=rate,
        duration_s=duration,
        thresholds=tuple(thresholds or ()),
        seed=seed,
        pool_size=pool,
        out=out,
        command=shlex.join(["hookbench", *sys.argv[1:]]),
        figures=figures,
    )

    raise typer.Exit(_show(result, as_json=as_json))


@app.command(
    "serve",
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []},
)
def serve_command(context: typer.Context) -> None:
    """Run a reference server in the foreground: receiver, provider or poller; see `serve ROLE --help`."""
    from loadtest.serve import main

    raise typer.Exit(main(context.args))


def _say(line: str) -> None:
    typer.echo(line, err=True)


def _show(result: LoadResult, *, as_json: bool) -> int:
    if as_json:
        typer.echo(json.dumps(result.document(), allow_nan=False))
    else:
        from loadtest.tables import show

        show(result)
    for reason in result.void:
        _say(f"hookbench: VOID: {reason}")
    for threshold in result.thresholds:
        if not threshold.met:
            value = "undefined" if threshold.value is None else f"it was {threshold.value:g}"
            _say(f"hookbench: threshold missed by {threshold.arm}: {threshold.threshold} ({value})")
    return result.exit_code


def _web(
    scenario: str,
    arms: tuple[str, ...],
    rate: float | None,
    duration: float | None,
    host: str | None,
    seed: int,
    pool: int,
) -> int:
    """Hand over to plain Locust with its web page; it loads a server that runs already."""
    import subprocess

    from loadtest.runner.generation import locustfile
    from loadtest.runner.load import ARMS
    from loadtest.runner.processes import require_reachable
    from sim.errors import InputError
    from sim.scenario import load_scenario

    load_scenario(scenario)
    if len(arms) != 1 or arms[0] not in ARMS:
        raise InputError(f"--web shows one arm, {' or '.join(ARMS)}, not {', '.join(arms)}")
    if host is None:
        raise InputError("--web needs --host, the URL of a running server (see `hookbench serve`)")
    require_reachable(host)
    command = [sys.executable, "-m", "locust", "-f", str(locustfile(arms[0])), "--host", host]
    command += ["-u", str(pool), "-r", str(pool), "--scenario", scenario, "--seed", str(seed)]
    command += ["--rate-per-s", str(rate or 0), "--duration-s", str(duration or 0), "--web-host", "127.0.0.1"]
    return subprocess.run(command, check=False).returncode
