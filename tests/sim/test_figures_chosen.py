"""Protects which figures a run gets: those that its data bear, of the events that it had."""

from __future__ import annotations

import numpy as np
import pytest

from sim.catalogue import MECHANISMS
from sim.engine import simulate
from sim.figures.chosen import simulation_figures, theory_line
from sim.scenario import Scenario, load_scenario, scenario_from


def shop(**more: object) -> Scenario:
    return load_scenario("shop-orders").with_values(**{"run.duration_s": 1500.0, "run.drain_s": 300.0} | more)


def test_latencies_are_of_every_replication_and_the_window_only() -> None:
    outcome = simulate(shop(**{"run.warmup_s": 800.0}), ["polling"], replications=3)
    figure = simulation_figures(outcome)["latency_cdf"]
    (line,) = figure.axes[0].lines
    records = outcome.records
    assert line.get_xdata().max() == (records["visible"] - records["created"]).max()
    assert set(records["replication"]) == {0, 1, 2}


def test_a_short_outage_is_seen_however_long_the_world_is() -> None:
    outcome = simulate(load_scenario("shop-orders"), ["webhook", "polling"])
    width_s = outcome.series()["end_s"].iloc[0]
    figure = simulation_figures(outcome)["outage"]
    low_s, high_s = figure.axes[-1].get_xlim()
    assert low_s < 600
    assert 720 < high_s < 2000
    assert width_s > 120, "a bin of the series swallows it whole"
    backlog = figure.axes[1].lines[0].get_ydata()
    assert backlog.max() > 30


def test_of_many_mechanisms_the_outage_has_a_row_each() -> None:
    figure = simulation_figures(simulate(shop(), list(MECHANISMS)))["outage"]
    assert len(figure.axes) == 2 * len(MECHANISMS)


def test_nothing_is_drawn_of_what_did_not_happen() -> None:
    silent = shop(**{"network.request_loss": 1.0, "receiver.outages": []})
    assert simulation_figures(simulate(silent, ["webhook"])) == {}
    beyond = [{"start_s": 5000.0, "duration_s": 10.0, "kind": "refuse"}]
    assert set(simulation_figures(simulate(shop(**{"receiver.outages": beyond}), ["webhook"]))) == {
        "latency_cdf", "latency_survival",
    }  # fmt: skip


def test_theory_s_line_says_whether_its_conditions_hold() -> None:
    constant = {"kind": "constant", "mean_s": 0.0}
    ideal = scenario_from(
        {
            "name": "ideal",
            "workload": {"kind": "poisson", "rate_per_s": 0.1},
            "network": {"one_way": {"kind": "constant", "mean_s": 0.5}},
            "receiver": {"service": constant},
            "provider_api": {"service": constant},
            "polling": {"page_size": 1000},
            "run": {"duration_s": 1000.0, "drain_s": 200.0},
        }
    )
    line, name = theory_line(ideal, [5.0, 50.0])
    assert line is not None
    assert (line(10.0), name) == (pytest.approx(5.5), "theory: T/2 + d")
    assert np.isfinite(line(1e3))
    _, worse = theory_line(ideal, [5.0, 500.0])
    assert worse.startswith("T/2 + d: theory,"), "the drain is too short for the last events' poll"
    assert theory_line(ideal.with_values(**{"polling.schedule": "exponential"}), [5.0]) == (None, "")
