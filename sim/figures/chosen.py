"""Which figures the run folder of a simulation or of a sweep gets, by file name."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure

from sim.errors import InputError
from sim.figures.latency import latency_cdf, latency_survival
from sim.figures.maps import metric_map
from sim.figures.outages import MOST, around_outage, outage_timeline
from sim.figures.parameters import latency_vs_interval, metric_vs_parameter
from sim.figures.surface import break_even_surface
from sim.figures.transients import outages_of, transient
from sim.records import Window
from sim.theory import fixed_rate_latency_mean_s
from sim.theory.polling import P1

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import pandas as pd

    from sim.engine import Outcome
    from sim.experiment.sweep import Sweep
    from sim.scenario import Scenario

INTERVAL = "polling.interval_s"
_BINS = 24  # of an outage's length
_MOST_BINS = 500_000


def simulation_figures(outcome: Outcome) -> dict[str, Figure]:
    """Of a simulation that kept its records.

    `latency_cdf` and `latency_survival` over all replications, unless some mechanism delivered nothing; and
    `outage` where outages are scheduled: replication 0, run again with bins narrow enough to see the longest.
    """
    run, figures = outcome.scenario.run, {}
    window = Window(run.warmup_s, run.duration_s)
    latencies_s = {
        mechanism: np.concatenate([(each.visible - each.created)[each.within(window)] for each in runs])
        for mechanism, runs in outcome.deliveries.items()
    }
    if all((~np.isnan(values)).any() for values in latencies_s.values()):
        figures["latency_cdf"] = latency_cdf(latencies_s)
        figures["latency_survival"] = latency_survival(latencies_s)
    begun = [span for span in outages_of(outcome.scenario) if span[0] < outcome.scenario.world_end_s]
    if begun:
        longest_s = max(end_s - start_s for start_s, end_s, _ in begun)
        series = _narrow_series(outcome, longest_s / _BINS)
        if len(outcome.deliveries) <= MOST:
            figures["outage"] = outage_timeline(series, outcome.scenario)
        else:
            between_s = around_outage(series, outcome.scenario)
            figures["outage"] = transient(series, outcome.scenario, between_s)
    return figures


def _narrow_series(outcome: Outcome, bin_s: float) -> pd.DataFrame:
    """Replication 0 over time in bins of about `bin_s`; no event depends on how time is cut."""
    from sim.engine import simulate  # noqa: PLC0415 - which imports whole engines

    bin_s = max(bin_s, outcome.scenario.world_end_s / _MOST_BINS)
    narrow = outcome.scenario.with_values(**{"run.series_bin_s": bin_s})
    return simulate(narrow, list(outcome.deliveries), engine=outcome.engine, seed=outcome.seed).series()


def sweep_figures(sweep: Sweep, metrics: Sequence[str]) -> dict[str, Figure]:
    """Of a sweep over one or two axes of one number each.

    Over one axis a line figure a metric, called as it; over the poll interval `latency_vs_interval` besides,
    with theory's line. Over two ascending axes a map a metric; of two mechanisms, replicated, also the
    surface of their difference. Metrics that are nowhere defined are left out.
    """
    if not 1 <= len(sweep.axes) <= 2 or not all(_is_numeric(axis.values) for axis in sweep.axes):
        return {}
    summary = sweep.summary()
    defined = [metric for metric in metrics if summary.loc[summary["metric"] == metric, "mean"].notna().any()]
    if len(sweep.axes) == 1:
        (key,) = sweep.axes[0].keys
        figures = {
            metric: metric_vs_parameter(summary[summary["metric"] == metric], key, metric)
            for metric in defined
        }
        if key == INTERVAL and "polling" in sweep.mechanisms:
            figures |= _against_interval(sweep, summary)
        return figures
    figures = {f"map_{metric}": metric_map(sweep, metric) for metric in defined if _ascend(sweep)}
    if len(sweep.mechanisms) == 2 and sweep.replications > 1 and _ascend(sweep):
        figures |= _surfaces(sweep, defined)
    return figures


def _is_numeric(values: Sequence[tuple[object, ...]]) -> bool:
    return len(values) > 1 and all(
        len(step) == 1 and isinstance(step[0], int | float) and not isinstance(step[0], bool)
        for step in values
    )


def _ascend(sweep: Sweep) -> bool:
    return all(
        all(low < high for (low,), (high,) in zip(axis.values, axis.values[1:], strict=False))  # type: ignore[operator]
        for axis in sweep.axes
    )


def _against_interval(sweep: Sweep, summary: pd.DataFrame) -> dict[str, Figure]:
    means = summary[(summary["metric"] == "latency_mean_s") & summary["mean"].notna()]
    if means.empty:
        return {}
    table = means.rename(columns={INTERVAL: "interval_s", "mean": "latency_mean_s"})
    line, name = theory_line(sweep.scenario, [float(value) for value in table["interval_s"].unique()])
    return {"latency_vs_interval": latency_vs_interval(table, line, name)}


def theory_line(
    scenario: Scenario, intervals_s: Sequence[float]
) -> tuple[Callable[[float], float] | None, str]:
    """P1's mean latency of polling over the interval, and what to call it; None at no fixed rate.

    Where a condition of P1 does not hold at some interval, the line says what latency would be if it did.
    """
    if scenario.polling.schedule != "fixed_rate":
        return None, ""
    return_s = (
        scenario.network.one_way.mean_s
        + scenario.provider_api.service.mean_s
        + scenario.receiver.service.mean_s
    )
    holds = not any(P1.violated(scenario.with_values(**{INTERVAL: at_s})) for at_s in intervals_s)
    name = "theory: T/2 + d" if holds else "T/2 + d: theory,\nif nothing failed or queued"
    return lambda interval_s: fixed_rate_latency_mean_s(interval_s, return_s), name


def _surfaces(sweep: Sweep, metrics: Sequence[str]) -> dict[str, Figure]:
    from sim.experiment.surface import surface_of  # noqa: PLC0415 - which imports whole engines

    figures, (a, b) = {}, sweep.mechanisms
    for metric in metrics:
        try:
            found = surface_of(sweep, a, b, metric)
        except InputError:  # one of the two has no such metric
            continue
        figures[f"surface_{metric}"] = break_even_surface(found)
    return figures
