"""Protects `compare`: like is compared with like, changes are as large and as sure as they are said to be."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from scipy import stats

import hookbench
from loadtest.compare import compare
from loadtest.compare.effects import (
    FAILED,
    GOOD,
    LATENCIES,
    Kind,
    Verdict,
    _of_repetitions,
    effects,
    judge,
)
from loadtest.resampling import LEAST_REPLICATES, Interval
from loadtest.runner.figures_of_merit import KNOWN_METRICS
from loadtest.runs import read_recorded
from sim.cli import run_simulation
from sim.errors import InputError
from sim.results import DOCUMENT
from sim.scenario import load_scenario
from tests.loadtest.recorded import invented_run, written

COUNT = 600


@pytest.fixture(autouse=True)
def _few_resamples(monkeypatch):
    """As many as long series get: nothing here depends on more."""
    monkeypatch.setattr("loadtest.resampling.MOST_REPLICATES", LEAST_REPLICATES)


def latencies_us(seed: int, scale: float = 1.0, count: int = COUNT) -> np.ndarray:
    """Log-normal around 10 ms: the noise of one seed is shared by whatever uses it."""
    draws = np.random.default_rng(seed).lognormal(np.log(10_000), 0.5, count)
    return np.rint(scale * draws).astype(np.int64)


def a_load(tmp_path, name, latency_us, **options):
    return written(tmp_path / name, "load", [invented_run("webhook", 0, latency_us, **options)]).path


def by_metric(comparison) -> dict:
    return {effect.metric: effect for effect in comparison.effects}


def edited(folder, change) -> None:
    """Change a run.json after the fact."""
    path = folder / DOCUMENT
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))


def test_a_slower_run_is_worse_by_what_it_is_slower(tmp_path):
    a, b = a_load(tmp_path, "a", latencies_us(1)), a_load(tmp_path, "b", latencies_us(1, 1.2))
    found = by_metric(compare(a, b, tolerance=0.05))
    for name in ("latency_mean_s", "latency_p50_s", "latency_p95_s", "latency_p99_s"):
        effect = found[name]
        # The same events, each 20 % later: paired, hence exact but for whole microseconds.
        assert effect.change.value == pytest.approx(1.2, abs=1e-3)
        assert effect.change.low == pytest.approx(1.2, abs=1e-3)
        assert (effect.kind, effect.basis, effect.verdict) == (Kind.RATIO, "blocks", Verdict.WORSE)
        assert effect.worse_by() == pytest.approx(0.2, abs=1e-3)
    assert found["latency_cliffs_delta"].verdict is Verdict.WORSE
    assert "uncorrected_latency_p99_s" not in found
    back = by_metric(compare(b, a, tolerance=0.05))["latency_mean_s"]
    assert back.verdict is Verdict.BETTER
    assert back.worse_by() < 0


def test_a_tolerance_fails_only_what_is_worse_by_more(tmp_path):
    a, b = a_load(tmp_path, "a", latencies_us(1)), a_load(tmp_path, "b", latencies_us(1, 1.2))
    assert compare(a, b).exit_code == 0
    assert compare(a, b, tolerance=0.3).exit_code == 0
    failed = compare(a, b, tolerance=0.05)
    assert failed.exit_code == 4
    assert "latency_p99_s" in {effect.metric for effect in failed.failures}
    assert compare(b, a, tolerance=0.05).exit_code == 0


def test_other_events_are_not_paired_and_their_noise_counts(tmp_path):
    a, b = a_load(tmp_path, "a", latencies_us(1)), a_load(tmp_path, "b", latencies_us(2))
    effect = by_metric(compare(a, b))["latency_p99_s"]
    assert effect.change.low < 1 < effect.change.high
    assert effect.verdict is Verdict.NOT_SHOWN
    same = by_metric(compare(a, a))["latency_p99_s"]
    assert (same.change, same.verdict) == (Interval(1.0, 1.0, 1.0), Verdict.NOISE)


def test_schedules_that_differ_are_not_paired(tmp_path):
    """Shifted by one event the noise is no longer shared, though each run has as many."""
    a = a_load(tmp_path, "a", latencies_us(1))
    b = a_load(tmp_path, "b", np.roll(latencies_us(1), 1)[:-1])
    effect = by_metric(compare(a, b))["latency_mean_s"]
    assert effect.change.low < 0.99
    assert effect.change.high > 1.01


def test_failures_are_infinitely_late_and_have_a_share_of_their_own(tmp_path):
    failing = a_load(tmp_path, "b", latencies_us(1), failed=range(0, COUNT, 10))
    found = by_metric(compare(a_load(tmp_path, "a", latencies_us(1)), failing))
    assert found["latency_mean_s"].verdict is Verdict.NOT_JUDGED
    assert found["latency_p99_s"].verdict is Verdict.WORSE
    assert found["latency_p99_s"].change.value == math.inf
    assert found["latency_p50_s"].change.value < 1.3
    for metric in FAILED.values():
        assert found[metric].change.value == pytest.approx(0.1)
        assert found[metric].verdict is Verdict.WORSE


def a_race(tmp_path, name, values):
    runs = [
        invented_run("webhook", number, latencies_us(number, count=60), metrics=metrics)
        for number, metrics in enumerate(values)
    ]
    return written(tmp_path / name, "race", runs).path


def test_repetitions_are_compared_by_students_t(tmp_path):
    a = [{"receiver_cpu_s_per_1k": v, "freshness": f} for v, f in ((1.0, 0.9), (1.1, 0.91), (1.2, 0.92))]
    b = [{"receiver_cpu_s_per_1k": v, "freshness": f} for v, f in ((1.5, 0.8), (1.62, 0.82), (1.85, 0.81))]
    paired = by_metric(compare(a_race(tmp_path, "a", a), a_race(tmp_path, "b", b)))
    logs = [np.log([row["receiver_cpu_s_per_1k"] for row in side]) for side in (a, b)]
    expected = stats.ttest_rel(logs[1], logs[0]).confidence_interval(0.99)
    effect = paired["receiver_cpu_s_per_1k"]
    assert (effect.kind, effect.basis) == (Kind.RATIO, "runs")
    assert np.log([effect.change.low, effect.change.high]) == pytest.approx([expected.low, expected.high])
    assert effect.verdict is Verdict.WORSE
    fresh = paired["freshness"]
    assert (fresh.kind, fresh.verdict) == (Kind.DIFFERENCE, Verdict.WORSE)
    assert fresh.worse_by() == pytest.approx(0.1)
    assert fresh.change.value == pytest.approx(-0.1)


def test_without_shared_events_repetitions_are_compared_by_welch():
    values = [[1.0, 1.1, 1.3, 1.2], [1.5, 1.7, 1.6]]
    kind, change = _of_repetitions(values, "latency_p50_s", False, 0.95)
    expected = stats.ttest_ind(*(np.log(side) for side in values[::-1]), equal_var=False)
    interval = expected.confidence_interval(0.95)
    assert kind is Kind.RATIO
    assert np.log([change.low, change.high]) == pytest.approx([interval.low, interval.high])


def test_two_repetitions_are_too_few(tmp_path):
    rows = [{"receiver_cpu_s_per_1k": 1.0}, {"receiver_cpu_s_per_1k": 1.1}]
    found = by_metric(compare(a_race(tmp_path, "a", rows), a_race(tmp_path, "b", rows)))
    assert found["receiver_cpu_s_per_1k"].verdict is Verdict.NOT_JUDGED
    assert found["latency_p50_s"].basis == "blocks"


@pytest.mark.parametrize(
    ("metric", "kind", "low", "high", "verdict"),
    [
        ("latency_p99_s", Kind.RATIO, 1.05, 1.10, Verdict.WORSE),
        ("latency_p99_s", Kind.RATIO, 0.90, 0.95, Verdict.BETTER),
        ("latency_p99_s", Kind.RATIO, 0.95, 1.10, Verdict.NOT_SHOWN),
        ("latency_p99_s", Kind.RATIO, 1.005, 1.015, Verdict.NOISE),
        ("latency_p99_s", Kind.RATIO, 1.01, 1.03, Verdict.WORSE),
        ("latency_p99_s", Kind.RATIO, math.nan, math.nan, Verdict.NOT_JUDGED),
        ("latency_p99_s", Kind.RATIO, math.inf, math.inf, Verdict.WORSE),
        ("goodput_per_s", Kind.RATIO, 1.05, 1.10, Verdict.BETTER),
        ("freshness", Kind.DIFFERENCE, -0.2, -0.1, Verdict.WORSE),
        ("lost_ratio", Kind.DIFFERENCE, 0.0, 0.0, Verdict.NOISE),
        ("lag_p99_s", Kind.RATIO, 1.5, 2.0, Verdict.DIFFERENT),
    ],
)
def test_the_verdict_follows_the_interval_and_the_good_way(metric, kind, low, high, verdict):
    assert judge(metric, kind, Interval((low + high) / 2, low, high)) is verdict


def test_each_known_metric_has_a_good_way_or_is_known_to_have_none():
    ours = {*FAILED.values(), *(f"{prefix}_cliffs_delta" for prefix in LATENCIES), "recovery_time_s"}
    assert set(GOOD) - ours <= set(KNOWN_METRICS)
    without = {metric for metric in KNOWN_METRICS if metric not in GOOD and "uncorrected" not in metric}
    of_servers = {
        f"{role}_{name}" for role in ("provider", "receiver") for name in ("utilisation", "run_wait_s_per_1k")
    }
    of_forgeries = {f"refused_latency_{name}_s" for name in ("mean", "p50", "p95", "p99", "max")}
    assert without == of_servers | {
        *("lag_p50_s", "lag_p99_s", "not_modified_ratio", "connections_mean", "connections_peak"),
        *("generator_cpu_share", "broker_run_wait_s_per_1k", *of_forgeries),
    }


MISMATCHES = [
    (lambda d: d["machine"].update(cpu_model="Another"), "CPU model: .* and Another"),
    (lambda d: d["machine"].update(cpu_count=512), "CPU count: .* and 512"),
    (lambda d: d["versions"].update(python="9.9.9"), "Python: .* and 9.9.9"),
    (lambda d: d["notes"].update(void=["webhook: late"]), r"is void \(webhook: late\)"),
]


@pytest.mark.parametrize(("change", "words"), MISMATCHES)
def test_what_should_not_be_compared_is_refused_by_name(change, words, tmp_path):
    a, b = a_load(tmp_path, "a", latencies_us(1)), a_load(tmp_path, "b", latencies_us(1, 1.2))
    edited(b, change)
    with pytest.raises(InputError, match=f"not comparable: .*{words}.*--force"):
        compare(a, b)
    forced = compare(a, b, force=True)
    assert len(forced.obstacles) == 1
    assert by_metric(forced)["latency_mean_s"].verdict is Verdict.WORSE


def test_other_scenarios_schemas_and_commands_are_refused(tmp_path):
    a = a_load(tmp_path, "a", latencies_us(1))
    other = load_scenario("shop-orders-rush").with_values(**{"receiver.workers": 8})
    run = invented_run("webhook", 0, latencies_us(1))
    b = written(tmp_path / "b", "load", [run], scenario=other).path
    with pytest.raises(InputError, match=r"scenario: receiver\.workers: 4 and 8"):
        compare(a, b)
    race = written(tmp_path / "c", "race", [run]).path
    with pytest.raises(InputError, match="one is a load, the other a race"):
        compare(a, race)
    edited(b, lambda document: document.update(schema_version=99))
    with pytest.raises(InputError, match="schema_version 99"):
        compare(a, b, force=True)


def test_without_an_arm_in_common_there_is_nothing_to_compare(tmp_path):
    a = a_load(tmp_path, "a", latencies_us(1))
    b = written(tmp_path / "b", "load", [invented_run("polling", 0, latencies_us(1))]).path
    with pytest.raises(InputError, match="no arm in common: webhook and polling"):
        compare(a, b)


def test_what_may_be_the_very_thing_compared_is_a_remark(tmp_path):
    a, b = a_load(tmp_path, "a", latencies_us(1)), a_load(tmp_path, "b", latencies_us(1))
    edited(b, lambda d: (d.update(commit="f" * 40, dirty=False), d["versions"].update(uvicorn="99")))
    told = compare(a, b).remarks
    assert any(each.startswith("code: ") and each.endswith("and ffffffff") for each in told)
    assert any(each.startswith("uvicorn: ") for each in told)


def test_simulations_are_paired_by_replication(tmp_path):
    scenario = load_scenario("shop-orders-rush")
    slower = scenario.with_values(**{"receiver.service.mean_s": 0.010})
    _, a = run_simulation(scenario, ["webhook"], "fast", 4, 1, tmp_path / "a")
    _, b = run_simulation(slower, ["webhook"], "fast", 4, 1, tmp_path / "b")
    found = {e.metric: e for e in effects(read_recorded(a), read_recorded(a), "webhook", 0.99)}
    assert found["latency_mean_s"].basis == "runs"
    assert found["latency_mean_s"].verdict is Verdict.NOISE
    with pytest.raises(InputError, match=r"receiver\.service\.mean_s: 0\.005 and 0\.01"):
        compare(a, b)
    assert by_metric(compare(a, b, force=True))["latency_mean_s"].verdict is Verdict.WORSE


def test_the_command_prints_and_exits_as_it_found(tmp_path, capsys):
    a, b = a_load(tmp_path, "a", latencies_us(1)), a_load(tmp_path, "b", latencies_us(1, 1.2))
    summary = tmp_path / "x.md"
    code = hookbench.run(["compare", str(a), str(b), "--fail-if-worse", "5%", "--markdown", str(summary)])
    captured = capsys.readouterr()
    assert code == 4
    assert "latency_p99_s" in captured.out
    assert "hookbench: worse by more than 5%: webhook.latency_p99_s" in captured.err
    assert summary.read_text().startswith("## Comparison: worse by more than 0.05: `webhook.latency_mean_s`")
    assert hookbench.run(["compare", str(a), str(b), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    (effect,) = (each for each in document["effects"] if each["metric"] == "latency_p99_s")
    assert effect["verdict"] == "worse"
    assert effect["low"] == pytest.approx(1.2, abs=1e-3)
    assert hookbench.run(["compare", str(a), str(tmp_path / "absent")]) == 2
    assert "not a run folder" in capsys.readouterr().err
