"""Protects `capacity`: what a probe says, what a failing generator says, and a real server's known limit."""

from __future__ import annotations

import io
import json
import math
import sys
from dataclasses import replace

import numpy as np
import pytest
from rich.console import Console

from loadtest.capacity import CapacityResult, capacity, measurement
from loadtest.capacity.figures import latency_against_rate
from loadtest.capacity.search import Limit, Outcome
from loadtest.capacity_cli import share, show
from loadtest.runner import ProcessFailed
from loadtest.runner.results import LoadResult
from loadtest.verdict import Reason, judge, parse_threshold
from sim.errors import InputError, VoidRun
from sim.results import read_run
from sim.scenario import Scenario, scenario_from
from tests.loadtest.recorded import invented_run

SLO = "latency_p99_s<0.05"


def scenario(**changes: object) -> Scenario:
    return scenario_from(
        {
            "name": "counter",
            "workload": {"kind": "poisson", "rate_per_s": 20.0, "payload_bytes": 300},
            "run": {"duration_s": 5.0},
        }
    ).with_values(**changes)


def invented_load(tmp_path, p99_s: float, void=(), slo: str = SLO) -> LoadResult:
    run = invented_run("webhook", 0, np.full(10, 5_000), void=void, metrics={"latency_p99_s": p99_s})
    results = judge([parse_threshold(slo, ("latency_p99_s",), ("webhook",))], {"webhook": run.metrics})
    return LoadResult("load", scenario(), 1, (run,), tuple(results), tmp_path)


@pytest.fixture
def server(tmp_path, monkeypatch):
    """Replaces real loads by an M/M/1 queue that serves 1000/s, behind a generator good for so many."""

    def install(ceiling_per_s: float = math.inf, spoilt=lambda number: False):
        asked: list[tuple[float, int]] = []

        def load(_scenario, _arms, *, rate_per_s, seed, thresholds, **_options):
            asked.append((rate_per_s, seed))
            late = Reason("generator_lag", "the load generator sent late")
            void = [late] if rate_per_s > ceiling_per_s or spoilt(len(asked)) else []
            p99_s = math.log(100) / (1000 - rate_per_s) if rate_per_s < 1000 else math.inf
            return invented_load(tmp_path, p99_s, void, thresholds[0])

        monkeypatch.setattr(measurement, "load", load)
        return asked

    return install


def found(tmp_path, **options) -> CapacityResult:
    return capacity(scenario(), "webhook", [SLO], out=tmp_path, figures=False, **options)


def test_the_capacity_of_a_known_queue(server, tmp_path):
    asked = server()
    result = found(tmp_path)
    known = 1000 - math.log(100) / 0.05  # p99 of M/M/1: ln 100 / (μ − λ)
    assert known / 1.05 < result.answer.rate_per_s <= known < result.answer.refuted_per_s
    assert result.answer.limit is Limit.SERVER
    assert result.exit_code == 0
    assert len({seed for _, seed in asked}) == len(asked)
    assert f"3 of 3 confirmations; missed at {result.answer.refuted_per_s:,.4g}/s" in result.sentence()
    run = read_run(result.path)
    assert run.notes["rate_per_s"] == result.answer.rate_per_s
    table = run.table("probes")
    assert len(table) == len(asked)
    assert table["rate_per_s"].iloc[0] == 20.0
    assert list(table["purpose"].tail(4)) == ["confirm"] * 3 + ["refute"]
    json.dumps(result.document(), allow_nan=False)


def test_the_generators_limit_is_not_taken_for_the_servers(server, tmp_path):
    server(ceiling_per_s=300.0)
    result = found(tmp_path)
    assert result.answer.limit is Limit.GENERATOR
    assert 300 / 1.05 < result.answer.rate_per_s <= 300
    assert result.sentence().startswith("at least ")
    assert "the generator was the limit at" in result.sentence()
    spoilt = [each for each in result.probes if each.outcome is Outcome.GENERATOR]
    assert [each.attempt for each in spoilt[:3]] == [1, 2, 3]


def test_a_probe_that_the_generator_spoilt_is_repeated(server, tmp_path):
    server(spoilt=lambda number: number % 3 == 0)
    result = found(tmp_path)
    known = 1000 - math.log(100) / 0.05
    assert result.answer.limit is Limit.SERVER
    assert known / 1.05 < result.answer.rate_per_s <= known


def test_without_a_rate_that_meets_it_the_exit_code_says_so(server, tmp_path):
    server()
    none = capacity(scenario(), "webhook", ["latency_p99_s<0.001"], out=tmp_path, figures=False)
    assert (none.answer.rate_per_s, none.exit_code) == (None, 4)
    assert none.sentence().startswith("none: latency_p99_s<0.001 was missed even at ")
    server(ceiling_per_s=0.0)
    unknown = found(tmp_path)
    assert unknown.exit_code == 3
    assert unknown.sentence().startswith("unknown: the generator could not keep up")
    unsettled = found(tmp_path, most_probes=2)
    assert unsettled.exit_code == 3
    assert unsettled.sentence().startswith("not settled after ")


