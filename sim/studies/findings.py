"""What a study finds: claims, what was published and measured about each, and a verdict by confidence."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

from sim.experiment import CONFIDENCE, Estimate, estimate
from sim.tables import number_text

if TYPE_CHECKING:
    import pandas as pd

    from sim.scenario import Scenario

_ROUNDING = 1e-12


class Verdict(StrEnum):
    """Whether a claim holds here."""

    HOLDS = "holds"
    FAILS = "does not hold"
    UNDECIDED = "undecided"
    NEW = "not claimed"


@dataclass(frozen=True)
class Finding:
    """A claim, and what we find about it.

    Attributes:
        key: a short name, the same in every run.
        claim: what was claimed, in a sentence.
        published: the figure as published, or the words; empty if the finding is ours alone.
        measured: what our figure is.
        values: our figure, one value a replication.
        unit: of the values.
        agrees: the values that agree with the claim, ends included; None if nothing was claimed. For a
            published number it is what rounds to it; for words it is how we read them.
    """

    key: str
    claim: str
    published: str
    measured: str
    values: tuple[float, ...]
    unit: str = ""
    agrees: tuple[float, float] | None = None

    def estimate(self, confidence: float = CONFIDENCE) -> Estimate:
        """The mean over replications and its interval."""
        return estimate(self.values, confidence)

    def verdict(self, confidence: float = CONFIDENCE) -> Verdict:
        """Whether the whole interval agrees with the claim, or none of it, or some."""
        if self.agrees is None:
            return Verdict.NEW
        found, (lowest, highest) = self.estimate(confidence), self.agrees
        low = found.mean if found.low is None else found.low
        high = found.mean if found.high is None else found.high
        if lowest <= low and high <= highest:
            return Verdict.HOLDS
        return Verdict.FAILS if high < lowest or low > highest else Verdict.UNDECIDED

    def text(self) -> str:
        """Our figure with its 95 % interval, for people."""
        found = self.estimate()
        if math.isnan(found.mean):
            return "undefined"
        text = number_text(found.mean)
        if found.low is not None and found.high is not None:
            half_width = (found.high - found.low) / 2
            if half_width > _ROUNDING * abs(found.mean):
                text += f" ± {number_text(half_width, 2)}"
        return f"{text} {self.unit}".rstrip()


@dataclass(frozen=True)
class Results:
    """What came of a study.

    Attributes:
        findings: every claim with its verdict, in the order they are told.
        tables: name -> the data, a row a run or a point of a curve.
        remarks: what differs from the original, and what the claims leave out.
        scenarios: name -> what was simulated, where the study is one of this package's scenarios.
    """

    findings: tuple[Finding, ...]
    tables: Mapping[str, pd.DataFrame]
    remarks: tuple[str, ...]
    scenarios: Mapping[str, Scenario] = field(default_factory=dict)

    def finding(self, key: str) -> Finding:
        """The finding of this key."""
        return next(finding for finding in self.findings if finding.key == key)

    def frame(self) -> pd.DataFrame:
        """The findings as a table, a row each."""
        import pandas as pd  # noqa: PLC0415 - half a second that reading about studies need not wait for

        rows = []
        for finding in self.findings:
            found = finding.estimate()
            lowest, highest = finding.agrees or (None, None)
            rows.append(
                (
                    finding.key, finding.claim, finding.published, finding.measured, finding.unit,
                    found.mean, found.low, found.high, len(finding.values), lowest, highest,
                    str(finding.verdict()),
                )
            )  # fmt: skip
        columns = [
            "key", "claim", "published", "measured", "unit", "mean", "low", "high", "replications",
            "agrees_from", "agrees_to", "verdict",
        ]  # fmt: skip
        numbers = ["mean", "low", "high", "agrees_from", "agrees_to"]
        return pd.DataFrame(rows, columns=columns).astype(dict.fromkeys(numbers, "float64"))
