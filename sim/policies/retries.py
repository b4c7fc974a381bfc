"""When a failed attempt is tried again, and a lost connection opened again."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sim.compiled import jit
from sim.policies.times import NEVER
from sim.scenario import Reconnect, Retry

NO_RETRY, FIXED, LINEAR, EXPONENTIAL, SCHEDULE = range(5)
NO_JITTER, FULL, EQUAL, DECORRELATED, PROPORTIONAL = range(5)

_KINDS = {
    "none": NO_RETRY,
    "fixed": FIXED,
    "linear": LINEAR,
    "exponential": EXPONENTIAL,
    "schedule": SCHEDULE,
}
_JITTERS = {
    "none": NO_JITTER,
    "full": FULL,
    "equal": EQUAL,
    "decorrelated": DECORRELATED,
    "proportional": PROPORTIONAL,
}
_FOR_EVER = 2**31


class RetryPolicy(NamedTuple):
    """A scenario's `webhook.retry`, or how a lasting connection is opened again, as numbers."""

    kind: int
    base_s: float
    factor: float
    cap_s: float
    gaps_s: NDArray[np.float64]
    jitter: int
    spread: float
    attempts_allowed: int
    max_duration_s: float


def compile_retry(retry: Retry) -> RetryPolicy:
    """The numbers `retry_delay` needs."""
    return RetryPolicy(
        kind=_KINDS[retry.kind],
        base_s=retry.base_s,
        factor=retry.factor,
        cap_s=retry.cap_s,
        gaps_s=np.asarray(retry.gaps_s, dtype=np.float64),
        jitter=_JITTERS[retry.jitter],
        spread=retry.spread,
        attempts_allowed=retry.attempts_allowed,
        max_duration_s=NEVER if retry.max_duration_s is None else retry.max_duration_s,
    )


def compile_reconnect(reconnect: Reconnect) -> RetryPolicy:
    """The numbers `retry_delay` needs to say how long a client waits before it connects again."""
    return RetryPolicy(
        kind=_KINDS[reconnect.kind],
        base_s=reconnect.base_s,
        factor=reconnect.factor,
        cap_s=reconnect.cap_s,
        gaps_s=np.empty(0, dtype=np.float64),
        jitter=_JITTERS[reconnect.jitter],
        spread=0.0,
        attempts_allowed=_FOR_EVER,
        max_duration_s=NEVER,
    )


@jit
def retry_delay(policy: RetryPolicy, failed_attempt: int, previous_s: float, u: float) -> float:
    """Seconds from when the failure of attempt `failed_attempt` (from 1) is known to the next attempt.

    Args:
        policy: the retry policy.
        failed_attempt: the attempt that failed; 1 is the first.
        previous_s: the delay before the failed attempt, `base_s` at the first (decorrelated only).
        u: a draw from U(0, 1).
    """
    k = failed_attempt
    if policy.jitter == DECORRELATED:
        low = policy.base_s
        return min(policy.cap_s, low + u * max(3.0 * previous_s - low, 0.0))
    if policy.kind == SCHEDULE:
        nominal = float(policy.gaps_s[k - 1])
    elif policy.kind == LINEAR:
        nominal = min(policy.cap_s, policy.base_s * k)
    elif policy.kind == EXPONENTIAL:
        # 0 times an overflowing factor would be NaN.
        growth = float(policy.factor ** (k - 1.0)) if policy.base_s > 0.0 else 0.0
        nominal = min(policy.cap_s, policy.base_s * growth)
    else:
        nominal = min(policy.cap_s, policy.base_s)
    if policy.jitter == FULL:
        return u * nominal
    if policy.jitter == EQUAL:
        return nominal / 2.0 + u * (nominal / 2.0)
    if policy.jitter == PROPORTIONAL:
        return nominal * ((1.0 - policy.spread) + u * (2.0 * policy.spread))
    return nominal
