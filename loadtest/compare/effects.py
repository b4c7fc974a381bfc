"""By how much a metric changed from one run to another, how sure that is, and whether it is for the better.

Two sources of certainty, the better one first:

- *runs*: three or more repetitions on either side. Each gives one value; over them runs Student's t, paired
  where repetition r of both had the same events, else Welch's (B. L. Welch, "The generalization of Student's
  problem when several different population variances are involved", Biometrika 34, 1947).
- *blocks*: the raw latencies of the runs, resampled in blocks (`loadtest.resampling`), event by event in
  pairs where both runs share their schedule. What would differ between two runs of the same thing is not in
  such an interval, so it is the narrower one.

A metric with neither has a value on both sides and no verdict.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from loadtest.resampling import Interval, block_length, cliffs_delta, intervals
from loadtest.runs import Latencies, RecordedRun
from loadtest.schedule import FloatArray, IntArray
from sim.experiment import estimate
from sim.metrics import QUANTILE_METHOD
from sim.metrics.directions import GOOD as OF_MODELS

LEAST_REPETITIONS = 3
LEAST_EVENTS = 50
"""Of fewer raw latencies nothing is resampled."""

SAME_SCHEDULE_S = 5e-6
"""Schedules that differ by less are one: each is rounded to whole microseconds."""

QUANTILES = {"p50": 0.5, "p95": 0.95, "p99": 0.99}
LATENCIES = ("latency", "visible_latency")
"""The latencies that are compared; the uncorrected one is there to be seen, not to be believed."""

FAILED = {"latency": "failed_ratio", "visible_latency": "undelivered_ratio"}
"""The share of a latency's events that are infinitely late; in a race ``latency`` is that of deliveries."""


class Verdict(StrEnum):
    """What an interval says of a metric."""

    BETTER = "better"
    WORSE = "worse"
    DIFFERENT = "different"
    NOT_SHOWN = "no difference shown"
    NOISE = "within the noise"
    NOT_JUDGED = "not judged"


class Kind(StrEnum):
    """How two values are compared: b / a, b − a, or over all pairs of events (Cliff's delta)."""

    RATIO = "ratio"
    DIFFERENCE = "difference"
    DELTA = "cliffs_delta"


NEUTRAL = {Kind.RATIO: 1.0, Kind.DIFFERENCE: 0.0, Kind.DELTA: 0.0}
NEGLIGIBLE = {Kind.RATIO: 0.02, Kind.DIFFERENCE: 0.001, Kind.DELTA: 0.147}
"""An interval wholly within this much of no change is noise: 2 %, 0.1 percentage points, and what J. Romano
et al. ("Appropriate statistics for ordinal level data", Florida Association of Institutional Research,
2006) call a negligible Cliff's delta."""

_LESS = (
    *(f"{prefix}_{name}_s" for prefix in LATENCIES for name in ("mean", "p50", "p95", "p99", "max")),
    *(f"{prefix}_cliffs_delta" for prefix in LATENCIES),
    *FAILED.values(),
    *("retries_per_event", "queued_ratio"),
    *(
        f"{role}_{name}"
        for role in ("provider", "receiver", "broker")
        for name in ("cpu_s_per_1k", "cpu_share", "rss_mb", "switches_per_1k")
    ),
)
GOOD: dict[str, str] = {**OF_MODELS, **dict.fromkeys(_LESS, "less"), "achieved_rate_per_s": "more"}
"""Which way each metric is good. What is not here (the generator's own lag, a server's utilisation, how long
it waited for a core, how soon a forgery is refused) may differ, but is neither better nor worse."""

_ROUNDING = 1e-9
_IGNORED = ("uncorrected_latency",)


@dataclass(frozen=True)
class Effect:
    """One metric of one arm in both runs.

    Attributes:
        arm, metric: which.
        kind: how the two are compared.
        a, b: the metric's value in each run, the mean over its repetitions (the geometric one where the
            change is a ratio over repetitions); NaN for Cliff's delta.
        change: the size of the effect, by `kind`.
        basis: "runs" or "blocks", what the interval comes from; "" without one.
        verdict: see `Verdict`.
    """

    arm: str
    metric: str
    kind: Kind
    a: float
    b: float
    change: Interval
    basis: str
    verdict: Verdict

    @property
    def is_nothing(self) -> bool:
        """Whether nothing changed, in any repetition, but for rounding."""
        off = [abs(each - NEUTRAL[self.kind]) for each in (self.change.low, self.change.high)]
        return max(off) <= _ROUNDING

    def worse_by(self) -> float:
        """By which share (a difference: by how much) b is worse than a; at most 0 when it is not."""
        good = GOOD.get(self.metric)
        if self.kind is Kind.DELTA or good is None or math.isnan(self.change.value):
            return 0.0
        if self.kind is Kind.RATIO and good == "more":
            return math.inf if self.change.value == 0 else 1 / self.change.value - 1
        worse = self.change.value - NEUTRAL[self.kind]
        return worse if good == "less" else -worse


