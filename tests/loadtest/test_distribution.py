"""Protects the load of several processes: one schedule, every request once, a lost worker said by name."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from loadtest.recorder import MISSING, Samples
from loadtest.runner import load
from loadtest.runner.fleet import CpuPlan, Fleet, _free_port
from loadtest.runner.generation import locustfile
from loadtest.runner.processes import Crew, ProcessFailed
from loadtest.schedule import Plan, event_schedule
from sim.errors import InputError
from sim.results import read_run
from sim.scenario import Scenario, scenario_from
from tests.loadtest.servers import SECRET, eventually

WEBHOOK = locustfile("webhook")
SKEW_US = 7_654_321
SKEWED = f"""
import loadtest.clocks as clocks, loadtest.contract as contract, loadtest.scenarios.alarm as alarm
real_now_us, real_sleep_until = contract.now_us, alarm.Alarm.sleep_until
contract.now_us = lambda: real_now_us() + {SKEW_US}
alarm.Alarm.sleep_until = lambda self, instant_us: real_sleep_until(self, instant_us - {SKEW_US})
clocks.clock_id = lambda: "another machine's"
from loadtest.scenarios.webhook import WebhookSender
"""
"""A Locust file whose worker reads the clock of a machine that started 7.7 s earlier."""


def steady(rate_per_s: float, duration_s: float) -> Scenario:
    return scenario_from(
        {
            "name": "steady",
            "workload": {"kind": "periodic", "rate_per_s": rate_per_s, "payload_bytes": 500},
            "receiver": {"service": {"kind": "constant", "mean_s": 0.0005}},
            "run": {"duration_s": duration_s},
        }
    )


@contextmanager
def receiver(tmp_path: Path) -> Iterator[str]:
    """A receiver that is somebody else's, as far as a load of it goes."""
    with Crew(tmp_path, {"HOOKBENCH_WEBHOOK_SECRET": SECRET}, CpuPlan()) as crew:
        yield crew.server("receiver", "--inbox", f"sqlite:///{tmp_path / 'inbox.db'}").url


