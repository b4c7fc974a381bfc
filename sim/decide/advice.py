"""The advice: which mechanism to choose for a scenario, tuned, ranked, with reasons, and how firm that is."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

from sim.catalogue import MECHANISMS
from sim.decide.confirmation import confirmed
from sim.decide.evaluation import Evaluation, Evaluator, Settings
from sim.decide.observations import observed
from sim.decide.offers import INBOUND, Openness, openness
from sim.decide.ranking import (
    REDELIVERED,
    alternative,
    dominated_by,
    front_metrics,
    ranked,
    rule,
    trade_offs,
)
from sim.decide.reasons import Reason, judged
from sim.decide.remedies import by_hand, fewest_workers, remedied
from sim.decide.requirement import Requirement, requirements_of
from sim.decide.scale import Scale, scale_for
from sim.decide.sensitivity import Sensitivity, sensitivity
from sim.decide.tuning import Candidate, distance, span_of, tuned, unmet
from sim.engine import check, expected_deliveries
from sim.errors import InputError
from sim.experiment.executors import Workers, open_executor
from sim.scenario import Scenario

CANDIDATES_LOOKED_AT = 4
LOOKS = ((10_000, 10), (30_000, 5))
"""With so many replications each assumption is looked at where a run has at most so many deliveries."""
FEWEST_LOOKS = 3


@dataclass(frozen=True)
class Choice:
    """A candidate that meets every requirement, on random numbers that did not choose it.

    Attributes:
        candidate: the mechanism with its settings, and what fresh runs gave.
        on_front: whether none of the others is at least as good in all and better in one.
        reasons: why.
    """

    candidate: Candidate
    on_front: bool
    reasons: tuple[Reason, ...]


@dataclass(frozen=True)
class Rejected:
    """What was not chosen.

    Attributes:
        label: what it is called.
        reasons: why not.
        candidate: what came nearest; None where nothing was run.
    """

    label: str
    reasons: tuple[Reason, ...]
    candidate: Candidate | None = None


@dataclass(frozen=True)
class Advice:
    """What to choose.

    Attributes:
        scenario: what was asked about.
        requirements: what was asked.
        metrics: of the Pareto front.
        choices: what meets the requirements, the first choice first.
        rejected: what does not, the nearest first, then what was not run at all.
        alternative: the best choice of another kind than the first.
        trade_offs: that one against the first (`sim.decide.ranking.trade_offs`).
        sensitivity: which assumptions would change the verdict.
        evaluations: everything that was run.
        replications: of each evaluation of the search.
        seed: of the experiment; `fresh_seed` that of the confirmation.
        fresh_seed: see `seed`.
        scale: what the search ran on.
    """

    scenario: Scenario
    requirements: tuple[Requirement, ...]
    metrics: tuple[str, str, str]
    choices: tuple[Choice, ...]
    rejected: tuple[Rejected, ...]
    alternative: str | None
    trade_offs: tuple[Mapping[str, Any], ...]
    sensitivity: Sensitivity
    evaluations: tuple[Evaluation, ...]
    replications: int
    seed: int
    fresh_seed: int
    scale: Scale

    @property
    def rule(self) -> str:
        """How the choices are ranked, in words."""
        return rule(self.metrics)


def advise(
    scenario: Scenario,
    require: Sequence[str] = (),
    *,
    budget: str | None = None,
    no_inbound: bool = False,
    offered: Collection[str] = (),
    mechanisms: Sequence[str] = tuple(MECHANISMS),
    replications: int = 10,
    seed: int = 1,
    executor: str | Workers = "processes",
    progress: Callable[[int, int], None] | None = None,
) -> Advice:
    """Find what meets the requirements of a scenario, tuned, and rank it.

    Args:
        scenario: what is asked about.
        require: bounds such as ``latency_p95_s<5``; none means those that the scenario implies.
        budget: a bound on `cost_per_million_events`, or its number.
        no_inbound: the consumer cannot accept connections.
        offered: mechanisms that the provider is known to have.
        mechanisms: which to consider.
        replications: of each evaluation, 2 or more.
        seed: fixes every draw.
        executor: a name (see `sim.experiment.executors`), or an executor of your own with its slots.
        progress: called with (runs done, runs in all so far).

    Raises:
        InputError: a requirement or a mechanism that cannot be used, or a number out of range.
    """
    requirements = refuse(scenario, require, budget, mechanisms, offered, replications, seed)
    metrics = front_metrics(scenario, requirements)
    ways = openness(scenario, mechanisms, no_inbound=no_inbound, offered=offered)
    scale = scale_for(scenario, seed)
    opened = open_executor(executor) if isinstance(executor, str) else nullcontext(executor)
    with opened as workers:
        full = None if scale.divisor == 1 else scenario
        evaluator = Evaluator(scale.scenario, workers, replications, seed, progress, full=full)
        candidates = _candidates(ways, evaluator, requirements)
        meeting = [each for each in candidates if not unmet(each.evaluation, requirements)]
        failing = [each for each in candidates if unmet(each.evaluation, requirements)]
        standing, fallen = confirmed(meeting, evaluator, requirements)
        order = ranked(standing, metrics)
        choices = tuple(
            Choice(each, on_front, _why(each, evaluator, ways, requirements, standing, metrics))
            for each, on_front in order
        )
        failing = sorted(failing + fallen, key=lambda each: distance(each.evaluation, requirements))
        rejected = [Rejected(e.label, _why_not(e, evaluator, ways, requirements), e) for e in failing]
        rejected += [Rejected(name, (reason,)) for name, reason in ways.barred.items()]
        hangs_on = sensitivity(
            _looked_at(order, failing), evaluator, requirements, metrics, _looks(evaluator)
        )
    chosen = [choice.candidate for choice in choices]
    other = alternative(chosen)
    return Advice(
        scenario=scenario,
        requirements=requirements,
        metrics=metrics,
        choices=choices,
        rejected=tuple(rejected),
        alternative=None if other is None else other.label,
        trade_offs=() if other is None else tuple(trade_offs(chosen[0], other)),
        sensitivity=hangs_on,
        evaluations=tuple(evaluator.done),
        replications=replications,
        seed=seed,
        fresh_seed=evaluator.fresh_seed,
        scale=scale,
    )


def refuse(
    scenario: Scenario,
    require: Sequence[str],
    budget: str | None,
    mechanisms: Sequence[str],
    offered: Collection[str],
    replications: int,
    seed: int,
) -> tuple[Requirement, ...]:
    """Refuse what cannot be advised on; returns what is required.

    Raises:
        InputError: naming the value and what would be accepted.
    """
    check(mechanisms, "fast", seed, replications)
    if offered:
        check(list(offered), "fast", seed, replications)
    if replications < 2:
        raise InputError(f"--replications: advice needs 2 or more for its intervals, got {replications}")
    return requirements_of(scenario, require, budget)


def _candidates(ways: Openness, evaluator: Evaluator, requirements: Sequence[Requirement]) -> list[Candidate]:
    """Each open mechanism with the best settings found for it."""
    scenario = evaluator.scenario
    spread = scenario.subscribers.count * scenario.run.duration_s
    events_per_s = expected_deliveries(scenario, evaluator.seed) / spread
    alone: dict[str, Any] = {} if scenario.webhook.redelivery is None else {"webhook.redelivery": None}
    found = []
    helped: Settings = {}
    for mechanism, (_, offered) in ways.open.items():
        start = {**alone, **offered} if mechanism in INBOUND else dict(offered)
        span = span_of(evaluator, mechanism, requirements, events_per_s)
        if mechanism in {"webhook", "thin_webhook"}:
            candidate = remedied(mechanism, evaluator, requirements, start)
            helped = candidate.settings if mechanism == "webhook" else helped
        elif span is not None:
            start = {**start, **_receiver_only(helped)} if mechanism in INBOUND else start
            candidate = tuned(mechanism, evaluator, requirements, start, span)
        else:
            candidate = Candidate(mechanism, evaluator(mechanism, start))
        found.append(candidate)
    hand = by_hand(scenario)
    if hand is not None and "webhook" in ways.open:
        found.append(Candidate(REDELIVERED, evaluator("webhook", {}), (hand,)))
    return found


def _receiver_only(settings: Settings) -> dict[str, Any]:
    """Of a webhook's remedies those at the consumer, which serve whatever comes beside it."""
    return {key: value for key, value in settings.items() if key.startswith("receiver.")}


