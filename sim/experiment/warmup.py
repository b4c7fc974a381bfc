"""How long a run warms up: where a series stops being the beginning and becomes the steady state.

Two rules that belong together. **MSER-5** finds the cut by itself: of a series in batches of five, it cuts so
much that the mean of what is left has the least standard error (White, "An effective truncation heuristic for
bias reduction in simulation output", Simulation 69, 1997; White, Cobb & Spratt, "A comparison of five
steady-state truncation heuristics for simulation", Winter Simulation Conference, 2000). **Welch's** moving
average over replications shows it to the eye (Welch, "The statistical analysis of simulation results", 1983;
Law, "Simulation Modeling and Analysis", section 9.5.1). The series here are means over replications, in bins
of time.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from sim.delivery import Status
from sim.engine import DEFAULT_MECHANISMS, check, run_once
from sim.errors import InputError
from sim.randomness import replication_seed
from sim.records import Deliveries
from sim.scenario import Scenario
from sim.workload import event_times

if TYPE_CHECKING:
    import pandas as pd

Metric = Literal["latency", "backlog"]
METRICS: tuple[Metric, ...] = ("latency", "backlog")

BATCH = 5
MOST_BINS, FEWEST_BINS = 1000, 50
WINDOW_SHARE = 0.02
"""Welch's average reaches so far to either side, as a share of the series."""

DRAIN_SHARE = 0.25
"""Of the run, waited for its last events: those that come late would otherwise be missing."""

_Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Truncation:
    """Where MSER cuts a series.

    Attributes:
        batches: to be cut from the start.
        of: how many there are.
        statistics: the squared standard error of the mean of what is left, for each number of batches cut.
    """

    batches: int
    of: int
    statistics: _Floats

    @property
    def is_steady(self) -> bool:
        """Whether the cut lies in the first half: else the series is too short, or never settles."""
        return self.batches <= self.of / 2


def mser(values: _Floats, batch: int = BATCH) -> Truncation:
    """The cut of MSER over means of `batch` values each; what is left over at the end is not looked at.

    With Z₁ … Z_m the batch means, it is the d that minimises Σ_{i>d} (Z_i − Z̄_d)² / (m − d)², Z̄_d being the
    mean of those after d. Cuts that leave fewer than five are not considered, as a handful of values that
    happen to be alike has hardly any error (Hoad, Robinson & Davies, "Automating warm-up length estimation",
    Journal of the Operational Research Society 61, 2010).

    Raises:
        ValueError: fewer than ten batches.
    """
    count = len(values) // batch
    if count < 10:
        raise ValueError(f"MSER needs 10 batches of {batch} or more, got {len(values)} values")
    means = values[: count * batch].reshape(count, batch).mean(axis=1)
    means = means - means.mean()  # so that squares lose no digits
    left = np.arange(count, 0, -1)
    sums, squares = (np.cumsum(x[::-1])[::-1] for x in (means, means**2))
    deviations = np.maximum(squares - sums**2 / left, 0.0)
    statistics = (deviations / left.astype(np.float64) ** 2)[: count - 4]
    least = float(statistics.min())
    rounding = 1e-12 * float(statistics.max())
    return Truncation(int(np.argmax(statistics <= least + rounding)), count, statistics)


def welch(values: _Floats, window: int) -> _Floats:
    """Welch's moving average: over `window` values to either side, over fewer near the start.

    Returns:
        one value for each but the last `window`, float64.

    Raises:
        ValueError: the window is negative, or more than a quarter of the series.
    """
    if not 0 <= window <= len(values) // 4:
        raise ValueError(f"a window must lie between 0 and a quarter of {len(values)} values, got {window}")
    sums = np.concatenate([[0.0], np.cumsum(values)])
    places = np.arange(len(values) - window)
    reach = np.minimum(places, window)
    averages: _Floats = (sums[places + reach + 1] - sums[places - reach]) / (2 * reach + 1)
    return averages


