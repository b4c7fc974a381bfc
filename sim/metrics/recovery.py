"""How long a backlog lasts once what caused it is over."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from sim.delivery import Status
from sim.metrics.scans import normal_again
from sim.records import Deliveries
from sim.scenario import Scenario

_Times = NDArray[np.float64]


def recovery_metrics(deliveries: Deliveries, scenario: Scenario) -> dict[str, float]:
    """`recovery_time_s`: from the end of the last scheduled outage until the backlog is normal again.

    Present when scheduled outages, of the receivers or of the API, end within the window. The backlog at a
    time is how many events, over all subscribers, exist and are not visible; one that will be lost never
    counts, as nobody can work it off. Normal is the highest backlog seen from the window's start until the
    first of those outages begins; recovery ends when the backlog is first back there. So polling, whose
    backlog is a sawtooth also on a good day, is held against its own highest tooth; and with random events
    that tooth is a random number, the steadier the longer the window runs before the outage.

    NaN when the backlog is never back before the world ends, or when the first of the outages began before
    the window did, so that a normal backlog was not seen.
    """
    run = scenario.run
    spans = [
        (outage.start_s, outage.start_s + outage.duration_s)
        for server in (scenario.receiver, scenario.provider_api)
        for outage in server.outages
    ]
    ended = [(start_s, end_s) for start_s, end_s in spans if run.warmup_s < end_s < run.duration_s]
    if not ended:
        return {}
    begins_s = min(start_s for start_s, _ in ended)
    ends_s = max(end_s for _, end_s in ended)
    if begins_s <= run.warmup_s:
        return {"recovery_time_s": math.nan}
    again_s = normal_again(*_comings_and_goings(deliveries), run.warmup_s, begins_s, ends_s)
    return {"recovery_time_s": again_s - ends_s}


def _comings_and_goings(deliveries: Deliveries) -> tuple[_Times, _Times]:
    """When events that are not lost are created, and when they become visible; each sorted."""
    waiting = np.isfinite(deliveries.created) & (deliveries.status != Status.LOST)
    created = np.sort(deliveries.created[waiting], kind="stable")  # quick on what is nearly sorted
    visible = deliveries.visible[waiting]
    return created, np.sort(visible[~np.isnan(visible)], kind="stable")
