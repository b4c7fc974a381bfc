"""What a load or a race found, as values: per arm and as a whole."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loadtest.schedule import shape_of
from loadtest.verdict import Ledger, ThresholdResult, exit_code
from sim.experiment import Estimate, estimate

if TYPE_CHECKING:
    import pandas as pd

    from loadtest.recorder import Samples
    from loadtest.schedule import IntArray
    from sim.scenario import Scenario

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class ArmRun:
    """One arm, run once.

    Attributes:
        arm: its name, of `loadtest.runner.arms` or, in a load, of `loadtest.runner.load`.
        run: which repetition, from 0.
        metrics: by the design's metric names; only what was measured.
        ledger: where every scheduled request ended up.
        void: reasons not to trust the figures, in words; empty when sound.
        samples: the generator's raw requests.
        records: delivery records (see `sim.records`), None where deliveries cannot be seen.
        server_load: the monitor's readings as a table.
        notes: facts for run.json: event loops, cores, CPU baselines, failures.
        observations: what machine and servers said of themselves meanwhile: role, at_s, name, value.
        judged: latency metrics in which failures count as infinitely late, for thresholds only.
        received_us: when each event was completely at our receiver, by event; None where that is not known.
    """

    arm: str
    run: int
    metrics: dict[str, float]
    ledger: Ledger
    void: Sequence[str]
    samples: Samples
    records: pd.DataFrame | None
    server_load: pd.DataFrame
    notes: dict[str, Any] = field(default_factory=dict)
    judged: dict[str, float] = field(default_factory=dict)
    observations: pd.DataFrame | None = None
    received_us: IntArray | None = None


@dataclass(frozen=True)
class Paired:
    """The difference a - b of one metric between two arms, over runs with the same events."""

    a: str
    b: str
    metric: str
    difference: Estimate

    def as_dict(self) -> dict[str, Any]:
        """For `--json`."""
        return {"a": self.a, "b": self.b, "metric": self.metric} | _plain(self.difference)


@dataclass(frozen=True)
class LoadResult:
    """What `load` or `race` found.

    Attributes:
        command: "load" or "race".
        scenario: the scenario as it was run, overrides applied.
        seed: of the event list.
        runs: every arm run, in the order in which they were run.
        thresholds: every threshold held against every arm that measures it.
        paired: differences between arms over runs (a race of two arms).
        differences: per event and run, each arm's latency in s, and of two their difference; None for a load.
        path: the run folder.
    """

    command: str
    scenario: Scenario
    seed: int
    runs: tuple[ArmRun, ...]
    thresholds: tuple[ThresholdResult, ...]
    path: Path
    paired: tuple[Paired, ...] = ()
    differences: pd.DataFrame | None = None

    @property
    def shape(self) -> str:
        """How the load came, and what befell the server, in a few words."""
        told = self.runs[0].notes.get("shape") or shape_of(self.scenario)
        storms = self.runs[0].notes.get("storms", ())
        faults = self.runs[0].notes.get("faults", ())
        return "; ".join([told, *storms, *(fault["text"] for fault in faults)])

    @property
    def arms(self) -> tuple[str, ...]:
        """The arms, in the order of their first run."""
        return tuple(dict.fromkeys(run.arm for run in self.runs))

    def of(self, arm: str) -> list[ArmRun]:
        """The runs of one arm."""
        return [run for run in self.runs if run.arm == arm]

    def metrics(self, arm: str) -> dict[str, Estimate]:
        """Each metric of an arm: its mean over the runs, with a 95 % interval when there are several."""
        names = dict.fromkeys(name for run in self.of(arm) for name in run.metrics)
        return {name: estimate([run.metrics.get(name, math.nan) for run in self.of(arm)]) for name in names}

    def ledger(self, arm: str) -> dict[str, int | None]:
        """An arm's ledger, summed over its runs."""
        columns = [run.ledger.as_dict() for run in self.of(arm)]
        return {
            name: None
            if any(column[name] is None for column in columns)
            else sum(c[name] or 0 for c in columns)
            for name in columns[0]
        }

    @property
    def void(self) -> list[str]:
        """Every reason to distrust the figures, each with its arm; empty when sound."""
        repeated = len(self.runs) > len(self.arms)
        return [
            f"{run.arm}{f' (run {run.run + 1})' if repeated else ''}: {reason}"
            for run in self.runs
            for reason in run.void
        ]

    @property
    def exit_code(self) -> int:
        """0 good, 3 void, 4 a threshold missed."""
        return exit_code(self.void, self.thresholds)

    def document(self) -> dict[str, Any]:
        """The one JSON document of ``--json``."""
        return {
            "schema_version": SCHEMA_VERSION,
            "command": self.command,
            "scenario": self.scenario.model_dump(mode="json"),
            "seed": self.seed,
            "engine": None,
            "replications": max(len(self.of(arm)) for arm in self.arms),
            "results": [
                {"arm": arm, "metrics": {name: _plain(value) for name, value in self.metrics(arm).items()}}
                for arm in self.arms
            ],
            "paired": [paired.as_dict() for paired in self.paired],
            "ledger": {arm: self.ledger(arm) for arm in self.arms},
            "void": self.void,
            "thresholds": [result.__dict__ for result in self.thresholds],
            "run": str(self.path),
        }

    def summary(self) -> pd.DataFrame:
        """One row an arm and metric: mean, low, high."""
        import pandas as pd  # noqa: PLC0415 - half a second, only when a table is wanted

        rows: list[Mapping[str, Any]] = [
            {"arm": arm, "metric": name, **_plain(value)}
            for arm in self.arms
            for name, value in self.metrics(arm).items()
        ]
        return pd.DataFrame(rows, columns=["arm", "metric", "mean", "low", "high"])


def _plain(value: Estimate) -> dict[str, float | None]:
    return {"mean": None if math.isnan(value.mean) else value.mean, "low": value.low, "high": value.high}
