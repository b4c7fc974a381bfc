"""Webhooks that lose some events, and a poll that finds them, in closed form."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Reconciled:
    """H1: a webhook is lost with probability p; every T_r a poll fetches what is missing.

    Conditions: one attempt an event, lost independently of all else; a random poll phase, no poll lost;
    webhooks take the constant d, and a poll's look is followed by the constant `return_s`. Source: a
    mixture of the webhook's delay and P1's uniform one.

    Attributes:
        lost: p.
        interval_s: T_r.
        one_way_s: d, of a webhook.
        return_s: from a poll's look to the event's being visible.
    """

    lost: float
    interval_s: float
    one_way_s: float = 0.0
    return_s: float = 0.0

    @property
    def latency_mean_s(self) -> float:
        """(1 − p)d + p(T_r/2 + return)."""
        return (1 - self.lost) * self.one_way_s + self.lost * (self.interval_s / 2 + self.return_s)

    def latency_exceeds(self, t_s: float) -> float:
        """P(L > t) = p(1 − (t − return)/T_r) for d ≤ t and return ≤ t ≤ T_r + return."""
        webhook = 1 - self.lost if t_s < self.one_way_s else 0.0
        return webhook + self.lost * min(max(1 - (t_s - self.return_s) / self.interval_s, 0.0), 1.0)
