"""Protects faults: read strictly, done to real servers, which come back as the same, with nothing lost."""

from __future__ import annotations

import signal
import threading
import time

import numpy as np
import psutil
import pytest

from loadtest.contract import now_us
from loadtest.monitor import Monitor
from loadtest.runner import load
from loadtest.runner.faults import Fault, Faults, faults_of, parse_fault
from loadtest.runner.fleet import CpuPlan
from loadtest.runner.processes import Crew, ServerSilent
from loadtest.runner.session import Settings, own_secret, unlike_the_model
from sim.errors import InputError
from sim.scenario import Scenario, scenario_from


def steady(rate_per_s: float, duration_s: float, **changes: object) -> Scenario:
    return scenario_from(
        {
            "name": "steady",
            "workload": {"kind": "periodic", "rate_per_s": rate_per_s, "payload_bytes": 500},
            "receiver": {"service": {"kind": "constant", "mean_s": 0.0005}},
            "run": {"duration_s": duration_s},
        }
    ).with_values(**changes)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("pause@5+1.4", Fault("pause@5+1.4", None, "pause", 5.0, 1.4)),
        ("provider:kill@0.5", Fault("provider:kill@0.5", "provider", "kill", 0.5, 1.0)),
        ("restart@2", Fault("restart@2", None, "restart", 2.0, 0.0)),
        ("slow@5+3x10", Fault("slow@5+3x10", None, "slow", 5.0, 3.0, 10.0)),
    ],
)
def test_a_fault_is_read_as_it_is_written(text, fault):
    assert parse_fault(text) == fault


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("pause", "expected [ROLE:]KIND@SECONDS[+SECONDS], as pause@5+1.4"),
        ("stop@5+1", "no fault is called 'stop'; faults: pause, kill, restart, slow, outages"),
        ("generator:pause@5+1", "no server is called 'generator'; servers: receiver, provider"),
        ("pause@5", "for how long? As pause@5+1.4"),
        ("pause@-1+1", "expected a number from 0 on, got '-1'"),
        ("pause@5+x", "[ROLE:]KIND@SECONDS"),
        ("pause@nan+1", "expected a number from 0 on, got 'nan'"),
        ("slow@1+1x0.5", "expected a number from 1 on, got '0.5'"),
        ("kill@1x3", "only slow has a factor"),
        ("pause@9+2", "it ends at 11 s, after the run's 10 s"),
        ("outages", "no outage of steady's receiver begins within 10 s"),
    ],
)
def test_a_bad_fault_is_refused_in_one_line(text, said):
    with pytest.raises(InputError) as refused:
        faults_of([text], steady(10.0, 10.0))
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("texts", "roles"),
    [
        (["pause@1+2", "kill@2"], ["receiver"]),
        (["receiver:pause@1+2", "kill@2"], ["receiver", "provider"]),  # unsaid, the receiver's
        (["provider:pause@1+2", "kill@2"], ["provider"]),  # the only server there is
    ],
)
def test_one_server_suffers_one_fault_at_a_time(texts, roles):
    faults = faults_of(texts, steady(10.0, 10.0))
    assert faults is not None
    with pytest.raises(InputError, match=r"--fault kill@2: begins before .*pause@1\+2 is over"):
        faults.require_servers(roles)


def test_two_servers_may_suffer_at_a_time():
    faults = faults_of(["provider:pause@1+2", "kill@2", "pause@3+1"], steady(10.0, 10.0))
    assert faults is not None
    faults.require_servers(["receiver", "provider"])
    assert faults_of([], steady(10.0, 10.0)) is None


def test_a_fault_needs_its_server():
    faults = faults_of(["provider:pause@1+1"], steady(10.0, 10.0))
    assert faults is not None
    with pytest.raises(InputError, match="no provider takes part, only: receiver"):
        faults.require_servers(["receiver"])
    with pytest.raises(InputError, match="not ours cannot be disturbed"):
        faults.require_servers([])


def test_a_scenarios_own_outages_become_faults_where_they_can():
    outages = [
        {"start_s": 1.0, "duration_s": 2.0, "kind": "refuse"},
        {"start_s": 4.0, "duration_s": 1.0, "kind": "black_hole"},
        {"start_s": 6.0, "duration_s": 1.0, "kind": "slow", "slowdown": 3.0},
        {"start_s": 50.0, "duration_s": 1.0, "kind": "error"},
    ]
    faults = faults_of(["outages"], steady(10.0, 10.0, **{"receiver.outages": outages}))
    assert faults is not None
    assert faults.outages_enacted
    assert [fault.text for fault in faults.faults] == ["restart@1+2", "pause@4+1", "slow@6+1x3"]
    unlike = unlike_the_model(steady(10.0, 10.0, **{"receiver.outages": outages}))
    assert "receiver.outages are not enacted" in unlike
    assert Settings(1, 1, 0.01).as_run(unlike) == unlike
    told = Settings(1, 1, 0.01, faults).as_run(unlike)
    assert "receiver.outages are not enacted" not in told
    assert any(note.startswith("receiver.outages are enacted") for note in told)
    assert len(told) == len(unlike)
    with pytest.raises(InputError, match='an outage of kind "error" cannot be enacted'):
        faults_of(["outages"], steady(10.0, 60.0, **{"receiver.outages": outages}))


