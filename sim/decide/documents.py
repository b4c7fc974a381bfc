"""The advice as data: the document of ``--json``, and tables of choices and of everything that was run."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from sim.decide.advice import Advice, Choice, Rejected
from sim.decide.cost import Bill
from sim.decide.evaluation import Evaluation
from sim.decide.pareto import pareto_front
from sim.decide.ranking import measured
from sim.decide.telling import finding, named
from sim.decide.tuning import unmet
from sim.experiment import Estimate

if TYPE_CHECKING:
    import pandas as pd


def document(advice: Advice) -> dict[str, Any]:
    """Everything, less the command line and the run folder."""
    return {
        "scenario": advice.scenario.model_dump(mode="json"),
        "seed": advice.seed,
        "confirmed_with_seed": advice.fresh_seed,
        "replications": advice.replications,
        "searched_with_subscribers": advice.scale.scenario.subscribers.count,
        "requirements": [
            {
                "text": each.text,
                "metric": each.metric,
                "sign": each.bound.sign,
                "limit": each.bound.limit,
                "implied_by": each.why or None,
            }
            for each in advice.requirements
        ],
        "finding": finding(advice),
        "rule": advice.rule,
        "choices": [_choice(rank, choice) for rank, choice in enumerate(advice.choices, 1)],
        "rejected": [_rejected(each, advice) for each in advice.rejected],
        "alternative": advice.alternative,
        "trade_offs": [dict(each) for each in advice.trade_offs],
        "sensitivity": {
            "asked": list(advice.sensitivity.asked),
            "impossible": dict(advice.sensitivity.impossible),
            "flips": [
                {
                    "key": flip.key,
                    "factor": flip.factor,
                    "value": flip.value,
                    "first_before": flip.before,
                    "first": flip.first,
                    "fails": {label: list(missed) for label, missed in flip.fails.items()},
                    "keeps": list(flip.keeps),
                    "text": flip.sentence(),
                }
                for flip in advice.sensitivity.flips
            ],
        },
    }


def choices_table(advice: Advice) -> pd.DataFrame:
    """Tidy: `rank, label, mechanism, settings, on_front, metric, mean, low, high`; a row a metric."""
    import pandas as pd  # noqa: PLC0415

    rows = []
    for rank, choice in enumerate(advice.choices, 1):
        candidate, e = choice.candidate, choice.candidate.evaluation
        head = (rank, candidate.label, candidate.mechanism, json.dumps(dict(candidate.settings)))
        for metric in e.metrics:
            of = e.estimate(metric)
            rows.append((*head, choice.on_front, metric, of.mean, of.low, of.high))
    columns = ["rank", "label", "mechanism", "settings", "on_front", "metric", "mean", "low", "high"]
    return pd.DataFrame(rows, columns=columns).astype({"low": "float64", "high": "float64"})


def candidates_table(advice: Advice) -> pd.DataFrame:
    """Everything that was run, a row each.

    Columns: `number, mechanism, settings, fresh, replications, meets`, then each metric's mean.
    """
    import pandas as pd  # noqa: PLC0415

    metrics = dict.fromkeys(name for e in advice.evaluations for name in e.metrics)
    rows = [
        {
            "number": number,
            "mechanism": e.mechanism,
            "settings": json.dumps(dict(e.settings)),
            "fresh": e.fresh,
            "replications": len(e.runs),
            "meets": not unmet(e, advice.requirements),
            **{metric: e.mean(metric) for metric in metrics},
        }
        for number, e in enumerate(advice.evaluations)
    ]
    return pd.DataFrame(rows)


def alternatives_table(advice: Advice) -> pd.DataFrame:
    """What a figure of the front shows: every choice, and what was rejected after a run.

    Columns: `label, mechanism, on_front, meets`, and each metric of the front with `{metric}_low` and
    `{metric}_high`. What misses a requirement is on no front.
    """
    import pandas as pd  # noqa: PLC0415

    rows = []
    front = _front(advice)
    run: list[Choice | Rejected] = [*advice.choices, *(r for r in advice.rejected if r.candidate is not None)]
    for number, each in enumerate(run):
        candidate = each.candidate
        assert candidate is not None
        row: dict[str, Any] = {
            "label": named(each),
            "mechanism": candidate.mechanism,
            "on_front": number < len(front) and front[number],
            "meets": number < len(front),
        }
        for metric in advice.metrics:
            e = candidate.evaluation.estimate(metric)
            row |= {metric: e.mean, f"{metric}_low": _known(e.low), f"{metric}_high": _known(e.high)}
        rows.append(row)
    return pd.DataFrame(rows)


def bills_document(found: Sequence[Bill]) -> dict[str, Any]:
    """The bills as ``cost --json`` tells them."""
    return {
        "results": [
            {
                "mechanism": bill.mechanism,
                "per_month": {item: _json(e) for item, e in bill.per_month.items()},
                "per_million_events": {item: _json(e) for item, e in bill.per_million_events.items()},
            }
            for bill in found
        ]
    }


def _front(advice: Advice) -> list[bool]:
    values = [measured(choice.candidate.evaluation, advice.metrics) for choice in advice.choices]
    return pareto_front(values, advice.metrics)


def _choice(rank: int, choice: Choice) -> dict[str, Any]:
    candidate = choice.candidate
    return {
        "rank": rank,
        "label": candidate.label,
        "mechanism": candidate.mechanism,
        "settings": dict(candidate.settings),
        "on_front": choice.on_front,
        "metrics": _metrics(candidate.evaluation),
        "reasons": [reason.to_json() for reason in choice.reasons],
    }


def _rejected(each: Rejected, advice: Advice) -> dict[str, Any]:
    candidate = each.candidate
    misses = [] if candidate is None else [r.text for r in unmet(candidate.evaluation, advice.requirements)]
    return {
        "label": each.label,
        "mechanism": each.label if candidate is None else candidate.mechanism,
        "settings": None if candidate is None else dict(candidate.settings),
        "misses": misses,
        "metrics": None if candidate is None else _metrics(candidate.evaluation),
        "reasons": [reason.to_json() for reason in each.reasons],
    }


def _metrics(evaluation: Evaluation) -> dict[str, dict[str, float | str | None]]:
    return {metric: _json(evaluation.estimate(metric)) for metric in evaluation.metrics}


def _json(e: Estimate) -> dict[str, float | str | None]:
    mean = None if math.isnan(e.mean) else e.mean
    return {"mean": mean, "low": e.low, "high": e.high, "method": str(e.method)}


def _known(value: float | None) -> float:
    return math.nan if value is None else value
