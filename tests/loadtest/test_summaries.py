"""Protects what CI systems and pull requests are told: nothing void or missed passes, nothing breaks out."""

from __future__ import annotations

import re

import numpy as np
import pytest
from junitparser import Error, Failure, JUnitXml, Skipped

from loadtest import junit, markdown
from loadtest.summary_cli import summarised
from loadtest.verdict import RULES, Reason, ThresholdResult
from sim.errors import InputError, VoidRun
from sim.results import read_run
from tests.loadtest.recorded import invented_run, written

LATENCY_US = np.full(40, 5_000)
MET = ThresholdResult("webhook", "latency_p99_s<0.25", 0.005, met=True)
MISSED = ThresholdResult("webhook-polling", "webhook-polling.latency_p50_s<0", 0.1, met=False)


def result_of(tmp_path, void=(), thresholds=(MET, MISSED), runs=1):
    made = [
        invented_run(arm, run, LATENCY_US + run, void=void if arm == "webhook" else ())
        for run in range(runs)
        for arm in ("webhook", "polling")
    ]
    return written(tmp_path / "results", "race", made, thresholds)


def parsed(tmp_path, result) -> JUnitXml:
    path = tmp_path / "junit.xml"
    junit.write(path, result, read_run(result.path).document)
    return JUnitXml.fromfile(str(path))


def outcomes(suite) -> dict[str, type | None]:
    return {f"{case.classname}: {case.name}": type(case.result[0]) if case.result else None for case in suite}


def test_every_void_rule_and_threshold_is_a_test_case(tmp_path):
    xml = parsed(tmp_path, result_of(tmp_path))
    (suite,) = xml
    assert (xml.tests, xml.failures, xml.errors) == (2 * len(RULES) + 2, 1, 0)
    assert (suite.tests, suite.failures, suite.errors, suite.skipped) == (2 * len(RULES) + 2, 1, 0, 0)
    found = outcomes(suite)
    assert len(found) == suite.tests
    bad = {name: kind for name, kind in found.items() if kind is not None}
    assert bad == {
        "hookbench.race.shop-orders-rush.webhook-polling: threshold: webhook-polling.latency_p50_s<0": Failure
    }
    ledger = next(case for case in suite if "webhook" in case.classname and "ledger" in case.name)
    assert "acknowledged: 40\n" in ledger.system_out
    told = {each.name: each.value for each in suite.properties()}
    assert told["polling.latency_p50_s"] == "0.005"
    assert len(told["scenario.digest"]) == 64


def test_a_void_run_is_an_error_under_its_rule_and_judges_no_threshold(tmp_path):
    void = [Reason("generator_lag", "late \x1b[1m<&> by 12 ms"), "the poller slept"]
    (suite,) = parsed(tmp_path, result_of(tmp_path, void, runs=2))
    assert (suite.errors, suite.failures, suite.skipped) == (4, 0, 2)
    bad = {name: kind for name, kind in outcomes(suite).items() if kind is not None}
    assert list(bad.values()).count(Error) == 4
    assert list(bad.values()).count(Skipped) == 2
    late = next(case for case in suite if case.name == f"sound: {RULES['generator_lag']}")
    assert late.classname == "hookbench.race.shop-orders-rush.webhook.run_1"
    assert late.result[0].message == "late \ufffd[1m<&> by 12 ms"
    other = next(case for case in suite if case.name == f"sound: {RULES['other']}")
    assert other.result[0].message == "the poller slept"


def test_a_run_that_came_to_nothing_is_an_error_too(tmp_path):
    def race():
        raise VoidRun("Locust died")

    path = tmp_path / "junit.xml"
    with pytest.raises(VoidRun):
        summarised(race, path, None)()
    (suite,) = JUnitXml.fromfile(str(path))
    (case,) = suite
    assert (suite.name, suite.errors, case.result[0].message) == ("race", 1, "Locust died")


def test_a_file_that_cannot_be_written_is_refused_before_anything_runs(tmp_path):
    with pytest.raises(InputError, match=r"--junit .*absent.* cannot be written: No such file"):
        summarised(result_of, tmp_path / "absent" / "x.xml", None)
    with pytest.raises(InputError, match=r"--markdown .* cannot be written: Is a directory"):
        summarised(result_of, None, tmp_path)


def test_both_files_are_written_from_one_run(tmp_path):
    xml, text = tmp_path / "x.xml", tmp_path / "x.md"
    result = summarised(result_of, xml, text)(tmp_path)
    assert JUnitXml.fromfile(str(xml)).tests == 2 * len(RULES) + 2
    assert str(result.path) in text.read_text()


@pytest.mark.parametrize(
    ("void", "thresholds", "verdict"),
    [
        ([], [], "## sound: race shop-orders-rush"),
        ([], [MET], "## all 1 thresholds met: race"),
        ([], [MET, MISSED], "## 1 of 2 thresholds missed: race"),
        (["asleep"], [MET], "## VOID: race"),
    ],
)
def test_the_summary_begins_with_the_verdict(void, thresholds, verdict, tmp_path):
    result = result_of(tmp_path, void, thresholds, runs=2)
    text = markdown.load_summary(result, read_run(result.path).document)
    assert text.startswith(verdict)
    assert ("- webhook (run 1): asleep" in text) == bool(void)
    assert "| `latency_p50_s` | 5 ± 0.0064 ms | 5 ± 0.0064 ms |" in text
    assert "| acknowledged | 80 | 80 |" in text
    assert "| `latency_p99_s<0.25` | webhook | 0.005 | void |" in text or not void
    # Every table has as many cells in each row as in its head.
    for block in text.split("\n\n"):
        if block.startswith("|"):
            assert len({len(re.findall(r"(?<!\\)\|", line)) for line in block.splitlines()}) == 1


def test_words_from_outside_stay_words():
    assert markdown.text("a|b <img src=x> *c*\n# d") == r"a\|b \<img src=x\> \*c\* \# d"
    assert markdown.code("a|b `c`") == "`a¦b  c `"


def test_a_step_summary_of_github_actions_is_added_to(tmp_path, monkeypatch):
    path = tmp_path / "summary.md"
    path.write_text("before\n")
    monkeypatch.setenv(markdown.STEP_SUMMARY, str(path))
    markdown.write(path, "after\n")
    assert path.read_text() == "before\nafter\n"
    monkeypatch.delenv(markdown.STEP_SUMMARY)
    markdown.write(path, "alone\n")
    assert path.read_text() == "alone\n"
