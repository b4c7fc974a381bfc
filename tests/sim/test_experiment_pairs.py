"""Protects what is told of pairing: it is worth much between neighbouring designs, and where it is not."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

import hookbench
from sim.engine import simulate
from sim.experiment import pairing
from sim.experiment.axes import parse_axis
from sim.experiment.crossover import crossover
from sim.experiment.pairs import pairing_json, reasons, spans, times_text, why_little
from sim.experiment.sweep import Sweep, sweep
from sim.results import read_run
from sim.scenario import Scenario, load_scenario


def down_now_and_then() -> Scenario:
    """A day of the shop's orders, its receiver down for five minutes every two hours on average."""
    return load_scenario("shop-orders").with_values(
        **{"receiver.outages": [], "run.duration_s": 43_200.0,
           "receiver.random_outages": {"up": {"kind": "exponential", "mean_s": 7200.0},
                                       "down": {"kind": "exponential", "mean_s": 300.0}}}
    )  # fmt: skip


@pytest.mark.parametrize(
    ("axis", "mechanism", "metrics"),
    [
        (
            "webhook.retry.base_s=10,20,40",
            "webhook",
            ["latency_mean_s", "latency_p95_s", "requests_per_event"],
        ),
        ("receiver.workers=1,2,4", "webhook", ["latency_mean_s", "latency_p99_s", "age_mean_s"]),
        ("polling.interval_s=20,30,45", "polling", ["latency_mean_s", "latency_p95_s", "age_mean_s"]),
    ],
)
def test_between_neighbouring_designs_paired_intervals_are_at_least_three_times_narrower(
    axis: str, mechanism: str, metrics: list[str]
) -> None:
    """Retries, workers and poll intervals, under the same events and the same outages; 10 replications."""
    found = sweep(down_now_and_then(), [parse_axis(axis)], [mechanism], executor="threads:2")
    pairs = list(found.neighbouring(metrics))
    assert len(pairs) == 2 * len(metrics)
    for each in pairs:
        assert each.pairing.narrower >= 3, f"{each.metric}, {each.first} against {each.second}"
        assert why_little(each.metric, each.a, each.b, each.pairing) is None


def test_where_the_phase_of_polls_is_all_that_varies_pairing_is_said_to_be_no_help() -> None:
    """Without outages: latency is the poll's phase against the events', drawn anew for each interval."""
    calm = load_scenario("shop-orders").with_values(**{"receiver.outages": [], "run.duration_s": 20_000.0})
    outcome = simulate(calm, replications=10, records=False)
    (won,) = [each[3] for each in outcome.pairings if each[2] == "latency_p95_s"]
    assert won.narrower < 1.5
    why = why_little("latency_p95_s", "webhook", "polling", won)
    assert why is not None
    assert "polling's own, most likely the phase of its polls" in why


def test_a_reason_is_told_by_what_the_numbers_say() -> None:
    rng = np.random.default_rng(1)
    shared, noise = rng.normal(0, 1, 200), rng.normal(0, 1, (2, 200))
    one_sided = pairing(list(shared * 10), list(noise[0]))
    assert one_sided.share == pytest.approx(0.99, abs=0.01)
    assert one_sided.narrower_at_best < 1.2
    assert "% of the variance is webhook's own" in str(
        why_little("age_mean_s", "webhook", "polling", one_sided)
    )
    apart = pairing(list(noise[0]), list(noise[1]))
    assert abs(apart.correlation) < 0.3
    told = why_little("lost_ratio", "webhook", "streaming", apart)
    assert told is not None
    assert told.startswith("the two hardly move together (correlation")
    assert "polls" not in told
    against = pairing(list(shared), list(-shared + 1.0 * noise[0]))
    assert "move against each other (correlation -0." in str(why_little("x", "a", "b", against))
    assert why_little("x", "a", "b", pairing(list(shared), list(shared + 0.1 * noise[0]))) is None
    assert why_little("x", "a", "b", pairing([1.0], [2.0])) is None


def test_the_correlation_is_pearson_s() -> None:
    rng = np.random.default_rng(2)
    a, b = rng.normal(0, 2, 30), rng.normal(0, 1, 30)
    b += 0.4 * a
    found = pairing(list(a), list(b))
    assert found.correlation == pytest.approx(np.corrcoef(a, b)[0, 1])
    assert found.share == pytest.approx(np.var(a) / (np.var(a) + np.var(b)))
    in_step = pairing(list(a), list(3 * a))
    assert in_step.narrower == pytest.approx(in_step.narrower_at_best, rel=0.05)  # but for Welch's freedom


def test_alike_reasons_are_told_once() -> None:
    little, much = pairing([1.0, 2.0, 4.0], [2.0, 1.0, 2.0]), pairing([1.0, 2.0, 9.0], [1.1, 2.0, 9.1])
    lines = reasons([("a", "b", "x", little), ("a", "b", "y", little), ("a", "b", "z", much)])
    assert len(lines) == 1
    assert lines[0].startswith("Pairing cannot help x or y of a − b: ")


