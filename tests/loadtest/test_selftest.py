"""Protects the self-test: it passes where the harness sees the fault, and fails where it would not."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest

from loadtest.runner import load
from loadtest.runner.processes import Child
from loadtest.selftest import Check, SelfTest, checks
from loadtest.verdict import Reason
from tests.loadtest.recorded import invented_run


@pytest.fixture
def real(tmp_path):
    """Runs loads as the self-test does."""

    def run(scenario, *faults, **options):
        settings = {"lag_limit_s": 1.0, "receiver": (checks.RECEIVER, *faults)} | options
        return load(scenario, out=tmp_path, figures=False, **settings).runs[0]

    return run


def test_answers_that_a_real_receiver_drops_are_on_the_books(real):
    found = checks.dropped(real)
    assert [check.passed for check in found] == [True, True], found


def test_an_event_that_a_real_receiver_forgets_voids_the_run(real):
    check = checks.forgotten(real)
    assert check.passed, check.seen


def test_a_delay_inside_a_real_receiver_is_in_the_latency(real):
    """No event is answered before its delay is over, and none can be quicker on a busy machine."""
    samples = real(checks.steady(40.0, 1.0), "--delays-ms", "0", "20").samples
    latency_ms = samples.corrected_us / 1e3
    assert latency_ms[1::2].min() >= 20.0
    assert latency_ms[0::2].min() < 20.0


def test_books_that_hide_a_dropped_answer_fail_the_check():
    def blind(*_: object, **__: object):
        return invented_run("webhook", 0, np.full(100, 5_000))

    assert [check.passed for check in checks.dropped(blind)] == [False, False]
    assert not checks.forgotten(blind).passed


def test_a_lost_event_that_voids_by_another_rule_only_fails_the_check():
    run = invented_run("webhook", 0, np.full(50, 5_000), void=[Reason("generator_lag", "late")])
    run = replace(run, ledger=replace(run.ledger, visible=49, lost=1))
    check = checks.forgotten(lambda *_, **__: run)
    assert not check.passed
    assert check.seen == "lost 1; void by generator_lag"


@pytest.mark.parametrize(
    ("corrected_s", "uncorrected_s", "passed"),
    [
        (0.3, 0.01, [True, True]),
        (0.02, 0.01, [False, True]),
        (0.3, 0.3, [True, False]),
        # As late as that is a server that was overloaded anyway: no proof that the stall was seen.
        (4.0, 0.01, [False, True]),
    ],
)
def test_a_stall_must_show_in_one_latency_and_not_in_the_other(
    corrected_s, uncorrected_s, passed, monkeypatch, tmp_path
):
    monkeypatch.setattr(checks, "STALL_S", 0.3)

    def run(_scenario, *, disturbance, **_options):
        sleeper = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
        try:
            servers = {"receiver": Child("receiver", sleeper, tmp_path / "log")}
            disturbance(servers, time.monotonic_ns() // 1000 - 10_000_000)
        finally:
            sleeper.kill()
            sleeper.wait()
        metrics = {"latency_p99_s": corrected_s, "uncorrected_latency_p99_s": uncorrected_s}
        return invented_run("webhook", 0, np.full(10, 5_000), metrics=metrics)

    found = checks.stall(run, 6.0)
    assert float(found[0].done.split(" for ")[1].split(" s ")[0]) >= 0.3
    # The bound is of the stall that really took place, 0.3 s here: 0.02 s must not pass for it.
    assert [check.passed for check in found] == passed


def test_delays_come_back_through_a_noise_that_neighbours_share():
    """The median of log-normal noise of 3 ms, alike within a cycle, is known to 0.2 ms from 600 cycles."""
    rng = np.random.default_rng(5)
    noise_s = rng.lognormal(np.log(0.003), 0.5, (600, 4)) + rng.exponential(0.001, (600, 1))
    found = checks.delay_intervals(noise_s + np.array(checks.DELAYS_MS) / 1e3)
    for delay_ms, interval in zip(checks.DELAYS_MS[1:], found, strict=True):
        assert interval.low <= delay_ms / 1e3 <= interval.high
        assert interval.high - interval.low < 0.001
        assert interval.low > 0


def test_delays_that_do_not_come_back_fail_their_checks_after_the_last_repetition():
    runs = []

    def blind(*_: object, **__: object):
        runs.append(1)
        rng = np.random.default_rng(len(runs))
        return invented_run("webhook", 0, rng.integers(3_000, 4_000, 400))

    found = checks.delays(blind, 1.0)
    assert len(runs) == checks.MOST_RUNS
    assert [check.passed for check in found] == [False, False, False]


def test_one_failed_check_fails_the_self_test(tmp_path):
    good = Check("a", "b", "c", "d", passed=True)
    assert SelfTest((good, good), tmp_path).exit_code == 0
    failed = SelfTest((good, replace(good, passed=False)), tmp_path)
    assert failed.exit_code == 3
    assert json.loads(json.dumps(failed.document()))["passed"] is False


@pytest.mark.slow
def test_the_self_test_from_the_command_line(tmp_path):
    """On a busy machine a delay of a millisecond may stay hidden: then it must say so and exit 3."""
    done = subprocess.run(
        [sys.executable, "-m", "hookbench", "selftest", "--quick", "--json", "--out", str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    document = json.loads(done.stdout)
    failed = [check["name"] for check in document["checks"] if not check["passed"]]
    assert set(failed) <= {"delay of 1 ms recovered", "delay of 5 ms recovered", "delay of 20 ms recovered"}
    assert done.returncode == (3 if failed else 0)
    assert len(document["checks"]) == 9
