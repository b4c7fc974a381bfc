"""Probing a real server: each rate of the search is a load of its own, on a fresh server."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from loadtest.capacity.result import CapacityResult, Measured
from loadtest.capacity.search import Outcome, Probe, Search
from loadtest.plans import SENDERS
from loadtest.runner import LoadResult, ProcessFailed, Progress, load
from loadtest.runner.check import check
from loadtest.runner.loads import LOADS
from loadtest.schedule import DEFAULT_POOL_SIZE, MAX_REQUESTS
from loadtest.senders import secrets_in_environment, source_of
from loadtest.verdict import LAG_P99_LIMIT_S, Reason
from sim.errors import InputError, VoidRun
from sim.results import RunFolder
from sim.thresholds import Threshold

if TYPE_CHECKING:
    from sim.scenario import Scenario

GENERATOR_RULES = frozenset({"generator_cpu", "generator_lag"})
"""Void rules that blame the generator, not the server."""

ATTEMPTS = 3
"""A probe that the generator spoilt is repeated: so many in all, before the generator counts as the limit."""

LEAST_REQUESTS = 20
"""No probe has fewer requests on average: of less there is no percentile."""

TOLD = (
    *("latency_p50_s", "latency_p99_s", "visible_latency_p99_s", "achieved_rate_per_s"),
    *("error_ratio", "lag_p99_s", "generator_cpu_share", "receiver_cpu_share", "provider_cpu_share"),
)
"""The metrics of each probe that are kept beside those of the objectives."""


def capacity(
    scenario: Scenario,
    arm: str,
    slo: Sequence[str],
    *,
    start_per_s: float | None = None,
    most_per_s: float | None = None,
    duration_s: float = 10.0,
    warmup_s: float = 2.0,
    resolution: float = 0.05,
    confirmations: int = 3,
    most_probes: int = 60,
    host: str | None = None,
    seed: int = 1,
    pool_size: int = DEFAULT_POOL_SIZE,
    lag_limit_s: float | None = None,
    out: str | Path | None = None,
    command: str | Sequence[str] = "hookbench capacity",
    figures: bool = True,
    progress: Progress | None = None,
) -> CapacityResult:
    """Find the highest rate at which a server meets every objective; see `search` for how.

    Each probe is a load of its own: a fresh server, a Poisson process at the rate, another seed, a warm-up
    that counts for nothing and `duration_s` that count. Failed requests are infinitely late. A probe that is
    void because the generator lagged says nothing of the server: it is repeated, and if that does not help
    the generator is the limit. One that is void for another reason (requests that could not be sent, lost
    events, a server that died) has missed the objectives.

    Args:
        scenario: whose events are sent; its rate is what is sought.
        arm: of `loadtest.runner.loads.LOADS`.
        slo: objectives, in the form of thresholds, such as ``latency_p99_s<0.05``.
        start_per_s: the first rate; the scenario's by default.
        most_per_s: no higher rate is tried; by default what one run may schedule.
        duration_s: seconds of each probe that count.
        warmup_s: seconds of each probe before them, which do not.
        resolution: how close the step above must be, as a share of the rate.
        confirmations: k of k probes that must meet the objectives at the answer.
        most_probes: after so many the search gives up.
        host: a server that runs already, instead of fresh ones of our own.
        seed: probe i uses `replication_seed(seed, i)`.
        pool_size: requests in flight at most.
        lag_limit_s: p99 of the generator's own lag above which it is the limit; by default a tenth of the
            tightest bound on a latency, but no less than `LAG_P99_LIMIT_S`.
        out: parent of the run folder (default ./results).
        command: what was asked, for run.json.
        figures: draw latency against rate.
        progress: where to show each load.

    Raises:
        InputError: an unknown arm or metric, or a number out of range.
        VoidRun: a server ran on another event loop than was asked for: no probe would be worth anything.
        KeyboardInterrupt: interrupted; every process is gone and the run folder is marked incomplete.
    """
    objectives = check((arm,), tuple(LOADS), slo, seed, pool_size)
    if not objectives:
        raise InputError("capacity needs an objective, such as --slo 'latency_p99_s<0.05'")
    for name, number in (("duration", duration_s), ("resolution", resolution), ("start", start_per_s)):
        if number is not None and not (math.isfinite(number) and number > 0):
            raise InputError(f"--{name} must be a number above 0, got {number:g}")
    if not (math.isfinite(warmup_s) and warmup_s >= 0):
        raise InputError(f"--warmup must be 0 or more seconds, got {warmup_s:g}")
    if confirmations < 1:
        raise InputError(f"--confirmations must be at least 1, got {confirmations}")
    if host is not None and arm in SENDERS:
        secrets_in_environment(source_of(scenario) if arm == "webhook" else "standard")
    limit_s = _lag_limit_s(objectives) if lag_limit_s is None else lag_limit_s
    least = LEAST_REQUESTS / duration_s
    most = min(most_per_s or math.inf, MAX_REQUESTS / (1.1 * (duration_s + warmup_s)))
    if most < least:
        raise InputError(
            f"--max-rate must be at least {least:g}, {LEAST_REQUESTS} requests in {duration_s:g} s"
        )
    search = Search(
        start_per_s or _rate_of(scenario),
        least_per_s=least,
        most_per_s=most,
        resolution=resolution,
        confirmations=confirmations,
        most_probes=most_probes,
    )
    probed = scenario.with_values(
        **{"run.warmup_s": warmup_s, "run.duration_s": warmup_s + duration_s, "run.drain_s": 0.0}
    )
    with RunFolder.create(
        f"capacity-{scenario.name}", command, out, scenario=probed, seeds=(seed,)
    ) as folder:
        prober = _Prober(
            probed, arm, tuple(objectives), host, seed, pool_size, limit_s, folder.path, progress
        )
        while search.probe is not None:
            search.tell(prober.probe(search.probe))
            folder.note(probes=len(prober.probes))
        assert search.answer is not None
        result = CapacityResult(
            probed,
            arm,
            tuple(objectives),
            search.answer,
            tuple(prober.probes),
            resolution,
            confirmations,
            duration_s,
            warmup_s,
            seed,
            folder.path,
        )
        folder.save_table(result.table(), "probes")
        folder.note(
            arm=arm,
            slo=[objective.text for objective in objectives],
            rate_per_s=result.answer.rate_per_s,
            limit=str(result.answer.limit),
            sentence=result.sentence(),
        )
        if figures:
            from loadtest.capacity.figures import latency_against_rate  # noqa: PLC0415 - matplotlib

            folder.save_figure(latency_against_rate(result), "latency_against_rate")
    return result


def _lag_limit_s(objectives: Sequence[Threshold]) -> float:
    """How late the generator may send: so little that no latency in question is much of its own making."""
    bounds_s = [each.limit for each in objectives if "latency" in each.metric and each.limit > 0]
    return max(LAG_P99_LIMIT_S, min(bounds_s, default=0.0) / 10)


def _rate_of(scenario: Scenario) -> float:
    workload = scenario.workload
    if workload.kind == "trace":
        return 10.0
    if workload.kind == "shaped":
        return workload.expected_events(scenario.run.duration_s) / scenario.run.duration_s
    return float(workload.rate_per_s)


class _Prober:
    """Loads the server at one rate after another."""

    def __init__(
        self,
        scenario: Scenario,
        arm: str,
        objectives: tuple[Threshold, ...],
        host: str | None,
        seed: int,
        pool_size: int,
        lag_limit_s: float,
        folder: Path,
        progress: Progress | None,
    ) -> None:
        self._scenario = scenario
        self._arm = arm
        self._objectives = objectives
        self._host = host
        self._seed = seed
        self._pool_size = pool_size
        self._lag_limit_s = lag_limit_s
        self._folder = folder
        self._progress = progress
        self.probes: list[Measured] = []

    def probe(self, probe: Probe) -> Outcome:
        """One probe of the search: as many loads as it takes the generator to keep up, `ATTEMPTS` at most."""
        for attempt in range(1, ATTEMPTS + 1):
            measured = self._load(probe, attempt)
            self.probes.append(measured)
            if measured.outcome is not Outcome.GENERATOR:
                break
        return measured.outcome

    def _load(self, probe: Probe, attempt: int) -> Measured:
        from sim.randomness import replication_seed  # noqa: PLC0415 - compiled code

        nothing: tuple[float | None, ...] = (None,) * len(self._objectives)
        try:
            result = load(
                self._scenario,
                (self._arm,),
                rate_per_s=probe.rate_per_s,
                duration_s=self._scenario.run.duration_s,
                thresholds=[objective.text for objective in self._objectives],
                host=self._host,
                seed=int(replication_seed(self._seed, len(self.probes))),
                pool_size=self._pool_size,
                out=self._folder,
                command=f"hookbench capacity, probe {len(self.probes) + 1}",
                figures=False,
                lag_limit_s=self._lag_limit_s,
                progress=self._progress,
            )
        except ProcessFailed as error:
            return Measured(probe, attempt, Outcome.MISSED, f"{error}", nothing, {}, "")
        outcome, reason = judged(result)
        metrics = {name: value for name, value in result.runs[0].metrics.items() if name in TOLD}
        values = tuple(each.value for each in result.thresholds)
        return Measured(probe, attempt, outcome, reason, values, metrics, result.path.name)


def judged(result: LoadResult) -> tuple[Outcome, str]:
    """What a load at one rate says of the server, and why it is not that the objectives were met.

    Raises:
        VoidRun: a server ran on the wrong event loop.
    """
    (run,) = result.runs
    by_rule = {reason.rule if isinstance(reason, Reason) else "other": reason for reason in run.void}
    if "event_loop" in by_rule:
        raise VoidRun(by_rule["event_loop"])
    for rule in GENERATOR_RULES:
        if rule in by_rule:
            return Outcome.GENERATOR, str(by_rule[rule])
    if by_rule:
        return Outcome.MISSED, "; ".join(by_rule.values())
    missed = [each for each in result.thresholds if not each.met]
    if missed:
        words = (f"{e.threshold}: {'undefined' if e.value is None else f'{e.value:.4g}'}" for e in missed)
        return Outcome.MISSED, "; ".join(words)
    return Outcome.MET, ""
