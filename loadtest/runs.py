"""Run folders of loads, races and simulations read back as values, for whoever reports or compares them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from sim.errors import InputError
from sim.results import Run, read_run

if TYPE_CHECKING:
    import pandas as pd

    from loadtest.recorder import Samples
    from loadtest.schedule import FloatArray, IntArray

Kind = Literal["load", "race", "simulate"]

SUBSCRIBER_STRIDE = 2**40


@dataclass(frozen=True)
class Latencies:
    """One latency of one repetition, an element an event (or request) due after the warm-up.

    Attributes:
        event: its number in the schedule; `SUBSCRIBER_STRIDE` more for each further subscriber.
        created_s: when it was created, or intended to be sent, since the run's origin.
        latency_s: from then on; `inf` where it failed or never came.
    """

    event: IntArray
    created_s: FloatArray
    latency_s: FloatArray


@dataclass(frozen=True)
class Repetition:
    """One arm (of a simulation: one mechanism), run once.

    Attributes:
        kind: which command ran it.
        arm: its name.
        run: which repetition, from 0.
        metrics: by name; only what was measured.
        samples: the generator's requests; None in a simulation.
        records: delivery records (`sim.records`), in the order of events; None where none were kept.
        server_load: the monitor's readings, `at_s` since the origin; None in a simulation.
        notes: what the arm run noted: origin_us, end_us, event loops, cores, failures.
        received_us: when each event was completely at our receiver, by event; None where it is not known.
    """

    kind: Kind
    arm: str
    run: int
    metrics: dict[str, float]
    samples: Samples | None
    records: pd.DataFrame | None
    server_load: pd.DataFrame | None
    notes: dict[str, Any]
    received_us: IntArray | None = None

    def latencies(self, warmup_s: float = 0.0) -> dict[str, Latencies]:
        """Each latency that was kept raw, by the prefix of its metrics' names.

        Of a load: ``latency`` and ``uncorrected_latency`` of its honest requests, and ``visible_latency``
        where deliveries could be seen. Of a race or a simulation: ``latency``, created to visible.
        """
        found: dict[str, Latencies] = {}
        # In a race the generator's requests are publications, whose answers nobody compares.
        if self.kind == "load" and self.samples is not None:
            samples = self.samples.chosen(self.samples.honest)
            created_s = (samples.intended_us - self.notes["origin_us"]) / 1e6
            chosen = created_s >= warmup_s
            for prefix, start_us in (
                ("latency", samples.intended_us),
                ("uncorrected_latency", samples.sent_us),
            ):
                latency_s = np.where(samples.acknowledged, (samples.done_us - start_us) / 1e6, math.inf)
                found[prefix] = Latencies(samples.index[chosen], created_s[chosen], latency_s[chosen])
        if self.records is not None:
            due = self.records[self.records["created"] >= warmup_s]
            created_s = due["created"].to_numpy(dtype=np.float64)
            latency_s = np.nan_to_num(due["visible"].to_numpy(dtype=np.float64) - created_s, nan=math.inf)
            event = due["event"].to_numpy() + SUBSCRIBER_STRIDE * due["subscriber"].to_numpy()
            prefix = "visible_latency" if self.kind == "load" else "latency"
            found[prefix] = Latencies(event, created_s, latency_s)
        return found


@dataclass(frozen=True)
class RecordedRun:
    """A load, race or simulation as its folder holds it.

    Attributes:
        folder: the verified folder: run.json, scenario, further tables.
        kind: which command made it.
        repetitions: every arm run whose raw data was kept, by arm and number.
        summary: a row an arm and metric: `arm, metric, mean, low, high`.
        ledger: by arm, summed over its runs; empty for a simulation.
        void: reasons to distrust the figures; empty when sound.
        thresholds: `arm, threshold, value, met` of each.
        differences: event by event between the arms of a race; None otherwise.
    """

    folder: Run
    kind: Kind
    repetitions: tuple[Repetition, ...]
    summary: pd.DataFrame
    ledger: dict[str, dict[str, int | None]]
    void: list[str]
    thresholds: list[dict[str, Any]]
    differences: pd.DataFrame | None

    @property
    def path(self) -> Path:
        """Where it lies."""
        return self.folder.path

    @property
    def arms(self) -> tuple[str, ...]:
        """The arms or mechanisms, in the summary's order."""
        return tuple(dict.fromkeys(str(arm) for arm in self.summary["arm"]))

    @property
    def warmup_s(self) -> float:
        """Seconds after the origin before which nothing counts."""
        scenario = self.folder.document["scenario"]
        return float(scenario["values"]["run"]["warmup_s"])

    def of(self, arm: str) -> list[Repetition]:
        """The repetitions of one arm, in order."""
        return [repetition for repetition in self.repetitions if repetition.arm == arm]


