"""Running a scenario: both engines behind one function, and what came of it.

`simulate` is the front door. `run_once` is one mechanism in one replication: the "simpy" engine runs
the reference model, the "fast" engine its compiled twin; both give the same records and counters.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import combinations
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from sim.audience import audience
from sim.catalogue import MECHANISMS
from sim.compiled import is_cached
from sim.errors import InputError
from sim.experiment import Estimate, Pairing
from sim.experiment.intervals import Sample, metric_estimate, metric_pairing
from sim.experiment.pairs import pairing_json
from sim.launch.ledger import Ledger
from sim.metrics import Basis, Summary, summary_of
from sim.policies import compile_schedule, first_wake
from sim.randomness import replication_seed
from sim.records import Counters, Deliveries, Replication, Window
from sim.scenario import Scenario
from sim.timeseries import time_series
from sim.workload import event_times

if TYPE_CHECKING:
    import pandas as pd

    from sim.mechanisms.world import Narrator
    from sim.passages import Witness

Engine = Literal["fast", "simpy"]
ENGINES: tuple[Engine, ...] = ("fast", "simpy")
MAX_REPLICATIONS = 1_000_000
EXACT_UP_TO = 1_000_000
"""Up to so many deliveries quantiles are exact also where no records are kept: for a moment, they are."""
DEFAULT_MECHANISMS = ("webhook", "polling")


@dataclass(frozen=True)
class Outcome:
    """What came of a scenario under each mechanism.

    Attributes:
        scenario: what was studied.
        engine: which engine ran.
        seed: the experiment's seed; replication r ran with `replication_seed(seed, r)`.
        replications: how many.
        metrics: mechanism -> metric -> one value a replication.
        counters: mechanism -> one `Counters` a replication.
        deliveries: mechanism -> one `Deliveries` a replication; empty when records were not asked for.
        requests: mechanism -> requests in each bin of the world's time, one array a replication; likewise.
        bases: mechanism -> what the metrics rest on, one a replication.
    """

    scenario: Scenario
    engine: Engine
    seed: int
    replications: int
    metrics: dict[str, dict[str, list[float]]]
    counters: dict[str, list[Counters]]
    deliveries: dict[str, list[Deliveries]]
    requests: dict[str, list[NDArray[np.int64]]]
    bases: dict[str, list[Basis]] = field(default_factory=dict)

    @property
    def records(self) -> pd.DataFrame:
        """Every delivery as a row: `replication`, `mechanism`, and `sim.records.RECORD_COLUMNS`.

        Raises:
            InputError: the simulation ran with ``records=False``.
        """
        import pandas as pd  # noqa: PLC0415

        self._need_records()
        window = Window(self.scenario.run.warmup_s, self.scenario.run.duration_s)
        names = pd.CategoricalDtype(list(self.deliveries))
        frames = []
        for mechanism, runs in self.deliveries.items():
            for replication, deliveries in enumerate(runs):
                frame = deliveries.frame(window)
                frame.insert(0, "replication", replication)
                frame.insert(1, "mechanism", pd.Series(mechanism, index=frame.index).astype(names))
                frames.append(frame)
        return pd.concat(frames, ignore_index=True)

    def series(self, replication: int = 0) -> pd.DataFrame:
        """One replication over time: `mechanism`, and `sim.timeseries.SERIES_COLUMNS` for each bin.

        Raises:
            InputError: the simulation ran with ``records=False``, or had no such replication.
        """
        import pandas as pd  # noqa: PLC0415

        self._need_records()
        if not 0 <= replication < self.replications:
            raise InputError(f"replication must be in [0, {self.replications}), got {replication}")
        names = pd.CategoricalDtype(list(self.deliveries))
        frames = []
        for mechanism in self.deliveries:
            run = Replication(
                self.deliveries[mechanism][replication],
                self.counters[mechanism][replication],
                self.requests[mechanism][replication],
            )
            frame = time_series(self.scenario, run)
            frame.insert(0, "mechanism", pd.Series(mechanism, index=frame.index).astype(names))
            frames.append(frame)
        return pd.concat(frames, ignore_index=True)

    def _need_records(self) -> None:
        if not self.deliveries:
            raise InputError("no records were kept: simulate with records=True to have them")

    def sample(self, mechanism: str, metric: str) -> Sample:
        """One metric of one mechanism in every replication, with what it rests on."""
        return Sample(self.metrics[mechanism][metric], self.bases.get(mechanism, []))

    def estimates(self) -> dict[str, dict[str, Estimate]]:
        """Mechanism -> metric -> its estimate with a 95 % interval (`sim.experiment.intervals`)."""
        return self._estimates

    @cached_property
    def _estimates(self) -> dict[str, dict[str, Estimate]]:
        return {
            mechanism: {
                metric: metric_estimate(metric, self.sample(mechanism, metric)) for metric in by_metric
            }
            for mechanism, by_metric in self.metrics.items()
        }

    def paired(self) -> list[tuple[str, str, str, Estimate]]:
        """(a, b, metric, a − b with 95 % interval) for every two mechanisms and each metric both have."""
        return [(a, b, metric, pairing.difference) for a, b, metric, pairing in self.pairings]

    @cached_property
    def pairings(self) -> list[tuple[str, str, str, Pairing]]:
        """The same with what pairing won."""
        return [
            (a, b, metric, metric_pairing(metric, self.sample(a, metric), self.sample(b, metric)))
            for a, b in combinations(self.metrics, 2)
            for metric in self.metrics[a]
            if metric in self.metrics[b]
        ]

    def summary(self) -> pd.DataFrame:
        """One row a mechanism and metric: `mechanism, metric, mean, low, high, method`."""
        import pandas as pd  # noqa: PLC0415

        return pd.DataFrame(
            [
                (mechanism, metric, e.mean, e.low, e.high, str(e.method))
                for mechanism, by_metric in self.estimates().items()
                for metric, e in by_metric.items()
            ],
            columns=["mechanism", "metric", "mean", "low", "high", "method"],
        ).astype({"low": "float64", "high": "float64"})

    def by_replication(self) -> pd.DataFrame:
        """One row a mechanism, replication and metric: `mechanism, replication, metric, value`."""
        import pandas as pd  # noqa: PLC0415

        return pd.DataFrame(
            [
                (mechanism, replication, metric, value)
                for mechanism, by_metric in self.metrics.items()
                for metric, values in by_metric.items()
                for replication, value in enumerate(values)
            ],
            columns=["mechanism", "replication", "metric", "value"],
        )

    def to_json(self) -> dict[str, object]:
        """The document of ``hookbench simulate --json``, less its command line."""
        return {
            "scenario": self.scenario.model_dump(mode="json"),
            "seed": self.seed,
            "engine": self.engine,
            "replications": self.replications,
            "results": [
                {"mechanism": mechanism, "metrics": {name: _json(e) for name, e in by_metric.items()}}
                for mechanism, by_metric in self.estimates().items()
            ],
            "paired": [
                {"a": a, "b": b, "metric": metric, **_json(pairing.difference), **pairing_json(pairing)}
                for a, b, metric, pairing in self.pairings
            ],
        }


def _json(e: Estimate) -> dict[str, float | str | None]:
    mean = None if np.isnan(e.mean) else e.mean
    return {"mean": mean, "low": e.low, "high": e.high, "method": str(e.method)}


def simulate(
    scenario: Scenario,
    mechanisms: Sequence[str] = DEFAULT_MECHANISMS,
    *,
    engine: Engine = "fast",
    seed: int = 1,
    replications: int = 1,
    records: bool = True,
    progress: Callable[[int, int], None] | None = None,
) -> Outcome:
    """Simulate a scenario under each mechanism, on common random numbers.

    Args:
        scenario: what is studied.
        mechanisms: which ways of delivery; see `MECHANISMS`.
        engine: "fast" (compiled) or "simpy" (the readable reference); the results are the same.
        seed: any int in [0, 2^63); fixes every draw.
        replications: independent runs; with two or more, estimates carry 95 % intervals.
        records: keep every delivery (needed for `Outcome.records`); metrics come either way
            (see `summary_once`).
        progress: called with (runs done, runs in all).

    Raises:
        InputError: an unknown mechanism or engine, or a number out of range.
        TraceError: the scenario's trace cannot be used.
    """
    check(mechanisms, engine, seed, replications)
    outcome = Outcome(
        scenario, engine, seed, 0, {m: {} for m in mechanisms}, {m: [] for m in mechanisms}, {}, {},
        {m: [] for m in mechanisms},
    )  # fmt: skip
    if records:
        outcome.deliveries.update({m: [] for m in mechanisms})
        outcome.requests.update({m: [] for m in mechanisms})
    return extended(outcome, replications, progress)


def extended(
    outcome: Outcome, replications: int, progress: Callable[[int, int], None] | None = None
) -> Outcome:
    """An outcome with more replications in all, those it has kept; it gives its lists away.

    Raises:
        InputError: more than `MAX_REPLICATIONS`, or fewer than it has.
    """
    if not outcome.replications <= replications <= MAX_REPLICATIONS:
        raise InputError(
            f"replications must be in [{outcome.replications}, {MAX_REPLICATIONS}], got {replications}"
        )
    scenario, mechanisms = outcome.scenario, list(outcome.metrics)
    done, total = outcome.replications * len(mechanisms), replications * len(mechanisms)
    for replication in range(outcome.replications, replications):
        run_seed = replication_seed(outcome.seed, replication)
        recorded = bool(outcome.deliveries) or outcome.engine != "fast"
        created = event_times(scenario, run_seed, recorded=recorded)
        for mechanism in mechanisms:
            if outcome.deliveries:
                run = run_once(scenario, mechanism, created, run_seed, outcome.engine)
                summary, counted = summary_of(run.deliveries, run.counters, scenario), run.counters
                outcome.deliveries[mechanism].append(run.deliveries)
                outcome.requests[mechanism].append(run.series)
            else:
                summary, counted = summary_once(scenario, mechanism, created, run_seed, outcome.engine)
            for metric, value in summary.metrics.items():
                outcome.metrics[mechanism].setdefault(metric, []).append(value)
            outcome.bases[mechanism].append(summary.basis)
            outcome.counters[mechanism].append(counted)
            done += 1
            if progress is not None:
                progress(done, total)
    return replace(outcome, replications=replications)


def check(mechanisms: Sequence[str], engine: str, seed: int, replications: int) -> Engine:
    """Refuse what `simulate` cannot run; returns the engine.

    Raises:
        InputError: naming the value and what would be accepted.
    """
    if not mechanisms:
        raise InputError(f"no mechanism given; known: {', '.join(MECHANISMS)}")
    for mechanism in mechanisms:
        if mechanism not in MECHANISMS:
            raise InputError(f"unknown mechanism {mechanism!r}; known: {', '.join(MECHANISMS)}")
    if len(set(mechanisms)) < len(mechanisms):
        raise InputError(f"a mechanism is given twice: {', '.join(mechanisms)}")
    if not 0 <= seed < 2**63:
        raise InputError(f"seed must be in [0, 2^63), got {seed}")
    if not 1 <= replications <= MAX_REPLICATIONS:
        raise InputError(f"replications must be in [1, {MAX_REPLICATIONS}], got {replications}")
    for known in ENGINES:
        if engine == known:
            return known
    raise InputError(f"unknown engine {engine!r}; known: {', '.join(ENGINES)}")


def is_compiled(mechanisms: Sequence[str]) -> bool:
    """Whether the fast engine's kernels of these mechanisms are in the cache on disk."""
    return all(is_cached(kernel) for mechanism in mechanisms for kernel in MECHANISMS[mechanism].compiled)


