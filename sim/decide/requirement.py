"""What is asked of a mechanism: bounds on metrics, in the grammar of thresholds (`sim.thresholds`).

A requirement is judged by the end of the 95 % interval that speaks against it, not by the mean: p95 < 5 s
is met by 4.8 ± 0.1 s, not by 4.8 ± 0.3 s. On a latency what never came counts as late for ever. No number of
runs can show that a share is 0: ``lost_ratio<=0`` asks that nothing was lost in any of them, and likewise
``on_time_ratio>=1`` that all was on time.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from sim.errors import InputError
from sim.experiment import Estimate
from sim.metrics.directions import METRICS
from sim.metrics.kinds import KINDS, Kind
from sim.scenario import Cost, Scenario
from sim.thresholds import Threshold, parse_threshold

OPTION = "--require"

SHARES = frozenset(
    {
        *(metric for metric, nature in KINDS.items() if nature.kind is Kind.SHARE),
        *("freshness", "fairness", "provider_utilisation", "receiver_utilisation"),
    }
)
"""The metrics that are 1 at the most; every metric is 0 at the least."""

OF_WHAT_IS_UP = 0.95
"""Without a stated requirement, this share of what is created while the receiver is up must be on time."""

MISS_OF_NOTHING = 0.01
"""Against a limit of 0 there is no "twice as much": a miss by this much counts as one by the whole limit."""

_NEEDS: Mapping[str, str] = {
    "on_time_ratio": "run.on_time_s",
    "missed_ratio": 'workload.content = "last_value"',
    "fairness": "subscribers.count of 2 or more",
    "recovery_time_s": "receiver.outages or provider_api.outages",
    "cost_per_million_events": "a price in [cost]",
}


@dataclass(frozen=True)
class Requirement:
    """A bound that a mechanism must keep.

    Attributes:
        bound: as written.
        why: where it comes from, when nobody stated it; empty when somebody did.
    """

    bound: Threshold
    why: str = ""

    @property
    def text(self) -> str:
        """As written."""
        return self.bound.text

    @property
    def metric(self) -> str:
        """The metric that is bounded."""
        return self.bound.metric

    @property
    def asks_for_all(self) -> bool:
        """Whether the limit is the very end of what is possible: none lost, all on time."""
        end = 0.0 if self.bound.is_upper else 1.0 if self.metric in SHARES else math.inf
        return self.bound.sign in {"<=", ">="} and self.bound.limit == end

    def unfavourable(self, e: Estimate) -> float:
        """The end of the 95 % interval that speaks against the bound; NaN where the metric is undefined.

        Infinite where the interval has no such end; where the very end of what is possible is asked for, the
        mean, which is there only if every single case is.
        """
        if math.isnan(e.mean) or self.asks_for_all or e.low is e.high is None:
            return e.mean
        end = e.high if self.bound.is_upper else e.low
        return math.inf if end is None and self.bound.is_upper else math.nan if end is None else end

    def met_by(self, e: Estimate) -> bool:
        """Whether the bound is kept."""
        return self.bound.met_by(self.unfavourable(e))

    def miss(self, e: Estimate) -> float:
        """By how much the bound is missed, as a share of the limit; 0 when it is kept."""
        if self.met_by(e):
            return 0.0
        found, limit = self.unfavourable(e), self.bound.limit
        if not math.isfinite(found):
            return math.inf
        return abs(found - limit) / (abs(limit) or MISS_OF_NOTHING)


def requirements_of(
    scenario: Scenario, texts: Sequence[str] = (), budget: str | None = None
) -> tuple[Requirement, ...]:
    """What is required: as stated, or else what the scenario implies.

    Args:
        scenario: with its prices.
        texts: the bounds as written.
        budget: a bound on `cost_per_million_events`, or its number alone.

    Raises:
        InputError: a bound that cannot be read, on a metric that this scenario does not have, or that no
            value can keep, alone or together with another.
    """
    stated = [Requirement(parse_threshold(text, METRICS, option=OPTION)) for text in texts]
    wanted = stated or implied_by(scenario)
    if budget is not None:
        if not has_prices(scenario.cost):
            raise InputError(
                f"--budget {budget}: nothing has a price; state one with --price, --prices or [cost]"
            )
        wanted = [*wanted, Requirement(_budget(budget))]
    for requirement in wanted:
        _require_known(requirement, scenario)
    by_metric = sorted(wanted, key=lambda each: each.metric)
    for metric, bounds in groupby(by_metric, key=lambda each: each.metric):
        _require_possible(metric, [each.bound for each in bounds])
    return tuple(dict.fromkeys(wanted))


def implied_by(scenario: Scenario) -> list[Requirement]:
    """What a scenario asks by itself: nothing lost, and what it calls on time.

    That is 95 % within `run.on_time_s`. Where the receiver fails at random, its p95 is a matter of whether it
    was down for more than a twentieth of the run; then it is 95 % of what is created while it is up.
    """
    wanted = []
    on_time_s = scenario.run.on_time_s
    if on_time_s is not None:
        down = random_down_share(scenario)
        if down:
            share = math.floor(1000 * OF_WHAT_IS_UP * (1 - down)) / 1000
            up = f"{100 * (1 - down):.3g} %"
            why = f"95 % within run.on_time_s, of the {up} of the time that the receiver is up"
            wanted.append(_implied(f"on_time_ratio>={share:g}", why))
        else:
            wanted.append(_implied(f"latency_p95_s<={on_time_s:g}", "run.on_time_s bounds the p95"))
    return [*wanted, _implied("lost_ratio<=0", "an event is wanted, or it would not be sent")]


def random_down_share(scenario: Scenario) -> float:
    """The share of time for which the receiver's random outages shut its door."""
    outages = scenario.receiver.random_outages
    if outages is None or outages.kind == "slow":
        return 0.0
    return outages.down.mean_s / (outages.up.mean_s + outages.down.mean_s)


