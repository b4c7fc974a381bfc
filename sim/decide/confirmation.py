"""A look at what was found that had no part in finding it: on fresh random numbers, and at full size.

Whoever picks the longest interval that just meets a requirement has picked luck as well; other random numbers
know nothing of it. Where the search ran on fewer subscribers, what stands is run at full size besides, and
must keep its requirements on average there: few full runs are too few for intervals.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from sim.decide.evaluation import Evaluator
from sim.decide.reasons import Reason, judged, settings_text
from sim.decide.requirement import Requirement
from sim.decide.tuning import Candidate, unmet

STEPS_BACK = 3
"""So many shorter intervals are tried when fresh random numbers do not confirm one."""

FULL_SIZE_REPLICATIONS = 3


def confirmed(
    candidates: Sequence[Candidate], evaluator: Evaluator, requirements: Sequence[Requirement]
) -> tuple[list[Candidate], list[Candidate]]:
    """Those that keep the requirements again, and those that do not.

    One that does not gives way to the next shorter interval, `STEPS_BACK` times.
    """
    waiting, standing, fallen = list(candidates), [], []
    for step in range(STEPS_BACK + 1):
        trials = [(each.mechanism, each.settings) for each in waiting]
        again = []
        for candidate, look in zip(waiting, evaluator.fresh(trials), strict=True):
            seen = replace(candidate, evaluation=look)
            if not unmet(look, requirements):
                standing.append(seen)
            elif candidate.shorter and step < STEPS_BACK:
                again.append(_one_shorter(seen, requirements))
            else:
                fallen.append(seen)
        waiting = again
    place = {each.label: number for number, each in enumerate(candidates)}
    standing.sort(key=lambda each: place[each.label])
    if evaluator.full is not evaluator.scenario:
        return _at_full_size(standing, fallen, evaluator, requirements)
    return [_noted(each, "") for each in standing], fallen


def _at_full_size(
    standing: Sequence[Candidate],
    fallen: list[Candidate],
    evaluator: Evaluator,
    requirements: Sequence[Requirement],
) -> tuple[list[Candidate], list[Candidate]]:
    trials = [(each.mechanism, each.settings) for each in standing]
    kept = []
    for candidate, look in zip(standing, evaluator.fresh(trials, FULL_SIZE_REPLICATIONS), strict=True):
        seen = replace(candidate, full=look)
        missed = [each for each in requirements if not each.bound.met_by(look.judged(each.metric).mean)]
        if missed:
            text = f"at full size {judged(missed[0], look.judged(missed[0].metric)).text}"
            reason = Reason(
                "unconfirmed",
                text,
                missed[0].metric,
                look.judged(missed[0].metric).mean,
                missed[0].bound.limit,
            )
            fallen.append(replace(seen, evaluation=look, reasons=(*seen.reasons, reason)))
        else:
            subscribers = evaluator.full.subscribers.count
            at = f", and {len(look.runs)} with all {subscribers:,} subscribers keep it on average"
            kept.append(_noted(seen, at))
    return kept, fallen


def _one_shorter(candidate: Candidate, requirements: Sequence[Requirement]) -> Candidate:
    """The next shorter interval, as yet unseen, and why."""
    look, (shorter, *rest) = candidate.evaluation, candidate.shorter
    missed = unmet(look, requirements)[0]
    text = (
        f"{settings_text(candidate.settings)} was not confirmed on fresh random numbers: "
        f"{judged(missed, look.judged(missed.metric)).text}"
    )
    reason = Reason("unconfirmed", text, missed.metric, missed.unfavourable(look.judged(missed.metric)))
    return replace(
        candidate,
        evaluation=replace(look, settings=shorter),
        reasons=(*candidate.reasons, reason),
        shorter=tuple(rest),
    )


def _noted(candidate: Candidate, at_full_size: str) -> Candidate:
    count = len(candidate.evaluation.runs)
    text = (
        f"confirmed by {count} replications on random numbers that had no part in choosing it{at_full_size}"
    )
    return replace(candidate, reasons=(*candidate.reasons, Reason("confirmed", text, value=float(count))))
