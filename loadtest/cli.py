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

from loadtest.capacity_cli import capacity_command
from loadtest.compare_cli import compare_command
from loadtest.inbox_cli import app as inbox_commands
from loadtest.report_cli import report_command
from loadtest.selftest_cli import selftest_command
from loadtest.summary_cli import JunitOption, MarkdownOption, summarised
from loadtest.validate_cli import validate_command
from sim.errors import InputError

if TYPE_CHECKING:
    from loadtest.plans import Wishes
    from loadtest.runner import LoadResult
    from loadtest.runner.fleet import Fleet

app = typer.Typer(help="Real servers under real load.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(inbox_commands, name="inbox")
app.command("capacity")(capacity_command)
app.command("compare")(compare_command)
app.command("selftest")(selftest_command)
app.command("report")(report_command)
app.command("validate")(validate_command)

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
        metavar="BOUND",
        help="exit with 4 if missed: METRIC<X (or <=, >, >=), for one arm ARM.METRIC<X, for the difference "
        "of two ARM-ARM.METRIC<X; METRIC is any metric or count of the ledger, as latency_p99_s<0.25, "
        "lost<=0, webhook.latency_p50_s<0.1, webhook-polling.latency_p50_s<0; what failed misses any "
        "bound on latency; may be repeated",
    ),
]
ShapeOption = Annotated[
    str | None,
    typer.Option(
        "--shape",
        metavar="KIND:…",
        help="a load shape instead of the workload: constant, poisson, steps, ramp, spike, sine or soak, "
        "e.g. ramp:from=10,to=300 or steps:rates=100/200/400,each=10",
    ),
]
FaultOption = Annotated[
    list[str] | None,
    typer.Option(
        "--fault",
        metavar="[ROLE:]KIND@S",
        help="do something to a server: pause@5+1.4, kill@5+2, restart@5, slow@5+3x4, provider:pause@5+1, "
        "or outages, the scenario's own; may be repeated",
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
        typer.Option(
            "-a",
            "--arm",
            metavar="ARM",
            help="webhook (default), thin_webhook, polling, conditional_polling, adaptive_polling, "
            "long_polling, streaming; may be repeated",
        ),
    ] = None,
    duration: DurationOption = None,
    rate: RateOption = None,
    shape: ShapeOption = None,
    faults: FaultOption = None,
    storms: Annotated[
        list[str] | None,
        typer.Option(
            "--storm",
            metavar="KIND:…",
            help="duplicates:share=0.3,times=3, forgeries:share=0.5, retries, or (pollers) herd; "
            "may be repeated",
        ),
    ] = None,
    source: Annotated[
        str | None,
        typer.Option(
            "--source", metavar="NAME", help="whose webhooks are sent, e.g. stripe (default: the scenario's)"
        ),
    ] = None,
    payload_cv: Annotated[
        float,
        typer.Option(
            "--payload-cv", metavar="X", help="vary the payloads' sizes: lognormal, standard deviation / mean"
        ),
    ] = 0.0,
    clients: Annotated[
        int | None,
        typer.Option("--clients", metavar="N", help="pollers or held connections (default: subscribers)"),
    ] = None,
    thresholds: ThresholdOption = None,
    host: Annotated[
        str | None, typer.Option("--host", metavar="URL", help="load a server that runs already")
    ] = None,
    path: Annotated[
        str | None,
        typer.Option("--path", metavar="PATH", help="the request path at --host (default: the arm's own)"),
    ] = None,
    ca: Annotated[
        str | None, typer.Option("--ca", metavar="FILE", help="certificates that vouch for an https --host")
    ] = None,
    public_url: Annotated[
        str | None,
        typer.Option("--public-url", metavar="URL", help="that server's URL, where providers sign it"),
    ] = None,
    generators: Annotated[
        int, typer.Option("--generators", min=1, metavar="N", help="Locust processes that share the schedule")
    ] = 1,
    expect_workers: Annotated[
        int,
        typer.Option(
            "--expect-workers",
            min=0,
            metavar="N",
            help="share it with N workers that you start, anywhere",
        ),
    ] = 0,
    master: Annotated[
        str,
        typer.Option(
            "--master",
            metavar="HOST[:PORT]",
            help="where such workers connect; Locust neither encrypts nor authenticates them",
        ),
    ] = "127.0.0.1:5557",
    seed: SeedOption = 1,
    pool: PoolOption = 100,
    out: OutOption = None,
    as_json: JsonOption = False,
    junit: JunitOption = None,
    markdown: MarkdownOption = None,
    figures: FiguresOption = True,
    web: Annotated[
        bool, typer.Option("--web", help="open Locust's web page on the scenario instead of running it")
    ] = False,
) -> None:
    """Load ONE server: senders at the receiver, pollers or held connections at the events API."""
    chosen = tuple(arms or ("webhook",))
    fleet = _fleet(generators, expect_workers, master, ca)
    if web:
        from loadtest.plans import Wishes

        if generators > 1 or expect_workers or path:
            raise InputError("--web is plain Locust in one process; run it yourself for more (locust --help)")
        wishes = Wishes(rate, shape, duration, tuple(storms or ()), source, payload_cv, clients, public_url)
        raise typer.Exit(_web(scenario, chosen, wishes, host, seed, pool, ca))
    from loadtest.runner import load
    from loadtest.senders import source_of
    from sim.scenario import load_scenario

    loaded = load_scenario(scenario)
    if fleet.elsewhere:
        _say(_invitation(chosen, fleet, source or source_of(loaded), host, pool))
    result = summarised(load, junit, markdown)(
        loaded,
        chosen,
        rate_per_s=rate,
        shape=shape,
        duration_s=duration,
        storms=tuple(storms or ()),
        source=source,
        payload_cv=payload_cv,
        clients=clients,
        public_url=public_url,
        faults=tuple(faults or ()),
        thresholds=tuple(thresholds or ()),
        host=host,
        path=path,
        fleet=fleet,
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
        typer.Option(
            "-a",
            "--arm",
            metavar="ARM",
            help="a mechanism of `hookbench simulate`, or all; over a broker rabbitmq, redis_streams, kafka; "
            "may be repeated (default: webhook, polling)",
        ),
    ] = None,
    runs: Annotated[
        int, typer.Option("--runs", min=1, metavar="N", help="repetitions; two or more give intervals")
    ] = 1,
    duration: DurationOption = None,
    rate: RateOption = None,
    shape: ShapeOption = None,
    faults: FaultOption = None,
    thresholds: ThresholdOption = None,
    seed: SeedOption = 1,
    pool: PoolOption = 100,
    out: OutOption = None,
    as_json: JsonOption = False,
    junit: JunitOption = None,
    markdown: MarkdownOption = None,
    figures: FiguresOption = True,
) -> None:
    """Send the same events through each arm, end to end, and compare them event by event."""
    from loadtest.runner import race
    from loadtest.runner.arms import DEFAULT_ARMS, named
    from loadtest.runner.faults import ROLES, faults_of
    from loadtest.schedule import scheduled_scenario, with_shape
    from sim.scenario import load_scenario

    shaped = with_shape(load_scenario(scenario), shape, rate)
    disturbance = faults_of(tuple(faults or ()), scheduled_scenario(shaped, rate, duration))
    if disturbance is not None:
        disturbance.require_servers(ROLES)
    result = summarised(race, junit, markdown)(
        shaped,
        named(arms or DEFAULT_ARMS),
        runs=runs,
        rate_per_s=rate,
        duration_s=duration,
        thresholds=tuple(thresholds or ()),
        seed=seed,
        pool_size=pool,
        out=out,
        disturbance=disturbance,
        command=shlex.join(["hookbench", *sys.argv[1:]]),
        figures=figures,
    )

    raise typer.Exit(_show(result, as_json=as_json))


