"""Where polling and webhooks cost the same, and the poll interval that costs least, in closed form.

Polling every T costs c_poll a poll, whatever it finds, and c_event an event; a webhook c_hook an event.
"""

from __future__ import annotations

import math


def break_even_rate_per_s(
    interval_s: float, poll_cost: float = 1.0, webhook_cost: float = 1.0, event_cost: float = 0.0
) -> float:
    """B1: the event rate at which both cost the same, λ* = c_poll / (T (c_hook − c_event)).

    From c_poll/T + λ c_event = λ c_hook. By default a cost is a request: λ*T = 1, one event a poll.
    Webhooks are cheaper below λ*, polling above it; ∞ when an event costs a poller as much as a webhook.
    Conditions: one attempt an event, no page is full, neither's latency is priced.
    """
    saved = webhook_cost - event_cost
    return poll_cost / (interval_s * saved) if saved > 0 else math.inf


def best_interval_s(rate_per_s: float, poll_cost: float, event_second_cost: float) -> float:
    """B1: the poll interval that costs least when an event-second of staleness costs w, √(2 c_poll / (w λ)).

    The cost a second is c_poll/T + wλT/2, as each event waits T/2 on average (P1): the two are equal at the
    minimum. It is the square-root rule of economic order quantities (Harris, "How many parts to make at
    once", Factory 10, 1913). Conditions: those of P1.
    """
    return math.sqrt(2 * poll_cost / (event_second_cost * rate_per_s))
