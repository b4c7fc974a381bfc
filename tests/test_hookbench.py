"""Protects the front door: exit codes by the table, one line for every error, the demo from end to end."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import hookbench
from loadtest.retry import RetryPolicy, retry_delay_s
from sim.policies import compile_retry, retry_delay
from sim.results import read_run
from sim.scenario import Retry

ROOT = Path(__file__).parents[1]


def hookbench_process(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "hookbench", *arguments],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


def test_without_a_command_the_help_is_shown(elsewhere: Path) -> None:
    answer = hookbench_process("--help", cwd=elsewhere)
    assert answer.returncode == 0
    for command in (
        "demo",
        "simulate",
        "scenarios",
        "trace",
        "load",
        "race",
        "serve",
        "capacity",
        "compare",
        "selftest",
    ):
        assert command in answer.stdout


@pytest.mark.parametrize(
    "command",
    [
        *("simulate", "narrate", "load", "race", "trace", "scenarios", "demo"),
        *("capacity", "compare", "selftest", "report", "sweep", "crossover"),
    ],
)
def test_every_command_explains_itself(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert hookbench.run([command, "--help"]) == 0
    assert "Usage: hookbench" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "code"), [(["serve"], 2), (["serve", "pigeon"], 2), (["serve", "--help"], 0), ([], 0)]
)
def test_exit_codes_of_what_has_a_parser_of_its_own(
    arguments: list[str], code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert hookbench.run(arguments) == code
    assert capsys.readouterr().err.count("\n") == (1 if code else 0)


def test_an_interrupt_is_one_line_and_exit_130(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], elsewhere: Path
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("sim.engine.simulate", interrupted)
    assert hookbench.run(["simulate", "shop-orders"]) == 130
    assert capsys.readouterr().err.splitlines()[-1] == "hookbench: interrupted"
    (folder,) = (elsewhere / "results").iterdir()
    run = read_run(folder)
    assert not run.complete
    assert run.reason == "interrupted"


def test_the_demo_from_end_to_end(elsewhere: Path) -> None:
    """The main job. On a noisy machine a run may be void; then it must say so and exit 3."""
    answer = hookbench_process("demo", cwd=elsewhere)
    assert answer.returncode in (0, 3), answer.stderr
    assert "predicted" in answer.stdout
    assert "Half of the orders were visible within" in answer.stdout
    (folder,) = (elsewhere / "results").iterdir()
    run = read_run(folder)
    assert run.complete
    assert (answer.returncode == 3) == bool(run.notes["void"]), run.notes["void"]
    for figure in ("latency_cdf", "latency_vs_interval", "server_load_webhook", "server_load_polling"):
        assert (folder / f"{figure}.png").stat().st_size > 10_000
    race = read_run(folder / run.notes["race"])
    records = race.records()
    assert set(records["arm"]) == {"webhook", "polling"}
    for _, rows in records.groupby("arm"):
        assert (rows["status"] == "delivered").all()
    table = run.table("predicted_and_measured").set_index(["arm", "metric", "source"])["mean"].sort_index()
    polled = table["polling", "latency_p50_s"]
    pushed = table["webhook", "latency_p50_s"]
    assert pushed["measured"] < polled["measured"]
    assert 0 < polled["measured"] < 3.0


@given(
    kind=st.sampled_from(["fixed", "linear", "exponential"]),
    base_s=st.floats(0.0, 100.0),
    factor=st.floats(1.0, 10.0),
    cap_s=st.floats(0.1, 10_000.0),
    jitter=st.sampled_from(["none", "full", "equal", "proportional", "decorrelated"]),
    attempt=st.integers(1, 30),
    previous_s=st.floats(0.0, 1000.0),
    u=st.floats(0.0, 1.0, exclude_max=True),
)
def test_the_real_provider_waits_as_the_model_does(
    kind: str,
    base_s: float,
    factor: float,
    cap_s: float,
    jitter: str,
    attempt: int,
    previous_s: float,
    u: float,
) -> None:
    """Two implementations of one rule, since a server process must not load the compiler."""
    if jitter == "decorrelated":
        kind = "exponential"
    document = {
        "kind": kind,
        "base_s": base_s,
        "factor": factor,
        "cap_s": cap_s,
        "max_attempts": 31,
        "jitter": jitter,
    }
    retry = Retry.model_validate(document)
    modelled = retry_delay(compile_retry(retry), attempt, previous_s, u)
    real = retry_delay_s(RetryPolicy.from_table(json.loads(retry.model_dump_json())), attempt, previous_s, u)
    assert real == pytest.approx(modelled, rel=1e-12, abs=1e-12)
