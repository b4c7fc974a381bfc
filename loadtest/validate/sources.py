"""What a user has of a system of their own: a run folder, a table of service times, or an access log."""

from __future__ import annotations

import csv
import json
import math
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from loadtest.runs import read_recorded
from loadtest.validate.calibration import WARM_SHARE, calibrate_from_one, distribution_of
from loadtest.validate.observed import Observed, observed
from sim.errors import InputError
from sim.reference_receiver import Stages
from sim.results import DOCUMENT, Run, read_run

if TYPE_CHECKING:
    from loadtest.schedule import FloatArray
    from sim.distribution_specs import DistributionSpec

UNITS = {"s": 1.0, "ms": 1e-3, "us": 1e-6}
COLUMNS = ("service", "duration", "request_time", "time_taken", "latency", "elapsed")
"""How a column of durations may begin, before its unit."""

TIMES = ("time", "timestamp", "start", "created", "received")
LEAST = 30
_STAMP = re.compile(r"\[(\d{1,2}/\w{3}/\d{4}:\d{2}:\d{2}:\d{2} [+-]\d{4})\]")
_LAST_NUMBER = re.compile(r"(?:^|[\s\"=])(\d+(?:\.\d+)?)\s*$")
_LIGHT = 0.3


@dataclass(frozen=True)
class Source:
    """What a prediction starts from.

    Attributes:
        told: what it is, in words.
        stages: the model's parameters.
        rate_per_s: at which it was measured; None where the source does not say.
        remarks: what to bear in mind.
    """

    told: str
    stages: Stages
    rate_per_s: float | None
    remarks: tuple[str, ...]


def read_source(path: Path, workers: int, unit: str = "s") -> Source:
    """A run folder of ``load`` or ``validate``, a CSV of durations, or an access log.

    Args:
        path: of the folder or the file.
        workers: how many serve at once, where durations are all that is known.
        unit: of durations whose column does not name one; of `UNITS`.

    Raises:
        InputError: it is none of them, or holds too little.
        VoidRun: a load that does not tell what a calibration needs.
    """
    if unit not in UNITS:
        raise InputError(f"--unit {unit!r}: expected one of {', '.join(UNITS)}")
    if path.is_dir():
        return _folder(path)
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise InputError(f"--from {path}: {error.strerror}") from None
    lines = [line for line in text.splitlines() if line.strip()]
    if not lines:
        raise InputError(f"--from {path}: it is empty")
    is_log = _STAMP.search(lines[0]) is not None
    times_s, durations_s = _log(lines, UNITS[unit]) if is_log else _table(path, lines, UNITS[unit])
    return _durations(path, times_s, durations_s, workers)


def _folder(path: Path) -> Source:
    if not (path / DOCUMENT).is_file():
        raise InputError(f"--from {path}: no run folder, for it has no {DOCUMENT}")
    run = read_run(path)
    if run.notes.get("calibration"):
        return _validated(path, run)
    recorded = read_recorded(path)
    values = run.document["scenario"]["values"]
    repetition = recorded.repetitions[0]
    load = observed(repetition, recorded.warmup_s, float(values["run"]["duration_s"]))
    receiver = values["receiver"]
    service = _service(receiver["service"])
    stages = calibrate_from_one(_without_service(load, service))
    stages = stages.model_copy(update={"service": service, "workers": int(receiver["workers"])})
    remarks = [
        f"one load only: {100 * WARM_SHARE:.0f} % of its CPU is taken for work, the rest for waking idle "
        "cores; hookbench validate measures that"
    ]
    remarks += [f"that load is void: {reason}" for reason in recorded.void]
    return Source(f"a measured load of {load.rate_per_s:,.4g}/s", stages, load.rate_per_s, tuple(remarks))


def _validated(path: Path, run: Run) -> Source:
    calibration: dict[str, Any] = run.notes["calibration"]
    stages = Stages.model_validate_json(json.dumps(calibration["stages"]))
    receiver = run.document["scenario"]["values"]["receiver"]
    service = _service(receiver["service"])
    stages = stages.model_copy(update={"service": service, "workers": int(receiver["workers"])})
    rate_per_s = float(calibration["light_rates_per_s"][-1])
    return Source(f"the calibration of {path.name}", stages, rate_per_s, ())


