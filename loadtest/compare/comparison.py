"""Two run folders compared: what may be compared, what changed, what that means for CI."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from loadtest import markdown
from loadtest.compare.comparability import obstacles, remarks
from loadtest.compare.effects import Effect, Kind, Verdict, effects
from loadtest.runs import RecordedRun, read_recorded
from sim.errors import InputError, ThresholdMissed
from sim.experiment import Estimate
from sim.tables import estimate_text, number_text

CONFIDENCE = 0.99
"""Of each interval: of twenty metrics that did not change, one is called different in five comparisons."""


@dataclass(frozen=True)
class Comparison:
    """What changed from run `a` to run `b`.

    Attributes:
        a, b: the runs.
        effects: every metric of every arm that both have.
        obstacles: why they should not be compared; empty unless it was forced.
        remarks: what else differs.
        confidence: of each interval.
        tolerance: by how much a metric may be worse; None when nothing is to fail.
    """

    a: RecordedRun
    b: RecordedRun
    effects: tuple[Effect, ...]
    obstacles: tuple[str, ...]
    remarks: tuple[str, ...]
    confidence: float
    tolerance: float | None

    @property
    def failures(self) -> list[Effect]:
        """The metrics shown to be worse, by more than the tolerance."""
        if self.tolerance is None:
            return []
        return [
            each
            for each in self.effects
            if each.verdict is Verdict.WORSE and each.worse_by() > self.tolerance
        ]

    @property
    def exit_code(self) -> int:
        """0, or 4 when a metric is worse by more than the tolerance."""
        return ThresholdMissed.exit_code if self.failures else 0

    @property
    def judged(self) -> list[Effect]:
        """The effects that have a verdict."""
        return [each for each in self.effects if each.verdict is not Verdict.NOT_JUDGED]

    @property
    def told(self) -> list[Effect]:
        """Of these, the ones worth a line: not what is the same in every repetition of both runs."""
        return [each for each in self.judged if not each.is_nothing]

    def sentence(self) -> str:
        """The outcome in one sentence."""
        counts = {
            verdict: sum(each.verdict is verdict for each in self.judged)
            for verdict in Verdict
            if verdict is not Verdict.NOT_JUDGED
        }
        told = ", ".join(f"{count} {verdict}" for verdict, count in counts.items() if count)
        return f"{len(self.judged)} metrics judged: {told or 'none'}"

    def document(self) -> dict[str, Any]:
        """The one JSON document of ``--json``."""
        return {
            "schema_version": 1,
            "command": "compare",
            "a": str(self.a.path),
            "b": str(self.b.path),
            "kind": self.b.kind,
            "confidence": self.confidence,
            "tolerance": self.tolerance,
            "obstacles": list(self.obstacles),
            "remarks": list(self.remarks),
            "effects": [
                {
                    "arm": each.arm,
                    "metric": each.metric,
                    "kind": str(each.kind),
                    "a": _finite(each.a),
                    "b": _finite(each.b),
                    "change": _finite(each.change.value),
                    "low": _finite(each.change.low),
                    "high": _finite(each.change.high),
                    "basis": each.basis or None,
                    "verdict": str(each.verdict),
                }
                for each in self.effects
            ],
            "failed": [{"arm": each.arm, "metric": each.metric} for each in self.failures],
        }

    def markdown(self) -> str:
        """The comparison for a pull request: the verdict first."""
        names = [markdown.code(f"{each.arm}.{each.metric}") for each in self.failures]
        if self.tolerance is not None:
            allowed = f"{self.tolerance:.3g}"
            head = (
                f"worse by more than {allowed}: {', '.join(names)}"
                if names
                else f"nothing worse by {allowed}"
            )
        else:
            head = self.sentence()
        parts = [f"## Comparison: {head}"]
        parts += ["\n".join(f"- forced although {markdown.text(each)}" for each in self.obstacles)]
        rows = [
            [
                markdown.code(each.metric),
                markdown.text(each.arm),
                *(markdown.text(cell) for cell in cells(each)),
                each.basis,
                f"**{each.verdict}**" if each.verdict is Verdict.WORSE else str(each.verdict),
            ]
            for each in self.told
        ]
        parts.append(
            markdown.table(
                ["metric", "arm", "A", "B", "change", f"{self.confidence:.0%} interval", "from", ""], rows
            )
        )
        parts.append("\n".join(f"- {markdown.text(each)}" for each in self.remarks))
        parts += [
            f"{letter}: {markdown.provenance(run.folder.document, str(run.path))}"
            for letter, run in (("A", self.a), ("B", self.b))
        ]
        return "\n\n".join(part for part in parts if part) + "\n\n"


def compare(
    a: str | Path,
    b: str | Path,
    *,
    force: bool = False,
    tolerance: float | None = None,
    confidence: float = CONFIDENCE,
) -> Comparison:
    """Compare two run folders of load, race or simulate.

    Args:
        a: the folder of the run before, or of one side.
        b: the folder of the run after, or of the other side.
        force: compare also what should not be: other machines, other scenarios, void runs.
        tolerance: a metric shown to be worse by more than this share fails; of a metric that is a share
            itself, by more than this difference.
        confidence: of each interval, in (0, 1).

    Raises:
        InputError: a folder that cannot be read, no arm in common, or runs that should not be compared.
    """
    if not 0 < confidence < 1:
        raise InputError(f"--confidence must be between 0 and 1, got {confidence:g}")
    one, other = read_recorded(a), read_recorded(b)
    against = obstacles(one, other)
    if against and not force:
        raise InputError(f"not comparable: {'; '.join(against)}; --force compares them all the same")
    shared = [arm for arm in one.arms if arm in other.arms]
    if not shared:
        raise InputError(f"no arm in common: {', '.join(one.arms)} and {', '.join(other.arms)}")
    found = [effect for arm in shared for effect in effects(one, other, arm, confidence)]
    return Comparison(
        one, other, tuple(found), tuple(against), tuple(remarks(one, other)), confidence, tolerance
    )


def cells(effect: Effect) -> tuple[str, str, str, str]:
    """An effect for people: both values, the change, its interval."""
    values = [_value(value, effect.metric) for value in (effect.a, effect.b)]
    change = effect.change
    # A change of more than +900 % is easier to read as a factor.
    scale = _Factor() if effect.kind is Kind.RATIO and change.high >= 10 else _scale(effect)
    middle, low, high = (scale.text(value) for value in (change.value, change.low, change.high))
    return values[0], values[1], f"{middle}{scale.unit}", f"{low} to {high}{scale.unit}"


def _value(value: float, metric: str) -> str:
    if math.isnan(value):
        return ""
    return "infinite" if math.isinf(value) else estimate_text(Estimate(value, None, None), metric)


@dataclass(frozen=True)
class _Signed:
    """A change with its sign, `times` in its unit."""

    times: float = 1.0
    neutral: float = 0.0
    unit: str = ""

    def text(self, value: float) -> str:
        change = self.times * (value - self.neutral)
        if not math.isfinite(change):
            return "infinite"
        return "±0" if change == 0 else ("+" if change > 0 else "−") + number_text(abs(change), 2)


class _Factor:
    """A ratio as a factor."""

    unit = ""

    def text(self, value: float) -> str:
        return f"×{number_text(value, 2)}" if math.isfinite(value) else "infinite"


def _scale(effect: Effect) -> _Signed:
    """Ratios in per cent more or less, shares in percentage points, the rest in its own unit."""
    if effect.kind is Kind.RATIO:
        return _Signed(100.0, 1.0, " %")
    share = effect.metric.endswith(("_ratio", "_share", "_utilisation")) or effect.metric == "freshness"
    return _Signed(100.0, 0.0, " pp") if share else _Signed()


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
