"""The longest interval that meets every requirement: a bracket, then bisection.

The rungs of a ladder are about evenly spaced by ratio, so that halving their number is bisection in log
space, and what is found is an interval that a person would choose. Shortening an interval is taken to cure
what is too late and to hurt what is too much: the met rungs are neighbours.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from sim.decide.evaluation import Evaluation, Evaluator, Settings
from sim.decide.reasons import Reason, interval_text, judged
from sim.decide.requirement import Requirement
from sim.decide.spans import Span, floor_s, hold_span, polling_span, reconciling_span
from sim.scenario import Scenario


@dataclass(frozen=True)
class Candidate:
    """A mechanism with the settings found for it.

    Attributes:
        label: what it is called: the mechanism's name, perhaps with a word.
        evaluation: the settings and what they gave.
        reasons: what was found on the way.
        full: the same at full size, where the search ran on fewer subscribers.
        shorter: the same with shorter intervals, the longest first, for when this one does not stand.
    """

    label: str
    evaluation: Evaluation
    reasons: tuple[Reason, ...] = ()
    shorter: tuple[Settings, ...] = ()
    full: Evaluation | None = None

    @property
    def mechanism(self) -> str:
        """The mechanism."""
        return self.evaluation.mechanism

    @property
    def at_full_size(self) -> Evaluation:
        """What it gave at full size, as far as that was run."""
        return self.full or self.evaluation

    @property
    def settings(self) -> Settings:
        """Where it differs from the scenario."""
        return self.evaluation.settings


def unmet(evaluation: Evaluation, requirements: Sequence[Requirement]) -> list[Requirement]:
    """The requirements that it misses."""
    return [each for each in requirements if not each.met_by(evaluation.judged(each.metric))]


def distance(evaluation: Evaluation, requirements: Sequence[Requirement]) -> tuple[int, float]:
    """How far it is from meeting them: how many it misses, and by how much at worst."""
    misses = [each.miss(evaluation.judged(each.metric)) for each in requirements]
    return sum(miss > 0 for miss in misses), max(misses, default=0.0)


def longest(
    rungs: Sequence[float], look: Callable[[float], Evaluation], requirements: Sequence[Requirement]
) -> tuple[int | None, Evaluation, list[Reason]]:
    """Search ascending rungs for the longest that meets every requirement.

    Returns:
        its place, what it gave, and why it is that one; or None, what came nearest, and why none is.
    """
    top = len(rungs) - 1
    highest = look(rungs[top])
    too_long = unmet(highest, requirements)
    if not too_long:
        return top, highest, []
    lowest = look(rungs[0])
    stubborn = unmet(lowest, requirements)
    cured = [each for each in too_long if each not in stubborn]
    if len(cured) < len(too_long):  # something is missed at either end, and no interval cures it
        return None, min((lowest, highest), key=lambda e: distance(e, requirements)), []
    low, high = 0, top
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if unmet(look(rungs[middle]), cured) else (middle, high)
    found, beyond = look(rungs[low]), look(rungs[high])
    failed = unmet(beyond, cured)[0]
    at_beyond = judged(failed, beyond.judged(failed.metric))
    left = unmet(found, requirements)
    if left:
        here = judged(left[0], found.judged(left[0].metric))
        text = (
            f"no interval keeps both {left[0].text} and {failed.text}: every {interval_text(rungs[low])} "
            f"{here.text}, and every {interval_text(rungs[high])} {at_beyond.text}"
        )
        return None, found, [Reason("conflict", text, failed.metric, rungs[low], rungs[high])]
    text = (
        f"every {interval_text(rungs[low])} is the longest interval that keeps {failed.text}: "
        f"every {interval_text(rungs[high])} {at_beyond.text}"
    )
    return low, found, [Reason("longest", text, failed.metric, rungs[low], rungs[high])]


def tuned(
    mechanism: str, evaluator: Evaluator, requirements: Sequence[Requirement], offered: Settings,
    span: Span,
) -> Candidate:  # fmt: skip
    """A mechanism with the longest interval of a span; the nearest where none meets what is required."""
    settings = [{**offered, **settings_at(evaluator.scenario, mechanism, rung)} for rung in span.rungs_s]
    at = dict(zip(span.rungs_s, settings, strict=True))
    place, found, reasons = longest(span.rungs_s, lambda rung: evaluator(mechanism, at[rung]), requirements)
    if place is None:
        if span.low is not None:
            reasons.append(span.low)
        return Candidate(mechanism, found, tuple(reasons))
    if place == len(span.rungs_s) - 1 and span.high is not None:
        reasons.append(span.high)
    return Candidate(mechanism, found, tuple(reasons), tuple(reversed(settings[:place])))


def settings_at(scenario: Scenario, mechanism: str, seconds: float) -> dict[str, Any]:
    """The settings that give a mechanism an interval, or a hold, and what must change with it."""
    polling, adaptive, holding = scenario.polling, scenario.adaptive_polling, scenario.long_polling
    if mechanism == "webhook_reconciled":
        return {"reconciliation.interval_s": seconds}
    if mechanism == "long_polling":
        patience_s = max(holding.timeout_s - holding.hold_s, 1.0)
        return {"long_polling.hold_s": seconds, "long_polling.timeout_s": seconds + patience_s}
    jitter = {"polling.jitter_s": seconds} if polling.jitter_s > seconds else {}
    if mechanism == "adaptive_polling":
        least_s, _ = floor_s(scenario, mechanism)
        shortest_s = min(max(adaptive.min_interval_s, least_s), seconds)
        return {
            "adaptive_polling.min_interval_s": shortest_s,
            "adaptive_polling.max_interval_s": seconds,
            "polling.interval_s": seconds,
            **jitter,
        }
    return {"polling.interval_s": seconds, **jitter}


def span_of(
    evaluator: Evaluator, mechanism: str, requirements: Sequence[Requirement], events_per_s: float
) -> Span | None:
    """The span of the one parameter of a mechanism that is searched; None for one that has none."""
    scenario, simulated = evaluator.full, evaluator.scenario.subscribers.count
    match mechanism:
        case "polling" | "conditional_polling" | "adaptive_polling":
            return polling_span(scenario, mechanism, requirements, simulated)
        case "webhook_reconciled":
            return reconciling_span(scenario, requirements, simulated, events_per_s)
        case "long_polling":
            return hold_span(scenario)
        case _:
            return None