def expected_deliveries(scenario: Scenario, seed: int) -> int:
    """How many deliveries one mechanism has in replication 0 of an experiment, on average over interests."""
    events = len(event_times(scenario, replication_seed(seed, 0), recorded=False))
    return round(events * scenario.subscribers.count * scenario.subscribers.interest)


def run_once(
    scenario: Scenario,
    mechanism: str,
    created: NDArray[np.float64],
    seed: int,
    engine: Engine = "fast",
    narrator: Narrator | None = None,
    witness: Witness | None = None,
) -> Replication:
    """One mechanism in one replication, over given events.

    Args:
        scenario: what is studied.
        mechanism: one of `MECHANISMS`.
        created: the events' times, seconds, sorted, shape (n_events,).
        seed: the replication's seed.
        engine: which engine.
        narrator: told of every happening; the "simpy" engine only.
        witness: shown everything that is on its way; likewise.
    """
    way, wanted = MECHANISMS[mechanism], audience(scenario, created, seed)
    if engine == "fast":
        ledger = Ledger(scenario, wanted, way.via, keep=True)
        counted = way.run_kernel(scenario, ledger, seed)
        assert ledger.deliveries is not None, "it keeps them"
        return Replication(ledger.deliveries, counted, ledger.series)
    from sim.mechanisms.world import World  # noqa: PLC0415 - the fast engine needs no SimPy

    world = World(scenario, wanted, seed, way.via, narrator, witness)
    way.run_model(world)
    return Replication(world.deliveries, world.counters, world.series)


