"""Protects sweeps: the same numbers on every executor, nothing lost or computed twice after a stop."""

from __future__ import annotations

import json
import math
import os
import random
import signal
import subprocess
import sys
import time
from concurrent.futures import Executor, Future
from pathlib import Path
from typing import Any

import pytest

import sim
from sim.errors import InputError
from sim.experiment.axes import parse_axis
from sim.experiment.executors import Workers, open_executor
from sim.experiment.journal import Finished, Journal
from sim.experiment.sweep import Sweep, WorkerLost, sweep
from sim.scenario import Scenario, load_scenario

AXES = [parse_axis("polling.interval_s=5,60"), parse_axis("workload.rate_per_s=0.02,0.1")]


@pytest.fixture(scope="module")
def small() -> Scenario:
    return load_scenario("shop-orders").with_values(**{"run.duration_s": 600.0, "run.warmup_s": 0.0})


def swept(scenario: Scenario, executor: Any = "threads:1", **more: Any) -> Sweep:
    return sweep(scenario, AXES, replications=3, executor=executor, **more)


class Inline(Executor):
    """Computes at once; dies at its `die_at`-th run, as a killed process would take its pool with it."""

    def __init__(self, die_at: int | None = None) -> None:
        self.calls = 0
        self.die_at = die_at

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        if self.calls == self.die_at:
            future.cancel()
            future.set_running_or_notify_cancel()
            return future
        self.calls += 1
        future.set_result(fn(*args, **kwargs))
        return future


def test_a_sweep_is_what_simulate_says_at_each_point(small: Scenario) -> None:
    result = swept(small)
    for number, point in enumerate(result.points):
        outcome = sim.simulate(small.with_values(**point), replications=3, records=False)
        for mechanism, by_metric in outcome.metrics.items():
            for metric, values in by_metric.items():
                assert result.values(number, mechanism, metric) == pytest.approx(values, abs=0, nan_ok=True)


def test_the_executor_does_not_matter(small: Scenario) -> None:
    expected = swept(small, Workers(Inline(), 1)).rows()
    for name in ("threads:2", "processes:2"):
        found = swept(small, name).rows()
        assert expected.equals(found), name


def test_rows_are_tidy(small: Scenario) -> None:
    result = swept(small)
    rows = result.rows()
    keys = ["polling.interval_s", "workload.rate_per_s"]
    assert list(rows.columns) == [*keys, "point", "replication", "mechanism", "metric", "value"]
    each_once = rows.groupby([*keys, "point", "replication", "mechanism", "metric"]).size()
    assert (each_once == 1).all()
    assert len(each_once) == 4 * 3 * sum(len(of_one) for of_one in result.results[0, 0].values())
    summary = result.summary()
    one = summary[(summary.point == 2) & (summary.mechanism == "polling") & (summary.metric == "empty_ratio")]
    assert one["mean"].item() == pytest.approx(sum(result.values(2, "polling", "empty_ratio")) / 3, rel=1e-12)


def test_what_was_finished_is_not_computed_again(small: Scenario, tmp_path: Path) -> None:
    journal = tmp_path / "journal.jsonl"
    dying = Inline(die_at=5)
    with pytest.raises(WorkerLost, match="lost in the middle"):
        swept(small, Workers(dying, 2), journal=journal)
    assert dying.calls == 5
    rest = Inline()
    seen: list[tuple[int, int]] = []
    resumed = swept(
        small, Workers(rest, 2), journal=journal, progress=lambda done, total: seen.append((done, total))
    )
    assert dying.calls + rest.calls == 4 * 3
    assert seen[0] == (5, 12)
    assert seen[-1] == (12, 12)
    assert resumed.rows().equals(swept(small).rows())
    nothing = Inline()
    again = swept(small, Workers(nothing, 2), journal=journal)
    assert nothing.calls == 0
    assert again.rows().equals(resumed.rows())


