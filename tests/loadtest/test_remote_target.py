"""Protects the load of somebody else's server: any HTTP server, TLS verified, what is not known said."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from io import StringIO

import pytest
import trustme
from rich.console import Console

from loadtest.runner import load
from loadtest.runner.fleet import Fleet
from loadtest.tables import show
from sim.errors import InputError
from sim.scenario import Scenario, scenario_from
from tests.loadtest.servers import SECRET, running

SCENARIO: Scenario = scenario_from(
    {
        "name": "foreign",
        "workload": {"kind": "periodic", "rate_per_s": 30.0, "payload_bytes": 300},
        "polling": {"interval_s": 1.0},
        "run": {"duration_s": 1.0},
    }
)


class Foreign(http.server.BaseHTTPRequestHandler):
    """A server that knows nothing of us: it takes what is posted to one path, and answers any GET."""

    protocol_version = "HTTP/1.1"
    seen: list[str]

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        self.seen.append(self.path)
        self.send_response(200 if self.path == "/hooks/orders" else 404)
        self.send_header("content-length", "0")
        self.end_headers()

    def do_GET(self) -> None:
        self.seen.append(self.path)
        self.send_response(200)
        self.send_header("content-length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def foreign() -> Iterator[tuple[str, list[str]]]:
    seen: list[str] = []
    handler = type("Handler", (Foreign,), {"seen": seen})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", seen
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture(autouse=True)
def secret(monkeypatch):
    monkeypatch.setenv("HOOKBENCH_WEBHOOK_SECRET", SECRET)


def test_any_http_server_is_loaded_at_any_path_and_what_is_unknown_is_said(tmp_path):
    with foreign() as (url, seen):
        result = load(
            SCENARIO, host=f"{url}/", path="/hooks/orders", out=tmp_path, figures=False, lag_limit_s=10.0
        )
    (run,) = result.runs
    assert result.void == []
    assert run.ledger.acknowledged == 30
    assert seen.count("/hooks/orders") == 30
    assert run.metrics["latency_p50_s"] > 0
    assert not any(name.startswith(("visible_", "receiver_cpu", "lost")) for name in run.metrics)
    assert (run.ledger.visible, run.ledger.lost, run.records) == (None, None, None)
    text = StringIO()
    show(result, Console(file=text, width=200))
    assert "not measured: the server's CPU, memory and waiting: its processes are not ours to read" in (
        text.getvalue()
    )
    assert "created to visible" in text.getvalue()


def test_a_crowd_of_pollers_asks_any_server(tmp_path):
    with foreign() as (url, seen):
        (run,) = load(
            SCENARIO, ["polling"], rate_per_s=20.0, host=url, out=tmp_path, figures=False, lag_limit_s=10.0
        ).runs
    assert run.ledger.acknowledged == 20
    assert seen.count("/events?limit=100") == 20
    assert "empty_ratio" not in run.metrics
    assert any("empty_ratio" in note for note in run.notes["not_measured"])


def test_https_is_loaded_with_certificates_that_vouch_for_it_and_not_without(tmp_path):
    authority = trustme.CA()
    ca, cert, key = (tmp_path / name for name in ("ca.pem", "cert.pem", "key.pem"))
    issued = authority.issue_cert("127.0.0.1")
    authority.cert_pem.write_to_path(ca)
    issued.private_key_pem.write_to_path(key)
    issued.cert_chain_pems[0].write_to_path(cert)
    options = ("--tls-cert", str(cert), "--tls-key", str(key))
    with running("receiver", "--inbox", f"sqlite:///{tmp_path / 'inbox.db'}", *options) as server:
        url = f"https://127.0.0.1:{server.port}"
        result = load(
            SCENARIO, host=url, fleet=Fleet(ca=str(ca)), out=tmp_path, figures=False, lag_limit_s=10.0
        )
        assert result.void == []
        assert result.runs[0].ledger.acknowledged == 30
        # Its own word on its event loop came over TLS too.
        assert result.runs[0].notes["event_loops"] == {"receiver": "uvloop"}
        with pytest.raises(InputError, match=r"certificate is not trusted .*--ca FILE"):
            load(SCENARIO, host=url, out=tmp_path, figures=False)


def test_a_path_needs_a_host_and_a_slash(tmp_path):
    with pytest.raises(InputError, match="--path '/hook' is the path at"):
        load(SCENARIO, path="/hook", out=tmp_path, figures=False)
    with pytest.raises(InputError, match="--path 'hook'"):
        load(SCENARIO, host="http://127.0.0.1:9", path="hook", out=tmp_path, figures=False)
