"""Protects the harness on real servers: stalls seen, books balanced, no process left, errors in one line."""

from __future__ import annotations

import http.server
import itertools
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import psutil
import pytest

from loadtest.recorder import Samples
from loadtest.runner import load, race
from loadtest.runner.figures_of_merit import KNOWN_METRICS
from loadtest.runner.fleet import CpuPlan
from loadtest.runner.inquiries import require_reachable
from loadtest.runner.processes import Crew, ProcessFailed
from loadtest.runner.session import own_secret
from sim.errors import InputError
from sim.results import read_run
from sim.scenario import Scenario, scenario_from

FRONT = """
import sys
import hookbench, loadtest.cli, sim.cli
mounted = {command.callback for command in sim.cli.app.registered_commands}
sim.cli.app.registered_commands += [
    command for command in loadtest.cli.app.registered_commands if command.callback not in mounted
]
sys.exit(hookbench.run(sys.argv[1:]))
"""


def steady(rate_per_s: float, duration_s: float, **changes: object) -> Scenario:
    """Events at a constant rate, served at once."""
    scenario = scenario_from(
        {
            "name": "steady",
            "workload": {"kind": "periodic", "rate_per_s": rate_per_s, "payload_bytes": 500},
            "receiver": {"service": {"kind": "constant", "mean_s": 0.0005}},
            "polling": {"interval_s": 0.5},
            "run": {"duration_s": duration_s},
        }
    )
    return scenario.with_values(**changes)


def children_of_this_process() -> list[psutil.Process]:
    """Those of the harness: the broker that other tests share is not one of them."""
    return [child for child in psutil.Process().children(recursive=True) if child.name() != "tansu"]


def hookbench(*arguments: str, environment: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", FRONT, *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, **(environment or {})},
    )


def test_a_stalled_server_shows_in_the_corrected_latency_and_hides_from_the_other(tmp_path):
    # The receiver is stopped for 0.7 s of 3 s. Requests due within the stall, 0.7 / 3 = 23 % of all, wait for
    # its end: those due at the first 22 % of it (0.7 * 22 / 23 s before the end and more) are 1 % of all, so
    # the corrected p99 is at least 0.6 s, less a margin for a stop that came late. With two senders, only two
    # requests are really on the way meanwhile, 2 / 450 = 0.4 % of all: too few for the uncorrected p99.
    stall_s = 0.7

    def stop_for_a_while(servers, origin_us):
        time.sleep(max(0.0, origin_us / 1e6 + 1.0 - time.monotonic()))
        os.kill(servers["receiver"].pid, signal.SIGSTOP)
        time.sleep(stall_s)
        os.kill(servers["receiver"].pid, signal.SIGCONT)

    result = load(
        steady(150.0, 3.0),
        pool_size=2,
        out=tmp_path,
        figures=False,
        disturbance=stop_for_a_while,
        lag_limit_s=1.0,
    )
    metrics = result.runs[0].metrics
    assert metrics["latency_p99_s"] > 0.8 * stall_s
    assert metrics["uncorrected_latency_p99_s"] < 0.5 * metrics["latency_p99_s"]
    # Nothing was lost over it, and the waiting is on record.
    assert result.runs[0].ledger.visible == 450
    assert metrics["queued_ratio"] > 0.1


def test_a_stalled_generator_is_not_blamed_on_the_server(tmp_path):
    # While it is stopped no request leaves; then the whole backlog is dispatched at once, far more than the
    # pool can take. What had to queue for that reason was late already when it was dispatched.
    def stop_locust(servers, origin_us):
        (locust,) = (child for child in children_of_this_process() if "locust" in child.cmdline())
        time.sleep(max(0.0, origin_us / 1e6 + 0.5 - time.monotonic()))
        locust.suspend()
        time.sleep(0.5)
        locust.resume()

    result = load(
        steady(300.0, 2.0), pool_size=5, out=tmp_path, figures=False, disturbance=stop_locust, lag_limit_s=0.2
    )
    assert result.runs[0].metrics["queued_ratio"] > 0.1
    assert any("the load generator sent late" in reason for reason in result.void)
    assert result.exit_code == 3


