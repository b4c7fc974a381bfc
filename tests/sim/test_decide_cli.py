"""Protects `hookbench advise` and `hookbench cost`: words, documents, run folders, exit codes, refusals."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import hookbench
from sim.results import read_run

SMALL = """
name = "small"
[workload]
kind = "poisson"
rate_per_s = 0.2
[receiver]
service = { kind = "constant", mean_s = 0.01 }
[run]
duration_s = 2000
on_time_s = 20
[sources]
"workload.rate_per_s" = { source = "guessed", assumed = true }
"""
FEW = ["--replications", "5", "--executor", "threads:1"]
TWO = ["-m", "webhook", "-m", "polling"]


@pytest.fixture
def small(elsewhere: Path) -> str:
    (elsewhere / "small.toml").write_text(SMALL, encoding="utf-8")
    return "small.toml"


def run_folder() -> Path:
    (folder,) = Path("results").iterdir()
    return folder


def advised(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, Any]:
    assert hookbench.run(["advise", *words, *FEW, "--json"]) in {0, 4}
    captured = capsys.readouterr()
    assert captured.err == ""
    document: dict[str, Any] = json.loads(captured.out)
    return document


def test_advice_is_told_in_words_and_left_in_a_run_folder(
    small: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert hookbench.run(["advise", small, *TWO, *FEW]) == 0
    shown = capsys.readouterr().out
    assert "No requirement was given; the scenario implies:" in shown
    assert "latency_p95_s<=20: run.on_time_s bounds the p95" in shown
    assert "1. polling every 20 s" in shown
    assert "2. webhook" in shown
    assert "webhook in place of polling: " in shown
    assert "assumed value" in shown
    assert "polling every 20 s is the first of 2 ways that meet" in shown
    assert "…" not in shown, "a table that does not fit tells nothing"
    run = read_run(run_folder())
    assert run.complete
    assert run.notes["finding"].startswith("polling every 20 s is the first of 2 ways")
    choices = run.table("choices")
    assert list(dict.fromkeys(choices["label"])) == ["polling", "webhook"]
    assert set(choices["metric"]) >= {"latency_p95_s", "requests_per_event"}
    candidates = run.table("candidates")
    assert candidates["fresh"].sum() == 2, "what is recommended was run again"
    assert len(candidates) > 4
    assert {path.name for path in run.path.iterdir()} == {
        *("run.json", "advice.json", "advice.md", "choices.csv", "candidates.csv", "pareto.png", "pareto.svg")
    }
    assert json.loads((run.path / "advice.json").read_text())["choices"][0]["label"] == "polling"
    assert (run.path / "advice.md").read_text().startswith("# polling every 20 s is the first")


def test_advice_as_a_document_has_figures_and_reasons(small: str, capsys: pytest.CaptureFixture[str]) -> None:
    document = advised(capsys, small, *TWO, "--require", "latency_p95_s<8", "--seed", "3")
    assert (document["schema_version"], document["command"], document["seed"]) == (1, "advise", 3)
    assert document["requirements"] == [
        {
            "text": "latency_p95_s<8",
            "metric": "latency_p95_s",
            "sign": "<",
            "limit": 8.0,
            "implied_by": None,
        }
    ]
    labels = [each["label"] for each in document["choices"]]
    assert labels[0] == "polling"
    first = document["choices"][0]
    assert first["settings"] == {"polling.interval_s": 8.0}
    p95 = first["metrics"]["latency_p95_s"]
    assert p95["mean"] <= p95["high"] < 8.0
    longest = [reason for reason in first["reasons"] if reason["kind"] == "longest"]
    assert [(reason["value"], reason["bound"]) for reason in longest] == [(8.0, 10.0)]
    assert document["alternative"] == "webhook"
    assert document["sensitivity"]["asked"] == ["workload.rate_per_s"]
    assert Path(document["run"]).is_dir()


def test_the_same_seed_gives_the_same_advice(small: str, capsys: pytest.CaptureFixture[str]) -> None:
    told = []
    for executor in ("threads:1", "processes:2"):
        words = ["advise", small, *TWO, "--replications", "5", "--executor", executor, "--json"]
        assert hookbench.run(words) == 0
        told.append(json.loads(capsys.readouterr().out) | {"run": None})
    assert told[0] == told[1]


def test_what_cannot_be_met_exits_4_and_tells_what_comes_nearest(
    small: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["advise", small, *TWO, *FEW, "--require", "latency_p95_s<0.001"]
    assert hookbench.run(words) == 4
    shown = capsys.readouterr().out
    assert "Nothing meets latency_p95_s<0.001; webhook comes nearest: latency_p95_s " in shown
    assert "times as much" in shown
    run = read_run(run_folder())
    assert run.complete, "an answer, if not the one that was hoped for"
    assert len(run.table("choices")) == 0
    document = advised(capsys, small, *TWO, "--require", "latency_p95_s<0.001")
    assert document["choices"] == []
    assert {each["label"]: each["misses"] for each in document["rejected"]} == {
        "webhook": ["latency_p95_s<0.001"],
        "polling": ["latency_p95_s<0.001"],
    }


def test_too_few_replications_are_told_from_a_mechanism_too_slow(
    small: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["advise", small, "-m", "webhook", "--replications", "2", "--executor", "threads:1", "--json"]
    assert hookbench.run(words) == 4
    (webhook,) = json.loads(capsys.readouterr().out)["rejected"]
    (evidence,) = [reason for reason in webhook["reasons"] if reason["kind"] == "evidence"]
    assert evidence["value"] < evidence["bound"]


def test_a_consumer_that_cannot_be_called(small: str, capsys: pytest.CaptureFixture[str]) -> None:
    document = advised(capsys, small, *TWO, "--no-inbound")
    assert [each["label"] for each in document["choices"]] == ["polling"]
    (barred,) = document["rejected"]
    assert (barred["label"], barred["reasons"][0]["kind"]) == ("webhook", "no_inbound")
    only = advised(capsys, small, "-m", "webhook", "--no-inbound")
    assert only["finding"].startswith("Nothing meets")


def test_a_budget_rules_out_what_is_dear(small: str, capsys: pytest.CaptureFixture[str]) -> None:
    """At a price of one a request a million events cost a webhook a million, a poll every 20 s a quarter."""
    words = ["--price", "per_million_requests=1e6", "--budget", "5e5"]
    document = advised(capsys, small, *TWO, *words)
    assert [each["label"] for each in document["choices"]] == ["polling"]
    (webhook,) = document["rejected"]
    assert webhook["misses"] == ["cost_per_million_events<=5e5"]
    assert "cost_per_million_events" in document["rule"]


def test_costs_are_a_table_an_item_and_a_document(small: str, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["cost", small, *FEW, "--prices", "example", "--price", "per_gigabyte=0"]
    assert hookbench.run(words) == 0
    shown = capsys.readouterr().out
    for word in (
        "a month",
        "a million events",
        "requests",
        "lateness",
        "losses",
        "total",
        "webhook",
        "polling",
    ):
        assert word in shown
    run = read_run(run_folder())
    costs = run.table("costs")
    assert set(costs["item"]) == {
        *("requests", "bytes", "servers", "connections", "lateness", "losses", "total")
    }
    assert isinstance(costs, pd.DataFrame)
    assert costs.loc[costs["item"] == "bytes", "mean"].eq(0).all()
    assert hookbench.run([*words, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["command"] == "cost"
    assert [each["mechanism"] for each in document["results"]] == ["webhook", "polling"]
    total = document["results"][0]["per_million_events"]["total"]
    assert total["low"] <= total["mean"] <= total["high"]


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["advise"], "Missing argument"),
        (["advise", "{small}", "--require", "latncy_p95_s<5"], "did you mean 'latency_p95_s'"),
        (["advise", "{small}", "--require", "latency_p95_s"], "expected METRIC<NUMBER"),
        (
            ["advise", "{small}", "--require", "latency_p95_s<5", "--require", "latency_p95_s>10"],
            "no value keeps both",
        ),
        (["advise", "{small}", "--budget", "1"], "nothing has a price"),
        (["advise", "{small}", "-m", "pigeon"], "unknown mechanism 'pigeon'"),
        (["advise", "{small}", "--offers", "pigeon"], "unknown mechanism 'pigeon'"),
        (["advise", "{small}", "--replications", "1"], "2 or more"),
        (["advise", "{small}", "--executor", "moon"], "--executor 'moon'"),
        (["advise", "nowhere"], "no preset is called 'nowhere'"),
        (["cost", "{small}"], "states no price"),
        (["cost", "{small}", "--price", "per_smile=1"], "no price is called 'per_smile'"),
        (["cost", "{small}", "--prices", "nowhere"], "--prices nowhere"),
        (["cost", "{small}", "--prices", "example", "-m", "pigeon"], "unknown mechanism"),
    ],
)
def test_what_cannot_be_done_is_one_line_and_exit_2(
    words: list[str], why: str, small: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [word.replace("{small}", small) for word in words]
    assert hookbench.run(words) == 2
    err = capsys.readouterr().err
    assert err.startswith("hookbench: ")
    assert err.count("\n") == 1
    assert why in err
    if "moon" not in words:
        assert not Path("results").exists(), "refused before a folder is made"