def read_recorded(path: str | Path) -> RecordedRun:
    """Read and verify a complete run folder of ``load``, ``race`` or ``simulate``.

    Raises:
        InputError: not a run folder, incomplete, changed since, or of another command.
    """
    folder = read_run(path)
    if not folder.complete:
        raise InputError(f"{path}: the run is incomplete ({folder.reason}); only a complete one can be read")
    kind = _kind(folder)
    if kind == "simulate":
        return _simulated(folder)
    return _measured(folder, kind)


def _kind(folder: Run) -> Kind:
    notes, name = folder.notes, str(folder.document["name"])
    if "ledger" in notes and "arms" in notes:
        return "race" if name.startswith("race-") else "load"
    if "engine" in notes and (folder.path / "summary.csv").is_file():
        return "simulate"
    raise InputError(f"{folder.path}: not a run of load, race or simulate, but {name!r}")


def _measured(folder: Run, kind: Kind) -> RecordedRun:
    from loadtest.recorder import Samples  # noqa: PLC0415 - half a second that --help need not wait for

    notes = folder.notes
    summary, load = folder.table("summary"), folder.table("server_load")
    metrics = _metrics(folder, summary)
    records = folder.records() if (folder.path / "records.parquet").is_file() else None
    repetitions = []
    for label, of_arm in notes["arms"].items():
        arm, _, number = label.rpartition("_")
        run = int(number)
        received = folder.path / f"received_{label}.npy"
        repetitions.append(
            Repetition(
                kind,
                arm,
                run,
                metrics.get((arm, run), {}),
                Samples.load(folder.path / f"samples_{label}.npz"),
                _rows(records, arm=arm, run=run),
                _rows(load, arm=arm, run=run),
                dict(of_arm),
                np.load(received) if received.is_file() else None,
            )
        )
    has_differences = (folder.path / "differences.csv").is_file()
    return RecordedRun(
        folder,
        kind,
        tuple(sorted(repetitions, key=lambda each: (list(summary["arm"]).index(each.arm), each.run))),
        summary,
        notes["ledger"],
        list(notes["void"]),
        list(notes["thresholds"]),
        folder.table("differences") if has_differences else None,
    )


def _simulated(folder: Run) -> RecordedRun:
    summary = folder.table("summary").rename(columns={"mechanism": "arm"})
    metrics = _metrics(folder, summary)
    records = folder.records() if (folder.path / "records.parquet").is_file() else None
    repetitions = [
        Repetition(
            "simulate",
            arm,
            run,
            metrics.get((arm, run), {}),
            None,
            _rows(records, mechanism=arm, replication=run),
            None,
            {},
        )
        for arm in dict.fromkeys(str(arm) for arm in summary["arm"])
        for run in range(int(folder.notes["replications"]))
    ]
    return RecordedRun(folder, "simulate", tuple(repetitions), summary, {}, [], [], None)


def _metrics(folder: Run, summary: pd.DataFrame) -> Mapping[tuple[str, int], dict[str, float]]:
    """By arm and repetition; of a folder older than `metrics.csv`, what a single repetition's means say."""
    found: dict[tuple[str, int], dict[str, float]] = {}
    if (folder.path / "metrics.csv").is_file():
        for row in folder.table("metrics").itertuples(index=False):
            found.setdefault((str(row[0]), int(row[1])), {})[str(row[2])] = float(row[3])
    elif summary["low"].isna().all():
        for arm, metric, mean in zip(summary["arm"], summary["metric"], summary["mean"], strict=True):
            found.setdefault((str(arm), 0), {})[str(metric)] = float(mean)
    return found


def _rows(frame: pd.DataFrame | None, **where: object) -> pd.DataFrame | None:
    if frame is None:
        return None
    for column, value in where.items():
        frame = frame[frame[column] == value]
    return None if frame.empty else frame.drop(columns=list(where)).reset_index(drop=True)
