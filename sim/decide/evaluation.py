"""Running a mechanism with given settings, replicated on any executor, each combination once.

All evaluations share their random numbers, so that settings and mechanisms are compared on the same events;
`Evaluator.fresh` runs on others, for a look at what was chosen that did not choose it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from sim.engine import is_compiled, run_once
from sim.experiment import Estimate
from sim.experiment.executors import Workers
from sim.experiment.intervals import Sample, metric_estimate
from sim.experiment.sweep import WorkerLost
from sim.metrics import Basis, cost_items, digest_records, judged_delivery_metrics, summary_of
from sim.metrics.basis import basis_of
from sim.metrics.kinds import nature_of
from sim.randomness import replication_seed
from sim.records import Window
from sim.scenario import Scenario
from sim.workload import event_times

Settings = Mapping[str, Any]
"""Dotted keys of the scenario and their values."""

_INTERVALS = ("polling.interval_s", "reconciliation.interval_s", "adaptive_polling.max_interval_s")

LEAST_DRAIN_S = 60.0
"""The world goes on for at least so long, that what is under way at the end is not taken for late."""

_FRESH = 2**62
"""A replication that no experiment reaches: the seed of what runs on other random numbers."""


NEVER_S, LATE_S = 1e15, 1e13
"""How late what never came is taken to be, and what nothing that came can be: no scenario lasts so long."""


class Piece(NamedTuple):
    """One replication of one mechanism: small and plain, so that it travels well."""

    scenario: str
    mechanism: str
    seed: int
    replication: int


class Ran(NamedTuple):
    """What one replication gave.

    Attributes:
        metrics: by name.
        basis: what these rest on.
        judged: latencies as requirements are held against, where what never came is late for ever.
        judged_basis: what those rest on; what never came is as late as `NEVER_S`.
        costs: item of the bill -> its cost in the window; NaN where unknown.
        deliveries: windowed events × subscribers.
    """

    metrics: dict[str, float]
    basis: Basis
    judged: dict[str, float]
    judged_basis: Basis
    costs: dict[str, float]
    deliveries: int


def run_piece(piece: Piece) -> Ran:
    """Run it."""
    scenario = Scenario.model_validate(json.loads(piece.scenario))
    run_seed = int(replication_seed(piece.seed, piece.replication))
    run = run_once(scenario, piece.mechanism, event_times(scenario, run_seed), run_seed)
    digest = digest_records(run.deliveries, scenario)
    metrics, basis = summary_of(digest, run.counters, scenario)
    windowed = run.deliveries.within(Window(scenario.run.warmup_s, scenario.run.duration_s))
    bill = cost_items(run.counters, digest.totals, scenario.cost)
    latency_s = np.nan_to_num((run.deliveries.visible - run.deliveries.created)[windowed], nan=NEVER_S)
    return Ran(
        metrics,
        basis,
        judged_delivery_metrics(run.deliveries, windowed),
        basis_of(np.sort(latency_s), digest.totals.total, basis.requests),
        {item: math.nan if cost is None else cost for item, cost in bill.items()},
        digest.totals.total,
    )


@dataclass(frozen=True)
class Evaluation:
    """A mechanism with its settings, and what each replication gave.

    Attributes:
        mechanism: which.
        settings: where it differs from the scenario.
        runs: one a replication.
        fresh: whether on other random numbers than those it was chosen on.
    """

    mechanism: str
    settings: Settings
    runs: tuple[Ran, ...]
    fresh: bool = False

    @property
    def metrics(self) -> list[str]:
        """The names of its metrics."""
        return list(self.runs[0].metrics)

    def values(self, metric: str) -> list[float]:
        """One metric, a value a replication; NaN where there is none of that name."""
        return [run.metrics.get(metric, math.nan) for run in self.runs]

    def estimate(self, metric: str) -> Estimate:
        """The estimate with its 95 % interval."""
        return self._estimates(metric, judged=False)

    def judged(self, metric: str) -> Estimate:
        """The same as requirements are held against: infinite as soon as what never came reaches into it."""
        return self._estimates(metric, judged=metric in self.runs[0].judged)

    @cached_property
    def _known(self) -> dict[tuple[str, bool], Estimate]:
        return {}

    def _estimates(self, metric: str, *, judged: bool) -> Estimate:
        if (metric, judged) not in self._known:
            self._known[metric, judged] = self._judged(metric) if judged else self._estimate(metric)
        return self._known[metric, judged]

    def _estimate(self, metric: str) -> Estimate:
        return metric_estimate(metric, Sample(self.values(metric), [run.basis for run in self.runs]))

    def _judged(self, metric: str) -> Estimate:
        values = [run.judged[metric] for run in self.runs]
        if nature_of(metric).level is None and any(math.isinf(value) for value in values):
            return Estimate(math.inf, None, None)
        e = metric_estimate(metric, Sample(values, [run.judged_basis for run in self.runs]))
        if e.mean >= LATE_S:
            return Estimate(math.inf, None, None)
        return e if e.high is None or e.high < LATE_S else Estimate(e.mean, e.low, None, e.method)

    def mean(self, metric: str) -> float:
        """The mean."""
        return self.estimate(metric).mean

    @property
    def deliveries(self) -> int:
        """Windowed events × subscribers over all replications."""
        return sum(run.deliveries for run in self.runs)


class Evaluator:
    """Runs mechanisms of one scenario, and keeps what they gave.

    Args:
        scenario: what is studied.
        workers: where runs are computed.
        replications: of each evaluation, 2 or more.
        seed: of the experiment.
        progress: called with (runs done, runs in all so far).
        full: the scenario at full size, where `scenario` is a smaller one.
        to_the_end: let the world go on until what is under way at its end has had time to come.

    Attributes:
        done: every evaluation, in the order in which it was asked for.
    """

    def __init__(
        self,
        scenario: Scenario,
        workers: Workers,
        replications: int,
        seed: int,
        progress: Callable[[int, int], None] | None = None,
        *,
        full: Scenario | None = None,
        to_the_end: bool = True,
    ) -> None:
        self.scenario, self.replications, self.seed = scenario, replications, seed
        self.full, self._to_the_end = full or scenario, to_the_end
        self.done: list[Evaluation] = []
        self._workers, self._progress = workers, progress
        self._known: dict[tuple[str, str], Evaluation] = {}
        self._count = [0, 0]

    def __call__(self, mechanism: str, settings: Settings) -> Evaluation:
        """One evaluation; what was run before is not run again."""
        return self.many([(mechanism, settings)])[0]

    def many(self, trials: Sequence[tuple[str, Settings]]) -> list[Evaluation]:
        """Several, their replications side by side."""
        keys = [(mechanism, self._plain(self.scenario, settings)) for mechanism, settings in trials]
        missing = {
            key: settings for key, (_, settings) in zip(keys, trials, strict=True) if key not in self._known
        }
        found = self._run(self.scenario, missing, self.seed, self.replications)
        for (mechanism, settings), runs in found.items():
            evaluation = Evaluation(mechanism, missing[mechanism, settings], runs)
            self._known[mechanism, settings] = evaluation
            self.done.append(evaluation)
        return [self._known[key] for key in keys]

    def fresh(
        self, trials: Sequence[tuple[str, Settings]], at_full_size: int | None = None
    ) -> list[Evaluation]:
        """Several on other random numbers; with so many replications at full size, if that is given."""
        scenario = self.scenario if at_full_size is None else self.full
        replications = self.replications if at_full_size is None else at_full_size
        asked = {(mechanism, self._plain(scenario, settings)): settings for mechanism, settings in trials}
        found = self._run(scenario, asked, self.fresh_seed, replications)
        keys = [(mechanism, self._plain(scenario, settings)) for mechanism, settings in trials]
        evaluations = {key: Evaluation(key[0], asked[key], runs, fresh=True) for key, runs in found.items()}
        self.done += evaluations.values()
        return [evaluations[key] for key in keys]

    def elsewhere(
        self, scenario: Scenario, trials: Sequence[tuple[str, Settings]], replications: int
    ) -> list[Evaluation]:
        """Several in a changed scenario, on the random numbers of `fresh`, and not among those `done`."""
        asked = {(mechanism, self._plain(scenario, settings)): settings for mechanism, settings in trials}
        found = self._run(scenario, asked, self.fresh_seed, replications)
        keys = [(mechanism, self._plain(scenario, settings)) for mechanism, settings in trials]
        return [Evaluation(key[0], asked[key], found[key]) for key in keys]

    @property
    def fresh_seed(self) -> int:
        """The experiment's seed of what runs on other random numbers."""
        return int(replication_seed(self.seed, _FRESH))

    def _run(
        self, scenario: Scenario, asked: Iterable[tuple[str, str]], seed: int, replications: int
    ) -> dict[tuple[str, str], tuple[Ran, ...]]:
        asked = list(asked)
        keys = [key for key in asked for _ in range(replications)]
        pieces = [
            Piece(whole, mechanism, seed, r)
            for mechanism, settings in asked
            for whole in [scenario.with_values(**json.loads(settings)).model_dump_json()]
            for r in range(replications)
        ]
        self._count[1] += len(pieces)
        found: dict[tuple[str, str], list[Ran]] = {}
        futures: list[Future[Ran]] = []
        try:
            for first in {piece.mechanism: piece for piece in pieces}.values():
                if not is_compiled([first.mechanism]):
                    run_piece(first)  # into the cache, from which every worker then takes it
            futures += [self._workers.executor.submit(run_piece, piece) for piece in pieces]
            for key, future in zip(keys, futures, strict=True):
                found.setdefault(key, []).append(future.result())
                self._count[0] += 1
                if self._progress is not None:
                    self._progress(*self._count)
        except BrokenProcessPool:
            raise WorkerLost("a worker was lost in the middle of a run (killed, or out of memory)") from None
        finally:
            for future in futures:
                future.cancel()
        return {key: tuple(runs) for key, runs in found.items()}

    def _plain(self, scenario: Scenario, settings: Settings) -> str:
        """Settings in a fixed order, and with time enough at the end of the world."""
        if not self._to_the_end:
            return json.dumps(dict(settings), sort_keys=True)
        longest_s = max(float(settings.get(key, 0.0)) for key in _INTERVALS)
        drain_s = max(scenario.run.drain_s, LEAST_DRAIN_S, 2 * longest_s)
        return json.dumps({**settings, "run.drain_s": drain_s}, sort_keys=True)
