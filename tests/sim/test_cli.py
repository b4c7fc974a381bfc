"""Protects the simulation half of the command line: documents, run folders, and errors on one line."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import hookbench
import sim.cli
from sim.catalogue import MECHANISMS
from sim.results import read_run
from sim.timeseries import SERIES_COLUMNS

SMALL = """
name = "small"
[workload]
kind = "poisson"
rate_per_s = 1.0
[run]
duration_s = 100.0
"""


@pytest.fixture
def small(elsewhere: Path) -> str:
    (elsewhere / "small.toml").write_text(SMALL)
    return "small.toml"


def test_simulate_prints_one_json_document(small: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert hookbench.run(["simulate", small, "--json", "--replications", "3", "--seed", "5"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["schema_version"] == 1
    assert document["command"] == "simulate"
    assert (document["seed"], document["engine"], document["replications"]) == (5, "fast", 3)
    assert [result["mechanism"] for result in document["results"]] == ["webhook", "polling"]
    metrics = document["results"][1]["metrics"]
    assert (
        metrics["latency_p50_s"]["low"] < metrics["latency_p50_s"]["mean"] < metrics["latency_p50_s"]["high"]
    )
    methods = {
        name: metrics[name]["method"] for name in ("latency_p50_s", "requests_per_event", "lost_ratio")
    }
    assert methods == {"latency_p50_s": "pooled", "requests_per_event": "ratio", "lost_ratio": "seldom"}
    assert metrics["age_mean_s"]["method"] == "t"
    pairs = {(pair["a"], pair["b"]) for pair in document["paired"]}
    assert pairs == {("webhook", "polling")}


def test_engines_give_the_same_document(small: str, capsys: pytest.CaptureFixture[str]) -> None:
    results = []
    for engine in ("fast", "simpy"):
        assert hookbench.run(["simulate", small, "--json", "--engine", engine]) == 0
        results.append(json.loads(capsys.readouterr().out)["results"])
    for fast, simpy in zip(*results, strict=True):
        assert fast["metrics"].keys() == simpy["metrics"].keys()
        for name, value in fast["metrics"].items():
            assert value["mean"] == pytest.approx(simpy["metrics"][name]["mean"], rel=1e-9, abs=1e-12)


def test_one_replication_has_no_interval(small: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert hookbench.run(["simulate", small, "--json", "-m", "webhook"]) == 0
    (result,) = json.loads(capsys.readouterr().out)["results"]
    assert result["metrics"]["latency_mean_s"]["low"] is None


def test_simulate_prints_a_table_and_leaves_a_run_folder(
    small: str, elsewhere: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert hookbench.run(["simulate", small, "--out", "runs"]) == 0
    printed = capsys.readouterr().out
    assert "latency_p99_s" in printed
    (folder,) = (elsewhere / "runs").iterdir()
    assert str(folder.relative_to(elsewhere)) in printed
    run = read_run(folder)
    assert run.complete
    assert run.scenario is not None
    assert run.scenario.name == "small"
    assert set(run.records()["mechanism"]) == {"webhook", "polling"}
    assert set(run.table("summary")["mechanism"]) == {"webhook", "polling"}


def test_the_run_folder_tells_the_first_replication_over_time(
    small: str, elsewhere: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert hookbench.run(["simulate", small, "--replications", "2"]) == 0
    (folder,) = (elsewhere / "results").iterdir()
    run = read_run(folder)
    series, records = run.table("series"), run.records()
    assert series.columns.tolist() == ["mechanism", *SERIES_COLUMNS]
    assert series.groupby("mechanism")["start_s"].count().to_dict() == {"webhook": 240, "polling": 240}
    first = records[records["replication"] == 0]
    assert series["created"].sum() == len(first)
    assert series["visible"].sum() == (first["status"] == "delivered").sum()


def test_the_run_folder_has_figures_of_what_happened(
    small: str, elsewhere: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert hookbench.run(["simulate", small, "--replications", "2", "--out", "well"]) == 0
    (well,) = (elsewhere / "well").iterdir()
    assert {path.stem for path in well.glob("*.png")} == {"latency_cdf", "latency_survival"}
    (elsewhere / "failing.toml").write_text(
        SMALL + "[receiver]\noutages = [{ start_s = 20.0, duration_s = 10.0, kind = 'refuse' }]\n"
    )
    assert hookbench.run(["simulate", "failing.toml", "--out", "failing"]) == 0
    (failing,) = (elsewhere / "failing").iterdir()
    assert {path.stem for path in failing.glob("*.png")} == {"latency_cdf", "latency_survival", "outage"}
    series = read_run(failing).table("series")
    assert len(series) == 480, "bins as the scenario has them, whatever the figure's"


def test_every_mechanism_can_be_asked_for_at_once(small: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert hookbench.run(["simulate", small, "--json", "-m", "all"]) == 0
    results = json.loads(capsys.readouterr().out)["results"]
    assert [result["mechanism"] for result in results] == list(MECHANISMS)
    assert hookbench.run(["simulate", "--help"]) == 0
    help_text = " ".join(capsys.readouterr().out.split())
    assert f"{', '.join(MECHANISMS)}, or all" in help_text
    assert hookbench.run(["simulate", small, "-m", "webhook", "-m", "all"]) == 2
    assert "a mechanism is given twice" in capsys.readouterr().err


def test_many_mechanisms_are_told_in_a_row_each(
    small: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As for five and more; so that two will do, two are many here."""
    monkeypatch.setattr(sim.cli, "FEW_MECHANISMS", 1)
    assert hookbench.run(["simulate", small, "--replications", "2"]) == 0
    printed = capsys.readouterr().out
    assert "latency_p99_s: " not in printed
    assert any(line.startswith("polling") for line in printed.splitlines())
    assert "summary.csv in the run folder" in printed
    assert "webhook − polling" in printed


