"""Whether a measurement may be believed, and whether it is good enough.

Three questions, in this order. Do the books balance (`Ledger`)? Is there a reason to distrust the
figures (`void_reasons`)? Were the user's thresholds met (`Threshold`)? Exit codes: 0 all good,
2 bad input, 3 void, 4 a threshold missed. A void run is void whatever its thresholds say.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields

from sim.errors import ThresholdMissed, VoidRun
from sim.thresholds import Threshold
from sim.thresholds import parse_threshold as read_threshold

GENERATOR_CPU_LIMIT = 0.90
LAG_P99_LIMIT_S = 0.010

RULES = {
    "interrupted": "the run reached its end",
    "ledger": "the ledger balances and no acknowledged event was lost",
    "unsent": "every scheduled request was sent",
    "unanswered": "some request succeeded",
    "event_loop": "every server ran on uvloop",
    "generator_cpu": f"the load generator used at most {GENERATOR_CPU_LIMIT:.0%} of a core",
    "generator_lag": "the load generator sent on time",
    "overflow": "every latency fits the histograms",
    "other": "nothing else went wrong with the measurement",
}
"""The void rules by name, and what holds when each is kept."""


class Reason(str):
    """A reason not to trust a run's figures, in words, that knows which of `RULES` was broken."""

    rule: str
    __slots__ = ("rule",)

    def __new__(cls, rule: str, words: str) -> Reason:
        """A reason under the rule of that name."""
        reason = super().__new__(cls, words)
        reason.rule = rule
        return reason


@dataclass(frozen=True)
class Ledger:
    """Where every scheduled request ended up, counted exactly after the drain.

    scheduled = sent + unsent; sent = acknowledged + refused + failed; acknowledged = visible + lost +
    repeated, where refused are forged requests that were turned away, as they should be, repeated are
    acknowledged requests for an event that another request had acknowledged, and lost
    means acknowledged by the receiver and never visible, which must not happen. In a race the requests
    are publications, and between publication and receiver stands a sender that may have `given_up` or
    left an event `pending` (backing off when the drain ended): both come to the right-hand side, and
    show as `lost_ratio` and `pending_ratio`; for a load they are None.
    Duplicates, as the inbox counted them, stand apart, and so do retries, further sendings of a request whose
    last answer decides. `visible`, `lost` and `duplicates` are None where the inbox
    belongs to somebody else (``--host``) or the arm stores nothing.
    `unacknowledged_visible` are events that became visible although their sender was told
    otherwise (an answer lost or late); they are outside the third identity.
    """

    scheduled: int
    sent: int
    unsent: int
    acknowledged: int
    failed: int
    visible: int | None = None
    lost: int | None = None
    duplicates: int | None = None
    unacknowledged_visible: int | None = None
    given_up: int | None = None
    pending: int | None = None
    refused: int | None = None
    repeated: int | None = None
    retries: int | None = None
    forgeries_acknowledged: int | None = None

    def mismatches(self) -> list[str]:
        """The identities that do not hold, in words; empty when the books balance."""
        found = []
        if self.scheduled != self.sent + self.unsent:
            found.append(f"{self.scheduled} scheduled, but {self.sent} sent + {self.unsent} unsent")
        if self.sent != self.acknowledged + (self.refused or 0) + self.failed:
            found.append(
                f"{self.sent} sent, but {self.acknowledged} acknowledged + "
                + (f"{self.refused} refused + " if self.refused else "")
                + f"{self.failed} failed"
            )
        if self.visible is not None and self.lost is not None:
            undelivered = (self.given_up or 0) + (self.pending or 0)
            if self.acknowledged != self.visible + self.lost + (self.repeated or 0) + undelivered:
                found.append(
                    f"{self.acknowledged} acknowledged, but {self.visible} visible + {self.lost} lost"
                    + (f" + {self.repeated} repeated" if self.repeated else "")
                    + (f" + {undelivered} given up or pending" if undelivered else "")
                )
            if self.lost > 0:
                found.append(f"{self.lost} acknowledged events never became visible")
        if self.forgeries_acknowledged:
            found.append(f"{self.forgeries_acknowledged} forged requests were acknowledged")
        return found

    def as_dict(self) -> dict[str, int | None]:
        """For `--json` and run.json."""
        return asdict(self)


