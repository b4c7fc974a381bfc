"""Sweeps: every design point, replicated, under each mechanism, on any executor, taken up again after a stop.

All points share their seeds: replication r sees the same draws everywhere, so neighbouring points are
compared on common random numbers as mechanisms are (Law, "Simulation Modeling and Analysis", section 11.2).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, CancelledError, Future, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import cached_property
from itertools import combinations, product
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from sim.catalogue import MECHANISMS
from sim.engine import DEFAULT_MECHANISMS, Engine, check, is_compiled
from sim.errors import HookbenchError
from sim.experiment.axes import Axis, Point, design
from sim.experiment.estimates import Estimate, Pairing
from sim.experiment.executors import Workers, open_executor
from sim.experiment.intervals import Sample, metric_estimate, metric_pairing
from sim.experiment.journal import Bases, Finished, Journal, Metrics
from sim.experiment.pairs import PAIRING_COLUMNS, pairing_row
from sim.experiment.runs import Work, carry_out_all, shares, told
from sim.scenario import Scenario

if TYPE_CHECKING:
    import pandas as pd

AHEAD = 3
"""Lots of work handed to the executor for each of its slots."""

ROW_COLUMNS = ("point", "replication", "mechanism", "metric", "value")
"""The columns of `Sweep.rows`, after one for each key that varies."""


class WorkerLost(HookbenchError):
    """A worker process ended in the middle of a run. What was finished is kept."""


class Neighbours(NamedTuple):
    """Two neighbouring design points, compared on the same draws.

    Attributes:
        point, next_point: their numbers.
        first, second: what tells them apart, in words.
        mechanism, metric: of what.
        pairing: the difference second − first, and what sharing the draws won.
    """

    point: int
    next_point: int
    first: str
    second: str
    mechanism: str
    metric: str
    pairing: Pairing

    @property
    def a(self) -> str:
        """The second in words, as the difference counts it."""
        return f"{self.mechanism} ({self.second})"

    @property
    def b(self) -> str:
        """The first in words."""
        return f"{self.mechanism} ({self.first})"

    def is_of(self, mechanism: str, metric: str) -> bool:
        """Whether it is about these."""
        return (self.mechanism, self.metric) == (mechanism, metric)


@dataclass(frozen=True)
class Sweep:
    """A finished sweep.

    Attributes:
        scenario: the base scenario.
        axes: what varied.
        points: the design points, the last axis moving fastest.
        mechanisms: run at each point on the same events.
        replications: at each point.
        seed: of the experiment.
        results: (point's number, replication) -> mechanism -> metric -> value.
        bases: (point's number, replication) -> mechanism -> what its metrics rest on.
    """

    scenario: Scenario
    axes: tuple[Axis, ...]
    points: tuple[Point, ...]
    mechanisms: tuple[str, ...]
    replications: int
    seed: int
    results: dict[tuple[int, int], Metrics]
    bases: dict[tuple[int, int], Bases] = field(default_factory=dict)

    @cached_property
    def metrics(self) -> list[str]:
        """Every metric that any run has, in the order of the vocabulary."""
        return list(
            dict.fromkeys(name for run in self.results.values() for of_one in run.values() for name in of_one)
        )

    def values(self, point: int, mechanism: str, metric: str) -> list[float]:
        """One metric of one mechanism at one point, a value a replication; NaN where it is undefined."""
        return [
            self.results[point, replication][mechanism].get(metric, math.nan)
            for replication in range(self.replications)
        ]

    def sample(self, point: int, mechanism: str, metric: str) -> Sample:
        """The same with what the values rest on."""
        bases = [
            self.bases[point, replication][mechanism]
            for replication in range(self.replications)
            if (point, replication) in self.bases
        ]
        return Sample(self.values(point, mechanism, metric), bases)

    def estimate(self, point: int, mechanism: str, metric: str) -> Estimate:
        """Its estimate over the replications, with a 95 % interval (`sim.experiment.intervals`)."""
        return metric_estimate(metric, self.sample(point, mechanism, metric))

    def difference(self, point: int, a: str, b: str, metric: str) -> Estimate:
        """The difference a − b at one point, paired by replication."""
        return metric_pairing(metric, self.sample(point, a, metric), self.sample(point, b, metric)).difference

    def neighbouring(self, metrics: Sequence[str]) -> Iterator[Neighbours]:
        """Every two neighbours along an axis, all else alike: the second less the first on the same draws.

        A metric that either lacks is left out, and a mechanism to which the axis is nothing.
        """
        stride = 1
        for axis in reversed(self.axes):
            steps = len(axis.values)
            heeding = [m for m in self.mechanisms if any(MECHANISMS[m].heeds(key) for key in axis.keys)]
            for number in (n for n in range(len(self.points)) if n // stride % steps < steps - 1):
                pair = number, number + stride
                first, second = (told({key: self.points[n][key] for key in axis.keys}) for n in pair)
                for mechanism, metric in product(heeding, metrics):
                    if all(metric in self.results[n, 0][mechanism] for n in pair):
                        before, after = (self.sample(n, mechanism, metric) for n in pair)
                        pairing = metric_pairing(metric, after, before)
                        yield Neighbours(*pair, first, second, mechanism, metric, pairing)
            stride *= steps

    def neighbours(self, metrics: Sequence[str]) -> pd.DataFrame:
        """The same as a table: the numbers and values of both points, then mechanism, metric and pairing."""
        import pandas as pd  # noqa: PLC0415

        lines = [(*each[:-1], *pairing_row(each.pairing)) for each in self.neighbouring(metrics)]
        columns = ["point", "next_point", "first", "second", "mechanism", "metric", *PAIRING_COLUMNS]
        return pd.DataFrame(lines, columns=columns)

    def paired(self, metrics: Sequence[str]) -> pd.DataFrame:
        """Mechanism less mechanism at each point: the keys, `point, a, b, metric`, `PAIRING_COLUMNS`."""
        import pandas as pd  # noqa: PLC0415

        keys = [key for axis in self.axes for key in axis.keys]
        lines = []
        for number, point in enumerate(self.points):
            for a, b in combinations(self.mechanisms, 2):
                for metric in metrics:
                    if all(metric in self.results[number, 0][mechanism] for mechanism in (a, b)):
                        of_a, of_b = (self.sample(number, mechanism, metric) for mechanism in (a, b))
                        row = pairing_row(metric_pairing(metric, of_a, of_b))
                        lines.append((*(point[key] for key in keys), number, a, b, metric, *row))
        return pd.DataFrame(lines, columns=[*keys, "point", "a", "b", "metric", *PAIRING_COLUMNS])

    def rows(self) -> pd.DataFrame:
        """The tidy table: a column a key that varies, then `ROW_COLUMNS`; a row a value."""
        import pandas as pd  # noqa: PLC0415

        keys = [key for axis in self.axes for key in axis.keys]
        lines = [
            (*(self.points[point][key] for key in keys), point, replication, mechanism, metric, value)
            for (point, replication), run in sorted(self.results.items())
            for mechanism in self.mechanisms
            for metric, value in run[mechanism].items()
        ]
        return pd.DataFrame(lines, columns=[*keys, *ROW_COLUMNS])

    def summary(self) -> pd.DataFrame:
        """The estimates, a row each: the keys that vary, then `point, mechanism, metric` and the estimate."""
        import pandas as pd  # noqa: PLC0415

        keys = [key for axis in self.axes for key in axis.keys]
        lines = []
        for number, point in enumerate(self.points):
            for mechanism in self.mechanisms:
                for metric in self.results[number, 0][mechanism]:
                    e = self.estimate(number, mechanism, metric)
                    at = (point[key] for key in keys)
                    lines.append((*at, number, mechanism, metric, e.mean, e.low, e.high, str(e.method)))
        columns = [*keys, "point", "mechanism", "metric", "mean", "low", "high", "method"]
        return pd.DataFrame(lines, columns=columns).astype({"low": "float64", "high": "float64"})


def sweep(
    scenario: Scenario,
    axes: Sequence[Axis],
    mechanisms: Sequence[str] = DEFAULT_MECHANISMS,
    *,
    replications: int = 10,
    seed: int = 1,
    engine: Engine = "fast",
    executor: str | Workers = "processes",
    journal: Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Sweep:
    """Run a design.

    Args:
        scenario: the base scenario, whose values the design points replace.
        axes: what varies; several are crossed.
        mechanisms: run at each point on the same events.
        replications: at each point.
        seed: fixes every draw.
        engine: "fast" or "simpy".
        executor: a name (see `sim.experiment.executors`), or an executor of your own with its slots.
        journal: where finished runs are kept; those that it holds already are not computed again.
        progress: called with (runs finished, runs in all), those of the journal included.

    Raises:
        InputError: an unknown key or mechanism, a value out of range, another sweep's journal.
        WorkerLost: a worker process was killed; what is finished is in the journal.
    """
    chosen = check(mechanisms, engine, seed, replications)
    points = tuple(design(scenario, axes))
    identity = {
        "scenario": scenario.digest(),
        "axes": [{"keys": axis.keys, "values": axis.values} for axis in axes],
        "mechanisms": list(mechanisms),
        "replications": replications,
        "seed": seed,
    }
    results: dict[tuple[int, int], Metrics] = {}
    bases: dict[tuple[int, int], Bases] = {}
    total = len(points) * replications

    def take(finished: Sequence[Finished]) -> None:
        results.update({(each.point, each.replication): each.metrics for each in finished})
        bases.update({(each.point, each.replication): each.bases for each in finished})
        if progress is not None:
            progress(len(results), total)

    with nullcontext() if journal is None else Journal(journal, identity) as book:
        if book is not None:
            take(book.finished)
        left = {
            number: [r for r in range(replications) if (number, r) not in results]
            for number in range(len(points))
        }
        opened = open_executor(executor) if isinstance(executor, str) else nullcontext(executor)
        if len(results) < total:
            base = scenario.model_dump_json()
            with opened as workers:
                lots = (
                    [
                        Work(base, number, points[number], tuple(mechanisms), which, seed, chosen)
                        for number, which in share
                    ]
                    for share in shares(left, points, mechanisms, workers.slots)
                )
                for finished in _carried_out(lots, workers, compile_first=not is_compiled(mechanisms)):
                    if book is not None:
                        book.add(finished)
                    take(finished)
    return Sweep(scenario, tuple(axes), points, tuple(mechanisms), replications, seed, results, bases)


def _carried_out(
    lots: Iterator[list[Work]], workers: Workers, *, compile_first: bool
) -> Iterator[list[Finished]]:
    """The results of all lots, in the order in which they are finished."""
    if compile_first and (first := next(lots, None)) is not None:
        yield carry_out_all(first)  # into the cache, from which every worker then takes it
    pending: set[Future[list[Finished]]] = set()
    try:
        while True:
            while len(pending) < AHEAD * workers.slots and (lot := next(lots, None)) is not None:
                pending.add(workers.executor.submit(carry_out_all, lot))
            if not pending:
                return
            done, pending = wait(pending, timeout=0.5, return_when=FIRST_COMPLETED)  # 0.5 s: Ctrl-C is heard
            good = {future for future in done if not future.cancelled() and future.exception() is None}
            yield from (future.result() for future in good)
            for failed in done - good:
                failed.result()
    except (BrokenProcessPool, CancelledError) as error:
        raise WorkerLost(f"a worker was lost in the middle of a run ({_reason(error)})") from None
    finally:
        for future in pending:
            future.cancel()


def _reason(error: BaseException) -> str:
    return "killed, or out of memory" if isinstance(error, BrokenProcessPool) else "its run was cancelled"
