"""Fewer subscribers for the search, where there are many: the same load on each server, and quicker runs.

Subscribers share nothing but the provider's API. With a k-th of the subscribers and a k-th of the API's
workers every server is as busy as before; only that fewer workers before one queue make polls wait a little
longer (an M/M/c queue waits less the larger c is at equal utilisation), so that a search errs on the safe
side. What it finds is confirmed at full size.
"""

from __future__ import annotations

from dataclasses import dataclass

from sim.engine import expected_deliveries
from sim.scenario import Scenario

ENOUGH_DELIVERIES = 20_000
"""So many deliveries a run are quick, and tell a p99 well."""


@dataclass(frozen=True)
class Scale:
    """What the search runs on.

    Attributes:
        scenario: the smaller one, or the scenario itself.
        divisor: by how much subscribers and API workers were divided.
    """

    scenario: Scenario
    divisor: int

    def sentence(self, full: Scenario) -> str | None:
        """What was done, in words; None when nothing was."""
        if self.divisor == 1:
            return None
        small = self.scenario
        return (
            f"The search ran with {small.subscribers.count:,} of the {full.subscribers.count:,} subscribers "
            f"and {small.provider_api.workers} of the API's {full.provider_api.workers} workers, the same "
            "load each; what is recommended was run at full size besides."
        )


def scale_for(scenario: Scenario, seed: int) -> Scale:
    """The smallest division that makes runs quick, or the largest there is."""
    count, workers = scenario.subscribers.count, scenario.provider_api.workers
    deliveries = expected_deliveries(scenario, seed)
    divisor = 1
    for candidate in range(1, workers + 1):
        if deliveries / divisor <= ENOUGH_DELIVERIES:
            break
        if workers % candidate == 0 and count % candidate == 0:
            divisor = candidate
    if divisor == 1:
        return Scale(scenario, 1)
    smaller = scenario.with_values(
        **{
            "subscribers.count": count // divisor,
            "provider_api.workers": workers // divisor,
            "sources": scenario.model_dump()["sources"],
        }
    )
    return Scale(smaller, divisor)
