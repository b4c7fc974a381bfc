"""How long a long poll is held, and when its client asks again."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from sim.compiled import jit
from sim.errors import ScenarioError
from sim.policies.times import NEVER
from sim.scenario import Scenario


class HoldingRule(NamedTuple):
    """A scenario's `long_polling` as numbers; without an intermediary its patience never ends."""

    hold_s: float
    gap_s: float
    retry_s: float
    intermediary_timeout_s: float


NO_HOLDING = HoldingRule(0.0, 0.0, 0.0, NEVER)


def compile_holding(scenario: Scenario) -> HoldingRule:
    """The numbers of `long_polling`.

    Raises:
        ScenarioError: nothing would take any time between one request and the next.
    """
    spec, api = scenario.long_polling, scenario.provider_api
    at_once = scenario.network.one_way.mean_s == 0
    if at_once and spec.hold_s == 0 and spec.gap_s == 0 and api.service.mean_s == 0:
        raise ScenarioError(
            "long_polling.hold_s, long_polling.gap_s, network.one_way and provider_api.service are all 0: "
            "a client would ask for ever at one instant; give one of them a time above 0"
        )
    failures = {outage.kind for outage in api.outages}
    if api.random_outages is not None:
        failures.add(api.random_outages.kind)
    if at_once and spec.retry_s == 0 and failures & {"refuse", "error"}:
        raise ScenarioError(
            "long_polling.retry_s and network.one_way are 0, and provider_api fails at once (refuse, error): "
            "a client would ask for ever at one instant; give one of the two a time above 0"
        )
    return HoldingRule(
        spec.hold_s,
        spec.gap_s,
        spec.retry_s,
        NEVER if spec.intermediary_timeout_s is None else spec.intermediary_timeout_s,
    )


@jit
def ask_again_after(rule: HoldingRule, answered: bool, retry_after_s: float) -> float:
    """Seconds from the end of one long poll to the next.

    Args:
        rule: the rule.
        answered: whether it was answered 200, with or without events.
        retry_after_s: what a 429 asked for, 0 without one.
    """
    return rule.gap_s if answered else max(rule.retry_s, retry_after_s)


@jit
def shown_from(created_s: float, lag_s: float) -> float:
    """The earliest time at which a feed with a lag shows an event.

    The feed compares `time - lag` with the creation; where `created + lag` rounds to just before that
    holds, it is the next number after it.
    """
    time_s = created_s + lag_s
    while time_s - lag_s < created_s:
        time_s = float(np.nextafter(time_s, np.inf))
    return time_s
