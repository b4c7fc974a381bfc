"""The arms of a race against each other, event by event: which is sooner, by how much, how surely."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from loadtest.report.distributions import FINE
from loadtest.report.metrics import Estimates, mean_text
from loadtest.report.plot import Curve, Figure, Ids, Panel, Plot, Table
from loadtest.report.scales import FloatArray, Scale, over, share_text, time_text
from loadtest.report.timelines import DOTS, ORIGIN
from loadtest.report.tradeoff import cpu_s_per_1k
from loadtest.report.words import listed
from loadtest.runs import RecordedRun
from sim.experiment import Estimate, estimate
from sim.metrics import QUANTILE_METHOD

POINTS = 400


@dataclass(frozen=True)
class Rival:
    """How much later an arm was than the fastest one, over the same events.

    Attributes:
        fastest, arm: the two.
        created_s, later_s: of every event visible by both, repetition after repetition: when it was
            created, and how much later the arm was; negative where it was sooner.
        of_runs: the mean of `later_s` in each repetition.
        mean: over repetitions, with its interval when there are several.
        missing: events that one of the two never made visible.
    """

    fastest: str
    arm: str
    created_s: FloatArray
    later_s: FloatArray
    of_runs: tuple[float, ...]
    mean: Estimate
    missing: int

    @property
    def sooner(self) -> float:
        """The share of events for which the fastest arm was sooner."""
        return float((self.later_s > 0).mean())

    @property
    def certain(self) -> bool:
        """Whether the interval leaves no doubt about the sign."""
        return self.mean.low is not None and self.mean.low > 0

    def interval_text(self) -> str:
        """The interval, and over what."""
        if self.mean.low is None or self.mean.high is None:
            return "no interval: that takes two runs or more"
        ends = f"{time_text(self.mean.low)} to {time_text(self.mean.high)}"
        return f"95 % interval {ends} over {len(self.of_runs)} runs"


def rivals(run: RecordedRun) -> list[Rival]:
    """The fastest arm by mean latency against each other one, the nearest first; empty without two arms."""
    by_arm = {arm: [each.latencies(run.warmup_s).get("latency") for each in run.of(arm)] for arm in run.arms}
    whole = {arm: [each for each in found if each is not None] for arm, found in by_arm.items()}
    means = {}
    for arm, found in whole.items():
        values = np.concatenate([each.latency_s for each in found]) if found else np.zeros(0)
        known = values[np.isfinite(values)]
        if known.size:
            means[arm] = float(known.mean())
    if len(means) < 2:
        return []
    fastest, *others = sorted(means, key=lambda arm: means[arm])
    made = []
    for arm in others:
        created, later, of_runs, missing = [], [], [], 0
        for quick, slow in zip(whole[fastest], whole[arm], strict=False):
            _, mine, theirs = np.intersect1d(quick.event, slow.event, assume_unique=True, return_indices=True)
            both = np.isfinite(quick.latency_s[mine] + slow.latency_s[theirs])
            missing += int((~both).sum())
            mine, theirs = mine[both], theirs[both]
            if mine.size:
                created.append(quick.created_s[mine])
                later.append(slow.latency_s[theirs] - quick.latency_s[mine])
                of_runs.append(float(later[-1].mean()))
        if of_runs:
            made.append(
                Rival(
                    fastest,
                    arm,
                    np.concatenate(created),
                    np.concatenate(later),
                    tuple(of_runs),
                    estimate(of_runs),
                    missing,
                )
            )
    return made


def finding(found: Sequence[Rival]) -> str:
    """Which way is better, by how much, in a sentence with figures and interval."""
    fastest = found[0].fastest
    alike = [rival.arm for rival in found if not rival.later_s.any()]
    others = [rival for rival in found if rival.later_s.any()]
    if not others:
        return f"{' and '.join([fastest, *alike])} are alike: each event was visible at the same instant."
    nearest = others[0]
    who = f"{fastest} (and, alike to the instant, {', '.join(alike)})" if alike else fastest
    sooner = (
        f"{time_text(nearest.mean.mean)} sooner than by {nearest.arm} on average ({nearest.interval_text()})"
    )
    share = f"sooner for {share_text(nearest.sooner)} of {nearest.later_s.size:,} events"
    rest = "" if len(found) == 1 else f" It is the fastest of {len(found) + 1} arms."
    if nearest.mean.low is None:
        return f"In this one run {who} was faster: an event was visible {sooner}, and {share}.{rest}"
    if nearest.certain:
        return f"{who} is faster: an event was visible {sooner}, and {share}.{rest}"
    return (
        f"No difference in latency between {who} and {nearest.arm} is proven: by {fastest} an event was "
        f"visible {sooner}, an interval that holds 0; it was {share}."
    )


def price(arms: Sequence[str], estimates: Estimates) -> tuple[str, ...]:
    """Which arm cost the servers least, and what never came, in sentences."""
    cpu_s = cpu_s_per_1k(estimates)
    told = []
    if len(cpu_s) > 1:
        cheapest, *others = sorted(cpu_s, key=lambda arm: cpu_s[arm])
        against = listed([f"{time_text(cpu_s[arm])} by {arm}" for arm in others])
        told.append(
            f"{cheapest} is cheapest for the servers: provider and receiver together used "
            f"{time_text(cpu_s[cheapest])} of CPU per 1,000 events, against {against}."
        )
    lost = [
        f"{mean_text(estimates[arm], 'lost_ratio')} by {arm}"
        for arm in arms
        if "lost_ratio" in estimates[arm] and estimates[arm]["lost_ratio"].mean > 0
    ]
    return (*told, f"Lost: {', '.join(lost)}.") if lost else tuple(told)


def table(found: Sequence[Rival]) -> Table:
    """Each arm against the fastest one."""
    rows = []
    for rival in found:
        low, middle, high = (
            float(np.quantile(rival.later_s, q, method=QUANTILE_METHOD)) for q in (0.05, 0.5, 0.95)
        )
        rows.append(
            (
                rival.arm,
                time_text(rival.mean.mean),
                rival.interval_text(),
                time_text(middle),
                f"{time_text(low)} to {time_text(high)}",
                share_text(rival.sooner),
                f"{rival.later_s.size:,}",
                f"{rival.missing:,}",
            )
        )
    head = (
        "arm", "later on average", "how sure", "median", "middle 90 % of events",
        f"{found[0].fastest} sooner for", "events", "not visible by both",
    )  # fmt: skip
    return Table(f"later than {found[0].fastest}, paired by event", head, tuple(rows))


def figures(
    found: Sequence[Rival], looks: Mapping[str, str], ids: Ids, *, void: bool, time_title: str = ORIGIN
) -> tuple[Figure, ...]:
    """The paired differences: their distribution, and one by one as the events were created."""
    fastest = found[0].fastest
    x = over(np.concatenate([rival.later_s for rival in found]), "time", kind="linear")
    curves = []
    for rival in found:
        ordered = np.sort(rival.later_s)
        chosen = np.unique(np.linspace(0, ordered.size - 1, min(POINTS, ordered.size)).astype(np.int64))
        share = (chosen + 1) / ordered.size
        curves.append(
            Curve(
                rival.arm,
                rival.arm,
                np.concatenate([ordered[chosen][:1], ordered[chosen]]),
                np.concatenate([[0.0], share]),
                looks[rival.arm],
                "line" if chosen.size > FINE else "step",
                rival.arm,
            )
        )
    panel = Panel("share of events", Scale("linear", 0, 1.03, "share"), tuple(curves), height=220)
    nearest = found[0]
    marks = [(0.0, "")]
    if len(found) == 1:
        marks.append((nearest.mean.mean, f"mean: {time_text(nearest.mean.mean)}"))
    plot = Plot(
        x, f"how much later than by {fastest}", (panel,), labels="along", marks=tuple(marks), void=void
    )
    told = listed(
        [
            f"{time_text(rival.mean.mean)} by {rival.arm} ({share_text(rival.sooner)} of events)"
            for rival in found
        ]
    )
    spread = Figure(
        ids.new("differences"), f"Later than by {fastest}, on average and for how many events: {told}.",
        f"Both arms had the same events; each is compared with itself. Right of 0, {fastest} was sooner.",
        plot, table(found), "Paired differences",
    )  # fmt: skip
    return spread, _over_time(found, looks, ids, time_title, void=void)


def _over_time(
    found: Sequence[Rival], looks: Mapping[str, str], ids: Ids, time_title: str, *, void: bool
) -> Figure:
    fastest = found[0].fastest
    y = over(np.concatenate([rival.later_s for rival in found]), "time", kind="linear")
    curves = []
    for rival in found:
        order = np.argsort(rival.created_s, kind="stable")
        order = order[:: max(1, order.size // DOTS)]
        curves.append(
            Curve(
                rival.arm, rival.arm, rival.created_s[order], rival.later_s[order], looks[rival.arm], "dots",
                rival.arm, read=False,
            )
        )  # fmt: skip
    panel = Panel(f"how much later than by {fastest}", y, tuple(curves), ((0.0, ""),), height=200)
    end_s = max(float(rival.created_s.max()) for rival in found)
    plot = Plot(Scale("linear", 0.0, end_s or 1.0, "number"), time_title, (panel,), zooms=True, void=void)
    worst = max(found, key=lambda rival: float(rival.later_s.max()))
    place = int(np.argmax(worst.later_s))
    told = (
        f"The largest difference was {time_text(float(worst.later_s[place]))}, by {worst.arm}, for an event "
        f"created at {worst.created_s[place]:.3g} s."
    )
    rows = tuple(
        (
            rival.arm,
            *(time_text(float(value)) for value in (rival.later_s.min(), rival.later_s.max())),
            f"{rival.created_s[int(np.argmax(rival.later_s))]:.3g} s",
        )
        for rival in found
    )
    extremes = Table("extremes of the differences", ("arm", "least", "most", "most at"), rows)
    how = f"A dot an event, of every repetition, at most about {DOTS} an arm; above 0, {fastest} was sooner."
    return Figure(ids.new("differences-time"), told, how, plot, extremes, "Differences over time")