def test_a_load_of_the_receiver_balances_and_writes_its_folder(tmp_path):
    result = load(steady(100.0, 2.0), thresholds=["latency_p50_s<5", "latency_p50_s<1e-9"], out=tmp_path)
    (run,) = result.runs
    assert run.ledger.scheduled == run.ledger.visible == 200
    assert (run.ledger.lost, run.ledger.failed, run.ledger.duplicates) == (0, 0, 0)
    assert [threshold.met for threshold in result.thresholds] == [True, False]
    assert set(run.metrics) <= set(KNOWN_METRICS)
    assert run.metrics["receiver_cpu_s_per_1k"] > 0
    assert run.notes["event_loops"] == {"receiver": "uvloop"}
    assert 0.9 * 100 < run.metrics["achieved_rate_per_s"] <= 101
    # The worker serves for 0.5 ms after the event is stored: visible is never before created plus that.
    assert run.metrics["visible_latency_p50_s"] > 0.0005
    folder = read_run(result.path)
    assert folder.complete
    assert len(folder.records()) == 200
    assert folder.notes["ledger"]["webhook"]["visible"] == 200
    assert {
        *("latency_cdf.png", "server_load_webhook.png", "samples_webhook_0.npz"),
        *("latency_webhook_0.hlog", "latency_webhook_0_corrected.hgrm", "latency_webhook_0_uncorrected.hgrm"),
    } <= set(folder.document["files"])
    json.dumps(result.document(), allow_nan=False)


def test_a_crowd_of_pollers_finds_empty_and_full_pages_in_proportion(tmp_path):
    # 0.5 events a second and polls of a poller 1 s apart: each poll finds an event half of the time.
    scenario = steady(0.5, 4.0, **{"polling.interval_s": 1.0})
    result = load(scenario, ["polling"], rate_per_s=50.0, out=tmp_path, figures=False)
    (run,) = result.runs
    assert run.ledger.acknowledged == run.ledger.scheduled == 200
    assert 0.3 < run.metrics["empty_ratio"] < 0.8
    assert run.metrics["provider_cpu_s_per_1k"] > 0
    full = run.samples.response_bytes.max()
    assert full > 500 > run.samples.response_bytes.min() > 0


def test_a_crowd_can_ask_for_large_events(tmp_path):
    # Events of 1.5 MB, ten of which lie behind a cursor.
    scenario = steady(10.0, 1.0, **{"workload.payload_bytes": 1_500_000, "polling.interval_s": 1.0})
    (run,) = load(scenario, ["polling"], rate_per_s=2.0, out=tmp_path, figures=False).runs
    assert run.ledger.acknowledged == run.ledger.scheduled == 2
    assert run.samples.response_bytes.max() > 1_500_000


def test_the_warm_up_counts_for_no_latency(tmp_path):
    # Nothing is answered in the first second, the warm-up: what came then is in the ledger only.
    def stop_for_a_second(servers, origin_us):
        os.kill(servers["receiver"].pid, signal.SIGSTOP)
        time.sleep(max(0.0, origin_us / 1e6 + 1.0 - time.monotonic()))
        os.kill(servers["receiver"].pid, signal.SIGCONT)

    (run,) = load(
        steady(50.0, 3.0, **{"run.warmup_s": 1.5}), out=tmp_path, figures=False, disturbance=stop_for_a_second
    ).runs
    assert run.ledger.scheduled == run.ledger.visible == 150
    assert (run.samples.corrected_us > 500_000).sum() > 20
    assert run.metrics["latency_max_s"] < 0.5
    assert run.metrics["uncorrected_latency_max_s"] < 0.5
    assert run.metrics["achieved_rate_per_s"] == pytest.approx(50, rel=0.2)