def test_a_line_cut_short_is_no_result_and_is_written_anew(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    some = [
        Finished(i, 0, {"webhook": {"latency_mean_s": i / 3, "empty_ratio": math.nan}}, {}) for i in range(3)
    ]
    with Journal(path, {"seed": 1}) as journal:
        journal.add(some)
    whole = path.read_bytes()
    ends = [i + 1 for i, byte in enumerate(whole) if byte == ord("\n")]
    for cut in range(len(whole)):
        path.write_bytes(whole[:cut])
        with Journal(path, {"seed": 1}) as journal:
            kept = max(sum(end <= cut for end in ends) - 1, 0)
            assert [each.point for each in journal.finished] == [0, 1, 2][:kept]
            journal.add(some[kept:])
        with Journal(path, {"seed": 1}) as journal:
            assert [each.point for each in journal.finished] == [0, 1, 2]
            values = [each.metrics["webhook"]["latency_mean_s"] for each in journal.finished]
            assert values == [0.0, 1 / 3, 2 / 3]
            assert all(math.isnan(each.metrics["webhook"]["empty_ratio"]) for each in journal.finished)


def test_the_journal_of_another_sweep_is_refused_and_left_alone(small: Scenario, tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    swept(small, journal=path)
    before = path.read_bytes()
    with pytest.raises(InputError, match="another sweep: seed differ"):
        swept(small, journal=path, seed=2)
    for content in (b"no journal\n", b'{"schema_version": 99}\n', b"[]\n"):
        other = tmp_path / "other"
        other.write_bytes(content)
        with pytest.raises(InputError, match="not a sweep's journal"):
            swept(small, journal=other)
        assert other.read_bytes() == content
    assert path.read_bytes() == before
    head = json.loads(before.splitlines()[0])
    with Journal(path, head), pytest.raises(InputError, match="written by another process"):
        swept(small, journal=path)


@pytest.mark.parametrize("name", ["", "process", "processes:0", "threads:x", "dask://", "dask:host"])
def test_an_unknown_executor_is_refused(name: str) -> None:
    with pytest.raises(InputError, match="expected processes, processes:N"), open_executor(name):
        pass


def test_values_that_do_not_go_together_are_named_with_their_point(small: Scenario) -> None:
    axes = [parse_axis("run.warmup_s=0,500"), parse_axis("run.duration_s=600,100")]
    with pytest.raises(InputError, match=r"design point run.warmup_s=500, run.duration_s=100"):
        sweep(small, axes, replications=1, executor="processes:1")


SWEEPER = """
import sys
from pathlib import Path
from sim.experiment.axes import parse_axis
from sim.experiment.sweep import sweep
from sim.scenario import load_scenario
if __name__ == "__main__":
    small = load_scenario("shop-orders").with_values(**{"run.duration_s": 20000.0, "run.warmup_s": 0.0})
    axes = [parse_axis("polling.interval_s=1:60:log6"), parse_axis("workload.rate_per_s=0.1:1:log4")]
    sweep(small, axes, replications=2, executor=sys.argv[2], journal=Path(sys.argv[1]))
"""


def lines(path: Path) -> list[bytes]:
    return path.read_bytes().split(b"\n")[1:-1] if path.exists() else []


@pytest.mark.parametrize("executor", ["processes:2", "threads:2"])
def test_killed_at_random_moments_it_ends_with_every_run_once(executor: str, tmp_path: Path) -> None:
    """SIGKILL, not to be caught: started again and again until it is through."""
    script, journal = tmp_path / "sweeper.py", tmp_path / "journal.jsonl"
    script.write_text(SWEEPER)
    environment = {**os.environ, "PYTHONPATH": str(Path(sim.__file__).parents[1])}
    draw, kills, started = random.Random(7), 0, time.monotonic()
    while True:
        assert time.monotonic() - started < 120
        process = subprocess.Popen(
            [sys.executable, str(script), str(journal), executor], start_new_session=True, env=environment
        )
        if kills < 3:
            # So many more results, then a moment: the kill comes while it works.
            target = len(lines(journal)) + draw.randint(1, 12)
            while process.poll() is None and len(lines(journal)) < target:
                time.sleep(0.002)
            time.sleep(draw.uniform(0, 0.02))
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                kills += 1
        code = process.wait()
        assert code in (0, -signal.SIGKILL)
        if code == 0:
            break
    assert kills >= 1
    keys = [tuple(json.loads(line)[:2]) for line in lines(journal)]
    assert sorted(keys) == [(point, replication) for point in range(24) for replication in range(2)]
