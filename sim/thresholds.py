"""Bounds on metrics as a user writes them: ``latency_p99_s<0.25``, of every arm, of one, or between two.

The one grammar of `hookbench load --threshold`, `race --threshold`, `capacity --slo` and `advise --require`.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sim.errors import InputError

THRESHOLD = re.compile(
    r"^\s*(?:(?P<arm>[a-z][a-z0-9_]*)\s*(?:-\s*(?P<minus>[a-z][a-z0-9_]*)\s*)?\.\s*)?"
    r"(?P<metric>[a-z][a-z0-9_]*)\s*(?P<sign><=|>=|<|>)\s*(?P<limit>[^\s<>=]+)\s*$"
)
GRAMMAR = "[ARM.]METRIC<NUMBER or ARM-ARM.METRIC<NUMBER (or <=, >, >=)"
GRAMMAR_WITHOUT_ARMS = "METRIC<NUMBER (or <=, >, >=)"


@dataclass(frozen=True)
class Threshold:
    """A bound on one metric, such as ``latency_p99_s<0.25``.

    Of every arm that measures it; of one (``webhook.latency_p99_s<0.25``); or of the difference between
    two arms of a race (``webhook-polling.latency_p50_s<0``). The metric may be a count of the ledger.

    On a latency every request or delivery counts: what failed, timed out or was never delivered misses
    the bound, whatever it is (`sim.metrics.judged_latency_metrics`). An undefined metric misses it too.
    """

    text: str
    metric: str
    sign: str
    limit: float
    arm: str | None = None
    minus: str | None = None

    @property
    def is_upper(self) -> bool:
        """Whether the metric must stay below the limit, not above it."""
        return self.sign.startswith("<")

    def met_by(self, value: float | None) -> bool:
        """Whether a measured value keeps the bound; an unmeasured, NaN or infinite one never does."""
        if value is None or not math.isfinite(value):
            return False
        return {
            "<": value < self.limit,
            "<=": value <= self.limit,
            ">": value > self.limit,
            ">=": value >= self.limit,
        }[self.sign]

    def values(self, metrics_by_arm: Mapping[str, Mapping[str, float]]) -> dict[str, float | None]:
        """What the bound is on: by arm ("a-b" for a difference), None where it was not measured.

        A metric that no arm measured stands under the arm name "none".
        """
        if self.arm is not None:
            value = metrics_by_arm.get(self.arm, {}).get(self.metric)
            if self.minus is None:
                return {self.arm: value}
            other = metrics_by_arm.get(self.minus, {}).get(self.metric)
            return {f"{self.arm}-{self.minus}": None if value is None or other is None else value - other}
        measured: dict[str, float | None] = {
            arm: metrics[self.metric] for arm, metrics in metrics_by_arm.items() if self.metric in metrics
        }
        return measured or {"none": None}


def parse_threshold(
    text: str, known: Sequence[str], arms: Sequence[str] = (), *, option: str = "--threshold"
) -> Threshold:
    """Read ``[ARM.]METRIC<NUMBER`` or ``ARM-ARM.METRIC<NUMBER`` (or <=, >, >=).

    Args:
        text: as the user wrote it.
        known: names of metrics that may be used.
        arms: those of the run; none where a bound holds for whatever there is.
        option: which option it was given to, for the message.

    Raises:
        InputError: another form, an unknown metric (the nearest known one is named), an arm that does
            not run, or a limit that is not a number.
    """
    match = THRESHOLD.match(text)
    if match is None:
        grammar = GRAMMAR if arms else GRAMMAR_WITHOUT_ARMS
        raise InputError(f"{option} {text!r}: expected {grammar}, as latency_p99_s<0.25")
    metric, sign, limit = match["metric"], match["sign"], match["limit"]
    if metric not in known:
        nearest = difflib.get_close_matches(metric, known, n=1, cutoff=0.4)
        hint = f"did you mean {nearest[0]!r}?" if nearest else f"known: {', '.join(known)}"
        raise InputError(f"{option} {text!r}: no metric is called {metric!r}; {hint}")
    for arm in (match["arm"], match["minus"]):
        if arm is not None and not arms:
            raise InputError(f"{option} {text!r}: the bound holds for every way; leave out {arm!r}")
        if arm is not None and arm not in arms:
            raise InputError(f"{option} {text!r}: no arm {arm!r} in this run; it has {', '.join(arms)}")
    if match["arm"] is not None and match["arm"] == match["minus"]:
        raise InputError(f"{option} {text!r}: the difference of {match['arm']} from itself is 0")
    try:
        number = float(limit)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise InputError(f"{option} {text!r}: {limit!r} is not a number") from None
    return Threshold(text.strip(), metric, sign, number, match["arm"], match["minus"])
