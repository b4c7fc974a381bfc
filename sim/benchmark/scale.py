"""Cost and memory of polling from 10^5 to 10^9 deliveries, and a day of a million subscribers' polls."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time

import pandas as pd

from sim.engine import summary_once
from sim.launch.ledger import threads
from sim.scenario import Scenario, scenario_from
from sim.terminal import progress
from sim.workload import event_times

TITLE = "polling without API contention, no records kept: each size in a process of its own"
SIZES = ((1_000, 100), (1_000, 1_000), (1_000, 10_000), (10_000, 10_000), (100_000, 10_000), (1_000_000, 5))
"""(subscribers, events each) over a day of 60 s polling; the last is the one that is mostly polls."""

_DAY_S = 86_400.0


def world(subscribers: int, events: int) -> Scenario:
    """A day of polling every minute by so many subscribers, nothing in the way."""
    at_once = {"kind": "constant", "mean_s": 0.0}
    return scenario_from(
        {
            "name": "scale",
            "workload": {"kind": "periodic", "rate_per_s": events / _DAY_S},
            "subscribers": {"count": subscribers},
            "network": {"one_way": {"kind": "constant", "mean_s": 0.02}},
            "polling": {"interval_s": 60.0},
            "receiver": {"service": at_once},
            "provider_api": {"service": at_once},
            "run": {"duration_s": _DAY_S, "drain_s": 120.0},
        }
    )


def measure() -> pd.DataFrame:
    """Run every size, each in a process of its own."""
    rows = []
    with progress("scale") as advance:
        for number, (subscribers, events) in enumerate(SIZES):
            command = [sys.executable, "-m", "sim.benchmark.scale", str(subscribers), str(events)]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            rows.append(json.loads(done.stdout))
            advance(number + 1, len(SIZES))
    return pd.DataFrame(rows)


def main(subscribers: int, events: int) -> None:
    """Measure one size and print it as a JSON object."""
    small = world(10, 10)
    summary_once(small, "polling", event_times(small, 1), 1, exact_up_to=-1)  # load what was compiled
    scenario = world(subscribers, events)
    created = event_times(scenario, 1, recorded=False)
    wall_s, cpu_s = time.perf_counter(), time.process_time()
    summary, counted = summary_once(scenario, "polling", created, 1, exact_up_to=-1)
    wall_s, cpu_s = time.perf_counter() - wall_s, time.process_time() - cpu_s
    deliveries = len(created) * subscribers
    assert counted.requests is not None
    print(  # noqa: T201 - read by `measure`
        json.dumps(
            {
                "subscribers": subscribers,
                "deliveries": deliveries,
                "polls": counted.requests,
                "seconds": wall_s,
                "cpu seconds": cpu_s,
                "threads": threads(),
                "CPU ns a delivery": cpu_s / deliveries * 1e9,
                "CPU ns a poll": cpu_s / counted.requests * 1e9,
                "peak MB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
                "latency mean s (30.02 expected)": summary.metrics["latency_mean_s"],
            }
        )
    )


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
