"""A run second by second: what was due, sent and answered, how late, and how its servers fared meanwhile.

One row a second since the origin, everything on the run's one clock. After the USE method (utilisation,
saturation, errors; B. Gregg, "Thinking Methodically about Performance", ACM Queue 10(12), 2012): cores used
and waited for, pressure, queues; failures beside them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from loadtest.observations import MACHINE
from loadtest.recorder import MISSING, Samples
from loadtest.schedule import FloatArray, IntArray
from sim.metrics import QUANTILE_METHOD

if TYPE_CHECKING:
    import pandas as pd

    from loadtest.runner.results import ArmRun

_METHOD: Any = QUANTILE_METHOD

_USED = {"cpu_s": "cpu_share", "run_wait_s": "run_wait_share"}
"""Cumulative seconds of a process tree and the share of a second that they become."""

_LEVELS = ("rss_mb", "pss_mb", "fds")


def timeline(command: str, run: ArmRun) -> pd.DataFrame:
    """The table of one arm run, a row a second until the last answer.

    Columns, where measured: ``second``; ``due``, ``sent``, ``answered``, ``failed``: requests (in a race,
    publications) by when each of that happened; ``latency_p50_s``, ``latency_p99_s``: of a load's requests
    or a race's events due in that second, ``visible_latency_…`` of a load's events; ``lag_p99_s``;
    ``machine_busy_cores``, ``machine_pressure_<cpu|io|memory>`` (share of the second in which some task
    waited), ``machine_loopback_bytes_per_s`` (of the whole machine); per role ``<role>_cpu_share``,
    ``_run_wait_share``, ``_switches_per_s``, ``_rss_mb``, ``_pss_mb``, ``_fds`` and what its /status said:
    ``_waiting``, ``_in_service``, ``_connections_open``, ``_loop_lag_s`` and the like, the second's most.
    """
    import pandas as pd  # noqa: PLC0415 - half a second, only when a table is wanted

    samples, origin_us = run.samples, int(run.notes["origin_us"])
    last_us = max(
        int(samples.done_us.max(initial=origin_us)), int(samples.intended_us.max(initial=origin_us))
    )
    seconds = max(1, -(-(last_us - origin_us) // 1_000_000))
    columns: dict[str, Any] = {"second": np.arange(seconds)}
    columns |= _requests(samples, origin_us, seconds)
    due_s = (samples.intended_us - origin_us) / 1e6
    if command == "race":
        columns |= _visible(run.records, seconds, "latency")
    else:
        good = samples.acknowledged
        columns |= _quantiles(due_s[good], samples.corrected_us / 1e6, seconds, "latency")
        columns |= _visible(run.records, seconds, "visible_latency")
    lag = _quantiles(due_s[samples.sent], samples.lag_us / 1e6, seconds, "lag")
    columns["lag_p99_s"] = lag["lag_p99_s"]
    columns |= _processes(run.server_load, seconds)
    columns |= _observed(run.observations, seconds)
    return pd.DataFrame(columns)


def _requests(samples: Samples, origin_us: int, seconds: int) -> dict[str, IntArray]:
    def counted(times_us: IntArray) -> IntArray:
        known = times_us[times_us != MISSING]
        return np.bincount(np.clip((known - origin_us) // 1_000_000, 0, seconds - 1), minlength=seconds)

    good = samples.acknowledged
    return {
        "due": counted(samples.intended_us),
        "sent": counted(samples.sent_us),
        "answered": counted(samples.done_us[good]),
        "failed": counted(samples.done_us[~good]),
    }


def _visible(records: pd.DataFrame | None, seconds: int, prefix: str) -> dict[str, FloatArray]:
    if records is None:
        return {}
    created_s = records["created"].to_numpy(dtype=np.float64)
    latency_s = records["visible"].to_numpy(dtype=np.float64) - created_s
    known = ~np.isnan(latency_s)
    return _quantiles(created_s[known], latency_s[known], seconds, prefix)


def _quantiles(due_s: FloatArray, values_s: FloatArray, seconds: int, prefix: str) -> dict[str, FloatArray]:
    """Median and 99th percentile of what was due in each second; NaN where nothing was."""
    found = np.full((2, seconds), np.nan)
    second = due_s.astype(np.int64)
    order = np.argsort(second, kind="stable")
    starts = np.searchsorted(second[order], np.arange(seconds + 1))
    for number in range(seconds):
        within = values_s[order[starts[number] : starts[number + 1]]]
        if within.size:
            found[:, number] = np.quantile(within, (0.5, 0.99), method=_METHOD)
    return {f"{prefix}_p50_s": found[0], f"{prefix}_p99_s": found[1]}


def _processes(load: pd.DataFrame, seconds: int) -> dict[str, FloatArray]:
    columns: dict[str, FloatArray] = {}
    for role, readings in load.groupby("role", sort=False):
        at_s = readings["at_s"].to_numpy(dtype=np.float64)
        for name, share in _USED.items():
            if name in readings:
                columns[f"{role}_{share}"] = _rate(at_s, readings[name].to_numpy(dtype=np.float64), seconds)
        if "voluntary_switches" in readings:
            switches = readings["voluntary_switches"] + readings["involuntary_switches"]
            columns[f"{role}_switches_per_s"] = _rate(at_s, switches.to_numpy(dtype=np.float64), seconds)
        for name in _LEVELS:
            if name in readings:
                columns[f"{role}_{name}"] = _most(at_s, readings[name].to_numpy(dtype=np.float64), seconds)
    return {name: values for name, values in columns.items() if not np.isnan(values).all()}


def _observed(observations: pd.DataFrame | None, seconds: int) -> dict[str, FloatArray]:
    columns: dict[str, FloatArray] = {}
    if observations is None:
        return columns
    for (role, name), rows in observations.groupby(["role", "name"], sort=False):
        at_s = rows["at_s"].to_numpy(dtype=np.float64)
        values = rows["value"].to_numpy(dtype=np.float64)
        of_time: Callable[..., FloatArray] = _rate if role == MACHINE else _most
        columns[f"{role}_{_as_rate(str(name)) if role == MACHINE else name}"] = of_time(at_s, values, seconds)
    return columns


def _as_rate(name: str) -> str:
    if name == "busy_s":
        return "busy_cores"
    return name.removesuffix("_s") if name.startswith("pressure_") else f"{name}_per_s"


def _rate(at_s: FloatArray, total: FloatArray, seconds: int) -> FloatArray:
    """How much a cumulative counter grew in each second, interpolated; NaN beyond what was read."""
    known = ~np.isnan(total)
    if known.sum() < 2:
        return np.full(seconds, np.nan)
    edges = np.arange(seconds + 1, dtype=np.float64)
    at_edges = np.interp(edges, at_s[known], total[known])
    grown = np.diff(at_edges)
    first, last = at_s[known][0], at_s[known][-1]
    grown[(edges[:-1] >= last) | (edges[1:] <= first)] = np.nan
    return grown


def _most(at_s: FloatArray, values: FloatArray, seconds: int) -> FloatArray:
    """The most of each second; NaN where nobody looked."""
    found = np.full(seconds, np.nan)
    inside = (at_s >= 0) & (at_s < seconds) & ~np.isnan(values)
    np.fmax.at(found, at_s[inside].astype(np.int64), values[inside])
    return found
