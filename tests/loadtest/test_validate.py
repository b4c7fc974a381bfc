"""Protects `hookbench validate` end to end, on real servers: its parts run, and what it leaves can be read.

How exact it is depends on the machine, and is what a validation measures; here nothing of the kind is asked.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import hookbench
from loadtest.report.page import sections_of
from loadtest.report.plot import Ids
from loadtest.runs import read_recorded
from loadtest.validate.observed import observed


def run(*arguments: str) -> int:
    return hookbench.run(["validate", *arguments])


@pytest.fixture(scope="module")
def lost(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A validation of lost answers, a second each; the cheapest part there is."""
    out = tmp_path_factory.mktemp("validate")
    code = run(
        "shop-orders-rush", "--part", "duplicates", "--runs", "1", "--duration", "2", "--out", str(out)
    )
    assert code in (0, 3)
    (folder,) = out.iterdir()
    return folder


def test_the_model_loses_the_same_answers(lost: Path) -> None:
    """Counts do not depend on a machine's mood: attempt by attempt the same answers are lost."""
    document = json.loads((lost / "run.json").read_text(encoding="utf-8"))
    assert document["status"] == "complete"
    verdicts = {each["threshold"].partition(" ")[0]: each["met"] for each in document["notes"]["thresholds"]}
    assert verdicts == {"attempts_per_event": True, "duplicates_per_event": True}


def test_it_appears_in_a_report(lost: Path) -> None:
    (section,) = sections_of(lost, Ids())
    assert section.kind == "validate"
    assert section.verdict.finding.startswith("The model predicted 4 of 4 figures")
    assert any(table.caption == "comparisons.csv" for block in section.blocks for table in block.tables)


def test_its_loads_can_be_calibrated_from(lost: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A load keeps when each event was received, and --from reads it."""
    folder = sorted(path for path in lost.iterdir() if path.is_dir())[0]
    recorded = read_recorded(folder)
    load = observed(recorded.repetitions[0], recorded.warmup_s, 2.0)
    assert np.isfinite(load.received_s).all()
    assert (load.received_s >= load.sent_s).all()
    assert (load.visible_s >= load.received_s).all()
    capsys.readouterr()
    assert (
        run("--from", str(folder), "--rate", "200", "--json", "--runs", "1", "--out", str(lost.parent)) == 0
    )
    document = json.loads(capsys.readouterr().out)
    assert document["forecasts"][0]["rate_per_s"] == 200
    assert document["forecasts"][0]["metrics"]["latency_p50_s"]["mean"] > 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "give a SCENARIO, or --from"),
        (("shop-orders-rush", "--rate", "5"), "--rate belongs to --from"),
        (("shop-orders-rush", "--from", "x.csv"), "neither SCENARIO nor --part"),
        (("shop-orders-rush", "--part", "wind"), "there is no such part"),
        (("no-such-scenario",), "no-such-scenario"),
        (("--from", "missing.csv"), "No such file"),
    ],
)
def test_bad_input_is_one_line(
    arguments: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert message in captured.err
    assert captured.err.count("\n") == 1


@pytest.mark.slow
def test_every_part_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """About five minutes; whether the predictions hold is not asked."""
    code = run("shop-orders-rush", "--runs", "1", "--duration", "4", "--json", "--out", str(tmp_path))
    assert code in (0, 3, 4)
    document = json.loads(capsys.readouterr().out)
    parts = {each["part"] for each in document["comparisons"]}
    assert parts == {"known", "natural", "polling", "long_polling", "recovery", "duplicates"}
    (folder,) = tmp_path.iterdir()
    assert (folder / "errors.png").is_file()
    assert (folder / "cdf_natural.png").is_file()