def test_a_killed_receiver_comes_back_at_its_port_with_its_counts(tmp_path):
    with Crew(tmp_path, own_secret(), CpuPlan()) as crew, Monitor() as monitor:
        crew.monitor = monitor
        receiver = crew.server("receiver", "--inbox", f"sqlite:///{tmp_path / 'inbox.db'}")
        monitor.watch("receiver", receiver.pid)
        first, port = receiver.pid, receiver.ready["port"]
        used_s = monitor.readings["receiver"][-1].cpu_s
        requests = receiver.status()["http_requests"]
        faults = Faults([Fault("kill@0+0.2", None, "kill", 0.0, 0.2)])
        faults({"receiver": receiver}, now_us())
        ((told,), errors) = faults.result()
        assert errors == []
        assert told["kind"] == "kill"
        assert told["ended_s"] - told["begun_s"] >= 0.2
        assert not psutil.pid_exists(first)
        assert receiver.pid != first
        # The status itself is a request: the former process had seen at least one more.
        assert receiver.status()["http_requests"] > requests
        assert receiver.url.endswith(f":{port}")
        monitor.read_now()
        cumulative = [reading.cpu_s for reading in monitor.readings["receiver"]]
        assert cumulative == sorted(cumulative)
        assert cumulative[-1] > used_s
    assert not psutil.pid_exists(receiver.pid)


def test_a_server_that_was_stopped_for_good_is_not_brought_back(tmp_path, monkeypatch):
    monkeypatch.setattr("loadtest.runner.inquiries.STATUS_TIMEOUT_S", 0.3)
    with Crew(tmp_path, own_secret(), CpuPlan()) as crew:
        receiver = crew.server("receiver", "--inbox", f"sqlite:///{tmp_path / 'inbox.db'}")
        assert receiver.take_down(signal.SIGKILL, 10.0)
        # Whoever asks meanwhile waits for the successor, for a while.
        with pytest.raises(ServerSilent):
            receiver.status()
        last = receiver.pid
        receiver.stop()
        receiver.bring_back()
        assert receiver.pid == last
        assert not receiver.take_down(signal.SIGKILL, 1.0)


def test_a_pause_stops_the_whole_server_and_slow_lets_it_run_now_and_then(tmp_path):
    with Crew(tmp_path, own_secret(), CpuPlan()) as crew:
        receiver = crew.server("receiver", "--inbox", f"sqlite:///{tmp_path / 'inbox.db'}")
        seen: set[str] = set()
        for fault in (parse_fault("pause@0+0.4"), parse_fault("slow@0+0.4x8")):
            done = threading.Event()
            enact = threading.Thread(
                target=lambda fault=fault, done=done: (
                    Faults([fault])({"receiver": receiver}, now_us()),
                    done.set(),
                )
            )
            enact.start()
            seen.clear()
            while not done.is_set():
                seen.add(psutil.Process(receiver.pid).status())
                time.sleep(0.002)
            enact.join()
            assert psutil.STATUS_STOPPED in seen
            assert psutil.Process(receiver.pid).status() != psutil.STATUS_STOPPED
        assert receiver.status()["requests"] == 0


def test_what_failed_while_a_server_was_dead_is_sent_again_and_nothing_acknowledged_is_lost(tmp_path):
    # 60 events a second; the receiver is dead for about a second of four. A storm of retries brings what was
    # refused meanwhile.
    retry = {"kind": "fixed", "base_s": 0.5, "max_attempts": 20, "jitter": "full"}
    result = load(
        steady(60.0, 4.0, **{"webhook.retry": retry, "webhook.timeout_s": 2.0}),
        faults=["kill@1+0.3"],
        storms=["retries:within=30"],
        out=tmp_path,
        figures=False,
        lag_limit_s=5.0,
    )
    assert result.void == []
    (run,) = result.runs
    assert run.ledger.scheduled == 240
    assert run.ledger.visible == run.ledger.acknowledged == 240
    assert run.ledger.retries > 0
    assert run.metrics["retries_per_event"] == run.ledger.retries / 240
    # The intended time does not move with the retries: what was due in the gap waited for its end.
    assert run.metrics["latency_max_s"] > 0.3
    assert run.samples.attempts.max() > 1
    (fault,) = run.notes["faults"]
    assert (fault["role"], fault["kind"]) == ("receiver", "kill")
    assert np.isclose(fault["begun_s"], 1.0, atol=0.5)
    assert "kill@1+0.3" in result.shape


@pytest.mark.slow
def test_requests_that_fail_because_a_server_is_dead_do_not_void_the_run(tmp_path):
    result = load(steady(60.0, 3.0), faults=["kill@1+0.2"], out=tmp_path, lag_limit_s=5.0)
    (run,) = result.runs
    assert result.void == []
    assert run.ledger.failed > 0
    assert run.ledger.acknowledged + run.ledger.failed == 180
    assert run.ledger.lost == 0
    assert set(run.notes["failures"]) <= {"connection refused", "connection broken", "timed out"}
