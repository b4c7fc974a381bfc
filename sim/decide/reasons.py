"""Why a mechanism was chosen or not: facts with their figures, and each as a sentence.

Code and tests read the figures; people read `Reason.text`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from sim.decide.requirement import Requirement
from sim.experiment import Estimate
from sim.tables import estimate_text, number_text

Kind = Literal[
    "met",
    "missed",
    "no_inbound",
    "not_offered",
    "needs_provider",
    "offered",
    "longest",
    "rate_limit",
    "provider_interval",
    "poller_interval",
    "api_capacity",
    "effort",
    "horizon",
    "diminishing",
    "conflict",
    "waste",
    "rejections",
    "duplicates",
    "tail",
    "policy_suffices",
    "policy_fixed",
    "by_hand",
    "remedy",
    "workers",
    "down",
    "pending",
    "evidence",
    "confirmed",
    "unconfirmed",
    "dominated",
]
"""What a reason is about:

met, missed: a requirement, judged by the unfavourable end of the interval. no_inbound: the consumer cannot
be called. not_offered, offered, needs_provider: whether the provider has this way, by a source, or must be
asked. longest: the interval found, and the next one, which is too long. rate_limit, provider_interval,
poller_interval, api_capacity, effort: what keeps polls from being more frequent. horizon, diminishing: what
keeps them from being less frequent. conflict: two requirements that no interval keeps together. waste:
empty polls. rejections: answers 429 and 503. duplicates: copies to be recognised. tail: the slow hundredth.
policy_suffices, policy_fixed, by_hand: the sender's retries. remedy: a change at the consumer or of a
policy that made the difference. workers: the fewest that would do. down: the receiver's own absence.
pending: what had not come by the end. evidence: how little a run without a loss shows. confirmed,
unconfirmed: what a run on other random numbers said. dominated: somebody is at least as good in all and
better in one.
"""


@dataclass(frozen=True)
class Reason:
    """One fact.

    Attributes:
        kind: what it is about.
        text: as a sentence without its full stop.
        metric: the metric or scenario key that it is about.
        value: what was found; of a requirement the unfavourable end.
        bound: what it is held against.
        by: by how much a requirement is missed, as a share of its limit.
    """

    kind: Kind
    text: str
    metric: str | None = None
    value: float | str | None = None
    bound: float | str | None = None
    by: float | None = field(default=None)

    def to_json(self) -> dict[str, Any]:
        """As a document; what is not finite becomes null."""
        return {
            "kind": self.kind,
            "text": self.text,
            "metric": self.metric,
            "value": _finite(self.value),
            "bound": _finite(self.bound),
            "by": _finite(self.by),
        }


def judged(requirement: Requirement, e: Estimate) -> Reason:
    """Whether a requirement is met, with mean, interval and limit."""
    metric, bound = requirement.metric, requirement.bound
    met = requirement.met_by(e)
    found = "without end (some event never came)" if math.isinf(e.mean) else estimate_text(e, metric)
    limit = value_text(bound.limit, metric)
    text = f"{metric} {found} {bound.sign} {limit}"
    if not met:
        text = f"{metric} {found}, not {bound.sign} {limit}{_beyond(requirement, e)}"
    by = None if met else requirement.miss(e)
    return Reason("met" if met else "missed", text, metric, requirement.unfavourable(e), bound.limit, by)


def _beyond(requirement: Requirement, e: Estimate) -> str:
    """By how much a bound is missed, in words; nothing where that says nothing."""
    miss, bound = requirement.miss(e), requirement.bound
    if bound.limit <= 0 or not 0.005 <= miss < math.inf:
        return ""
    if miss >= 1 and bound.is_upper:
        return f" ({number_text(miss + 1, 2)} times as much)"
    return f" ({percent(miss)} beyond)"


def percent(share: float) -> str:
    """A share in per cent, two digits."""
    return f"{number_text(100 * share, 2)} %"


def value_text(value: float, metric: str) -> str:
    """A value of a metric in a readable unit."""
    if math.isinf(value):
        return "without end"
    return estimate_text(Estimate(value, None, None), metric)


def interval_text(seconds: float) -> str:
    """A duration as one would say it: 12 s, 5 min, 2 h."""
    for unit_s, unit, fewest in ((86_400.0, "days", 2), (3600.0, "h", 1), (60.0, "min", 2)):
        if seconds >= fewest * unit_s:
            return f"{number_text(seconds / unit_s, 2)} {unit}"
    return f"{number_text(seconds, 2)} s"


def settings_text(settings: Mapping[str, Any]) -> str:
    """What is set, in words, for a table."""
    told = []
    most_s, least_s = (settings.get(f"adaptive_polling.{end}_interval_s") for end in ("max", "min"))
    if most_s is not None and least_s is not None:
        between = "" if least_s == most_s else f"{interval_text(least_s)} to "
        return f"every {between}{interval_text(most_s)}"
    for key, value in settings.items():
        name = _NAMES.get(key, key)
        is_time = isinstance(value, int | float) and not isinstance(value, bool) and key.endswith("_s")
        if name:
            told.append(f"{name} {interval_text(value) if is_time else value}".strip())
    return ", ".join(told) or "as it is"


_NAMES = {
    "polling.interval_s": "every",
    "reconciliation.interval_s": "reconcile every",
    "long_polling.hold_s": "hold",
    "long_polling.timeout_s": "",
    "polling.jitter_s": "",
    "receiver.acknowledge": "acknowledge",
    "receiver.workers": "workers",
    "receiver.queue_limit": "queue",
    "webhook.redelivery": "",
    "webhook.retry.max_attempts": "attempts",
    "webhook.retry.kind": "retry",
    "streaming.replay": "replay",
}


def _finite(value: float | str | None) -> float | str | None:
    return None if isinstance(value, float) and not math.isfinite(value) else value