def _service(document: dict[str, Any]) -> DistributionSpec:
    return Stages.model_validate_json(json.dumps({"service": document})).service


def _without_service(load: Observed, service: DistributionSpec) -> Observed:
    """The same load, its events visible as soon as they were stored, as far as their answers tell."""
    if service.mean_s == 0:
        return load
    return replace(load, visible_s=np.minimum(load.visible_s, load.acknowledged_s))


def _log(lines: Iterable[str], unit_s: float) -> tuple[FloatArray, FloatArray]:
    """Times and durations of an access log: a stamp in brackets, the duration last in the line."""
    times, durations = [], []
    for number, line in enumerate(lines, 1):
        stamp, last = _STAMP.search(line), _LAST_NUMBER.search(line)
        if stamp is None or last is None:
            raise InputError(
                f"line {number} of the access log has no [time] or does not end in a duration: {line[:80]!r}"
            )
        times.append(datetime.strptime(stamp[1], "%d/%b/%Y:%H:%M:%S %z").timestamp())
        durations.append(float(last[1]) * unit_s)
    return np.array(times), np.array(durations)


def _table(path: Path, lines: list[str], unit_s: float) -> tuple[FloatArray | None, FloatArray]:
    """Durations of a CSV, and times where a column has them."""
    rows = list(csv.reader(lines))
    head, body = rows[0], rows[1:]
    if len(head) == 1 and _number(head[0]) is not None:
        return None, np.array(list(_numbers(path, ([row[0]] for row in rows), 0, 1))) * unit_s
    names = [name.strip().lower() for name in head]
    column = next((place for place, name in enumerate(names) if name.startswith(COLUMNS)), None)
    if column is None:
        raise InputError(
            f"--from {path}: no column of durations among {', '.join(head)}; "
            f"its name begins with {', '.join(COLUMNS)} and may end in _s, _ms or _us"
        )
    suffix = names[column].rpartition("_")[2]
    durations = np.array(list(_numbers(path, body, column, 2))) * UNITS.get(suffix, unit_s)
    dated = (place for place, name in enumerate(names) if name.startswith(TIMES) and place != column)
    when = next(dated, None)
    times = None if when is None else np.array(list(_numbers(path, body, when, 2)))
    return times, durations


def _numbers(path: Path, rows: Iterable[list[str]], column: int, first: int) -> Iterator[float]:
    for number, row in enumerate(rows, first):
        word = row[column] if column < len(row) else ""
        value = _number(word)
        if value is None:
            value = _instant(word)
        if value is None:
            raise InputError(f"--from {path}, line {number}: {word!r} is neither a number nor a time")
        yield value


def _number(word: str) -> float | None:
    try:
        value = float(word)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _instant(word: str) -> float | None:
    try:
        return datetime.fromisoformat(word.strip()).timestamp()
    except ValueError:
        return None


def _durations(path: Path, times_s: FloatArray | None, durations_s: FloatArray, workers: int) -> Source:
    if durations_s.size < LEAST:
        raise InputError(f"--from {path}: {durations_s.size} durations; at least {LEAST} are needed")
    if (durations_s < 0).any():
        raise InputError(f"--from {path}: a duration is negative: {durations_s.min():g} s")
    if not durations_s.mean() > 0:
        raise InputError(f"--from {path}: every duration is 0; is --unit right?")
    rate_per_s, remarks = None, ["durations are taken for service times: as of a system that hardly queued"]
    if times_s is not None and times_s.max() > times_s.min():
        rate_per_s = float(times_s.size / (times_s.max() - times_s.min()))
        utilisation = rate_per_s * float(durations_s.mean()) / workers
        if utilisation > _LIGHT:
            remarks.append(
                f"the log itself holds {100 * utilisation:.0f} % of {workers} workers busy: some of its "
                "durations were spent waiting, so what is predicted errs on the late side"
            )
    stages = Stages(workers=workers, service=distribution_of(durations_s))
    told = f"{durations_s.size:,} durations of {path.name}, {durations_s.mean():.3g} s on average"
    return Source(told, stages, rate_per_s, tuple(remarks))
