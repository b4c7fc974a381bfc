"""One run's part of the page, as values: the verdict first, then blocks of figures and tables."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from loadtest.report.distributions import Distribution
from loadtest.report.plot import Figure, Table
from sim.experiment import Estimate

State = Literal["good", "void", "missed", "failed", "incomplete", "model"]

WORDS: dict[State, str] = {
    "good": "Good",
    "void": "Void",
    "missed": "Threshold missed",
    "failed": "Not passed",
    "incomplete": "Incomplete",
    "model": "Simulated",
}


@dataclass(frozen=True)
class Verdict:
    """What a run came to.

    Attributes:
        state: whether it may be believed and was good enough.
        finding: the answer, a sentence with its figures.
        details: further sentences.
        reasons: why it is void, incomplete or missed; empty when good.
    """

    state: State
    finding: str
    details: tuple[str, ...] = ()
    reasons: tuple[str, ...] = ()

    @property
    def word(self) -> str:
        """The state in a word or two."""
        return WORDS[self.state]

    @property
    def void(self) -> bool:
        """Whether figures must be stamped."""
        return self.state in {"void", "incomplete"}


@dataclass(frozen=True)
class Tile:
    """One headline figure: its value, and what it is."""

    value: str
    name: str


@dataclass(frozen=True)
class Image:
    """A picture the run left: its PNG as base64, and what it is called."""

    name: str
    base64: str


@dataclass(frozen=True)
class Block:
    """A heading and what stands under it.

    Attributes:
        id: unique within the page.
        heading: what it is about.
        text: sentences before the rest.
        figures: drawn one under the other.
        more: further figures, which a reader opens.
        tables: always shown.
        folded: tables a reader opens: the long ones.
        images: pictures of a kind of run this report has no drawing of its own for.
        source: text as it stands in a file.
    """

    id: str
    heading: str
    text: tuple[str, ...] = ()
    figures: tuple[Figure, ...] = ()
    more: tuple[Figure, ...] = ()
    tables: tuple[Table, ...] = ()
    folded: tuple[Table, ...] = ()
    images: tuple[Image, ...] = ()
    source: str = ""

    @property
    def zooms_from(self) -> str:
        """The id of the first figure of which a reader may choose a stretch of time; empty for none."""
        return next((figure.id for figure in self.figures if figure.plot.zooms), "")


@dataclass(frozen=True)
class Section:
    """One run.

    Attributes:
        id: unique within the page.
        kind: which command made it, in a word.
        title: the scenario's, or the run's name.
        folder: its folder's name.
        start: when it began.
        command: what was asked.
        verdict: what it came to.
        tiles: headline figures of a single arm.
        headline: the same of several, a column an arm; None for a single one.
        blocks: the rest.
        machine: what it ran on, for the comparison of several.
        digest: of its scenario.
        curves: its latency distributions, for the comparison of several.
        estimates: its metrics by arm, for the same.
    """

    id: str
    kind: str
    title: str
    folder: str
    start: str
    command: str
    verdict: Verdict
    tiles: tuple[Tile, ...]
    blocks: tuple[Block, ...]
    machine: str
    digest: str
    curves: tuple[Distribution, ...] = ()
    headline: Table | None = None
    estimates: Mapping[str, Mapping[str, Estimate]] = field(default_factory=dict)
