"""How a run went over time: a table of bins, for plotting what a mean hides (an outage, a herd, a drain)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from sim.delivery import Status
from sim.metrics import QUANTILE_METHOD
from sim.records import Replication, series_bin_s
from sim.scenario import Scenario

if TYPE_CHECKING:
    import pandas as pd

SERIES_COLUMNS = (
    "start_s",
    "end_s",
    "requests",
    "first_tries",
    "created",
    "visible",
    "backlog",
    "lost",
    "latency_mean_s",
    "latency_p95_s",
)


def time_series(scenario: Scenario, run: Replication) -> pd.DataFrame:
    """One mechanism's run as a row for each bin of the world's time, warm-up and drain included.

    Columns, all over all subscribers:
        start_s, end_s: the bin is [start_s, end_s); the last ends with the world (`run.series_bin_s`).
        requests: requests sent in it.
        first_tries: events first tried in it, by a request or with others; of webhooks all other requests
            are retries.
        created: events created in it, one for each subscriber that wants it.
        visible: events that first became visible in it.
        backlog: events that exist at its end and are not visible; one that is lost in the end never counts.
        lost: of those created in it, how many are lost in the end.
        latency_mean_s, latency_p95_s: over those created in it and delivered; NaN if none was.

    Args:
        scenario: what was studied.
        run: one mechanism in one replication.
    """
    import pandas as pd  # noqa: PLC0415

    bin_s, deliveries = series_bin_s(scenario), run.deliveries
    bins = max(1, math.ceil(scenario.world_end_s / bin_s - 1e-6))  # no sliver of a bin that rounding made
    edges_s = np.append(np.arange(bins) * bin_s, scenario.world_end_s)

    def bins_of(times_s: NDArray[np.float64]) -> NDArray[np.int64]:
        return np.minimum((times_s / bin_s).astype(np.int64), bins - 1)

    def number_in(times_s: NDArray[np.float64]) -> NDArray[np.int64]:
        return np.bincount(bins_of(times_s), minlength=bins)

    requests = run.series[:bins].copy()
    requests[-1] += run.series[bins:].sum()  # a time just before the end may round to the end
    real = np.isfinite(deliveries.created)
    first_tries = deliveries.first_attempt[real & ~np.isnan(deliveries.first_attempt)]
    created, visible = deliveries.created[real], deliveries.visible[real]
    lost, delivered = deliveries.status[real] == Status.LOST, ~np.isnan(visible)
    number_created, number_lost = number_in(created), number_in(created[lost])
    number_visible = number_in(visible[delivered])
    latency_s = pd.Series(visible[delivered] - created[delivered]).groupby(bins_of(created[delivered]))
    every = pd.RangeIndex(bins)
    return pd.DataFrame(
        {
            "start_s": edges_s[:-1],
            "end_s": edges_s[1:],
            "requests": requests,
            "first_tries": number_in(first_tries),
            "created": number_created,
            "visible": number_visible,
            "backlog": np.cumsum(number_created - number_lost - number_visible),
            "lost": number_lost,
            "latency_mean_s": latency_s.mean().reindex(every),
            "latency_p95_s": latency_s.quantile(0.95, interpolation=QUANTILE_METHOD).reindex(every),
        },
        columns=list(SERIES_COLUMNS),
    )
