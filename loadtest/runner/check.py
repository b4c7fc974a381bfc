"""What `load` and `race` both refuse before anything is started."""

from __future__ import annotations

from collections.abc import Sequence

from loadtest.runner.figures_of_merit import KNOWN_METRICS
from loadtest.schedule import require_seed
from loadtest.verdict import Threshold, parse_threshold
from sim.errors import InputError


def check(
    arms: Sequence[str], known: Sequence[str], thresholds: Sequence[str], seed: int, pool_size: int
) -> list[Threshold]:
    """Refuse what cannot be run; returns the thresholds as read.

    Raises:
        InputError: naming the value and what would be accepted.
    """
    for arm in arms:
        if arm not in known:
            raise InputError(f"no arm is called {arm!r}; arms: {', '.join(known)}")
    if not arms or len(set(arms)) < len(arms):
        raise InputError(f"give each arm once, got {', '.join(arms) or 'none'}; arms: {', '.join(known)}")
    if pool_size < 1:
        raise InputError(f"pool_size must be at least 1, got {pool_size}")
    require_seed(seed)
    return [parse_threshold(text, KNOWN_METRICS, arms) for text in thresholds]