@dataclass(frozen=True)
class Settling:
    """How one mechanism settles.

    Attributes:
        mechanism: which.
        edges_s: the bins' edges, seconds from the run's start, one more than there are bins.
        values: the metric in each bin, a mean over replications: seconds, or events.
        smoothed: Welch's average of them, shorter by its window.
        cut: MSER's.
    """

    mechanism: str
    edges_s: _Floats
    values: _Floats
    smoothed: _Floats
    cut: Truncation

    @property
    def warmup_s(self) -> float | None:
        """What to set `run.warmup_s` to; None where the run shows no steady state."""
        return float(self.edges_s[self.cut.batches * BATCH]) if self.cut.is_steady else None

    @property
    def mean(self) -> float:
        """Of the whole series, the beginning included."""
        return float(self.values.mean())

    @property
    def mean_after(self) -> float | None:
        """Of what is left after the cut."""
        return float(self.values[self.cut.batches * BATCH :].mean()) if self.cut.is_steady else None

    def sentence(self) -> str:
        """The finding in words."""
        if self.warmup_s is None:
            return (
                f"{self.mechanism}: no steady state in this run: MSER-5 would cut more than half of it; "
                "run longer, or see whether the load can be carried at all"
            )
        if self.warmup_s == 0:
            return f"{self.mechanism}: no warm-up is needed"
        share = self.warmup_s / float(self.edges_s[-1])
        return f"{self.mechanism}: run.warmup_s = {self.warmup_s:.4g}, {share:.2g} of the run"


@dataclass(frozen=True)
class WarmUp:
    """What came of it.

    Attributes:
        scenario: as it was run: nothing cut, scheduled outages left out.
        metric: "latency" or "backlog".
        replications: how many were averaged.
        seed: of the experiment.
        settlings: one a mechanism.
        remarks: what to bear in mind.
    """

    scenario: Scenario
    metric: Metric
    replications: int
    seed: int
    settlings: tuple[Settling, ...]
    remarks: tuple[str, ...]

    @property
    def warmup_s(self) -> float | None:
        """What does for all mechanisms; None when one of them shows no steady state."""
        each = [settling.warmup_s for settling in self.settlings]
        return None if None in each else max(s for s in each if s is not None)

    def series(self) -> pd.DataFrame:
        """A row a mechanism and bin: `mechanism, start_s, end_s, value, smoothed, cut`."""
        import pandas as pd  # noqa: PLC0415

        frames = []
        for settling in self.settlings:
            bins = len(settling.values)
            smoothed = np.full(bins, np.nan)
            smoothed[: len(settling.smoothed)] = settling.smoothed
            frames.append(
                pd.DataFrame(
                    {
                        "mechanism": settling.mechanism,
                        "start_s": settling.edges_s[:-1],
                        "end_s": settling.edges_s[1:],
                        "value": settling.values,
                        "smoothed": smoothed,
                        "cut": np.arange(bins) < settling.cut.batches * BATCH,
                    }
                )
            )
        return pd.concat(frames, ignore_index=True)


def metric_called(name: str) -> Metric:
    """The metric of that name.

    Raises:
        InputError: there is none.
    """
    for known in METRICS:
        if name == known:
            return known
    raise InputError(f"--metric {name!r}: a warm-up is looked for in {' or '.join(METRICS)}")


