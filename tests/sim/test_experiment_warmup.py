"""Protects the warm-up: the rule is the published one, finds known beginnings, refuses what never settles."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

import hookbench
from sim.engine import simulate
from sim.experiment.figures import settling
from sim.experiment.warmup import BATCH, Settling, WarmUp, mser, warm_up, welch
from sim.results import read_run
from sim.scenario import Scenario, load_scenario, scenario_from
from sim.theory import MMc


def series(*batch_means: float) -> np.ndarray:
    """Values whose batches of five have these means, and vary within."""
    return np.concatenate([m + np.array([-2.0, -1.0, 0.0, 1.0, 2.0]) for m in batch_means])


def queue(rate_per_s: float, duration_s: float) -> Scenario:
    """One worker of mean service 1 s, started empty."""
    return scenario_from(
        {
            "name": "queue",
            "network": {"one_way": {"kind": "constant", "mean_s": 0.0}},
            "workload": {"kind": "poisson", "rate_per_s": rate_per_s},
            "receiver": {
                "workers": 1,
                "service": {"kind": "exponential", "mean_s": 1.0},
                "queue_limit": 10**6,
                "acknowledge": "on_receipt",
            },
            "run": {"duration_s": duration_s},
        }
    )


def test_mser_by_hand() -> None:
    """Batch means 10, 0 (nine times): uncut Σ(Z − 1)² / 10² = (81 + 9) / 100; cut once, nothing is left."""
    cut = mser(series(10.0, *[0.0] * 9))
    assert (cut.batches, cut.of) == (1, 10)
    assert cut.statistics[0] == pytest.approx(0.9)
    assert cut.statistics[1] == pytest.approx(0.0, abs=1e-12)
    # Batch means 8, 4, then 0 and 1 in turn: cut two, Σ = 8 · 0.25 over 8².
    cut = mser(series(8.0, 4.0, *[0.0, 1.0] * 4))
    assert cut.batches == 2
    assert cut.statistics[2] == pytest.approx(2 / 64)


@given(st.lists(st.floats(-1e3, 1e3), min_size=50, max_size=120))
def test_mser_is_its_definition(values: list[float]) -> None:
    cut = mser(np.array(values))
    count = len(values) // BATCH
    means = np.array(values[: count * BATCH]).reshape(count, BATCH).mean(axis=1)
    literal = [np.sum((means[d:] - means[d:].mean()) ** 2) / (count - d) ** 2 for d in range(count - 4)]
    np.testing.assert_allclose(cut.statistics, literal, rtol=1e-6, atol=1e-9)
    assert literal[cut.batches] <= min(literal) + 1e-9 + 1e-6 * max(literal)


def test_a_trend_is_refused_whichever_way_it_goes() -> None:
    rising = np.arange(1000.0)
    for values in (rising, -rising, rising**2):
        assert not mser(values).is_steady
    assert mser(np.full(1000, 3.0)).batches == 0


def test_noise_is_hardly_cut() -> None:
    """300 series of 200 batches: in 95 of 100 at most 3 % is cut (one standard error: 1.3 points)."""
    rng = np.random.default_rng(1)
    cuts = [mser(rng.normal(size=1000)) for _ in range(300)]
    assert all(cut.is_steady for cut in cuts)
    assert np.mean([cut.batches <= 0.03 * cut.of for cut in cuts]) > 0.91


def test_an_exponential_beginning_is_cut_where_it_has_sunk_into_the_noise() -> None:
    """100 exp(−t / 20) over noise of 1: it is below 1 after 92 values and below 0.1 after 138.

    Some cuts go on into the noise, as on noise alone.
    """
    rng = np.random.default_rng(2)
    t = np.arange(2000)
    cuts = [mser(100 * np.exp(-t / 20) + rng.normal(size=2000)).batches * BATCH for _ in range(20)]
    assert min(cuts) >= 60
    assert np.median(cuts) <= 140


def test_too_short_a_series_is_no_series() -> None:
    with pytest.raises(ValueError, match="10 batches of 5"):
        mser(np.zeros(49))
    with pytest.raises(ValueError, match="quarter of 40"):
        welch(np.zeros(40), 11)


@given(st.lists(st.floats(-1e3, 1e3), min_size=8, max_size=60), st.integers(0, 15))
def test_welch_s_average_is_its_definition(values: list[float], window: int) -> None:
    window = min(window, len(values) // 4)
    found = welch(np.array(values), window)
    literal = []
    for i in range(1, len(values) - window + 1):  # from 1, as in the books
        reach = window if i > window else i - 1
        literal.append(np.mean(values[i - 1 - reach : i + reach]))
    np.testing.assert_allclose(found, literal, atol=1e-9)


def test_a_queue_started_empty_is_cut_where_its_backlog_has_risen() -> None:
    """M/M/1 at ρ = 0.9: L = 9, reached from 0 with the relaxation time 1 / (μ (1 − √ρ)²) = 380 s (Law 9.5).

    The cut lies between a quarter of that and eight times it; what is cut is low, what is left agrees with
    theory within 5 %, two standard errors of a mean over 60 runs of twenty relaxation times.
    """
    found = warm_up(queue(0.9, 8000.0), ["webhook"], metric="backlog", replications=60)
    (settled,) = found.settlings
    relaxation_s = 1 / (1 - math.sqrt(0.9)) ** 2
    assert settled.warmup_s is not None
    assert settled.mean_after is not None
    assert relaxation_s / 4 < settled.warmup_s < 8 * relaxation_s
    queue_mean = 0.9 * (MMc(1, 0.9, 1.0).wait_mean_s + 1.0)
    assert settled.mean_after == pytest.approx(queue_mean, rel=0.05)
    assert settled.values[: settled.cut.batches * BATCH].mean() < 0.75 * queue_mean
    assert settled.smoothed[0] < 0.5 * queue_mean, "the beginning is in the plot"


def test_what_is_steady_from_the_start_needs_no_warm_up() -> None:
    """Polling's latency is uniform from the first event on, the poll's phase being random."""
    scenario = load_scenario("shop-orders").with_values(**{"run.duration_s": 20_000.0})
    found = warm_up(scenario, ["polling"], replications=10)
    assert found.warmup_s is not None
    assert found.warmup_s <= 0.03 * 20_000
    assert found.remarks == ("receiver.outages are left out: no rule could tell them from a beginning",)
    assert found.scenario.receiver.outages == ()


def test_an_overload_has_no_steady_state() -> None:
    found = warm_up(queue(1.2, 4000.0), ["webhook"], replications=3)
    assert found.warmup_s is None
    assert found.settlings[0].mean_after is None
    assert "no steady state in this run" in found.settlings[0].sentence()


def test_the_series_is_what_the_records_say() -> None:
    scenario = queue(0.5, 400.0).with_values(**{"run.drain_s": 100.0})
    records = simulate(scenario, ["webhook"], replications=2).records
    created, visible = records["created"].to_numpy(), records["visible"].to_numpy()
    for metric in ("latency", "backlog"):
        found = warm_up(scenario, ["webhook"], metric=metric, replications=2)  # type: ignore[arg-type]
        (settled,) = found.settlings
        edges = settled.edges_s
        for place in (0, 1, len(edges) // 2):
            low, high = edges[place], edges[place + 1]
            if metric == "latency":
                inside = (created >= low) & (created < high)
                expected = np.mean((visible - created)[inside])
            else:
                overlap = np.minimum(visible, high) - np.maximum(created, low)
                expected = np.sum(np.maximum(overlap, 0)) / (high - low) / 2
            assert settled.values[place] == pytest.approx(expected)


def test_a_workload_that_moves_is_left_to_the_eye() -> None:
    moving = queue(0.2, 3000.0).with_values(
        workload={"kind": "diurnal", "rate_per_s": 0.2, "period_s": 1000.0}
    )
    assert any("changes with time" in remark for remark in warm_up(moving, ["webhook"]).remarks)


def made(**cut_after: int | None) -> WarmUp:
    """Series of 100 bins of 10 s: high up to the bin given, then low; None: rising throughout."""
    settlings = []
    for mechanism, bins in cut_after.items():
        values = np.arange(1.0, 101.0) if bins is None else np.where(np.arange(100) < bins, 9.0, 1.0)
        settlings.append(Settling(mechanism, np.arange(101) * 10.0, values, welch(values, 2), mser(values)))
    scenario = queue(0.5, 1000.0)
    return WarmUp(scenario, "latency", 10, 1, tuple(settlings), ())


def test_the_figure_marks_the_cut() -> None:
    figure = settling(made(webhook=20, polling=0))
    assert figure.get_suptitle() == "All settle within 3.3 min, webhook last: cut that much"
    cut, level = figure.axes
    assert [list(line.get_xdata()) for line in cut.lines if len(line.get_xdata()) == 2] == [[200.0, 200.0]]
    assert [text.get_text() for text in cut.texts] == ["webhook", "cut here: 3.3 min"]
    assert [text.get_text() for text in level.texts] == ["polling", "steady from the start"]
    assert "no steady state" in settling(made(webhook=None)).get_suptitle()


def test_the_command_leaves_series_and_figure(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "queue.toml"
    file.write_text(queue(0.5, 2000.0).to_toml())
    words = ["warmup", str(file), "-m", "webhook", "--replications", "3", "--out", str(tmp_path / "out")]
    assert hookbench.run(words) == 0
    assert "run.warmup_s" in capsys.readouterr().out
    (folder,) = (tmp_path / "out").iterdir()
    run = read_run(folder)
    assert run.complete
    assert {path.name for path in folder.iterdir()} >= {"warmup.csv", "warmup.png", "warmup.svg"}
    table = run.table("warmup")
    assert list(table.columns) == ["mechanism", "start_s", "end_s", "value", "smoothed", "cut"]
    assert hookbench.run([*words, "--json", "--metric", "backlog"]) == 0
    document = json.loads(capsys.readouterr().out)
    (result,) = document["results"]
    assert (document["command"], document["metric"], result["mechanism"]) == ("warmup", "backlog", "webhook")
    series_of = pd.read_csv(Path(document["run"]) / "warmup.csv")
    assert result["warmup_s"] == pytest.approx(
        series_of["end_s"][series_of["cut"]].max() if series_of["cut"].any() else 0
    )


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["--metric", "latency_p99_s"], "looked for in latency or backlog"),
        (["-m", "pigeon"], "unknown mechanism 'pigeon'"),
        (["--replications", "0"], "replications must be in [1"),
    ],
)
def test_what_cannot_be_done_is_one_line(
    words: list[str], why: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert hookbench.run(["warmup", "shop-orders", *words, "--out", str(tmp_path / "out")]) == 2
    err = capsys.readouterr().err
    assert err.startswith("hookbench: ")
    assert err.count("\n") == 1
    assert why in err
    assert not (tmp_path / "out").exists()


def test_too_few_deliveries_are_refused() -> None:
    from sim.errors import InputError

    with pytest.raises(InputError, match=r"too few deliveries for a series: in .* spans there is none"):
        warm_up(queue(0.01, 1000.0), ["webhook"], replications=1)
