"""The search for the highest rate that meets a bound: pure, fed with outcomes, without a clock.

1. *Bracket*: from the start, up by a factor while probes meet the bound, or down until one does.
2. *Bisect* on the logarithm of the rate until the bracket is no wider than the resolution.
3. *Confirm*: the lower end must meet the bound in k of k further probes. If one does not, the rate is too
   high: the search goes on below it.
4. *Refute*: the upper end is probed up to k times more. If all k meet the bound after all, it becomes the
   lower end, a step above it the upper, and the refutation is repeated.

So the answer has met the bound in k of k probes, and the step above it missed it at least once since. With
noise, a rate whose single probe meets the bound with probability p is confirmed with probability p^k at
each attempt: for k = 3, 1/8 where half of the probes meet it. Nothing assumes that the outcome is monotone
in the rate; where it is not, the answer is one such rate and need not be the highest.
"""

from __future__ import annotations

import math
from collections.abc import Generator
from dataclasses import dataclass
from enum import StrEnum

Steps = Generator["Probe", "Outcome", "Answer"]


class Outcome(StrEnum):
    """What a probe showed: the bound met, missed, or nothing, because the generator could not keep up."""

    MET = "met"
    MISSED = "missed"
    GENERATOR = "generator"


class Limit(StrEnum):
    """What keeps the answer from being higher."""

    SERVER = "server"
    GENERATOR = "generator"
    RANGE = "range"
    UNSETTLED = "unsettled"


@dataclass(frozen=True)
class Probe:
    """A rate to try, and why: bracket, bisect, confirm or refute."""

    rate_per_s: float
    purpose: str


@dataclass(frozen=True)
class Answer:
    """What the search found.

    Attributes:
        rate_per_s: the highest rate that met the bound in every confirmation; None if none did.
        limit: what stands above it; `RANGE` where the highest (or, without a rate, the lowest) allowed
            rate ended the search, `UNSETTLED` where the number of probes did.
        refuted_per_s: the rate above at which the bound was missed or the generator failed; None if none.
    """

    rate_per_s: float | None
    limit: Limit
    refuted_per_s: float | None


class Search:
    """Ask with `probe`, answer with `tell`, until `answer` is there.

    Args:
        start_per_s: the first rate.
        least_per_s, most_per_s: the range of rates.
        resolution: the answer's relative distance from the step above it, at most.
        factor: of the bracketing.
        confirmations: k.
        most_probes: after so many the search gives up, `UNSETTLED`.
    """

    def __init__(
        self,
        start_per_s: float,
        *,
        least_per_s: float,
        most_per_s: float,
        resolution: float = 0.05,
        factor: float = 2.0,
        confirmations: int = 3,
        most_probes: int = 60,
    ) -> None:
        self._start = min(max(start_per_s, least_per_s), most_per_s)
        self._least, self._most = least_per_s, most_per_s
        self._step = 1.0 + resolution
        self._factor = factor
        self._confirmations = confirmations
        self._most_probes = most_probes
        self._confirmed: float | None = None
        self._low: float | None = None
        self._high: float | None = None
        self._above = Outcome.MISSED
        self.outcomes: list[tuple[Probe, Outcome]] = []
        self.answer: Answer | None = None
        self._steps = self._search()
        self.probe: Probe | None = next(self._steps)

    def tell(self, outcome: Outcome) -> None:
        """Say what `probe` showed; then there is another, or an answer."""
        assert self.probe is not None
        self.outcomes.append((self.probe, outcome))
        if len(self.outcomes) >= self._most_probes:
            self._finish(Answer(self._confirmed, Limit.UNSETTLED, self._high))
            return
        try:
            self.probe = self._steps.send(outcome)
        except StopIteration as end:
            self._finish(end.value)

    def _finish(self, answer: Answer) -> None:
        self.probe, self.answer = None, answer
        self._steps.close()

    def _search(self) -> Steps:
        yield from self._bracket()
        while self._low is not None:
            yield from self._bisect()
            low = self._low
            outcome = yield from self._repeat(low, "confirm")
            if outcome is not Outcome.MET:
                self._fell_short(low, outcome)
                yield from self._descend(low / self._step, self._step)
                continue
            self._confirmed = low
            if (yield from self._refute()):
                return Answer(self._confirmed, self._limit(), self._high)
        return Answer(None, Limit.RANGE if self._above is Outcome.MISSED else Limit.GENERATOR, self._high)

    def _limit(self) -> Limit:
        if self._high is None:
            return Limit.RANGE
        return Limit.SERVER if self._above is Outcome.MISSED else Limit.GENERATOR

    def _bracket(self) -> Generator[Probe, Outcome, None]:
        rate = self._start
        outcome = yield Probe(rate, "bracket")
        if outcome is not Outcome.MET:
            self._fell_short(rate, outcome)
            yield from self._descend(rate / self._factor, self._factor)
            return
        while outcome is Outcome.MET:
            self._low = rate
            if rate >= self._most:
                return
            rate = min(rate * self._factor, self._most)
            outcome = yield Probe(rate, "bracket")
        self._fell_short(rate, outcome)

    def _descend(self, rate: float, factor: float) -> Generator[Probe, Outcome, None]:
        """Down by growing steps until a probe meets the bound; if none does, there is no lower end."""
        self._low = None
        while rate >= self._least:
            outcome = yield Probe(rate, "bracket")
            if outcome is Outcome.MET:
                self._low = rate
                return
            self._fell_short(rate, outcome)
            rate /= factor
            factor = min(factor**2, self._factor)

    def _bisect(self) -> Generator[Probe, Outcome, None]:
        while self._high is not None and self._low is not None and self._high > self._low * self._step:
            middle = math.sqrt(self._low * self._high)
            outcome = yield Probe(middle, "bisect")
            if outcome is Outcome.MET:
                self._low = middle
            else:
                self._fell_short(middle, outcome)

    def _refute(self) -> Generator[Probe, Outcome, bool]:
        """Whether the step above the confirmed rate fails; else it is the confirmed rate now."""
        while True:
            assert self._confirmed is not None
            if self._high is None and self._confirmed >= self._most:
                return True
            above = self._high or min(self._confirmed * self._step, self._most)
            outcome = yield from self._repeat(above, "refute")
            if outcome is not Outcome.MET:
                self._fell_short(above, outcome)
                return True
            self._low = self._confirmed = above
            self._high = None

    def _repeat(self, rate: float, purpose: str) -> Generator[Probe, Outcome, Outcome]:
        """The first outcome of k that does not meet the bound; or that all do."""
        for _ in range(self._confirmations):
            outcome = yield Probe(rate, purpose)
            if outcome is not Outcome.MET:
                return outcome
        return Outcome.MET

    def _fell_short(self, rate: float, outcome: Outcome) -> None:
        self._high, self._above = rate, outcome
