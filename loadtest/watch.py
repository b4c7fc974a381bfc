"""What a server says of itself while it runs: whom it refuses, and whether it is ready; in few lines.

It compares counters between two looks, so that refusing costs a request no more than an integer.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping

from loadtest import logs

log = logging.getLogger("hookbench.edge")

INTERVAL_S = 10.0


class Watch:
    """Logs refusals, one line a reason at most every `INTERVAL_S`, and each change of readiness.

    Args:
        refusals: counts by reason that only grow.
        ready: why the server is not ready, or None.
    """

    def __init__(self, refusals: Callable[[], Mapping[str, int]], ready: Callable[[], str | None]) -> None:
        self._refusals = refusals
        self._ready = ready
        self._told: dict[str, tuple[float, int]] = {}
        self._unready: str | None = None

    def look(self, now: float) -> None:
        """Say what is new."""
        for reason, count in self._refusals().items():
            when, told = self._told.get(reason, (-INTERVAL_S, 0))
            if count > told and now - when >= INTERVAL_S:
                self._told[reason] = (now, count)
                logs.event(
                    log, logging.INFO, f"refused: {reason}", reason=reason, count=count - told, total=count
                )
        unready = self._ready()
        if unready is not None and self._unready is None:
            logs.event(log, logging.WARNING, "not ready", reason=unready)
        elif unready is None and self._unready is not None:
            logs.event(log, logging.WARNING, "ready again")
        self._unready = unready
