"""Protects the seconds of a run: all on one clock, counters as rates, gaps as gaps, figures of the same."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from loadtest.observations import GAUGES, Observations, machine_now
from loadtest.recorder import Samples
from loadtest.runner.outcome import count
from loadtest.runner.results import ArmRun
from loadtest.timeline import timeline
from loadtest.timeline.figures import timeline_figure
from tests.loadtest.servers import eventually, running

ORIGIN_US = 50_000_000


def run(**changes: object) -> ArmRun:
    """Three seconds: one request every 100 ms, answered after 10 ms; in second 1 after 200 ms; one fails."""
    samples = Samples.scheduled(np.arange(30), ORIGIN_US + np.arange(30) * 100_000)
    slow = (samples.index >= 10) & (samples.index < 20)
    samples.sent_us[:] = samples.intended_us + 1_000
    samples.done_us[:] = samples.intended_us + np.where(slow, 200_000, 10_000)
    samples.status[:] = 204
    samples.status[25] = 503
    at_s = np.arange(-1.0, 4.01, 0.25)
    load = pd.DataFrame(
        {
            "role": "receiver",
            "at_s": at_s,
            "cpu_s": 10 + np.interp(at_s, [0, 1, 2, 3], [0.0, 0.2, 1.0, 1.1]),
            "run_wait_s": np.interp(at_s, [0, 3], [0.0, 0.3]),
            "rss_mb": 50.0 + at_s,
            "pss_mb": np.where(at_s % 1 == 0.5, 40.0, np.nan),
            "voluntary_switches": (at_s * 1000).astype(int) + 5000,
            "involuntary_switches": 7,
            "fds": 12,
        }
    )
    seen = [("machine", at, "busy_s", 100 + 1.5 * at) for at in at_s]
    seen += [("machine", at, "pressure_cpu_s", 7 + 0.25 * at) for at in at_s]
    # In second 1 the server said nothing.
    seen += [("receiver", at, "waiting", at * 10) for at in at_s if not 1 <= at < 2]
    values = {
        "arm": "webhook",
        "run": 0,
        "metrics": {},
        "ledger": count(samples, None),
        "void": [],
        "samples": samples,
        "records": None,
        "server_load": load,
        "notes": {"origin_us": ORIGIN_US},
        "observations": pd.DataFrame(seen, columns=["role", "at_s", "name", "value"]),
    }
    return ArmRun(**{**values, **changes})


def test_each_second_has_what_happened_in_it():
    table = timeline("load", run())
    assert table["second"].tolist() == [0, 1, 2]
    assert table["due"].tolist() == table["sent"].tolist() == [10, 10, 10]
    # Due at 1.9 s and answered after 200 ms: two answers of second 1 come in second 2, at 2.0 and 2.1 s.
    assert table["answered"].tolist() == [10, 8, 11]
    assert table["failed"].tolist() == [0, 0, 1]
    assert table["latency_p50_s"].tolist() == pytest.approx([0.01, 0.2, 0.01])
    assert table["lag_p99_s"].tolist() == pytest.approx([0.001] * 3)
    assert table["receiver_cpu_share"].tolist() == pytest.approx([0.2, 0.8, 0.1])
    assert table["receiver_run_wait_share"].tolist() == pytest.approx([0.1] * 3)
    assert table["receiver_switches_per_s"].tolist() == pytest.approx([1000] * 3)
    assert table["receiver_rss_mb"].tolist() == [50.75, 51.75, 52.75]
    assert table["receiver_pss_mb"].tolist() == [40.0] * 3
    assert table["machine_busy_cores"].tolist() == pytest.approx([1.5] * 3)
    assert table["machine_pressure_cpu"].tolist() == pytest.approx([0.25] * 3)
    assert table["receiver_waiting"].fillna(-1).tolist() == [7.5, -1, 27.5]


def test_what_was_not_read_is_no_zero():
    load = run().server_load
    early = run(server_load=load[load["at_s"] < 1.5].assign(run_wait_s=np.nan), observations=None)
    table = timeline("load", early)
    assert table["receiver_cpu_share"].isna().tolist() == [False, False, True]
    assert not any(name.startswith(("machine_", "receiver_waiting", "receiver_run_wait")) for name in table)


def test_in_a_race_latency_is_that_of_the_events():
    created = np.array([0.5, 1.5, 2.5])
    records = pd.DataFrame({"created": created, "visible": created + np.array([0.3, 0.1, np.nan])})
    race = timeline("race", run(records=records))
    assert race["latency_p99_s"].fillna(-1).tolist() == pytest.approx([0.3, 0.1, -1])
    load = timeline("load", run(records=records))
    assert load["visible_latency_p99_s"].fillna(-1).tolist() == pytest.approx([0.3, 0.1, -1])
    assert load["latency_p99_s"][0] == pytest.approx(0.01)


def test_the_panels_share_their_seconds_and_name_their_lines(tmp_path):
    figure = timeline_figure("load", run(), ["it lagged"])
    figure.savefig(tmp_path / "timeline.png")
    assert len({axes.get_xlim() for axes in figure.axes}) == 1
    names = {text.get_text().strip() for axes in figure.axes for text in axes.texts}
    assert {"due", "answered", "failed", "p50", "p99", "receiver", "waiting", "cpu"} <= names
    assert "p99 at its worst in second 1: 200 ms" in figure.axes[0].get_title(loc="left")
    assert any(text.get_text() == "VOID" for text in figure.texts)
    # Lines of one panel differ by style too: colour is not needed to read it.
    for axes in figure.axes:
        styles = [str(patch.get_linestyle()) for patch in axes.patches]
        assert len(set(styles)) == len(styles)


def test_nothing_answered_is_drawn_too(tmp_path):
    silent = run()
    silent.samples.status[:] = 0
    silent.samples.done_us[:] = -1
    figure = timeline_figure("load", silent)
    figure.savefig(tmp_path / "timeline.png")
    assert figure.axes[0].get_title(loc="left") == "webhook: nothing was answered"


def test_a_server_is_asked_while_it_lives_and_its_silence_is_counted(tmp_path):
    with (
        running("receiver", "--inbox", f"sqlite:///{tmp_path / 'inbox.db'}") as server,
        Observations(interval_s=0.05) as seen,
    ):
        seen.follow("receiver", server.url)
        eventually(lambda: seen.cost()["receiver"]["asked"] >= 5)
        assert seen.cost()["receiver"]["unanswered"] == 0
        connections = server.status()["http_connections_opened"]
        eventually(lambda: seen.cost()["receiver"]["asked"] >= 10)
        # One connection is kept for all of it; each look of ours is another.
        assert server.status()["http_connections_opened"] == connections + 1
        server.process.kill()
        eventually(lambda: seen.cost()["receiver"]["unanswered"] >= 1)
    frame = seen.frame(0)
    asked = frame[frame["role"] == "receiver"]
    assert set(asked["name"]) <= set(GAUGES.values())
    assert {"waiting", "in_service", "connections_open", "loop_lag_s"} <= set(asked["name"])
    assert (asked[asked["name"] == "connections_open"]["value"] >= 1).all()
    assert (frame["role"] == "machine").any()


def test_the_machines_counters_only_grow():
    before, after = machine_now(), machine_now()
    assert before.keys() == after.keys()
    assert "busy_s" in before
    assert all(after[name] >= before[name] for name in before)