def effects(a: RecordedRun, b: RecordedRun, arm: str, confidence: float) -> list[Effect]:
    """Every metric of an arm that both runs have: latencies first, in the order of the first run."""
    raw = _of_raw(a, b, arm, confidence)
    found: dict[str, Effect] = {each.metric: each for each in raw}
    shared_events = _same_events(a, b)
    means = [_means(run, arm) for run in (a, b)]
    for metric, value in means[0].items():
        if metric in means[1] and not metric.startswith(_IGNORED):
            values = [[r.metrics[metric] for r in run.of(arm) if metric in r.metrics] for run in (a, b)]
            of_runs = _of_repetitions(values, metric, shared_events, confidence)
            if of_runs is not None:
                kind, change = of_runs
                before, after = (_middle(side, kind) for side in values)
                found[metric] = _effect(arm, metric, kind, before, after, change, "runs")
            elif metric not in found:
                kind = _kind(metric, [value, means[1][metric]])
                change = Interval(_change(kind, value, means[1][metric]), math.nan, math.nan)
                found[metric] = _effect(arm, metric, kind, value, means[1][metric], change, "")
    return list(found.values())


def judge(metric: str, kind: Kind, change: Interval) -> Verdict:
    """The verdict on a change with its interval."""
    if math.isnan(change.low) or math.isnan(change.high):
        return Verdict.NOT_JUDGED
    neutral, margin = NEUTRAL[kind], NEGLIGIBLE[kind]
    least, most = (1 / (1 + margin), 1 + margin) if kind is Kind.RATIO else (-margin, margin)
    if least <= change.low and change.high <= most:
        return Verdict.NOISE
    if change.low <= neutral <= change.high:
        return Verdict.NOT_SHOWN
    good = GOOD.get(metric)
    if good is None:
        return Verdict.DIFFERENT
    return Verdict.BETTER if (change.high < neutral) == (good == "less") else Verdict.WORSE


def _effect(arm: str, metric: str, kind: Kind, a: float, b: float, change: Interval, basis: str) -> Effect:
    verdict = judge(metric, kind, change)
    return Effect(
        arm, metric, kind, a, b, change, basis if verdict is not Verdict.NOT_JUDGED else "", verdict
    )


def _means(run: RecordedRun, arm: str) -> dict[str, float]:
    rows = run.summary[run.summary["arm"] == arm]
    return {str(name): float(mean) for name, mean in zip(rows["metric"], rows["mean"], strict=True)}


def _kind(metric: str, values: Sequence[float]) -> Kind:
    """Shares are subtracted, since they may be 0 and mean something as they are; the rest is divided."""
    share = metric.endswith(("_ratio", "_share", "_utilisation")) or metric in ("freshness", "fairness")
    return Kind.DIFFERENCE if share or not all(value > 0 for value in values) else Kind.RATIO


def _change(kind: Kind, a: float, b: float) -> float:
    return b / a if kind is Kind.RATIO else b - a


# -- over repetitions ------------------------------------------------------------------------------


def _of_repetitions(
    values: list[list[float]], metric: str, paired: bool, confidence: float
) -> tuple[Kind, Interval] | None:
    """The change over repetitions; None with too few of them, or where one is undefined."""
    if min(map(len, values)) < LEAST_REPETITIONS or not np.isfinite(values[0] + values[1]).all():
        return None
    kind = _kind(metric, values[0] + values[1])
    a, b = (np.log(side) if kind is Kind.RATIO else np.array(side) for side in values)
    if paired and len(a) == len(b):
        of_pairs = estimate(list(b - a), confidence)
        middle, low, high = of_pairs.mean, of_pairs.low, of_pairs.high
    else:
        middle, low, high = _welch(a, b, confidence)
    assert low is not None
    assert high is not None
    if kind is Kind.RATIO:
        return kind, Interval(math.exp(middle), math.exp(low), math.exp(high))
    return kind, Interval(middle, low, high)


def _middle(values: Sequence[float], kind: Kind) -> float:
    return float(np.exp(np.mean(np.log(values))) if kind is Kind.RATIO else np.mean(values))


