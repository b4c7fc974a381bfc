"""Protects: the push family computes what theory says of preemption, reconciliation and dead letters.

How sure, and by which check: see `test_model_against_theory`.
"""

from __future__ import annotations

import numpy as np

from sim.engine import simulate
from sim.records import Via
from sim.scenario import scenario_from
from tests.sim.test_model_against_theory import INSTANT, NOTHING, SEED, agree, queued


def test_age_of_information_of_the_newest_first_with_preemption():
    """M/M/1 LCFS with preemption: 1/λ + 1/μ (Kaul, Yates & Gruteser, CISS 2012); 3 at λ = 0.5, μ = 1.

    First come first served it is 3.5. An event is dropped when another comes before its service ends:
    λ/(λ + μ) of them.
    """
    newest_first = queued(1, 0.5, 40_000.0, **{"receiver.discipline": "preempt"})
    outcome = simulate(newest_first, ["webhook"], seed=SEED, replications=30, records=False)
    agree(outcome.metrics["webhook"]["aoi_mean_s"], 3.0, 0.01)
    agree(outcome.metrics["webhook"]["lost_ratio"], 1 / 3, 0.01)
    agree(outcome.metrics["webhook"]["receiver_utilisation"], 1 / 3, 0.01)
    in_order = simulate(queued(1, 0.5, 40_000.0), ["webhook"], seed=SEED, replications=30, records=False)
    agree(in_order.metrics["webhook"]["aoi_mean_s"], 3.5, 0.02)


def test_h1_webhooks_that_lose_a_share_reconciled_every_ten_minutes():
    """P(L > x) = p(1 − x/T), mean pT/2, without transit; p = 0.05, T = 600: P(L > 300) = 0.025, mean 15."""
    scenario = scenario_from(
        INSTANT
        | {
            "name": "reconciled",
            "workload": {"kind": "poisson", "rate_per_s": 0.5},
            "webhook": {"retry": {"kind": "none"}},
            "receiver": {"service": NOTHING, "error_probability": 0.05},
            "reconciliation": {"interval_s": 600.0, "page_size": 1000},
            "run": {"duration_s": 80_000.0, "drain_s": 1000.0},
        }
    )
    runs = simulate(scenario, ["webhook_reconciled"], seed=SEED, replications=30).deliveries[
        "webhook_reconciled"
    ]
    latencies = [run.visible - run.created for run in runs]
    agree([np.mean(latency) for latency in latencies], 15.0, 0.03)
    for x_s, share in ((100.0, 0.05 * 5 / 6), (300.0, 0.025), (500.0, 0.05 / 6)):
        agree([np.mean(latency > x_s) for latency in latencies], share, 0.06)
    assert max(np.max(latency) for latency in latencies) <= 600.0
    agree([np.mean(run.via == Via.POLL) for run in runs], 0.05, 0.03)
    assert all((run.copies == 1).all() for run in runs)


def test_dead_letters_looked_at_every_hour():
    """Each attempt fails with probability p = 0.2, two tries and two looks: p² are dead letters, p⁴ lost.

    A dead letter waits for the next look, U(0, T) away, and with probability p one T more.
    """
    scenario = scenario_from(
        INSTANT
        | {
            "name": "looked-at",
            "workload": {"kind": "poisson", "rate_per_s": 0.5},
            "webhook": {
                "retry": {"kind": "fixed", "base_s": 0.0, "max_attempts": 2},
                "redelivery": {"every_s": 3600.0, "rounds": 2},
            },
            "receiver": {"service": NOTHING, "error_probability": 0.2, "acknowledge": "on_receipt"},
            "run": {"duration_s": 72_000.0, "drain_s": 8000.0},
        }
    )
    outcome = simulate(scenario, ["webhook"], seed=SEED, replications=30)
    counters, runs = outcome.counters["webhook"], outcome.deliveries["webhook"]
    events = [run.created.size for run in runs]
    agree([c.dead_letters / n for c, n in zip(counters, events, strict=True)], 0.04, 0.03)
    agree(outcome.metrics["webhook"]["lost_ratio"], 0.0016, 0.15)
    late = [(run.visible - run.created)[run.visible > run.created] for run in runs]
    agree([np.mean(wait) for wait in late], 1800.0 + 3600.0 * 0.2 * 0.8 / (0.8 + 0.2 * 0.8), 0.03)