@app.command(
    "serve",
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []},
)
def serve_command(context: typer.Context) -> None:
    """Run a reference server in the foreground, such as a receiver; see `serve --help` for the roles."""
    from loadtest.serve import main

    raise typer.Exit(main(context.args))


def _fleet(generators: int, expect_workers: int, master: str, ca: str | None) -> Fleet:
    from loadtest.runner.fleet import Fleet

    host, _, port = master.partition(":")
    if not host or not (port or "5557").isdecimal() or not 0 < int(port or 5557) < 65536:
        raise InputError(f"--master {master!r}: expected HOST or HOST:PORT, such as 0.0.0.0:5557")
    return Fleet(generators, expect_workers, host, int(port or 5557), ca)


def _invitation(arms: tuple[str, ...], fleet: Fleet, source: str, host: str | None, pool: int) -> str:
    """How to start the workers that a run waits for, once it is clear that it can be."""
    from loadtest.plans import SENDERS
    from loadtest.runner.check import require_fleet
    from loadtest.runner.generation import locustfile
    from loadtest.senders import secret_variable

    require_fleet(fleet, arms, host, pool)
    secret = f"{secret_variable(source)}=... " if arms[0] in SENDERS else ""
    command = f"locust -f {locustfile(arms[0])} --worker --master-host HOST --master-port {fleet.bind_port}"
    return (
        f"waiting for {fleet.expect_workers} workers at {fleet.bind_host}:{fleet.bind_port}; each is\n"
        f"  {secret}{command}"
    )


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
    wishes: Wishes,
    host: str | None,
    seed: int,
    pool: int,
    ca: str | None,
) -> int:
    """Hand over to plain Locust with its web page; it loads a server that runs already."""
    import subprocess

    from loadtest.plans import LISTENERS, LOAD_ARMS, scenario_for
    from loadtest.runner.generation import locustfile
    from loadtest.runner.inquiries import require_reachable
    from sim.scenario import load_scenario

    if len(arms) != 1 or arms[0] not in LOAD_ARMS:
        raise InputError(f"--web shows one arm of {', '.join(LOAD_ARMS)}, not {', '.join(arms)}")
    effective = scenario_for(arms[0], load_scenario(scenario), wishes)
    if host is None:
        raise InputError("--web needs --host, the URL of a running server (see `hookbench serve`)")
    require_reachable(host, ca)
    clients = wishes.clients or effective.subscribers.count
    users = pool + (clients if arms[0] in LISTENERS else 0)
    command = [sys.executable, "-m", "locust", "-f", str(locustfile(arms[0])), "--host", host]
    command += ["-u", str(users), "-r", str(users), "--scenario", scenario, "--seed", str(seed)]
    command += ["--rate-per-s", str(wishes.rate_per_s or 0), "--duration-s", str(wishes.duration_s or 0)]
    command += ["--shape", wishes.shape or "", "--storm", " ".join(wishes.storms)]
    command += ["--source", wishes.source or "", "--payload-cv", str(wishes.payload_cv)]
    command += ["--public-url", wishes.public_url or "", "--clients", str(clients)]
    command += ["--ca", ca] if ca else []
    return subprocess.run([*command, "--web-host", "127.0.0.1"], check=False).returncode
