"""Protects the reading of run folders: what was measured comes back whole, nothing else is taken for it."""

from __future__ import annotations

import math

import numpy as np
import pytest

import sim
from loadtest.runs import SUBSCRIBER_STRIDE, read_recorded
from loadtest.traffic import FORGED
from loadtest.verdict import ThresholdResult
from sim.cli import run_simulation
from sim.errors import InputError
from sim.results import REFERENCE, RunFolder
from tests.loadtest.recorded import invented_run, written

LATENCY_US = np.array([5_000, 7_000, 6_000, 9_000])


def test_a_load_comes_back_with_its_latencies_and_failures(tmp_path):
    run = invented_run("webhook", 0, LATENCY_US, failed=[2], void=["asleep"])
    missed = ThresholdResult("webhook", "latency_p50_s<0", 0.006, met=False)
    read = read_recorded(written(tmp_path, "load", [run], [missed]).path)
    assert (read.kind, read.arms, read.void) == ("load", ("webhook",), ["webhook: asleep"])
    assert read.ledger["webhook"]["failed"] == 1
    assert read.thresholds == [missed.__dict__]
    (repetition,) = read.of("webhook")
    assert repetition.metrics == run.metrics
    found = repetition.latencies()
    assert found["latency"].latency_s.tolist() == [0.005, 0.007, math.inf, 0.009]
    assert found["uncorrected_latency"].latency_s.tolist() == [0.0049, 0.0069, math.inf, 0.0089]
    assert found["visible_latency"].latency_s == pytest.approx([0.006, 0.008, math.inf, 0.010])
    assert found["visible_latency"].created_s == pytest.approx([0.0, 0.05, 0.1, 0.15])
    # What was due before the end of the warm-up counts for nothing, in any of them.
    later = repetition.latencies(0.1)
    assert all(later[prefix].event.tolist() == [2, 3] for prefix in found)


def test_a_forged_request_has_no_latency_refused_or_not(tmp_path):
    run = invented_run("webhook", 0, LATENCY_US)
    run.samples.kind[[1, 2]] = FORGED
    run.samples.status[1] = 401  # as it should be; the other was taken for good
    (repetition,) = read_recorded(written(tmp_path, "load", [run]).path).of("webhook")
    found = repetition.latencies()
    for prefix, expected in (("latency", [0.005, 0.009]), ("uncorrected_latency", [0.0049, 0.0089])):
        assert found[prefix].latency_s.tolist() == expected
        assert found[prefix].event.tolist() == [0, 3]


def test_a_race_has_the_latency_of_its_deliveries_only(tmp_path):
    runs = [invented_run(arm, run, LATENCY_US + run) for run in (0, 1) for arm in ("webhook", "polling")]
    read = read_recorded(written(tmp_path, "race", runs).path)
    assert [(each.arm, each.run) for each in read.repetitions] == [
        ("webhook", 0),
        ("webhook", 1),
        ("polling", 0),
        ("polling", 1),
    ]
    for each in read.repetitions:
        (prefix,) = each.latencies()
        assert prefix == "latency"
        assert each.latencies()["latency"].latency_s[0] == pytest.approx(0.006 + each.run * 1e-6)


def test_a_simulation_comes_back_replication_by_replication(tmp_path):
    scenario = sim.load_scenario("shop-orders-rush").with_values(**{"subscribers.count": 2})
    outcome, path = run_simulation(scenario, ["webhook"], "fast", 2, 1, tmp_path)
    read = read_recorded(path)
    assert (read.kind, read.arms, len(read.repetitions)) == ("simulate", ("webhook",), 2)
    for number, repetition in enumerate(read.repetitions):
        expected = {name: values[number] for name, values in outcome.metrics["webhook"].items()}
        assert repetition.metrics == pytest.approx(expected, nan_ok=True)
        latency = repetition.latencies()["latency"]
        assert float(np.median(latency.latency_s)) == pytest.approx(expected["latency_p50_s"])
        assert np.unique(latency.event).size == latency.event.size
        assert latency.event.max() >= SUBSCRIBER_STRIDE


def test_committed_runs_older_than_the_table_of_metrics_can_be_read():
    (path,) = REFERENCE.glob("*/*_race-shop-orders-rush_*")
    read = read_recorded(path)
    summary = read.summary.set_index(["arm", "metric"])["mean"]
    for repetition in read.repetitions:
        assert repetition.metrics["latency_p50_s"] == summary[repetition.arm, "latency_p50_s"]


def test_what_is_no_such_run_is_refused_with_the_reason(tmp_path):
    with pytest.raises(InputError, match="not a run folder"):
        read_recorded(tmp_path)
    with RunFolder.create("demo", "hookbench demo", tmp_path) as folder:
        pass
    with pytest.raises(InputError, match="not a run of load, race or simulate, but 'demo'"):
        read_recorded(folder.path)
    unfinished = RunFolder.create("load-x", "hookbench load x", tmp_path)
    with pytest.raises(InputError, match="incomplete"):
        read_recorded(unfinished.path)
