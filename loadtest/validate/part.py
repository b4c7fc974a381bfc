"""One part of a validation: its comparisons, the distributions behind them, and whether to believe them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from loadtest.schedule import FloatArray
from loadtest.validate.comparison import Comparison, Distance, Verdict, compare, kolmogorov_smirnov

Metrics = dict[str, float]


@dataclass(frozen=True)
class Curve:
    """A latency at one load, pooled over replications, predicted and measured.

    Attributes:
        load: which. metric: the prefix of the metrics' names.
        predicted_s, measured_s: seconds, NaN where it never came.
    """

    load: str
    metric: str
    predicted_s: FloatArray
    measured_s: FloatArray


@dataclass(frozen=True)
class Part:
    """What one part of a validation found.

    Attributes:
        name: as on the command line. title: what was predicted, in words.
        comparisons, distances, curves: by load.
        void: reasons to distrust the loads that are judged; empty when sound.
        notes: facts for run.json.
    """

    name: str
    title: str
    comparisons: tuple[Comparison, ...]
    distances: tuple[Distance, ...] = ()
    curves: tuple[Curve, ...] = ()
    void: tuple[str, ...] = ()
    notes: dict[str, Any] = field(default_factory=dict)

    @property
    def missed(self) -> list[Comparison]:
        """The comparisons whose tolerance was not kept."""
        return [each for each in self.comparisons if each.verdict is Verdict.MISSED]


@dataclass(frozen=True)
class Replicate:
    """One replication of one load: metrics on both sides, and the latencies they are of.

    Attributes:
        predicted, measured: metrics by name.
        predicted_s, measured_s: the latency, in the order of creation. created_s: of the measured events.
        void: reasons to distrust it. folder: of the measured run.
    """

    predicted: Metrics
    measured: Metrics
    predicted_s: FloatArray
    measured_s: FloatArray
    created_s: FloatArray
    void: Sequence[str]
    folder: str


class Builder:
    """Gathers a part, load by load."""

    def __init__(self, name: str, title: str, metric: str) -> None:
        self._name, self._title, self._metric = name, title, metric
        self._comparisons: list[Comparison] = []
        self._distances: list[Distance] = []
        self._curves: list[Curve] = []
        self._void: list[str] = []
        self.notes: dict[str, Any] = {"runs": {}, "not_judged_void": {}}

    def load(
        self,
        load: str,
        runs: int,
        replicate: Callable[[int], Replicate],
        tolerances: dict[str, float],
        others: Sequence[str],
    ) -> None:
        """Add one load, run so many times; without tolerances it is reported as found."""
        done = [replicate(number) for number in range(runs)]
        self._comparisons += compare(
            self._name,
            load,
            [each.predicted for each in done],
            [each.measured for each in done],
            tolerances,
            others,
        )
        predicted_s = np.concatenate([each.predicted_s for each in done])
        measured_s = np.concatenate([each.measured_s for each in done])
        ends_s = np.cumsum([0.0, *(each.created_s.max(initial=0.0) for each in done[:-1])])
        created_s = np.concatenate([each.created_s + end for each, end in zip(done, ends_s, strict=True)])
        if measured_s.size and predicted_s.size:
            distance = kolmogorov_smirnov(predicted_s, measured_s, created_s)
            self._distances.append(Distance(self._name, load, self._metric, distance))
            self._curves.append(Curve(load, self._metric, predicted_s, measured_s))
        self.notes["runs"][load] = [each.folder for each in done]
        void = [f"{self._name}, {load}: {reason}" for each in done for reason in each.void]
        if tolerances:
            self._void += void
        elif void:
            self.notes["not_judged_void"][load] = void

    def part(self) -> Part:
        """All of it."""
        return Part(
            self._name,
            self._title,
            tuple(self._comparisons),
            tuple(self._distances),
            tuple(self._curves),
            tuple(self._void),
            self.notes,
        )
