"""Freshness, age and age of information: what a subscriber's picture of the provider is like over time."""

from __future__ import annotations

from sim.metrics.ratios import ratio
from sim.metrics.scans import age_of_information, staleness
from sim.records import Deliveries, Window


def age_metrics(deliveries: Deliveries, window: Window) -> dict[str, float]:
    """Freshness, age, age of information and its peaks: averages over the window and the subscribers.

    Fresh: everything created so far is visible. Age: how long ago the oldest event not yet visible was
    created, 0 when fresh (Cho & Garcia-Molina, "Synchronizing a database to improve freshness", SIGMOD
    2000). Age of information: how long ago the newest visible event was created; its peaks are the
    values just before it drops (Kaul, Yates & Gruteser, INFOCOM 2012); what becomes visible at one instant
    is one update. All start with the state at 0 seen.
    """
    stale_s, age_s2 = staleness(*deliveries.scanned, window.start_s, window.end_s)
    aoi_s2, peak_sum_s, peaks = age_of_information(*deliveries.scanned, window.start_s, window.end_s)
    observed_s = window.length_s * len(deliveries.visible)
    return {
        "freshness": 1.0 - stale_s / observed_s,
        "age_mean_s": age_s2 / observed_s,
        "aoi_mean_s": aoi_s2 / observed_s,
        "peak_aoi_mean_s": ratio(peak_sum_s, peaks),
    }
