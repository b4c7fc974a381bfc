"""What helps a webhook that misses what is required: at the consumer first, then in the sender's policy.

The sender's policy is the provider's: where a scenario names one it stands as it is. Remedies are tried one
after another and kept if they bring what is required nearer; those that turn out to be superfluous are
taken back.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from sim.decide.evaluation import Evaluation, Evaluator, Settings
from sim.decide.reasons import Reason, judged, value_text
from sim.decide.requirement import Requirement
from sim.decide.tuning import Candidate, distance, unmet
from sim.scenario import Scenario

MOST_WORKERS = 64
MOST_ATTEMPTS = 64
LONGER_QUEUE = 10
MATTERS = 0.9
"""A remedy is kept when it leaves at most this share of the miss."""


def remedied(
    mechanism: str, evaluator: Evaluator, requirements: Sequence[Requirement], start: Settings
) -> Candidate:
    """A webhook with as few remedies as it takes; with those that help, where none suffices.

    Args:
        mechanism: `webhook` or `thin_webhook`.
        evaluator: runs it.
        requirements: what is asked.
        start: what is set in any case.
    """
    scenario = evaluator.scenario
    reasons: list[Reason] = []
    first = best = evaluator(mechanism, start)
    taken: dict[str, Any] = {}
    for remedy in (_acknowledge, _queue, _workers, _attempts):
        if not unmet(best, requirements):
            break
        found = remedy(evaluator, best, requirements)
        if found is not None and _helps(found[1], best, requirements):
            taken |= found[0]
            best = found[1]
    if taken and not unmet(best, requirements):
        taken, best = _fewest(evaluator, mechanism, start, taken, best, requirements)
    if taken:
        reasons.append(_told(first, best, taken, requirements))
    loses = first.mean("lost_ratio") > 0
    if scenario.provider is not None and loses:
        attempts = scenario.webhook.retry.attempts_allowed
        often = "once" if attempts == 1 else f"{attempts} times at the most"
        text = f"{scenario.provider} tries {often}, which is not for the consumer to choose"
        reasons.append(Reason("policy_fixed", text, "webhook.retry", scenario.provider))
    elif not loses and not taken:
        attempts = scenario.webhook.retry.attempts_allowed
        how = "only attempt loses" if attempts == 1 else f"{attempts} attempts lose"
        text = f"the sender's {how} nothing here"
        reasons.append(Reason("policy_suffices", text, "webhook.retry", float(attempts)))
    return Candidate(mechanism, best, tuple(reasons))


def fewest_workers(
    candidate: Candidate, evaluator: Evaluator, requirements: Sequence[Requirement]
) -> Reason | None:
    """The fewest receiver workers with which it still meets what is required; None where there is one."""
    workers = int(candidate.settings.get("receiver.workers", evaluator.scenario.receiver.workers))

    def meets(count: int) -> bool:
        settings = {**candidate.settings, "receiver.workers": count}
        return not unmet(evaluator(candidate.mechanism, settings), requirements)

    if workers == 1:
        return None
    fewest = _first(meets, 1, workers)
    text = (
        f"{fewest} of the receiver's {workers} workers would be enough"
        if fewest < workers
        else f"the receiver needs its {workers} workers: {workers - 1} would miss a requirement"
    )
    return Reason("workers", text, "receiver.workers", float(fewest), float(workers))


Found = tuple[dict[str, Any], Evaluation]


def _acknowledge(
    evaluator: Evaluator, before: Evaluation, requirements: Sequence[Requirement]
) -> Found | None:
    del requirements
    receiver = evaluator.scenario.receiver
    if receiver.acknowledge == "on_receipt":
        return None
    return _with(evaluator, before, {"receiver.acknowledge": "on_receipt"})


def _queue(evaluator: Evaluator, before: Evaluation, requirements: Sequence[Requirement]) -> Found | None:
    del requirements
    if not before.mean("rejected_ratio") > 0:
        return None
    places = min(evaluator.scenario.receiver.queue_limit * LONGER_QUEUE + LONGER_QUEUE, 10**9)
    return _with(evaluator, before, {"receiver.queue_limit": places})


def _workers(evaluator: Evaluator, before: Evaluation, requirements: Sequence[Requirement]) -> Found | None:
    """As many workers as the requirements that are a matter of time take."""
    late = [each for each in unmet(before, requirements) if each.metric != "lost_ratio"]
    receiver = evaluator.scenario.receiver
    if not late or receiver.discipline == "preempt":
        return None

    def found(count: int) -> Found:
        return _with(evaluator, before, {"receiver.workers": count})

    most = max(MOST_WORKERS, receiver.workers)
    if unmet(found(most)[1], late):
        return None
    return found(_first(lambda count: not unmet(found(count)[1], late), receiver.workers, most))


def _attempts(evaluator: Evaluator, before: Evaluation, requirements: Sequence[Requirement]) -> Found | None:
    """As many attempts as it takes to lose nothing that the outages hold up."""
    scenario = evaluator.scenario
    losing = [each for each in unmet(before, requirements) if each.metric == "lost_ratio"]
    if scenario.provider is not None or not losing:
        return None
    own = scenario.webhook.retry
    policy: dict[str, Any] = {"webhook.retry.max_duration_s": None}
    if own.kind in {"none", "schedule"}:
        policy |= {"webhook.retry.kind": "exponential", "webhook.retry.gaps_s": []}

    def found(count: int) -> Found:
        return _with(evaluator, before, {**policy, "webhook.retry.max_attempts": count})

    if unmet(found(MOST_ATTEMPTS)[1], losing):
        return None
    fewest = min(own.attempts_allowed, MOST_ATTEMPTS)
    return found(_first(lambda count: not unmet(found(count)[1], losing), fewest, MOST_ATTEMPTS))


def _with(evaluator: Evaluator, before: Evaluation, changes: dict[str, Any]) -> Found:
    return changes, evaluator(before.mechanism, {**before.settings, **changes})


def _helps(after: Evaluation, before: Evaluation, requirements: Sequence[Requirement]) -> bool:
    (fewer, less), (many, much) = distance(after, requirements), distance(before, requirements)
    return fewer < many or (fewer == many and less < MATTERS * much)


def _fewest(
    evaluator: Evaluator,
    mechanism: str,
    start: Settings,
    taken: dict[str, Any],
    best: Evaluation,
    requirements: Sequence[Requirement],
) -> tuple[dict[str, Any], Evaluation]:
    """Without what turns out to be superfluous; the parts of one policy stay together."""
    for group in ("receiver.acknowledge", "receiver.queue_limit", "receiver.workers"):
        if group in taken and len(taken) > 1:
            less = {key: value for key, value in taken.items() if key != group}
            without = evaluator(mechanism, {**start, **less})
            if not unmet(without, requirements):
                taken, best = less, without
    return taken, best


def _told(
    first: Evaluation, best: Evaluation, taken: dict[str, Any], requirements: Sequence[Requirement]
) -> Reason:
    """What the remedies did for the requirement that was missed most."""
    worst = max(requirements, key=lambda each: each.miss(first.judged(each.metric)))
    changed = ", ".join(f"{key} = {value}" for key, value in taken.items() if value not in (None, []))
    before, after = (judged(worst, e.judged(worst.metric)) for e in (first, best))
    text = f"as it is, {before.text}; with {changed}, {after.text}"
    return Reason("remedy", text, ", ".join(taken), changed, value_text(worst.bound.limit, worst.metric))


def _first(good: Callable[[int], bool], low: int, high: int) -> int:
    """The smallest whole number from `low` that is good, where `high` is and goodness stays."""
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if good(middle) else (middle + 1, high)
    return low


def by_hand(scenario: Scenario) -> Reason | None:
    """That a scenario's redelivery is no part of what the provider does by itself."""
    redelivery = scenario.webhook.redelivery
    if redelivery is None:
        return None
    return Reason(
        "by_hand",
        "somebody, or a script, must ask the provider for what failed and have it sent again",
        "webhook.redelivery",
        redelivery.every_s,
    )