LEDGER_COUNTS = tuple(column.name for column in fields(Ledger))
"""The counts of a ledger by name; a threshold may use each as a metric (of a race, summed over its runs)."""


def void_reasons(
    ledger: Ledger,
    *,
    loops: Mapping[str, str] | None = None,
    generator_cpu: float | None = None,
    lag_p99_s: float | None = None,
    lag_limit_s: float = LAG_P99_LIMIT_S,
    generator_wait_s: float | None = None,
    failures: Mapping[str, int] | None = None,
    interrupted: bool = False,
    overflow: str | None = None,
    others: Iterable[str] = (),
) -> list[Reason]:
    """Every reason not to trust the figures, in words; empty when the run is sound.

    Args:
        ledger: the counted requests.
        loops: event loop that each server reported running, by role.
        generator_cpu: CPU-seconds a second of the load generator, 1.0 being one whole core.
        lag_p99_s: 99th percentile of how late requests left.
        lag_limit_s: the most of it that is tolerable.
        generator_wait_s: how long the generator was ready to run but had no core; said with the lag.
        failures: kinds of failure and how often, from `Samples.failures`.
        interrupted: the run did not reach its end.
        overflow: a latency that no histogram could hold, in words.
        others: further reasons, passed through.
    """
    reasons: list[Reason] = []

    def broken(rule: str, words: str) -> None:
        reasons.append(Reason(rule, words))

    if interrupted:
        broken("interrupted", "the run was interrupted before its end")
    for mismatch in ledger.mismatches():
        broken("ledger", f"the ledger does not balance: {mismatch}")
    if ledger.unsent:
        broken(
            "unsent",
            f"{ledger.unsent} of {ledger.scheduled} requests could not be sent before the run ended "
            "(the server or the pool was too slow)",
        )
    if ledger.sent and not ledger.acknowledged:
        kinds = ", ".join(f"{kind} ×{count}" for kind, count in (failures or {}).items())
        broken("unanswered", f"all {ledger.sent} requests failed ({kinds or 'no answer'})")
    for role, loop in (loops or {}).items():
        if loop != "uvloop":
            broken("event_loop", f"the {role} ran on {loop}, not on uvloop")
    if generator_cpu is not None and generator_cpu > GENERATOR_CPU_LIMIT:
        broken(
            "generator_cpu",
            f"the load generator used {generator_cpu:.0%} of a core (limit {GENERATOR_CPU_LIMIT:.0%}): "
            "it, not the server, was the bottleneck",
        )
    if lag_p99_s is not None and lag_p99_s > lag_limit_s:
        waited = "" if generator_wait_s is None else f"; it waited {generator_wait_s:.2f} s for a core"
        broken(
            "generator_lag",
            f"the load generator sent late: {lag_p99_s * 1e3:.1f} ms (p99; limit {lag_limit_s * 1e3:g} ms)"
            f"{waited}",
        )
    if overflow:
        broken("overflow", overflow)
    for other in others:
        broken("other", other)
    return reasons


@dataclass(frozen=True)
class ThresholdResult:
    """One threshold held against one arm's measurement; `value` None where it is undefined."""

    arm: str
    threshold: str
    value: float | None
    met: bool


def parse_threshold(
    text: str, known_metrics: Sequence[str], arms: Sequence[str], *, option: str = "--threshold"
) -> Threshold:
    """A threshold on a metric or on a count of the ledger (`sim.thresholds.parse_threshold`).

    Raises:
        InputError: as there.
    """
    return read_threshold(text, (*known_metrics, *LEDGER_COUNTS), arms, option=option)


def judge(
    thresholds: Iterable[Threshold], metrics_by_arm: Mapping[str, Mapping[str, float]]
) -> list[ThresholdResult]:
    """Hold every threshold against every arm, or pair of arms, that it is about."""
    results = []
    for threshold in thresholds:
        for arm, value in threshold.values(metrics_by_arm).items():
            known = value if value is not None and math.isfinite(value) else None
            results.append(ThresholdResult(arm, threshold.text, known, threshold.met_by(value)))
    return results


def exit_code(void: Sequence[str], thresholds: Iterable[ThresholdResult]) -> int:
    """0 good, 3 void, 4 a threshold missed; void comes first."""
    if void:
        return VoidRun.exit_code
    return ThresholdMissed.exit_code if any(not result.met for result in thresholds) else 0