def test_what_is_zero_is_told_in_one_line(small: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert hookbench.run(["simulate", small]) == 0
    printed = capsys.readouterr().out
    rows = {line.split()[0] for line in printed.splitlines() if line.startswith(" ") and line.split()}
    assert "lost_ratio" in rows
    assert "dead_letter_ratio" not in rows
    assert "dead_letter_ratio" in printed[printed.index("0 throughout: ") :]


BAD = [
    (["simulate", "shop-order"], "no preset is called 'shop-order'; did you mean 'shop-orders'?"),
    (["simulate", "absent.toml"], "absent.toml: no such scenario file"),
    (
        ["simulate", "shop-orders", "-m", "pigeon"],
        "unknown mechanism 'pigeon'; known: webhook, webhook_reconciled,",
    ),
    (["simulate", "shop-orders", "-m", "webhook", "-m", "webhook"], "a mechanism is given twice"),
    (["simulate", "shop-orders", "--replications", "0"], "replications must be in [1, 1000000], got 0"),
    (["simulate", "shop-orders", "--seed", "-1"], "seed must be in [0, 2^63), got -1"),
    (["simulate", "shop-orders", "--engine", "warp"], "'warp' is not one of 'fast', 'simpy'"),
    (["simulate"], "Missing argument 'SCENARIO'"),
    (["simulte", "shop-orders"], "No such command 'simulte'"),
    (["simulate", "shop-orders", "--nope"], "No such option: --nope"),
    (["narrate", "shop-orders", "--events", "0"], "events must be at least 1, got 0"),
    (["narrate", "shop-orders", "-m", "pigeon"], "unknown mechanism 'pigeon'"),
    (["simulate", "shop-orders", "--replications", "1000000000"], "replications must be in [1, 1000000]"),
    (["simulate", "x" * 5000], "cannot be read: File name too long"),
    (["simulate", "shop-orders", "--out", "/dev/null"], "cannot make the run folder /dev/null"),
    (["trace"], "Missing command"),
    (["trace", "git", "absent"], "absent: no such folder"),
    (["trace", "csv", "absent.csv"], "absent.csv"),
]


@pytest.mark.parametrize(("arguments", "message"), BAD, ids=[" ".join(a) for a, _ in BAD])
def test_bad_input_is_one_line_and_exit_2(
    arguments: list[str], message: str, elsewhere: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert hookbench.run(arguments) == 2
    printed = capsys.readouterr()
    assert message in printed.err
    assert printed.err.startswith("hookbench: ")
    assert printed.err.count("\n") == 1
    assert printed.out == ""
    assert list(elsewhere.iterdir()) == []


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("[workload]\nkind", '"poisson"\nrate_per_s = 1e9', "1e+11 deliveries; at most 50,000,000"),
        ("[workload]\nkind", '"periodic"\nrate_per_s = 1e300', "less than or equal to 1000000000000"),
        ("[subscribers]\ncount", "1000000000", "less than or equal to 8388608"),
        ("[polling]\npage_size", "9223372036854775807", "less than or equal to 1000000000"),
        (
            "[network]\none_way",
            '{ kind = "lognormal", mean_s = 1, cv = 1e200 }',
            "less than or equal to 1000",
        ),
        ("deep", "[" * 5000, "not a TOML file"),
    ],
)
def test_numbers_beyond_reason_are_refused(
    key: str, value: str, message: str, elsewhere: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line and exit 2; not a traceback, not a hang, not all of the memory."""
    text = SMALL.replace('[workload]\nkind = "poisson"\nrate_per_s = 1.0\n', "")
    workload = "" if key.startswith("[workload]") else '[workload]\nkind = "poisson"\nrate_per_s = 1.0\n'
    top, _, rest = text.partition("[run]")
    (elsewhere / "odd.toml").write_text(f"{top}{workload}{key} = {value}\n[run]{rest}")
    assert hookbench.run(["simulate", "odd.toml"]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_an_interrupt_is_heard_while_a_kernel_runs(elsewhere: Path) -> None:
    (elsewhere / "long.toml").write_text(
        'name = "long"\n[workload]\nkind = "poisson"\nrate_per_s = 0.001\n'
        "[polling]\ninterval_s = 0.0001\n[run]\nduration_s = 1e9\n"
    )
    command = [sys.executable, "-m", "hookbench", "simulate", "long.toml", "-m", "polling"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        while not list(elsewhere.glob("results/*/run.json")):
            time.sleep(0.05)
            assert process.poll() is None
        time.sleep(1.0)
        process.send_signal(signal.SIGINT)
        try:
            _, error = process.communicate(timeout=30)
        finally:
            process.kill()
    assert process.returncode == 130
    assert error == "hookbench: interrupted\n"
    (folder,) = (elsewhere / "results").iterdir()
    assert read_run(folder).reason == "interrupted"


def test_a_reader_may_leave(small: str) -> None:
    """`hookbench … | head`: no complaint about more than a pipe holds being left unread."""
    command = f"{sys.executable} -m hookbench narrate shop-orders --events 2000"
    answer = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {command} | head -1"], capture_output=True, text=True, check=False
    )
    assert answer.stdout.endswith("event 0 is created\n")
    assert answer.stderr == ""
    assert answer.returncode == 0


def test_scenarios_are_listed_shown_and_described(capsys: pytest.CaptureFixture[str]) -> None:
    assert hookbench.run(["scenarios"]) == 0
    assert "shop-orders" in capsys.readouterr().out
    assert hookbench.run(["scenarios", "show", "shop-orders"]) == 0
    assert "[polling]" in capsys.readouterr().out
    assert hookbench.run(["scenarios", "schema"]) == 0
    assert "polling" in json.loads(capsys.readouterr().out)["properties"]


def test_narrate_tells_a_story(capsys: pytest.CaptureFixture[str]) -> None:
    assert hookbench.run(["narrate", "shop-orders", "--events", "2"]) == 0
    assert "event 1 is visible" in capsys.readouterr().out


@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_every_mechanism_has_a_story(mechanism: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert hookbench.run(["narrate", "shop-orders", "-m", mechanism, "--events", "2"]) == 0
    assert "event 1" in capsys.readouterr().out


def test_a_git_history_becomes_a_scenario_that_runs(
    elsewhere: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@example.com"]
    subprocess.run(["git", "init", "--quiet", "repo"], check=True)
    for day in (1, 2, 2, 5):
        date = {"GIT_COMMITTER_DATE": f"2024-01-0{day}T12:00:00Z", "PATH": "/usr/bin:/bin"}
        subprocess.run(
            [*git, "commit", "--quiet", "--allow-empty", "-m", "x"], cwd="repo", env=date, check=True
        )
    assert hookbench.run(["trace", "git", "repo"]) == 0
    printed = capsys.readouterr().out
    assert "rows: 4" in printed
    assert hookbench.run(["simulate", "results/traces/repo.toml", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert all(result["metrics"]["lost_ratio"]["mean"] == 0 for result in document["results"])