def _why(
    candidate: Candidate,
    evaluator: Evaluator,
    ways: Openness,
    requirements: Sequence[Requirement],
    choices: Sequence[Candidate],
    metrics: tuple[str, str, str],
) -> tuple[Reason, ...]:
    """Why a choice: what it keeps, what was found on the way, what else is to be known."""
    evaluation = candidate.evaluation
    reasons = [judged(each, evaluation.judged(each.metric)) for each in requirements]
    reasons += candidate.reasons
    reasons += observed(candidate, evaluator, requirements)
    if candidate.mechanism in INBOUND:
        workers = fewest_workers(candidate, evaluator, requirements)
        reasons += [] if workers is None else [workers]
    known, _ = ways.open[candidate.mechanism]
    reasons += [] if known is None else [known]
    beaten = dominated_by(candidate, choices, metrics)
    reasons += [] if beaten is None else [beaten]
    return tuple(reasons)


def _why_not(
    candidate: Candidate, evaluator: Evaluator, ways: Openness, requirements: Sequence[Requirement]
) -> tuple[Reason, ...]:
    """Why not: what it misses and by how much, the worst first; and what kept the search from going on."""
    evaluation = candidate.evaluation
    missed = sorted(
        unmet(evaluation, requirements), key=lambda each: -each.miss(evaluation.judged(each.metric))
    )
    reasons = [judged(each, evaluation.judged(each.metric)) for each in missed]
    reasons += candidate.reasons
    reasons += observed(candidate, evaluator, requirements)
    known, _ = ways.open[candidate.mechanism]
    reasons += [] if known is None else [known]
    return tuple(reasons)


def _looked_at(order: Sequence[tuple[Candidate, bool]], failing: Sequence[Candidate]) -> list[Candidate]:
    """The first choices, the alternative among them, and the nearest that was rejected."""
    chosen = [each for each, _ in order]
    other = alternative(chosen)
    wanted = [*chosen[:1], *([] if other is None else [other]), *chosen]
    labels = list(dict.fromkeys(each.label for each in wanted))[: CANDIDATES_LOOKED_AT - 1]
    return [each for each in chosen if each.label in labels] + list(failing[:1])


def _looks(evaluator: Evaluator) -> int:
    """Fewer replications where each takes long."""
    if not evaluator.done:
        return evaluator.replications
    last = evaluator.done[-1]
    deliveries = last.deliveries / len(last.runs)
    enough = next((count for most, count in LOOKS if deliveries <= most), FEWEST_LOOKS)
    return max(2, min(evaluator.replications, enough))