@pytest.mark.parametrize(
    ("rule", "outcome"),
    [
        ("generator_cpu", Outcome.GENERATOR),
        ("generator_lag", Outcome.GENERATOR),
        ("unsent", Outcome.MISSED),
        ("ledger", Outcome.MISSED),
        ("unanswered", Outcome.MISSED),
        ("other", Outcome.MISSED),
    ],
)
def test_a_void_probe_has_missed_or_says_nothing(rule, outcome, tmp_path):
    result = invented_load(tmp_path, 0.01, [Reason(rule, "why")])
    assert measurement.judged(result) == (outcome, "why")


def test_a_sound_probe_is_judged_by_its_objectives(tmp_path):
    assert measurement.judged(invented_load(tmp_path, 0.01)) == (Outcome.MET, "")
    assert measurement.judged(invented_load(tmp_path, 0.07)) == (Outcome.MISSED, f"{SLO}: 0.07")
    assert measurement.judged(invented_load(tmp_path, math.inf)) == (Outcome.MISSED, f"{SLO}: undefined")
    with pytest.raises(VoidRun, match="asyncio"):
        measurement.judged(invented_load(tmp_path, 0.01, [Reason("event_loop", "it ran on asyncio")]))


def test_a_server_that_dies_under_a_probe_has_missed(tmp_path, monkeypatch):
    def load(_scenario, _arms, *, rate_per_s, **_options):
        if rate_per_s > 100:
            raise ProcessFailed("the receiver ended with exit code -9")
        return invented_load(tmp_path, 0.01)

    monkeypatch.setattr(measurement, "load", load)
    result = found(tmp_path)
    assert result.answer.limit is Limit.SERVER
    assert 100 / 1.05 < result.answer.rate_per_s <= 100
    assert "exit code -9" in result.probes[-1].reason


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"slo": []}, "needs an objective"),
        ({"slo": ["latency_p9_s<1"]}, "did you mean"),
        ({"arm": "pigeon"}, "no arm is called 'pigeon'"),
        ({"duration_s": 0.0}, "--duration must be a number above 0, got 0"),
        ({"resolution": math.nan}, "--resolution"),
        ({"start_per_s": -1.0}, "--start"),
        ({"warmup_s": -1.0}, "--warmup"),
        ({"confirmations": 0}, "--confirmations"),
        ({"most_per_s": 0.1}, "--max-rate must be at least 2"),
    ],
)
def test_bad_input_is_refused_before_anything_is_written(options, word, tmp_path):
    with pytest.raises(InputError) as caught:
        capacity(**({"scenario": scenario(), "arm": "webhook", "slo": [SLO], "out": tmp_path} | options))
    assert word in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_shares_are_read_as_written():
    assert (share("--x", "5%"), share("--x", "0.05")) == (0.05, 0.05)
    for text in ("five", "0", "-1%", "nan", ""):
        with pytest.raises(InputError, match=r"--x .* is not a share"):
            share("--x", text)


def test_the_generators_lag_may_be_a_tenth_of_what_is_asked():
    bounds = [parse_threshold(text, ("latency_p99_s", "error_ratio"), ()) for text in (SLO, "error_ratio<1")]
    assert measurement._lag_limit_s(bounds) == 0.010
    assert measurement._lag_limit_s([replace(bounds[0], limit=2.0)]) == 0.2


def test_the_table_and_the_figure_tell_the_answer(server, tmp_path, monkeypatch):
    server(ceiling_per_s=300.0)
    result = found(tmp_path)
    written = io.StringIO()
    monkeypatch.setattr("sim.tables.console", lambda: Console(file=written, width=120))
    show(result)
    text = written.getvalue()
    assert "40/s  bracket" in text
    assert f"capacity: {result.sentence()}"[:100] in text
    figure = latency_against_rate(result)
    (axes,) = figure.axes
    assert axes.get_title(loc="left").startswith("webhook: at least ")
    assert "latency_p99_s<0.05" in [each.get_text() for each in axes.texts]
    figure.savefig(tmp_path / "figure.png")


def test_a_real_server_with_a_known_service_time(tmp_path):
    """One slot of 20 ms serves 50 a second: above that the queue grows without end.

    At 100/s for 2 s the backlog at the end is 100 events, 2 s of work: its p99 misses 0.8 s, whatever the
    machine does. At 12.5/s and 25/s the load is 1/4 and 1/2, and the p99 of an M/D/1 queue below 0.2 s: met,
    unless the machine sleeps for half a second. So the answer is between 12.5/s and 50/s.
    """
    result = capacity(
        scenario(**{"receiver.workers": 1, "receiver.service": {"kind": "constant", "mean_s": 0.02}}),
        "webhook",
        ["visible_latency_p99_s<0.8"],
        start_per_s=25.0,
        duration_s=2.0,
        warmup_s=0.2,
        resolution=1.0,
        confirmations=1,
        lag_limit_s=5.0,
        out=tmp_path,
    )
    assert result.answer.limit is Limit.SERVER, result.sentence()
    assert 12.5 <= result.answer.rate_per_s <= 50
    assert result.answer.refuted_per_s <= 100
    assert read_run(result.path).complete
    assert (result.path / "latency_against_rate.png").stat().st_size > 10_000
    assert sys.modules["loadtest.capacity"].capacity is capacity
