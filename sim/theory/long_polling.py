"""Long polling in closed form."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class LongPoll:
    """L1: a request is held until an event comes, for H at the most; its answer carries all there are.

    A cycle runs from one answer's leaving to the next's. For the first g = 2d + pause the answer and the
    next request are on their way and events wait; if any came (with probability 1 − e^(−λg)) the request is
    answered at once, else with the next event or after H. Conditions: Poisson events, constant transit d,
    nothing lost, no service time at the API, no page full, an answer before the client's timeout. Source:
    the derivation above; RFC 6202, §2.2, states the latency in words ("close to one network transit", at
    most three).

    Attributes:
        rate_per_s: λ.
        one_way_s: d.
        hold_s: H.
        pause_s: what the client waits after an answer before it asks again.
    """

    rate_per_s: float
    one_way_s: float
    hold_s: float
    pause_s: float = 0.0

    @property
    def gap_s(self) -> float:
        """g, from an answer's leaving to the next request's arrival."""
        return 2 * self.one_way_s + self.pause_s

    @property
    def cycle_mean_s(self) -> float:
        """E[C] = g + e^(−λg) (1 − e^(−λH))/λ."""
        quiet = math.exp(-self.rate_per_s * self.gap_s)
        return self.gap_s - quiet * math.expm1(-self.rate_per_s * self.hold_s) / self.rate_per_s

    @property
    def requests_per_s(self) -> float:
        """1/E[C]."""
        return 1 / self.cycle_mean_s

    @property
    def empty_ratio(self) -> float:
        """The share of answers that carry nothing, e^(−λ(g + H))."""
        return math.exp(-self.rate_per_s * (self.gap_s + self.hold_s))

    @property
    def latency_mean_s(self) -> float:
        """The transit and the wait, d + g²/(2E[C]).

        Of a cycle's λE[C] events only the λg of the gap wait, g/2 on average.
        """
        return self.one_way_s + self.gap_s**2 / (2 * self.cycle_mean_s)

    @property
    def latency_max_s(self) -> float:
        """At the worst g + d, which is 3d without a pause: an event that just missed an answer."""
        return self.gap_s + self.one_way_s