def summary_once(
    scenario: Scenario,
    mechanism: str,
    created: NDArray[np.float64],
    seed: int,
    engine: Engine = "fast",
    *,
    workers: int | None = None,
    exact_up_to: int | None = None,
) -> tuple[Summary, Counters]:
    """The metrics of one mechanism in one replication, and what it counted; no record is kept.

    Of more than `EXACT_UP_TO` deliveries the fast engine folds each subscriber's as soon as they are known,
    so memory does not grow with the subscribers. Quantiles are then within
    `sim.metrics.histogram.RELATIVE_ERROR`; all else is as computed from the records, to the last bit.

    Args:
        scenario: what is studied.
        mechanism: one of `MECHANISMS`.
        created: the events' times, seconds, sorted, shape (n_events,).
        seed: the replication's seed.
        engine: which engine.
        workers: how many threads share the work (default: one a core); no result depends on it.
        exact_up_to: in place of `EXACT_UP_TO`.
    """
    few = len(created) * scenario.subscribers.count <= (EXACT_UP_TO if exact_up_to is None else exact_up_to)
    if engine != "fast" or few:
        run = run_once(scenario, mechanism, created, seed, engine)
        return summary_of(run.deliveries, run.counters, scenario), run.counters
    way = MECHANISMS[mechanism]
    ledger = Ledger(scenario, audience(scenario, created, seed), way.via, keep=False, workers=workers)
    counted = way.run_kernel(scenario, ledger, seed)
    return summary_of(ledger.digest(), counted, scenario), counted


def poll_phase_s(scenario: Scenario, seed: int, subscriber: int = 0) -> float:
    """When the model's poller first wakes (jitter aside), seconds, so that a real one can do the same."""
    return first_wake(compile_schedule(scenario.polling), seed, subscriber)
