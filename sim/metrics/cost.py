"""What a million events cost, at the prices a scenario states."""

from __future__ import annotations

import math

from sim.metrics.digest import Totals
from sim.metrics.ratios import ratio
from sim.records import Counters
from sim.scenario import Cost

_MILLION, _GIGABYTE, _HOUR_S = 1e6, 1e9, 3600.0


def cost_metrics(counters: Counters, counted: Totals, prices: Cost) -> dict[str, float]:
    """`cost_per_million_events`, if a price is stated and all that is priced is known.

    Requests, bytes, server and connection time are those of the window; late seconds and losses are those
    of the events created in it.

    Args:
        counters: what happened within the window.
        counted: what became of the events created within it.
        prices: what each thing costs; None costs nothing.
    """
    c = counters
    amounts = (
        (prices.per_million_requests, c.requests, _MILLION),
        (prices.per_gigabyte, _sum(c.request_bytes, c.response_bytes), _GIGABYTE),
        (prices.per_server_hour, _sum(c.receiver_busy_s, c.provider_busy_s), _HOUR_S),
        (prices.per_connection_hour, c.connection_s, _HOUR_S),
        (prices.per_late_event_second, counted.late_s, 1.0),
        (prices.per_lost_event, counted.lost, 1.0),
    )
    stated = [(price, amount, unit) for price, amount, unit in amounts if price is not None]
    if not stated or any(amount is None for _, amount, _ in stated):
        return {}
    cost = math.fsum(price * amount / unit for price, amount, unit in stated if amount is not None)
    return {"cost_per_million_events": ratio(cost * _MILLION, counted.total)}


def _sum(a: float | None, b: float | None) -> float | None:
    return None if a is None or b is None else a + b