def test_numbers_in_words() -> None:
    assert [times_text(x) for x in (math.nan, 0.94, 3.04, 12.4, 5000.0, math.inf)] == [
        *("–", "0.9", "3.0", "12", "> 1000", "> 1000")
    ]
    assert spans({"x": [3.0, 1.0, 2.0], "y": [math.nan], "z": [2.0, 2.0]}) == "x 1.0 to 3.0, z 2.0"
    assert pairing_json(pairing([1.0, 2.0], [1.0, 2.0])) == {"narrower": None, "variance_ratio": 0.0}


def test_neighbours_are_one_step_apart_on_one_axis() -> None:
    small = load_scenario("shop-orders").with_values(**{"run.duration_s": 600.0, "receiver.outages": []})
    axes = [parse_axis("polling.interval_s=5,20,60"), parse_axis("receiver.workers=1,2")]
    found: Sweep = sweep(small, axes, replications=2, executor="threads:1")
    pairs = {(each.point, each.next_point, each.mechanism) for each in found.neighbouring(["age_mean_s"])}
    along_workers = {(0, 1), (2, 3), (4, 5)}
    along_intervals = {(0, 2), (1, 3), (2, 4), (3, 5)}
    assert {(a, b) for a, b, m in pairs if m == "polling"} == along_workers | along_intervals
    assert {(a, b) for a, b, m in pairs if m == "webhook"} == along_workers, (
        "a poll interval is nothing to it"
    )
    first = next(iter(found.neighbouring(["age_mean_s"])))
    assert (first.first, first.second) == ("receiver.workers=1", "receiver.workers=2")
    means = [np.mean(found.values(at, first.mechanism, "age_mean_s")) for at in (0, 1)]
    assert first.pairing.difference.mean == pytest.approx(means[1] - means[0])
    table = found.neighbours(["age_mean_s", "no_such_metric"])
    assert len(table) == len(pairs)


def test_a_crossover_tells_what_pairing_won() -> None:
    shop = load_scenario("shop-orders").with_values(**{"run.duration_s": 5000.0, "receiver.outages": []})
    found = crossover(
        shop, "webhook", "polling", "workload.rate_per_s", "bytes_per_event",
        low=0.01, high=0.1, replications=4, executor="threads:2",
    )  # fmt: skip
    assert [x for x, _ in found.pairings] == [x for x, _ in found.points]
    assert all(won.difference == e for (_, won), (_, e) in zip(found.pairings, found.points, strict=True))
    assert len(found.pairings_at_crossings) == len(found.crossings) == 1


def test_simulate_writes_and_prints_what_pairing_won(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "small.toml"
    file.write_text(down_now_and_then().with_values(**{"run.duration_s": 3000.0}).to_toml())
    words = ["simulate", str(file), "--replications", "4", "--out", str(tmp_path / "out")]
    assert hookbench.run(words) == 0
    shown = capsys.readouterr().out
    assert "How many times narrower that is than without pairing:" in shown
    (folder,) = (tmp_path / "out").iterdir()
    table = read_run(folder).table("paired")
    assert {"a", "b", "metric", "mean", "narrower", "variance_ratio", "unpaired_low"} <= set(table.columns)
    assert hookbench.run([*words, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    by_metric = {each["metric"]: each for each in document["paired"]}
    assert set(by_metric) == set(table["metric"])
    ratio = table.set_index("metric")["variance_ratio"]["age_mean_s"]
    assert by_metric["age_mean_s"]["variance_ratio"] == pytest.approx(ratio)
    assert by_metric["age_mean_s"]["narrower"] > 0


def test_a_sweep_writes_neighbours_and_pairs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "small.toml"
    file.write_text(down_now_and_then().with_values(**{"run.duration_s": 3000.0}).to_toml())
    words = ["sweep", str(file), "--vary", "polling.interval_s=5,60", "--replications", "3"]
    words += ["--executor", "threads:1", "--out", str(tmp_path / "out")]
    assert hookbench.run(words) == 0
    assert "Times narrower than unpaired, between neighbours, polling: " in capsys.readouterr().out
    assert hookbench.run([*words, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    run = read_run(document["run"])
    neighbours, paired = (run.table(name) for name in ("neighbours", "paired"))
    assert list(neighbours["first"].unique()) == ["polling.interval_s=5"]
    assert set(neighbours["mechanism"]) == {"polling"}
    assert set(paired["metric"]) == set(neighbours["metric"]) == {"latency_p95_s", "requests_per_event"}
    assert len(document["neighbours"]) == len(neighbours)
    assert len(document["paired"]) == len(paired)
