"""`validate`: calibrate the model, predict other loads, measure them, compare."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loadtest.runner import Progress
from loadtest.runner.session import terminable
from loadtest.schedule import DEFAULT_POOL_SIZE
from loadtest.validate.comparison import Comparison, Verdict
from loadtest.validate.measuring import Bench
from loadtest.validate.part import Part
from loadtest.validate.receiver_parts import Calibrated, Plan, calibrated, known, natural
from sim.errors import InputError, ThresholdMissed, VoidRun
from sim.results import RunFolder

if TYPE_CHECKING:
    import pandas as pd

    from sim.scenario import Scenario

SCHEMA_VERSION = 1
PARTS = ("known", "natural", "polling", "long_polling", "recovery", "duplicates")
NEED_A_CALIBRATED_RECEIVER = frozenset({"known", "natural"})


@dataclass(frozen=True)
class Validation:
    """What a validation found.

    Attributes:
        scenario: whose receiver, payload and service were used.
        plan: how much was measured.
        calibrated: the receiver's model; None where no part needed it.
        parts: in the order in which they were run.
        path: the run folder.
    """

    scenario: Scenario
    plan: Plan
    calibrated: Calibrated | None
    parts: tuple[Part, ...]
    path: Path

    @property
    def comparisons(self) -> list[Comparison]:
        """Those of all parts."""
        return [each for part in self.parts for each in part.comparisons]

    @property
    def void(self) -> list[str]:
        """Every reason to distrust what is judged; empty when sound."""
        first = list(self.calibrated.void) if self.calibrated else []
        return [*first, *(reason for part in self.parts for reason in part.void)]

    @property
    def missed(self) -> list[Comparison]:
        """Every tolerance that was not kept."""
        return [each for part in self.parts for each in part.missed]

    @property
    def exit_code(self) -> int:
        """0: every tolerance was kept; 3: the measurement is not to be trusted; 4: one was missed."""
        if self.void:
            return VoidRun.exit_code
        return ThresholdMissed.exit_code if self.missed else 0

    def sentence(self) -> str:
        """The result in one sentence."""
        judged = [each for each in self.comparisons if each.tolerance is not None]
        kept = len(judged) - len(self.missed)
        told = f"The model predicted {kept} of {len(judged)} figures within the stated tolerances"
        if not self.missed:
            return f"{told}."
        worst = max(self.missed, key=lambda each: abs(each.error.mean) / (each.tolerance or 1.0))
        return f"{told}; the worst is {worst.metric} of {worst.part} at {worst.load}: {off(worst)}."

    def document(self) -> dict[str, Any]:
        """The one JSON document of ``--json``."""
        return {
            "schema_version": SCHEMA_VERSION,
            "command": "validate",
            "scenario": self.scenario.model_dump(mode="json"),
            "seed": self.plan.seed,
            "replications": self.plan.runs,
            "calibration": None if self.calibrated is None else calibration_document(self.calibrated),
            "comparisons": [each.as_dict() for each in self.comparisons],
            "distances": [each.as_dict() for part in self.parts for each in part.distances],
            "void": self.void,
            "sentence": self.sentence(),
            "run": str(self.path),
        }

    def table(self) -> pd.DataFrame:
        """A row a comparison, as in comparisons.csv."""
        import pandas as pd  # noqa: PLC0415 - half a second, only when a table is wanted

        rows = []
        for each in self.comparisons:
            row: dict[str, Any] = {"part": each.part, "load": each.load, "metric": each.metric}
            for name in ("predicted", "measured", "error"):
                value = getattr(each, name)
                row |= {name: value.mean, f"{name}_low": value.low, f"{name}_high": value.high}
            rows.append(row | {"tolerance": each.tolerance, "verdict": str(each.verdict)})
        return pd.DataFrame(rows)


def off(each: Comparison) -> str:
    """How far off, and how far it might be: "12 % too high (5 % are allowed)"."""
    error = each.error.mean
    if math.isnan(error):
        return "it could not be compared"
    how = "high" if error > 0 else "low"
    allowed = "" if each.tolerance is None else f" ({100 * each.tolerance:g} % are allowed)"
    return f"{100 * abs(error):.2g} % too {how}{allowed}"


def calibration_document(calibrated: Calibrated) -> dict[str, Any]:
    """The calibration for run.json and ``--json``."""
    found = calibrated.calibration
    return {
        "stages": found.stages.model_dump(mode="json"),
        "capacity_per_s": found.saturated_per_s,
        "light_rates_per_s": list(found.rates_per_s),
        "receiver_cpu_s": [{"measured": a, "modelled": b} for a, b in found.receiver_cpu_s],
        "sender_cpu_s": [{"measured": a, "modelled": b} for a, b in found.sender_cpu_s],
        "events_that_met_nobody": found.alone,
        "runs": list(calibrated.folders),
    }


def validate(
    scenario: Scenario,
    parts: Sequence[str] = PARTS,
    *,
    plan: Plan | None = None,
    pool_size: int = DEFAULT_POOL_SIZE,
    out: str | Path | None = None,
    command: str | Sequence[str] = "hookbench validate",
    figures: bool = True,
    progress: Progress | None = None,
) -> Validation:
    """Calibrate the model at light load, predict other loads, run them for real, compare.

    Args:
        scenario: whose payload, service and workers are used; its workload's rate is not.
        parts: of `PARTS`.
        plan: how much is measured, and the seed.
        pool_size: requests in flight at most.
        out: parent of the run folder (default ./results).
        command: what was asked, for run.json.
        figures: draw them into the run folder.
        progress: where to show each load.

    Raises:
        InputError: an unknown part, a number out of range, a scenario that a part cannot use.
        VoidRun: a process of a run died, or the loads do not tell what a calibration needs.
        KeyboardInterrupt: interrupted; every process is gone and the run folder is marked incomplete.
    """
    plan = plan or Plan()
    check(scenario, parts, plan)
    with (
        terminable(),
        RunFolder.create(
            f"validate-{scenario.name}", command, out, scenario=scenario, seeds=(plan.seed,)
        ) as folder,
    ):
        bench = Bench(scenario, folder.path, pool_size, progress)
        receiver = calibrated(bench, plan) if NEED_A_CALIBRATED_RECEIVER & set(parts) else None
        if receiver is not None:
            folder.note(calibration=calibration_document(receiver))
        done: list[Part] = []
        for name in parts:
            done.append(_part(name, bench, receiver, plan))
            folder.note(parts_done=[part.name for part in done])
        result = Validation(scenario, plan, receiver, tuple(done), folder.path)
        save(folder, result, figures=figures)
    return result


def check(scenario: Scenario, parts: Sequence[str], plan: Plan) -> None:
    """Refuse what cannot be validated, before anything is run.

    Raises:
        InputError: naming the option and what would be accepted.
    """
    for part in parts:
        if part not in PARTS:
            raise InputError(f"--part {part!r}: there is no such part; parts: {', '.join(PARTS)}")
    if not parts or len(set(parts)) < len(parts):
        raise InputError(f"each part once, at least one, got {', '.join(parts) or 'none'}")
    if plan.runs < 1:
        raise InputError(f"--runs must be at least 1, got {plan.runs}")
    if not 1 <= plan.duration_s <= 3600:
        raise InputError(f"--duration must be from 1 to 3600 seconds, got {plan.duration_s:g}")
    if "known" in parts and not scenario.receiver.service.mean_s > 0:
        raise InputError(f"{scenario.name}: receiver.service takes no time; part known needs a mean above 0")


def _part(name: str, bench: Bench, receiver: Calibrated | None, plan: Plan) -> Part:
    if name in NEED_A_CALIBRATED_RECEIVER:
        assert receiver is not None
        return (known if name == "known" else natural)(bench, receiver, plan)
    if name == "duplicates":
        from loadtest.validate.losses import duplicates  # noqa: PLC0415 - compiled code

        return duplicates(bench, plan)
    from loadtest.validate import races  # noqa: PLC0415 - compiled code

    track = races.Track(bench.out, bench.pool_size, bench.progress)
    made = {"polling": races.polling, "long_polling": races.long_polling, "recovery": races.recovery}
    return made[name](track, bench.scenario, plan)


def save(folder: RunFolder, result: Validation, *, figures: bool) -> None:
    """Write tables, notes and figures."""
    import pandas as pd  # noqa: PLC0415 - half a second that --help need not wait for

    folder.save_table(result.table(), "comparisons")
    distances = [each.as_dict() for part in result.parts for each in part.distances]
    folder.save_table(
        pd.DataFrame(distances, columns=["part", "load", "metric", "value", "low", "high"]), "distances"
    )
    folder.note(
        sentence=result.sentence(),
        void=result.void,
        thresholds=[
            {
                "arm": f"{each.part}, {each.load}",
                "threshold": f"{each.metric} within {100 * (each.tolerance or 0):g} %: {off(each)}",
                "met": each.verdict is Verdict.MET,
            }
            for each in result.comparisons
            if each.tolerance is not None
        ],
        parts={part.name: json.loads(json.dumps(part.notes)) for part in result.parts},
        replications=result.plan.runs,
    )
    if figures:
        from loadtest.validate.figures import draw  # noqa: PLC0415 - matplotlib takes a second

        for name, figure in draw(result).items():
            folder.save_figure(figure, name)
