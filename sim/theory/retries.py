"""Retries in closed form: through an outage, and over a lossy way."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

from sim.scenario import Retry


def retry_offsets_s(retry: Retry, failure_known_s: float = 0.0) -> list[float]:
    """When each attempt is made, seconds after the first: t_0 = 0 < … < t_n.

    Conditions: no jitter, no Retry-After, every attempt fails alike and its failure is known
    `failure_known_s` after it was sent (a round trip, or the timeout).
    """
    allowed = range(1, retry.attempts_allowed)
    if retry.kind == "schedule":
        gaps = list(retry.gaps_s[: len(allowed)])
    elif retry.kind == "linear":
        gaps = [min(retry.cap_s, retry.base_s * k) for k in allowed]
    elif retry.kind == "exponential":
        gaps = [min(retry.cap_s, retry.base_s * retry.factor ** (k - 1)) for k in allowed]
    else:
        gaps = [min(retry.cap_s, retry.base_s) for _ in allowed]
    offsets = [0.0, *accumulate(gap + failure_known_s for gap in gaps)]
    longest = retry.max_duration_s
    return [offset for offset in offsets if longest is None or offset <= longest]


def outage_lost_ratio(offsets_s: Sequence[float], outage_s: float) -> float:
    """The share of an outage's events whose attempts all fall into it: max(0, 1 − t_n/D).

    Conditions: events uniform over the outage of length D (as Poisson ones are), attempts at `offsets_s`
    after each event, every attempt in the outage fails and any later one succeeds. The outage's rest R
    is U(0, D), and an event is lost when R > t_n.
    """
    return max(0.0, 1 - offsets_s[-1] / outage_s)


def outage_latency_mean_s(offsets_s: Sequence[float], outage_s: float) -> float:
    """The mean latency of those of an outage's events that are delivered.

    E[L | delivered] = Σ t_k [min(t_k, D) − min(t_{k−1}, D)] / min(t_n, D): an event is delivered by attempt
    k when the outage's rest R, which is U(0, D), ends in (t_{k−1}, t_k]. Conditions as `outage_lost_ratio`,
    and t_n > 0.
    """
    reached = [min(offset, outage_s) for offset in offsets_s]
    weighted = sum(
        offset * (now - before)
        for offset, (before, now) in zip(offsets_s[1:], pairwise(reached), strict=True)
    )
    return weighted / reached[-1]


@dataclass(frozen=True)
class AtLeastOnce:
    """Up to n attempts over a way that loses requests and answers independently.

    An attempt is known to have succeeded with s = (1 − q_r)(1 − q_a), so the attempts are a geometric
    number cut off at n; each is one copy at the receiver with 1 − q_r (Wald 1944: copies = (1 − q_r) ·
    attempts). Conditions: independent losses, nothing else fails, every answer that comes is in time.

    Attributes:
        request_loss: q_r, the request never arrives.
        response_loss: q_a, it arrives and the answer does not.
        attempts_allowed: n.
    """

    request_loss: float
    response_loss: float
    attempts_allowed: int

    @property
    def success(self) -> float:
        """s, the probability that an attempt is acknowledged."""
        return (1 - self.request_loss) * (1 - self.response_loss)

    @property
    def gives_up(self) -> float:
        """(1 − s)^n: the sender never hears an acknowledgement."""
        return (1 - self.success) ** self.attempts_allowed

    @property
    def attempts_mean(self) -> float:
        """Attempts per event, (1 − (1 − s)^n)/s."""
        if self.success == 0:
            return float(self.attempts_allowed)
        return (1 - self.gives_up) / self.success

    @property
    def copies_mean(self) -> float:
        """Copies received per event, (1 − q_r) · attempts."""
        return (1 - self.request_loss) * self.attempts_mean

    @property
    def never_received(self) -> float:
        """q_r^n: no copy ever arrives."""
        return self.request_loss**self.attempts_allowed

    @property
    def duplicates_mean(self) -> float:
        """Copies beyond the first, per event: copies − (1 − q_r^n)."""
        return self.copies_mean - (1 - self.never_received)
