"""How late two ways to wait wake up, taken in turns: ``python -m loadtest.benchmark_timer [ROUNDS]``.

gevent's own sleep and the generator's `Alarm` wait for the same kind of instants in one process, one after
the other, so whatever else the machine does falls on both. Prints one JSON object, times in µs.
"""

from __future__ import annotations

import json
import random
import sys

import gevent
import numpy as np

from loadtest.contract import now_us
from loadtest.scenarios.alarm import Alarm

ROUNDS = 400
SHORTEST_US, LONGEST_US = 1_000, 4_000


def measure(rounds: int = ROUNDS) -> dict[str, dict[str, float]]:
    """How late each wakes, by name: median and 99th percentile in µs."""
    draws = random.Random(1)
    alarm = Alarm()
    late: dict[str, list[int]] = {"gevent.sleep": [], "alarm": []}
    try:
        for _ in range(rounds):
            for name, waited in late.items():
                due_us = now_us() + draws.randint(SHORTEST_US, LONGEST_US)
                if name == "alarm":
                    alarm.sleep_until(due_us)
                else:
                    gevent.sleep((due_us - now_us()) / 1e6)
                waited.append(now_us() - due_us)
    finally:
        alarm.close()
    return {
        name: {"p50_us": float(np.median(waited)), "p99_us": float(np.quantile(waited, 0.99))}
        for name, waited in late.items()
    }


if __name__ == "__main__":
    print(json.dumps(measure(*map(int, sys.argv[1:]))))  # noqa: T201 - the command's own answer
