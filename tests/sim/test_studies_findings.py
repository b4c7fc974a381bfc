"""Protects what studies share: verdicts by confidence, and `hookbench studies` from list to run folder."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

import hookbench
from sim.errors import InputError
from sim.results import read_run
from sim.studies import STUDIES, find
from sim.studies.findings import Finding, Verdict


def finding(*values: float, agrees: tuple[float, float] | None = None, unit: str = "") -> Finding:
    return Finding("key", "claim", "published", "measured", values, unit, agrees)


@pytest.mark.parametrize(
    ("agrees", "verdict"),
    [
        ((0.0, 10.0), Verdict.HOLDS),
        ((5.0, 5.0), Verdict.UNDECIDED),  # the mean alone agrees, its interval does not
        ((4.0, 5.2), Verdict.UNDECIDED),
        ((5.2, 6.0), Verdict.UNDECIDED),
        ((7.0, 8.0), Verdict.FAILS),
        ((0.0, 3.0), Verdict.FAILS),
        (None, Verdict.NEW),
    ],
)
def test_a_claim_holds_if_the_whole_interval_agrees(
    agrees: tuple[float, float] | None, verdict: Verdict
) -> None:
    """Mean 5, standard deviation 0.4, three values: half the interval is 4.303 · 0.4 / √3 = 0.994."""
    assert finding(4.6, 5.0, 5.4, agrees=agrees).verdict() == verdict


def test_more_confidence_takes_a_wider_interval() -> None:
    """Half-widths of (4.6, 5.0, 5.4): 0.994 at 95 %, 23.1 at 99.99 %."""
    close = finding(4.6, 5.0, 5.4, agrees=(4.0, 6.0))
    assert close.verdict() == Verdict.HOLDS
    assert close.verdict(1 - 1e-4) == Verdict.UNDECIDED
    low, high = close.estimate().low, close.estimate().high
    assert (low, high) == pytest.approx((4.00635, 5.99365), abs=1e-5)


def test_what_is_undefined_proves_nothing() -> None:
    undefined = finding(1.0, math.nan, agrees=(0.0, 2.0))
    assert undefined.verdict() == Verdict.UNDECIDED
    assert undefined.text() == "undefined"


@pytest.mark.parametrize(
    ("values", "unit", "text"),
    [
        ((4.6, 5.0, 5.4), "ms", "5 ± 0.99 ms"),
        ((665.0, 665.0), "Mbit/s", "665 Mbit/s"),
        ((0.25,), "", "0.25"),
    ],
)
def test_figures_are_told_with_their_uncertainty(values: tuple[float, ...], unit: str, text: str) -> None:
    assert finding(*values, unit=unit).text() == text


def test_studies_are_listed_with_their_authors(capsys: pytest.CaptureFixture[str]) -> None:
    assert hookbench.run(["studies"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == list(STUDIES)
    assert "Brooker, 2015" in lines[0]
    assert hookbench.run(["studies", "--help"]) == 0
    assert "published experiment" in capsys.readouterr().out


def test_a_study_prints_its_verdicts_and_leaves_a_run_folder(
    elsewhere: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert hookbench.run(["studies", "empty-polls", "--replications", "3", "--out", "runs"]) == 0
    printed = " ".join(capsys.readouterr().out.split())
    (folder,) = (elsewhere / "runs").iterdir()
    assert str(folder.relative_to(elsewhere)) in printed.replace(" ", "")
    for word in ("Vogels", "98.5 %", "does not hold", "not claimed", "304"):
        assert word in printed
    run = read_run(folder)
    assert run.complete
    assert run.notes["citation"] == STUDIES["empty-polls"].citation
    assert run.notes["scenarios"]["weekly"]["polling"]["interval_s"] == 604_800.0
    assert len(run.document["seeds"]) == run.notes["replications"] == 3
    findings = run.table("findings").set_index("key")
    assert findings.loc["weekly", "verdict"] == "does not hold"
    assert findings.loc["weekly", "low"] < findings.loc["weekly", "mean"] < findings.loc["weekly", "high"]
    assert len(run.table("runs")) == 3 * len(run.notes["scenarios"])


def test_json_is_one_document(elsewhere: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert hookbench.run(["studies", "empty-polls", "--replications", "2", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["command"] == "studies"
    assert document["study"] == "empty-polls"
    by_key = {each["key"]: each for each in document["findings"]}
    assert by_key["weekly"]["published"] == "≈ 20 %"
    assert by_key["weekly-bursts"]["published"] is None
    assert Path(document["run"]).is_dir()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["jitter"], "no study is called 'jitter'; studies: backoff-and-jitter, metastable-failure"),
        (["empty-polls", "--replications", "1"], "replications must be in [2, 10000], got 1"),
        (["empty-polls", "--seed", "-1"], "seed must be in [0, 2^63), got -1"),
    ],
)
def test_bad_input_is_one_line_and_exit_2(
    arguments: list[str], message: str, elsewhere: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert hookbench.run(["studies", *arguments]) == 2
    printed = capsys.readouterr()
    assert message in printed.err
    assert printed.err.count("\n") == 1
    assert printed.out == ""
    assert list(elsewhere.iterdir()) == []


def test_find_refuses_what_there_is_not() -> None:
    with pytest.raises(InputError, match="no study is called 'x'"):
        find("x")
    assert find("empty-polls").name == "empty-polls"
