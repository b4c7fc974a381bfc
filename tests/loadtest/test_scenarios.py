"""Protects plain Locust: the same files run without hookbench, import no server, and record raw samples."""

from __future__ import annotations

import http.server
import json
import os
import re
import socket
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

import loadtest.scenarios
from loadtest.plans import LOAD_ARMS
from loadtest.recorder import Samples
from loadtest.runner.fleet import CpuPlan
from loadtest.runner.processes import Crew
from loadtest.runner.session import own_secret
from loadtest.schedule import event_schedule, scheduled_scenario
from sim.scenario import load_scenario

FOLDER = Path(loadtest.scenarios.__path__[0])
ARMS = (*LOAD_ARMS, "publisher")


def locust(arm: str, *arguments: str, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [
            sys.executable,
            "-m",
            "locust",
            "-f",
            str(FOLDER / f"{arm}.py"),
            "--headless",
            "--only-summary",
            *arguments,
        ],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, **environment},
    )


def test_plain_locust_loads_a_receiver_on_the_scenarios_schedule(tmp_path):
    secret = own_secret()
    with Crew(tmp_path, secret, CpuPlan()) as crew:
        receiver = crew.server("receiver", "--inbox", f"sqlite:///{tmp_path / 'inbox.db'}")
        done = locust(
            "webhook",
            *("--host", receiver.url, "--rate-per-s", "100", "--duration-s", "1.5"),
            *("--source", "standard"),
            *("--samples", str(tmp_path / "samples.npz"), "--json-file", str(tmp_path / "told")),
            environment=secret,
        )
        accepted = receiver.status()["accepted"]
    assert done.returncode == 0, done.stderr
    samples = Samples.load(tmp_path / "samples.npz")
    assert samples.index.size > 80
    assert samples.acknowledged.all()
    assert accepted == samples.index.size
    gaps = np.diff(samples.intended_us)
    assert (gaps >= 0).all()
    assert "latency from the intended time" in done.stderr
    # Locust's own statistics, which its web page shows, have every request and the latency from its due time.
    (told,) = json.loads((tmp_path / "told.json").read_text(encoding="utf-8"))
    assert (told["name"], told["method"]) == ("webhook", "POST")
    assert (told["num_requests"], told["num_failures"]) == (samples.index.size, 0)
    assert told["total_response_time"] == pytest.approx(samples.corrected_us.sum() / 1000.0)


def free_port() -> str:
    """A port that nobody listens on; Locust's own is taken while another test of the machine runs it."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


def test_several_processes_share_one_schedule_exactly(tmp_path):
    secret, port = own_secret(), free_port()
    with Crew(tmp_path, secret, CpuPlan()) as crew:
        receiver = crew.server("receiver", "--inbox", f"sqlite:///{tmp_path / 'inbox.db'}")
        done = locust(
            "webhook",
            *(
                "--host",
                receiver.url,
                "--rate-per-s",
                "50",
                "--duration-s",
                "1",
                "--processes",
                "2",
                "-u",
                "10",
            ),
            *("-r", "10", "--samples", str(tmp_path / "samples.npz"), "--seed", "5", "--source", "standard"),
            *("--master-bind-port", port, "--master-port", port),
            environment=secret,
        )
        status = receiver.status()
    assert done.returncode == 0, done.stderr
    merged = Samples.load(tmp_path / "samples.npz")
    assert merged.index.tolist() == list(range(merged.index.size))
    # One origin for all processes: the merged schedule is the scenario's own.
    scenario = scheduled_scenario(load_scenario("shop-orders"), rate_per_s=50.0, duration_s=1.0)
    assert np.unique(merged.intended_us - event_schedule(scenario, 5)).size == 1
    assert merged.acknowledged.all()
    assert status["accepted"] == merged.index.size


class Redirecting(http.server.BaseHTTPRequestHandler):
    """Sends every webhook elsewhere, to a page that would take it."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        self.send_response(204 if self.path == "/elsewhere" else 307)
        self.send_header("location", "/elsewhere")
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


def test_a_redirection_is_a_failure_and_not_followed(tmp_path):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Redirecting)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        done = locust(
            "webhook",
            *("--host", f"http://127.0.0.1:{server.server_port}", "--rate-per-s", "20", "--duration-s", "1"),
            *("--source", "standard"),
            *("--samples", str(tmp_path / "samples.npz")),
            environment=own_secret(),
        )
    finally:
        server.shutdown()
        server.server_close()
    samples = Samples.load(tmp_path / "samples.npz")
    assert set(samples.status.tolist()) == {307}
    assert not samples.acknowledged.any()
    assert done.returncode == 1, done.stderr  # Locust counts them as failures too


def test_without_a_host_plain_locust_says_so():
    done = locust("webhook", environment=own_secret())
    assert done.returncode != 0
    assert "--host is missing" in done.stderr
    assert "Traceback" not in done.stderr


def test_without_a_secret_plain_locust_says_which_variable_is_missing():
    done = locust("webhook", "--host", "http://127.0.0.1:9", environment={"HOOKBENCH_SHOPIFY_SECRET": ""})
    assert done.returncode != 0
    assert "set HOOKBENCH_SHOPIFY_SECRET to the receiver's secret, or choose another --source" in done.stderr
    assert "Traceback" not in done.stderr


def test_plain_locust_takes_shapes_storms_and_held_connections(tmp_path):
    with Crew(tmp_path, {}, CpuPlan()) as crew:
        provider = crew.server("provider")
        done = locust(
            "streaming",
            *("--host", provider.url, "--shape", "constant:rate=20", "--duration-s", "1", "--clients", "3"),
            *("--samples", str(tmp_path / "samples.npz")),
            environment={},
        )
        status = provider.status()
    assert done.returncode == 0, done.stderr
    samples = Samples.load(tmp_path / "samples.npz")
    assert np.diff(samples.intended_us).tolist() == [50_000] * 19
    assert samples.acknowledged.all()
    assert (status["published"], status["stream_events"]) == (20, 60)
    # Locust's own table shows the arrivals, by their latency from the event's creation.
    assert re.search(r"EVENT +streaming +60 ", done.stdout + done.stderr)


def test_plain_locust_says_in_one_line_what_is_wrong_with_an_option():
    done = locust(
        "webhook", "--host", "http://127.0.0.1:9", "--shape", "ramp:from=1", environment=own_secret()
    )
    assert done.returncode != 0
    assert "webhook: shape 'ramp:from=1': to is missing" in done.stderr
    assert "Traceback" not in done.stderr


def test_locust_files_never_import_a_server():
    script = (
        f"import sys, importlib as i; [i.import_module(f'loadtest.scenarios.{{a}}') for a in {ARMS!r}]; "
        "print([m for m in sys.modules if m.startswith(('loadtest.receiver', 'loadtest.provider', "
        "'loadtest.inbox', 'loadtest.consumers', 'loadtest.serve', 'uvicorn', 'numba'))])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.strip() == "[]"
