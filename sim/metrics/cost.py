"""What a million events cost, at the prices a scenario states, and what makes the sum up."""

from __future__ import annotations

import math
from collections.abc import Mapping

from sim.metrics.digest import Totals
from sim.metrics.ratios import ratio
from sim.records import Counters
from sim.scenario import Cost

_MILLION, _GIGABYTE, _HOUR_S = 1e6, 1e9, 3600.0

COST_ITEMS: Mapping[str, str] = {
    "per_million_requests": "requests",
    "per_gigabyte": "bytes",
    "per_server_hour": "servers",
    "per_connection_hour": "connections",
    "per_late_event_second": "lateness",
    "per_lost_event": "losses",
}
"""Price -> the item of a bill that it makes."""


def cost_items(counters: Counters, counted: Totals, prices: Cost) -> dict[str, float | None]:
    """Item of the bill -> its cost in this run, for each price that is stated; None where it is unknown.

    Requests, bytes, server and connection time are those of the window; late seconds and losses those of
    the events created in it. The staleness cost is w · Σ (visible − created), an event that never came being
    late until the world ends.

    Args:
        counters: what happened within the window.
        counted: what became of the events created within it.
        prices: what each thing costs; None costs nothing.
    """
    c = counters
    amounts = (
        ("per_million_requests", c.requests, _MILLION),
        ("per_gigabyte", _sum(c.request_bytes, c.response_bytes), _GIGABYTE),
        ("per_server_hour", _sum(c.receiver_busy_s, c.provider_busy_s), _HOUR_S),
        ("per_connection_hour", c.connection_s, _HOUR_S),
        ("per_late_event_second", counted.late_s, 1.0),
        ("per_lost_event", counted.lost, 1.0),
    )
    bill: dict[str, float | None] = {}
    for name, amount, unit in amounts:
        price: float | None = getattr(prices, name)
        if price is not None:
            bill[COST_ITEMS[name]] = None if amount is None else price * amount / unit
    return bill


def cost_metrics(counters: Counters, counted: Totals, prices: Cost) -> dict[str, float]:
    """`cost_per_million_events`, if a price is stated and all that is priced is known (`cost_items`)."""
    bill = cost_items(counters, counted, prices)
    known = [cost for cost in bill.values() if cost is not None]
    if not bill or len(known) < len(bill):
        return {}
    return {"cost_per_million_events": ratio(math.fsum(known) * _MILLION, counted.total)}


def _sum(a: float | None, b: float | None) -> float | None:
    return None if a is None or b is None else a + b