def warm_up(
    scenario: Scenario,
    mechanisms: Sequence[str] = DEFAULT_MECHANISMS,
    *,
    metric: Metric = "latency",
    replications: int = 10,
    seed: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> WarmUp:
    """Run a scenario from its empty start and see when each mechanism settles.

    Scheduled outages are left out, as no rule could tell them from a beginning.

    Args:
        scenario: what is studied; its own `run.warmup_s` is not used.
        mechanisms: each is run on the same events.
        metric: latency by when an event was created, or the backlog of events not yet visible.
        replications: averaged, which makes the beginning stand out.
        seed: fixes every draw.
        progress: called with (runs done, runs in all).

    Raises:
        InputError: an unknown mechanism, or too few deliveries for 50 bins.
    """
    check(mechanisms, "fast", seed, replications)
    studied, remarks = _undisturbed(scenario)
    edges_s = np.linspace(0.0, studied.run.duration_s, MOST_BINS + 1)
    sums = {mechanism: np.zeros((2, MOST_BINS)) for mechanism in mechanisms}
    for replication in range(replications):
        run_seed = int(replication_seed(seed, replication))
        created = event_times(studied, run_seed)
        for place, mechanism in enumerate(mechanisms):
            deliveries = run_once(studied, mechanism, created, run_seed).deliveries
            sums[mechanism] += (
                _latencies(deliveries, edges_s) if metric == "latency" else _backlog(deliveries, edges_s)
            )
            if progress is not None:
                progress(replication * len(mechanisms) + place + 1, replications * len(mechanisms))
    settlings = tuple(_settling(mechanism, edges_s, *sums[mechanism]) for mechanism in mechanisms)
    return WarmUp(studied, metric, replications, seed, settlings, tuple(remarks))


def _undisturbed(scenario: Scenario) -> tuple[Scenario, list[str]]:
    """The scenario from its start, without scheduled outages, and what is to be said of that."""
    remarks = []
    run = scenario.run
    changes: dict[str, object] = {"run.warmup_s": 0.0}
    changes["run.drain_s"] = max(run.drain_s, DRAIN_SHARE * run.duration_s)
    for name, server in (("receiver", scenario.receiver), ("provider_api", scenario.provider_api)):
        if server.outages:
            changes[f"{name}.outages"] = []
            remarks.append(f"{name}.outages are left out: no rule could tell them from a beginning")
    if scenario.workload.kind in ("diurnal", "shaped", "trace"):
        remarks.append(
            f"a workload of kind {scenario.workload.kind!r} changes with time, so that what is settled may "
            "still move: judge by the figure"
        )
    return scenario.with_values(**changes), remarks


def _latencies(deliveries: Deliveries, edges_s: _Floats) -> _Floats:
    """The sum of latencies and their number, by the bin in which their events were created: (2, bins)."""
    delivered = ~np.isnan(deliveries.visible) & np.isfinite(deliveries.created)
    created = deliveries.created[delivered]
    latency_s = deliveries.visible[delivered] - created
    return np.stack(
        [np.histogram(created, edges_s, weights=w)[0] for w in (latency_s, np.ones_like(created))]
    )


def _backlog(deliveries: Deliveries, edges_s: _Floats) -> _Floats:
    """The time integral of the backlog and the time, by bin: (2, bins). What is lost never counts."""
    waiting = np.isfinite(deliveries.created) & (deliveries.status != Status.LOST)
    come, gone = deliveries.created[waiting], deliveries.visible[waiting]
    until = _area(come, edges_s) - _area(gone[~np.isnan(gone)], edges_s)
    return np.stack([np.diff(until), np.diff(edges_s)])


def _area(times_s: _Floats, edges_s: _Floats) -> _Floats:
    """∫₀ᵗ (how many of `times_s` are past) for each edge t: Σ (t − time) over those."""
    ordered = np.sort(times_s)
    number = np.searchsorted(ordered, edges_s)
    area: _Floats = number * edges_s - np.concatenate([[0.0], np.cumsum(ordered)])[number]
    return area


def _settling(mechanism: str, edges_s: _Floats, sums: _Floats, counts: _Floats) -> Settling:
    while not counts.all():
        if len(counts) // 2 < FEWEST_BINS:
            raise InputError(
                f"{mechanism}: too few deliveries for a series: in {np.sum(counts == 0)} of {len(counts)} "
                "spans there is none; run longer, or more replications"
            )
        edges_s = edges_s[::2]
        sums, counts = (part[: len(edges_s) * 2 - 2].reshape(-1, 2).sum(axis=1) for part in (sums, counts))
    values = sums / counts
    window = math.ceil(WINDOW_SHARE * len(values))
    return Settling(mechanism, edges_s, values, welch(values, window), mser(values))
