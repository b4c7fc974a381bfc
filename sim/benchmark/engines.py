"""Each mechanism's kernel beside its SimPy model, on the same events in one run."""

from __future__ import annotations

import time
from statistics import median

import numpy as np
import pandas as pd

from sim.catalogue import MECHANISMS
from sim.engine import Engine, run_once
from sim.records import Replication
from sim.scenario import Scenario, load_scenario, scenario_from
from sim.terminal import progress
from sim.workload import event_times

TITLE = "fast engine beside SimPy engine: the same events and the same answers"
REPETITIONS = 5
EVENTS_PER_S = 5.0
DURATION_S = 4_000.0


def busy_shop() -> Scenario:
    """The shop's orders at ten times the rate, outage and retries included: about 20,000 deliveries."""
    return load_scenario("shop-orders").with_values(
        **{"workload.rate_per_s": EVENTS_PER_S, "run.duration_s": DURATION_S}
    )


def plain_polling() -> Scenario:
    """Polling where nothing fails, nothing waits and nothing is drawn: 20 subscribers of 1,000 events."""
    at_once = {"kind": "constant", "mean_s": 0.0}
    return scenario_from(
        {
            "name": "plain-polling",
            "workload": {"kind": "poisson", "rate_per_s": 0.1},
            "subscribers": {"count": 20},
            "network": {"one_way": {"kind": "constant", "mean_s": 0.02}},
            "polling": {"interval_s": 60.0},
            "receiver": {"service": at_once},
            "provider_api": {"service": at_once},
            "run": {"duration_s": 10_000.0, "drain_s": 120.0},
        }
    )


def measure() -> pd.DataFrame:
    """Time both engines for every mechanism: medians of both, and of the ratio pair by pair."""
    shop = busy_shop()
    cases = [(mechanism, mechanism, shop) for mechanism in MECHANISMS]
    cases.append(("polling, nothing in its way", "polling", plain_polling()))
    rows = []
    with progress("engines") as advance:
        for number, (name, mechanism, scenario) in enumerate(cases):
            rows.append((name, *_compared(scenario, mechanism)))
            advance(number + 1, len(cases))
    columns = ["mechanism", "deliveries", "SimPy /s", "fast /s", "ratio", "least", "most"]
    return pd.DataFrame(rows, columns=columns)


def _compared(scenario: Scenario, mechanism: str) -> tuple[float, ...]:
    for engine in ("fast", "simpy"):
        _timed(scenario, mechanism, engine)  # compile, or load what was compiled
    fast_s, reference_s = [], []
    deliveries = 0
    for _ in range(REPETITIONS):
        seconds, reference = _timed(scenario, mechanism, "simpy")
        reference_s.append(seconds)
        several = [_timed(scenario, mechanism, "fast") for _ in range(3)]
        fast_s.append(median(seconds for seconds, _ in several))
        np.testing.assert_array_equal(several[0][1].deliveries.visible, reference.deliveries.visible)
        deliveries = int(reference.deliveries.audience.count.sum())
    ratios = [slow / quick for slow, quick in zip(reference_s, fast_s, strict=True)]
    return (
        deliveries,
        deliveries / median(reference_s),
        deliveries / median(fast_s),
        median(ratios),
        min(ratios),
        max(ratios),
    )


def _timed(scenario: Scenario, mechanism: str, engine: Engine) -> tuple[float, Replication]:
    """Seconds of CPU that this thread took, which waits for other processes do not lengthen; and the run."""
    created = event_times(scenario, seed=1)
    start = time.process_time()
    run = run_once(scenario, mechanism, created, 1, engine)
    return time.process_time() - start, run
