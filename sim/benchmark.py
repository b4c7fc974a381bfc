"""The fast engine beside the SimPy engine, on the same events in one run: ``python -m sim.benchmark``.

Each repetition runs both engines one after the other on the same events, so that what else the
machine does strikes both; the ratio is taken pair by pair. The answers are compared as well: speed that
changes them would be worth nothing.
"""

from __future__ import annotations

import time
from statistics import median

import numpy as np
from rich.console import Console
from rich.table import Table

from sim.catalogue import MECHANISMS
from sim.engine import Engine, run_once
from sim.records import Replication
from sim.scenario import Scenario, load_scenario
from sim.terminal import progress
from sim.workload import event_times

REPETITIONS = 5
EVENTS_PER_S = 5.0
DURATION_S = 4_000.0


def busy_shop() -> Scenario:
    """The shop's orders at ten times the rate, outage and retries included: about 20,000 deliveries."""
    return load_scenario("shop-orders").with_values(
        **{"workload.rate_per_s": EVENTS_PER_S, "run.duration_s": DURATION_S}
    )


def _timed(scenario: Scenario, mechanism: str, engine: Engine) -> tuple[float, Replication]:
    created = event_times(scenario, seed=1)
    start = time.perf_counter()
    run = run_once(scenario, mechanism, created, 1, engine)
    return time.perf_counter() - start, run


def main() -> None:
    """Time both engines for every mechanism and print medians and ratios."""
    scenario = busy_shop()
    table = Table(title="fast engine against SimPy engine, the same events and the same answers")
    for column in ("mechanism", "deliveries", "SimPy /s", "fast /s", "ratio (median, min to max)"):
        table.add_column(column, justify="right")
    with progress("engines") as advance:
        for number, mechanism in enumerate(MECHANISMS):
            for engine in ("fast", "simpy"):
                _timed(scenario, mechanism, engine)  # compile, or load what was compiled
            fast_s, reference_s = [], []
            for repetition in range(REPETITIONS):
                seconds, reference = _timed(scenario, mechanism, "simpy")
                reference_s.append(seconds)
                seconds, fast = _timed(scenario, mechanism, "fast")
                fast_s.append(seconds)
                np.testing.assert_array_equal(fast.deliveries.visible, reference.deliveries.visible)
                advance(number * REPETITIONS + repetition + 1, REPETITIONS * len(MECHANISMS))
            deliveries = fast.deliveries.visible.size
            ratios = [slow / quick for slow, quick in zip(reference_s, fast_s, strict=True)]
            table.add_row(
                mechanism,
                f"{deliveries:,}",
                f"{deliveries / median(reference_s):,.0f}",
                f"{deliveries / median(fast_s):,.0f}",
                f"{median(ratios):,.0f} ({min(ratios):,.0f} to {max(ratios):,.0f})",
            )
    Console().print(table)


if __name__ == "__main__":
    main()
