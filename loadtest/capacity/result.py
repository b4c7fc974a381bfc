"""What a search for capacity found: the rate, what limits it, and every probe on the way."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loadtest.capacity.search import Answer, Limit, Outcome, Probe
from sim.errors import ThresholdMissed, VoidRun
from sim.thresholds import Threshold

if TYPE_CHECKING:
    import pandas as pd

    from sim.scenario import Scenario


@dataclass(frozen=True)
class Measured:
    """One load at one rate.

    Attributes:
        probe: its rate and purpose.
        attempt: from 1; above 1 the generator had spoilt the attempts before.
        outcome: whether the objectives were met.
        reason: why not, in words; empty when they were.
        values: of each objective, in their order; None where undefined.
        metrics: those of `loadtest.capacity.measurement.TOLD` that were measured.
        folder: the name of its run folder; empty where the run came to nothing.
    """

    probe: Probe
    attempt: int
    outcome: Outcome
    reason: str
    values: tuple[float | None, ...]
    metrics: dict[str, float]
    folder: str


@dataclass(frozen=True)
class CapacityResult:
    """The highest sustainable rate, and how it was found.

    Attributes:
        scenario: as it was probed, its rate apart.
        arm: which server was loaded, and how.
        objectives: what had to hold at the rate.
        answer: the rate, and what limits it.
        probes: every load, in order.
        resolution, confirmations, duration_s, warmup_s, seed: of the search and of each probe.
        path: the run folder.
    """

    scenario: Scenario
    arm: str
    objectives: tuple[Threshold, ...]
    answer: Answer
    probes: tuple[Measured, ...]
    resolution: float
    confirmations: int
    duration_s: float
    warmup_s: float
    seed: int
    path: Path

    @property
    def exit_code(self) -> int:
        """0: a rate was found; 3: only the generator was measured, or nothing settled; 4: no rate will do."""
        if self.answer.limit is Limit.UNSETTLED:
            return VoidRun.exit_code
        if self.answer.rate_per_s is not None:
            return 0
        return VoidRun.exit_code if self.answer.limit is Limit.GENERATOR else ThresholdMissed.exit_code

    @property
    def slo(self) -> str:
        """The objectives in words."""
        return " and ".join(objective.text for objective in self.objectives)

    def sentence(self) -> str:
        """The answer in one sentence."""
        rate, above = self.answer.rate_per_s, self.answer.refuted_per_s
        confirmed = f"met {self.slo} in {self.confirmations} of {self.confirmations} confirmations"
        if self.answer.limit is Limit.UNSETTLED:
            found = "no rate" if rate is None else f"{rate:,.4g}/s"
            return f"not settled after {len(self.probes)} probes: {found} confirmed so far"
        if rate is None:
            lowest = min(measured.probe.rate_per_s for measured in self.probes)
            if self.answer.limit is Limit.GENERATOR:
                return f"unknown: the generator could not keep up even at {lowest:,.4g}/s"
            return f"none: {self.slo} was missed even at {lowest:,.4g}/s"
        if self.answer.limit is Limit.GENERATOR:
            return f"at least {rate:,.4g}/s, which {confirmed}; the generator was the limit at {above:,.4g}/s"
        if self.answer.limit is Limit.RANGE:
            return f"at least {rate:,.4g}/s, which {confirmed}; no higher rate was allowed"
        return f"{rate:,.4g}/s, which {confirmed}; missed at {above:,.4g}/s"

    def document(self) -> dict[str, Any]:
        """The one JSON document of ``--json``."""
        return {
            "schema_version": 1,
            "command": "capacity",
            "scenario": self.scenario.model_dump(mode="json"),
            "arm": self.arm,
            "slo": [objective.text for objective in self.objectives],
            "rate_per_s": self.answer.rate_per_s,
            "limit": str(self.answer.limit),
            "missed_at_per_s": self.answer.refuted_per_s,
            "sentence": self.sentence(),
            "resolution": self.resolution,
            "confirmations": self.confirmations,
            "duration_s": self.duration_s,
            "warmup_s": self.warmup_s,
            "seed": self.seed,
            "probes": [
                {
                    "rate_per_s": each.probe.rate_per_s,
                    "purpose": each.probe.purpose,
                    "attempt": each.attempt,
                    "outcome": str(each.outcome),
                    "reason": each.reason,
                    "slo_values": list(each.values),
                    "metrics": {k: v if math.isfinite(v) else None for k, v in each.metrics.items()},
                    "run": each.folder,
                }
                for each in self.probes
            ],
            "run": str(self.path),
        }

    def table(self) -> pd.DataFrame:
        """A row a probe, as in probes.csv."""
        import pandas as pd  # noqa: PLC0415 - half a second, only when a table is wanted

        return pd.DataFrame(
            [
                {
                    "rate_per_s": each.probe.rate_per_s,
                    "purpose": each.probe.purpose,
                    "attempt": each.attempt,
                    "outcome": str(each.outcome),
                    "reason": each.reason,
                }
                | {
                    f"slo: {objective.text}": value
                    for objective, value in zip(self.objectives, each.values, strict=True)
                }
                | each.metrics
                | {"run": each.folder}
                for each in self.probes
            ]
        )
