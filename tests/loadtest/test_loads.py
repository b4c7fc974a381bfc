"""Protects the arms of a load on real servers: books that balance in storms, and every arrival seen once."""

from __future__ import annotations

import numpy as np
import pytest

from loadtest.plans import LISTENERS, LOAD_ARMS, SENDERS
from loadtest.recorder import TIMED_OUT, UNSENT, Samples
from loadtest.report.page import render
from loadtest.runner import load
from loadtest.runner.figures_of_merit import KNOWN_METRICS
from loadtest.runner.generation import Arrivals, locustfile
from loadtest.runner.loads import LOADS
from loadtest.runner.loads.listeners import arrivals_as_samples
from sim.results import read_run
from sim.scenario import Scenario, scenario_from


def busy(rate_per_s: float, duration_s: float, **changes: object) -> Scenario:
    return scenario_from(
        {
            "name": "busy",
            "workload": {"kind": "periodic", "rate_per_s": rate_per_s, "payload_bytes": 900},
            "receiver": {"service": {"kind": "constant", "mean_s": 0.0005}},
            "polling": {"interval_s": 0.5},
            "run": {"duration_s": duration_s},
        }
    ).with_values(**changes)


def test_every_arm_has_a_function_and_a_locust_file():
    assert list(LOADS) == list(LOAD_ARMS)
    assert all(locustfile(arm).is_file() for arm in LOAD_ARMS)


def test_a_storm_of_duplicates_and_forgeries_stays_on_the_books(tmp_path):
    result = load(
        busy(40.0, 1.5),
        source="stripe",
        payload_cv=0.5,
        storms=["duplicates:share=0.5,times=3,within=0.2", "forgeries:share=0.25"],
        out=tmp_path,
        lag_limit_s=5.0,
    )
    (run,) = result.runs
    assert result.void == []
    ledger = run.ledger
    assert (ledger.visible, ledger.lost, ledger.failed, ledger.unsent) == (60, 0, 0, 0)
    assert ledger.repeated == ledger.duplicates == ledger.acknowledged - 60 > 0
    assert ledger.refused == round(ledger.acknowledged / 3)
    assert ledger.scheduled == ledger.acknowledged + ledger.refused
    assert ledger.forgeries_acknowledged == 0
    assert run.metrics["duplicates_per_event"] == ledger.duplicates / 60
    assert run.metrics["refused_latency_p50_s"] > 0
    assert run.metrics["error_ratio"] == 0
    assert set(run.metrics) <= set(KNOWN_METRICS)
    assert run.records is not None
    assert (run.records["status"] == "delivered").all()
    notes = read_run(result.path).notes["arms"]["webhook_0"]
    assert notes["source"] == "stripe"
    assert notes["storms"] == ["duplicates:share=0.5,times=3,within=0.2", "forgeries:share=0.25"]
    assert {"latency_cdf.png", "server_load_webhook.png"} <= {path.name for path in result.path.iterdir()}


@pytest.mark.parametrize("arm", LISTENERS)
def test_every_held_connection_receives_every_event_once(arm, tmp_path):
    result = load(busy(20.0, 1.5), [arm], clients=5, out=tmp_path, lag_limit_s=5.0, figures=False)
    (run,) = result.runs
    assert result.void == []
    assert run.ledger.scheduled == run.ledger.acknowledged == 30 * 5
    assert run.ledger.duplicates == 0
    assert run.metrics["connections_peak"] == 5
    # Nothing arrives before it was published, and the delay from creation counts the publication's too.
    assert (run.samples.done_us >= run.samples.sent_us).all()
    assert (run.samples.corrected_us >= run.samples.uncorrected_us).all()
    assert run.notes["failures"] == {}
    requests = run.notes["held_connections"]["requests"]
    assert requests == 5 if arm == "streaming" else 5 < requests <= 5 * 32
    assert result.scenario.name in render([result.path]), "its folder can be reported"


def test_what_held_connections_missed_is_told_from_what_was_never_published():
    published = Samples.scheduled(np.arange(3), np.array([100, 200, 300]))
    published.sent_us[:] = [110, 210, 310]
    published.status[:] = [202, TIMED_OUT, 202]
    arrivals = Arrivals(np.array([0, 1, 1]), np.array([0, 0, 2]), np.array([150, 160, 390]), {})
    samples = arrivals_as_samples(published, arrivals, connections=2)
    assert samples.status.tolist() == [200, 200, TIMED_OUT, TIMED_OUT, UNSENT, 200]
    assert samples.corrected_us.tolist() == [50, 60, 90]
    assert samples.uncorrected_us.tolist() == [40, 50, 80]
    assert samples.failures() == {"timed out": 2, "unanswered at the end": 1}


def test_a_conditional_crowd_is_told_in_few_bytes_that_nothing_is_new(tmp_path):
    # An event every 2 s, and each poller asks twice a second: three polls in four find nothing.
    scenario = busy(0.5, 2.0, **{"polling.interval_s": 0.5})
    result = load(scenario, ["conditional_polling"], clients=20, out=tmp_path, figures=False, lag_limit_s=5.0)
    (run,) = result.runs
    assert result.void == []
    assert run.ledger.acknowledged == run.ledger.scheduled == 80
    empty = run.samples.status == 304
    assert 0.5 < empty.mean() < 1.0
    assert run.metrics["not_modified_ratio"] == run.metrics["empty_ratio"] == empty.mean()
    assert (run.samples.response_bytes[empty] == 0).all()
    assert (run.samples.response_bytes[~empty] > 900).all()


@pytest.mark.slow
@pytest.mark.parametrize("arm", [*SENDERS, "polling", "adaptive_polling"])
def test_every_other_arm_runs_by_a_shape_or_its_own_pace(arm, tmp_path):
    own_pace = arm == "adaptive_polling"
    result = load(
        busy(20.0, 2.0),
        [arm],
        shape=None if own_pace else "steps:rates=20/60,each=1,spacing=even",
        clients=15 if own_pace else None,
        out=tmp_path,
        lag_limit_s=5.0,
    )
    (run,) = result.runs
    assert result.void == []
    assert run.ledger.acknowledged == run.ledger.scheduled
    if not own_pace:
        seconds = (run.samples.intended_us - run.notes["origin_us"]) // 1_000_000
        assert [(seconds == second).sum() for second in (0, 1)] == [20, 60]
        assert "steps:rates=20/60" in result.shape
