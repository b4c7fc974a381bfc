"""Protects `hookbench sweep` and `hookbench crossover`: tables, documents, run folders, resuming, errors."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

import hookbench
from sim.results import read_run

SMALL = """
name = "small"
[workload]
kind = "poisson"
rate_per_s = 0.1
[polling]
interval_s = 10
[run]
duration_s = 600
"""


@pytest.fixture
def small(tmp_path: Path) -> str:
    path = tmp_path / "small.toml"
    path.write_text(SMALL)
    return str(path)


def run_folder(out: Path) -> Path:
    (folder,) = out.iterdir()
    return folder


def test_a_sweep_leaves_its_rows_and_shows_every_point(
    small: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    words = ["sweep", small, "--vary", "polling.interval_s=5,60", "--replications", "2"]
    assert hookbench.run([*words, "--executor", "threads:1", "--out", str(out)]) == 0
    shown = capsys.readouterr().out
    assert "small: 2 design points" in shown
    assert shown.count("±") + shown.count(" to ") + shown.count("(> ") >= 6, "an interval in every cell"
    assert "…" not in shown, "a table that does not fit tells nothing"
    run = read_run(run_folder(out))
    assert run.complete
    rows = pd.read_parquet(run.path / "sweep.parquet")
    assert set(rows["polling.interval_s"]) == {5, 60}
    assert rows.equals(pd.read_parquet(run.path / "sweep.parquet"))
    assert len(run.table("sweep")) == len(rows)
    assert set(run.table("summary").columns) >= {
        "polling.interval_s",
        "mechanism",
        "metric",
        "mean",
        "low",
        "high",
    }


def test_a_stopped_sweep_goes_on(
    small: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    words = ["sweep", small, "--vary", "polling.interval_s=5,20,60", "--replications", "2"]
    words += ["--executor", "threads:2"]

    def stop(self: object, *_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("sim.experiment.sweep.Sweep.rows", stop)
        assert hookbench.run([*words, "--out", str(out)]) == hookbench.INTERRUPTED
    folder = run_folder(out)
    assert not read_run(folder).complete
    journal = (folder / "journal.jsonl").read_bytes()
    capsys.readouterr()
    assert hookbench.run(["sweep", "--resume", str(folder), "--executor", "threads:1", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["run"] == str(folder)
    assert {row["polling.interval_s"] for row in document["results"]} == {5, 20, 60}
    assert (folder / "journal.jsonl").read_bytes() == journal, "all was finished: nothing is computed again"
    assert read_run(folder).complete
    assert len(read_run(folder).notes["resumed"]) == 1
    assert hookbench.run(["sweep", "--resume", str(folder)]) == 2
    assert "is complete" in capsys.readouterr().err


def test_a_crossover_is_a_sentence_and_a_document(
    small: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["crossover", small, "--over", "polling.interval_s=1:100", "--replications", "8"]
    words += ["--executor", "threads:1", "--out", str(tmp_path / "out")]
    assert hookbench.run(words) == 0
    assert "webhook has the lower requests_per_event up to polling.interval_s = " in capsys.readouterr().out
    assert hookbench.run([*words, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    (crossing,) = document["crossings"]
    assert crossing["low"] <= crossing["at"] <= crossing["high"]
    assert document["finding"].startswith("webhook has the lower")


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["sweep"], "needs a SCENARIO"),
        (["sweep", "{small}"], "give --vary"),
        (["sweep", "{small}", "--vary", "polling.interval=1,2"], "interval_s"),
        (
            ["sweep", "{small}", "--vary", "polling.interval_s=1,2", "-m", "pigeon"],
            "unknown mechanism 'pigeon'",
        ),
        (["sweep", "{small}", "--vary", "polling.interval_s=1,2", "--executor", "moon"], "--executor 'moon'"),
        (["sweep", "{small}", "--vary", "polling.interval_s=1,2", "--replications", "0"], "replications"),
        (["sweep", "{small}", "--resume", "x"], "give neither"),
        (["sweep", "--resume", "/nowhere"], "not a run folder"),
        (["crossover", "{small}"], "--over"),
        (["crossover", "{small}", "--over", "polling.interval_s=1"], "expected KEY or KEY=LOW:HIGH"),
        (
            ["crossover", "{small}", "--over", "polling.interval_s", "--between", "webhook", "x"],
            "unknown mechanism",
        ),
    ],
)
def test_what_cannot_be_done_is_one_line_and_exit_2(
    words: list[str], why: str, small: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [word.replace("{small}", small) for word in words]
    extra = [] if "--resume" in words else ["--out", str(tmp_path / "out")]
    assert hookbench.run([*words, *extra]) == 2
    err = capsys.readouterr().err
    assert err.startswith("hookbench: ")
    assert err.count("\n") == 1
    assert why in err
