"""Freshness, age and age of information: what a subscriber's picture of the provider is like over time."""

from __future__ import annotations

from sim.metrics.digest import Digest
from sim.metrics.ratios import ratio
from sim.records import Window


def age_metrics(digest: Digest, window: Window) -> dict[str, float]:
    """Freshness, age, age of information and its peaks: averages over the window and the subscribers.

    Fresh: everything created so far is visible. Age: how long ago the oldest event not yet visible was
    created, 0 when fresh (Cho & Garcia-Molina, "Synchronizing a database to improve freshness", SIGMOD
    2000). Age of information: how long ago the newest visible event was created; its peaks are the
    values just before it drops (Kaul, Yates & Gruteser, INFOCOM 2012); what becomes visible at one instant
    is one update. All start with the state at 0 seen.
    """
    totals = digest.totals
    observed_s = window.length_s * len(digest.mean_latency_s)
    return {
        "freshness": 1.0 - totals.stale_s / observed_s,
        "age_mean_s": totals.age_s2 / observed_s,
        "aoi_mean_s": totals.aoi_s2 / observed_s,
        "peak_aoi_mean_s": ratio(totals.peak_sum_s, totals.peaks),
    }
