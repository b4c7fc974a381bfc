"""What `load` and `race` both refuse before anything is started."""

from __future__ import annotations

import ssl
from collections.abc import Sequence

from loadtest.plans import LISTENERS
from loadtest.runner.figures_of_merit import KNOWN_METRICS
from loadtest.runner.fleet import Fleet
from loadtest.schedule import require_seed
from loadtest.verdict import parse_threshold
from sim.errors import InputError
from sim.thresholds import Threshold


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


def require_fleet(fleet: Fleet, arms: Sequence[str], host: str | None, pool_size: int) -> None:
    """Refuse a fleet of generators that cannot make the load.

    Raises:
        InputError: naming the option and what would be accepted.
    """
    if fleet.processes < 1:
        raise InputError(f"--generators must be at least 1, got {fleet.processes}")
    if fleet.expect_workers < 0:
        raise InputError(f"--expect-workers must be at least 1, got {fleet.expect_workers}")
    if fleet.elsewhere and fleet.processes > 1:
        raise InputError("--expect-workers counts workers that you start; --generators starts them here: one")
    if fleet.elsewhere and host is None:
        raise InputError("--expect-workers needs --host, the URL of a server that every worker reaches")
    count = max(fleet.processes, fleet.expect_workers)
    if pool_size < count:
        raise InputError(f"--pool {pool_size} is too small for {count} processes: one request each at least")
    if fleet.ca is not None:
        if host is None or not host.startswith("https://"):
            raise InputError(f"--ca vouches for a server at --host https://..., got --host {host or 'none'}")
        try:
            ssl.create_default_context(cafile=fleet.ca)
        except OSError as error:
            raise InputError(f"--ca {fleet.ca}: no certificates to read there ({error})") from None
    held = [arm for arm in arms if arm in LISTENERS]
    if fleet.elsewhere and held:
        raise InputError(
            f"--expect-workers: {held[0]} measures from one worker's clock to another's, and machines do not "
            "share one; use --generators"
        )
    if fleet.elsewhere and len(arms) > 1:
        raise InputError(f"workers end with their run, so give one arm, not {', '.join(arms)}")
