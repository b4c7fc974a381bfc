"""In which order to recommend what meets every requirement.

1. What is on the Pareto front of latency, cost (or requests) and losses goes before what is not.
2. Then the cheaper goes first: by `cost_per_million_events` where prices are stated, else by
   `requests_per_event`. What costs at most a quarter more than the
   cheapest left is level with it.
3. Among those that are level the simpler goes first, in the order of `SIMPLICITY`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from sim.decide.evaluation import Evaluation
from sim.decide.pareto import Measured, dominates, pareto_front
from sim.decide.reasons import Reason
from sim.decide.requirement import Requirement, has_prices
from sim.decide.tuning import Candidate
from sim.experiment import Estimate
from sim.scenario import Scenario

REDELIVERED = "webhook, redelivered by hand"
"""A webhook whose dead letters somebody has sent again, as a scenario may say."""

SIMPLICITY = (
    "polling",
    "conditional_polling",
    "adaptive_polling",
    "webhook",
    "long_polling",
    "webhook_reconciled",
    REDELIVERED,
    "streaming",
    "thin_webhook",
    "broker_push",
    "broker_pull",
)
"""From the simplest on. A poll needs a timer and a cursor, and heals itself. A webhook needs a public
endpoint, signatures and deduplication; a long poll a client that is patient; reconciliation both a webhook
and a poll; redelivery a script with rights at the provider. A stream needs a connection watched over; a thin
webhook an endpoint and a client of the API; a broker needs a broker."""

FAMILIES: Mapping[str, str] = {
    "polling": "asking",
    "conditional_polling": "asking",
    "adaptive_polling": "asking",
    "webhook": "being told",
    "webhook_reconciled": "being told",
    "thin_webhook": "being told",
    "long_polling": "a held connection",
    "streaming": "a held connection",
    "broker_push": "a broker",
    "broker_pull": "a broker",
}
"""Which mechanisms are of one kind: a choice is weighed against the best of another kind."""

ON_TIME = "on_time_ratio"

LEVEL = 1.25
"""Costs within this factor of the lowest are level."""

RULE = (
    "All requirements met; then the Pareto front of {metrics}; then the lower {money}, a quarter more being "
    "level; then the simpler."
)


def rule(metrics: Sequence[str]) -> str:
    """The rule in words."""
    return RULE.format(metrics=", ".join(metrics), money=metrics[1])


def front_metrics(scenario: Scenario, requirements: Sequence[Requirement]) -> tuple[str, str, str]:
    """Latency (the one that is required, or the share on time; else p95), cost or requests, losses."""
    required = [
        each.metric
        for each in requirements
        if (each.metric.startswith("latency_") and each.bound.is_upper) or each.metric == ON_TIME
    ]
    money = "cost_per_million_events" if has_prices(scenario.cost) else "requests_per_event"
    return (required[0] if required else "latency_p95_s", money, "lost_ratio")


def measured(evaluation: Evaluation, metrics: Sequence[str]) -> dict[str, Measured]:
    """What the front looks at, less being better: what is not on time in place of what is.

    Latencies are as they are judged, where what never came is late for ever.
    """
    values: dict[str, Measured] = {}
    for metric in metrics:
        e = evaluation.judged(metric)
        values[metric] = _turned(e) if metric == ON_TIME else e
    return values


def _turned(e: Estimate) -> Estimate:
    """A share of the contrary."""
    low, high = (None if end is None else 1 - end for end in (e.high, e.low))
    return Estimate(1 - e.mean, low, high, e.method)


def ranked(candidates: Sequence[Candidate], metrics: tuple[str, str, str]) -> list[tuple[Candidate, bool]]:
    """What meets the requirements in the order of recommendation, and whether each is on the front."""
    front = pareto_front([measured(each.evaluation, metrics) for each in candidates], metrics)
    flagged = list(zip(candidates, front, strict=True))
    ordered: list[tuple[Candidate, bool]] = []
    for on_front in (True, False):
        left = [each for each, flag in flagged if flag is on_front]
        while left:
            cheapest = min(_money(each, metrics) for each in left)
            level = [each for each in left if _money(each, metrics) <= cheapest * LEVEL]
            ordered += [(each, on_front) for each in sorted(level, key=_simplicity)]
            left = [each for each in left if each not in level]
    return ordered


def dominated_by(
    candidate: Candidate, others: Sequence[Candidate], metrics: tuple[str, str, str]
) -> Reason | None:
    """Who keeps it off the front."""
    own = measured(candidate.evaluation, metrics)
    for other in others:
        if other is not candidate and dominates(measured(other.evaluation, metrics), own, metrics):
            text = f"{other.label} is at least as good in {', '.join(metrics)} and surely better in one"
            return Reason("dominated", text, ", ".join(metrics), other.label)
    return None


def alternative(candidates: Sequence[Candidate]) -> Candidate | None:
    """The best choice of another kind than the first; the second where all are of one kind."""
    if not candidates:
        return None
    first, *others = candidates
    unlike = [each for each in others if FAMILIES[each.mechanism] != FAMILIES[first.mechanism]]
    return next(iter(unlike or others), None)


def trade_offs(first: Candidate, second: Candidate) -> list[dict[str, Any]]:
    """Metric by metric of `TRADED`, what the second has for what it costs: both means, and their ratio."""
    told = []
    for metric in TRADED:
        a, b = first.at_full_size.mean(metric), second.at_full_size.mean(metric)
        if math.isnan(a) or math.isnan(b):
            continue
        told.append({"metric": metric, "first": a, "second": b, "ratio": b / a if a else None})
    return told


def _money(candidate: Candidate, metrics: tuple[str, str, str]) -> float:
    mean = candidate.evaluation.mean(metrics[1])
    return math.inf if math.isnan(mean) else mean


def _simplicity(candidate: Candidate) -> int:
    return SIMPLICITY.index(candidate.label)


TRADED: Mapping[str, str] = {
    ON_TIME: "on time",
    "latency_p50_s": "median latency",
    "latency_p95_s": "p95 of latency",
    "latency_p99_s": "p99 of latency",
    "requests_per_event": "requests an event",
    "bytes_per_event": "bytes an event",
    "connections_mean": "connections open on average",
    "cost_per_million_events": "cost of a million events",
}
"""What two choices are compared by."""
