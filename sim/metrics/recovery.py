"""How long a backlog lasts once what caused it is over."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from sim.metrics.scans import normal_again
from sim.scenario import Scenario

if TYPE_CHECKING:
    from sim.metrics.digest import Digest


def recoveries(scenario: Scenario) -> list[tuple[float, float]]:
    """The scheduled outages, as (start, end), that end within the window, so that there is one to time."""
    spans = [
        (outage.start_s, outage.start_s + outage.duration_s)
        for server in (scenario.receiver, scenario.provider_api)
        for outage in server.outages
    ]
    return [each for each in spans if scenario.run.warmup_s < each[1] < scenario.run.duration_s]


def recovery_metrics(digest: Digest, scenario: Scenario) -> dict[str, float]:
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
    warmup_s, ended = scenario.run.warmup_s, recoveries(scenario)
    if not ended:
        return {}
    begins_s = min(start_s for start_s, _ in ended)
    ends_s = max(end_s for _, end_s in ended)
    if begins_s <= warmup_s:
        return {"recovery_time_s": math.nan}
    again_s = normal_again(_in_order(digest.come_s), _in_order(digest.gone_s), warmup_s, begins_s, ends_s)
    return {"recovery_time_s": again_s - ends_s}


def _in_order(times_s: NDArray[np.float64]) -> NDArray[np.float64]:
    """Those that there are, sorted."""
    return np.sort(times_s[~np.isnan(times_s)], kind="stable")  # quick on what is nearly sorted
