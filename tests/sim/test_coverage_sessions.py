"""Protects: the means of long polling, reconciled webhooks, a pulled log and a pre-empting receiver.

Checked as in `test_coverage`, whose docstring and `tests.sim.coverage` say how.
"""

import numpy as np
import pytest

from sim import theory
from sim.engine import run_once
from sim.randomness import replication_seed
from sim.scenario import Scenario, scenario_from
from sim.workload import event_times
from tests.sim.coverage import SEED, Case, check
from tests.sim.test_coverage import GROUPS, INSTANT, constant, exponential, lossy, queued


def long_polled(rate_per_s: float, window_s: float, **changes: object) -> Scenario:
    document = INSTANT | {
        "name": "long-polled",
        "workload": {"kind": "poisson", "rate_per_s": rate_per_s},
        "network": {"one_way": constant(0.05)},
        "long_polling": {"hold_s": 30.0},
        "run": {"duration_s": 100.0 + window_s, "warmup_s": 100.0, "drain_s": 100.0},
    }
    return scenario_from(document).with_values(**changes)


def reconciled(error_probability: float, **changes: object) -> Scenario:
    document = INSTANT | {
        "name": "reconciled",
        "workload": {"kind": "poisson", "rate_per_s": 1.0},
        "network": {"one_way": constant(0.25)},
        "webhook": {"retry": {"kind": "none"}},
        "reconciliation": {"interval_s": 600.0, "page_size": 1000},
        "receiver": {"service": constant(0.0), "error_probability": error_probability},
        "run": {"duration_s": 10_000.0, "warmup_s": 1000.0, "drain_s": 2000.0, "on_time_s": 300.25},
    }
    return scenario_from(document).with_values(**changes)


def pulled_log(rate_per_s: float, idle_s: float, **changes: object) -> Scenario:
    document = INSTANT | {
        "name": "pulled-log",
        "workload": {"kind": "poisson", "rate_per_s": rate_per_s},
        "broker_pull": {
            "partitions": 1,
            "persist": constant(0.0),
            "fetch_max_wait_s": 0.0,
            "idle_s": idle_s,
        },
        "receiver": {"workers": 1, "service": constant(1.0)},
        "run": {"duration_s": 4200.0, "warmup_s": 200.0, "drain_s": 200.0},
    }
    return scenario_from(document).with_values(**changes)


# fmt: off
CASES: dict[str, Case] = {
    "L1, busy": Case(
        long_polled(5.0, 300.0), "long_polling",
        {"latency_mean_s": 0.07259314, "requests_per_event": 4.518628 / 5},
        exact={"empty_ratio": 1e-12},  # e^-150.5
    ),
    "L1, quiet": Case(
        long_polled(0.02, 20_000.0), "long_polling",
        {"latency_mean_s": 0.0502211, "requests_per_event": 0.0442197 / 0.02, "empty_ratio": 0.547715},
    ),
    "L1 with a pause": Case(
        long_polled(0.5, 2000.0, **{"long_polling.gap_s": 1.5, "long_polling.hold_s": 2.0}), "long_polling"
    ),
    "H1": Case(
        reconciled(0.05), "webhook_reconciled", {"on_time_ratio": 1 - 0.025}, exact={"lost_ratio": 0.0}
    ),
    "H1 with a slow API": Case(
        reconciled(0.3, **{"provider_api.service": constant(2.0)}), "webhook_reconciled",
        exact={"lost_ratio": 0.0},
    ),
    "P6": Case(pulled_log(0.5, 4.0), "broker_pull", {"latency_mean_s": 2.5 + 1}),
    "P6 with exponential service": Case(
        pulled_log(0.5, 2.0, **{"receiver.service": exponential(1.0)}), "broker_pull"
    ),
    "M/M/1, last come first served with pre-emption": Case(
        queued(1, 0.5, 4000.0, **{"receiver.discipline": "preempt"}), "webhook", {"aoi_mean_s": 3.0}
    ),
    "independent failures": Case(
        lossy(0.0, 0.0, 3, **{"receiver.error_probability": 0.3}), "webhook",
        {"lost_ratio": 0.027, "attempts_per_event": (1 - 0.027) / 0.7}, exact={"duplicates_per_event": 1e-12},
    ),
    "failures and losses": Case(lossy(0.1, 0.1, 3, **{"receiver.error_probability": 0.2}), "webhook"),
}
# fmt: on


@pytest.mark.parametrize("case", CASES)
def test_theory_says_what_is_published(case):
    expected = CASES[case].theory()
    for metric, value in CASES[case].published.items():
        assert expected[metric] == pytest.approx(value, rel=2e-5), metric


@pytest.mark.parametrize("groups", GROUPS)
@pytest.mark.parametrize("case", CASES)
def test_intervals_cover_theory_as_often_as_they_claim(case, groups):
    check(CASES[case], groups)


def test_every_formula_of_these_mechanisms_has_a_case():
    needed = {f.name for f in theory.FORMULAS if f.mechanism not in {"webhook", "polling"}}
    used = {p.formula for case in CASES.values() for p in theory.predict(case.scenario, case.mechanism)}
    assert needed <= used
    assert "age of information of a pre-empting receiver" in used


def test_no_long_poll_takes_more_than_three_transits():
    """RFC 6202: an event that just missed an answer waits for it to arrive and for the next request."""
    scenario = long_polled(5.0, 2000.0)
    worst_s = theory.LongPoll(5.0, 0.05, 30.0).latency_max_s
    seed = replication_seed(SEED, 0)
    run = run_once(scenario, "long_polling", event_times(scenario, seed), seed)
    created = run.deliveries.created[0]
    latency_s = (run.deliveries.visible[0] - created)[created >= scenario.run.warmup_s]
    assert 0.99 * worst_s < np.nanmax(latency_s) <= worst_s + 1e-9
