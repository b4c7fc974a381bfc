"""Polls that find nothing: two published shares, and what they say of how events arrive.

**What was claimed.** Zapier's campaign for REST hooks (2013) said that 98.5 % of its polls were wasted: they
found nothing new. Werner Vogels (2004) counted the requests for the feed of his own weblog, to which he
posted 3 to 4 times a week: over 85 % of them were answered "not changed"; about 90 % of those by readers
that polled at very short intervals, about 20 % of those by readers that polled once a week.

**How it is reproduced.** By the mechanism `polling` at random phase, whose `empty_ratio` is that share. Were
events Poisson at rate λ, a poll every T would find nothing with probability e^(−λT):

- 98.5 % is λT = 0.0151, say a poll every quarter of an hour for an event every sixteen and a half hours;
- at 3.5 posts a week, 99 % of polls every half hour would find nothing, and 3 % of those once a week.

**What we find.** Any arrivals make at least 1 − λT of the polls empty, so Zapier's share says little more
than that polls were 66 times as frequent as events. Vogels's shares say more: both ends of his curve
contradict Poisson posts. Twenty per cent of empty weeks means bursts and silences; on-off posts with an
index of dispersion of 3 (the variance of the posts in a long span is three times their number) make that
many. But bursts cannot explain the other end: a poll every half hour at 3.5 posts a week is empty in 98.96 %
of the cases at least, whatever the arrivals. Either those readers were sent what they already had (he counts
"not changed" answers, and a reader that does not ask conditionally never gets one), or the feed changed more
often than he posted.

**What differs.** Vogels read his graph "about"; we take that as ± 5 points. "Very short" is taken to be half
an hour, and the share over all readers, whose mix of intervals is not published, is held against one poll an
hour. No study behind Zapier's figure was ever published, so its λT is inferred, not checked.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from sim.engine import simulate
from sim.scenario import Scenario, scenario_from
from sim.studies.findings import Finding, Results

if TYPE_CHECKING:
    from sim.studies import Progress

QUARTER_S, HALF_HOUR_S, HOUR_S, WEEK_S = 900.0, 1800.0, 3600.0, 604_800.0
POSTS_PER_WEEK = 3.5
ZAPIER_EVENTS_PER_POLL = 0.0151

_NO_TIME = {"kind": "constant", "mean_s": 0.0}
_BLOG: dict[str, Any] = {"kind": "poisson", "rate_per_s": POSTS_PER_WEEK / WEEK_S}
_BURSTS: dict[str, Any] = {**_BLOG, "kind": "bursty", "dispersion": 3.0, "on_share": 0.2}
_ZAPIER: dict[str, Any] = {"kind": "poisson", "rate_per_s": ZAPIER_EVENTS_PER_POLL / QUARTER_S}


def scenario(workload: dict[str, Any], interval_s: float, polls: int) -> Scenario:
    """Somebody polls `polls` times, every `interval_s` from a random phase, and nothing takes time."""
    return scenario_from(
        {
            "name": "empty-polls",
            "title": "A feed that seldom changes, and somebody who asks",
            "workload": workload,
            "network": {"one_way": _NO_TIME},
            "polling": {"interval_s": interval_s, "phase": "random", "page_size": 1000},
            "receiver": {"service": _NO_TIME},
            "provider_api": {"service": _NO_TIME},
            "run": {"duration_s": polls * interval_s},
        }
    )


SCENARIOS: dict[str, Scenario] = {
    "zapier": scenario(_ZAPIER, QUARTER_S, 40_000),
    "half-hourly": scenario(_BLOG, HALF_HOUR_S, 20_000),
    "hourly": scenario(_BLOG, HOUR_S, 10_000),
    "weekly": scenario(_BLOG, WEEK_S, 400),
    "half-hourly, bursts": scenario(_BURSTS, HALF_HOUR_S, 20_000),
    "weekly, bursts": scenario(_BURSTS, WEEK_S, 400),
}


def run(seed: int, replications: int, progress: Progress) -> Results:
    """The share of empty polls in every scenario."""
    empty: dict[str, tuple[float, ...]] = {}
    for step, (name, studied) in enumerate(SCENARIOS.items()):
        outcome = simulate(studied, ["polling"], seed=seed, replications=replications, records=False)
        empty[name] = tuple(100.0 * share for share in outcome.metrics["polling"]["empty_ratio"])
        progress(step + 1, len(SCENARIOS))
    return judge(empty)


def judge(empty: dict[str, tuple[float, ...]]) -> Results:
    """What the shares, in per cent, say of each claim."""
    import pandas as pd  # noqa: PLC0415 - half a second that reading about studies need not wait for

    def share(
        key: str, claim: str, published: str, name: str, agrees: tuple[float, float] | None = None
    ) -> Finding:
        return Finding(key, claim, published, "share of polls that find nothing", empty[name], "%", agrees)

    findings = (
        share(
            "zapier", "Zapier: 98.5 % of polls are wasted (66 polls an event)", "98.5 %", "zapier",
            (98.45, 98.55),
        ),
        share(
            "overall", "Vogels: over 85 % of requests are answered \"not changed\" (here: hourly)", "> 85 %",
            "hourly", (85.0, math.inf),
        ),
        share(
            "short", "Vogels: about 90 % at very short intervals, were posts Poisson", "≈ 90 %",
            "half-hourly", (85.0, 95.0),
        ),
        share(
            "weekly", "Vogels: about 20 % once a week, were posts Poisson", "≈ 20 %", "weekly", (15.0, 25.0)
        ),
        share("weekly-bursts", "The same, if posts come in bursts (dispersion 3)", "", "weekly, bursts"),
        share("short-bursts", "At short intervals bursts change nothing", "", "half-hourly, bursts"),
    )  # fmt: skip
    rows = [(name, r, value / 100) for name, values in empty.items() for r, value in enumerate(values)]
    return Results(
        findings,
        {"runs": pd.DataFrame(rows, columns=["scenario", "replication", "empty_ratio"])},
        (
            "Whatever the arrivals, at least 1 − λT of the polls are empty: the share at short intervals "
            "tells the rate, only long intervals tell Poisson from bursts.",
            "Vogels counts 304 answers; a reader that does not ask conditionally gets none, which may "
            "explain fewer than 99 % at short intervals.",
            "The dispersion of 3 was chosen to meet the 20 %; it is an explanation, not a test.",
        ),
        SCENARIOS,
    )