def _welch(a: FloatArray, b: FloatArray, confidence: float) -> tuple[float, float, float]:
    from scipy.special import stdtrit  # noqa: PLC0415 - slow to import

    of_means = [float(np.var(side, ddof=1)) / side.size for side in (a, b)]
    middle, variance = float(b.mean() - a.mean()), sum(of_means)
    if variance == 0:
        return middle, middle, middle
    freedom = variance**2 / sum(v**2 / (side.size - 1) for v, side in zip(of_means, (a, b), strict=True))
    half = float(stdtrit(freedom, (1 + confidence) / 2)) * math.sqrt(variance)
    return middle, middle - half, middle + half


# -- over blocks of raw latencies ------------------------------------------------------------------


def _of_raw(a: RecordedRun, b: RecordedRun, arm: str, confidence: float) -> list[Effect]:
    series = [[r.latencies(run.warmup_s) for r in run.of(arm)] for run in (a, b)]
    found: list[Effect] = []
    for prefix in LATENCIES:
        sides = [[each[prefix] for each in side if prefix in each] for side in series]
        if min(sum(each.event.size for each in side) for side in sides) >= LEAST_EVENTS:
            race = prefix == "latency" and a.kind != "load"
            found += _of_latency(
                arm, prefix, sides, FAILED["visible_latency" if race else prefix], confidence
            )
    return found


def _of_latency(
    arm: str, prefix: str, sides: list[list[Latencies]], failed: str, confidence: float
) -> list[Effect]:
    """Mean, quantiles, Cliff's delta and, where any failed, the failures of one latency."""
    names = [f"{prefix}_mean_s", *(f"{prefix}_{name}_s" for name in QUANTILES)]
    a, b = (np.concatenate([each.latency_s for each in side]) for side in sides)
    any_failed = bool(np.isinf(a).any() or np.isinf(b).any())

    def statistics(i: IntArray, j: IntArray) -> FloatArray:
        one, other = a[i], b[j]
        with np.errstate(invalid="ignore", divide="ignore"):  # failures: no number, hence not judged
            ratios = _location(other) / _location(one)
        shares = [float(np.isinf(other).mean() - np.isinf(one).mean())] if any_failed else []
        return np.array([*ratios, cliffs_delta(one, other), *shares])

    changes = intervals(
        statistics,
        (a.size, b.size),
        (_block(sides[0]), _block(sides[1])),
        paired=_share_schedule(*sides),
        confidence=confidence,
    )
    values = [_location(a), _location(b)]
    found = [
        _effect(arm, name, Kind.RATIO, float(values[0][k]), float(values[1][k]), changes[k], "blocks")
        for k, name in enumerate(names)
    ]
    delta = changes[len(names)]
    found.append(_effect(arm, f"{prefix}_cliffs_delta", Kind.DELTA, math.nan, math.nan, delta, "blocks"))
    if any_failed:
        before, after = (float(np.isinf(side).mean()) for side in (a, b))
        found.append(_effect(arm, failed, Kind.DIFFERENCE, before, after, changes[-1], "blocks"))
    return found


def _location(latency_s: FloatArray) -> FloatArray:
    """Mean and quantiles: a quantile is infinite as soon as a failure reaches into it, the mean undefined."""
    with np.errstate(invalid="ignore"):
        quantiles = np.quantile(latency_s, list(QUANTILES.values()), method=QUANTILE_METHOD)
    mean = math.nan if np.isinf(latency_s).any() else float(latency_s.mean())
    return np.array([mean, *np.where(np.isnan(quantiles), math.inf, quantiles)])


def _block(side: Sequence[Latencies]) -> int:
    """A block of the repetitions laid end to end, as long as suits the shortest."""
    return min(block_length(each.created_s) for each in side)


def _share_schedule(a: Sequence[Latencies], b: Sequence[Latencies]) -> bool:
    """Whether element i of both sides is the same event, due at the same time."""
    return len(a) == len(b) and all(
        np.array_equal(one.event, other.event)
        and np.allclose(one.created_s, other.created_s, rtol=0, atol=SAME_SCHEDULE_S)
        for one, other in zip(a, b, strict=True)
    )


def _same_events(a: RecordedRun, b: RecordedRun) -> bool:
    """Whether repetition r of both runs had the same events, by what decides them: scenario and seeds."""
    one, other = a.folder.document, b.folder.document
    digests = [document["scenario"]["digest"] for document in (one, other)]
    return bool(digests[0] == digests[1] and one["seeds"] == other["seeds"])