def has_prices(prices: Cost) -> bool:
    """Whether any price is stated."""
    return any(price is not None for price in prices.model_dump().values())


def _implied(text: str, why: str) -> Requirement:
    return Requirement(parse_threshold(text, METRICS), why)


def _budget(text: str) -> Threshold:
    try:
        float(text)
    except ValueError:
        bound = parse_threshold(text, METRICS, option="--budget")
    else:
        bound = parse_threshold(f"cost_per_million_events<={text}", METRICS, option="--budget")
    if bound.metric != "cost_per_million_events" or not bound.is_upper:
        raise InputError(f"--budget {text!r}: expected a number or cost_per_million_events<NUMBER")
    return bound


def _require_known(requirement: Requirement, scenario: Scenario) -> None:
    known = {
        "on_time_ratio": scenario.run.on_time_s is not None,
        "missed_ratio": scenario.workload.content == "last_value",
        "fairness": scenario.subscribers.count > 1,
        "recovery_time_s": bool(scenario.receiver.outages or scenario.provider_api.outages),
        "cost_per_million_events": has_prices(scenario.cost),
    }
    if not known.get(requirement.metric, True):
        raise InputError(
            f"{OPTION} {requirement.text!r}: {requirement.metric} needs {_NEEDS[requirement.metric]}, "
            "which the scenario does not have"
        )


def _require_possible(metric: str, bounds: Sequence[Threshold]) -> None:
    natural = [Threshold(f"{metric} is never below 0", metric, ">=", 0.0)]
    if metric in SHARES:
        natural.append(Threshold(f"{metric} is never above 1", metric, "<=", 1.0))
    below = min((b for b in (*bounds, *natural) if b.is_upper), key=_upper_order, default=None)
    above = max((b for b in (*bounds, *natural) if not b.is_upper), key=_lower_order)
    if below is None or above.limit < below.limit:
        return
    if above.limit == below.limit and below.sign == "<=" and above.sign == ">=":
        return
    raise InputError(f"{OPTION}: no value keeps both {above.text!r} and {below.text!r}")


def _upper_order(bound: Threshold) -> tuple[float, bool]:
    return bound.limit, bound.sign == "<="


def _lower_order(bound: Threshold) -> tuple[float, bool]:
    return bound.limit, bound.sign == ">"