@contextmanager
def worker(port: int, file: Path = WEBHOOK, secret: str = SECRET) -> Iterator[subprocess.Popen]:
    """A Locust worker, as a user starts it; it waits for its master, and never outlives the test."""
    process = subprocess.Popen(
        [sys.executable, "-m", "locust", "-f", str(file), "--worker", "--master-port", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "HOOKBENCH_WEBHOOK_SECRET": secret},
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def loaded(
    tmp_path: Path,
    scenario: Scenario,
    workers: list[dict[str, Any]],
    during: Callable[..., None] | None = None,
) -> Any:
    """A load by workers started by hand."""
    port = _free_port()
    with receiver(tmp_path) as url, ExitStack() as stack:
        processes = [stack.enter_context(worker(port, **each)) for each in workers]
        result = load(
            scenario,
            host=url,
            out=tmp_path / "out",
            figures=False,
            lag_limit_s=10.0,
            fleet=Fleet(expect_workers=len(workers), bind_port=port),
            disturbance=during and (lambda _, origin_us: during(processes, origin_us)),
        )
        for process in processes:
            assert process.wait(timeout=20) == 0  # they end with their run
    return result


def test_two_workers_one_on_another_clock_send_one_schedule_and_give_all_of_it_back(tmp_path):
    skewed = tmp_path / "skewed.py"
    skewed.write_text(SKEWED, encoding="utf-8")
    result = loaded(tmp_path, steady(60.0, 2.0), [{}, {"file": skewed}])
    (run,) = result.runs
    assert result.void == []
    assert run.ledger.scheduled == run.ledger.acknowledged == 120
    # On the master's clock the merged schedule is the scenario's own, to the microsecond.
    assert (run.samples.intended_us - run.notes["origin_us"] == event_schedule(result.scenario, 1)).all()
    assert (run.samples.done_us > run.samples.sent_us).all()
    generators = read_run(result.path).notes["arms"]["webhook_0"]["generators"]
    assert [(each["share"], each["shares"], each["requests"]) for each in generators] == [
        (0, 2, 60),
        (1, 2, 60),
    ]
    same, other = sorted((each["clock"] for each in generators), key=lambda clock: not clock["shared"])
    assert same == {"shared": True, "offset_us": 0, "drift_us": 0, "bound_us": 0}
    assert not other["shared"]
    assert abs(other["offset_us"] - SKEW_US) <= other["bound_us"]
    # Without a shared clock nothing that runs from one machine's time to another's is reported.
    assert not any(name.startswith("visible_latency") for name in run.metrics)
    assert run.metrics["latency_p50_s"] > 0


def test_a_worker_killed_in_the_middle_fails_the_run_by_name_and_soon(tmp_path):
    def kill_one(processes, origin_us):
        processes[1].send_signal(signal.SIGKILL)

    with pytest.raises(
        ProcessFailed, match=r"worker \d of 2 \(.+, process \d+\) was lost, .* s into the run: it"
    ):
        loaded(tmp_path, steady(20.0, 300.0), [{}, {}], kill_one)
    (folder,) = (tmp_path / "out").iterdir()
    assert "was lost" in read_run(folder).reason


@pytest.mark.parametrize(
    ("different", "words"),
    [
        ({"secret": ""}, "refused the plan: set HOOKBENCH_WEBHOOK_SECRET"),
        pytest.param(
            {"file": locustfile("polling")},
            "refused the plan: it is for the Locust file webhook.py",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_a_worker_that_cannot_send_says_why(different, words, tmp_path):
    with pytest.raises(ProcessFailed, match=words):
        loaded(tmp_path, steady(20.0, 2.0), [different])


@pytest.mark.parametrize("processes", [2, pytest.param(4, marks=pytest.mark.slow)])
def test_several_generators_here_give_the_totals_of_one(processes, tmp_path):
    result = load(
        steady(60.0, 1.5), out=tmp_path, figures=False, lag_limit_s=10.0, fleet=Fleet(processes=processes)
    )
    (run,) = result.runs
    assert result.void == []
    assert run.ledger.scheduled == run.ledger.visible == 90
    assert sum(each["requests"] for each in run.notes["generators"]) == 90
    assert len(run.notes["generators"]) == processes
    # One machine has one clock, so created to visible is known.
    assert run.metrics["visible_latency_p50_s"] > 0.0005
    assert 0 < run.metrics["generator_cpu_share"] < 1.5


@pytest.mark.slow
def test_an_interrupted_run_of_several_processes_leaves_none(tmp_path):
    process = subprocess.Popen(
        [
            *(sys.executable, "hookbench.py", "load", "shop-orders", "--rate", "20", "--duration", "60"),
            *("--generators", "2", "--out", str(tmp_path)),
        ],
        stderr=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    tree = psutil.Process(process.pid)
    eventually(lambda: len(tree.children(recursive=True)) >= 4, 30)  # receiver, master, two workers
    family = tree.children(recursive=True)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=30)
    assert (process.returncode, stderr) == (130, "hookbench: interrupted\n")
    eventually(lambda: not any(child.is_running() for child in family))


@pytest.mark.parametrize(
    ("fleet", "options", "words"),
    [
        (Fleet(processes=0), {}, "--generators must be at least 1, got 0"),
        (Fleet(expect_workers=2), {}, "--expect-workers needs --host"),
        (
            Fleet(processes=2, expect_workers=2),
            {"host": "http://127.0.0.1:9"},
            "--generators starts them here",
        ),
        (Fleet(processes=3), {"pool_size": 2}, "--pool 2 is too small for 3 processes"),
        (
            Fleet(ca="/nowhere.pem"),
            {"host": "http://127.0.0.1:9"},
            "--ca vouches for a server at --host https",
        ),
        (Fleet(ca="/nowhere.pem"), {"host": "https://127.0.0.1:9"}, "no certificates to read there"),
    ],
)
def test_a_fleet_that_cannot_be_is_refused_in_one_line(fleet, options, words, tmp_path):
    with pytest.raises(InputError, match=words):
        load(steady(10.0, 1.0), fleet=fleet, out=tmp_path, figures=False, **options)
    assert not any(tmp_path.iterdir())


def test_a_plan_and_samples_survive_the_wire():
    plan = Plan("r", "polling", "/events", np.arange(5), due=np.array([1, 0, 2, 0, 0]), cursors=("a", "b"))
    read = Plan.from_bytes(plan.to_bytes())
    assert read.offsets_us.tolist() == plan.offsets_us.tolist()
    assert (read.cursors, read.due.tolist(), read.arm) == (plan.cursors, plan.due.tolist(), plan.arm)
    samples = Samples.scheduled(np.arange(3), np.array([10, 20, 30]))
    samples.sent_us[:2], samples.done_us[0] = [12, 22], 19
    moved = Samples.from_bytes(samples.to_bytes()).shifted(-1000)
    assert moved.intended_us.tolist() == [-990, -980, -970]
    assert moved.sent_us.tolist() == [-988, -978, MISSING]
    assert moved.done_us.tolist() == [-981, MISSING, MISSING]
    assert moved.status.tolist() == samples.status.tolist()


def test_many_processes_leave_the_servers_a_core():
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1
    if usable < 2:
        pytest.skip("one core is not divided")
    for generators in (1, 2, 64):
        cpus = CpuPlan.for_this_machine(generators)
        assert cpus.servers
        assert cpus.generator
        assert not cpus.servers & cpus.generator
        assert len(cpus.generator) == min(generators, usable - 1)
