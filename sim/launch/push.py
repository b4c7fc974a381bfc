"""The push family's kernels, run over a scenario."""

from __future__ import annotations

import numpy as np

from sim.audience import Audience
from sim.kernels import parameters, push
from sim.launch.counting import counters, no_integrals
from sim.records import Deliveries, Replication, Via, empty_series
from sim.scenario import Scenario


def webhook(scenario: Scenario, audience: Audience, seed: int) -> Replication:
    """Push every event to every subscriber that wants it."""
    world, sender = parameters.compile_world(scenario, seed), parameters.compile_push(scenario)
    d, series = Deliveries.empty(audience, Via.WEBHOOK), empty_series(scenario)
    total = np.zeros(len(push.COUNTER_NAMES), dtype=np.int64)
    integrals = no_integrals()
    for s, n in enumerate(audience.count):
        counts, of_this = np.zeros_like(total), no_integrals()
        push.push_to_subscriber(
            world, sender, audience.created_of(s), s,
            d.first_attempt[s, :n], d.visible[s, :n], d.attempts[s, :n], d.copies[s, :n], d.status[s, :n],
            counts, of_this, series,
        )  # fmt: skip
        longest = max(total[push.QUEUE_MAX], counts[push.QUEUE_MAX])
        total += counts
        total[push.QUEUE_MAX] = longest
        integrals += of_this
    return Replication(d, counters(push.COUNTER_NAMES, total, integrals), series)