def test_a_race_pairs_the_same_events(tmp_path):
    from sim.engine import poll_phase_s
    from sim.randomness import replication_seed
    from sim.workload import event_times

    result = race(steady(40.0, 2.0), out=tmp_path, figures=False)
    webhook, polling = (result.of(arm)[0] for arm in ("webhook", "polling"))
    seed = replication_seed(1, 0)
    expected = event_times(result.scenario, seed)
    for run in (webhook, polling):
        assert run.ledger.visible == run.ledger.scheduled == len(expected)
        assert run.records["created"].to_numpy() == pytest.approx(expected, abs=1e-6)
        assert run.metrics["provider_cpu_s_per_1k"] > 0
        assert run.metrics["receiver_cpu_s_per_1k"] > 0
    # A polled event cannot be visible before the model's tick after its creation; but a tick's poll may leave
    # late on a busy machine, and then find an event created a little (here at most 0.2 s) after that tick.
    created, visible = (polling.records[name].to_numpy() for name in ("created", "visible"))
    phase = poll_phase_s(result.scenario, seed)
    ticks = phase + 0.5 * ((created - 0.2 - phase) // 0.5 + 1)
    assert (visible > ticks).all()
    assert webhook.metrics["latency_p50_s"] < polling.metrics["latency_p50_s"]
    assert len(result.differences) == len(expected)
    difference = webhook.metrics["latency_mean_s"] - polling.metrics["latency_mean_s"]
    assert result.differences["difference_s"].mean() == pytest.approx(difference)
    assert children_of_this_process() == []


def test_a_webhook_that_the_sender_gives_up_is_lost_and_no_reason_to_void(tmp_path):
    # One slow slot and no queue: nearly every webhook is refused with 503. The sender tries
    # once only.
    busy = {"receiver.service.mean_s": 0.3, "receiver.workers": 1, "receiver.queue_limit": 0}
    once = steady(20.0, 1.0, **busy, **{"webhook.retry": {"kind": "none"}})
    result = race(once, ["webhook"], out=tmp_path, figures=False, lag_limit_s=1.0)
    (run,) = result.runs
    assert result.void == []
    assert run.ledger.given_up > 5
    assert run.metrics["lost_ratio"] == run.ledger.given_up / 20
    assert run.ledger.visible + run.ledger.given_up == run.ledger.acknowledged == 20


def test_a_webhook_still_backing_off_at_the_end_is_pending(tmp_path, monkeypatch):
    module = sys.modules["loadtest.runner.race"]  # the package's attribute of that name is the function
    monkeypatch.setattr(module, "drain_limit_s", lambda *_: 1.0)
    monkeypatch.setattr(module, "MARGIN_S", 0.0)
    busy = {"receiver.service.mean_s": 0.3, "receiver.workers": 1, "receiver.queue_limit": 0}
    retry = {"kind": "fixed", "base_s": 3600.0, "max_attempts": 3}
    result = race(
        steady(20.0, 1.0, **busy, **{"webhook.retry": retry}),
        ["webhook"],
        out=tmp_path,
        figures=False,
        lag_limit_s=1.0,
    )
    (run,) = result.runs
    assert result.void == []
    assert run.ledger.pending > 5
    assert run.metrics["pending_ratio"] == run.ledger.pending / 20
    assert run.metrics["lost_ratio"] == 0


@pytest.mark.parametrize(
    ("timeout_s", "word"), [(15.0, "to say its counts"), (0.3, "did not answer /status")]
)
def test_a_server_too_busy_to_say_its_counts_voids_the_run(timeout_s, word, tmp_path, monkeypatch):
    monkeypatch.setattr("loadtest.runner.inquiries.STATUS_TIMEOUT_S", timeout_s)
    monkeypatch.setattr("loadtest.runner.session.WINDOW_SLACK_S", 0.5)

    def stop_at_the_end(servers, origin_us):
        time.sleep(max(0.0, origin_us / 1e6 + 0.8 - time.monotonic()))
        os.kill(servers["receiver"].pid, signal.SIGSTOP)
        time.sleep(1.5)
        os.kill(servers["receiver"].pid, signal.SIGCONT)

    result = load(
        steady(50.0, 1.0), out=tmp_path, figures=False, disturbance=stop_at_the_end, lag_limit_s=1.0
    )
    assert result.runs[0].ledger.visible == 50
    assert any(word in reason for reason in result.void)


def test_payloads_above_a_megabyte_reach_our_own_receiver(tmp_path):
    scenario = steady(4.0, 1.0, **{"workload.payload_bytes": 1_200_000})
    assert load(scenario, out=tmp_path, figures=False).runs[0].ledger.visible == 4
    (run,) = race(scenario, ["webhook"], out=tmp_path, figures=False).runs
    assert run.ledger.visible == 4


def test_a_proxy_in_the_environment_is_not_asked_for_loopback(tmp_path):
    done = hookbench(
        *("load", "shop-orders", "--rate", "20", "--duration", "1", "--out", str(tmp_path), "--no-figures"),
        environment={"http_proxy": "http://127.0.0.1:9", "no_proxy": ""},
    )
    assert done.returncode in (0, 3), done.stderr
    assert all("sent late" in line for line in done.stderr.splitlines())


def test_a_foreign_server_on_another_loop_is_void(tmp_path, monkeypatch):
    secret = own_secret()
    for name, value in secret.items():
        monkeypatch.setenv(name, value)
    with Crew(tmp_path, secret, CpuPlan()) as crew:
        flags = ("--inbox", f"sqlite:///{tmp_path / 'inbox.db'}", "--loop", "asyncio")
        host = crew.server("receiver", *flags).url
        result = load(steady(20.0, 0.5), host=host, out=tmp_path, figures=False)
    assert "webhook: the receiver ran on asyncio, not on uvloop" in result.void


def test_samples_that_are_missing_fail_the_run(tmp_path, monkeypatch):
    def forget_the_last(path):
        samples = Samples.from_bytes(path.read_bytes())
        return samples.chosen(samples.index[:-1])

    monkeypatch.setattr("loadtest.runner.generation.Samples.load", forget_the_last)
    with pytest.raises(ProcessFailed, match="recorded 9 of 10 scheduled requests"):
        load(steady(20.0, 0.5), out=tmp_path, figures=False)


def test_a_crowd_too_large_to_schedule_is_refused(tmp_path):
    with pytest.raises(InputError, match="at most 5,000,000 are scheduled"):
        load(steady(1.0, 1.0), ["polling"], rate_per_s=1e9, out=tmp_path, figures=False)


def test_a_receiver_that_refuses_everything_makes_a_void_run_with_the_reason(tmp_path):
    with Crew(tmp_path, own_secret(), CpuPlan()) as crew:
        receiver = crew.server("receiver", "--inbox", f"sqlite:///{tmp_path / 'inbox.db'}")
        done = hookbench(
            *("load", "shop-orders", "--rate", "20", "--duration", "1", "--host", receiver.url),
            *("--source", "standard"),
            *("--out", str(tmp_path), "--json", "--no-figures"),
            environment=own_secret(),
        )
    assert done.returncode == 3
    void = json.loads(done.stdout)["void"]
    assert "requests failed (HTTP 401" in void[0]
    # One line a reason (on a busy machine the generator's lag is another) and nothing else.
    assert done.stderr.splitlines() == [f"hookbench: VOID: {reason}" for reason in void]
    assert all("requests failed (HTTP 401" in reason or "sent late" in reason for reason in void)


class Failing(http.server.BaseHTTPRequestHandler):
    """Answers every POST with 500, or every other one only."""

    protocol_version = "HTTP/1.1"
    every = 1
    count = itertools.count()

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        self.send_response(500 if next(self.count) % self.every == 0 else 204)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


class FailingHalfOfTheTime(Failing):
    every = 2


@contextmanager
def served(handler: type[Failing]) -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.mark.parametrize(("handler", "code"), [(Failing, 3), (FailingHalfOfTheTime, 4)])
def test_failed_requests_miss_a_threshold_on_latency(handler, code, tmp_path):
    with served(handler) as url:
        done = hookbench(
            *(
                "load",
                "shop-orders",
                "--rate",
                "20",
                "--duration",
                "1",
                "--host",
                url,
                "--source",
                "standard",
            ),
            *("--threshold", "latency_p99_s<5", "--out", str(tmp_path), "--json", "--no-figures"),
            environment=own_secret(),
        )
    document = json.loads(done.stdout)
    assert document["thresholds"] == [
        {"arm": "webhook", "threshold": "latency_p99_s<5", "value": None, "met": False}
    ]
    assert done.returncode == (3 if any("sent late" in reason for reason in document["void"]) else code)
    assert "threshold missed by webhook: latency_p99_s<5 (undefined)" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["load", "shop-orders", "--host", "http://127.0.0.1:9"], "no server answers there"),
        (["load", "shop-orders", "--host", "shop"], "expected a URL"),
        (["load", "shop-orders", "-a", "pigeon"], "no arm is called 'pigeon'"),
        (["race", "shop-orders", "--threshold", "latency_p9_s<1"], "did you mean 'latency_p99_s'"),
        (["load", "shop-orders", "--seed", "99999999999999999999999"], "--seed must be in [0, 2^63)"),
        (["race", "shop-orders", "--seed", str(2**63)], "--seed must be in [0, 2^63)"),
        (["load", "shop-orders", "--rate", "1e9"], "at most 5,000,000 are scheduled"),
        (["race", "shop-orders", "--rate", "1e9"], "at most 5,000,000 are scheduled"),
    ],
)
def test_bad_input_is_one_line_and_exit_2(arguments, word, tmp_path):
    done = hookbench(*arguments, "--out", str(tmp_path))
    assert done.returncode == 2
    assert word in done.stderr
    assert done.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interrupted_load_leaves_no_process_and_an_incomplete_folder(number, tmp_path):
    process = subprocess.Popen(
        [
            sys.executable,
            "-c",
            # These tests may themselves run under nohup.
            f"import signal; signal.signal(signal.SIGHUP, signal.SIG_DFL){FRONT}",
            "load",
            "shop-orders",
            "--rate",
            "20",
            "--duration",
            "60",
            "--out",
            str(tmp_path),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    tree = psutil.Process(process.pid)
    deadline = time.monotonic() + 30
    while len(tree.children()) < 2 and time.monotonic() < deadline:
        time.sleep(0.05)
    family = tree.children(recursive=True)
    process.send_signal(number)
    _, stderr = process.communicate(timeout=30)
    assert len(family) == 2
    assert process.returncode == 130
    assert stderr == "hookbench: interrupted\n"
    assert not any(child.is_running() for child in family)
    (folder,) = tmp_path.iterdir()
    assert read_run(folder).reason == "interrupted"


def test_a_child_that_dies_or_keeps_silent_is_named_with_its_last_words(tmp_path):
    with Crew(tmp_path, {}, CpuPlan()) as crew:
        with pytest.raises(ProcessFailed, match=r"the receiver ended with exit code 7 .*: no luck"):
            crew.start(
                "receiver",
                [sys.executable, "-c", "import sys; print('no luck', file=sys.stderr); sys.exit(7)"],
            )
        with pytest.raises(ProcessFailed, match=r"not ready within 0\.3 s"):
            crew.start("receiver", [sys.executable, "-c", "import time; time.sleep(60)"], timeout_s=0.3)
        with pytest.raises(InputError, match="port"):
            crew.server("receiver", "--port", "70000")
    assert children_of_this_process() == []


def test_reachable_means_that_something_answers():
    with pytest.raises(InputError, match="expected a URL"):
        require_reachable("ftp://127.0.0.1")
