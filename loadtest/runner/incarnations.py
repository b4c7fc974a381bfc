"""The counts of a server that was restarted: summed over all processes it has been."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from loadtest.inbox import read_ledger

PEAKS = frozenset(
    {"queue_max", "connections_peak", "requests_per_connection"}
    | {"http_requests_per_connection", "http_connections_peak", "body_bytes_peak"}
)
"""Counts of /status that are peaks or ratios, so that they are not summed; of several peaks the highest."""

STATES = frozenset(
    {"waiting", "in_service", "in_flight", "backing_off", "subscriptions", "disabled", "waiting_polls"}
    | {"streams", "feed_events", "feed_bytes", "http_connections_open", "http_connections_idle"}
    | {"body_bytes_held"}
)
"""Counts of /status that are as of now, so that the last process speaks for itself."""

_SQLITE = "sqlite:///"


def summed(before: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, Any]:
    """What a server counts now, with what it counted in its former processes."""
    total = dict(now)
    for name, value in before.items():
        here = now.get(name, 0)
        if isinstance(value, bool) or not isinstance(value, int | float) or name in STATES:
            continue
        total[name] = max(value, here) if name in PEAKS else value + here
    return total


def counts_at_death(last: Mapping[str, Any], command: Sequence[str]) -> dict[str, Any]:
    """What a server had counted when it ended: as it said last, but of events exactly what its inbox says."""
    counts = dict(last)
    if "--inbox" in command:
        url = command[command.index("--inbox") + 1]
        path = Path(url.removeprefix(_SQLITE))
        rows = read_ledger(path if url.startswith(_SQLITE) else url)
        counts["accepted"] = len(rows)
        counts["duplicates"] = sum(row.copies - 1 for row in rows)
        counts["visible"] = sum(row.visible_us is not None for row in rows)
    return counts
