"""Protects the command line: light at import, JSON in the published shape, tables and figures that tell."""

from __future__ import annotations

import io
import json
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from loadtest import figures, tables
from loadtest.recorder import REFUSED, Samples
from loadtest.runner.results import ArmRun, LoadResult, Paired
from loadtest.schedule import with_shape
from loadtest.verdict import Ledger, ThresholdResult
from sim.experiment import Estimate
from sim.records import Status, Via, measured_records
from sim.scenario import load_scenario

ORIGIN_US = 5_000_000


def arm_run(arm: str, run: int, latency_us: int, void: list[str]) -> ArmRun:
    """Twenty requests, all answered after the same time."""
    intended = ORIGIN_US + np.arange(20) * 50_000
    samples = Samples.scheduled(np.arange(20), intended)
    samples.sent_us[:] = intended + 100
    samples.done_us[:] = intended + latency_us
    samples.status[:] = 204
    records = measured_records(
        created_us=intended,
        first_attempt_us=intended,
        visible_us=intended + latency_us,
        attempts=np.ones(20),
        copies=np.ones(20),
        via=Via.WEBHOOK,
        status=np.full(20, Status.DELIVERED),
        origin_us=ORIGIN_US,
    )
    at_s = np.arange(0.0, 1.1, 0.1)
    load = pd.DataFrame({"role": "receiver", "at_s": at_s, "cpu_s": at_s * 0.25})
    metrics = {"latency_p50_s": latency_us / 1e6, "latency_p99_s": float("nan")}
    ledger = Ledger(20, 20, 0, 20, 0, 20, 0, 0, 0)
    notes = {"origin_us": ORIGIN_US, "end_us": ORIGIN_US + 1_000_000}
    return ArmRun(arm, run, metrics, ledger, void, samples, records, load, notes)


def race_result(tmp_path, runs=1, void=()):
    made = [
        arm_run(arm, run, latency_us + 1000 * run, list(void))
        for run in range(runs)
        for arm, latency_us in (("webhook", 10_000), ("polling", 400_000))
    ]
    paired = (Paired("webhook", "polling", "latency_p50_s", Estimate(-0.39, None, None)),)
    return LoadResult("race", load_scenario("shop-orders"), 1, tuple(made), (), tmp_path, paired)


def test_importing_the_commands_loads_nothing_heavy():
    script = (
        "import sys, loadtest.cli; "
        "print([m for m in ('locust', 'gevent', 'numpy', 'pandas', 'matplotlib', 'numba', 'uvicorn') "
        "if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.strip() == "[]"


def test_the_json_document_has_the_published_shape(tmp_path):
    document = json.loads(json.dumps(race_result(tmp_path).document(), allow_nan=False))
    assert document["results"][0] == {
        "arm": "webhook",
        "metrics": {
            "latency_p50_s": {"mean": 0.01, "low": None, "high": None},
            "latency_p99_s": {"mean": None, "low": None, "high": None},
        },
    }
    assert document["paired"] == [
        {"a": "webhook", "b": "polling", "metric": "latency_p50_s", "mean": -0.39, "low": None, "high": None}
    ]
    assert document["scenario"]["name"] == "shop-orders"
    assert document["scenario"]["polling"]["interval_s"] == 30
    assert document["ledger"]["polling"]["visible"] == 20
    assert (document["void"], document["thresholds"], document["replications"]) == ([], [], 1)


def test_several_runs_have_an_interval_and_a_summed_ledger(tmp_path):
    result = race_result(tmp_path, runs=3)
    estimate = result.metrics("webhook")["latency_p50_s"]
    # 10, 11 and 12 ms: mean 11, Student's t for 2 degrees of freedom 4.303 times 1/sqrt(3).
    assert estimate.mean == pytest.approx(0.011)
    assert estimate.high == pytest.approx(0.011 + 4.3027 * 0.001 / np.sqrt(3), rel=1e-4)
    assert result.ledger("webhook")["scheduled"] == 60


def test_void_and_thresholds_decide_the_exit_code(tmp_path):
    sound = race_result(tmp_path)
    assert sound.exit_code == 0
    missed = LoadResult(
        "race",
        sound.scenario,
        1,
        sound.runs,
        (ThresholdResult("webhook", "latency_p50_s<0", 0.01, met=False),),
        tmp_path,
    )
    assert missed.exit_code == 4
    void = race_result(tmp_path, runs=2, void=["the machine slept"])
    assert void.exit_code == 3
    assert void.void[0] == "webhook (run 1): the machine slept"


def test_the_table_names_units_arms_and_void(tmp_path):
    written = io.StringIO()
    tables.show(race_result(tmp_path, void=["asleep"]), Console(file=written, width=100))
    text = written.getvalue()
    rows = {line.split()[0]: line.split()[1:] for line in text.splitlines() if line.strip()}
    assert "VOID: race shop-orders" in text
    assert rows["latency_p50_s"] == ["10", "ms", "400", "ms"]
    assert rows["latency_p99_s"] == ["undefined", "undefined"]
    assert rows["scheduled"] == ["20", "20"]
    assert rows["report:"] == ["hookbench", "report", str(tmp_path)]


def test_what_befell_a_server_is_told_in_the_table_and_shaded_in_the_figure(tmp_path):
    run = arm_run("webhook", 0, 10_000, [])
    run.samples.status[5:8] = REFUSED
    run.notes["storms"] = ["retries"]
    run.notes["faults"] = [
        {"text": "kill@0.2+0.1", "role": "receiver", "kind": "kill", "begun_s": 0.2, "ended_s": 0.4}
    ]
    scenario = with_shape(load_scenario("shop-orders"), "ramp:from=10,to=30")
    result = LoadResult("load", scenario, 1, (run,), (), tmp_path)
    assert result.shape == "ramp:from=10,to=30; retries; kill@0.2+0.1"
    upper, lower = figures.draw(result)["server_load_webhook"].axes
    assert result.shape in upper.get_title(loc="left")
    assert "receiver: kill" in [text.get_text() for text in upper.texts]
    spans = [[patch.get_x(), patch.get_x() + patch.get_width()] for patch in lower.patches]
    assert spans == [pytest.approx([0.2, 0.4])]
    assert "× failed: 3" in [text.get_text() for text in lower.texts]
    console = Console(width=100, record=True, file=io.StringIO())
    tables.show(result, console)
    told = console.export_text()
    assert "load: ramp:from=10,to=30; retries; kill@0.2+0.1" in told
    assert "receiver: kill from 0.20 s to 0.40 s" in told


def test_figures_state_the_finding_and_a_void_run_is_stamped(tmp_path):
    drawn = figures.draw(race_result(tmp_path, void=["asleep"]))
    assert set(drawn) == {
        *("latency_cdf", "server_load_webhook", "server_load_polling"),
        *("timeline_webhook", "timeline_polling"),
    }
    cdf = drawn["latency_cdf"]
    assert (
        " ".join(cdf.axes[0].get_title(loc="left").split())
        == "Half of all events are visible 40× sooner by webhook than by polling"
    )
    upper = drawn["server_load_webhook"].axes[0]
    finding, shape = upper.get_title(loc="left").splitlines()
    assert finding == "webhook: at most 25 % of a core for the receiver, p99 10 ms"
    assert shape == "poisson 0.5/s"
    for figure in drawn.values():
        assert "VOID" in [text.get_text() for text in figure.texts]
        figure.savefig(tmp_path / "figure.png")
    assert not figures.draw(race_result(tmp_path))["latency_cdf"].texts
