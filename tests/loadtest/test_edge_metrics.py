"""Protects /metrics: what Prometheus reads is what /status says, in names and units that follow its rules."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from loadtest.asgi import Application
from loadtest.connections import DURATION_BOUNDS_S, Connections
from loadtest.exposition import COUNTERS, GAUGES, Exposition
from loadtest.limits import Limits
from tests.loadtest.raw import connected, get
from tests.loadtest.servers import Server, event, eventually, running


class Scrape:
    """One answer of /metrics, parsed."""

    def __init__(self, server: Server) -> None:
        answer = server.request("GET", "/metrics")
        assert answer.status == 200
        assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
        self.families = {
            family.name: family for family in text_string_to_metric_families(answer.body.decode())
        }
        self.samples: list[Sample] = [
            sample for family in self.families.values() for sample in family.samples
        ]

    def value(self, name: str, **labels: str) -> float:
        (value,) = [s.value for s in self.samples if s.name == name and s.labels == labels]
        return value


@pytest.fixture(scope="module")
def receiver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    inbox = tmp_path_factory.mktemp("metrics") / "inbox.db"
    with running("receiver", "--inbox", f"sqlite:///{inbox}") as server:
        yield server


def test_what_is_scraped_is_what_status_says(receiver: Server) -> None:
    for index in range(3):
        name, body = event("metrics", index)
        assert receiver.post_event(body, name).status == 204
    assert receiver.request("POST", "/webhooks/standard", b"{}").status == 401
    with connected(receiver.port) as raw:
        raw.send(b"no http\r\n\r\n").answer()
    eventually(lambda: receiver.status()["visible"] == 3)
    before = receiver.status()
    scrape = Scrape(receiver)
    prefix = "hookbench_receiver"
    for key in ("accepted", "visible", "requests", "storage_errors", "handler_errors"):
        assert scrape.value(f"{prefix}_{key}_total") == before[key]
    assert scrape.value(f"{prefix}_busy_seconds_total") == pytest.approx(before["busy_s"])
    assert scrape.value(f"{prefix}_waiting") == 0
    assert scrape.value(f"{prefix}_ready") == 1
    assert scrape.value(f"{prefix}_http_connections_open") == 1
    assert scrape.value(f"{prefix}_http_connections_opened_total") == before["http_connections_opened"] + 1
    assert scrape.value(f"{prefix}_requests_refused_total", reason="signature") == 1
    assert scrape.value(f"{prefix}_connections_refused_total", reason="malformed_http") == 1
    assert scrape.value(f"{prefix}_request_duration_seconds_count", status="2xx") >= 3
    assert scrape.value(f"{prefix}_request_duration_seconds_count", status="4xx") == 1
    assert scrape.value("process_open_fds") > 3
    assert scrape.value("python_gc_collections_total", generation="0") >= 0


@pytest.mark.parametrize("role", ["receiver", "provider", "poller"])
def test_names_follow_the_rules(role: str, tmp_path: Path) -> None:
    """Every number of /status is known here by kind and help, in base units, counters with _total."""
    extra = () if role == "provider" else ("--inbox", f"sqlite:///{tmp_path}/inbox.db")
    source = ("--source", "http://localhost:9") if role == "poller" else ()
    with running(role, *extra, *source) as server:
        scrape = Scrape(server)
    ours = {name: family for name, family in scrape.families.items() if name.startswith("hookbench_")}
    assert len(ours) > 15
    for name, family in ours.items():
        assert re.fullmatch(rf"hookbench_{role}_[a-z0-9_]+", name)
        assert family.documentation
        assert not re.search(r"_(s|us|ms|mb|kb|milliseconds)$", name)
        assert family.type in ("counter", "gauge", "histogram"), f"{name}: tell loadtest/exposition.py of it"
        for sample in family.samples:
            assert family.type != "counter" or sample.name.endswith("_total")


def test_a_counter_is_no_gauge() -> None:
    assert COUNTERS.keys() & GAUGES.keys() == set()


def test_the_histogram_adds_up() -> None:
    connections = Connections(Limits())
    durations = (0.0, 0.0004, 0.0005, 0.0006, 0.3, 31.0)
    for duration_s in durations:
        connections.answered(2, duration_s)
    app = Application()
    text = Exposition(app, connections).render().decode()
    (family,) = [f for f in text_string_to_metric_families(text) if f.type == "histogram"]
    buckets = {s.labels["le"]: s.value for s in family.samples if s.name.endswith("_bucket")}
    for bound in DURATION_BOUNDS_S:
        assert buckets[str(bound)] == sum(duration_s <= bound for duration_s in durations)
    assert buckets["+Inf"] == len(durations)
    (total,) = [s.value for s in family.samples if s.name.endswith("_sum")]
    assert total == pytest.approx(sum(durations))


def test_what_status_shows_and_nobody_described_is_shown_all_the_same() -> None:
    class New(Application):
        role = "new"

        def status(self) -> dict[str, object]:
            return {"lease_ms": 1500, "name": "x", "none": None, "is_on": True, "by_kind": {"a": 1, "b": "x"}}

    text = Exposition(New(), Connections(Limits())).render().decode()
    assert "# TYPE hookbench_new_lease_seconds untyped\nhookbench_new_lease_seconds 1.5\n" in text
    assert 'hookbench_new_by_kind{name="a"} 1.0\n' in text
    assert "hookbench_new_is_on 1.0\n" in text
    assert "hookbench_new_name" not in text


def test_scraping_costs_no_connection_and_no_request_is_lost_by_it(receiver: Server) -> None:
    with connected(receiver.port) as raw:
        for _ in range(5):
            assert raw.send(get("/metrics")).answer().status == 200
            assert raw.send(get()).answer().status == 200
