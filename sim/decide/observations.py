"""What else an architect would want to know of a candidate, read off its own figures."""

from __future__ import annotations

import math
from collections.abc import Sequence

from sim.decide.evaluation import Evaluator
from sim.decide.offers import INBOUND
from sim.decide.reasons import Reason, percent, value_text
from sim.decide.requirement import Requirement, random_down_share
from sim.decide.tuning import Candidate, unmet
from sim.scenario import Scenario
from sim.tables import number_text

_DAY_S = 86_400.0
WASTEFUL, MANY_COPIES, LONG_TAIL, WORTH_A_WORD = 0.2, 0.005, 10.0, 0.01
"""Shares of empty polls and of duplicates, a ratio of p99 to p95, and a share of time that a receiver is
down, from which on they are worth a word."""


def observed(candidate: Candidate, evaluator: Evaluator, requirements: Sequence[Requirement]) -> list[Reason]:
    """Waste, refusals, copies, a slow tail, what had not come by the end, and how much no loss shows."""
    scenario = evaluator.scenario
    found = [
        _waste(candidate, evaluator),
        _rejections(candidate),
        _duplicates(candidate, evaluator),
        _tail(candidate),
        _pending(candidate),
        _down(candidate, scenario, requirements),
        _evidence(candidate, requirements),
    ]
    return [reason for reason in found if reason is not None]


def _waste(candidate: Candidate, evaluator: Evaluator) -> Reason | None:
    e, scenario = candidate.evaluation, evaluator.full
    empty = e.mean("empty_ratio")
    if not empty >= WASTEFUL:
        return None
    window_s = scenario.run.duration_s - scenario.run.warmup_s
    smaller = evaluator.scenario.subscribers.count / scenario.subscribers.count
    deliveries = e.deliveries / len(e.runs) / smaller
    per_day = e.mean("requests_per_event") * deliveries / window_s * _DAY_S
    many = f"{number_text(per_day / 1e6)} million" if per_day >= 1e6 else f"{per_day:,.0f}"
    text = f"{percent(empty)} of its {many} requests a day come back empty"
    return Reason("waste", text, "empty_ratio", empty, per_day)


def _rejections(candidate: Candidate) -> Reason | None:
    rejected = candidate.evaluation.mean("rejected_ratio")
    if not rejected > 0:
        return None
    text = f"{value_text(rejected, 'rejected_ratio')} of its requests are refused (429 or 503)"
    return Reason("rejections", text, "rejected_ratio", rejected)


def _duplicates(candidate: Candidate, evaluator: Evaluator) -> Reason | None:
    copies = candidate.evaluation.mean("duplicates_per_event")
    if not copies >= MANY_COPIES:
        return None
    text = f"{value_text(copies, 'duplicates_ratio')} of the events come twice: recognise them by their id"
    spared = None
    late = evaluator.scenario.receiver.acknowledge == "after_processing"
    if candidate.mechanism in INBOUND and late and "receiver.acknowledge" not in candidate.settings:
        settings = {**candidate.settings, "receiver.acknowledge": "on_receipt"}
        spared = evaluator(candidate.mechanism, settings).mean("duplicates_per_event")
        text += f"; acknowledged on receipt it would be {value_text(spared, 'duplicates_ratio')}"
    return Reason("duplicates", text, "duplicates_per_event", copies, spared)


def _tail(candidate: Candidate) -> Reason | None:
    p95, p99 = (candidate.evaluation.mean(f"latency_{name}_s") for name in ("p95", "p99"))
    if not p99 > LONG_TAIL * p95:
        return None
    text = f"the slowest hundredth takes {value_text(p99, 'latency_p99_s')} or longer"
    return Reason("tail", text, "latency_p99_s", p99, p95)


def _pending(candidate: Candidate) -> Reason | None:
    pending = candidate.evaluation.mean("pending_ratio")
    if not pending > 0:
        return None
    text = f"{value_text(pending, 'pending_ratio')} of the events had not come when the world ended"
    return Reason("pending", text, "pending_ratio", pending)


def _down(candidate: Candidate, scenario: Scenario, requirements: Sequence[Requirement]) -> Reason | None:
    """That nothing reaches a receiver that is down: said where something comes too late."""
    late = [each for each in unmet(candidate.evaluation, requirements) if each.metric != "lost_ratio"]
    down = random_down_share(scenario) + scheduled_down_share(scenario)
    if not late or down < WORTH_A_WORD:
        return None
    text = f"the receiver is down for {percent(down)} of the time, and nothing reaches it then"
    return Reason("down", text, "receiver.outages", down)


def scheduled_down_share(scenario: Scenario) -> float:
    """The share of the run for which the receiver's scheduled outages shut its door."""
    shut_s = sum(each.duration_s for each in scenario.receiver.outages if each.kind != "slow")
    return shut_s / scenario.run.duration_s


def _evidence(candidate: Candidate, requirements: Sequence[Requirement]) -> Reason | None:
    """That the mean would do but too few runs show it; where none was lost, how many it takes."""
    e = candidate.evaluation
    for each in unmet(e, requirements):
        found, limit = e.judged(each.metric), each.bound.limit
        if not each.bound.met_by(found.mean):
            continue
        if each.metric == "lost_ratio" and found.mean == 0 and found.high is not None:
            enough = math.ceil(len(e.runs) * found.high / limit) + 1
            text = (
                f"none of {e.deliveries:,} events was lost, which shows no more than a share below "
                f"{percent(found.high)}: to show {percent(limit)} takes --replications {enough:,}"
            )
            return Reason("evidence", text, each.metric, float(enough), limit)
        text = (
            f"{value_text(found.mean, each.metric)} would do, but {len(e.runs)} replications are too few to "
            "show it"
        )
        return Reason("evidence", text, each.metric, found.mean, limit)
    return None
