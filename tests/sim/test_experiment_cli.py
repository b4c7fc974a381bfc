"""Protects `hookbench sweep`, `crossover` and `surface`: what they print and leave, resuming, errors."""

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


def pictures(folder: Path) -> set[str]:
    """The figures in a run folder, each as PNG and as SVG."""
    names = {path.stem for path in folder.glob("*.png")}
    assert names == {path.stem for path in folder.glob("*.svg")}
    return names


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
    assert pictures(run.path) == {"latency_vs_interval", "latency_p95_s", "requests_per_event"}
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
    assert pictures(Path(document["run"])) == {"difference"}
    (crossing,) = document["crossings"]
    assert crossing["low"] <= crossing["at"] <= crossing["high"]
    assert document["finding"].startswith("webhook has the lower")


def test_figures_of_a_sweep_follow_its_axes_and_its_metrics(small: str, tmp_path: Path) -> None:
    """Two axes of numbers make maps, and of two mechanisms surfaces; words make none."""
    runs = tmp_path / "runs"
    words = ["sweep", small, "--replications", "2", "--executor", "threads:1", "--metric", "freshness"]
    two = ["--vary", "polling.interval_s=5,20", "--vary", "receiver.workers=1,2"]
    assert hookbench.run([*words, *two, "--out", str(runs / "two")]) == 0
    assert pictures(run_folder(runs / "two")) == {"map_freshness", "surface_freshness"}
    assert hookbench.run([*words, *two, "-m", "polling", "--out", str(runs / "one")]) == 0
    assert pictures(run_folder(runs / "one")) == {"map_freshness"}
    kinds = ["--vary", "polling.schedule=fixed_rate,exponential"]
    assert hookbench.run([*words, *kinds, "--out", str(runs / "kinds")]) == 0
    assert pictures(run_folder(runs / "kinds")) == set()
    workers = ["--vary", "receiver.workers=1,2", "-m", "webhook"]
    assert hookbench.run([*words, *workers, "--out", str(runs / "workers")]) == 0
    assert pictures(run_folder(runs / "workers")) == {"freshness"}


OVER = ["--over", "polling.interval_s=2,10,50", "--over", "workload.rate_per_s=0.02,0.5"]


def test_a_surface_is_a_glance_a_table_and_a_document(
    small: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["surface", small, *OVER, "--replications", "4", "--executor", "threads:1"]
    assert hookbench.run([*words, "--out", str(tmp_path / "out")]) == 0
    shown = capsys.readouterr().out
    lines = [line.split() for line in shown.splitlines()]
    assert ["50", "·", "P"] in lines
    assert ["2", "W", "·"] in lines
    assert "W webhook, P polling, · cannot be told apart" in shown
    assert "break-even polling.interval_s" in shown
    run = read_run(run_folder(tmp_path / "out"))
    assert run.complete
    assert pictures(run.path) == {"surface"}
    cells = run.table("surface")
    assert list(cells.columns) == [
        "polling.interval_s", "workload.rate_per_s", "mean", "low", "high", "winner", "decided",
    ]  # fmt: skip
    pd.testing.assert_frame_equal(
        cells.fillna({"winner": ""}), pd.read_parquet(run.path / "surface.parquet"), check_dtype=False
    )
    assert set(pd.read_parquet(run.path / "sweep.parquet")["metric"]) >= {"latency_p99_s", "freshness"}
    assert hookbench.run([*words, "--json", "--out", str(tmp_path / "again")]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["finding"] == run.notes["finding"]
    assert [cell["winner"] for cell in document["cells"]] == cells["winner"].fillna("").tolist()
    assert document["y"] == {"key": "polling.interval_s", "values": [2, 10, 50]}
    assert len(document["break_even"]) == len(run.table("break_even"))


def test_a_stopped_surface_goes_on_without_computing_anything_twice(
    small: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    words = ["surface", small, *OVER, "--metric", "bytes_per_event", "--replications", "3", "--seed", "4"]
    words += ["--executor", "threads:2"]

    def stop(self: object, *_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("sim.results.RunFolder.save_figure", stop)
        assert hookbench.run([*words, "--out", str(out)]) == hookbench.INTERRUPTED
    folder = run_folder(out)
    assert (folder / "surface.csv").exists(), "stopped after some of its files"
    journal = (folder / "journal.jsonl").read_bytes()
    capsys.readouterr()
    assert hookbench.run(["surface", "--resume", str(folder), "--executor", "threads:1", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert (folder / "journal.jsonl").read_bytes() == journal
    assert (document["metric"], document["seed"], document["replications"]) == ("bytes_per_event", 4, 3)
    assert read_run(folder).complete


def test_a_surface_s_axes_have_defaults(
    small: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["surface", small, "--replications", "2", "--executor", "threads:2", "--json"]
    assert hookbench.run([*words, "--out", str(tmp_path / "out")]) == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["y"]["key"], document["x"]["key"]) == ("polling.interval_s", "workload.rate_per_s")
    assert len(document["cells"]) == 81
    assert document["y"]["values"][4] == pytest.approx(10)
    assert document["x"]["values"][4] == pytest.approx(0.1)


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
        (
            ["sweep", "{small}", "--vary", "polling.interval_s=1,2", "--metric", "latency_men_s"],
            "did you mean 'latency_mean_s'",
        ),
        (["crossover", "{small}"], "--over"),
        (
            ["crossover", "{small}", "--over", "polling.interval_s", "--metric", "joy"],
            "'joy': no such metric",
        ),
        (
            ["crossover", "{small}", "--over", "polling.interval_s", "--replications", "1"],
            "2 replications or more",
        ),
        (["surface"], "needs a SCENARIO"),
        (["surface", "{small}", "--over", "polling.interval_s=1,2"], "has two axes, got 1"),
        (["surface", "{small}", "--over", "polling.interval_s"], "--over 'polling.interval_s': expected KEY"),
        (["surface", "{small}", "--metric", "joy"], "'joy': no such metric"),
        (["surface", "{small}", "--replications", "1"], "2 replications or more"),
        (["surface", "{small}", "--between", "webhook", "pigeon"], "unknown mechanism 'pigeon'"),
        (["surface", "--resume", "/nowhere"], "not a run folder"),
        (["surface", "--resume", "x", "--seed", "2"], "give no more"),
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
    assert not (tmp_path / "out").exists(), "refused before a run folder is made"
