"""Between which intervals a search makes sense, and what keeps it there.

Polls may not be more frequent than the provider allows or its API can serve, and need not be much more
frequent than what is required; nor may they be so rare that the run sees only a few of them. Candidates are
intervals that a person would choose.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from sim.decide.reasons import Reason, interval_text, percent
from sim.decide.requirement import Requirement
from sim.scenario import Scenario
from sim.scenario.presets import load_part, nearest
from sim.tables import number_text

LADDER_S = (
    *(0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.6, 0.8),
    *(1.0, 1.2, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0),
    *(10.0, 12.0, 15.0, 20.0, 25.0, 30.0, 40.0, 50.0),
    *(60.0, 90.0, 120.0, 180.0, 240.0, 300.0, 480.0, 600.0, 900.0, 1200.0, 1800.0, 2700.0),
    *(3600.0, 5400.0, 7200.0, 10_800.0, 14_400.0, 21_600.0, 28_800.0, 43_200.0, 86_400.0),
)
"""Intervals that a person would choose, seconds: each about a quarter longer than the one before."""

FEWEST_POLLS = 4
"""So many polls a run must have room for."""

MOST_POLLS = 400_000
"""More polls than this a run shall not have, over all subscribers: it would take minutes."""

SHORT_ENOUGH = 20.0
"""Nothing is gained by intervals shorter than the required latency over this."""

RECONCILING_SHARE = 0.01
"""Reconciling polls that are so small a share of all requests cost nothing: rarer ones would save nothing."""


@dataclass(frozen=True)
class Span:
    """The intervals to search.

    Attributes:
        rungs_s: in ascending order; at least one.
        low: what forbids shorter ones, if anything does.
        high: what speaks against longer ones.
    """

    rungs_s: tuple[float, ...]
    low: Reason | None = None
    high: Reason | None = None


def polling_span(
    scenario: Scenario, mechanism: str, requirements: Sequence[Requirement], simulated: int
) -> Span:
    """The poll intervals of `polling` and its relatives; `simulated` subscribers are what a search runs."""
    if scenario.poller is not None:
        fixed_s = scenario.polling.interval_s
        text = (
            f"{scenario.poller} asks every {interval_text(fixed_s)}: that is not for the consumer to choose"
        )
        reason = Reason("poller_interval", text, "polling.interval_s", fixed_s)
        return Span((fixed_s,), reason, reason)
    horizon_s = scenario.run.duration_s / FEWEST_POLLS
    text = f"a longer interval was not tried: the run lasts {interval_text(scenario.run.duration_s)}"
    high = Reason("horizon", text, value=horizon_s)
    return _span(scenario, mechanism, requirements, simulated, horizon_s, high)


def reconciling_span(
    scenario: Scenario, requirements: Sequence[Requirement], simulated: int, events_per_s: float
) -> Span:
    """The reconciliation intervals of `webhook_reconciled`.

    Args:
        scenario: what is studied.
        requirements: what is asked.
        simulated: how many subscribers a search runs.
        events_per_s: of one subscriber.
    """
    saving_s = 1.0 / (RECONCILING_SHARE * events_per_s) if events_per_s else math.inf
    duration_s = scenario.run.duration_s
    if saving_s <= duration_s:
        text = (
            f"reconciling less often than every {interval_text(_rounded(saving_s))} would save less than "
            f"{percent(RECONCILING_SHARE)} of the requests"
        )
        high = Reason("diminishing", text, "requests_per_event", saving_s)
    else:
        text = f"a longer interval was not tried: the run lasts {interval_text(duration_s)}"
        high = Reason("horizon", text, value=duration_s)
    high_s = min(saving_s, duration_s)
    return _span(scenario, "webhook_reconciled", requirements, simulated, high_s, high)


def hold_span(scenario: Scenario) -> Span:
    """How long a long poll may be held: up to what the scenario says."""
    own_s = scenario.long_polling.hold_s
    return Span((*(rung for rung in LADDER_S if 1.0 <= rung < own_s), own_s))


def _span(
    scenario: Scenario,
    mechanism: str,
    requirements: Sequence[Requirement],
    simulated: int,
    high_s: float,
    high: Reason,
) -> Span:
    low_s, low = floor_s(scenario, mechanism)
    effort_s = scenario.run.duration_s * simulated / MOST_POLLS
    enough_s = _scale_s(scenario, requirements) / SHORT_ENOUGH
    if effort_s > max(low_s, enough_s):
        text = f"a shorter interval was not tried: a run would have more than {MOST_POLLS:,} polls"
        low_s, low = effort_s, Reason("effort", text, value=effort_s)
    start_s, end_s = max(low_s, min(enough_s, high_s)), max(low_s, high_s)
    rungs = tuple(rung for rung in LADDER_S if start_s * (1 - 1e-9) <= rung <= end_s * (1 + 1e-9))
    return Span(rungs or (_rounded(start_s),), low if low_s >= enough_s else None, high)


def floor_s(scenario: Scenario, mechanism: str) -> tuple[float, Reason | None]:
    """The shortest interval that is allowed and can be served, and why; 0 where nothing forbids any."""
    return max(_floors(scenario, mechanism), key=lambda floor: floor[0], default=(0.0, None))


def _floors(scenario: Scenario, mechanism: str) -> list[tuple[float, Reason]]:
    """Every interval below which polls are not allowed, or not served."""
    api, floors = scenario.provider_api, []
    limit = api.rate_limit
    if limit is not None and not (mechanism == "conditional_polling" and limit.not_modified_free):
        least_s = limit.per_s / limit.requests
        text = (
            f"the rate limit of {limit.requests:,} requests every {interval_text(limit.per_s)} allows a poll "
            f"every {interval_text(least_s)} at the most"
        )
        floors.append((least_s, Reason("rate_limit", text, "provider_api.rate_limit", least_s)))
    published_s = published_interval_s(scenario)
    if published_s is not None:
        text = f"{scenario.provider} wants to be asked every {interval_text(published_s)} at the most"
        floors.append((published_s, Reason("provider_interval", text, "polling.interval_s", published_s)))
    busy_s = scenario.subscribers.count * api.service.mean_s / api.workers
    if scenario.subscribers.count > 1:
        text = (
            f"the API serves {number_text(api.workers / api.service.mean_s)} requests a second, and "
            f"{scenario.subscribers.count:,} subscribers asking more often than every "
            f"{interval_text(busy_s)} would want more"
        )
        floors.append((busy_s, Reason("api_capacity", text, "provider_utilisation", busy_s, 1.0)))
    return floors


def published_interval_s(scenario: Scenario) -> float | None:
    """How often its provider says that one may ask, where its preset has that from a source."""
    if scenario.provider is None:
        return None
    part = load_part("provider", scenario.provider)
    interval_s = part.get("polling", {}).get("interval_s")
    source = nearest(part["sources"], "polling.interval_s")
    if interval_s is None or source is None or part["sources"][source].get("assumed", False):
        return None
    return float(interval_s)


def _scale_s(scenario: Scenario, requirements: Sequence[Requirement]) -> float:
    """The shortest time that is asked for."""
    on_time_s = scenario.run.on_time_s
    times = [
        each.bound.limit
        for each in requirements
        if each.bound.is_upper and each.metric.endswith("_s") and each.bound.limit > 0
    ]
    if on_time_s is not None and any(each.metric == "on_time_ratio" for each in requirements):
        times.append(on_time_s)
    return min(times, default=scenario.polling.interval_s)


def _rounded(seconds: float) -> float:
    """Up to two significant digits."""
    if seconds <= 0:
        return LADDER_S[0]
    step = 10.0 ** (math.floor(math.log10(seconds)) - 1)
    return round(math.ceil(seconds / step * (1 - 1e-9)) * step, 6)
